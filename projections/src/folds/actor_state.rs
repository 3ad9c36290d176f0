//! `actor-state`: the profile of every actor, here and elsewhere.

use fedsx_genesis::actor_keys::concerns_author;
use fedsx_genesis::moves;
use fedsx_genesis::records::MOVE_CONFIRMED;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::log::Record;
use fedsx_kernel::order::Order;
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::common::{Stamp, embedded, is_actor, is_local_record, is_public, tag};
use super::key_log;
use super::profiles::{self, Profile};
use crate::display;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};
use crate::render::Bodies;
use crate::shield::Speaker;

/// Keys `[actor id]` with `{id, type, preferredUsername, name, summary, url, icon, ..., movedTo,
/// manuallyApprovesFollowers, deleted, keys, counts: {published, notes}, order}`. Of an actor
/// whose document was never seen only id and counts are known. Counts are of everything that was
/// seen, whoever it was for. `movedTo` is where a Move that counts went ([`fedsx_genesis::moves`]),
/// until the actor says of itself that it is back. `movedPrivately` is by a Move that was not for everyone, and shown to the
/// actor itself and to who operates the instance.
pub struct ActorState;

/// Members of an actor document that make up the profile.
const PROFILE: [&str; 16] = [
    "type",
    "preferredUsername",
    "name",
    "nameMap",
    "summary",
    "summaryMap",
    "url",
    "icon",
    "image",
    "attachment",
    "published",
    "updated",
    "discoverable",
    "indexable",
    "alsoKnownAs",
    "manuallyApprovesFollowers",
];

/// What a row keeps. The profile is put together from the fold's notes when it is read, so that
/// an activity more changes next to nothing; its hashes show that it changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "(u64, u64, String, String)", into = "(u64, u64, String, String)")]
struct Row {
    counts: Counts,
    /// Of what everyone is shown, but for the counts.
    public: String,
    /// Of the rest.
    private: String,
}

/// Parts of a stored row that everyone is shown; the private one comes after them.
const PUBLIC_PARTS: usize = 3;

impl From<(u64, u64, String, String)> for Row {
    fn from((published, notes, public, private): (u64, u64, String, String)) -> Self {
        Self { counts: Counts { published, notes }, public, private }
    }
}

impl From<Row> for (u64, u64, String, String) {
    fn from(row: Row) -> Self {
        (row.counts.published, row.counts.notes, row.public, row.private)
    }
}

fn row(actor: &str, held: Value) -> Result<Row, StateError> {
    serde_json::from_value(held)
        .map_err(|e| StateError::Shape { key: actor.to_owned(), reason: e.to_string() })
}

/// What an actor published, as far as this log knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counts {
    /// Activities of any kind.
    published: u64,
    /// Created objects.
    notes: u64,
}

/// Where an actor moved to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Moved {
    stamp: Stamp,
    target: String,
}

/// Where an actor moved to.
const MOVED: &str = "movedTo";
/// Where an actor moved to by a Move that was not for everyone.
const MOVED_PRIVATELY: &str = "movedPrivately";

impl Fold for ActorState {
    fn name(&self) -> &'static str {
        "actor-state"
    }

    fn version(&self) -> u32 {
        5
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
    }

    fn serves(&self, older: u32) -> bool {
        // Before, rows were whole profiles.
        older >= 4
    }

    fn render(
        &self,
        state: &dyn StateView,
        _: &dyn Bodies,
        key: &[String],
        held: Value,
    ) -> Result<Option<Value>, StateError> {
        let [actor] = key else { return Ok(None) };
        let row = row(actor, held)?;
        let mut shown = profile(state, actor)?;
        shown.extend(private(state, actor)?);
        if row.counts.published > 0 {
            shown.insert("counts".into(), json!(row.counts));
        }
        Ok(Some(Value::Object(display::document(&shown))))
    }

    fn public_part(&self, _: &[String], held: &Value) -> Option<Value> {
        let Value::Array(mut row) = held.clone() else { return None };
        row.truncate(PUBLIC_PARTS);
        Some(Value::Array(row))
    }

    fn shown_to(&self, key: &[String], value: &Value, reader: &Reader) -> Shown {
        let itself = key.first().is_some_and(|actor| reader.is(actor));
        let Value::Object(actor) = value else { return Shown::Whole };
        if !actor.contains_key(MOVED_PRIVATELY) || itself || reader.is_admin() {
            return Shown::Whole;
        }
        let mut shown = actor.clone();
        shown.remove(MOVED_PRIVATELY);
        Shown::Part(Value::Object(shown))
    }

    fn speaker(&self, key: &[String], _: &Value) -> Speaker {
        key.first().map_or(Speaker::Nobody, |actor| Speaker::Profile(actor.clone()))
    }

    fn fold(
        &self,
        context: &Context,
        state: &mut dyn State,
        record: &Record,
    ) -> Result<(), FoldError> {
        let activity = &record.activity;
        let mut changed = profiles::learn(state, record)?;
        changed = key_log::learn(state, record)?.or(changed);
        if is_local_record(record) {
            changed = confirmed(state, activity)?.or(changed);
        } else {
            let about_author = concerns_author(activity);
            count(state, activity, about_author)?;
            if about_author {
                match activity.kind() {
                    // What is said elsewhere counts once it was looked into.
                    "Move" if context.base.is_local(activity.actor()) => {
                        if let Some(target) = moves::target(activity) {
                            let stamp = Stamp::of(activity);
                            moved(state, activity.actor(), target, stamp, is_public(activity))?;
                        }
                    }
                    "Move" => {
                        let place = key(&["~said", activity.actor(), &activity.cid().to_string()]);
                        put_as(state, &place, &Stamp::of(activity))?;
                    }
                    "Delete" => profiles::delete(state, activity.actor()),
                    _ => {}
                }
                changed = Some(activity.actor().to_owned());
            }
        }
        Ok(changed.map_or(Ok(()), |actor| note(state, &actor))?)
    }
}

fn count(state: &mut dyn State, activity: &Activity, about_author: bool) -> Result<(), StateError> {
    let place = key(&[activity.actor()]);
    let mut row: Row = get_as(state, &place)?.unwrap_or_default();
    row.counts.published = row.counts.published.saturating_add(1);
    let creates = activity.kind() == "Create" && !about_author;
    if creates && embedded(activity).is_none_or(|(_, document)| !is_actor(document)) {
        row.counts.notes = row.counts.notes.saturating_add(1);
    }
    put_as(state, &place, &row)
}

/// A Move from elsewhere was found to count; gives the actor.
fn confirmed(state: &mut dyn State, record: &Activity) -> Result<Option<String>, StateError> {
    let Some(object) = record.object().filter(|_| record.kind() == MOVE_CONFIRMED) else {
        return Ok(None);
    };
    let member = |name| object.get(name).and_then(Value::as_str);
    let (Some(actor), Some(target), Some(cid)) = (member("actor"), member("target"), member("cid"))
    else {
        return Ok(None);
    };
    let said: Option<Stamp> = get_as(state, &key(&["~said", actor, cid]))?;
    let public = object.get("public").and_then(Value::as_bool).unwrap_or(false);
    moved(state, actor, target, said.unwrap_or_default(), public)?;
    Ok(Some(actor.to_owned()))
}

fn moved(
    state: &mut dyn State,
    actor: &str,
    target: &str,
    stamp: Stamp,
    public: bool,
) -> Result<(), StateError> {
    let place = key(&["~moved", actor, if public { MOVED } else { MOVED_PRIVATELY }]);
    let new = Moved { stamp, target: target.to_owned() };
    match get_as::<Moved>(state, &place)? {
        Some(held) if held.stamp >= new.stamp => Ok(()),
        _ => put_as(state, &place, &new),
    }
}

/// Notes in the row what is shown of an actor now.
fn note(state: &mut dyn State, actor: &str) -> Result<(), StateError> {
    let place = key(&[actor]);
    let held: Row = get_as(state, &place)?.unwrap_or_default();
    let hash = |shown: Map<String, Value>| tag(&[&Value::Object(shown).to_string()]);
    let public = hash(profile(state, actor)?);
    let private =
        private(state, actor)?.map_or_else(String::new, |(_, target)| tag(&[&target.to_string()]));
    put_as(state, &place, &Row { public, private, ..held })
}

/// What everyone is shown of an actor, but for the counts.
fn profile(state: &dyn StateView, actor: &str) -> Result<Map<String, Value>, StateError> {
    let mut shown = Map::from_iter([("id".to_owned(), Value::from(actor))]);
    if profiles::is_deleted(state, actor)? {
        shown.insert("type".into(), "Tombstone".into());
        shown.insert("deleted".into(), true.into());
        return Ok(shown);
    }
    let profile = profiles::newest(state, actor)?;
    let back = taken_back(profile.as_ref());
    if let Some(profile) = profile {
        for member in PROFILE {
            if let Some(value) = profile.document.get(member) {
                shown.insert(member.into(), value.clone());
            }
        }
        shown.insert("deleted".into(), false.into());
        shown.insert("order".into(), json!(profile.order()));
    }
    if let Some(target) = moved_to(state, actor, MOVED, back)? {
        shown.insert(MOVED.into(), target.into());
    }
    let keys = key_log::keys(state, actor)?;
    if !keys.is_empty() {
        shown.insert("keys".into(), json!(keys));
    }
    Ok(shown)
}

/// What only some are shown.
fn private(state: &dyn StateView, actor: &str) -> Result<Option<(String, Value)>, StateError> {
    if profiles::is_deleted(state, actor)? {
        return Ok(None);
    }
    let back = taken_back(profiles::newest(state, actor)?.as_ref());
    let target = moved_to(state, actor, MOVED_PRIVATELY, back)?;
    Ok(target.map(|target| (MOVED_PRIVATELY.to_owned(), target.into())))
}

/// Documents of our own actors name where they moved to; one without it takes Moves back that are
/// not after it.
fn taken_back(profile: Option<&Profile>) -> Option<Order> {
    profile.filter(|profile| !profile.document.contains_key(MOVED)).map(Profile::order)
}

fn moved_to(
    state: &dyn StateView,
    actor: &str,
    member: &str,
    back: Option<Order>,
) -> Result<Option<String>, StateError> {
    let moved: Option<Moved> = get_as(state, &key(&["~moved", actor, member]))?;
    let counts = |moved: &Moved| back.is_none_or(|back| back < moved.stamp.order);
    Ok(moved.filter(counts).map(|moved| moved.target))
}
