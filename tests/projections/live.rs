//! Live streams.

use serde_json::{Value, json};

use super::events::Events;
use crate::actor_lifecycle::encoded;
use crate::support::PUBLIC;
use crate::support::node::Node;

#[test]
fn changes_are_streamed_and_resumed() {
    let mut node = Node::start();
    node.create("alice");
    node.create("bob");
    let before = node.settled_head();
    let client = node.client().clone();
    let live = Events::open(&client, "objects", None);
    assert_eq!(live.block().expect("where it stands").id, Some(before));
    let first = node.note("alice", "one");
    let event = live.next();
    assert_eq!((event.id, event.kind.as_str()), (Some(first.global_seq), "change"));
    assert_eq!(event.data["key"], json!([first.object()]));
    assert_eq!(event.data["value"]["latest"]["content"], "one");
    assert_eq!(event.data["global_seq"], first.global_seq);
    let second = node.note("bob", "two");
    assert_eq!(live.next().data["key"], json!([second.object()]));

    // A client that was away: from the header, from the query, and only below a key.
    let replayed = Events::open(&client, "objects", Some(first.global_seq)).until_quiet();
    assert_eq!(replayed.len(), 1, "{replayed:?}");
    assert_eq!(replayed[0].id, Some(second.global_seq));
    let path =
        format!("/projections/objects/events?since={before}&key={}", encoded(first.object()));
    let replayed = Events::of(&client, &path, &[]).until_quiet();
    assert_eq!(replayed.len(), 1);
    assert_eq!(replayed[0].data["key"], json!([first.object()]));

    // A row that is gone, and several changes at one position: the last one has the id.
    let like = node
        .publish("alice", &json!({ "type": "Like", "to": [PUBLIC], "object": second.object() }));
    let undo = node.publish("alice", &json!({ "type": "Undo", "object": like.id }));
    node.client().get(&format!("/projections/endorsements?min_seq={}", undo.global_seq));
    let replayed = Events::open(&client, "endorsements", Some(like.global_seq)).until_quiet();
    let gone = replayed.iter().find(|event| event.data["key"] == json!([second.object()]));
    assert_eq!(gone.expect("the count").data["value"], Value::Null, "nobody likes it any more");
    let ids: Vec<_> = replayed.iter().map(|event| event.id).collect();
    assert_eq!(ids, [None, Some(undo.global_seq)]);

    // Over a restart, also by a crash; the stream ends with the server.
    node.stop();
    while live.block().is_some() {}
    node.restart();
    node.crash();
    node.restart();
    let client = node.client().clone();
    let replayed = Events::open(&client, "objects", Some(before)).until_quiet();
    let keys: Vec<_> = replayed.iter().map(|event| event.data["key"][0].clone()).collect();
    assert_eq!(keys, [json!(first.object()), json!(second.object())]);

    // A position that is not there (any more): read anew.
    let reset = Events::open(&client, "objects", Some(1_000_000)).next();
    assert_eq!(reset.kind, "reset");
    assert_eq!(reset.data["global_seq"].as_u64(), reset.id);
    let stream = Events::open(&client, "objects", None);
    stream.block();
    node.admin().post("/admin/projections/objects/rebuild", &json!({})).expect(202, "a rebuild");
    assert_eq!(stream.next().kind, "reset", "the state was replaced");
    let third = node.note("alice", "three");
    assert_eq!(stream.next().data["key"], json!([third.object()]), "and the stream goes on");

    for (path, headers, status, slug) in [
        ("/projections/none/events", vec![], 404, "not-found"),
        ("/projections/delivery-state/events", vec![], 404, "not-found"),
        ("/projections/objects/events?since=x", vec![], 400, "invalid-parameter"),
        ("/projections/objects/events", vec![("last-event-id", "x")], 400, "invalid-parameter"),
        (
            "/projections/objects/events",
            vec![("accept", "application/json")],
            406,
            "not-acceptable",
        ),
    ] {
        client.send("GET", path, &headers, None).refused(status, slug, path);
    }
    let open: Vec<_> = (0..31).map(|_| Events::open(&client, "objects", None)).collect();
    let refused = client.send("GET", "/projections/objects/events", &[], None);
    refused.refused(503, "busy", "a client has a number of streams");
    drop((open, stream));
}
