//! A server of other authors at the other end: Fedify from npm, over sockets, in both directions.
//!
//! Skipped, loudly, only where the npm registry cannot be reached.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::node::{Node, verify};
use crate::support::verbs::{items, kinds};
use crate::support::{Client, PATIENCE, PUBLIC, eventually, npm};

/// Fedify needs node 22 (its `engines`).
const NODE_MAJOR: u32 = 22;

/// A running server on Fedify.
struct Fedify {
    child: Child,
    base: String,
    control: Client,
    sent: std::cell::Cell<u32>,
}

impl Drop for Fedify {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fedify {
    /// `knock` is the signature scheme that it tries first with a server it does not know.
    fn start(knock: &str) -> Option<Self> {
        let found = npm::installed("fedify").and_then(|at| Ok((at, npm::node(NODE_MAJOR)?)));
        let (place, node) = match found {
            Ok(found) => found,
            Err(reason) => {
                eprintln!("SKIPPED: nothing was tried with Fedify: {reason}");
                return None;
            }
        };
        let mut command = Command::new(node);
        command.arg(place.join("server.mjs")).args(["--knock", knock]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node runs");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        output.read_line(&mut line).expect("a line");
        let at: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        let text = |name: &str| at[name].as_str().expect("an address").to_owned();
        let (base, control) = (text("base"), Client::new(&text("control")));
        Some(Self { child, base, control, sent: 0.into() })
    }

    fn actor(&self, name: &str) -> String {
        format!("{}/users/{name}", self.base)
    }

    #[track_caller]
    fn tell(&self, command: &str, body: &Value) -> Value {
        let headers = [("content-type", "application/json")];
        let answer = self.control.post_with(command, body, &headers);
        answer.expect(200, command).json()
    }

    /// An activity of an actor there, with an id that was not used before.
    fn activity(&self, name: &str, kind: &str, object: &Value, to: &[&str]) -> Value {
        let number = self.sent.get();
        self.sent.set(number + 1);
        let mut activity = json!({
            "@context": "https://www.w3.org/ns/activitystreams",
            "type": kind,
            "id": format!("{}/activities/{number}", self.base),
            "actor": self.actor(name),
            "object": object,
        });
        if !to.is_empty() {
            activity["to"] = json!(to);
        }
        activity
    }

    /// Has Fedify sign and send an activity; gives its id.
    #[track_caller]
    fn send(&self, name: &str, to: &str, shared: bool, activity: &Value) -> String {
        let command = json!({ "as": name, "to": [to], "shared": shared, "activity": activity });
        assert_eq!(self.tell("/send", &command)["sent"], true, "{activity}");
        activity["id"].as_str().expect("an id").to_owned()
    }

    /// Posts what Fedify's functions signed and what was then broken; gives the answer.
    #[track_caller]
    fn forge(&self, how: &str, spec: &str, inbox: &str, activity: &Value) -> (u64, String) {
        let command = json!({
            "as": "ada", "how": how, "spec": spec, "inbox": inbox, "activity": activity,
        });
        let answer = self.tell("/forge", &command);
        let status = answer["status"].as_u64().unwrap_or_else(|| panic!("{how}: {answer}"));
        (status, answer["body"].to_string())
    }

    /// Waits until Fedify has verified and taken an activity; gives what it wrote down.
    #[track_caller]
    fn receives(&self, id: &str) -> Value {
        eventually(PATIENCE, &format!("Fedify takes {id}"), || {
            let all = self.control.get("/received").expect(200, "what it received").json();
            all.as_array().expect("a list").iter().find(|one| one["id"] == id).cloned()
        })
    }
}

fn note(peer: &Fedify, number: u32, more: &Value) -> Value {
    let mut note = json!({
        "type": "Note",
        "id": format!("{}/notes/{number}", peer.base),
        "attributedTo": peer.actor("ada"),
        "content": format!("<p>note {number}</p>"),
        "published": "2026-11-01T10:00:00Z",
        "to": [PUBLIC],
    });
    for (name, value) in more.as_object().expect("members") {
        note[name] = value.clone();
    }
    note
}

/// What a projection holds under a key.
fn row(node: &Node, projection: &str, key: &[&str]) -> Option<Value> {
    let key = json!(key);
    let rows = node.projection(projection, "?limit=1000");
    rows.into_iter().find(|row| row["key"] == key).map(|row| row["value"].clone())
}

/// The whole story in both directions, by the scheme that Fedify tries first.
fn lives_together(knock: &str) {
    let Some(peer) = Fedify::start(knock) else { return };
    let mut node = Node::start();
    node.create("alice");
    let (alice, ada) = (node.actor("alice"), peer.actor("ada"));

    // Discovery: a signed fetch, read with Fedify's vocabulary, keys included.
    let found = peer.tell("/lookup", &json!({ "as": "ada", "url": alice }));
    assert_eq!(found["type"], "Person", "{found}");
    assert_eq!(found["found"]["preferredUsername"], "alice");
    assert_eq!(found["key"], true, "the RSA key: {found}");
    assert_eq!(found["found"]["assertionMethod"][0]["type"], "Multikey", "{found}");

    // Follow and Accept, from here.
    let follow = node.follow("alice", &ada);
    assert_eq!(peer.receives(&follow.id)["recipient"], "ada");
    node.lists("alice", "following", &ada);
    assert_eq!(node.pending("alice"), Vec::<String>::new());
    // And from there; our Accept is taken.
    let activity = peer.activity("ada", "Follow", &json!(alice), &[]);
    peer.send("ada", &alice, false, &activity);
    node.lists("alice", "followers", &ada);
    let outbox = node.as_actor("alice").get("/actors/alice/outbox?since=&limit=100");
    let accept = items(&outbox.json()).into_iter().find(|one| one["type"] == "Accept");
    peer.receives(accept.expect("an Accept")["id"].as_str().expect("an id"));

    // A Note from here, liked and shared there, through the shared inbox, naming nobody.
    let hello = node.note("alice", "<p>hello</p>");
    let got = peer.receives(&hello.id);
    assert_eq!(got["activity"]["object"]["content"], "<p>hello</p>");
    let object = json!(hello.object());
    let like = peer.activity("ada", "Like", &object, &[]);
    node.receives("alice", &peer.send("ada", &alice, true, &like));
    let share = peer.activity("ada", "Announce", &object, &[PUBLIC]);
    node.receives("alice", &peer.send("ada", &alice, true, &share));
    eventually(PATIENCE, "both are counted", || {
        let liked = row(&node, "endorsements", &[hello.object()])?;
        let shared = row(&node, "announces", &[hello.object()])?;
        (liked["like"] == 1 && shared["count"] == 1).then_some(())
    });
    let undo = peer.activity("ada", "Undo", &like, &[]);
    node.receives("alice", &peer.send("ada", &alice, true, &undo));
    eventually(PATIENCE, "the Like is gone", || {
        let liked = row(&node, "endorsements", &[hello.object()]);
        (liked.is_none_or(|counts| counts["like"].as_u64().unwrap_or(0) == 0)).then_some(())
    });

    // A reply that mentions alice, changed and deleted there.
    let mention = json!({
        "inReplyTo": hello.object(),
        "tag": [{ "type": "Mention", "href": alice, "name": "@alice" }],
    });
    let first = note(&peer, 1, &mention);
    let create = peer.activity("ada", "Create", &first, &[PUBLIC]);
    let create = peer.send("ada", &alice, false, &create);
    let held = node.receives("alice", &create);
    assert_eq!(held["object"]["inReplyTo"], hello.object());
    let changes = json!({ "content": "<p>changed</p>", "updated": "2026-11-01T11:00:00Z" });
    let update = peer.activity("ada", "Update", &note(&peer, 1, &changes), &[PUBLIC]);
    node.receives("alice", &peer.send("ada", &alice, true, &update));
    let note_id = first["id"].as_str().expect("an id");
    eventually(PATIENCE, "the newest version", || {
        let object = row(&node, "objects", &[note_id])?;
        object.to_string().contains("<p>changed</p>").then_some(())
    });

    // Answers from here.
    let liked = node.publish("alice", &json!({ "type": "Like", "object": note_id }));
    assert_eq!(peer.receives(&liked.id)["type"], "Like");
    let unliked = node.publish("alice", &json!({ "type": "Undo", "object": liked.id }));
    assert_eq!(peer.receives(&unliked.id)["type"], "Undo");
    let shared = node.publish("alice", &json!({ "type": "Announce", "object": note_id }));
    assert_eq!(peer.receives(&shared.id)["type"], "Announce");
    let reply = json!({ "type": "Create", "object": {
        "type": "Note", "content": "<p>and back</p>", "inReplyTo": note_id,
    } });
    let reply = node.publish("alice", &reply);
    assert_eq!(peer.receives(&reply.id)["activity"]["object"]["inReplyTo"], note_id);
    let update = json!({ "id": reply.object(), "type": "Note", "content": "<p>better</p>" });
    let update = node.publish("alice", &json!({ "type": "Update", "object": update }));
    assert_eq!(peer.receives(&update.id)["activity"]["object"]["content"], "<p>better</p>");
    let gone = node.publish("alice", &json!({ "type": "Delete", "object": reply.object() }));
    assert_eq!(peer.receives(&gone.id)["activity"]["object"]["type"], "Tombstone");

    let delete = peer.activity("ada", "Delete", &json!(note_id), &[PUBLIC]);
    node.receives("alice", &peer.send("ada", &alice, true, &delete));
    eventually(PATIENCE, "a tombstone", || {
        (row(&node, "objects", &[note_id])?["deleted"] == true).then_some(())
    });

    // The end of it, from both sides.
    let unfollow = node.publish("alice", &json!({ "type": "Undo", "object": follow.id }));
    peer.receives(&unfollow.id);
    assert_eq!(node.listed("alice", "following"), Vec::<String>::new());
    let undo = peer.activity("ada", "Undo", &activity, &[]);
    peer.send("ada", &alice, false, &undo);
    eventually(PATIENCE, "ada follows no more", || {
        node.listed("alice", "followers").is_empty().then_some(())
    });
    let inbox = node.inbox("alice");
    let kinds = kinds(&inbox);
    for kind in ["Accept", "Follow", "Like", "Announce", "Create", "Update", "Delete", "Undo"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    node.stop();
    verify(node.data());
}

#[test]
fn both_directions_by_rfc_9421() {
    lives_together("rfc9421");
}

#[test]
fn both_directions_by_draft_cavage() {
    lives_together("draft-cavage-http-signatures-12");
}

#[test]
fn what_was_tampered_with_is_refused() {
    let Some(peer) = Fedify::start("rfc9421") else { return };
    let node = Node::start();
    node.create("alice");
    let inbox = format!("{}/inbox", node.actor("alice"));
    let post = |how: &str, spec: &str| {
        let activity = peer.activity("ada", "Follow", &json!(node.actor("alice")), &[]);
        let (status, body) = peer.forge(how, spec, &inbox, &activity);
        (activity["id"].as_str().expect("an id").to_owned(), status, body)
    };
    for spec in ["rfc9421", "draft-cavage-http-signatures-12"] {
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
    let (id, status, body) = post("proof-only", "rfc9421");
    assert_eq!(status, 202, "a proof needs no signature of the request: {body}");
    node.receives("alice", &id);
}

#[test]
fn a_rotation_is_picked_up_by_either_side() {
    let Some(peer) = Fedify::start("rfc9421") else { return };
    let mut node = Node::start();
    node.create("alice");
    let (alice, ada) = (node.actor("alice"), peer.actor("ada"));
    let follow = peer.activity("ada", "Follow", &json!(alice), &[]);
    peer.send("ada", &alice, false, &follow);
    node.lists("alice", "followers", &ada);

    // Fedify keeps the ids of its keys: only a new look at the actor shows that they changed.
    peer.tell("/rotate", &json!({ "as": "ada" }));
    let create = peer.activity("ada", "Create", &note(&peer, 2, &json!({})), &[PUBLIC, &alice]);
    node.receives("alice", &peer.send("ada", &alice, false, &create));

    let rotation = json!({
        "type": "Update", "object": "alice",
        "patch": { "add_publicKey": { "generate": true }, "supersede": {} },
    });
    let rotation = node.publish("alice", &rotation);
    peer.receives(&rotation.id);
    let after = node.note("alice", "signed by the new key");
    peer.receives(&after.id);
    node.stop();
    verify(node.data());
}
