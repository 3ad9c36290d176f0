//! The admission state is a function of the set of statements: in whatever order they arrive, and
//! however often, it comes out the same.
//!
//! Changes of keys are left out: one that arrives before the one it builds on is signed by a key that
//! is not known yet, so that the pipeline fetches the whole history first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use fedsx_genesis::fold;
use fedsx_kernel::log::{Entry, Meta, Record, Stream};
use fedsx_kernel::state::{MemoryState, StateView};
use fedsx_kernel::{Activity, Base};
use proptest::prelude::*;
use serde_json::{Value, json};

const BASE: &str = "https://here.example";
const ALICE: &str = "https://here.example/actors/alice";
const AUTHORS: [&str; 2] = ["https://a.example/actors/ann", "https://b.example/actors/bob"];

/// One statement: by whom, the verb, and about what of a few things.
type Op = (usize, usize, usize);

const VERBS: [&str; 10] =
    ["Create", "Update", "Delete", "Profile", "Follow", "Undo", "Accept", "Reject", "Block", "End"];

fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec((0..2usize, 0..VERBS.len(), 0..3usize), 1..14)
}

fn document(author: &str, name: &str) -> Value {
    json!({ "id": author, "type": "Person", "inbox": format!("{author}/inbox"), "name": name })
}

fn sealed(content: Value) -> Activity {
    Activity::seal(content.as_object().unwrap().clone()).unwrap()
}

fn statements(ops: &[Op]) -> Vec<Activity> {
    let mut all: Vec<Activity> = Vec::new();
    for (seq, (author, verb, about)) in ops.iter().enumerate() {
        let (id, other) = (AUTHORS[*author], AUTHORS[1 - *author]);
        let note = format!("{}/notes/{about}", id.rsplit_once("/actors").unwrap().0);
        let target = [ALICE, other, id][*about];
        let earlier = all.get(*about).map(|activity| activity.id().to_owned());
        let (kind, object) = match VERBS[*verb] {
            kind @ ("Create" | "Update") => (kind, json!({ "id": note, "type": "Note" })),
            "Delete" => ("Delete", json!(note)),
            "Profile" => ("Update", document(id, &format!("n{seq}"))),
            kind @ ("Follow" | "Block") => (kind, json!(target)),
            "End" => ("Delete", json!(id)),
            kind => match earlier {
                Some(earlier) => (kind, json!(earlier)),
                None => continue,
            },
        };
        all.push(sealed(json!({
            "type": kind, "actor": id, "epoch": 0, "seq": seq, "object": object,
            "published": "2026-01-01T00:00:00Z",
        })));
    }
    all
}

/// What is held after both authors were fetched and these statements arrived.
fn state_after<'a>(arrived: impl Iterator<Item = &'a Activity>) -> Vec<(String, Value)> {
    let base: Base = BASE.parse().unwrap();
    let mut state = MemoryState::default();
    let fetched = AUTHORS.map(|author| {
        sealed(json!({
            "type": "ActorFetched", "actor": format!("{BASE}/actors/instance"),
            "object": document(author, "fetched"), "published": "2026-01-01T00:00:00Z",
        }))
    });
    let inbox = Stream::Inbox("alice".parse().unwrap());
    let local = fetched.iter().map(|one| (Stream::Local, one));
    let all = local.chain(arrived.map(|one| (inbox.clone(), one)));
    for (index, (stream, activity)) in all.enumerate() {
        let entry = Entry {
            global_seq: index as u64 + 1,
            stream,
            stream_seq: index as u64,
            cid: *activity.cid(),
            first: true,
            meta: Meta::default(),
        };
        let record = Record { entry, activity: Arc::new(activity.clone()) };
        fold::fold(&base, &mut state, &record).unwrap();
    }
    state.scan("", None, usize::MAX).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn arrival_does_not_matter(
        (ops, orders) in ops().prop_flat_map(|ops| {
            let indices: Vec<usize> = (0..ops.len()).collect();
            (Just(ops), prop::collection::vec(Just(indices).prop_shuffle(), 3))
        })
    ) {
        let said = statements(&ops);
        let expected = state_after(said.iter());
        for order in &orders {
            let arrived = order.iter().filter_map(|index| said.get(*index));
            prop_assert_eq!(&state_after(arrived), &expected);
        }
        // The log folds a statement once; even if it did not, old ones pushed again change nothing.
        prop_assert_eq!(&state_after(said.iter().chain(said.iter().rev())), &expected);
    }
}
