//! Statements by actors about targets, with counts: who announced, liked or shared what.
//!
//! One actor has at most one statement of a kind about a target that counts, the newest; an Undo
//! ends the statement that it names, even when it comes first.
//!
//! A statement that does not address everyone is shown to its author, to those who received it
//! and to who operates the instance. It is counted apart (`private`), and that count is shown to
//! who operates the instance only: a public count that moves would tell that somebody said
//! something.

use fedsx_kernel::activity::Activity;
use fedsx_kernel::state::{State, StateError, get_as, key, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{Stamp, is_public};
use crate::reader::{Reader, Shown};

/// The newest statement of an actor about a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    id: String,
    #[serde(flatten)]
    stamp: Stamp,
    undone: bool,
    /// Whether anyone may see the statement.
    public: bool,
}

impl Entry {
    /// Among which it is counted.
    fn counted(&self) -> Option<Counted> {
        (!self.undone).then_some(if self.public { Counted::Publicly } else { Counted::Privately })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Publicly,
    Privately,
}

/// The member that holds the counts of what not everyone may see.
const PRIVATE: &str = "private";

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
    let counted = held.and_then(|held| held.counted());
    let entry = Entry { id: id.to_owned(), stamp, undone, public: is_public(activity) };
    put_as(state, &entry_key, &entry)?;
    count(state, target, kind, counted, entry.counted())
}

/// What of a row of a tally a reader is shown; rows of statements end with the actor.
pub(super) fn shown_to(key: &[String], value: &Value, reader: &Reader) -> Shown {
    match key {
        [_, .., actor] => {
            let public = value.get("public").and_then(Value::as_bool).unwrap_or(false);
            if public || reader.is_admin() || reader.is(actor) {
                Shown::Whole
            } else {
                Shown::to_audience_in(value)
            }
        }
        _ => counts_shown_to(value, reader),
    }
}

fn counts_shown_to(value: &Value, reader: &Reader) -> Shown {
    let Value::Object(counts) = value else { return Shown::whole_if(reader.is_admin()) };
    let mut shown = counts.clone();
    let Some(Value::Object(private)) = shown.remove(PRIVATE) else { return Shown::Whole };
    if reader.is_admin() {
        for (kind, count) in private {
            let all = [shown.get(&kind), Some(&count)].into_iter().flatten();
            let all = all.filter_map(Value::as_u64).fold(0, u64::saturating_add);
            shown.insert(kind, all.into());
        }
    }
    if shown.is_empty() { Shown::Hidden } else { Shown::Part(Value::Object(shown)) }
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
            let counted = entry.counted();
            put_as(state, &entry_key, &Entry { undone: true, ..entry })?;
            count(state, target, kind, counted, None)
        }
        _ => Ok(()),
    }
}

fn count(
    state: &mut dyn State,
    target: &str,
    kind: &str,
    before: Option<Counted>,
    after: Option<Counted>,
) -> Result<(), StateError> {
    if before == after {
        return Ok(());
    }
    let count_key = key(&[target]);
    let mut public: Map<String, Value> = get_as(state, &count_key)?.unwrap_or_default();
    let mut private = match public.remove(PRIVATE) {
        Some(Value::Object(private)) => private,
        _ => Map::new(),
    };
    let member = if kind.is_empty() { "count" } else { kind };
    for (counted, step) in [(before, u64::saturating_sub as Step), (after, u64::saturating_add)] {
        match counted {
            Some(Counted::Publicly) => change(&mut public, member, step),
            Some(Counted::Privately) => change(&mut private, member, step),
            None => {}
        }
    }
    if !private.is_empty() {
        public.insert(PRIVATE.to_owned(), Value::Object(private));
    }
    if public.is_empty() {
        state.remove(&count_key);
        return Ok(());
    }
    put_as(state, &count_key, &public)
}

type Step = fn(u64, u64) -> u64;

/// Changes a count by one. A count of 0 is left out, so that what came and went leaves no trace of
/// its arrival.
fn change(counts: &mut Map<String, Value>, member: &str, step: Step) {
    let held = counts.get(member).and_then(Value::as_u64).unwrap_or(0);
    match step(held, 1) {
        0 => counts.remove(member),
        new => counts.insert(member.to_owned(), new.into()),
    };
}

fn entry_key(target: &str, kind: &str, actor: &str) -> String {
    if kind.is_empty() { key(&[target, actor]) } else { key(&[target, kind, actor]) }
}

fn below_key(target: &str, kind: &str, actor: &str) -> String {
    key(&["~undone_below", target, kind, actor])
}
