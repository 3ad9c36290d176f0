//! Step 9, beyond it: what was lost on its way is fetched, as far as it may be seen.

use std::time::Duration;

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::{Node, Spec};
use crate::support::peer::Foreign;
use crate::support::verbs::Published;
use crate::support::{PATIENCE, PUBLIC, Peer, Sign, eventually, holds_for};

fn create(to: &[&str], content: &str) -> Value {
    json!({ "type": "Create", "to": to, "object": { "type": "Note", "content": content } })
}

fn holds(node: &Node, name: &str, published: &Published) -> bool {
    node.inbox(name).iter().any(|activity| activity["id"] == published.id.as_str())
}

/// What `sender` published for `receiver` while that was away is dropped there for good.
fn loses(sender: &Node, receiver: &mut Node, publish: impl FnOnce()) {
    receiver.stop();
    publish();
    let letter = encoded(&format!("{}#*", receiver.base));
    eventually(PATIENCE, "the receiver is given up", || {
        let dropped =
            sender.admin().send("DELETE", &format!("/admin/dead-letter/{letter}"), &[], None);
        (dropped.status == 200).then_some(())
    });
    receiver.restart();
    let path = format!("/admin/dead-letter/replay?peer={}", encoded(&receiver.base));
    sender.admin().post(&path, &Value::Null).expect(200, "the receiver is tried again");
}

#[test]
fn lost_deliveries_are_fetched_by_those_who_may_see_them() {
    let mut a = Node::start();
    let b = Spec::default().schedule("100ms,100ms").start();
    for name in ["alice", "carol"] {
        a.create(name);
    }
    b.create("bob");
    let (alice, bob) = (a.actor("alice"), b.actor("bob"));
    a.follow("alice", &bob);
    a.follow("carol", &bob);
    let first = b.note("bob", "before");
    a.receives("carol", &first.id);

    let followers = format!("{bob}/followers");
    let mut lost = Vec::new();
    loses(&b, &mut a, || {
        for (to, content) in [
            (PUBLIC, "for all"),
            (followers.as_str(), "for followers"),
            (alice.as_str(), "for alice"),
            ("http://127.0.0.1:9/actors/x", "between others"),
            (PUBLIC, "for all again"),
        ] {
            lost.push(b.publish("bob", &create(&[to], content)));
        }
    });
    let next = b.note("bob", "after");
    a.receives("alice", &next.id);
    for (index, names) in [
        (0, vec!["alice", "carol"]),
        (1, vec!["alice", "carol"]),
        (2, vec!["alice"]),
        (4, vec!["alice", "carol"]),
    ] {
        for name in names {
            let got = a.receives(name, &lost[index].id);
            assert!(got["proof"].is_object(), "it is the signed original");
        }
    }
    assert!(!holds(&a, "alice", &lost[3]), "what is between others stays there");
    assert!(!holds(&a, "carol", &lost[2]), "what is for alice is for alice");
    let feed =
        a.as_actor("carol").get("/projections/feed").expect(200, "carol's feed").text_whole();
    assert!(feed.contains("for followers") && !feed.contains("for alice"), "{feed}");
    let stranger = a.client().get(&lost[1].id.replace(&b.base, &a.base));
    assert_eq!(stranger.status, 404, "strangers see nothing of it");

    let before = a.settled_head();
    a.restart();
    b.note("bob", "later");
    eventually(PATIENCE, "the next Note", || (a.head() > before).then_some(()));
    let inbox = a.inbox("alice");
    for published in lost.iter().chain([&first, &next]) {
        let count = inbox.iter().filter(|one| one["id"] == published.id.as_str()).count();
        assert!(count <= 1, "{}: {count} times", published.id);
    }
    let ended = crate::support::node::verify(a.into_data().path());
    assert_eq!(ended.code, Some(0), "the receiver verifies: {}", ended.all());
}

/// A node whose alice follows mallory, who accepted with the statement at position 1.
fn follows_mallory(spec: Spec) -> (Node, Peer, Foreign) {
    let node = spec.start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let follow = node.publish("alice", &json!({ "type": "Follow", "object": mallory.id }));
    peer.receives(&follow.id);
    let accept = mallory.activity("Accept", json!(follow.id), &[&node.actor("alice")]);
    mallory.deliver(&node, "/actors/alice/inbox", &accept, Sign::Bare).expect(202, "the Accept");
    node.lists("alice", "following", &mallory.id);
    (node, peer, mallory)
}

fn says(mallory: &Foreign, seq: u64) -> Value {
    let object = mallory.note_object(&format!("number {seq}"));
    mallory.sealed(mallory.content("Create", object, json!({ "to": [PUBLIC], "seq": seq })))
}

const OUTBOX: &str = "/actors/mallory/outbox";

#[test]
fn a_hole_is_asked_for_once_and_withheld_ranges_end_it() {
    let (mut node, peer, mallory) = follows_mallory(Spec::default());
    peer.serve(OUTBOX, json!({ "type": "OrderedCollection", "totalItems": 7 }));
    let lost = says(&mallory, 4);
    let page = json!({
        "type": "OrderedCollectionPage",
        "orderedItems": [lost],
        "withheld": [[0, 2, 3], [0, 5, 5]],
    });
    peer.serve(&format!("{OUTBOX}?from=2&limit=4"), page);
    mallory.deliver(&node, "/inbox", &says(&mallory, 6), Sign::Bare).expect(202, "ahead");
    node.receives("alice", lost["id"].as_str().expect("an id"));
    eventually(PATIENCE, "one page", || (peer.fetched(OUTBOX) == 2).then_some(()));

    node.restart();
    mallory.deliver(&node, "/inbox", &says(&mallory, 7), Sign::Bare).expect(202, "the next one");
    holds_for(Duration::from_millis(1500), "the withheld ranges are remembered", || {
        peer.fetched(OUTBOX) == 2
    });
}

#[test]
fn a_forged_number_is_harmless() {
    let (node, peer, mallory) = follows_mallory(Spec::default());
    peer.serve(OUTBOX, json!({ "type": "OrderedCollection", "totalItems": 3 }));
    peer.serve(
        &format!("{OUTBOX}?from=2&limit=1"),
        json!({ "type": "OrderedCollectionPage", "orderedItems": [] }),
    );
    let mut forged = says(&mallory, 3);
    forged["seq"] = json!(1u64 << 50);
    let refused = mallory.deliver(&node, "/inbox", &forged, Sign::Bare);
    assert!(refused.status >= 400, "a changed number breaks the id: {}", refused.text());
    let other = peer.actor("other");
    let mut content = mallory.content(
        "Create",
        mallory.note_object("x"),
        json!({ "to": [PUBLIC], "seq": 1u64 << 50 }),
    );
    content.insert("cc".into(), json!([node.actor("alice")]));
    let stolen = mallory.sealed_by(content, &other.key_id, &other.key);
    let refused = mallory.deliver(&node, "/inbox", &stolen, Sign::Bare);
    assert_eq!(refused.status, 401, "somebody else's proof: {}", refused.text());
    holds_for(Duration::from_secs(1), "what was not verified claims nothing", || {
        peer.fetched(OUTBOX) == 0
    });

    // The author itself may well sign nonsense.
    let huge = says(&mallory, 1 << 50);
    mallory.deliver(&node, "/inbox", &huge, Sign::Bare).expect(202, "a huge number");
    eventually(PATIENCE, "the outbox and one page of it", || {
        (peer.fetched(OUTBOX) == 2).then_some(())
    });
    holds_for(Duration::from_millis(1500), "no more than the outbox has", || {
        peer.fetched(OUTBOX) == 2
    });
    // What is lost afterwards is still found.
    let lost = says(&mallory, 4);
    peer.serve(OUTBOX, json!({ "type": "OrderedCollection", "totalItems": 6 }));
    peer.serve(
        &format!("{OUTBOX}?from=4&limit=1"),
        json!({ "type": "OrderedCollectionPage", "orderedItems": [lost] }),
    );
    for seq in [3, 5] {
        mallory.deliver(&node, "/inbox", &says(&mallory, seq), Sign::Bare).expect(202, "a Note");
    }
    node.receives("alice", lost["id"].as_str().expect("an id"));
}

#[test]
fn what_a_page_claims_is_verified() {
    let (node, peer, mallory) = follows_mallory(Spec::default());
    let other = peer.actor("other");
    let mut tampered = says(&mallory, 2);
    tampered["object"]["content"] = json!("put into his mouth");
    let content =
        mallory.content("Create", mallory.note_object("x"), json!({ "to": [PUBLIC], "seq": 3 }));
    let foreign_proof = mallory.sealed_by(content, &other.key_id, &other.key);
    let others = other.sealed(other.content(
        "Create",
        other.note_object("y"),
        json!({ "to": [PUBLIC], "seq": 4 }),
    ));
    let honest = says(&mallory, 5);
    let page = json!({
        "type": "OrderedCollectionPage",
        "orderedItems": [tampered, foreign_proof, others, 7, null, honest],
        "next": format!("{}{OUTBOX}?from=2&limit=4", peer.base),
        "withheld": [["x"], [0], {}, 3],
    });
    peer.serve(OUTBOX, json!({ "type": "OrderedCollection", "totalItems": 7 }));
    peer.serve(&format!("{OUTBOX}?from=2&limit=4"), page);
    mallory.deliver(&node, "/inbox", &says(&mallory, 6), Sign::Bare).expect(202, "ahead");
    node.receives("alice", honest["id"].as_str().expect("an id"));
    let inbox = node.inbox("alice");
    assert_eq!(inbox.len(), 3, "the Accept and two Notes, nothing else: {inbox:?}");
    holds_for(Duration::from_millis(1200), "a page that names itself as next is no loop", || {
        peer.fetched(OUTBOX) == 2
    });
}
