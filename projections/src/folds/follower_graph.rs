//! `follower-graph`: who follows whom.

use std::collections::BTreeSet;

use fedsx_genesis::graph::{Change, Graph, Relation};
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, parts, prefix, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::is_local_record;
use super::tally::MAX_RECOUNTED;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};
use crate::shield::{Hides, Speaker};

/// The prefix of the graph in this projection, for [`Graph::new`].
pub const GRAPH: &str = "";

/// Keys `[followers, following, pending_inbound or pending_outbound; actor; other actor]` with
/// `{follow}`, the id of the Follow, and `["counts", actor]` with a number for each of the four.
/// Who follows whom is public, as it is in the actors' collections. What is pending is shown to
/// the two whom it concerns and to who operates the instance; how much, to the actor and the
/// latter.
pub struct FollowerGraph;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counts {
    followers: u64,
    following: u64,
    pending_inbound: u64,
    pending_outbound: u64,
}

impl Fold for FollowerGraph {
    fn name(&self) -> &'static str {
        "follower-graph"
    }

    fn version(&self) -> u32 {
        1
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn verbs(&self) -> Option<&'static [&'static str]> {
        Some(&["Follow", "Block", "Undo", "Accept", "Reject", "Delete"])
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
    }

    fn shown_to(&self, key: &[String], value: &Value, reader: &Reader) -> Shown {
        let [listing, actor, others @ ..] = key else { return Shown::Hidden };
        if reader.is_admin() || reader.is(actor) {
            return Shown::Whole;
        }
        match listing.as_str() {
            "followers" | "following" => Shown::Whole,
            "counts" => public_counts(value),
            _ => Shown::whole_if(others.iter().any(|other| reader.is(other))),
        }
    }

    fn speaker(&self, key: &[String], _: &Value) -> Speaker {
        match key {
            [_, actor, other] => Speaker::Between(actor.clone(), other.clone()),
            [_, actor] => Speaker::Profile(actor.clone()),
            _ => Speaker::Nobody,
        }
    }

    fn recounted(
        &self,
        state: &dyn StateView,
        key: &[String],
        value: Value,
        hides: &mut Hides<'_>,
    ) -> Result<Option<Value>, StateError> {
        match (key, value) {
            ([listing, actor], Value::Object(counts)) if listing == "counts" => {
                Ok(recounted(state, actor, counts, hides)?.map(Value::Object))
            }
            (_, value) => Ok(Some(value)),
        }
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        if is_local_record(record) {
            return Ok(());
        }
        let changes = Graph::new(GRAPH).apply(state, &record.activity)?;
        let mut touched = BTreeSet::new();
        for change in &changes {
            count(state, change)?;
            touched.extend([change.follower.as_str(), change.followed.as_str()]);
        }
        for actor in touched {
            let counts_key = key(&["counts", actor]);
            if get_as(state, &counts_key)? == Some(Counts::default()) {
                state.remove(&counts_key);
            }
        }
        Ok(())
    }
}

/// The counts of what is settled.
fn public_counts(value: &Value) -> Shown {
    let Value::Object(counts) = value else { return Shown::Hidden };
    let settled = ["followers", "following"].map(|name| (name.to_owned(), counts.get(name)));
    if settled.iter().all(|(_, count)| count.and_then(Value::as_u64).unwrap_or(0) == 0) {
        return Shown::Hidden;
    }
    let settled =
        settled.into_iter().map(|(name, count)| (name, count.cloned().unwrap_or(0.into())));
    Shown::Part(Value::Object(settled.collect()))
}

/// The counts of an actor without those others who are kept from the reader.
fn recounted(
    state: &dyn StateView,
    actor: &str,
    mut counts: Map<String, Value>,
    hides: &mut Hides<'_>,
) -> Result<Option<Map<String, Value>>, StateError> {
    for (listing, count) in &mut counts {
        let mut hidden = 0;
        for (place, _) in state.scan(&prefix(&[listing, actor]), None, MAX_RECOUNTED)? {
            if let Some(other) = parts(&place).pop() {
                hidden += u64::from(hides(&Speaker::Profile(other))?);
            }
        }
        *count = count.as_u64().unwrap_or(0).saturating_sub(hidden).into();
    }
    let any = counts.values().any(|count| count.as_u64() != Some(0));
    Ok(any.then_some(counts))
}

fn count(state: &mut dyn State, change: &Change) -> Result<(), StateError> {
    let step = |count: &mut u64, relation: Relation| {
        if change.before == relation {
            *count = count.saturating_sub(1);
        }
        if change.after == relation {
            *count = count.saturating_add(1);
        }
    };
    let follower_key = key(&["counts", &change.follower]);
    let mut follower: Counts = get_as(state, &follower_key)?.unwrap_or_default();
    step(&mut follower.following, Relation::Accepted);
    step(&mut follower.pending_outbound, Relation::Pending);
    put_as(state, &follower_key, &follower)?;
    let followed_key = key(&["counts", &change.followed]);
    let mut followed: Counts = get_as(state, &followed_key)?.unwrap_or_default();
    step(&mut followed.followers, Relation::Accepted);
    step(&mut followed.pending_inbound, Relation::Pending);
    put_as(state, &followed_key, &followed)
}
