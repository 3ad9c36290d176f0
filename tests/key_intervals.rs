//! Which key of an actor may say what: inside its interval, and for what it is there.

use serde_json::json;

use crate::support::node::Node;
use crate::support::peer::{Sign, multikey, new_key};
use crate::support::verbs::{proven, signer};
use crate::support::{PUBLIC, Peer};

/// A foreign actor whose served key history says that its first key ended at position 10.
#[test]
fn superseded_keys_sign_only_inside_their_interval() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let (new_id, new_key) = new_key(&mallory.id);
    let mut document = mallory.document();
    document["assertionMethod"] = json!([multikey(&mallory.id, &new_id, &new_key)]);
    document["keys"] = json!(format!("{}/keys", mallory.id));
    let time = "2026-01-01T00:00:00Z";
    let at = |seq: u64| json!({ "epoch": 0, "seq": seq, "time_ms": 0 });
    let mut old = multikey(&mallory.id, &mallory.key_id, &mallory.key);
    old["purposes"] = json!(["sign-activity", "http-signature"]);
    let mut new = multikey(&mallory.id, &new_id, &new_key);
    new["purposes"] = old["purposes"].clone();
    (old["validFrom"], old["validUntil"], old["revoked"]) = (at(0), at(10), json!(time));
    new["validFrom"] = at(11);
    let collection = json!({ "type": "OrderedCollection", "orderedItems": [old, new] });
    peer.serve("/actors/mallory", document);
    peer.serve("/actors/mallory/keys", collection);

    let alice = node.actor("alice");
    let numbered = |seq: u64| {
        let object = mallory.note_object("numbered");
        mallory.content("Create", object, json!({ "to": [alice, PUBLIC], "seq": seq }))
    };
    let inbox = "/actors/alice/inbox";

    let fresh = mallory.sealed_by(numbered(11), &new_id, &new_key);
    mallory.deliver(&node, inbox, &fresh, Sign::Bare).expect(202, "the current key, inside");
    let head = node.settled_head();
    let early = mallory.sealed_by(numbered(9), &new_id, &new_key);
    let refused = mallory.deliver(&node, inbox, &early, Sign::Bare);
    refused.refused(401, "invalid-signature", "the new key before its interval");
    let late = mallory.sealed(numbered(12));
    let refused = mallory.deliver(&node, inbox, &late, Sign::Rsa);
    refused.refused(401, "invalid-signature", "the old key after its interval");
    let queued = mallory.sealed(numbered(5));
    let refused = mallory.deliver(&node, inbox, &queued, Sign::Bare);
    refused.refused(401, "invalid-signature", "the old key inside, but nothing current beside it");
    assert_eq!(node.settled_head(), head, "refused deliveries append nothing");
    let taken = mallory.deliver(&node, inbox, &queued, Sign::Rsa);
    taken.expect(202, "the old key inside its interval, the request signed by a current key");
}

/// The newest document was read, but not the history that says until when the key before it held.
#[test]
fn a_history_that_could_not_be_read_is_read_again() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let alice = node.actor("alice");
    let inbox = "/actors/alice/inbox";
    let numbered = |seq: u64| {
        let object = mallory.note_object("numbered");
        mallory.content("Create", object, json!({ "to": [alice, PUBLIC], "seq": seq }))
    };
    let first = mallory.sealed(numbered(1));
    mallory.deliver(&node, inbox, &first, Sign::Bare).expect(202, "first contact");

    let (new_id, new_key) = new_key(&mallory.id);
    let mut document = mallory.document();
    document["assertionMethod"] = json!([multikey(&mallory.id, &new_id, &new_key)]);
    document["keys"] = json!(format!("{}/keys", mallory.id));
    peer.serve("/actors/mallory", document);
    let later = mallory.sealed_by(numbered(20), &new_id, &new_key);
    mallory.deliver(&node, inbox, &later, Sign::Bare).expect(202, "the new key");
    let queued = mallory.sealed(numbered(5));
    let refused = mallory.deliver(&node, inbox, &queued, Sign::Rsa);
    refused.refused(401, "invalid-signature", "nothing says that the old key held so long");

    let at = |seq: u64| json!({ "epoch": 0, "seq": seq, "time_ms": 0 });
    let mut old = multikey(&mallory.id, &mallory.key_id, &mallory.key);
    old["purposes"] = json!(["sign-activity", "http-signature"]);
    let mut new = multikey(&mallory.id, &new_id, &new_key);
    new["purposes"] = old["purposes"].clone();
    (old["validFrom"], old["validUntil"]) = (at(0), at(10));
    old["revoked"] = json!("2026-01-01T00:00:00Z");
    new["validFrom"] = at(11);
    let collection = json!({ "type": "OrderedCollection", "orderedItems": [old, new] });
    peer.serve("/actors/mallory/keys", collection);
    let taken = mallory.deliver(&node, inbox, &queued, Sign::Rsa);
    taken.expect(202, "inside the interval that the history says");
}

/// A rotation must itself be signed by an active key that may rotate.
#[test]
fn inbound_rotations_need_the_right_key() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let (guard_id, guard) = new_key(&mallory.id);
    let mut document = mallory.document();
    let mut guarding = multikey(&mallory.id, &guard_id, &guard);
    guarding["purposes"] = json!(["sign-activity", "rotate-key"]);
    let everyday = multikey(&mallory.id, &mallory.key_id, &mallory.key);
    document["assertionMethod"] = json!([everyday, guarding]);
    peer.serve("/actors/mallory", document.clone());
    let alice = node.actor("alice");
    let inbox = "/actors/alice/inbox";
    let hello = mallory.note("hello", &[&alice]);
    mallory.deliver(&node, inbox, &hello, Sign::Bare).expect(202, "first contact");

    let (added_id, added) = new_key(&mallory.id);
    let mut changed = document;
    changed["assertionMethod"] =
        json!([multikey(&mallory.id, &added_id, &added), multikey(&mallory.id, &guard_id, &guard)]);
    changed["assertionMethod"][1]["purposes"] = json!(["sign-activity", "rotate-key"]);
    let patch = json!({
        "add_publicKey": multikey(&mallory.id, &added_id, &added),
        "supersede": { "old": mallory.key_id, "new": added_id },
    });
    let update = || {
        let more = json!({ "to": [alice, PUBLIC], "patch": patch });
        mallory.content("Update", changed.clone(), more)
    };
    let stolen = mallory.sealed(update());
    let refused = mallory.deliver(&node, inbox, &stolen, Sign::Bare);
    refused.refused(403, "not-authorised", "an everyday key where there is one for rotation");
    let unproven = mallory.sealed_by(update(), &added_id, &added);
    let refused = mallory.deliver(&node, inbox, &unproven, Sign::Bare);
    assert_eq!(
        refused.status,
        401,
        "the key that the rotation only introduces: {}",
        refused.text()
    );
    let rotation = mallory.sealed_by(update(), &guard_id, &guard);
    mallory.deliver(&node, inbox, &rotation, Sign::Bare).expect(202, "the rotation key");
    let content =
        mallory.content("Create", mallory.note_object("new key"), json!({ "to": [alice] }));
    let note = mallory.sealed_by(content, &added_id, &added);
    mallory.deliver(&node, inbox, &note, Sign::Bare).expect(202, "the key that it added");
}

/// The first key of an actor vouches for the statement that introduces it, and no other key does.
#[test]
fn the_first_key_signs_what_introduces_it() {
    let node = Node::start();
    let created = node.create("alice");
    let create = node.client().get(&created.id).expect(200, "the Create").json();
    let introduced = create["object"]["assertionMethod"][0].clone();
    assert_eq!(create["proof"]["verificationMethod"], introduced["id"], "signed by its own key");
    assert!(proven(&create, signer(&create, &node.keys("alice"))));

    let origin = Peer::start();
    let mallory = origin.actor("mallory");
    let (thief_id, thief) = new_key(&mallory.id);
    let mut document = mallory.document();
    document["assertionMethod"] = json!([multikey(&mallory.id, &thief_id, &thief)]);
    let content =
        mallory.content("Create", document, json!({ "to": [node.actor("alice")], "seq": 0 }));
    let forged = mallory.sealed_by(content, &thief_id, &thief);
    let refused = mallory.deliver(&node, "/actors/alice/inbox", &forged, Sign::Bare);
    refused.refused(
        401,
        "unknown-key",
        "a Create that introduces a key which its origin does not show",
    );
    let content = mallory.content(
        "Create",
        mallory.document(),
        json!({ "to": [node.actor("alice")], "seq": 0 }),
    );
    let honest = mallory.sealed(content);
    mallory
        .deliver(&node, "/actors/alice/inbox", &honest, Sign::Bare)
        .expect(202, "the honest one");
}
