//! What a published fold costs: nanoseconds for one activity, by the size of the state it changes.
//!
//! `cargo run --release -p fedsx-genesis --example fold_cost`
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement")]

use fedsx_genesis::definition::Definition;
use fedsx_genesis::published::{Projection, Seen};
use fedsx_genesis::script::Scripts;
use fedsx_kernel::Activity;
use serde_json::{Map, Value, json};

/// Folds in one measurement.
const FOLDS: u64 = 5_000;
/// Measurements, of which the fastest counts.
const ROUNDS: usize = 5;

/// Nanoseconds that this thread has computed for so far; other work on the machine is left out.
fn computed_ns() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    told.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

fn measured(mut work: impl FnMut()) -> u64 {
    let round = |work: &mut dyn FnMut()| {
        let start = computed_ns();
        for _ in 0..FOLDS {
            work();
        }
        (computed_ns() - start) / FOLDS
    };
    (0..ROUNDS).map(|_| round(&mut work)).min().unwrap_or_default()
}

fn main() {
    let content = json!({
        "type": "Pin", "actor": "https://a.example/actors/ann", "path": "/here", "seq": 7,
        "to": ["https://www.w3.org/ns/activitystreams#Public"], "object": "https://a.example/x",
        "published": "2026-01-01T00:00:00Z", "epoch": 0,
        "tag": [{ "type": "Hashtag", "name": "#pins" }],
    });
    let activity = Activity::seal(content.as_object().unwrap().clone()).unwrap();
    let definition = json!({
        "type": "DefineProjection", "name": "pin-state", "when": { "type": "Pin" },
        "key": "activity.path", "initial": { "changes": 0 },
        "fold": "state.object = activity.object; state.by = activity.actor; state.changes += 1;",
    });
    let definition = Definition::parse(&definition).unwrap();
    let projection = Projection::read(&definition, &Scripts::new()).unwrap();
    let seen = Seen::of(&activity);
    println!("view of an activity     {:>9} ns", measured(|| drop(Seen::of(&activity))));
    println!("key                     {:>9} ns", measured(|| drop(projection.key(&seen).unwrap())));
    for members in [0, 10, 100, 1_000] {
        let mut state = Map::from_iter([("changes".to_owned(), Value::from(0))]);
        for number in 0..members {
            state.insert(format!("member-{number}"), number.into());
        }
        let state = Value::Object(state);
        let cost = measured(|| drop(projection.fold(Some(&state), &seen).unwrap()));
        println!("fold, {members:>5} more members {cost:>9} ns");
    }
}
