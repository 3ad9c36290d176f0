//! Step 9: history that a Follow asks for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::verbs::{Published, ids};
use crate::support::{PATIENCE, eventually, holds_for};

/// An instance whose bob published some Notes, the last of them to alice alone.
fn history(count: usize) -> (Node, Vec<Published>) {
    let node = Node::start();
    node.create("bob");
    let notes = (0..count).map(|i| node.note("bob", &format!("old {i}"))).collect();
    (node, notes)
}

/// What an inbox holds of bob's outbox, oldest arrival first.
fn arrived(node: &Node, name: &str, notes: &[Published]) -> Vec<String> {
    let mut held: Vec<_> = ids(&json!(node.inbox(name)));
    held.reverse();
    held.retain(|id| notes.iter().any(|note| note.id == *id));
    held
}

fn follow(node: &Node, name: &str, bob: &str, backfill: Value) {
    let mut request = json!({ "type": "Follow", "object": bob });
    if !backfill.is_null() {
        request["backfill"] = backfill;
    }
    node.publish(name, &request);
    node.lists(name, "following", bob);
}

/// The answer to the Follow itself is no history: it takes no place among the newest N.
#[test]
fn last_n_brings_exactly_the_newest() {
    let (b, notes) = history(30);
    let bob = b.actor("bob");
    let a = Node::start();
    for (name, limit) in [("alice", 5), ("carol", 1), ("dave", 25)] {
        a.create(name);
        follow(&a, name, &bob, json!({ "mode": "last-N", "limit": limit }));
        eventually(PATIENCE, &format!("{name} gets the newest {limit}"), || {
            (arrived(&a, name, &notes).len() >= limit).then_some(())
        });
        let wanted: Vec<_> = notes[30 - limit..].iter().map(|note| note.id.clone()).collect();
        assert_eq!(arrived(&a, name, &notes), wanted, "exactly {limit}, oldest first");
    }
}

#[test]
fn modes_decide_how_much_comes() {
    let (b, notes) = history(30);
    let bob = b.actor("bob");
    let a = Node::start();
    for name in ["alice", "bob", "carol", "dave"] {
        a.create(name);
    }
    follow(&a, "alice", &bob, json!({ "mode": "last-N", "limit": 1000 }));
    eventually(PATIENCE, "more than there is is everything", || {
        (arrived(&a, "alice", &notes).len() == 30).then_some(())
    });

    follow(&a, "carol", &bob, json!({ "mode": "full" }));
    eventually(PATIENCE, "all thirty, over several pages", || {
        (arrived(&a, "carol", &notes).len() == 30).then_some(())
    });
    let all: Vec<_> = notes.iter().map(|note| note.id.clone()).collect();
    assert_eq!(arrived(&a, "carol", &notes), all, "in the order of publishing");

    follow(&a, "dave", &bob, json!({ "mode": "none" }));
    follow(&a, "bob", &bob, Value::Null);
    holds_for(Duration::from_secs(1), "mode none, and no mode, bring nothing", || {
        arrived(&a, "dave", &notes).is_empty() && arrived(&a, "bob", &notes).is_empty()
    });

    let next = b.note("bob", "from now on");
    for name in ["alice", "bob", "carol", "dave"] {
        let got = a.receives(name, &next.id);
        assert_eq!(got["id"], next.id, "{name} gets what is new");
    }
    for activity in a.inbox("carol") {
        let Some(note) = notes.iter().find(|note| activity["id"] == note.id.as_str()) else {
            continue;
        };
        let origin = b.client().get(&note.id).expect(200, "at its origin").json();
        assert_eq!(activity, origin, "a backfilled activity is the original, CID and proof");
        assert!(activity.get("backfilled").is_none(), "the mark stands beside the signed body");
    }
    let ended = crate::support::node::verify(a.into_data().path());
    assert_eq!(ended.code, Some(0), "the receiver verifies: {}", ended.all());
}

#[test]
fn a_duration_bounds_the_history() {
    let (b, old) = history(3);
    let bob = b.actor("bob");
    let published = |note: &Published| {
        let activity = b.client().get(&note.id).expect(200, "a Note").json();
        activity["published"].as_str().expect("a time").to_owned()
    };
    // Times have whole seconds: wait until the clock shows one that is well past the old Notes.
    let last_old = published(&old[2]).parse::<jiff::Timestamp>().expect("a time");
    eventually(PATIENCE, "some seconds pass", || {
        (jiff::Timestamp::now().as_second() > last_old.as_second() + 5).then_some(())
    });
    let new: Vec<_> = (0..2).map(|i| b.note("bob", &format!("new {i}"))).collect();
    let a = Node::start();
    a.create("alice");
    a.create("carol");
    follow(&a, "alice", &bob, json!({ "mode": "last-T", "duration": "PT3S" }));
    follow(&a, "carol", &bob, json!({ "mode": "last-T", "duration": "PT1H" }));
    let all: Vec<_> = old.iter().chain(&new).cloned().collect();
    eventually(PATIENCE, "an hour is everything", || {
        (arrived(&a, "carol", &all).len() == all.len()).then_some(())
    });
    holds_for(Duration::from_millis(700), "three seconds leave out the old Notes", || {
        arrived(&a, "alice", &old).is_empty()
    });
}

#[test]
fn backfill_brings_only_what_may_be_seen() {
    let (b, notes) = history(3);
    let bob = b.actor("bob");
    let object = json!({ "type": "Note", "content": "between others" });
    let private =
        json!({ "type": "Create", "to": ["http://127.0.0.1:9/actors/x"], "object": object });
    let private = b.publish("bob", &private);
    let last = b.note("bob", "after the private one");
    let a = Node::start();
    a.create("alice");
    follow(&a, "alice", &bob, json!({ "mode": "full" }));
    a.receives("alice", &last.id);
    let all: Vec<_> = notes.iter().chain([&last]).cloned().collect();
    eventually(PATIENCE, "all public ones", || {
        (arrived(&a, "alice", &all).len() == all.len()).then_some(())
    });
    assert!(arrived(&a, "alice", &[private]).is_empty(), "what is withheld does not come");
    let page = b.client().get("/actors/bob/outbox?since=&limit=100").json();
    assert!(page["withheld"].as_array().is_some_and(|ranges| !ranges.is_empty()), "{page}");
    let after = page["orderedItems"][1]["published"].as_str().expect("a time").replace('+', "%2B");
    let page = b.client().get(&format!("/actors/bob/outbox?after={after}&limit=3"));
    page.expect(200, "paging by time");
}

#[test]
fn impossible_backfills_are_refused() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let bob = node.actor("bob");
    for backfill in [
        json!({ "mode": "everything" }),
        json!({ "mode": "last-N" }),
        json!({ "mode": "last-N", "limit": 0 }),
        json!({ "mode": "last-N", "limit": "ten" }),
        json!({ "mode": "last-T" }),
        json!({}),
    ] {
        let request = json!({ "type": "Follow", "object": bob, "backfill": backfill });
        let refused = node.as_actor("alice").post("/activity", &request);
        let problem = refused.refused(422, "schema-violation", &backfill.to_string());
        assert!(problem["violations"].as_array().is_some_and(|all| !all.is_empty()), "{problem}");
    }
    assert_eq!(node.total("alice", "outbox"), 1, "nothing was appended");
    let local =
        json!({ "type": "Follow", "object": bob, "backfill": { "mode": "last-N", "limit": 3 } });
    node.publish("alice", &local);
    node.lists("alice", "following", &bob);
}

/// A receiver that is killed while history comes goes on, beside what is delivered meanwhile.
#[test]
fn a_killed_backfill_goes_on_and_doubles_nothing() {
    let (b, mut notes) = history(120);
    let bob = b.actor("bob");
    let mut a = Node::start();
    a.create("alice");
    follow(&a, "alice", &bob, json!({ "mode": "full" }));
    eventually(PATIENCE, "the first of it", || {
        (!arrived(&a, "alice", &notes).is_empty()).then_some(())
    });
    a.crash();
    let live: Vec<_> = (0..3).map(|i| b.note("bob", &format!("live {i}"))).collect();
    a.restart();
    let path =
        format!("/admin/dead-letter/replay?peer={}", crate::actor_lifecycle::encoded(&a.base));
    b.admin().post(&path, &Value::Null).expect(200, "the receiver is tried at once");
    for note in &live {
        a.receives("alice", &note.id);
    }
    let all = |a: &Node| -> Vec<String> {
        let mut items = Vec::new();
        let mut next = Some("/actors/alice/inbox?page=true&limit=100".to_owned());
        while let Some(path) = next.take() {
            let page = a.as_actor("alice").get(&path).expect(200, "a page").json();
            items.extend(ids(&page["orderedItems"]));
            next = page["next"].as_str().map(str::to_owned);
        }
        items
    };
    let old: Vec<_> = notes.iter().map(|note| note.id.clone()).collect();
    eventually(PATIENCE, "all of the history", || {
        let held = all(&a);
        old.iter().all(|id| held.contains(id)).then_some(())
    });
    notes.extend(live);
    let held = all(&a);
    for note in &notes {
        assert_eq!(held.iter().filter(|id| **id == note.id).count(), 1, "{} once", note.id);
    }
    let mut came: Vec<_> = held.iter().filter(|id| old.contains(id)).cloned().collect();
    came.reverse();
    assert_eq!(came, old, "the history came in its order");
}
