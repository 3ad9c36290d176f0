//! Step 2: actors come to be, change, move and end by activities.

use serde_json::{Value, json};

use crate::support::at_once;
use crate::support::node::{Node, verify};
use crate::support::verbs::note;

/// The entry of an actor in the `actor-state` projection.
fn state(node: &Node, actor: &str, after: u64) -> Value {
    let query = format!("?key={}&min_seq={after}", encoded(actor));
    let items = node.projection("actor-state", &query);
    assert_eq!(items.len(), 1, "one entry for {actor}: {items:?}");
    items[0]["value"].clone()
}

pub fn encoded(text: &str) -> String {
    text.replace('%', "%25").replace(':', "%3A").replace('/', "%2F").replace('#', "%23")
}

#[test]
fn an_actor_is_created_by_its_first_activity() {
    let node = Node::start();
    let early = node.as_actor("alice").post("/activity", &note("nobody yet"));
    early.refused(404, "unknown-actor", "publishing before Create{Person}");

    let other =
        json!({ "type": "Create", "object": { "type": "Person", "preferredUsername": "bob" } });
    let refused = node.as_actor("alice").post("/activity", &other);
    refused.refused(403, "not-authorised", "a token creates only its own actor");

    for (name, kind) in [("alice", "Person"), ("bob", "Service"), ("carol", "Group")] {
        let create = json!({
            "type": "Create",
            "object": { "type": kind, "name": format!("{name} the {kind}"), "summary": "hello" },
        });
        let published = node.publish(name, &create);
        assert_eq!(published.seq, 0, "{kind}: the Create is the first entry");
        assert_eq!(published.object(), node.actor(name), "{kind}: the object is the actor");
        let document = node.client().get(&format!("/actors/{name}")).expect(200, kind).json();
        let id = node.actor(name);
        for (member, value) in [
            ("id", json!(id)),
            ("type", json!(kind)),
            ("name", json!(format!("{name} the {kind}"))),
            ("summary", json!("hello")),
            ("preferredUsername", json!(name)),
            ("inbox", json!(format!("{id}/inbox"))),
            ("outbox", json!(format!("{id}/outbox"))),
            ("followers", json!(format!("{id}/followers"))),
            ("following", json!(format!("{id}/following"))),
        ] {
            assert_eq!(document[member], value, "{kind}: {member}");
        }
        assert_eq!(document["endpoints"]["sharedInbox"], format!("{}/inbox", node.base), "{kind}");
        assert_eq!(document["publicKey"]["owner"], id, "{kind}: the RSA key names its owner");
        let pem = document["publicKey"]["publicKeyPem"].as_str().unwrap_or_default();
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----"), "{kind}: {pem}");
        let multikey = &document["assertionMethod"][0];
        assert_eq!(multikey["controller"], id, "{kind}: the Multikey names its owner");
        let text = multikey["publicKeyMultibase"].as_str().unwrap_or_default();
        assert!(text.starts_with("z6Mk"), "{kind}: an Ed25519 Multikey, not {text}");
        let contexts = document["@context"].as_array().expect("contexts").clone();
        for needed in ["https://www.w3.org/ns/activitystreams", "https://w3id.org/security/v1"] {
            assert!(contexts.contains(&json!(needed)), "{kind}: {needed} in {contexts:?}");
        }
        let state = state(&node, &id, published.global_seq);
        assert!(state.to_string().contains(kind), "{kind} in actor-state: {state}");
    }

    let again = json!({ "type": "Create", "object": { "type": "Person" } });
    let refused = node.as_actor("alice").post("/activity", &again);
    refused.refused(409, "actor-exists", "an actor is created once");
    assert_eq!(node.total("alice", "outbox"), 1, "the second Create was not appended");
}

#[test]
fn profiles_change_by_updates_and_survive_a_restart() {
    let mut node = Node::start();
    node.create("alice");
    node.create("bob");
    let (alice, bob) = (node.actor("alice"), node.actor("bob"));

    let by_object = json!({ "type": "Update", "object": { "id": alice, "name": "Alice A." } });
    let updated = node.publish("alice", &by_object);
    assert_eq!(updated.seq, 1, "an Update is an entry like others");
    let document = |node: &Node, name: &str| {
        node.client().get(&format!("/actors/{name}")).expect(200, "the document").json()
    };
    assert_eq!(document(&node, "alice")["name"], "Alice A.", "Update by object");
    assert!(document(&node, "alice")["updated"].is_string(), "the document says when");
    let shown = state(&node, &alice, updated.global_seq);
    assert!(shown.to_string().contains("Alice A."), "actor-state shows the new name: {shown}");

    let patch = json!({ "type": "Update", "object": "alice", "patch": { "summary": "about me" } });
    node.publish("alice", &patch);
    assert_eq!(document(&node, "alice")["summary"], "about me", "Update by patch");
    assert_eq!(document(&node, "alice")["name"], "Alice A.", "a patch leaves the rest");
    node.publish("alice", &json!({ "type": "Update", "object": { "id": alice, "summary": null } }));
    assert!(document(&node, "alice").get("summary").is_none(), "null removes a member");

    assert_eq!(document(&node, "bob")["name"], "bob", "another actor's state is its own");
    let foreign = json!({ "type": "Update", "object": { "id": bob, "name": "hijacked" } });
    let refused = node.as_actor("alice").post("/activity", &foreign);
    refused.refused(403, "not-authorised", "updating another actor");
    let retyped = json!({ "type": "Update", "object": { "id": alice, "type": "Group" } });
    let refused = node.as_actor("alice").post("/activity", &retyped);
    refused.refused(422, "invalid-activity", "an actor keeps its type");
    let moved =
        json!({ "type": "Update", "object": { "id": alice, "inbox": "https://evil.example/" } });
    let answer = node.as_actor("alice").post("/activity", &moved);
    assert!(answer.status == 201 || answer.status == 422, "{}", answer.text());
    assert_eq!(
        document(&node, "alice")["inbox"],
        format!("{alice}/inbox"),
        "members that the server gives cannot be changed"
    );

    let before = document(&node, "alice");
    node.restart();
    assert_eq!(document(&node, "alice"), before, "the document survives a restart");
    assert_eq!(document(&node, "bob")["name"], "bob", "so does the other one");
}

#[test]
fn a_move_leaves_a_pointer() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let (alice, bob) = (node.actor("alice"), node.actor("bob"));
    let listed = json!({ "type": "Update", "object": { "id": bob, "alsoKnownAs": [alice] } });
    node.publish("bob", &listed);
    let request = json!({ "type": "Move", "object": alice, "target": bob });
    let moved = node.publish("alice", &request);
    let state = state(&node, &alice, moved.global_seq);
    assert!(
        state.to_string().contains("movedTo") || state.to_string().contains("moved_to"),
        "movedTo in actor-state: {state}"
    );
    assert!(state.to_string().contains(&bob), "the target in actor-state: {state}");
}

#[test]
fn a_deleted_actor_is_gone_for_good() {
    let mut node = Node::start();
    node.create("alice");
    node.create("bob");
    node.note("alice", "last words");
    let alice = node.actor("alice");
    let refused =
        node.as_actor("bob").post("/activity", &json!({ "type": "Delete", "object": alice }));
    refused.refused(403, "not-authorised", "deleting another actor");
    node.client().get("/actors/alice").expect(200, "alice is still there");
    node.publish("alice", &json!({ "type": "Delete", "object": alice }));
    for round in ["at once", "after a restart"] {
        let gone = node.client().get("/actors/alice");
        assert_eq!(gone.status, 410, "{round}: the document of a deleted actor");
        let refused = node.as_actor("alice").post("/activity", &note("a ghost"));
        refused.refused(410, "actor-gone", round);
        let again = json!({ "type": "Create", "object": { "type": "Person" } });
        let refused = node.as_actor("alice").post("/activity", &again);
        assert!(
            refused.status == 410 || refused.status == 409,
            "{round}: a deleted name is not given again: {}",
            refused.text()
        );
        let account = format!("acct:alice@{}", node.base.trim_start_matches("http://"));
        let answer = node.client().get(&format!("/.well-known/webfinger?resource={account}"));
        assert!(matches!(answer.status, 404 | 410), "{round}: webfinger: {}", answer.text());
        node.client().get("/actors/bob").expect(200, "others stay");
        node.restart();
    }
}

/// Two clients that create the same actor at once: one of them does, and its keys are used.
#[test]
fn an_actor_is_created_once_in_a_race() {
    let node = Node::start();
    let create = json!({ "type": "Create", "object": { "type": "Person", "name": "Alice" } });
    let client = node.as_actor("alice");
    let answers = at_once(4, |_| client.post("/activity", &create));
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1, "{:?}", answers.iter().map(|a| a.status).collect::<Vec<_>>());
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.refused(409, "actor-exists", "the others");
    }
    assert_eq!(node.keys("alice").len(), 2, "one pair of keys");
    assert_eq!(node.note("alice", "first").seq, 1, "the log goes on");
    let ended = verify(node.into_data().path());
    assert_eq!(ended.code, Some(0), "fedsx verify: {}", ended.all());
}
