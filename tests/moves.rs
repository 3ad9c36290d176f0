//! Actors that move: what a Move needs to count, who follows it, and what a hostile one does.

use std::slice::from_ref;

use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::peer::Foreign;
use crate::support::verbs::note;
use crate::support::{PATIENCE, Peer, Sign, eventually};

/// Lets actors follow a foreign one, which accepts.
fn all_follow(node: &Node, names: &[&str], foreign: &Foreign) {
    for name in names {
        let follow = node.publish(name, &json!({ "type": "Follow", "object": foreign.id }));
        let actor = node.actor(name);
        let accept = foreign.activity("Accept", json!(follow.id), &[&actor]);
        let answer = foreign.deliver(node, &format!("/actors/{name}/inbox"), &accept, Sign::Bare);
        answer.expect(202, "Accept");
        node.lists(name, "following", &foreign.id);
    }
}

/// Serves the document of a foreign actor with further members.
fn serve_with(peer: &Peer, foreign: &Foreign, more: &Value) {
    let mut document = foreign.document();
    for (name, value) in more.as_object().expect("members") {
        document[name] = value.clone();
    }
    peer.serve(&format!("/actors/{}", foreign.name), document);
}

fn move_of(old: &Foreign, new: &str) -> Value {
    let followers = format!("{}/followers", old.id);
    old.sealed(old.content("Move", json!(old.id), json!({ "to": [followers], "target": new })))
}

/// What was posted of a verb by an actor about an object.
fn posts(peer: &Peer, kind: &str, actor: &str, object: &str) -> Vec<Value> {
    let about = |body: &Value| {
        let named = body["object"].as_str().or(body["object"]["object"].as_str());
        named == Some(object)
    };
    let posted = peer.posted().into_iter().map(|post| post.body);
    posted.filter(|body| body["type"] == kind && body["actor"] == actor && about(body)).collect()
}

#[test]
fn followers_follow_a_move_once() {
    let mut node = Node::start();
    let peer = Peer::start();
    let (old, new) = (peer.actor("old"), peer.actor("new"));
    for name in ["alice", "bob", "carol"] {
        node.create(name);
    }
    all_follow(&node, &["alice", "bob"], &old);
    serve_with(&peer, &new, &json!({ "alsoKnownAs": [old.id] }));
    let moved = move_of(&old, &new.id);
    old.deliver(&node, "/inbox", &moved, Sign::Bare).expect(202, "the Move");
    for name in ["alice", "bob"] {
        let actor = node.actor(name);
        let follow = peer.receives_where("a Follow of the new actor", |post| {
            post.body["type"] == "Follow"
                && post.body["actor"] == actor.as_str()
                && post.body["object"] == new.id
        });
        let cid = fedsx_kernel::Activity::from_document(moved.clone()).expect("a Move");
        assert_eq!(follow.body["cause"], cid.cid().to_string(), "the Follow says why");
        let undo = peer.receives_where("an Undo of the old Follow", |post| {
            post.body["type"] == "Undo"
                && post.body["actor"] == actor.as_str()
                && post.body["object"]["object"] == old.id
        });
        assert_eq!(undo.body["cause"], cid.cid().to_string(), "so does the Undo");
        let accept = new.activity("Accept", follow.body["id"].clone(), &[&actor]);
        let path = format!("/actors/{name}/inbox");
        new.deliver(&node, &path, &accept, Sign::Bare).expect(202, "Accept");
        node.lists(name, "following", &new.id);
        assert_eq!(node.listed(name, "following"), from_ref(&new.id), "and nobody else");
    }
    assert!(node.listed("carol", "following").is_empty(), "who did not follow does not");
    let state = node
        .projection("actor-state", &format!("?key={}", crate::actor_lifecycle::encoded(&old.id)));
    assert!(state[0]["value"]["movedPrivately"] == new.id.as_str(), "{state:?}");

    // Again, and after a restart: nothing more is said.
    old.deliver(&node, "/inbox", &moved, Sign::Bare).expect(202, "nobody is concerned any more");
    node.restart();
    node.settled_head();
    for name in ["alice", "bob"] {
        let actor = node.actor(name);
        assert_eq!(posts(&peer, "Follow", &actor, &new.id).len(), 1, "{name} follows once");
        assert_eq!(posts(&peer, "Undo", &actor, &old.id).len(), 1, "{name} undoes once");
    }
}

/// The origin of the target is away when the Move comes, and this instance crashes meanwhile.
#[test]
fn a_move_is_not_lost() {
    let mut node = Node::start();
    let (peer, away) = (Peer::start(), Peer::start());
    let port = away.port();
    let (old, new) = (peer.actor("old"), away.actor("new"));
    node.create("alice");
    all_follow(&node, &["alice"], &old);
    drop(away);
    let moved = move_of(&old, &new.id);
    old.deliver(&node, "/inbox", &moved, Sign::Bare).expect(202, "the Move");
    node.crash();
    let back = Peer::start_on(port);
    serve_with(&back, &new, &json!({ "alsoKnownAs": old.id }));
    node.restart();
    let alice = node.actor("alice");
    back.receives_where("alice's Follow", |post| {
        post.body["type"] == "Follow" && post.body["actor"] == alice.as_str()
    });
}

#[test]
fn hostile_moves_do_nothing() {
    let node = Node::start();
    let peer = Peer::start();
    let [old, new, other, thief] = ["old", "new", "other", "thief"].map(|name| peer.actor(name));
    node.create("alice");
    all_follow(&node, &["alice"], &old);
    let stays = |case: &str, path: &str, before: usize| {
        eventually(PATIENCE, case, || (peer.fetched(path) > before).then_some(()));
        node.settled_head();
        assert_eq!(node.listed("alice", "following"), from_ref(&old.id), "{case}");
        assert!(node.pending("alice").is_empty(), "{case}");
    };

    let before = peer.fetched("/actors/thief");
    old.deliver(&node, "/inbox", &move_of(&old, &thief.id), Sign::Bare).expect(202, "unlisted");
    stays("the target does not list the old actor", "/actors/thief", before);

    let foreign = new.sealed(new.content(
        "Move",
        json!(old.id),
        json!({ "to": [node.actor("alice")], "target": new.id }),
    ));
    serve_with(&peer, &new, &json!({ "alsoKnownAs": [old.id] }));
    new.deliver(&node, "/actors/alice/inbox", &foreign, Sign::Bare).refused(
        403,
        "not-authorised",
        "a Move by another",
    );

    serve_with(&peer, &thief, &json!({ "alsoKnownAs": [old.id], "movedTo": other.id }));
    let before = peer.fetched("/actors/thief");
    old.deliver(&node, "/inbox", &move_of(&old, &thief.id), Sign::Bare).expect(202, "a chain");
    stays("the target moved itself", "/actors/thief", before);

    // One that counts, so that what comes after it can be a loop.
    old.deliver(&node, "/inbox", &move_of(&old, &new.id), Sign::Bare).expect(202, "a Move");
    let alice = node.actor("alice");
    let follow = peer.receives_where("a Follow of the new actor", |post| {
        post.body["type"] == "Follow" && post.body["object"] == new.id
    });
    let accept = new.activity("Accept", follow.body["id"].clone(), &[&alice]);
    new.deliver(&node, "/actors/alice/inbox", &accept, Sign::Bare).expect(202, "Accept");
    node.lists("alice", "following", &new.id);
    for (case, from, to) in [("back", &new, &old), ("on", &new, &other)] {
        serve_with(&peer, to, &json!({ "alsoKnownAs": [from.id] }));
        let path = format!("/actors/{}", to.name);
        let before = peer.fetched(&path);
        let moved = move_of(from, &to.id);
        from.deliver(&node, "/inbox", &moved, Sign::Bare).expect(202, case);
        eventually(PATIENCE, case, || (peer.fetched(&path) > before).then_some(()));
        node.settled_head();
        assert_eq!(node.listed("alice", "following"), from_ref(&new.id), "{case}");
        assert!(node.pending("alice").is_empty(), "{case}");
    }
}

#[test]
fn an_actor_of_ours_moves_where_it_is_expected() {
    let node = Node::start();
    let peer = Peer::start();
    let (new, follower) = (peer.actor("new"), peer.actor("follower"));
    for name in ["alice", "bob", "carol", "dave"] {
        node.create(name);
    }
    let alice = node.actor("alice");
    follower.follows(&node, "alice");
    node.follow("bob", &alice);
    let client = node.as_actor("alice");
    let to = |target: &str| json!({ "type": "Move", "target": target });
    for (case, request, status, slug) in [
        ("unlisted", to(&new.id), 403, "not-authorised"),
        ("unlisted, here", to("dave"), 403, "not-authorised"),
        ("to itself", to("alice"), 403, "not-authorised"),
        ("nobody", to(&format!("{}/actors/nobody", peer.base)), 422, "unknown-reference"),
        ("no target", json!({ "type": "Move" }), 422, "invalid-activity"),
        (
            "another",
            json!({ "type": "Move", "object": "bob", "target": "alice" }),
            403,
            "not-authorised",
        ),
        (
            "in private",
            json!({ "type": "Move", "target": new.id, "to": ["bob"] }),
            422,
            "invalid-activity",
        ),
        (
            "by the profile",
            json!({ "type": "Update", "object": { "id": alice, "movedTo": new.id } }),
            422,
            "invalid-activity",
        ),
    ] {
        client.post("/activity", &request).refused(status, slug, case);
    }
    serve_with(&peer, &new, &json!({ "alsoKnownAs": [alice] }));
    let moved = node.publish("alice", &to(&new.id));
    let sent = peer.receives(&moved.id).body;
    assert_eq!((&sent["object"], &sent["target"]), (&json!(alice), &json!(new.id)));
    let document = client.get("/actors/alice").expect(200, "the document").json();
    assert_eq!(document["movedTo"], new.id, "the document says where she is");
    let bob = node.actor("bob");
    peer.receives_where("bob's Follow of the new actor", |post| {
        post.body["type"] == "Follow" && post.body["actor"] == bob.as_str()
    });
    eventually(PATIENCE, "bob does not follow alice any more", || {
        node.listed("bob", "following").is_empty().then_some(())
    });

    client.post("/activity", &note("still here?")).refused(403, "not-authorised", "a post");
    client.post("/activity", &to(&new.id)).refused(403, "not-authorised", "a second Move");
    let follow = node.publish("carol", &json!({ "type": "Follow", "object": alice }));
    eventually(PATIENCE, "a Follow of who moved is rejected", || {
        let inbox = node.inbox("carol");
        inbox
            .iter()
            .any(|one| one["type"] == "Reject" && one["object"]["id"] == follow.id)
            .then_some(())
    });
    let back = json!({ "type": "Update", "object": { "id": alice, "movedTo": null } });
    let back = node.publish("alice", &back);
    node.note("alice", "back again");
    let query =
        format!("?key={}&min_seq={}", crate::actor_lifecycle::encoded(&alice), back.global_seq);
    let state = node.projection("actor-state", &query);
    assert!(state[0]["value"]["movedTo"].is_null(), "{state:?}");
}

/// Both actors are hosted here; names stand for ids.
#[test]
fn a_move_within_one_instance() {
    let node = Node::start();
    for name in ["alice", "bob", "carol"] {
        node.create(name);
    }
    node.follow("carol", &node.actor("alice"));
    let names =
        json!({ "type": "Update", "object": { "id": node.actor("bob"), "alsoKnownAs": "alice" } });
    node.publish("bob", &names);
    let document = node.client().get("/actors/bob").json();
    assert_eq!(document["alsoKnownAs"], json!([node.actor("alice")]));
    let bad =
        json!({ "type": "Update", "object": { "id": node.actor("bob"), "alsoKnownAs": [7] } });
    node.as_actor("bob").post("/activity", &bad).refused(422, "invalid-activity", "not an id");
    node.publish("alice", &json!({ "type": "Move", "object": "alice", "target": "bob" }));
    node.lists("carol", "following", &node.actor("bob"));
    eventually(PATIENCE, "carol leaves alice", || {
        (node.listed("carol", "following") == [node.actor("bob")]).then_some(())
    });
}
