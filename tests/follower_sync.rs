//! Followers collection synchronisation (FEP-8fcf), both directions.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::node::{Node, Spec};
use crate::support::peer::{Foreign, send};
use crate::support::verbs::ids;
use crate::support::{ACTIVITY_JSON, PATIENCE, PUBLIC, Peer, Posted, Sign, eventually, holds_for};

const HEADER: &str = "collection-synchronization";

/// The digest of the FEP: the exclusive or of the hashes of ids.
fn digest(ids: &[&str]) -> String {
    let mut bytes = [0u8; 32];
    for id in ids {
        for (byte, other) in bytes.iter_mut().zip(Sha256::digest(id.as_bytes())) {
            *byte ^= other;
        }
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(post: &Posted) -> Option<&str> {
    post.headers.get(HEADER).map(|value| value.to_str().expect("text"))
}

fn expected(node: &Node, name: &str, followers: &[&str]) -> String {
    let actor = node.actor(name);
    format!(
        r#"collectionId="{actor}/followers", url="{actor}/followers/synchronization", digest="{}""#,
        digest(followers)
    )
}

#[test]
fn what_goes_to_followers_says_who_follows_there() {
    let node = Node::start();
    node.create("alice");
    let (peer, other) = (Peer::start(), Peer::start());
    let (bob, ben, olga) = (peer.actor("bob"), peer.actor("ben"), other.actor("olga"));
    for follower in [&bob, &ben, &olga] {
        follower.follows(&node, "alice");
    }
    let note = node.note("alice", "one");
    let post = peer.receives(&note.id);
    assert_eq!(said(&post), Some(&*expected(&node, "alice", &[&bob.id, &ben.id])));
    let signature = post.headers["signature"].to_str().expect("text");
    assert!(signature.contains("collection-synchronization\""), "it is signed: {signature}");
    assert_eq!(said(&other.receives(&note.id)), Some(&*expected(&node, "alice", &[&olga.id])));

    // Whoever goes is not counted any more.
    let follow = json!({ "type": "Follow", "actor": ben.id, "object": node.actor("alice") });
    let undo = ben.activity("Undo", follow, &[&node.actor("alice")]);
    ben.deliver(&node, "/inbox", &undo, Sign::Rsa).expect(202, "an Undo");
    eventually(PATIENCE, "Ben follows no more", || {
        (!node.listed("alice", "followers").contains(&ben.id)).then_some(())
    });
    let post = peer.receives(&node.note("alice", "two").id);
    assert_eq!(said(&post), Some(&*expected(&node, "alice", &[&bob.id])));

    // What is not for the followers says nothing of them.
    let direct = json!({ "type": "Note", "content": "you", "to": [bob.id] });
    let direct = json!({ "type": "Create", "to": [bob.id], "object": direct });
    assert_eq!(said(&peer.receives(&node.publish("alice", &direct).id)), None);

    // The list behind it is for each instance its own, and for nobody else.
    let path = "/actors/alice/followers/synchronization";
    let read = |foreign: &Foreign| {
        let answer = foreign.fetch(&node, path, ACTIVITY_JSON).expect(200, "signed").json();
        assert_eq!(answer["type"], "OrderedCollection");
        ids(&answer["orderedItems"])
    };
    assert_eq!(read(&bob), [&*bob.id]);
    assert_eq!(read(&ben), [&*bob.id], "whoever of the instance asks");
    assert_eq!(read(&olga), [&*olga.id]);
    assert_eq!(read(&Peer::start().actor("eve")), Vec::<String>::new());
    node.client().get(path).refused(401, "invalid-signature", "unsigned");
    node.as_actor("alice").get(path).refused(401, "invalid-signature", "a token is no instance");
}

/// Delivers a Note to an actor's followers with a statement about them.
fn tells(node: &Node, author: &Foreign, collection: &str, url: &str, followers: &[&str]) {
    let to = format!("{}/followers", author.id);
    let note = author.note("news", &[PUBLIC, &to]);
    let body = note.to_string().into_bytes();
    let mut headers = author.signed_headers(&format!("{}/inbox", node.base), &body, Sign::Rsa);
    let digest = digest(followers);
    let value = format!(r#"collectionId="{collection}", url="{url}", digest="{digest}""#);
    headers.insert(HEADER, value.parse().expect("a header value"));
    send(node.client(), "/inbox", &headers, body).expect(202, "a delivery");
}

/// An actor of ours follows a foreign one, which accepts.
fn follows(node: &Node, name: &str, author: &Foreign, peer: &Peer) {
    let follow = node.publish(name, &json!({ "type": "Follow", "object": author.id }));
    peer.receives(&follow.id);
    let accept = author.activity("Accept", json!(follow.id), &[&node.actor(name)]);
    author.deliver(node, "/inbox", &accept, Sign::Rsa).expect(202, "an Accept");
    node.lists(name, "following", &author.id);
}

#[test]
fn follows_are_brought_in_line_with_what_the_other_end_knows() {
    let node = Node::start();
    for name in ["carol", "dave", "alice"] {
        node.create(name);
    }
    let peer = Peer::start();
    let bob = peer.actor("bob");
    for name in ["carol", "alice"] {
        follows(&node, name, &bob, &peer);
    }
    let (carol, dave, alice) = (node.actor("carol"), node.actor("dave"), node.actor("alice"));
    let collection = format!("{}/followers", bob.id);
    let (path, other) = ("/actors/bob/part", "/actors/bob/other");
    let url = format!("{}{path}", peer.base);
    let list =
        |items: Value| json!({ "id": url, "type": "OrderedCollection", "orderedItems": items });
    peer.serve(path, list(json!([alice, dave, "https://elsewhere.example/x"])));
    peer.serve(other, list(json!([])));

    // Both ends agree: nothing is fetched. Nor where it is not Bob's own collection or origin.
    tells(&node, &bob, &collection, &url, &[&alice, &carol]);
    tells(&node, &bob, &format!("{}/actors/eve/followers", peer.base), &url, &[]);
    let elsewhere = Peer::start();
    tells(&node, &bob, &collection, &format!("{}{path}", elsewhere.base), &[]);
    holds_for(Duration::from_millis(300), "nothing is fetched", || {
        peer.fetched(path) == 0 && elsewhere.fetched(path) == 0
    });
    // Bob's server knows of Alice and Dave; Carol follows and Dave does not.
    tells(&node, &bob, &collection, &url, &[&alice, &dave]);
    let undone = |actor: &str| {
        peer.receives_where("an Undo", |post| {
            let object = &post.body["object"];
            post.body["type"] == "Undo" && object["type"] == "Follow" && post.body["actor"] == actor
        })
    };
    assert!(undone(&carol).body["object"]["id"].is_string(), "Carol's Follow has an id");
    let undo = undone(&dave).body;
    assert_eq!(undo["object"]["actor"], dave.as_str());
    assert_eq!(undo["object"]["object"], bob.id.as_str());
    eventually(PATIENCE, "Carol follows no more", || {
        node.listed("carol", "following").is_empty().then_some(())
    });
    assert_eq!(node.listed("alice", "following"), [&*bob.id], "Alice stays");
    assert!(peer.fetched_with(path).contains_key("signature"), "the list is read signed");
    // Not again before some time has passed.
    tells(&node, &bob, &collection, &format!("{}{other}", peer.base), &[]);
    holds_for(Duration::from_millis(300), "no second fetch", || peer.fetched(other) == 0);
    assert_eq!(node.listed("alice", "following"), [&*bob.id]);
}

#[test]
fn two_instances_find_out_that_an_undo_was_lost() {
    let mut a = Node::start();
    let b = Spec::default().schedule("50ms").start();
    a.create("alice");
    for name in ["bob", "carol"] {
        b.create(name);
    }
    let (alice, bob) = (a.actor("alice"), b.actor("bob"));
    for name in ["bob", "carol"] {
        b.follow(name, &alice);
    }
    a.lists("alice", "followers", &bob);
    a.stop();
    let follow = b.as_actor("bob").get("/actors/bob/outbox?since=&limit=100").json();
    let follow = follow["orderedItems"].as_array().expect("items").iter();
    let follow = follow.rev().find(|one| one["type"] == "Follow").expect("a Follow")["id"].clone();
    let undo = b.publish("bob", &json!({ "type": "Undo", "object": follow }));
    // The operator of B loses what waits for A.
    let letter = eventually(PATIENCE, "a dead letter", || {
        let letters = b.admin().get("/admin/dead-letter").expect(200, "letters").json();
        letters["items"][0]["id"].as_str().map(str::to_owned)
    });
    let path = format!("/admin/dead-letter/{}", letter.replace('#', "%23").replace('/', "%2F"));
    b.admin().send("DELETE", &path, &[], None).expect(200, "dropped");
    a.restart();
    let replay = format!("/admin/dead-letter/replay?peer={}", a.base);
    b.admin().post(&replay, &json!({})).expect(200, "A is back");
    assert!(a.listed("alice", "followers").contains(&bob), "A was never told");
    // What Alice says next goes to Carol on B, and says that Bob follows too.
    let note = a.note("alice", "hello");
    b.receives("carol", &note.id);
    eventually(PATIENCE, "A hears that Bob follows no more", || {
        (!a.listed("alice", "followers").contains(&bob)).then_some(())
    });
    assert_eq!(a.listed("alice", "followers"), [b.actor("carol")]);
    let inbox = a.inbox("alice");
    let heard = inbox.iter().find(|one| one["type"] == "Undo").expect("an Undo");
    assert_ne!(heard["id"], undo.id.as_str(), "it was said anew");
}
