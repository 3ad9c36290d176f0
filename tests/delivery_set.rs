//! Step 7: whom an activity is delivered to.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::{PATIENCE, PUBLIC, Peer, Sign, eventually, holds_for};

fn create(to: &[&str], cc: &[&str], content: &str) -> Value {
    let mut request = json!({ "type": "Create", "object": { "type": "Note", "content": content } });
    if !to.is_empty() {
        request["to"] = json!(to);
    }
    if !cc.is_empty() {
        request["cc"] = json!(cc);
    }
    request
}

/// The paths to which an activity was posted, once all that are expected have come.
fn paths(peer: &Peer, id: &str, expected: &[&str]) {
    let mut wanted: Vec<_> = expected.iter().map(|path| (*path).to_owned()).collect();
    wanted.sort();
    eventually(PATIENCE, &format!("{id} at {expected:?}"), || {
        let mut got: Vec<_> = peer.posts_of(id).into_iter().map(|post| post.path).collect();
        got.sort();
        (got == wanted).then_some(())
    });
}

#[test]
fn audiences_decide_who_gets_it() {
    let node = Node::start();
    for name in ["alice", "bob", "carol"] {
        node.create(name);
    }
    let (near, far) = (Peer::start(), Peer::start());
    let mallory = near.actor("mallory");
    let trent = far.actor("trent");
    let outsider = far.actor("outsider");
    mallory.follows(&node, "alice");
    node.follow("bob", &node.actor("alice"));
    let alice = node.actor("alice");
    let at_mallory = ["/actors/mallory/inbox"];
    let at_trent = ["/actors/trent/inbox"];

    let direct = node.publish("alice", &create(&[&trent.id], &[], "to one"));
    paths(&far, &direct.id, &at_trent);
    let both = node.publish("alice", &create(&[&trent.id], &[&mallory.id], "to and cc"));
    paths(&far, &both.id, &at_trent);
    paths(&near, &both.id, &at_mallory);
    let followers = format!("{alice}/followers");
    for (case, to) in [
        ("the followers collection", followers.as_str()),
        ("the word Followers", "Followers"),
        ("Public reaches the followers", PUBLIC),
        ("the word Public", "Public"),
    ] {
        let published = node.publish("alice", &create(&[to], &[], case));
        paths(&near, &published.id, &at_mallory);
        node.receives("bob", &published.id);
    }
    let usual = node.publish("alice", &create(&[], &[], "no audience named"));
    paths(&near, &usual.id, &at_mallory);

    let twice = create(&[&mallory.id, &mallory.id], &[&mallory.id, &followers], "named often");
    let twice = node.publish("alice", &twice);
    paths(&near, &twice.id, &at_mallory);
    let mixed = create(&[&alice, &trent.id], &[], "to myself and another");
    let mixed = node.publish("alice", &mixed);
    paths(&far, &mixed.id, &at_trent);
    assert!(!node.inbox("alice").iter().any(|one| one["id"] == mixed.id), "not to oneself");

    let before = node.total("carol", "inbox");
    let local = node.publish("alice", &create(&[&node.actor("carol")], &[], "a neighbour"));
    assert_eq!(node.inbox("carol")[0]["id"], local.id, "a local recipient has it at once");
    assert_eq!(node.total("carol", "inbox"), before + 1, "once");
    let hidden = json!({
        "type": "Create",
        "to": [mallory.id],
        "bcc": [trent.id],
        "object": { "type": "Note", "content": "hidden recipient" },
    });
    let hidden = node.publish("alice", &hidden);
    paths(&far, &hidden.id, &at_trent);
    paths(&near, &hidden.id, &at_mallory);
    for post in [near.posts_of(&hidden.id), far.posts_of(&hidden.id)].concat() {
        assert!(post.body.get("bcc").is_none(), "nobody sees the hidden list");
        assert!(!post.body.to_string().contains(&trent.id), "nor the hidden recipient");
    }

    let mine = node.publish("alice", &create(&[&alice], &[], "to myself alone"));
    let nobody = node.publish("carol", &create(&[PUBLIC], &[], "public, no followers"));
    holds_for(Duration::from_millis(700), "what concerns nobody elsewhere is not sent", || {
        [&mine, &nobody].iter().all(|published| {
            near.posts_of(&published.id).is_empty() && far.posts_of(&published.id).is_empty()
        })
    });
    assert!(far.posts_of(&usual.id).is_empty(), "{} follows nobody", outsider.id);
}

#[test]
fn the_audience_is_that_of_the_moment() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let early = node.note("alice", "before anybody followed");
    mallory.follows(&node, "alice");
    let heard = node.note("alice", "while mallory follows");
    peer.receives(&heard.id);
    let alice = node.actor("alice");
    let follows = peer.posted().into_iter().find(|post| post.body["type"] == "Accept");
    let follow = follows.expect("the Accept").body["object"].clone();
    let undo = mallory.activity("Undo", follow, &[&alice]);
    let answer = mallory.deliver(&node, "/actors/alice/inbox", &undo, Sign::Bare);
    answer.expect(202, "the Undo");
    eventually(PATIENCE, "mallory left", || {
        node.listed("alice", "followers").is_empty().then_some(())
    });
    let late = node.note("alice", "after mallory left");
    let marker = json!({ "type": "Create", "to": [mallory.id], "object": { "type": "Note", "content": "marker" } });
    let marker = node.publish("alice", &marker);
    peer.receives(&marker.id);
    assert!(peer.posts_of(&early.id).is_empty(), "earlier statements are not delivered later");
    assert!(peer.posts_of(&late.id).is_empty(), "nor those after the end");
}

/// Actors of one server that share an inbox get one request.
#[test]
fn a_shared_inbox_gets_one_request() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mut foreigners = Vec::new();
    for name in ["one", "two", "three"] {
        let foreign = peer.actor(name);
        let mut document = foreign.document();
        document["endpoints"] = json!({ "sharedInbox": format!("{}/shared", peer.base) });
        peer.serve(&format!("/actors/{name}"), document);
        foreigners.push(foreign);
    }
    for foreign in &foreigners {
        foreign.follows(&node, "alice");
    }
    let note = node.note("alice", "to all three");
    let marker = node.note("alice", "later");
    peer.receives(&note.id);
    peer.receives(&marker.id);
    for published in [&note, &marker] {
        let posts = peer.posts_of(&published.id);
        let paths: Vec<_> = posts.iter().map(|post| post.path.as_str()).collect();
        assert_eq!(paths, ["/shared"], "one request to the shared inbox");
    }

    // Two instances of ours do the same.
    let other = Node::start();
    other.create("bob");
    other.create("carol");
    for name in ["bob", "carol"] {
        other.follow(name, &node.actor("alice"));
    }
    let note = node.note("alice", "to both");
    other.receives("bob", &note.id);
    other.receives("carol", &note.id);
    let state = node.admin().get(&format!("/admin/delivery/{}", note.cid));
    assert!(state.expect(200, "where it is").text().contains(&other.base), "the ledger knows");
}

#[test]
fn hidden_neighbours_are_all_reached() {
    let (node, other) = (Node::start(), Node::start());
    node.create("alice");
    other.create("bob");
    other.create("carol");
    let request = json!({
        "type": "Create",
        "bcc": [other.actor("bob"), other.actor("carol")],
        "object": { "type": "Note", "content": "for two, who must not know of each other" },
    });
    let hidden = node.publish("alice", &request);
    for name in ["bob", "carol"] {
        let received = other.receives(name, &hidden.id);
        assert!(!received.to_string().contains("/actors/bob"), "no recipient shows");
        assert!(!received.to_string().contains("/actors/carol"), "no recipient shows");
    }
}
