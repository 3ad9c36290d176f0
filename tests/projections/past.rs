//! Past state.

use serde_json::{Value, json};

use super::PUBLIC_ONES;
use crate::actor_lifecycle::encoded;
use crate::support::node::Node;

#[test]
fn past_state_can_be_asked_for() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let note = node.note("alice", "first words");
    let object = note.object().to_owned();
    let update = json!({ "type": "Update", "object": { "id": object, "type": "Note", "content": "second words" } });
    let updated = node.publish("alice", &update);
    let follow = node.follow("bob", &node.actor("alice"));
    let head = node.settled_head();
    let content = |at: u64| {
        let path = format!("/projections/objects?key={}&at={at}", encoded(&object));
        let page = node.client().get(&path).expect(200, "past state").json();
        assert_eq!((&page["at"], &page["global_seq"]), (&json!(at), &json!(at)));
        page["items"][0]["value"]["latest"]["content"].clone()
    };
    assert_eq!(content(0), Value::Null);
    assert_eq!(content(note.global_seq - 1), Value::Null);
    assert_eq!(content(note.global_seq), "first words");
    assert_eq!(content(updated.global_seq - 1), "first words");
    assert_eq!(content(updated.global_seq), "second words");
    assert_eq!(content(head), "second words");
    let followers = |at: u64| {
        let alice = encoded(&node.actor("alice"));
        let path = format!("/projections/follower-graph?key=followers&key={alice}&at={at}");
        let page = node.client().get(&path).expect(200, "past state").json();
        page["items"].as_array().expect("items").len()
    };
    assert_eq!((followers(follow.global_seq), followers(head)), (0, 1));
    for name in PUBLIC_ONES {
        let of = |query: &str| {
            let path = format!("/projections/{name}?limit=1000&min_seq={head}{query}");
            node.client().get(&path).expect(200, name).json()["items"].clone()
        };
        assert_eq!(of(&format!("&at={head}")), of(""), "{name} at the end of the log");
    }
    let feed = node.as_actor("bob").get(&format!("/projections/feed?at={head}"));
    feed.expect(200, "past state of one's own feed");

    let ahead = node.client().get(&format!("/projections/objects?at={}", head + 1000));
    let problem = ahead.refused(400, "invalid-parameter", "a position that is yet to come");
    assert_eq!((&problem["parameter"], &problem["head"]), (&json!("at"), &json!(head)));
    for path in ["/projections/objects?at=x", "/projections/objects?at=-1"] {
        node.client().get(path).refused(400, "invalid-parameter", path);
    }
    let deliveries = node.admin().get("/projections/delivery-state?at=1");
    deliveries.refused(400, "invalid-parameter", "a ledger has no past state");

    let delete = node.publish("alice", &json!({ "type": "Delete", "object": object }));
    let path = format!("/projections/objects?min_seq={}&at={}", delete.global_seq, note.global_seq);
    let page = node.client().get(&path).expect(200, "past state").text();
    assert!(!page.contains("first words"), "what was deleted since is not shown: {page}");
}
