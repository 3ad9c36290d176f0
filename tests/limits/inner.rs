//! Limits behind those of the server, reached over a socket by an instance whose store, clock and way
//! out do as the test wants.

use std::thread::{Scope, ScopedJoinHandle};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::inside::Inside;
use crate::support::peer::{self, Foreign};
use crate::support::touchy::{Fate, Writes};
use crate::support::verbs::note;
use crate::support::{Answer, PATIENCE, Peer, eventually};

/// Sends requests while the log takes nothing, until so many appends of theirs wait.
fn waiting<'scope>(
    scope: &'scope Scope<'scope, '_>,
    inside: &'scope Inside,
    requests: usize,
    send: impl Fn(usize) -> Answer + Copy + Send + 'scope,
) -> Vec<ScopedJoinHandle<'scope, Answer>> {
    inside.storage.set(Writes::Log, Fate::Wait);
    let mut sent = vec![scope.spawn(move || send(0))];
    // The writer has taken the first one; the others queue up behind it.
    eventually(PATIENCE, "a batch waits", || {
        (inside.storage.waiting(Writes::Log) == 1).then_some(())
    });
    sent.extend((1..requests).map(|number| scope.spawn(move || send(number))));
    eventually(PATIENCE, "appends wait", || {
        (inside.kernel.log().waiting() == requests - 1).then_some(())
    });
    sent
}

/// A refusal that says when to come again.
#[track_caller]
fn is_busy(answer: &Answer, of: &str) {
    let problem = answer.refused(503, "busy", of);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains(of), "{problem}");
    assert!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
}

/// Waits until what follows the log appends nothing more.
fn settle(inside: &Inside) {
    eventually(PATIENCE, "it is ready", || {
        (inside.client().get("/readyz").status == 200).then_some(())
    });
}

#[test]
fn publishes_of_an_actor_wait_in_so_many_places() {
    let most = 64;
    let inside = Inside::start();
    inside.create("alice");
    inside.create("bob");
    settle(&inside);
    let publish = |name: &str| inside.as_actor(name).post("/activity", &note("it takes a while"));
    std::thread::scope(|scope| {
        let sent = waiting(scope, &inside, most, |_| publish("alice"));
        is_busy(&publish("alice"), "too many publishes of alice");
        let other = scope.spawn(|| publish("bob"));
        eventually(PATIENCE, "another actor has places of its own", || {
            (inside.kernel.log().waiting() == most).then_some(())
        });
        inside.storage.let_go();
        for publish in sent.into_iter().chain([other]) {
            publish.join().expect("an answer").expect(201, "within the limit");
        }
    });
    publish("alice").expect(201, "there is room again");
}

/// Delivers without a signature beside the proof.
fn deliver(inside: &Inside, activity: &Value) -> Answer {
    let body = activity.to_string().into_bytes();
    peer::send(inside.client(), "/actors/alice/inbox", &Default::default(), body)
}

#[test]
fn deliveries_wait_in_so_many_places() {
    let most = 256;
    let (inside, peer) = (Inside::start(), Peer::start());
    inside.create("alice");
    let trent = peer.actor("trent");
    let to = [&*inside.actor("alice")];
    let say = |text: &str| deliver(&inside, &trent.note(text, &to));
    say("who I am").expect(202, "a first one");
    settle(&inside);
    std::thread::scope(|scope| {
        let sent = waiting(scope, &inside, most, |number| say(&number.to_string()));
        is_busy(&say("one more"), "too many deliveries are under way");
        inside.storage.let_go();
        for delivery in sent {
            delivery.join().expect("an answer").expect(202, "within the limit");
        }
    });
    say("later").expect(202, "there is room again");
}

#[test]
fn who_is_not_known_waits_in_so_many_places() {
    let most = 128;
    // A server to which there is no connection yet.
    let (inside, peer, other) = (Inside::start(), Peer::start(), Peer::start());
    inside.create("alice");
    let (trent, late) = (peer.actor("trent"), other.actor("late"));
    let strangers: Vec<_> = (0..most).map(|n| other.actor(&format!("stranger{n}"))).collect();
    let to = [&*inside.actor("alice")];
    let say = |who: &Foreign, text: &str| deliver(&inside, &who.note(text, &to));
    say(&trent, "who I am").expect(202, "a first one");
    settle(&inside);
    inside.line.hold(true);
    std::thread::scope(|scope| {
        let sent: Vec<_> =
            strangers.iter().map(|stranger| scope.spawn(move || say(stranger, "hello"))).collect();
        eventually(PATIENCE, "their documents are fetched", || {
            (inside.line.waiting() == most).then_some(())
        });
        is_busy(&say(&late, "hello"), "too many deliveries wait for the keys");
        say(&trent, "still here").expect(202, "whose keys are known");
        inside.line.hold(false);
        for delivery in sent {
            delivery.join().expect("an answer").expect(202, "within the limit");
        }
    });
    say(&late, "hello again").expect(202, "there is room again");
}

#[test]
fn a_trigger_is_set_off_so_often_a_minute() {
    let most = 120;
    let inside = Inside::start();
    let now = Timestamp::now();
    inside.clock.stands_at(now);
    inside.create("alice");
    inside.create("operator");
    let verb = json!({ "name": "Echo", "schema": { "type": "object" } });
    inside.publish("operator", &json!({ "type": "DefineActivity", "object": verb }));
    let (when, then) = (json!({ "type": "Create", "object": "Note" }), json!({ "type": "Echo" }));
    let trigger = json!({ "name": "echo", "when": when, "then": then });
    inside.publish("operator", &json!({ "type": "DefineTrigger", "object": trigger }));
    let told = || {
        settle(&inside);
        let told = inside.as_actor("operator").get("/admin/triggers").expect(200, "the triggers");
        let told = told.json();
        let echo = &told["items"][0];
        let count = |of: &str| echo[of].as_u64().unwrap_or_else(|| panic!("{of} in {told}"));
        (count("published"), count("limited"), told["failures"].clone())
    };
    for _ in 0..most {
        inside.publish("alice", &note("again"));
    }
    assert_eq!(told(), (most, 0, json!([])));
    for _ in 0..2 {
        inside.publish("alice", &note("once more"));
    }
    let (published, limited, failures) = told();
    assert_eq!((published, limited), (most, 2));
    let listed = failures.as_array().expect("a list");
    assert_eq!(listed.len(), 1, "only the first of a row is listed: {failures}");
    let reason = listed[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("more than 120 times a minute"), "{reason}");
    inside.clock.stands_at(now + jiff::SignedDuration::from_secs(60));
    inside.publish("alice", &note("a minute later"));
    assert_eq!(told().0, most + 1);
}
