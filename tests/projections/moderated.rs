//! Live streams, when it is decided anew what their readers are shown.

use serde_json::json;

use super::events::{Event, Events};
use crate::operator::As;
use crate::support::node::Node;
use crate::support::{PUBLIC, Peer, Sign, secret};

#[test]
fn a_decision_makes_readers_read_anew() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let loud = peer.actor("loud");
    let said = loud.note("LOUD words", &[PUBLIC, &node.actor("alice")]);
    loud.deliver(&node, "/inbox", &said, Sign::Bare).expect(202, "a Note");
    let object = said["object"]["id"].as_str().expect("an id").to_owned();
    let before = node.settled_head();
    let client = node.client().clone();
    let bearing = |name: &str| format!("Bearer {}", secret(name));
    let open = |projection: &str, name: Option<&str>| {
        let bearer = name.map(bearing);
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", &**bearer)).collect();
        let stream = Events::of(&client, &format!("/projections/{projection}/events"), &headers);
        assert_eq!(stream.block().expect("where it stands").kind, "");
        stream
    };
    let (anyone, feed) = (open("objects", None), open("feed", Some("alice")));
    let operator = open("objects", Some("operator"));
    let shown = |event: &Event| {
        let at = event.data["global_seq"].as_u64().expect("a position");
        assert_eq!((event.kind.as_str(), event.id), ("reset", Some(at)));
        let objects = client.get(&format!("/projections/objects?min_seq={at}")).expect(200, "rows");
        let alice = node.as_actor("alice");
        let feed = alice.get(&format!("/projections/feed?min_seq={at}")).expect(200, "her feed");
        (objects.text_whole().contains(&object), feed.text_whole().contains("LOUD words"))
    };
    let moderates = As::operator(&node);
    for (args, is_shown) in [(["moderation", "block"], false), (["moderation", "undo"], true)] {
        moderates.works(&[&args[..], &[loud.id.as_str()]].concat());
        for stream in [&anyone, &feed] {
            assert_eq!(shown(&stream.next()), (is_shown, is_shown), "{args:?}");
        }
    }
    // The streams go on; who operates the instance sees what it saw, and is told nothing else.
    let note = node.note("alice", "and on");
    for stream in [&anyone, &operator] {
        let event = stream.next();
        assert_eq!((event.kind.as_str(), &event.data["key"]), ("change", &json!([note.object()])));
    }
    let more = loud.note("more", &[PUBLIC, &node.actor("alice")]);
    loud.deliver(&node, "/inbox", &more, Sign::Bare).expect(202, "a Note");
    assert_eq!(feed.next().kind, "change");

    // Who was away meanwhile reads anew as well; who was away later does not.
    let last = node.settled_head();
    let away = |since: u64| Events::open(&client, "objects", Some(since)).until_quiet();
    assert_eq!(away(before).first().map(|event| event.kind.clone()), Some("reset".to_owned()));
    assert!(away(last).is_empty());
    let later = away(note.global_seq - 1);
    assert!(later.len() == 2 && later.iter().all(|event| event.kind == "change"), "{later:?}");
}
