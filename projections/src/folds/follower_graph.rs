//! `follower-graph`: who follows whom.

use std::collections::BTreeSet;

use fedsx_genesis::graph::{Change, Graph, Relation};
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, get_as, key, put_as};
use serde::{Deserialize, Serialize};

use super::common::is_local_record;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};

/// The prefix of the graph in this projection, for [`Graph::new`].
pub const GRAPH: &str = "";

/// Keys `[followers, following, pending_inbound or pending_outbound; actor; other actor]` with
/// `{follow}`, the id of the Follow, and `["counts", actor]` with a number for each of the four.
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

    fn visibility(&self) -> Visibility {
        Visibility::Public
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
