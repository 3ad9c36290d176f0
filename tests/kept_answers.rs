//! Answers that are kept as bytes say what holds when they are given, and to those alone who may read it.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::node::{Node, Spec};
use crate::support::verbs::note;
use crate::support::{PATIENCE, eventually};

/// Asks three times: from the second time on, answers are such as were kept. All of them are one, but
/// for how far a projection is.
#[track_caller]
fn thrice(client: &Client, path: &str) -> Answer {
    let answer = client.get(path);
    for _ in 0..2 {
        let again = client.get(path);
        assert_eq!((again.status, again.media_type()), (answer.status, answer.media_type()));
        if answer.status == 200 && !path.starts_with("/projections/") {
            assert_eq!(again.text_whole(), answer.text_whole(), "{path}");
        }
    }
    answer
}

#[track_caller]
fn says(client: &Client, path: &str, what: &str) {
    let text = thrice(client, path).expect(200, path).text_whole();
    assert!(text.contains(what), "{path} does not say {what}: {text}");
}

fn local(node: &Node, id: &str) -> String {
    id.strip_prefix(&node.base).unwrap_or_else(|| panic!("{id} is not of {}", node.base)).to_owned()
}

#[test]
fn what_changes_is_told_at_once() {
    let mut spec = Spec::default();
    spec.args.push("--erase-on-delete".into());
    let node = spec.start();
    node.create("alice");
    let (anyone, alice) = (node.client(), node.as_actor("alice"));
    let first = node.note("alice", "first words");
    let (activity, object) = (local(&node, &first.id), local(&node, first.object()));
    let (actor, outbox) = ("/actors/alice", "/actors/alice/outbox?page=true");
    node.settled_head();
    let objects = "/projections/objects?limit=20";
    for path in [activity.as_str(), &object, outbox, objects] {
        says(anyone, path, "first words");
    }
    says(anyone, actor, "\"name\":\"alice\"");

    let rename =
        json!({ "type": "Update", "object": { "id": node.actor("alice"), "name": "Ali" } });
    node.publish("alice", &rename);
    says(anyone, actor, "\"name\":\"Ali\"");
    let edit = json!({ "id": first.object(), "type": "Note", "content": "other words" });
    let edited = node.publish("alice", &json!({ "type": "Update", "object": edit }));
    says(anyone, &object, "other words");
    says(anyone, &activity, "first words");
    says(anyone, outbox, "other words");
    let seen = format!("{objects}&min_seq={}", edited.global_seq);
    says(anyone, &seen, "other words");
    says(anyone, objects, "other words");

    // Whom the instance suspends is shown to nobody else, and then again.
    let decide = json!({ "action": "suspend", "object": "alice" });
    node.admin().post("/admin/moderation", &decide).expect(201, "suspended");
    for path in [&activity, &object] {
        thrice(anyone, path).refused(404, "not-found", path);
        says(&alice, path, "words");
        thrice(anyone, path).refused(404, "not-found", path);
    }
    thrice(anyone, outbox).refused(403, "actor-suspended", outbox);
    says(anyone, actor, "\"suspended\":true");
    node.settled_head();
    let text = thrice(anyone, objects).expect(200, objects).text_whole();
    assert!(!text.contains("other words"), "{text}");
    let undo = json!({ "object": "alice", "action": "suspend" });
    node.admin().post("/admin/moderation/undo", &undo).expect(201, "no longer");
    says(anyone, &activity, "first words");
    says(anyone, &object, "other words");
    says(anyone, outbox, "other words");
    says(anyone, actor, "\"name\":\"Ali\"");

    // What is erased is gone from everywhere.
    node.publish("alice", &json!({ "type": "Delete", "object": first.object() }));
    thrice(anyone, &object).expect(410, "deleted");
    eventually(PATIENCE, "it is erased", || (anyone.get(&activity).status == 410).then_some(()));
    node.settled_head();
    for path in [outbox, objects] {
        let text = thrice(anyone, path).expect(200, path).text_whole();
        assert!(!text.contains("first words") && !text.contains("other words"), "{path}: {text}");
    }
}

#[test]
fn what_is_for_some_is_shown_to_them_alone() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let (anyone, alice, bob) = (node.client(), node.as_actor("alice"), node.as_actor("bob"));
    node.note("alice", "for all");
    let mut wish = note("for bob");
    wish["to"] = json!([node.actor("bob")]);
    let private = node.publish("alice", &wish);
    node.settled_head();
    let (outbox, objects) = ("/actors/alice/outbox?page=true", "/projections/objects?limit=20");
    for _ in 0..2 {
        for path in [local(&node, &private.id), local(&node, private.object())] {
            says(&bob, &path, "for bob");
            thrice(anyone, &path).refused(404, "not-found", &path);
            says(&alice, &path, "for bob");
        }
        for path in [outbox, objects] {
            says(&alice, path, "for bob");
            let answer: Value = thrice(anyone, path).expect(200, path).json();
            let text = answer.to_string();
            assert!(text.contains("for all") && !text.contains("for bob"), "{path}: {text}");
            says(&alice, path, "for bob");
        }
    }
}
