//! A server of other authors at the other end: Lemmy's crate `activitypub_federation`, over sockets,
//! in both directions. Its types are strict, as Lemmy's are: what lacks a member is not understood.
//!
//! Skipped, loudly, only where the crates' registry cannot be reached.

use std::process::Command;

use serde_json::{Value, json};

use fedsx_delivery::signature::Scheme;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::runtime::OsRandom;

use crate::support::matrix::Shows;
use crate::support::node::{Node, verify};
use crate::support::peer::{self, Peer, Sign};
use crate::support::program::Program;
use crate::support::verbs::kinds;
use crate::support::{Client, PATIENCE, PUBLIC, crates, eventually};

/// Signatures over `host` and `date` as Mastodon's, and Lemmy's own, instead of `(created)`.
const AS_MASTODON: &str = "--compat";

fn start(arguments: &[&str]) -> Option<Program> {
    match crates::built("lemmy", "fedsx-peer-lemmy") {
        Ok(program) => {
            let mut command = Command::new(program);
            command.args(arguments);
            Some(Program::start(command))
        }
        Err(reason) => {
            eprintln!("SKIPPED: nothing was tried with Lemmy's crate: {reason}");
            None
        }
    }
}

/// Waits until the crate verified an activity and took it as this type of Lemmy's; gives it.
#[track_caller]
fn taken_as(lemmy: &Program, kind: &str, id: &str) -> Value {
    let taken = lemmy.receives(id);
    assert_eq!(taken["type"], kind, "{taken}");
    taken["activity"].clone()
}

/// Following, writing and the rest in both directions, by one of the ways in which it signs.
fn lives_together(arguments: &[&str], mark: &'static str) {
    let Some(lemmy) = start(arguments) else { return };
    let mut shows = Shows::of(mark, "Lemmy's crate");
    let mut node = Node::start();
    node.create("alice");
    let (alice, ada) = (node.actor("alice"), lemmy.actor("ada"));
    let send = |activity: &Value, shared: bool| {
        let id = lemmy.send("ada", &[&alice], shared, activity);
        node.receives("alice", &id);
        id
    };

    // Discovery.
    let found = lemmy.tell("/lookup", &json!({ "actor": alice }));
    assert_eq!(found["name"], "alice", "{found}");
    assert_eq!(found["shared"], format!("{}/inbox", node.base), "{found}");
    shows.out("actor document");
    let account = format!("alice@{}", node.base.trim_start_matches("http://"));
    let found = lemmy.tell("/lookup", &json!({ "account": account }));
    assert_eq!(found["id"], alice.as_str(), "{found}");
    shows.out("WebFinger by account");
    let account = format!("acct:ada@{}", lemmy.base.trim_start_matches("http://"));
    let path = format!("/.well-known/webfinger?resource={account}");
    let jrd = node.as_actor("alice").get(&path).expect(200, "an account there").json();
    assert!(jrd.to_string().contains(&ada), "{jrd}");
    shows.back("WebFinger by account");

    // Following.
    let follow = node.follow("alice", &ada);
    taken_as(&lemmy, "Follow", &follow.id);
    shows.back("actor document");
    shows.out("Follow");
    shows.back("Accept");
    let followed_by = lemmy.activity("ada", "Follow", &json!(alice), &[]);
    send(&followed_by, false);
    node.lists("alice", "followers", &ada);
    let accept = eventually(PATIENCE, "an Accept", || {
        let all = lemmy.list("/received");
        all.into_iter().find(|one| one["type"] == "Accept")
    });
    assert_eq!(accept["activity"]["object"]["id"], followed_by["id"], "{accept}");
    shows.back("Follow");
    shows.out("Accept");

    // What alice writes.
    let note = node.note("alice", "<p>hello</p>");
    let got = taken_as(&lemmy, "Create", &note.id);
    assert_eq!(got["object"]["content"], "<p>hello</p>");
    shows.out("Create of a Note");
    if arguments.contains(&AS_MASTODON) {
        // The other way its signature of a fetch does not cover the host, and is refused.
        let read = lemmy.tell("/lookup", &json!({ "note": note.object() }));
        assert_eq!(read["content"], "<p>hello</p>", "{read}");
        shows.out("object by its id");
        shows.back("signed fetch");
    }
    let change = json!({ "id": note.object(), "type": "Note", "content": "<p>better</p>" });
    let update = node.publish("alice", &json!({ "type": "Update", "object": change }));
    assert_eq!(taken_as(&lemmy, "Update", &update.id)["object"]["content"], "<p>better</p>");
    shows.out("Update of a Note");

    // What ada writes, and does with it.
    let mut first = lemmy.note("ada", &json!({ "inReplyTo": note.object() }));
    let id = first["id"].as_str().expect("an id").to_owned();
    send(&lemmy.activity("ada", "Create", &first, &[PUBLIC]), true);
    shows.back("Create of a Note");
    first["content"] = json!("<p>changed</p>");
    first["updated"] = json!("2026-11-01T11:00:00Z");
    send(&lemmy.activity("ada", "Update", &first, &[PUBLIC]), true);
    shows.back("Update of a Note");
    for kind in ["Like", "Announce"] {
        let to: &[&str] = if kind == "Like" { &[] } else { &[PUBLIC] };
        let said = lemmy.activity("ada", kind, &json!(note.object()), to);
        send(&said, true);
        let mut undone = said.clone();
        undone.as_object_mut().expect("an object").remove("@context");
        send(&lemmy.activity("ada", "Undo", &undone, to), true);
    }
    for (kind, undo) in [("Like", "UndoLike"), ("Announce", "UndoAnnounce")] {
        let said = node.publish("alice", &json!({ "type": kind, "object": id }));
        assert_eq!(taken_as(&lemmy, kind, &said.id)["object"], id.as_str());
        let undone = node.publish("alice", &json!({ "type": "Undo", "object": said.id }));
        taken_as(&lemmy, undo, &undone.id);
    }
    for feature in ["Like", "Announce", "Undo of a Like", "Undo of an Announce"] {
        shows.out(feature);
        shows.back(feature);
    }
    send(&lemmy.activity("ada", "Delete", &json!(id), &[PUBLIC]), true);
    shows.back("Delete");
    let delete = node.publish("alice", &json!({ "type": "Delete", "object": note.object() }));
    taken_as(&lemmy, "Delete", &delete.id);
    shows.out("Delete");

    // The ends of it.
    let unfollow = node.publish("alice", &json!({ "type": "Undo", "object": follow.id }));
    taken_as(&lemmy, "UndoFollow", &unfollow.id);
    shows.out("Undo of a Follow");
    let mut undone = followed_by.clone();
    undone.as_object_mut().expect("an object").remove("@context");
    send(&lemmy.activity("ada", "Undo", &undone, &[]), false);
    eventually(PATIENCE, "ada follows no more", || {
        node.listed("alice", "followers").is_empty().then_some(())
    });
    shows.back("Undo of a Follow");

    let scheme = |posts: Vec<Value>| {
        let posts: Vec<_> = posts.into_iter().filter(|one| one["method"] == "POST").collect();
        assert!(posts.iter().all(|one| one["scheme"] == "cavage"), "{posts:?}");
        assert!(posts.iter().all(|one| one["status"] == 200), "{posts:?}");
    };
    scheme(lemmy.list("/requests"));
    shows.out("signature: draft-cavage, RSA");
    shows.back("signature: draft-cavage, RSA");
    let inbox = node.inbox("alice");
    assert!(kinds(&inbox).contains(&"Undo"), "{inbox:?}");
    node.stop();
    let ended = verify(node.data());
    assert_eq!(ended.code, Some(0), "{}", ended.all());
}

#[test]
fn both_directions_by_hs2019() {
    lives_together(&[], "L1");
}

#[test]
fn both_directions_as_mastodon_signs() {
    lives_together(&[AS_MASTODON], "L2");
}

#[test]
fn refusals_and_shared_inboxes() {
    let Some(lemmy) = start(&[]) else { return };
    let mut shows = Shows::of("L3", "Lemmy's crate");
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let (alice, ada) = (node.actor("alice"), lemmy.actor("ada"));

    for name in ["ada", "bert"] {
        let follow = lemmy.activity(name, "Follow", &json!(alice), &[]);
        lemmy.send(name, &[&alice], false, &follow);
        node.lists("alice", "followers", &lemmy.actor(name));
    }
    let note = node.note("alice", "to both");
    taken_as(&lemmy, "Create", &note.id);
    let later = node.note("alice", "later");
    taken_as(&lemmy, "Create", &later.id);
    assert_eq!(lemmy.taken(&note.id).len(), 1, "one request for both");
    shows.out("shared inbox");
    for name in ["alice", "bob"] {
        node.follow(name, &ada);
    }
    let create = lemmy.activity("ada", "Create", &lemmy.note("ada", &json!({})), &[PUBLIC]);
    let id = lemmy.send("ada", &[&alice, &node.actor("bob")], true, &create);
    node.receives("alice", &id);
    node.receives("bob", &id);
    shows.back("shared inbox");

    // A Follow refused, from either side.
    lemmy.tell("/manual", &json!({ "on": true }));
    let bert = lemmy.actor("bert");
    let follow = node.publish("alice", &json!({ "type": "Follow", "object": bert }));
    let got = taken_as(&lemmy, "Follow", &follow.id);
    let reject = lemmy.activity("bert", "Reject", &got, &[]);
    lemmy.send("bert", &[&alice], false, &reject);
    eventually(PATIENCE, "nothing is open", || node.pending("alice").is_empty().then_some(()));
    shows.back("Reject");
    let follow = lemmy.activity("bert", "Follow", &json!(node.actor("bob")), &[]);
    let follow = lemmy.send("bert", &[&node.actor("bob")], false, &follow);
    node.lists("bob", "followers", &bert);
    let reject = node.publish("bob", &json!({ "type": "Reject", "object": follow }));
    taken_as(&lemmy, "Reject", &reject.id);
    shows.out("Reject");

    // eve signs with a key that is not hers.
    let follow = lemmy.activity("eve", "Follow", &json!(alice), &[]);
    let follow = lemmy.send("eve", &[&alice], false, &follow);
    assert!(node.inbox("alice").iter().all(|one| one["id"] != follow.as_str()), "by eve");
    shows.back("wrong key");
    let host = Peer::start_named();
    let mallory = host.actor("mallory");
    let client = Client::new(&lemmy.base);
    let url = format!("{}/inbox", lemmy.base);
    let follow = mallory.plain("Follow", json!(ada), &[&ada]);
    let body = follow.to_string().into_bytes();
    let wrong = SecretKey::generate_rsa(&OsRandom).expect("a key");
    let headers = peer::signed_by(&url, &body, Scheme::Cavage, &mallory.rsa_id, &wrong);
    let answer = peer::send(&client, "/inbox", &headers, body.clone());
    assert_eq!(answer.status, 500, "another's key: {}", answer.text());
    shows.out("wrong key");
    let headers = mallory.signed_headers(&url, &body, Sign::Cavage);
    let other = mallory.plain("Follow", json!(bert), &[&bert]).to_string().into_bytes();
    let answer = peer::send(&client, "/inbox", &headers, other);
    assert_eq!(answer.status, 500, "another body: {}", answer.text());
    shows.out("tampered body");
    for sign in [Sign::Rsa, Sign::Ed25519] {
        let headers = mallory.signed_headers(&url, &body, sign);
        let answer = peer::send(&client, "/inbox", &headers, body.clone());
        assert_eq!(answer.status, 500, "it knows no RFC 9421: {}", answer.text());
    }
    let headers = mallory.signed_headers(&url, &body, Sign::Cavage);
    let answer = peer::send(&client, "/inbox", &headers, body);
    assert_eq!(answer.status, 200, "nothing broken: {}", answer.text());
}
