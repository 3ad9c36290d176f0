//! Step 8: queues, attempts, backoff and dead letters.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::{Node, Spec};
use crate::support::peer::Foreign;
use crate::support::verbs::Published;
use crate::support::{PATIENCE, Peer, eventually, holds_for};

/// A Note to one foreign actor.
fn send(node: &Node, to: &Foreign, content: &str) -> Published {
    let object = json!({ "type": "Note", "content": content });
    node.publish("alice", &json!({ "type": "Create", "to": [to.id], "object": object }))
}

/// What the ledger says about one activity and the only peer that it goes to.
fn status(node: &Node, published: &Published) -> Option<Value> {
    let answer = node.admin().get(&format!("/admin/delivery/{}", published.cid));
    answer.expect(200, "the ledger").json()["items"].as_array().and_then(|all| all.first().cloned())
}

fn reaches(node: &Node, published: &Published, wanted: &str) -> Value {
    eventually(PATIENCE, &format!("{} is {wanted}", published.id), || {
        status(node, published).filter(|status| status["status"] == wanted)
    })
}

fn letters(node: &Node) -> Vec<Value> {
    let answer = node.admin().get("/admin/dead-letter").expect(200, "dead letters").json();
    answer["items"].as_array().expect("items").clone()
}

fn timeline(status: &Value) -> Vec<Value> {
    status["timeline"].as_array().expect("a timeline").clone()
}

/// A node with alice and a peer with mallory.
fn pair(spec: Spec) -> (Node, Peer, Foreign) {
    let node = spec.start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    (node, peer, mallory)
}

#[test]
fn what_is_delivered_leaves_the_queue() {
    let (node, peer, mallory) = pair(Spec::default());
    let note = send(&node, &mallory, "hello");
    let post = peer.receives(&note.id);
    assert_eq!(post.path, "/actors/mallory/inbox", "posted to the actor's inbox");
    let header =
        |name: &str| post.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    assert!(
        header("content-type").is_some_and(|kind| kind.starts_with("application/activity+json"))
    );
    assert!(header("signature").is_some(), "the request is signed: {:?}", post.headers);
    assert!(header("digest").or(header("content-digest")).is_some(), "and covers the body");
    assert!(header("user-agent").is_some_and(|agent| agent.starts_with("fedsx/")));
    assert!(post.body["proof"].is_object(), "the activity bears its proof");
    let done = reaches(&node, &note, "delivered");
    assert_eq!(done["peer"], peer.base, "the ledger names the peer");
    assert_eq!(timeline(&done).last().expect("an attempt")["status"], 202, "and the answer");
    let rows = node.admin().get("/projections/delivery-state").expect(200, "delivery-state");
    assert!(rows.text().contains(&note.cid), "delivery-state is served like a projection");
    let refused = node.as_actor("alice").get("/projections/delivery-state");
    assert_eq!(refused.status, 403, "to operators only");
    let peers = node.admin().get("/admin/peers").expect(200, "peers").json();
    let entry = peers["items"].as_array().expect("items").iter().find(|p| p["peer"] == peer.base);
    assert_eq!(entry.map(|entry| entry["queued"].clone()), Some(json!(0)), "the queue is empty");
    assert!(letters(&node).is_empty(), "no dead letters");

    peer.answer_with(200);
    let held = send(&node, &mallory, "already there");
    reaches(&node, &held, "delivered");
    peer.explain(json!({ "type": "/problems/replayed-request", "title": "seen", "status": 422 }));
    peer.answer_with(422);
    let seen = send(&node, &mallory, "seen before");
    reaches(&node, &seen, "delivered");
}

#[test]
fn failures_are_tried_again_by_the_schedule() {
    let (node, peer, mallory) = pair(Spec::default().schedule("1200ms,1200ms,60s,60s"));
    peer.answer_with(503);
    let note = send(&node, &mallory, "patience");
    eventually(PATIENCE, "two failed attempts", || {
        let failed = status(&node, &note).filter(|status| timeline(status).len() >= 2)?;
        assert_eq!(failed["status"], "queued", "it waits");
        Some(())
    });
    peer.answer_with(202);
    let done = reaches(&node, &note, "delivered");
    let attempts = timeline(&done);
    assert!(attempts.len() >= 3, "{attempts:?}");
    for pair in attempts.windows(2) {
        let gap = pair[1]["at_ms"].as_i64().expect("ms") - pair[0]["at_ms"].as_i64().expect("ms");
        assert!(gap >= 1050, "a pause of 1.2 s less the jitter, not {gap}: {attempts:?}");
        assert_eq!(pair[0]["status"], 503, "the timeline says why: {attempts:?}");
    }
    // draft-cavage has no nonce: only attempts of different seconds can differ.
    let posts = peer.posts_of(&note.id);
    let mut signatures: Vec<_> =
        posts.iter().map(|post| post.headers["signature"].to_str().expect("text")).collect();
    signatures.sort_unstable();
    signatures.dedup();
    assert_eq!(signatures.len(), posts.len(), "every attempt is signed anew");
    assert!(posts.windows(2).all(|pair| pair[0].body == pair[1].body), "the activity is the same");
    assert!(letters(&node).is_empty(), "nothing was given up");
}

#[test]
fn exhausted_attempts_become_dead_letters() {
    let (node, peer, mallory) = pair(Spec::default().schedule("100ms,200ms,300ms"));
    peer.answer_with(500);
    let note = send(&node, &mallory, "in vain");
    let letter = eventually(PATIENCE, "a dead letter", || letters(&node).into_iter().next());
    assert_eq!(letter["peer"], peer.base, "{letter}");
    let attempts = timeline(&letter).len();
    assert!(attempts >= 4, "three pauses are four attempts: {letter}");
    assert!(letter["reason"].as_str().is_some_and(|why| why.contains("500")), "why: {letter}");
    let count = peer.posts_of(&note.id).len();
    holds_for(Duration::from_secs(1), "nothing is tried any more", || {
        peer.posts_of(&note.id).len() == count
    });
    let refused = node.as_actor("alice").get("/admin/dead-letter");
    refused.refused(403, "insufficient-scope", "dead letters are for operators");
    let missing = node.admin().post("/admin/dead-letter/replay", &Value::Null);
    missing.refused(400, "invalid-parameter", "replaying without a peer");

    peer.answer_with(202);
    let path = format!("/admin/dead-letter/replay?peer={}", encoded(&peer.base));
    node.admin().post(&path, &Value::Null).expect(200, "replay by peer");
    peer.receives(&note.id);
    reaches(&node, &note, "delivered");
    assert!(letters(&node).is_empty(), "the letter is gone");
}

#[test]
fn a_refused_activity_is_parked_alone() {
    let (mut node, peer, mallory) = pair(Spec::default());
    let first = send(&node, &mallory, "first contact");
    reaches(&node, &first, "delivered");
    let mut parked = Vec::new();
    for (code, case) in [(410, "gone"), (422, "not understood"), (404, "no such inbox")] {
        peer.answer_with(code);
        let refused = send(&node, &mallory, case);
        let status = reaches(&node, &refused, "parked");
        assert_eq!(timeline(&status).len(), 1, "{case}: one attempt: {status}");
        peer.answer_with(202);
        let other = send(&node, &mallory, "another one");
        reaches(&node, &other, "delivered");
        parked.push(refused);
    }
    let listed = letters(&node);
    assert_eq!(listed.len(), 3, "each is a letter of its own: {listed:?}");
    let of = |published: &Published| {
        let found = listed.iter().find(|letter| letter["cid"] == published.cid.as_str());
        found.unwrap_or_else(|| panic!("{} in {listed:?}", published.cid))["id"].clone()
    };
    let path = |published: &Published| {
        format!("/admin/dead-letter/{}", encoded(of(published).as_str().expect("an id")))
    };

    node.admin().post(&format!("{}/replay", path(&parked[0])), &Value::Null).expect(200, "replay");
    peer.receives(&parked[0].id);
    reaches(&node, &parked[0], "delivered");
    node.admin().send("DELETE", &path(&parked[1]), &[], None).expect(200, "drop");
    let left = letters(&node);
    assert_eq!(left.len(), 1, "one is left: {left:?}");
    assert_eq!(left[0]["cid"], parked[2].cid.as_str());
    let unknown = format!("/admin/dead-letter/{}/replay", encoded(&format!("{}#99999", peer.base)));
    let refused = node.admin().post(&unknown, &Value::Null);
    refused.refused(404, "not-found", "no such letter");
    node.restart();
    assert_eq!(letters(&node), left, "letters survive a restart");
}

/// A peer that is away gets everything in order when it is back, over restarts and crashes.
#[test]
fn queues_survive_restarts() {
    let (mut node, peer, mallory) =
        pair(Spec::default().schedule("200ms,300ms,500ms,1s,1s,1s,2s,2s,60s"));
    let first = send(&node, &mallory, "first contact");
    reaches(&node, &first, "delivered");
    let port = peer.port();
    let document = mallory.document();
    drop(peer);
    let mut sent = vec![send(&node, &mallory, "while away 1")];
    eventually(PATIENCE, "a failed attempt", || {
        status(&node, &sent[0]).filter(|status| !timeline(status).is_empty())
    });
    sent.push(send(&node, &mallory, "while away 2"));
    node.restart();
    sent.push(send(&node, &mallory, "after a restart"));
    node.crash();
    node.restart();
    sent.push(send(&node, &mallory, "after a crash"));
    let peer = Peer::start_on(port);
    peer.serve("/actors/mallory", document);
    for published in &sent {
        peer.receives(&published.id);
        reaches(&node, published, "delivered");
    }
    for published in &sent {
        let taken = peer.posts_of(&published.id).iter().filter(|post| post.status < 300).count();
        assert_eq!(taken, 1, "{}: delivered once", published.id);
    }
    assert!(letters(&node).is_empty(), "nothing was given up");
}

#[test]
fn peers_do_not_hold_each_other_up() {
    let (node, slow, mallory) = pair(Spec::default());
    let quick = Peer::start();
    let trent = quick.actor("trent");
    for foreign in [&mallory, &trent] {
        let note = send(&node, foreign, "first contact");
        reaches(&node, &note, "delivered");
    }
    slow.hold_answers(Duration::from_secs(4));
    let began = Instant::now();
    let object = json!({ "type": "Note", "content": "to both" });
    let request = json!({ "type": "Create", "to": [mallory.id, trent.id], "object": object });
    let both = node.publish("alice", &request);
    assert!(began.elapsed() < Duration::from_secs(3), "publishing waits for nobody");
    let at = quick.receives(&both.id).at;
    assert!(at < began + Duration::from_secs(3), "the quick peer has it before the slow one");
    let late = slow.receives(&both.id).at;
    assert!(late > at, "the slow one takes its time");

    slow.hold_answers(Duration::from_millis(400));
    let notes: Vec<_> = (0..8).map(|i| send(&node, &mallory, &format!("parallel {i}"))).collect();
    for note in &notes {
        slow.receives(&note.id);
    }
    let most = slow.most_concurrent();
    assert!((2..=16).contains(&most), "sends to one peer run side by side, bounded: {most}");
}

#[test]
fn statements_about_one_object_keep_their_order() {
    let (node, peer, mallory) = pair(Spec::default());
    peer.answer_with(503);
    let create = send(&node, &mallory, "version 1");
    let change = json!({ "id": create.object(), "content": "version 2" });
    let update = json!({ "type": "Update", "to": [mallory.id], "object": change });
    let update = node.publish("alice", &update);
    let delete = json!({ "type": "Delete", "to": [mallory.id], "object": create.object() });
    let delete = node.publish("alice", &delete);
    eventually(PATIENCE, "a failed attempt", || {
        status(&node, &create).filter(|status| !timeline(status).is_empty())
    });
    peer.answer_with(202);
    peer.receives(&delete.id);
    let taken: Vec<_> = peer
        .posted()
        .into_iter()
        .filter(|post| post.status < 300)
        .filter_map(|post| post.body["id"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(taken, [create.id, update.id, delete.id], "in the order of publishing");
}

#[test]
fn retry_after_is_honoured() {
    let (node, peer, mallory) = pair(Spec::default().schedule("100ms,100ms,60s"));
    let first = send(&node, &mallory, "first contact");
    reaches(&node, &first, "delivered");
    peer.retry_after("2");
    peer.answer_next(&[429]);
    let note = send(&node, &mallory, "slow down");
    reaches(&node, &note, "delivered");
    let posts = peer.posts_of(&note.id);
    assert_eq!(posts.len(), 2, "one refusal, one success");
    let gap = posts[1].at - posts[0].at;
    assert!(gap >= Duration::from_millis(1500), "two seconds were asked for, not {gap:?}");
}

#[test]
fn forbidden_addresses_are_parked_with_the_reason() {
    let spec = Spec { args: vec!["--allow-http".into()], development: false, ..Spec::default() };
    let (node, peer, mallory) = pair(spec);
    let note = send(&node, &mallory, "into the private network");
    reaches(&node, &note, "parked");
    let letter = letters(&node).into_iter().next().expect("a letter");
    let reason = letter["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("allow-private-network"), "the reason names the flag: {letter}");
    assert!(peer.posted().is_empty(), "nothing was sent");
}
