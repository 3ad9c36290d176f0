//! The follow graph, and who asked again to follow while it did already.

use fedsx_kernel::Base;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView, key};

use super::GRAPH;
use crate::graph::{Graph, Relation};

/// Whether an actor followed another already when it said this Follow: it was accepted before, and
/// needs no second decision.
pub fn was_follower(
    state: &dyn StateView,
    follower: &str,
    followed: &str,
    follow: &str,
) -> Result<bool, StateError> {
    let asked_again = state.get(&key(&["follows_again", followed, follower]))?;
    Ok(asked_again.is_some_and(|id| id == follow))
}

pub(super) fn fold(base: &Base, state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    for change in Graph::new(GRAPH).apply(state, activity)? {
        // Only who is followed decides; and what others said may arrive in any order.
        if !base.is_local(&change.followed) {
            continue;
        }
        let place = key(&["follows_again", &change.followed, &change.follower]);
        let again = activity.kind() == "Follow" && change.before == Relation::Accepted;
        if again && change.after == Relation::Pending {
            state.put(&place, activity.id().into());
        } else if state.get(&place)?.is_some() {
            state.remove(&place);
        }
    }
    Ok(())
}
