//! Step 11: verbs that are published, not compiled in.

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::Node;
use crate::support::verbs::note;
use crate::support::{PATIENCE, PUBLIC, Peer, Sign, eventually};

/// The counts at a target of a tally such as `endorsements`.
fn counts(node: &Node, projection: &str, target: &str) -> Value {
    let items = node.projection(projection, &format!("?key={}", encoded(target)));
    let count = items.into_iter().find(|item| item["key"].as_array().is_some_and(|k| k.len() == 1));
    count.map_or(Value::Null, |item| item["value"].clone())
}

#[test]
fn runtime_verbs_come_from_the_log() {
    let node = Node::start();
    node.create("alice");
    let outbox = node.outbox("instance");
    for (kind, name) in
        [("DefineObject", "Note"), ("DefineActivity", "Announce"), ("DefineActivity", "Endorse")]
    {
        let published =
            outbox.iter().find(|one| one["type"] == kind && one["object"]["name"] == name);
        assert!(published.is_some(), "{kind} {name} was published at first boot: {outbox:?}");
    }
    let registry = node.projection("define-registry", "?limit=1000");
    for name in ["Note", "Announce", "Endorse", "Create", "Follow", "Person", "eddsa-jcs-2022"] {
        let entry =
            registry.iter().find(|item| item["key"].to_string().contains(&format!("\"{name}\"")));
        let entry = entry.unwrap_or_else(|| panic!("{name} in define-registry"));
        assert!(entry.to_string().contains("bafyr"), "{name} has a CID: {entry}");
        assert!(entry["value"].to_string().contains("origin"), "{name} has an origin: {entry}");
    }

    let unknown = json!({ "type": "Frobnicate", "object": { "type": "Note", "content": "x" } });
    let refused = node.as_actor("alice").post("/activity", &unknown);
    let problem = refused.refused(422, "unknown-activity-type", "a verb that is not registered");
    assert_eq!(problem["activity_type"], "Frobnicate", "the problem names it");
    let unknown = json!({ "type": "Create", "object": { "type": "Gizmo" } });
    let refused = node.as_actor("alice").post("/activity", &unknown);
    let problem = refused.refused(422, "unknown-object-type", "an object type that is not");
    assert_eq!(problem["object_type"], "Gizmo", "the problem names it");
    let wrong = json!({ "type": "Create", "object": { "type": "Note", "content": 7 } });
    let refused = node.as_actor("alice").post("/activity", &wrong);
    let problem = refused.refused(422, "schema-violation", "a Note whose content is a number");
    assert_eq!(problem["violations"][0]["path"], "/object/content", "the problem says where");
    let empty = json!({ "type": "Create", "object": { "type": "Note" } });
    let refused = node.as_actor("alice").post("/activity", &empty);
    refused.refused(422, "schema-violation", "a Note without content");
    let tagged = json!({ "type": "Create", "object": { "type": "Note", "content": "x", "tags": ["a", "b"] } });
    let published = node.publish("alice", &tagged);
    let object = node.client().get(published.object()).expect(200, "the Note").json();
    assert_eq!(object["tags"], json!(["a", "b"]), "tags are kept");
    assert_eq!(node.total("alice", "outbox"), 2, "refused verbs were not appended");
}

#[test]
fn a_verb_can_be_defined_and_used() {
    let mut node = Node::start();
    node.create("alice");
    node.create("operator");
    let schema = json!({
        "type": "object",
        "required": ["path"],
        "properties": { "path": { "type": "string", "pattern": "^/" } },
    });
    let definition = json!({
        "type": "DefineActivity",
        "object": { "name": "Pin", "summary": "Pins a path.", "schema": schema, "audience": ["Public"] },
    });
    let pin = json!({ "type": "Pin", "path": "/here", "object": "https://example.org/x" });
    let refused = node.as_actor("alice").post("/activity", &pin);
    refused.refused(422, "unknown-activity-type", "before it is defined");
    let refused = node.as_actor("alice").post("/activity", &definition);
    refused.refused(403, "insufficient-scope", "defining without the scope");
    let defined = node.publish("operator", &definition);
    let registry =
        node.projection("define-registry", &format!("?limit=1000&min_seq={}", defined.global_seq));
    assert!(
        registry.iter().any(|item| item["key"].to_string().contains("\"Pin\"")),
        "the definition shows in define-registry"
    );
    for round in ["at once", "after a restart"] {
        let pinned = node.publish("alice", &pin);
        let kept = node.client().get(&pinned.id).expect(200, round).json();
        assert_eq!((&kept["type"], &kept["path"]), (&json!("Pin"), &json!("/here")), "{round}");
        let wrong = json!({ "type": "Pin", "path": "nowhere", "object": "https://example.org/x" });
        let refused = node.as_actor("alice").post("/activity", &wrong);
        refused.refused(422, "schema-violation", round);
        node.restart();
    }
    let broken = json!({
        "type": "DefineActivity",
        "object": { "name": "Broken", "schema": { "type": "no-such-type" } },
    });
    let refused = node.as_actor("operator").post("/activity", &broken);
    assert_eq!(refused.status, 422, "a schema that is none: {}", refused.text());
}

#[test]
fn announces_reach_the_followers_of_the_announcer() {
    let (a, b, c) = (Node::start(), Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    c.create("carol");
    a.follow("alice", &b.actor("bob"));
    c.follow("carol", &a.actor("alice"));
    let note = b.note("bob", "worth passing on");
    a.receives("alice", &note.id);
    let announce = a.publish("alice", &json!({ "type": "Announce", "object": note.cid }));
    let stated = a.client().get(&announce.id).expect(200, "the Announce").json();
    assert_eq!(stated["object"], note.object(), "a CID becomes the object's URL");
    assert_eq!(stated["objectCid"], note.cid.as_str(), "the CID stays beside it");
    assert!(stated["to"].to_string().contains(PUBLIC), "it is public");
    let got = c.receives("carol", &announce.id);
    assert_eq!(got, stated, "alice's follower has the Announce");
    b.receives("bob", &announce.id);
    // Nobody on C follows bob: what is announced is fetched from its origin and verified.
    let item = eventually(PATIENCE, "the feed of carol shows what was announced", || {
        let feed = c.as_actor("carol").get("/projections/feed").expect(200, "the feed").json();
        let items = feed["items"].as_array().expect("items").clone();
        let item = items.into_iter().find(|item| item["value"]["id"] == announce.id.as_str())?;
        item["value"]["announced"].is_object().then(|| item["value"].clone())
    });
    assert_eq!(item["announced"]["content"], "worth passing on");
    assert_eq!(item["announced"]["cid"], note.cid.as_str());
    assert_eq!(item["announced"]["attributedTo"], b.actor("bob"));
    assert_eq!(c.inbox("carol").iter().filter(|one| one["type"] == "Create").count(), 0);
    let original = c.client().get(note.object()).expect(200, "re-fetched at its origin").json();
    assert_eq!(original["content"], "worth passing on");
    for (node, name) in [(&a, "alice's"), (&b, "bob's"), (&c, "carol's")] {
        eventually(PATIENCE, &format!("announces on {name} instance"), || {
            (counts(node, "announces", note.object())["count"] == 1).then_some(())
        });
    }
    let unknown = fedsx_kernel::Cid::of_block(b"nothing").to_string();
    let unknown = json!({ "type": "Announce", "object": unknown });
    let refused = a.as_actor("alice").post("/activity", &unknown);
    refused.refused(422, "unknown-reference", "announcing what is not held");
    a.publish("alice", &json!({ "type": "Undo", "object": announce.id }));
    eventually(PATIENCE, "the Undo takes the count back everywhere", || {
        [&a, &c].iter().all(|node| counts(node, "announces", note.object()).is_null()).then_some(())
    });
}

/// What is neither a CID nor a URL refers to nothing that anyone could fetch.
#[test]
fn references_are_cids_or_urls() {
    let node = Node::start();
    node.create("alice");
    for object in ["not a reference", "bafyr4inonsense", "javascript:alert(1)"] {
        for request in [
            json!({ "type": "Announce", "object": object }),
            json!({ "type": "Endorse", "object": object, "kind": "like" }),
        ] {
            let refused = node.as_actor("alice").post("/activity", &request);
            assert_eq!(refused.status, 422, "{request}: {}", refused.text());
        }
    }
    assert_eq!(node.total("alice", "outbox"), 1, "nothing was appended");
}

#[test]
fn endorsements_are_counted() {
    let node = Node::start();
    for name in ["alice", "bob", "carol"] {
        node.create(name);
    }
    let published = node.note("bob", "endorse me");
    let target = published.object().to_owned();
    let endorse =
        |object: &str, kind: &str| json!({ "type": "Endorse", "object": object, "kind": kind });
    let first = node.publish("alice", &endorse(&published.cid, "like"));
    let by_url = node.publish("carol", &endorse(&target, "like"));
    let count = |after: u64| {
        let query = format!("?key={}&min_seq={after}", encoded(&target));
        let items = node.projection("endorsements", &query);
        let one = items.into_iter().find(|item| item["key"] == json!([target]));
        one.map_or(Value::Null, |item| item["value"].clone())
    };
    assert_eq!(count(by_url.global_seq), json!({ "like": 2 }), "two likes, by CID and by URL");
    let again = node.publish("alice", &endorse(&target, "like"));
    assert_eq!(count(again.global_seq), json!({ "like": 2 }), "one actor counts once");
    let shared = node.publish("alice", &endorse(&target, "share"));
    assert_eq!(count(shared.global_seq), json!({ "like": 2, "share": 1 }), "kinds are apart");
    let undone = node.publish("carol", &json!({ "type": "Undo", "object": by_url.id }));
    assert_eq!(count(undone.global_seq), json!({ "like": 1, "share": 1 }), "an Undo takes it back");
    node.receives("bob", &first.id);
    for (case, request) in [
        ("an unknown kind", endorse(&target, "hate")),
        ("no kind", json!({ "type": "Endorse", "object": target })),
        ("no object", json!({ "type": "Endorse", "kind": "like" })),
    ] {
        let refused = node.as_actor("alice").post("/activity", &request);
        refused.refused(422, "schema-violation", case);
    }
    let liked = node.publish("carol", &json!({ "type": "Like", "object": target }));
    assert_eq!(count(liked.global_seq)["like"], 2, "a Like is an endorsement, too");
    let nothing = node.as_actor("alice").post("/activity", &note(""));
    assert!(matches!(nothing.status, 201 | 422), "an empty Note: {}", nothing.text());
}

/// Other servers announce objects by their address alone.
#[test]
fn what_others_announce_is_fetched() {
    let node = Node::start();
    let (peer, origin) = (Peer::start(), Peer::start());
    let (booster, author, stranger) =
        (peer.actor("booster"), origin.actor("author"), peer.actor("stranger"));
    node.create("alice");
    let alice = node.actor("alice");
    let follow = node.publish("alice", &json!({ "type": "Follow", "object": booster.id }));
    let accept = booster.activity("Accept", json!(follow.id), &[&alice]);
    booster.deliver(&node, "/actors/alice/inbox", &accept, Sign::Bare).expect(202, "Accept");
    node.lists("alice", "following", &booster.id);
    let shows = |announce: &Value| {
        let feed = node.as_actor("alice").get("/projections/feed").expect(200, "the feed").json();
        let items = feed["items"].as_array().expect("items").clone();
        items
            .into_iter()
            .map(|item| item["value"].clone())
            .find(|item| item["id"] == announce["id"])
    };
    let announces = |by: &crate::support::peer::Foreign, object: &str| {
        let to = [PUBLIC, alice.as_str()];
        let announce = by.plain("Announce", json!(object), &to);
        by.deliver(&node, "/actors/alice/inbox", &announce, Sign::Cavage).expect(202, object);
        announce
    };
    let path = |id: &str| id.strip_prefix(&origin.base).expect("at the origin").to_owned();

    let note = author.note_object("worth passing on");
    let id = note["id"].as_str().expect("an id").to_owned();
    origin.serve(&path(&id), note);
    let announce = announces(&booster, &id);
    let item = eventually(PATIENCE, "the feed shows what was announced", || {
        shows(&announce).filter(|item| item["announced"].is_object())
    });
    assert_eq!(item["announced"]["content"], "worth passing on");
    assert_eq!(item["announced"]["attributedTo"], author.id);
    announces(&booster, &id);
    node.settled_head();
    assert_eq!(origin.fetched(&path(&id)), 1, "it is fetched once");

    // What is private, claims another author, or is passed on by a stranger is not shown.
    let mut private = author.note_object("private");
    private["to"] = json!([booster.id]);
    let mut forged = author.note_object("forged");
    forged["attributedTo"] = json!(alice);
    let unwanted = author.note_object("unwanted");
    for (case, object, by) in [
        ("private", private, &booster),
        ("forged", forged, &booster),
        ("unwanted", unwanted, &stranger),
    ] {
        let id = object["id"].as_str().expect("an id").to_owned();
        origin.serve(&path(&id), object);
        let announce = announces(by, &id);
        if case == "unwanted" {
            node.settled_head();
            assert_eq!(origin.fetched(&path(&id)), 0, "nobody follows who announced it");
        } else {
            eventually(PATIENCE, case, || (origin.fetched(&path(&id)) > 0).then_some(()));
            node.settled_head();
        }
        let item = shows(&announce).expect("the Announce itself is shown");
        assert!(item.get("announced").is_none_or(Value::is_null), "{case}: {item}");
    }
}
