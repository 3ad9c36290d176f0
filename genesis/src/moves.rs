//! Actors that continue as another one (`Move`, as Mastodon and FEP-7628 have it).
//!
//! A Move counts when its author said it of itself and its target lists the author in
//! `alsoKnownAs`: both sides say the same. What one of our actors says is checked before it is
//! published; a Move from elsewhere counts once the target's document was fetched and a record in
//! the `local` stream says so. Followers are carried over then ([`crate::reactions::carry`]).
//!
//! Nobody is sent around: an actor that moved, or that others moved to, does not move on for
//! [`QUIET_MS`], and nobody follows to an actor that moved itself.

use fedsx_kernel::Activity;
use fedsx_kernel::activity::{id_of, ids_in};
use fedsx_kernel::state::{self, StateError, StateView, key};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::actors::{self, ActorState};

/// For how long a Move of the same actor, or of its target, does not count; in milliseconds.
pub const QUIET_MS: i64 = 7 * 24 * 3600 * 1000;
/// The most other names that an actor of ours lists.
pub const MAX_ALIASES: usize = 20;

/// What is known of a Move that counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The other actor.
    pub with: String,
    /// When it counted, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Where an actor went by the last of its Moves that counted.
pub fn moved(state: &dyn StateView, actor: &str) -> Result<Option<Moved>, StateError> {
    state::get_as(state, &key(&["moved", actor]))
}

/// Who came to an actor by the last Move that counted.
pub fn arrived(state: &dyn StateView, actor: &str) -> Result<Option<Moved>, StateError> {
    state::get_as(state, &key(&["arrived", actor]))
}

/// Whether an actor document says that its actor is known as `actor`, too.
pub fn lists(document: &Value, actor: &str) -> bool {
    ids_in(document.get("alsoKnownAs")).contains(&actor)
}

/// Where an actor document says that its actor is now.
pub fn moved_to(document: &Value) -> Option<&str> {
    document.get("movedTo").and_then(id_of).filter(|id| !id.is_empty())
}

/// Where a Move goes, if it is one that its author said of itself.
pub fn target(activity: &Activity) -> Option<&str> {
    let target = activity.get("target").and_then(id_of)?;
    let of_itself = activity.kind() == "Move" && activity.object_id() == Some(activity.actor());
    (of_itself && target != activity.actor()).then_some(target)
}

/// Why an actor cannot move to a target, as far as its document goes.
pub fn unfit(target: Option<&ActorState>, actor: &str) -> Option<&'static str> {
    match target {
        None => Some("the target is not known here"),
        Some(target) if target.deleted => Some("the target was deleted"),
        Some(target) if moved_to(&target.document).is_some() => Some("the target moved itself"),
        Some(target) if !lists(&target.document, actor) => {
            Some("the target does not list the author in alsoKnownAs")
        }
        Some(_) => None,
    }
}

/// Why a Move does not count at this time; `None` where it does.
///
/// # Errors
/// Where the state cannot be read.
pub fn obstacle(
    state: &dyn StateView,
    actor: &str,
    target: &str,
    now_ms: i64,
) -> Result<Option<&'static str>, StateError> {
    if let Some(reason) = unfit(actors::actor(state, target)?.as_ref(), actor) {
        return Ok(Some(reason));
    }
    let recent = |moved: Option<Moved>| {
        moved.is_some_and(|moved| now_ms.saturating_sub(moved.at_ms) < QUIET_MS)
    };
    Ok(if recent(moved(state, actor)?) {
        Some("the author moved a short while ago")
    } else if recent(arrived(state, actor)?) {
        Some("others moved to the author a short while ago")
    } else if recent(moved(state, target)?) {
        Some("the target moved a short while ago")
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use fedsx_kernel::state::{MemoryState, State};
    use serde_json::json;

    use super::*;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    fn known(state: &mut MemoryState, id: &str, document: Value) {
        let actor = ActorState { document, ..ActorState::default() };
        actors::put(state, id, &actor).unwrap();
    }

    fn counted(state: &mut MemoryState, from: &str, to: &str, at_ms: i64) {
        for (what, of, with) in [("moved", from, to), ("arrived", to, from)] {
            let moved = Moved { with: with.to_owned(), at_ms };
            state::put_as(state, &key(&[what, of]), &moved).unwrap();
        }
    }

    #[test]
    fn what_stands_in_the_way() {
        let mut state = MemoryState::default();
        let reason = |state: &MemoryState, from: &str, to: &str| {
            obstacle(state, from, to, 10 * DAY_MS).unwrap()
        };
        assert_eq!(reason(&state, "a", "b"), Some("the target is not known here"));
        known(&mut state, "b", json!({ "alsoKnownAs": ["x"] }));
        let unlisted = Some("the target does not list the author in alsoKnownAs");
        assert_eq!(reason(&state, "a", "b"), unlisted);
        for listed in [json!("a"), json!(["x", "a"]), json!([{ "id": "a" }])] {
            known(&mut state, "b", json!({ "alsoKnownAs": listed }));
            assert_eq!(reason(&state, "a", "b"), None);
        }
        known(&mut state, "b", json!({ "alsoKnownAs": "a", "movedTo": "c" }));
        assert_eq!(reason(&state, "a", "b"), Some("the target moved itself"));
    }

    #[test]
    fn nobody_moves_on_at_once() {
        let mut state = MemoryState::default();
        for (id, other) in [("a", "b"), ("b", "a"), ("c", "b")] {
            known(&mut state, id, json!({ "alsoKnownAs": [other, "a"] }));
        }
        counted(&mut state, "a", "b", DAY_MS);
        let reason =
            |from: &str, to: &str, now_ms: i64| obstacle(&state, from, to, now_ms).unwrap();
        assert!(reason("a", "c", 2 * DAY_MS).is_some(), "the same actor again");
        assert!(reason("b", "a", 2 * DAY_MS).is_some(), "back");
        assert!(reason("b", "c", 2 * DAY_MS).is_some(), "on");
        assert_eq!(reason("a", "c", 9 * DAY_MS), None, "later it may");
        assert_eq!(reason("b", "a", 9 * DAY_MS), None, "and come back");
        state.remove(&key(&["moved", "a"]));
    }
}
