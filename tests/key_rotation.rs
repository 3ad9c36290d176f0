//! Step 3: keys change by signed activities, and what was signed before still verifies.

use fedsx_delivery::signature::Scheme;
use fedsx_kernel::keys::SecretKey;
use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::{Node, verify};
use crate::support::peer::{self, Sign, multikey, new_key};
use crate::support::verbs::{proven, signer};
use crate::support::{PATIENCE, Peer, eventually};

/// The key that a publish asked for: generated here, in place of the current one.
fn rotation() -> Value {
    json!({
        "type": "Update",
        "object": "bob",
        "patch": { "add_publicKey": { "generate": true }, "supersede": {} },
    })
}

fn multikeys(keys: &[Value]) -> Vec<&Value> {
    keys.iter().filter(|key| key.get("publicKeyMultibase").is_some()).collect()
}

#[test]
fn a_rotation_supersedes_the_key_and_keeps_the_history() {
    let mut node = Node::start();
    node.create("bob");
    node.create("alice");
    let first = node.keys("bob");
    assert_eq!(first.len(), 2, "one Ed25519 and one RSA key: {first:?}");
    assert!(first.iter().all(|key| key.get("revoked").is_none()), "nothing is superseded yet");
    let old = multikeys(&first)[0]["id"].clone();

    node.note("bob", "before");
    let rotated = node.publish("bob", &rotation());
    node.note("bob", "after");

    let keys = node.keys("bob");
    assert_eq!(keys.len(), 3, "the history keeps the old key: {keys:?}");
    let find = |id: &Value| keys.iter().find(|key| key["id"] == *id).expect("the key");
    assert!(find(&old)["revoked"].is_string(), "the old key is marked: {}", find(&old));
    assert_eq!(find(&old)["validUntil"]["seq"], rotated.seq, "it may still sign the rotation");
    let new = multikeys(&keys).into_iter().find(|key| key["id"] != old).expect("the new key");
    assert_eq!(new["validFrom"]["seq"], rotated.seq + 1, "the new key begins after it: {new}");
    assert!(new.get("validUntil").is_none(), "and is current");

    let outbox = node.outbox("bob");
    let [create, before, rotation_activity, after] = &outbox[..] else { panic!("{outbox:?}") };
    for (case, activity, key) in [
        ("the Create", create, &old),
        ("the Note before", before, &old),
        ("the rotation itself", rotation_activity, &old),
        ("the Note after", after, &new["id"]),
    ] {
        assert_eq!(activity["proof"]["verificationMethod"], *key, "{case} names its key");
        assert!(proven(activity, signer(activity, &keys)), "{case} verifies by the history");
    }
    assert!(!proven(before, new), "the new key does not verify old statements");
    assert!(!proven(after, find(&old)), "the old key does not verify new statements");
    let patch = &rotation_activity["patch"];
    assert_eq!(patch["supersede"], json!({ "old": old, "new": new["id"] }), "stated in the patch");

    let document = node.client().get("/actors/bob").expect(200, "the document").json();
    assert_eq!(document["assertionMethod"].as_array().map(Vec::len), Some(1), "current keys only");
    assert_eq!(document["assertionMethod"][0]["id"], new["id"], "the new key is the listed one");
    let mut embedded = document.clone();
    embedded.as_object_mut().expect("members").remove("@context");
    assert_eq!(rotation_activity["object"], embedded, "the Update embeds the full document");

    let bob = encoded(&node.actor("bob"));
    let query = format!("?key={bob}&min_seq={}", rotated.global_seq);
    assert_eq!(node.projection("key-history", &query).len(), 3, "key-history shows all keys");
    let state = node.projection("actor-state", &query);
    assert!(state[0].to_string().contains(new["id"].as_str().expect("an id")), "{state:?}");

    node.restart();
    assert_eq!(node.keys("bob"), keys, "the history survives a restart");
    node.note("bob", "later");
    let last = node.outbox("bob").pop().expect("the last Note");
    assert_eq!(last["proof"]["verificationMethod"], new["id"], "the new key stays in use");
    let data = node.into_data();
    let ended = verify(data.path());
    assert_eq!(ended.code, Some(0), "fedsx verify after a rotation: {}", ended.all());
}

#[test]
fn impossible_rotations_are_refused() {
    let node = Node::start();
    node.create("bob");
    node.create("alice");
    let bob = node.actor("bob");
    let old = multikeys(&node.keys("bob"))[0]["id"].clone();
    let rotate = |supersede: Value| {
        let patch = json!({ "add_publicKey": { "generate": true }, "supersede": supersede });
        json!({ "type": "Update", "object": bob, "patch": patch })
    };

    let foreign = node.as_actor("alice").post("/activity", &rotate(json!({})));
    foreign.refused(403, "not-authorised", "rotating another actor's keys");
    let unknown = rotate(json!({ "old": format!("{bob}#nothing") }));
    let refused = node.as_actor("bob").post("/activity", &unknown);
    refused.refused(422, "invalid-activity", "superseding a key that never was");
    let without =
        json!({ "type": "Update", "object": bob, "patch": { "supersede": { "old": old } } });
    let refused = node.as_actor("bob").post("/activity", &without);
    refused.refused(422, "invalid-activity", "an actor keeps a key that signs");
    assert_eq!(node.keys("bob").len(), 2, "refused rotations leave the keys alone");
    assert_eq!(node.total("bob", "outbox"), 1, "and append nothing");

    node.publish("bob", &rotate(json!({ "old": old })));
    let refused = node.as_actor("bob").post("/activity", &rotate(json!({ "old": old })));
    refused.refused(422, "invalid-activity", "superseding a key twice");
    let odd = json!({ "generate": true, "purposes": ["sing"] });
    let patch = json!({ "type": "Update", "object": bob, "patch": { "add_publicKey": odd } });
    let refused = node.as_actor("bob").post("/activity", &patch);
    refused.refused(422, "invalid-activity", "a purpose that does not exist");
}

/// Where an actor has a key for rotation, that key signs rotations, and peers accept it.
#[test]
fn a_rotation_key_signs_rotations_and_peers_follow() {
    let (a, b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    a.follow("alice", &b.actor("bob"));
    let purposes = json!({ "generate": true, "purposes": ["rotate-key"] });
    let bob = b.actor("bob");
    let add = json!({ "type": "Update", "object": bob, "patch": { "add_publicKey": purposes } });
    b.publish("bob", &add);
    let keys = b.keys("bob");
    let guard = keys.iter().find(|key| key["purposes"] == json!(["rotate-key"])).expect("the key");

    let rotated = b.publish("bob", &rotation());
    let activity = b.outbox("bob").pop().expect("the rotation");
    assert_eq!(activity["id"], rotated.id, "the rotation is the newest");
    assert_eq!(activity["proof"]["verificationMethod"], guard["id"], "the rotation key signs it");
    assert!(proven(&activity, guard), "and its proof holds");
    a.receives("alice", &rotated.id);
    let note = b.note("bob", "with the newest key");
    a.receives("alice", &note.id);
}

/// The same rotation, checked offline where it was published.
#[test]
fn a_rotation_by_a_rotation_key_verifies() {
    let node = Node::start();
    node.create("bob");
    let purposes = json!({ "generate": true, "purposes": ["rotate-key"] });
    let patch = json!({ "add_publicKey": purposes });
    node.publish("bob", &json!({ "type": "Update", "object": "bob", "patch": patch }));
    node.publish("bob", &rotation());
    node.note("bob", "after it");
    let ended = verify(node.into_data().path());
    assert_eq!(ended.code, Some(0), "fedsx verify: {}", ended.all());
}

#[test]
fn a_peer_follows_a_rotation() {
    let (a, b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    let bob = b.actor("bob");
    a.follow("alice", &bob);
    let before = b.note("bob", "before");
    let kept = a.receives("alice", &before.id);
    let rotated = b.publish("bob", &rotation());
    a.receives("alice", &rotated.id);
    let after = b.note("bob", "after");
    let newest = a.receives("alice", &after.id);
    let keys = b.keys("bob");
    assert!(proven(&kept, signer(&kept, &keys)), "the kept Note verifies by the old key");
    assert!(proven(&newest, signer(&newest, &keys)), "the new Note verifies by the new key");
    assert_ne!(
        kept["proof"]["verificationMethod"], newest["proof"]["verificationMethod"],
        "two keys were in use"
    );
    eventually(PATIENCE, "the peer's key history shows both keys", || {
        let known = a.projection("key-history", &format!("?key={}", encoded(&bob)));
        (known.len() >= 3).then_some(())
    });
    let ended = verify(a.into_data().path());
    assert_eq!(ended.code, Some(0), "the receiver's log verifies offline: {}", ended.all());
}

/// A private key as `secretKeyMultibase` has it.
fn secret_multibase(key: &SecretKey) -> String {
    let seed = key.to_secret_bytes();
    multibase::encode(multibase::Base::Base58Btc, [&[0x80, 0x26], seed.as_slice()].concat())
}

#[test]
fn a_client_may_bring_its_key() {
    let (a, b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    let bob = b.actor("bob");
    a.follow("alice", &bob);
    let (id, key) = new_key(&bob);
    let public = key.public().to_multibase().expect("a Multikey");
    let (_, other) = new_key(&bob);
    let add = |add: Value| {
        let patch = json!({ "add_publicKey": add, "supersede": {} });
        b.as_actor("bob")
            .post("/activity", &json!({ "type": "Update", "object": "bob", "patch": patch }))
    };
    for (case, request) in [
        ("a signing key without its private half", json!({ "publicKeyMultibase": public })),
        (
            "a rotation key without its private half",
            json!({ "publicKeyMultibase": public, "purposes": ["rotate-key"] }),
        ),
        (
            "halves of two keys",
            json!({ "publicKeyMultibase": public, "secretKeyMultibase": secret_multibase(&other) }),
        ),
        ("what is no key", json!({ "secretKeyMultibase": "z3u2nonsense" })),
        ("what is no text", json!({ "secretKeyMultibase": 7 })),
    ] {
        let refused = add(request);
        let problem = refused.refused(422, "invalid-activity", case).to_string();
        assert!(!problem.contains(&secret_multibase(&other)), "no secret comes back: {problem}");
    }
    assert_eq!(
        b.total("bob", "outbox"),
        2,
        "refused requests append nothing: the Create, the Accept"
    );

    let secret = secret_multibase(&key);
    let answer = add(json!({ "publicKeyMultibase": public, "secretKeyMultibase": secret }));
    assert_eq!(answer.status, 201, "a key that is brought: {}", answer.text());
    let note = b.note("bob", "signed by the key that was brought");
    let received = a.receives("alice", &note.id);
    assert_eq!(received["proof"]["verificationMethod"], id, "it signs");
    assert!(proven(&received, signer(&received, &b.keys("bob"))));
    for path in ["/actors/bob", "/actors/bob/keys", "/actors/bob/outbox?since=&limit=100"] {
        let shown = b.as_actor("bob").get(path).expect(200, path).text_whole();
        assert!(!shown.contains(&secret) && !shown.contains("secretKey"), "{path}");
    }

    // A key for requests alone may stay with the client; this server goes on with its own.
    let (own_id, own) = new_key(&bob);
    let public = own.public().to_multibase().expect("a Multikey");
    let request = json!({ "publicKeyMultibase": public, "purposes": ["http-signature"] });
    let patch = json!({ "add_publicKey": request });
    b.publish("bob", &json!({ "type": "Update", "object": "bob", "patch": patch }));
    let note = b.note("bob", "still delivered");
    a.receives("alice", &note.id);
    let request =
        json!({ "type": "Create", "to": [bob], "object": { "type": "Note", "content": "x" } });
    let letter = a.publish("alice", &request);
    let path = format!("/activities/{}", letter.cid);
    let by = (own_id.as_str(), &own);
    let read = peer::fetch_signed(&a, &path, "application/activity+json", Scheme::Rfc9421, by);
    read.expect(200, "the client reads as bob, by the key that it kept");
}

/// What waits for a peer arrives after rotations, and everything verifies later on.
#[test]
fn queued_deliveries_survive_several_rotations() {
    let (mut a, mut b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    let bob = b.actor("bob");
    a.follow("alice", &bob);
    let first = b.note("bob", "before");
    a.receives("alice", &first.id);
    a.stop();
    let mut sent = vec![first];
    for round in 0..3 {
        sent.push(b.note("bob", &format!("while away {round}")));
        sent.push(b.publish("bob", &rotation()));
    }
    sent.push(b.note("bob", "by the fourth key"));
    b.restart();
    a.restart();
    let path = format!("/admin/dead-letter/replay?peer={}", encoded(&a.base));
    b.admin().post(&path, &Value::Null).expect(200, "the peer is tried at once");
    let keys = b.keys("bob");
    assert_eq!(multikeys(&keys).len(), 4, "four signing keys: {keys:?}");
    let revoked = keys.iter().filter(|key| key["revoked"].is_string()).count();
    assert_eq!(revoked, 3, "of which three are superseded");
    for published in &sent {
        let received = a.receives("alice", &published.id);
        assert!(proven(&received, signer(&received, &keys)), "{received}");
    }
    let rebuilt = a.admin().post("/admin/projections/key-history/rebuild", &Value::Null);
    rebuilt.expect(202, "a rebuild");
    eventually(PATIENCE, "the rebuilt history is the same", || {
        let shown = a.admin().get("/admin/projections?name=key-history").json();
        let same = &shown["items"][0]["rebuilt"]["is_same"];
        assert_ne!(*same, json!(false), "{shown}");
        (*same == json!(true)).then_some(())
    });
    let known = a.projection("key-history", &format!("?key={}", encoded(&bob)));
    assert_eq!(known.len(), keys.len(), "the peer knows all keys: {known:?}");
    for node in [a, b] {
        let ended = verify(node.into_data().path());
        assert_eq!(ended.code, Some(0), "it verifies offline: {}", ended.all());
    }
}

/// What a peer knows of keys grows by one fetch, when a key shows that it does not know.
#[test]
fn an_unknown_key_causes_one_fetch() {
    let node = Node::start();
    node.create("alice");
    let origin = Peer::start();
    let mallory = origin.actor("mallory");
    let (alice, inbox) = (node.actor("alice"), "/actors/alice/inbox");
    let (second_id, second) = new_key(&mallory.id);
    let (third_id, third) = new_key(&mallory.id);
    let at = |seq: u64| json!({ "epoch": 0, "seq": seq, "time_ms": 0 });
    let serve = |keys: &[(&str, &SecretKey, u64, Option<u64>)]| {
        let mut listed = Vec::new();
        let mut history = Vec::new();
        for (id, key, from, until) in keys {
            let mut entry = multikey(&mallory.id, id, key);
            if until.is_none() {
                listed.push(entry.clone());
            }
            entry["purposes"] = json!(["sign-activity", "http-signature"]);
            entry["validFrom"] = at(*from);
            if let Some(until) = until {
                (entry["validUntil"], entry["revoked"]) =
                    (at(*until), json!("2026-01-01T00:00:00Z"));
            }
            history.push(entry);
        }
        let mut document = mallory.document();
        document["assertionMethod"] = json!(listed);
        document["keys"] = json!(format!("{}/keys", mallory.id));
        origin.serve("/actors/mallory", document);
        let collection = json!({ "type": "OrderedCollection", "orderedItems": history });
        origin.serve("/actors/mallory/keys", collection);
    };
    let fetches = || origin.fetched("/actors/mallory");
    let says = |seq: u64, id: &str, key: &SecretKey| {
        let more = json!({ "to": [alice], "seq": seq });
        mallory.sealed_by(mallory.content("Create", mallory.note_object("x"), more), id, key)
    };
    let delivered_by = |activity: &Value, id: &str, key: &SecretKey| {
        let body = activity.to_string().into_bytes();
        let url = format!("{}{inbox}", node.base);
        let headers = peer::signed_by(&url, &body, Scheme::Rfc9421, id, key);
        peer::send(node.client(), inbox, &headers, body)
    };
    let first = (mallory.key_id.as_str(), &mallory.key);
    serve(&[(first.0, first.1, 0, Some(10)), (&second_id, &second, 11, None)]);
    mallory
        .deliver(&node, inbox, &says(11, &second_id, &second), Sign::Bare)
        .expect(202, "contact");
    assert_eq!(fetches(), 1, "first contact");
    for seq in 12..15 {
        mallory
            .deliver(&node, inbox, &says(seq, &second_id, &second), Sign::Bare)
            .expect(202, "known");
    }
    assert_eq!(fetches(), 1, "a known key needs no fetch");

    serve(&[
        (first.0, first.1, 0, Some(10)),
        (&second_id, &second, 11, Some(20)),
        (&third_id, &third, 21, None),
    ]);
    let queued = says(5, first.0, first.1);
    delivered_by(&queued, &third_id, &third)
        .expect(202, "an old statement, the request by the newest key");
    assert_eq!(fetches(), 2, "the newest key was fetched once");
    let stolen = says(6, first.0, first.1);
    let refused = delivered_by(&stolen, &second_id, &second);
    refused.refused(401, "invalid-signature", "an old statement, the request by an old key");
    let refused = delivered_by(&stolen, first.0, first.1);
    refused.refused(401, "invalid-signature", "all by the stolen key");
    let ahead = says(30, &second_id, &second);
    let refused = delivered_by(&ahead, &second_id, &second);
    refused.refused(401, "invalid-signature", "a superseded key says nothing new");
    assert_eq!(fetches(), 2, "keys that are known to be superseded cause no fetch");
    let (nobody_id, nobody) = new_key(&mallory.id);
    let refused = mallory.deliver(&node, inbox, &says(31, &nobody_id, &nobody), Sign::Bare);
    refused.refused(401, "unknown-key", "a key that never was");
    assert_eq!(fetches(), 3, "one fetch for it");
}
