//! Statements by actors about targets, with counts: who announced, liked or shared what.
//!
//! One actor has at most one statement of a kind about a target that counts, the newest; an Undo
//! ends the statement that it names, even when it comes first. Of who deleted itself nothing counts
//! ([`left`]). Instead of the author something else can tell statements apart, such as the object
//! that they add to a collection.
//!
//! A statement that does not address everyone is shown to its author, to those who received it
//! and to who operates the instance. It is counted apart (`private`), and that count is shown to
//! who operates the instance only: a public count that moves would tell that somebody said
//! something.

use fedsx_kernel::Cid;
#[cfg(test)]
mod tests;

use fedsx_kernel::activity::Activity;
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, parts, prefix, put_as};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{Stamp, is_public};
use crate::reader::{Reader, Shown};
use crate::shield::{Hides, Speaker};

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

/// Statements that are looked at for one count, where some may be kept from the reader; those beyond
/// count whoever made them.
pub(super) const MAX_RECOUNTED: usize = 10_000;

/// Targets about which one thing is stated, as far as an Undo looks.
const MAX_TARGETS: usize = 64;

/// Statements of an actor are ended in pages of this size.
const PAGE: usize = 256;

/// Where a statement is found by its id.
#[derive(Serialize, Deserialize)]
struct Place {
    target: String,
    kind: String,
    /// What tells it apart, where that is not its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

/// Where counts stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// At `[target]`, for each kind.
    Together,
    /// At `[target, kind]` as `count`.
    Apart,
    /// At `[target]` as `count`, whatever the kind.
    Whole,
}

/// One statement about a target.
pub(super) struct Statement<'a> {
    /// What it is about.
    pub(super) target: &'a str,
    /// Of which kind it is; may be empty.
    pub(super) kind: &'a str,
    /// What tells it from others of that kind about that target: the last part of its key.
    pub(super) by: &'a str,
    /// By what an Undo names it.
    pub(super) id: &'a str,
    /// The activity that makes it.
    pub(super) activity: &'a Activity,
}

/// Takes a statement that its author tells apart. With an empty kind the keys are
/// `[target, actor]`, else `[target, kind, actor]`; counts stand at `[target]`.
pub(super) fn stated(
    state: &mut dyn State,
    target: &str,
    kind: &str,
    activity: &Activity,
) -> Result<(), StateError> {
    let (by, id) = (activity.actor(), activity.id());
    take(state, Counts::Together, &Statement { target, kind, by, id, activity })
}

/// Takes a statement.
pub(super) fn take(
    state: &mut dyn State,
    counts: Counts,
    statement: &Statement<'_>,
) -> Result<(), StateError> {
    let Statement { target, kind, by, id, activity } = *statement;
    let (actor, stamp) = (activity.actor(), Stamp::of(activity));
    let entry_key = entry_key(target, kind, by);
    let held: Option<Entry> = get_as(state, &entry_key)?;
    let place = Place {
        target: target.to_owned(),
        kind: kind.to_owned(),
        by: (by != actor).then(|| by.to_owned()),
    };
    let place_key = match counts {
        // One object can be stated about several targets.
        Counts::Whole => key(&["~id", actor, id, target]),
        _ => key(&["~id", actor, id]),
    };
    put_as(state, &place_key, &place)?;
    if held.as_ref().is_some_and(|held| held.stamp >= stamp) {
        return Ok(());
    }
    let undone = state.get(&key(&["~undone", actor, id]))?.is_some()
        || state.get(&key(&["~left", actor]))?.is_some()
        || get_as::<Stamp>(state, &below_key(target, kind, by))?
            .is_some_and(|below| stamp.order < below.order);
    let counted = held.and_then(|held| held.counted());
    let entry = Entry { id: id.to_owned(), stamp, undone, public: is_public(activity) };
    put_as(state, &entry_key, &entry)?;
    count(state, counts, target, kind, counted, entry.counted())
}

/// Sets a row for everyone, or takes it away: of a fold that knows by itself what stands, and whose
/// rows come and go. `row` has the id, the place, and whether the statement is `undone`.
pub(super) fn set(
    state: &mut dyn State,
    counts: Counts,
    (target, kind, by): (&str, &str, &str),
    row: Option<(&str, &Stamp, bool)>,
) -> Result<(), StateError> {
    let entry_key = entry_key(target, kind, by);
    let held: Option<Entry> = get_as(state, &entry_key)?;
    let entry = row.map(|(id, stamp, undone)| Entry {
        id: id.to_owned(),
        stamp: stamp.clone(),
        undone,
        public: true,
    });
    if held == entry {
        return Ok(());
    }
    let before = held.and_then(|held| held.counted());
    let after = entry.as_ref().and_then(Entry::counted);
    match &entry {
        Some(entry) => put_as(state, &entry_key, entry)?,
        None => state.remove(&entry_key),
    }
    count(state, counts, target, kind, before, after)
}

/// What of a row of a tally a reader is shown; rows of statements mostly end with the actor.
pub(super) fn shown_to(key: &[String], value: &Value, reader: &Reader) -> Shown {
    let Some(actor) = key.last().filter(|_| value.get("cid").is_some()) else {
        return counts_shown_to(value, reader);
    };
    let public = value.get("public").and_then(Value::as_bool).unwrap_or(false);
    if public || reader.is_admin() || reader.is(actor) {
        Shown::Whole
    } else {
        Shown::to_audience_in(value)
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

/// Whose words the row of a statement shows, by its key and the CID of the activity.
pub(super) type SaidBy = fn(&[String], Cid) -> Speaker;

/// Statements whose keys end with their actor.
pub(super) fn last_part(key: &[String], _: Cid) -> Speaker {
    key.last().map_or(Speaker::Nobody, |actor| Speaker::Actor(actor.clone()))
}

/// A row of counts without the statements for everyone that are kept from the reader; other rows
/// as they are.
pub(super) fn recounted(
    state: &dyn StateView,
    counts: Counts,
    said_by: SaidBy,
    (row, value): (&[String], Value),
    hides: &mut Hides<'_>,
) -> Result<Option<Value>, StateError> {
    let mut shown = match value {
        Value::Object(shown) if !shown.contains_key("cid") => shown,
        other => return Ok(Some(other)),
    };
    let row: Vec<&str> = row.iter().map(String::as_str).collect();
    for (place, held) in state.scan(&prefix(&row), None, MAX_RECOUNTED)? {
        let entry: Entry = of_row(&place, held)?;
        let Ok(cid) = entry.stamp.cid.parse() else { continue };
        let key = parts(&place);
        if entry.counted() == Some(Counted::Publicly) && hides(&said_by(&key, cid))? {
            let kind = key.get(1).filter(|_| key.len() > 2);
            let member = member(counts, kind.map(String::as_str).unwrap_or_default());
            change(&mut shown, member, u64::saturating_sub);
        }
    }
    Ok(Some(shown).filter(|shown| !shown.is_empty()).map(Value::Object))
}

/// Takes an Undo by the statement's author. `about` tells target and kind of an embedded
/// statement: such an Undo ends every earlier one about that target.
pub(super) fn undone(
    state: &mut dyn State,
    activity: &Activity,
    about: Option<(&str, &str)>,
) -> Result<(), StateError> {
    if let Some((target, kind)) = about {
        ended(state, Counts::Together, (target, kind, activity.actor()), activity)?;
    }
    named(state, Counts::Together, activity)
}

/// Ends every earlier statement of this kind about a target that `by` tells apart.
pub(super) fn ended(
    state: &mut dyn State,
    counts: Counts,
    (target, kind, by): (&str, &str, &str),
    activity: &Activity,
) -> Result<(), StateError> {
    let stamp = Stamp::of(activity);
    let below_key = below_key(target, kind, by);
    let held: Option<Stamp> = get_as(state, &below_key)?;
    if held.is_none_or(|held| held < stamp) {
        put_as(state, &below_key, &stamp)?;
    }
    end(state, counts, (target, kind, by), |entry| entry.stamp.order < stamp.order)
}

/// Ends the statement that an activity of its author names as its object.
pub(super) fn named(
    state: &mut dyn State,
    counts: Counts,
    activity: &Activity,
) -> Result<(), StateError> {
    let (actor, Some(id)) = (activity.actor(), activity.object_id()) else { return Ok(()) };
    state.put(&key(&["~undone", actor, id]), Value::Bool(true));
    let place_key = key(&["~id", actor, id]);
    let places = match counts {
        Counts::Whole => state.scan(&prefix(&["~id", actor, id]), None, MAX_TARGETS)?,
        _ => state.get(&place_key)?.map(|place| (place_key, place)).into_iter().collect(),
    };
    for (key, place) in places {
        let place: Place = of_row(&key, place)?;
        let by = place.by.as_deref().unwrap_or(actor);
        end(state, counts, (&place.target, &place.kind, by), |entry| entry.id == id)?;
    }
    Ok(())
}

/// Takes the Delete of an actor by itself: of what it states nothing counts any more, whatever it
/// said before or after it and in which order that comes.
pub(super) fn left(
    state: &mut dyn State,
    counts: Counts,
    activity: &Activity,
) -> Result<(), StateError> {
    let actor = activity.actor();
    state.put(&key(&["~left", actor]), Value::Bool(true));
    let (all, mut after) = (prefix(&["~id", actor]), None::<String>);
    loop {
        let page = state.scan(&all, after.as_deref(), PAGE)?;
        let count = page.len();
        for (key, place) in page {
            let place: Place = of_row(&key, place)?;
            let by = place.by.as_deref().unwrap_or(actor);
            end(state, counts, (&place.target, &place.kind, by), |_| true)?;
            after = Some(key);
        }
        if count < PAGE {
            return Ok(());
        }
    }
}

pub(super) fn of_row<T: DeserializeOwned>(key: &str, value: Value) -> Result<T, StateError> {
    serde_json::from_value(value)
        .map_err(|e| StateError::Shape { key: key.to_owned(), reason: e.to_string() })
}

fn end(
    state: &mut dyn State,
    counts: Counts,
    (target, kind, by): (&str, &str, &str),
    meant: impl Fn(&Entry) -> bool,
) -> Result<(), StateError> {
    let entry_key = entry_key(target, kind, by);
    match get_as::<Entry>(state, &entry_key)? {
        Some(entry) if !entry.undone && meant(&entry) => {
            let counted = entry.counted();
            put_as(state, &entry_key, &Entry { undone: true, ..entry })?;
            count(state, counts, target, kind, counted, None)
        }
        _ => Ok(()),
    }
}

fn count(
    state: &mut dyn State,
    counts: Counts,
    target: &str,
    kind: &str,
    before: Option<Counted>,
    after: Option<Counted>,
) -> Result<(), StateError> {
    if before == after {
        return Ok(());
    }
    let count_key = match counts {
        Counts::Together | Counts::Whole => key(&[target]),
        Counts::Apart => key(&[target, kind]),
    };
    let mut public: Map<String, Value> = get_as(state, &count_key)?.unwrap_or_default();
    let mut private = match public.remove(PRIVATE) {
        Some(Value::Object(private)) => private,
        _ => Map::new(),
    };
    let member = member(counts, kind);
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

/// The name of a count.
fn member(counts: Counts, kind: &str) -> &str {
    match counts {
        Counts::Together if !kind.is_empty() => kind,
        _ => "count",
    }
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

fn entry_key(target: &str, kind: &str, by: &str) -> String {
    if kind.is_empty() { key(&[target, by]) } else { key(&[target, kind, by]) }
}

fn below_key(target: &str, kind: &str, by: &str) -> String {
    key(&["~undone_below", target, kind, by])
}
