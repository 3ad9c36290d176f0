//! Statements by actors about targets, with counts: who announced, liked or shared what.
//!
//! One actor has at most one statement of a kind about a target that counts, the newest; an Undo
//! ends the statement that it names, even when it comes first.

use fedsx_kernel::activity::Activity;
use fedsx_kernel::state::{State, StateError, get_as, key, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::Stamp;

/// The newest statement of an actor about a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    id: String,
    #[serde(flatten)]
    stamp: Stamp,
    undone: bool,
}

/// Where a statement is found by its id.
#[derive(Serialize, Deserialize)]
struct Place {
    target: String,
    kind: String,
}

/// Takes a statement. With an empty kind the keys are `[target, actor]`, else
/// `[target, kind, actor]`; counts stand at `[target]`.
pub(super) fn stated(
    state: &mut dyn State,
    target: &str,
    kind: &str,
    activity: &Activity,
) -> Result<(), StateError> {
    let (actor, id, stamp) = (activity.actor(), activity.id(), Stamp::of(activity));
    let entry_key = entry_key(target, kind, actor);
    let held: Option<Entry> = get_as(state, &entry_key)?;
    let place = Place { target: target.to_owned(), kind: kind.to_owned() };
    put_as(state, &key(&["~id", actor, id]), &place)?;
    if held.as_ref().is_some_and(|held| held.stamp >= stamp) {
        return Ok(());
    }
    let undone = state.get(&key(&["~undone", actor, id]))?.is_some()
        || get_as::<Stamp>(state, &below_key(target, kind, actor))?
            .is_some_and(|below| stamp.order < below.order);
    let counted = held.is_some_and(|held| !held.undone);
    put_as(state, &entry_key, &Entry { id: id.to_owned(), stamp, undone })?;
    count(state, target, kind, counted, !undone)
}

/// Takes an Undo by the statement's author. `about` tells target and kind of an embedded
/// statement: such an Undo ends every earlier one about that target.
pub(super) fn undone(
    state: &mut dyn State,
    activity: &Activity,
    about: Option<(&str, &str)>,
) -> Result<(), StateError> {
    let (actor, stamp) = (activity.actor(), Stamp::of(activity));
    if let Some((target, kind)) = about {
        let below_key = below_key(target, kind, actor);
        let held: Option<Stamp> = get_as(state, &below_key)?;
        if held.is_none_or(|held| held < stamp) {
            put_as(state, &below_key, &stamp)?;
        }
        end(state, target, kind, actor, |entry| entry.stamp.order < stamp.order)?;
    }
    if let Some(id) = activity.object_id() {
        state.put(&key(&["~undone", actor, id]), Value::Bool(true));
        if let Some(place) = get_as::<Place>(state, &key(&["~id", actor, id]))? {
            end(state, &place.target, &place.kind, actor, |entry| entry.id == id)?;
        }
    }
    Ok(())
}

fn end(
    state: &mut dyn State,
    target: &str,
    kind: &str,
    actor: &str,
    meant: impl Fn(&Entry) -> bool,
) -> Result<(), StateError> {
    let entry_key = entry_key(target, kind, actor);
    match get_as::<Entry>(state, &entry_key)? {
        Some(entry) if !entry.undone && meant(&entry) => {
            put_as(state, &entry_key, &Entry { undone: true, ..entry })?;
            count(state, target, kind, true, false)
        }
        _ => Ok(()),
    }
}

fn count(
    state: &mut dyn State,
    target: &str,
    kind: &str,
    before: bool,
    after: bool,
) -> Result<(), StateError> {
    if before == after {
        return Ok(());
    }
    let count_key = key(&[target]);
    let mut counts: Map<String, Value> = get_as(state, &count_key)?.unwrap_or_default();
    let member = if kind.is_empty() { "count" } else { kind };
    let held = counts.get(member).and_then(Value::as_u64).unwrap_or(0);
    let new = if after { held.saturating_add(1) } else { held.saturating_sub(1) };
    // A count of 0 is left out, so that what came and went leaves no trace of its arrival.
    if new == 0 {
        counts.remove(member);
    } else {
        counts.insert(member.to_owned(), new.into());
    }
    if counts.is_empty() {
        state.remove(&count_key);
        return Ok(());
    }
    put_as(state, &count_key, &counts)
}

fn entry_key(target: &str, kind: &str, actor: &str) -> String {
    if kind.is_empty() { key(&[target, actor]) } else { key(&[target, kind, actor]) }
}

fn below_key(target: &str, kind: &str, actor: &str) -> String {
    key(&["~undone_below", target, kind, actor])
}
