//! Step 6: Follow, Accept, Reject and Undo, on one instance and between two.

use std::slice::from_ref;

use serde_json::json;

use crate::actor_lifecycle::encoded;
use crate::support::node::Node;
use crate::support::verbs::kinds;
use crate::support::{PATIENCE, Peer, Sign, eventually};

/// Waits until a collection no longer lists an id.
fn unlists(node: &Node, name: &str, collection: &str, id: &str) {
    eventually(PATIENCE, &format!("{id} leaves the {collection} of {name}"), || {
        (!node.listed(name, collection).iter().any(|listed| listed == id)).then_some(())
    });
}

#[test]
fn a_follow_between_instances_is_accepted() {
    let (mut a, mut b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    let (alice, bob) = (a.actor("alice"), b.actor("bob"));
    let follow = a.publish("alice", &json!({ "type": "Follow", "object": bob }));
    let at_once = [a.pending("alice"), a.listed("alice", "following")].concat();
    assert!(at_once.contains(&bob), "pending or already following: {at_once:?}");
    a.lists("alice", "following", &bob);
    b.lists("bob", "followers", &alice);
    assert!(a.pending("alice").is_empty(), "the answer clears what was pending");
    assert_eq!(a.total("alice", "following"), 1, "totalItems counts who is followed");
    assert_eq!(b.total("bob", "followers"), 1, "and who follows");
    assert_eq!(b.total("bob", "following"), 0, "following is not mutual");

    let accept = b.outbox("bob");
    let sent = b.as_actor("bob").get("/actors/bob/outbox?since=&limit=100").json();
    let all = sent["orderedItems"].as_array().expect("items").clone();
    let accept = all.iter().chain(&accept).find(|one| one["type"] == "Accept").expect("an Accept");
    assert_eq!(accept["object"]["id"], follow.id, "the Accept embeds the whole Follow");
    assert_eq!(accept["object"]["type"], "Follow");
    assert_eq!(accept["to"], json!([alice]), "and goes to the follower");
    a.receives("alice", accept["id"].as_str().expect("an id"));

    let graph = |node: &Node, listing: &str, actor: &str, other: &str| {
        let query = format!("?key={listing}&key={}&key={}", encoded(actor), encoded(other));
        node.projection("follower-graph", &query).len()
    };
    assert_eq!(graph(&a, "following", &alice, &bob), 1, "alice's side of the projection");
    assert_eq!(graph(&b, "followers", &bob, &alice), 1, "bob's side of the projection");

    let again = a.publish("alice", &json!({ "type": "Follow", "object": bob }));
    b.receives("bob", &again.id);
    a.lists("alice", "following", &bob);
    assert_eq!(b.total("bob", "followers"), 1, "following twice is following once");

    a.restart();
    b.restart();
    assert_eq!(
        a.listed("alice", "following"),
        from_ref(&bob),
        "survives a restart of the follower"
    );
    assert_eq!(b.listed("bob", "followers"), from_ref(&alice), "and of the followed");
    let note = b.note("bob", "after the restart");
    a.receives("alice", &note.id);

    let undo = a.publish("alice", &json!({ "type": "Undo", "object": again.id }));
    unlists(&a, "alice", "following", &bob);
    b.receives("bob", &undo.id);
    unlists(&b, "bob", "followers", &alice);
    let before = a.total("alice", "inbox");
    let unheard = b.note("bob", "nobody listens");
    let follower = b.publish("bob", &json!({ "type": "Create", "to": [alice], "object": { "type": "Note", "content": "direct" } }));
    a.receives("alice", &follower.id);
    assert_eq!(a.total("alice", "inbox"), before + 1, "after the Undo only the direct one came");
    assert!(!a.inbox("alice").iter().any(|one| one["id"] == unheard.id));
}

#[test]
fn follows_on_one_instance() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let (alice, bob) = (node.actor("alice"), node.actor("bob"));
    let itself = json!({ "type": "Follow", "object": alice });
    let refused = node.as_actor("alice").post("/activity", &itself);
    refused.refused(422, "self-follow", "following oneself by URL");
    let itself = json!({ "type": "Follow", "object": "alice" });
    let refused = node.as_actor("alice").post("/activity", &itself);
    refused.refused(422, "self-follow", "following oneself by name");
    assert_eq!(node.total("alice", "outbox"), 1, "a refused Follow is not appended");

    node.follow("alice", &bob);
    node.lists("bob", "followers", &alice);
    let note = node.note("bob", "to my followers");
    node.receives("alice", &note.id);
    let follow = node.inbox("bob").into_iter().find(|one| one["type"] == "Follow");
    let follow = follow.expect("bob got the Follow");

    node.publish("bob", &json!({ "type": "Reject", "object": follow["id"] }));
    unlists(&node, "alice", "following", &bob);
    unlists(&node, "bob", "followers", &alice);
    assert!(node.pending("alice").is_empty(), "a Reject leaves nothing open");
    let unheard = node.note("bob", "not for alice");
    assert!(!node.inbox("alice").iter().any(|one| one["id"] == unheard.id), "alice is cut off");

    for (case, request) in [
        ("undoing another actor's Follow", json!({ "type": "Undo", "object": follow["id"] })),
        (
            "accepting a Follow of somebody else",
            json!({ "type": "Accept", "object": follow["id"] }),
        ),
    ] {
        node.create_once("carol");
        let refused = node.as_actor("carol").post("/activity", &request);
        refused.refused(422, "unknown-reference", case);
    }
    let foreign = json!({ "type": "Undo", "object": follow["id"] });
    let refused = node.as_actor("bob").post("/activity", &foreign);
    refused.refused(403, "not-authorised", "undoing the Follow of another that one received");
    let nothing = json!({ "type": "Undo", "object": format!("{}/activities/nothing", node.base) });
    let refused = node.as_actor("alice").post("/activity", &nothing);
    refused.refused(422, "unknown-reference", "undoing what is not held");
    let odd = json!({ "type": "Follow", "object": { "no": "id" } });
    let refused = node.as_actor("alice").post("/activity", &odd);
    assert_eq!(refused.status, 422, "a Follow of nobody: {}", refused.text());
}

#[test]
fn an_actor_may_approve_its_followers() {
    let (a, b) = (Node::start(), Node::start());
    a.create("alice");
    let request = json!({
        "type": "Create",
        "object": { "type": "Person", "name": "bob", "manuallyApprovesFollowers": true },
    });
    b.publish("bob", &request);
    let (alice, bob) = (a.actor("alice"), b.actor("bob"));
    let follow = a.publish("alice", &json!({ "type": "Follow", "object": bob }));
    assert_eq!(a.pending("alice"), from_ref(&bob), "it waits for an answer");
    b.receives("bob", &follow.id);
    let head = b.settled_head();
    let query = format!("?key=pending_inbound&key={}&min_seq={head}", encoded(&bob));
    let waiting = b.projection("follower-graph", &query);
    assert_eq!(waiting.len(), 1, "bob's side shows it as open: {waiting:?}");
    assert!(b.listed("bob", "followers").is_empty(), "nobody follows yet");
    let own = b.as_actor("bob").get("/actors/bob/followers?page=true").expect(200, "bob's").json();
    assert_eq!(own["pending"], json!([alice]), "bob sees who waits");
    let others = b.client().get("/actors/bob/followers?page=true").expect(200, "public").json();
    assert!(others.get("pending").is_none(), "nobody else does: {others}");
    assert!(a.listed("alice", "following").is_empty());
    b.publish("bob", &json!({ "type": "Accept", "object": follow.cid }));
    a.lists("alice", "following", &bob);
    b.lists("bob", "followers", &alice);
    assert!(a.pending("alice").is_empty(), "nothing waits any more");
    b.publish("bob", &json!({ "type": "Reject", "object": follow.id }));
    unlists(&a, "alice", "following", &bob);
}

#[test]
fn foreign_servers_follow_and_answer() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let alice = node.actor("alice");
    let follow = mallory.plain("Follow", json!(alice), &[&alice]);
    let answer = mallory.deliver(&node, "/actors/alice/inbox", &follow, Sign::Cavage);
    answer.expect(202, "a Follow as other servers send it");
    node.lists("alice", "followers", &mallory.id);
    let accept = peer.receives_where("an Accept", |post| post.body["type"] == "Accept");
    assert_eq!(accept.path, "/actors/mallory/inbox", "it goes to the follower's inbox");
    assert_eq!(accept.body["object"]["id"], follow["id"], "and embeds the Follow");
    let note = node.note("alice", "to a foreign follower");
    peer.receives(&note.id);
    let undo = mallory.plain("Undo", json!(follow["id"]), &[&alice]);
    let answer = mallory.deliver(&node, "/actors/alice/inbox", &undo, Sign::Cavage);
    answer.expect(202, "an Undo that only names the Follow");
    unlists(&node, "alice", "followers", &mallory.id);

    let unasked = mallory.plain("Accept", json!(format!("{}/activities/x", node.base)), &[&alice]);
    let refused = mallory.deliver(&node, "/actors/alice/inbox", &unasked, Sign::Rsa);
    refused.refused(403, "not-authorised", "an Accept that answers nothing");
    let ours = node.publish("alice", &json!({ "type": "Follow", "object": mallory.id }));
    peer.receives(&ours.id);
    assert_eq!(node.pending("alice"), from_ref(&mallory.id), "nothing came back yet");
    let accept = mallory.plain("Accept", json!(ours.id), &[&alice]);
    let answer = mallory.deliver(&node, "/actors/alice/inbox", &accept, Sign::Rsa);
    answer.expect(202, "an Accept that only names the Follow");
    node.lists("alice", "following", &mallory.id);
    let verbs = node.outbox("alice");
    assert!(!kinds(&verbs).contains(&"Undo"), "{verbs:?}");
}

/// Who blocks ends both directions on both sides, and tells nobody that it was a Block.
#[test]
fn a_block_ends_both_directions_on_both_sides() {
    let (a, b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    let (alice, bob) = (a.actor("alice"), b.actor("bob"));
    a.follow("alice", &bob);
    b.follow("bob", &alice);
    a.lists("alice", "followers", &bob);
    b.lists("bob", "followers", &alice);
    let block = a.publish("alice", &json!({ "type": "Block", "object": bob }));
    for (node, name, other) in [(&a, "alice", &bob), (&b, "bob", &alice)] {
        for collection in ["followers", "following"] {
            unlists(node, name, collection, other);
        }
        assert!(node.pending(name).is_empty(), "{name} waits for nothing");
    }
    let head = b.settled_head();
    let refused =
        a.as_actor("alice").post("/activity", &json!({ "type": "Follow", "object": bob }));
    refused.refused(403, "not-authorised", "following whom one blocks");
    let undo = a.publish("alice", &json!({ "type": "Undo", "object": block.id }));
    let inbox = b.inbox("bob");
    for told in [&block.id, &undo.id] {
        assert!(!inbox.iter().any(|one| one["id"] == told.as_str()), "{inbox:?}");
    }
    assert!(!inbox.iter().any(|one| one.to_string().contains("Block")), "nothing says so");
    assert_eq!(b.settled_head(), head, "the end of the Block is not told either");
    assert!(a.listed("alice", "followers").is_empty(), "nothing comes back by itself");
    b.follow("bob", &alice);
    a.lists("alice", "followers", &bob);
}

impl Node {
    /// Creates an actor unless it exists.
    fn create_once(&self, name: &str) {
        if self.client().get(&format!("/actors/{name}")).status == 404 {
            self.create(name);
        }
    }
}
