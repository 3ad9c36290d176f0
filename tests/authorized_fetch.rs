//! Authorized fetch: what is read takes the signature of an actor that is not blocked.

use serde_json::json;

use crate::support::node::{Node, Spec, secret};
use crate::support::verbs::items;
use crate::support::{ACTIVITY_JSON, PATIENCE, Peer, Sign, eventually};

fn strict() -> Node {
    let mut spec = Spec::default().token(&format!("instance={}", secret("instance")));
    spec.args.push("--authorized-fetch".into());
    spec.start()
}

#[test]
fn who_does_not_sign_reads_only_what_signatures_need() {
    let node = strict();
    node.publish(
        "alice",
        &json!({ "type": "Create", "object": {
            "type": "Person", "name": "Alice", "summary": "not for everybody"
        } }),
    );
    let note = node.note("alice", "hello");
    let (activity, object) = (note.id.clone(), note.object().to_owned());
    let guarded = [
        "/actors/alice/outbox",
        "/actors/alice/outbox?page=true",
        "/actors/alice/outbox?since=&limit=10",
        "/actors/alice/followers?page=true",
        "/actors/alice/following",
        &activity,
        &object,
        "/projections/objects",
        "/projections/actor-state",
        "/projections/objects/events",
    ];
    for path in guarded {
        let answer = node.client().get(path);
        answer.refused(401, "invalid-signature", path);
        assert!(answer.header("accept-signature").contains("@target-uri"), "{path}: says how");
    }
    let document = node.client().get("/actors/alice").expect(200, "keys and inbox").json();
    for member in ["id", "inbox", "publicKey", "assertionMethod", "preferredUsername", "keys"] {
        assert!(document.get(member).is_some(), "{member} in {document}");
    }
    for member in ["name", "summary", "followers", "following", "outbox"] {
        assert!(document.get(member).is_none(), "{member} in {document}");
    }
    let page = node.client().get_as("/actors/alice", "text/html").expect(200, "a page");
    assert!(!page.text().contains("not for everybody"), "{}", page.text());
    let instance = node.client().get("/actors/instance").expect(200, "the instance actor").json();
    assert!(instance.get("outbox").is_some(), "all of it: {instance}");
    let account = format!("acct:alice@{}", node.base.trim_start_matches("http://"));
    for path in [
        format!("/.well-known/webfinger?resource={account}"),
        "/.well-known/nodeinfo".into(),
        "/nodeinfo/2.1".into(),
        "/.well-known/host-meta".into(),
        "/actors/alice/keys".into(),
        "/actors/instance/keys".into(),
    ] {
        node.client().get(&path).expect(200, &path);
    }
    // A token reads as before.
    node.as_actor("alice").get("/actors/alice/outbox?page=true").expect(200, "with a token");
    node.admin().get("/projections/objects").expect(200, "with a token");

    let peer = Peer::start();
    let bob = peer.actor("bob");
    for path in &guarded[..9] {
        bob.fetch(&node, path.trim_start_matches(&node.base), ACTIVITY_JSON).expect(200, path);
    }
    let document = bob.fetch(&node, "/actors/alice", ACTIVITY_JSON).expect(200, "signed").json();
    assert_eq!(document["summary"], "not for everybody");
    let page = bob.fetch(&node, "/actors/alice/outbox?page=true", ACTIVITY_JSON).json();
    assert!(items(&page).iter().any(|item| item["id"] == activity.as_str()));
}

#[test]
fn who_is_blocked_reads_nothing() {
    let node = strict();
    for name in ["alice", "carol"] {
        node.create(name);
    }
    let note = node.note("alice", "hello");
    let (activity, object) = (note.id.clone(), note.object().to_owned());
    let local = |url: &str| url.trim_start_matches(&node.base).to_owned();
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let paths = [
        "/actors/alice/outbox".to_owned(),
        local(&activity),
        local(&object),
        "/actors/alice".into(),
    ];
    for path in &paths {
        mallory.fetch(&node, path, ACTIVITY_JSON).expect(200, "not blocked yet");
    }
    node.publish("alice", &json!({ "type": "Block", "object": mallory.id }));
    for path in &paths {
        mallory.fetch(&node, path, ACTIVITY_JSON).refused(403, "blocked", path);
    }
    mallory.fetch(&node, "/actors/carol/outbox", ACTIVITY_JSON).expect(200, "Carol blocks nobody");

    // The whole domain, by the instance; nothing is fetched from there any more.
    let eve = peer.actor("eve");
    node.publish("instance", &json!({ "type": "Block", "object": peer.base }));
    for path in paths.iter().map(String::as_str).chain(["/actors/carol/outbox"]) {
        eve.fetch(&node, path, ACTIVITY_JSON).refused(403, "blocked", path);
    }
    assert_eq!(peer.fetched("/actors/eve"), 0, "nobody asks who she is");
    let other = Peer::start();
    let bob = other.actor("bob");
    bob.fetch(&node, "/actors/alice/outbox", ACTIVITY_JSON).expect(200, "others read on");
}

#[test]
fn two_strict_instances_federate() {
    let (a, b) = (strict(), strict());
    a.create("alice");
    b.create("bob");
    let before = a.note("alice", "before");
    let (alice, bob) = (a.actor("alice"), b.actor("bob"));
    // Bob asks for what was said before, which his server fetches signed.
    let backfill = json!({ "mode": "last-N", "limit": 10 });
    b.publish("bob", &json!({ "type": "Follow", "object": alice, "backfill": backfill }));
    b.lists("bob", "following", &alice);
    b.receives("bob", &before.id);
    let note = a.note("alice", "after");
    b.receives("bob", &note.id);
    let reply =
        json!({ "type": "Note", "content": "hi", "inReplyTo": note.object(), "to": [alice] });
    let reply = b.publish("bob", &json!({ "type": "Create", "to": [alice], "object": reply }));
    a.receives("alice", &reply.id);
    let known = eventually(PATIENCE, "A knows all of Bob's document", || {
        let rows = a.projection("peer-actors", &format!("?key={bob}"));
        rows.into_iter().find(|row| row["value"]["document"]["outbox"].is_string())
    });
    assert_eq!(known["value"]["id"], bob.as_str());
    // Neither has seen the other's instance actor refused.
    for node in [&a, &b] {
        let letters = node.admin().get("/admin/dead-letter").expect(200, "dead letters").json();
        assert_eq!(letters["items"], json!([]));
    }
}

#[test]
fn a_strict_instance_takes_deliveries_as_before() {
    let node = strict();
    node.create("alice");
    let peer = Peer::start();
    peer.demand_signatures();
    let bob = peer.actor("bob");
    let alice = node.actor("alice");
    for sign in [Sign::Bare, Sign::Cavage, Sign::Rsa, Sign::Ed25519] {
        let note = bob.note(&format!("{sign:?}"), &[&alice]);
        bob.deliver(&node, "/actors/alice/inbox", &note, sign).expect(202, "a delivery");
    }
    assert!(peer.fetched_with("/actors/bob").contains_key("signature"), "our fetches are signed");
}
