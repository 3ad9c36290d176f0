//! Step 5: deliveries from other servers, verified and kept.

use serde_json::json;

use crate::actor_lifecycle::encoded;
use crate::support::node::Node;
use crate::support::verbs::{ids, kinds};
use crate::support::{PUBLIC, Peer, Sign, at_once};

#[test]
fn signed_deliveries_are_kept() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let alice = node.actor("alice");
    let inbox = "/actors/alice/inbox";

    for (case, sign) in [
        ("a proof alone", Sign::Bare),
        ("RFC 9421 with Ed25519", Sign::Ed25519),
        ("RFC 9421 with RSA", Sign::Rsa),
        ("draft-cavage with RSA", Sign::Cavage),
    ] {
        let activity = mallory.note(case, &[&alice]);
        mallory.deliver(&node, inbox, &activity, sign).expect(202, case);
        let kept = node.receives("alice", activity["id"].as_str().expect("an id"));
        assert_eq!(kept, activity, "{case}: kept word for word");
    }
    assert_eq!(peer.fetched("/actors/mallory"), 1, "the actor document was fetched once");
    assert_eq!(node.total("alice", "inbox"), 4, "one entry each");
    assert_eq!(node.total("alice", "outbox"), 1, "the inbox is a log of its own");

    for (case, sign) in [("RFC 9421", Sign::Rsa), ("draft-cavage", Sign::Cavage)] {
        let plain = mallory.plain("Create", mallory.note_object("no proof"), &[&alice]);
        mallory.deliver(&node, inbox, &plain, sign).expect(202, case);
        node.receives("alice", plain["id"].as_str().expect("an id"));
    }

    let strange = mallory.activity("Frobnicate", json!({ "type": "Gizmo", "x": 1 }), &[&alice]);
    mallory.deliver(&node, inbox, &strange, Sign::Bare).expect(202, "an unknown verb");
    let kept = node.receives("alice", strange["id"].as_str().expect("an id"));
    assert_eq!(kept["type"], "Frobnicate", "it is shown as it came");
    let odd = mallory.activity(
        "Create",
        json!({ "type": "Gizmo", "id": format!("{}/g", peer.base) }),
        &[&alice],
    );
    mallory.deliver(&node, inbox, &odd, Sign::Bare).expect(202, "an unknown object type");
    node.receives("alice", odd["id"].as_str().expect("an id"));
}

#[test]
fn deliveries_reach_the_projections() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let activity = mallory.note("for the feed", &[&node.actor("alice"), PUBLIC]);
    let answer = mallory.deliver(&node, "/actors/alice/inbox", &activity, Sign::Bare);
    answer.expect(202, "a Note");
    let head = node.settled_head();
    let feed = node.as_actor("alice").get(&format!("/projections/feed?min_seq={head}"));
    assert!(feed.expect(200, "the feed").text().contains("for the feed"), "the feed shows it");
    let object = activity["object"]["id"].as_str().expect("an id");
    let query = format!("?key={}&min_seq={head}", encoded(object));
    let objects = node.projection("objects", &query);
    assert_eq!(objects.len(), 1, "the objects projection has it");
    let peers = node.projection("peer-actors", &format!("?key={}", encoded(&mallory.id)));
    assert_eq!(peers.len(), 1, "peer-actors has the sender");
    let stranger = node.client().get("/projections/feed?key=alice");
    assert_eq!(stranger.status, 401, "the feed is private: {}", stranger.text());
    let other = node.as_actor("bob").get("/projections/feed?key=alice");
    assert_eq!(other.status, 403, "also toward other actors: {}", other.text());
}

/// Those who were mentioned in a Note are not named again when it changes or ends, and servers send
/// such activities to shared inboxes.
#[test]
fn a_shared_inbox_takes_what_names_nobody() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let object = node.note("alice", "mine");
    let object = object.object();

    let like = mallory.activity("Like", json!(object), &[]);
    mallory.deliver(&node, "/inbox", &like, Sign::Bare).expect(202, "a Like of something here");
    node.receives("alice", like["id"].as_str().expect("an id"));
    let reply = json!({ "type": "Note", "id": format!("{}/notes/r", peer.base),
        "attributedTo": mallory.id, "content": "a reply", "inReplyTo": object });
    let reply = mallory.activity("Create", reply, &[PUBLIC]);
    mallory.deliver(&node, "/inbox", &reply, Sign::Bare).expect(202, "a reply");
    node.receives("alice", reply["id"].as_str().expect("an id"));

    let mention = mallory.note("for alice", &[&node.actor("alice")]);
    mallory.deliver(&node, "/inbox", &mention, Sign::Bare).expect(202, "a mention");
    let note = mention["object"]["id"].as_str().expect("an id");
    let delete = mallory.activity("Delete", json!(note), &[PUBLIC]);
    mallory.deliver(&node, "/inbox", &delete, Sign::Bare).expect(202, "its Delete");
    let head = node.settled_head();
    let rows = node.projection("objects", &format!("?key={}&min_seq={head}", encoded(note)));
    assert_eq!(rows[0]["value"]["deleted"], true, "{rows:?}");
}

#[test]
fn false_deliveries_are_refused() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let trent = peer.actor("trent");
    let elsewhere = Peer::start();
    let eve = elsewhere.actor("eve");
    let alice = node.actor("alice");
    let inbox = "/actors/alice/inbox";
    for foreign in [&mallory, &trent, &eve] {
        let hello = foreign.note("hello", &[&alice]);
        foreign.deliver(&node, inbox, &hello, Sign::Bare).expect(202, "first contact");
    }
    let (total, head) = (node.total("alice", "inbox"), node.settled_head());

    let unknown = mallory.note("x", &["http://localhost/actors/nobody"]);
    let refused = mallory.deliver(&node, "/actors/nobody/inbox", &unknown, Sign::Bare);
    refused.refused(404, "unknown-actor", "no such actor");

    // A changed member changes the CID, so the id no longer follows from the content.
    let mut tampered = mallory.note("honest words", &[&alice]);
    tampered["object"]["content"] = json!("other words");
    let refused = mallory.deliver(&node, inbox, &tampered, Sign::Bare);
    refused.refused(401, "invalid-signature", "changed content");
    let mut tampered = mallory.note("x", &[&alice]);
    tampered["to"] = json!([alice, PUBLIC]);
    let refused = mallory.deliver(&node, inbox, &tampered, Sign::Bare);
    refused.refused(401, "invalid-signature", "changed audience");
    let mut tampered = mallory.note("x", &[&alice]);
    tampered["proof"]["created"] = json!("2020-01-01T00:00:00Z");
    let refused = mallory.deliver(&node, inbox, &tampered, Sign::Bare);
    refused.refused(401, "invalid-signature", "a changed proof");
    let refused = mallory.deliver(&node, inbox, &tampered, Sign::Ed25519);
    refused.refused(401, "invalid-signature", "a bad proof under a good HTTP signature");
    let mut stripped = mallory.note("x", &[&alice]);
    stripped.as_object_mut().expect("members").remove("proof");
    let refused = mallory.deliver(&node, inbox, &stripped, Sign::Bare);
    refused.refused(401, "invalid-signature", "the proof taken away");
    let content = mallory.content("Create", mallory.note_object("x"), json!({ "to": [alice] }));
    let borrowed = mallory.sealed_by(content, &trent.key_id, &trent.key);
    let refused = mallory.deliver(&node, inbox, &borrowed, Sign::Bare);
    assert_eq!(refused.status, 401, "a proof by another actor's key: {}", refused.text());
    let content = mallory.content("Create", mallory.note_object("x"), json!({ "to": [alice] }));
    let mut suite = mallory.sealed(content);
    suite["proof"]["cryptosuite"] = json!("rot13-2026");
    let refused = mallory.deliver(&node, inbox, &suite, Sign::Bare);
    refused.refused(401, "invalid-signature", "an unknown suite");

    let plain = mallory.plain("Create", mallory.note_object("x"), &[&alice]);
    let refused = mallory.deliver(&node, inbox, &plain, Sign::Bare);
    refused.refused(401, "invalid-signature", "neither proof nor HTTP signature");
    let refused = trent.deliver(&node, inbox, &plain, Sign::Rsa);
    assert_eq!(refused.status, 401, "signed by another actor of that server: {}", refused.text());
    let refused = eve.deliver(&node, inbox, &plain, Sign::Rsa);
    refused.refused(401, "invalid-signature", "signed by an actor of another server");
    let body = plain.to_string().into_bytes();
    let headers = mallory.signed_headers(&format!("{}/inbox", node.base), &body, Sign::Rsa);
    let moved = crate::support::peer::send(node.client(), inbox, &headers, body);
    moved.refused(401, "invalid-signature", "a signature for another address");
    let mut other = plain.clone();
    other["summary"] = json!("slipped in");
    let headers = mallory.signed_headers(
        &format!("{}{inbox}", node.base),
        plain.to_string().as_bytes(),
        Sign::Cavage,
    );
    let changed =
        crate::support::peer::send(node.client(), inbox, &headers, other.to_string().into_bytes());
    changed.refused(401, "invalid-signature", "a body that the digest does not fit");

    let mut stolen = mallory.plain("Create", mallory.note_object("x"), &[&alice]);
    stolen["id"] = json!(format!("{}/plain/1", elsewhere.base));
    let refused = mallory.deliver(&node, inbox, &stolen, Sign::Rsa);
    refused.refused(403, "wrong-origin", "an id of another server");
    let theirs = mallory.activity("Create", eve.note_object("x"), &[&alice]);
    let refused = mallory.deliver(&node, inbox, &theirs, Sign::Bare);
    refused.refused(403, "wrong-origin", "an object of another server");
    let mut ours = mallory.content("Create", mallory.note_object("x"), json!({ "to": [alice] }));
    ours.insert("actor".into(), json!(alice));
    ours["object"]["attributedTo"] = json!(alice);
    let forged = mallory.sealed(ours);
    let refused = mallory.deliver(&node, inbox, &forged, Sign::Rsa);
    refused.refused(403, "wrong-origin", "a statement that claims to be ours");
    let future = mallory.content(
        "Create",
        mallory.note_object("x"),
        json!({ "to": [alice], "published": "2099-01-01T00:00:00Z" }),
    );
    let refused = mallory.deliver(&node, inbox, &mallory.sealed(future), Sign::Bare);
    refused.refused(422, "from-the-future", "a statement from the future");
    let eves = eve.note_object("eve's");
    let update = trent.activity(
        "Update",
        json!({ "id": mallory.id, "type": "Person", "inbox": format!("{}/inbox", trent.id) }),
        &[&alice],
    );
    let refused = trent.deliver(&node, inbox, &update, Sign::Bare);
    refused.refused(403, "not-authorised", "another actor's profile");
    let delete = mallory.activity("Delete", json!(eves["id"]), &[&alice]);
    let refused = mallory.deliver(&node, inbox, &delete, Sign::Bare);
    refused.refused(403, "wrong-origin", "deleting what belongs to another server");
    let wrong = mallory.activity(
        "Create",
        json!({ "type": "Note", "id": format!("{}/n", peer.base), "content": 7 }),
        &[&alice],
    );
    let refused = mallory.deliver(&node, inbox, &wrong, Sign::Bare);
    refused.refused(422, "schema-violation", "a known type with a wrong shape");
    let gone = peer.actor("ghost");
    peer.remove("/actors/ghost");
    let unreachable = gone.note("x", &[&alice]);
    let refused = gone.deliver(&node, inbox, &unreachable, Sign::Bare);
    refused.refused(401, "unknown-key", "a sender whose document cannot be fetched");

    assert_eq!(node.total("alice", "inbox"), total, "nothing refused is in the inbox");
    assert_eq!(node.settled_head(), head, "nothing refused is in the log");
}

#[test]
fn repeats_are_told_apart() {
    let node = Node::start();
    for name in ["alice", "bob"] {
        node.create(name);
    }
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let (alice, bob) = (node.actor("alice"), node.actor("bob"));
    let inbox = "/actors/alice/inbox";
    let activity = mallory.note("once", &[&alice, &bob]);
    let body = activity.to_string().into_bytes();
    let url = format!("{}{inbox}", node.base);
    let headers = mallory.signed_headers(&url, &body, Sign::Ed25519);
    let send = || crate::support::peer::send(node.client(), inbox, &headers, body.clone());
    send().expect(202, "the first time");
    send().refused(422, "replayed-request", "the very same request");
    let anew = mallory.deliver(&node, inbox, &activity, Sign::Ed25519);
    anew.expect(200, "signed anew: already held");
    mallory.deliver(&node, inbox, &activity, Sign::Bare).expect(200, "unsigned: already held");
    assert_eq!(node.total("alice", "inbox"), 1, "one entry");
    assert_eq!(node.total("bob", "inbox"), 0, "a delivery to alice's inbox is hers");
    mallory.deliver(&node, "/actors/bob/inbox", &activity, Sign::Bare).expect(202, "bob's inbox");
    assert_eq!(node.total("bob", "inbox"), 1, "bob has it too");
    mallory.deliver(&node, "/inbox", &activity, Sign::Bare).expect(200, "both hold it");

    let shared = mallory.note("for both", &[&alice, &bob]);
    mallory.deliver(&node, "/inbox", &shared, Sign::Rsa).expect(202, "the shared inbox");
    for name in ["alice", "bob"] {
        node.receives(name, shared["id"].as_str().expect("an id"));
    }
    let nobody = mallory.note("for nobody here", &[PUBLIC]);
    let head = node.settled_head();
    mallory.deliver(&node, "/inbox", &nobody, Sign::Rsa).expect(202, "it concerns nobody");
    assert_eq!(node.settled_head(), head, "what concerns nobody is not kept");

    let plain = mallory.plain("Create", mallory.note_object("first version"), &[&alice]);
    mallory.deliver(&node, inbox, &plain, Sign::Rsa).expect(202, "a foreign id");
    let mut differing = plain.clone();
    differing["object"]["content"] = json!("second version");
    mallory.deliver(&node, inbox, &differing, Sign::Rsa).expect(200, "the id with other content");
    let kept = node.receives("alice", plain["id"].as_str().expect("an id"));
    assert_eq!(kept["object"]["content"], "first version", "the first version wins");
}

/// Copies that run into each other are appended once.
#[test]
fn copies_are_appended_once_in_a_race() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let alice = node.actor("alice");
    let inbox = "/actors/alice/inbox";
    let statuses = |answers: &[crate::support::Answer]| {
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        statuses
    };
    let activity = mallory.note("at once", &[&alice]);
    let answers = at_once(6, |_| mallory.deliver(&node, inbox, &activity, Sign::Ed25519));
    assert_eq!(statuses(&answers), [200, 200, 200, 200, 200, 202], "signed anew each time");
    assert_eq!(peer.fetched("/actors/mallory"), 1, "one flight per actor");
    let activity = mallory.note("replayed at once", &[&alice]);
    let body = activity.to_string().into_bytes();
    let headers = mallory.signed_headers(&format!("{}{inbox}", node.base), &body, Sign::Ed25519);
    let answers =
        at_once(6, |_| crate::support::peer::send(node.client(), inbox, &headers, body.clone()));
    assert_eq!(statuses(&answers), [202, 422, 422, 422, 422, 422], "one request six times");
    assert_eq!(node.total("alice", "inbox"), 2, "two activities");
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let alice = node.actor("alice");
    let inbox = "/actors/alice/inbox";
    let deliver = |activity: &serde_json::Value, case: &str| {
        mallory.deliver(&node, inbox, activity, Sign::Bare).expect(202, case);
    };
    let content = |id: &str| {
        let head = node.settled_head();
        let query = format!("?key={}&min_seq={head}", encoded(id));
        node.projection("objects", &query).first().cloned().unwrap_or_default().to_string()
    };

    let object = mallory.note_object("version 1");
    let id = object["id"].as_str().expect("an id").to_owned();
    let version = |text: &str| {
        let mut object = object.clone();
        object["content"] = json!(text);
        object
    };
    let create = mallory.activity("Create", object.clone(), &[&alice]);
    let older = mallory.activity("Update", version("version 2"), &[&alice]);
    let newer = mallory.activity("Update", version("version 3"), &[&alice]);
    deliver(&newer, "the newest first");
    deliver(&create, "then the Create");
    deliver(&older, "then the old Update");
    assert!(content(&id).contains("version 3"), "the newest version wins: {}", content(&id));
    let again = mallory.deliver(&node, inbox, &older, Sign::Bare);
    again.expect(200, "the old Update pushed again");
    assert!(content(&id).contains("version 3"), "and changes nothing");

    let object = mallory.note_object("short-lived");
    let id = object["id"].as_str().expect("an id").to_owned();
    let create = mallory.activity("Create", object.clone(), &[&alice]);
    let tombstone = json!({ "type": "Tombstone", "id": id });
    let delete = mallory.activity("Delete", tombstone, &[&alice]);
    let status = mallory.deliver(&node, inbox, &delete, Sign::Bare).status;
    assert!(matches!(status, 200 | 202), "a Delete before its Create: {status}");
    let status = mallory.deliver(&node, inbox, &create, Sign::Bare).status;
    assert!(matches!(status, 200 | 202), "the Create after it: {status}");
    assert!(!content(&id).contains("short-lived"), "the Delete wins: {}", content(&id));

    let follow = mallory.activity("Follow", json!(alice), &[&alice]);
    let embedded =
        json!({ "id": follow["id"], "type": "Follow", "actor": mallory.id, "object": alice });
    let undo = mallory.activity("Undo", embedded, &[&alice]);
    let status = mallory.deliver(&node, inbox, &undo, Sign::Bare).status;
    assert!(matches!(status, 200 | 202), "an Undo before its Follow: {status}");
    mallory.deliver(&node, inbox, &follow, Sign::Bare);
    node.settled_head();
    assert!(node.listed("alice", "followers").is_empty(), "the Undo wins");
    let unknown = mallory.activity("Delete", json!(mallory.id), &[&alice, PUBLIC]);
    let stranger = peer.actor("stranger");
    peer.remove("/actors/stranger");
    let delete = stranger.activity("Delete", json!(stranger.id), &[PUBLIC]);
    stranger.deliver(&node, "/inbox", &delete, Sign::Bare).expect(202, "a stranger ends itself");
    deliver(&unknown, "a known actor ends itself");
    let listed = node.inbox("alice");
    assert!(kinds(&listed).contains(&"Delete"), "{:?}", ids(&json!(listed)));
}

#[test]
fn blocked_senders_are_refused() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let (alice, bob) = (node.actor("alice"), node.actor("bob"));
    let hello = mallory.note("hello", &[&alice]);
    mallory.deliver(&node, "/actors/alice/inbox", &hello, Sign::Bare).expect(202, "before");
    node.publish("alice", &json!({ "type": "Block", "object": mallory.id }));
    let blocked = mallory.note("hello again", &[&alice, &bob]);
    let refused = mallory.deliver(&node, "/actors/alice/inbox", &blocked, Sign::Bare);
    refused.refused(403, "blocked", "a sender that alice blocked");
    let other = mallory.deliver(&node, "/actors/bob/inbox", &blocked, Sign::Bare);
    other.expect(202, "bob did not block it");
}
