//! Forwarding from inboxes (ActivityPub, section 7.1.2): what answers something of an actor and is for
//! that actor's followers reaches them, by the actor's own instance.

use serde_json::{Value, json};

use crate::support::node::{Node, Spec};
use crate::support::peer::Foreign;
use crate::support::{PATIENCE, PUBLIC, Peer, Sign, eventually};

/// What the ledger says of an activity, by its id.
fn statuses(node: &Node, id: &str) -> Vec<Value> {
    let cid = id.rsplit('/').next().expect("a CID");
    let answer = node.admin().get(&format!("/admin/delivery/{cid}")).expect(200, "the ledger");
    answer.json()["items"].as_array().expect("items").clone()
}

#[track_caller]
fn becomes(node: &Node, id: &str, peer: &str, wanted: &str) {
    eventually(PATIENCE, &format!("{id} is {wanted} for {peer}"), || {
        let found = statuses(node, id);
        found.iter().any(|one| one["peer"] == peer && one["status"] == wanted).then_some(())
    });
}

/// A reply of Carol's to a Note of Alice's, for the followers of Alice.
fn reply(content: &str, to: &Node, note: &str) -> Value {
    let followers = format!("{}/followers", to.actor("alice"));
    let object = json!({ "type": "Note", "content": content, "inReplyTo": note });
    json!({ "type": "Create", "to": [followers], "object": object })
}

#[test]
fn a_reply_for_the_followers_of_who_is_answered_reaches_them() {
    let (a, b, c) = (Node::start(), Node::start(), Node::start());
    for (node, names) in [(&a, &["dave", "carol"][..]), (&b, &["alice", "bob"]), (&c, &["carol"])] {
        names.iter().for_each(|name| drop(node.create(name)));
    }
    let alice = b.actor("alice");
    a.follow("dave", &alice);
    c.follow("carol", &alice);
    b.publish("bob", &json!({ "type": "Follow", "object": alice }));
    b.lists("alice", "followers", &b.actor("bob"));
    let note = b.note("alice", "what do you think?");
    c.receives("carol", &note.id);
    a.receives("dave", &note.id);

    let said = c.publish("carol", &reply("well", &b, note.object()));
    b.receives("alice", &said.id);
    b.receives("bob", &said.id);
    let forwarded = a.receives("dave", &said.id);
    let signed = c.as_actor("carol").get(&said.id).expect(200, "the reply").json();
    assert_eq!(forwarded, signed, "as it was signed");
    assert!(
        !a.inbox("carol").iter().any(|one| one["id"] == said.id.as_str()),
        "who does not follow"
    );
    becomes(&b, &said.id, &a.base, "delivered");
    assert_eq!(statuses(&b, &said.id).len(), 1, "not back to where it came from");
    assert!(statuses(&a, &said.id).is_empty(), "nor on from there");
    becomes(&c, &said.id, &b.base, "delivered");
    assert_eq!(statuses(&c, &said.id).len(), 1, "the author knows of nobody else");

    // Several of them are behind one shared inbox; the actor may be named as well.
    a.follow("carol", &alice);
    let mut both = reply("and another thing", &b, note.object());
    both["to"].as_array_mut().expect("a list").push(json!(alice));
    let both = c.publish("carol", &both);
    for name in ["dave", "carol"] {
        a.receives(name, &both.id);
    }
    // What its author takes back is taken back there too, whomever that is addressed to.
    let object = both.object().to_owned();
    let gone = c.publish("carol", &json!({ "type": "Delete", "to": [alice], "object": object }));
    becomes(&b, &gone.id, &a.base, "delivered");
    for node in [&a, &b, &c] {
        let letters = node.admin().get("/admin/dead-letter").expect(200, "dead letters").json();
        assert_eq!(letters["items"], json!([]));
    }
    assert_eq!(crate::support::node::verify(a.into_data().path()).code, Some(0), "and it verifies");
}

/// A Foreign that follows Alice, and whose server shows no keys for proofs.
fn without_proofs(node: &Node, peer: &Peer) -> Foreign {
    let old = peer.actor("old");
    let mut document = old.document();
    document.as_object_mut().expect("members").remove("assertionMethod");
    peer.serve("/actors/old", document);
    let follow = old.plain("Follow", json!(node.actor("alice")), &[&node.actor("alice")]);
    old.deliver(node, "/actors/alice/inbox", &follow, Sign::Cavage).expect(202, "a Follow");
    node.lists("alice", "followers", &old.id);
    old
}

#[test]
fn nothing_else_is_forwarded() {
    let mut node = Spec::default().start();
    node.create("alice");
    let (alice, followers) = (node.actor("alice"), format!("{}/followers", node.actor("alice")));
    let (sink, origin, dated) = (Peer::start(), Peer::start(), Peer::start());
    let (sam, mallory, eve) = (sink.actor("sam"), origin.actor("mallory"), origin.actor("eve"));
    for follower in [&sam, &eve] {
        follower.follows(&node, "alice");
    }
    without_proofs(&node, &dated);
    let note = node.note("alice", "say something");
    let elsewhere = format!("{}/objects/1", sink.base);
    let answer = |content: &str, to: &str| {
        let mut object = mallory.note_object(content);
        object["inReplyTo"] = json!(to);
        object
    };
    let inbox = "/actors/alice/inbox";
    let deliver = |activity: &Value, sign: Sign| {
        mallory.deliver(&node, inbox, activity, sign).expect(202, "taken");
        activity["id"].as_str().expect("an id").to_owned()
    };

    let create = |content: &str, about: &str, to: &[&str]| {
        mallory.activity("Create", answer(content, about), to)
    };
    let public = deliver(&create("public", note.object(), &[PUBLIC, &alice]), Sign::Bare);
    let astray = deliver(&create("of others", &elsewhere, &[&followers]), Sign::Bare);
    let made_up = format!("{}/objects/00", node.base);
    let made_up = deliver(&create("of nothing", &made_up, &[&followers]), Sign::Bare);
    let mut hidden = answer("hidden", note.object());
    hidden["bto"] = json!([eve.id]);
    let hidden = deliver(&mallory.activity("Create", hidden, &[&followers]), Sign::Bare);
    let plain = mallory.plain("Create", answer("plain", note.object()), &[&followers]);
    let plain = deliver(&plain, Sign::Cavage);
    let proven = create("proven", note.object(), &[&followers]);
    let id = deliver(&proven, Sign::Bare);

    let got = sink.receives(&id);
    assert_eq!(got.body, proven, "as it was signed, proof and all");
    assert!(got.headers.contains_key("signature"), "the request is signed by who forwards");
    becomes(&node, &id, &dated.base, "skipped");
    for (case, other) in
        [("public", &public), ("astray", &astray), ("made up", &made_up), ("hidden", &hidden)]
    {
        assert_eq!(statuses(&node, other), Vec::<Value>::new(), "{case}");
    }
    // The same once more, and after a restart.
    mallory.deliver(&node, inbox, &proven, Sign::Cavage).expect(200, "held already");
    node.restart();
    mallory.deliver(&node, inbox, &proven, Sign::Ed25519).expect(200, "held already");

    // Whom Alice blocks has nothing forwarded, not even an end of what was.
    let before = mallory.activity("Undo", json!(id), &[PUBLIC]);
    mallory.deliver(&node, inbox, &before, Sign::Bare).expect(202, "taken");
    let undo = before["id"].as_str().expect("an id");
    sink.receives(undo);
    node.publish("alice", &json!({ "type": "Block", "object": mallory.id }));
    let late = create("late", note.object(), &[&followers]);
    let taken = mallory.deliver(&node, "/inbox", &late, Sign::Bare).status;
    assert!([202, 403].contains(&taken), "{taken}");
    let marker = node.publish(
        "alice",
        &json!({ "type": "Create", "to": [followers],
        "object": { "type": "Note", "content": "later" } }),
    );
    sink.receives(&marker.id);
    for other in [&public, &astray, &made_up, &hidden, &plain] {
        assert_eq!(sink.posts_of(other).len(), 0, "{other}");
    }
    assert_eq!(sink.posts_of(late["id"].as_str().expect("an id")).len(), 0, "of who is blocked");
    assert_eq!(sink.posts_of(&id).len(), 1, "once");
    assert!(origin.posts_of(&id).is_empty(), "the author's own instance");
    assert!(dated.posts_of(&id).is_empty(), "those who could not check it");
}
