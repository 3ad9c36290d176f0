//! Who said it: signatures of requests, proofs, keys that change, and what is refused.

use serde_json::{Value, json};

use fedsx_delivery::signature::Scheme;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::runtime::OsRandom;

use super::{CAVAGE, RFC_9421, start};
use crate::support::matrix::Shows;
use crate::support::node::{Node, verify};
use crate::support::peer::{self, Peer, Sign};
use crate::support::program::Program;
use crate::support::{Client, PATIENCE, PUBLIC, eventually};

/// Posts what Fedify's functions signed and what was then broken; gives the answer.
#[track_caller]
fn forge(at: &Program, how: &str, spec: &str, inbox: &str, activity: &Value) -> (u64, String) {
    let command = json!({
        "as": "ada", "how": how, "spec": spec, "inbox": inbox, "activity": activity,
    });
    let answer = at.tell("/forge", &command);
    let status = answer["status"].as_u64().unwrap_or_else(|| panic!("{how}: {answer}"));
    (status, answer["body"].to_string())
}

#[test]
fn what_was_tampered_with_is_refused_here() {
    let Some(fedify) = start(RFC_9421) else { return };
    let mut shows = Shows::of("F6", "Fedify");
    let node = Node::start();
    node.create("alice");
    let inbox = format!("{}/inbox", node.actor("alice"));
    let post = |how: &str, spec: &str| {
        let activity = fedify.activity("ada", "Follow", &json!(node.actor("alice")), &[]);
        let (status, body) = forge(&fedify, how, spec, &inbox, &activity);
        (activity["id"].as_str().expect("an id").to_owned(), status, body)
    };
    for spec in [RFC_9421, CAVAGE] {
        for how in ["wrong-key", "tampered-body", "tampered-proof"] {
            let before = node.head();
            let (id, status, body) = post(how, spec);
            assert_eq!(status, 401, "{how} by {spec}: {body}");
            let held = node.inbox("alice");
            assert!(held.iter().all(|one| one["id"] != id.as_str()), "{how} by {spec}");
            // A document that was fetched for the check may be noted; the inbox takes nothing.
            assert!(node.head() <= before + 2, "{how} by {spec}");
        }
        // The same hands, nothing broken.
        let (id, status, body) = post("nothing", spec);
        assert_eq!(status, 202, "{spec}: {body}");
        node.receives("alice", &id);
    }
    for feature in ["wrong key", "tampered body", "tampered proof"] {
        shows.back(feature);
    }
    let (id, status, body) = post("proof-only", RFC_9421);
    assert_eq!(status, 202, "a proof needs no signature of the request: {body}");
    node.receives("alice", &id);
    shows.back("proof without signature");
}

/// Fedify looks at the proof first and needs no signature of the request where it is good. So what
/// our signatures are worth shows with activities that bear no proof.
#[test]
fn what_was_tampered_with_is_refused_there() {
    let Some(fedify) = start(RFC_9421) else { return };
    let mut shows = Shows::of("F7", "Fedify");
    let host = Peer::start();
    let mallory = host.actor("mallory");
    let ada = fedify.actor("ada");
    let client = Client::new(&fedify.base);
    let follow = || mallory.plain("Follow", json!(ada), &[&ada]);
    let post = |activity: &Value, sign: Sign, sent: &Value| {
        let url = format!("{}/inbox", fedify.base);
        let headers = mallory.signed_headers(&url, activity.to_string().as_bytes(), sign);
        peer::send(&client, "/inbox", &headers, sent.to_string().into_bytes()).status
    };
    let id = |activity: &Value| activity["id"].as_str().expect("an id").to_owned();

    for (sign, feature) in
        [(Sign::Cavage, "signature: draft-cavage, RSA"), (Sign::Rsa, "signature: RFC 9421, RSA")]
    {
        let activity = follow();
        assert_eq!(post(&activity, sign, &activity), 202, "{sign:?}");
        assert_eq!(fedify.receives(&id(&activity))["actor"], mallory.id.as_str());
        shows.out(feature);
        let mut other = activity.clone();
        other["published"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(post(&activity, sign, &other), 401, "another body than was signed: {sign:?}");
    }
    shows.out("tampered body");
    let activity = follow();
    assert_eq!(post(&activity, Sign::Bare, &activity), 401, "no signature at all");
    // Fedify looks for the signer's key in `publicKey` alone, where an RSA key has to stand, and
    // remembers that it found none under this id: not even the actor's proofs are good then.
    let trent = host.actor("trent");
    let body = trent.plain("Follow", json!(ada), &[&ada]).to_string().into_bytes();
    let url = format!("{}/inbox", fedify.base);
    let headers = trent.signed_headers(&url, &body, Sign::Ed25519);
    assert_eq!(peer::send(&client, "/inbox", &headers, body).status, 401, "Ed25519");

    let wrong = SecretKey::generate_rsa(&OsRandom).expect("a key");
    for scheme in [Scheme::Cavage, Scheme::Rfc9421] {
        let activity = follow();
        let body = activity.to_string().into_bytes();
        let url = format!("{}/inbox", fedify.base);
        let headers = peer::signed_by(&url, &body, scheme, &mallory.rsa_id, &wrong);
        let answer = peer::send(&client, "/inbox", &headers, body);
        assert_eq!(answer.status, 401, "{scheme:?}: {}", answer.text());
    }
    shows.out("wrong key");

    // Our proofs, by Fedify's own code and at its inbox.
    let members = json!({ "to": [ada], "@context": [
        "https://www.w3.org/ns/activitystreams", "https://w3id.org/security/data-integrity/v1",
    ] });
    let good = mallory.sealed(mallory.content("Follow", json!(ada), members.clone()));
    let verified = |document: &Value| {
        fedify.tell("/verify", &json!({ "document": document }))["verified"] == true
    };
    assert!(verified(&good), "{good}");
    let mut other = good.clone();
    other["published"] = json!("2026-01-01T00:00:00Z");
    assert!(!verified(&other), "{other}");
    assert_eq!(post(&good, Sign::Bare, &good), 202, "a proof alone");
    fedify.receives(&id(&good));
    shows.out("proof without signature");
    assert_eq!(post(&other, Sign::Bare, &other), 401, "a proof of something else");
    let (_, key) = peer::new_key(&mallory.id);
    let content = mallory.content("Follow", json!(ada), members);
    let forged = mallory.sealed_by(content, &mallory.key_id, &key);
    assert!(!verified(&forged), "by a key that is not mallory's");
    assert_eq!(post(&forged, Sign::Bare, &forged), 401, "by a key that is not mallory's");
    shows.out("tampered proof");
}

/// All that an instance publishes bears a proof that Fedify finds good.
#[test]
fn proofs_of_all_kinds_are_good_there() {
    let Some(fedify) = start(RFC_9421) else { return };
    let mut shows = Shows::of("F8", "Fedify");
    let node = Node::start();
    node.create("alice");
    let note = node.publish(
        "alice",
        &json!({ "type": "Create", "object": {
        "type": "Note", "content": "<p>ünïcode, \u{1f41f}, and a number</p>",
        "published": "2026-11-01T10:00:00Z", "width": 1.5,
        "tag": [{ "type": "Hashtag", "name": "#fish", "href": "https://example.org/fish" }],
        "contentMap": { "en": "<p>words</p>", "de": "<p>Wörter</p>" },
    } }),
    );
    let object = json!(note.object());
    let like = node.publish("alice", &json!({ "type": "Like", "object": object }));
    let change = json!({ "id": object, "type": "Note", "content": "<p>changed</p>" });
    for request in [
        json!({ "type": "Undo", "object": like.id }),
        json!({ "type": "Announce", "object": object }),
        json!({ "type": "Update", "object": change }),
        json!({ "type": "Update", "object": "alice", "patch": { "name": "Alice" } }),
        json!({ "type": "Follow", "object": fedify.actor("ada") }),
        json!({ "type": "Delete", "object": object }),
    ] {
        node.publish("alice", &request);
    }
    let outbox = super::own_outbox(&node, "alice");
    assert!(outbox.len() >= 9, "{outbox:?}");
    for activity in outbox {
        let answer = fedify.tell("/verify", &json!({ "document": activity }));
        assert_eq!(answer["verified"], true, "{activity}");
    }
    shows.out("proof: every kind of activity");
}

#[test]
fn a_rotation_is_picked_up_by_either_side() {
    let Some(fedify) = start(RFC_9421) else { return };
    let mut shows = Shows::of("F9", "Fedify");
    let mut node = Node::start();
    node.create("alice");
    let (alice, ada) = (node.actor("alice"), fedify.actor("ada"));
    let follow = fedify.activity("ada", "Follow", &json!(alice), &[]);
    fedify.send("ada", &[&alice], false, &follow);
    node.lists("alice", "followers", &ada);

    // Fedify keeps the ids of its keys: only a new look at the actor shows that they changed.
    fedify.tell("/rotate", &json!({ "as": "ada" }));
    let note = fedify.note("ada", &json!({}));
    let create = fedify.activity("ada", "Create", &note, &[PUBLIC, &alice]);
    node.receives("alice", &fedify.send("ada", &[&alice], false, &create));
    shows.back("key rotation");

    let rotation = json!({
        "type": "Update", "object": "alice",
        "patch": { "add_publicKey": { "generate": true }, "supersede": {} },
    });
    let rotation = node.publish("alice", &rotation);
    fedify.receives(&rotation.id);
    let after = node.note("alice", "signed by the new key");
    fedify.receives(&after.id);
    shows.out("key rotation");
    node.stop();
    let ended = verify(node.data());
    assert_eq!(ended.code, Some(0), "{}", ended.all());
}

/// Fedify gives documents to signed requests only, and reads what is for its actor's eyes alone.
#[test]
fn fetches_are_signed_on_both_sides() {
    for (knock, mark) in [(RFC_9421, "F10"), (CAVAGE, "F11")] {
        let Some(fedify) = start(knock) else { return };
        let mut shows = Shows::of(mark, "Fedify");
        let node = Node::start();
        node.create("alice");
        let ada = fedify.actor("ada");
        fedify.tell("/secure", &json!({ "on": true }));
        let unsigned = Client::new(&fedify.base).get(&ada);
        assert_eq!(unsigned.status, 401, "{}", unsigned.text());
        node.follow("alice", &ada);
        let asked = |path: &str| -> Vec<Value> {
            let all = fedify.list("/requests").into_iter();
            all.filter(|one| one["method"] == "GET" && one["path"] == path).collect()
        };
        let fetched: Vec<_> =
            asked("/users/ada").into_iter().filter(|one| one["scheme"] != "none").collect();
        assert!(!fetched.is_empty(), "the fetch was signed");
        assert!(fetched.iter().all(|one| one["status"] == 200), "at once: {fetched:?}");
        shows.out("signed fetch");

        let object = json!({ "type": "Note", "content": "<p>for ada</p>" });
        let request = json!({ "type": "Create", "to": [ada], "object": object });
        let note = node.publish("alice", &request);
        fedify.receives(&note.id);
        let seen = |by: Value| {
            eventually(PATIENCE, "an answer", || {
                Some(fedify.tell("/lookup", &json!({ "as": by, "url": note.id })))
            })
        };
        assert_eq!(seen(json!("ada"))["type"], "Create", "who it is for reads it");
        assert_eq!(seen(json!("bert"))["found"], Value::Null, "others do not");
        assert_eq!(seen(Value::Null)["found"], Value::Null, "nor does who does not sign");
        let sent = fedify.list("/sent");
        let signed = sent.iter().filter(|one| one["url"] == note.id && one["status"] == 200);
        let scheme = if knock == RFC_9421 { "rfc9421" } else { "cavage" };
        assert!(signed.clone().count() > 0, "{sent:?}");
        assert!(signed.clone().all(|one| one["scheme"] == scheme), "{sent:?}");
        shows.back("signed fetch");
    }
}
