//! `actor-state`: the profile of every actor, here and elsewhere.

use fedsx_genesis::actor_keys::concerns_author;
use fedsx_genesis::moves;
use fedsx_genesis::records::MOVE_CONFIRMED;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, get_as, key, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::common::{Stamp, embedded, is_actor, is_local_record, is_public};
use super::{key_log, profiles};
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};

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

/// Where an actor moved to by a Move that was not for everyone.
const MOVED_PRIVATELY: &str = "movedPrivately";

impl Fold for ActorState {
    fn name(&self) -> &'static str {
        "actor-state"
    }

    fn version(&self) -> u32 {
        3
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
        // Before, rows did not tell what is private.
        older >= 2
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
            count(state, activity)?;
            if concerns_author(activity) {
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
        Ok(changed.map_or(Ok(()), |actor| show(state, &actor))?)
    }
}

fn count(state: &mut dyn State, activity: &Activity) -> Result<(), StateError> {
    let place = key(&[activity.actor()]);
    let mut shown: Map<String, Value> = get_as(state, &place)?
        .unwrap_or_else(|| Map::from_iter([("id".to_owned(), Value::from(activity.actor()))]));
    let mut counts: Counts = shown
        .get("counts")
        .and_then(|counts| serde_json::from_value(counts.clone()).ok())
        .unwrap_or_default();
    counts.published = counts.published.saturating_add(1);
    let creates = activity.kind() == "Create" && !concerns_author(activity);
    if creates && embedded(activity).is_none_or(|(_, document)| !is_actor(document)) {
        counts.notes = counts.notes.saturating_add(1);
    }
    shown.insert("counts".into(), json!(counts));
    put_as(state, &place, &shown)
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
    let place = key(&["~moved", actor, if public { "movedTo" } else { MOVED_PRIVATELY }]);
    let new = Moved { stamp, target: target.to_owned() };
    match get_as::<Moved>(state, &place)? {
        Some(held) if held.stamp >= new.stamp => Ok(()),
        _ => put_as(state, &place, &new),
    }
}

fn show(state: &mut dyn State, actor: &str) -> Result<(), StateError> {
    let place = key(&[actor]);
    let held: Map<String, Value> = get_as(state, &place)?.unwrap_or_default();
    let mut shown = Map::from_iter([("id".to_owned(), Value::from(actor))]);
    if let Some(counts) = held.get("counts") {
        shown.insert("counts".into(), counts.clone());
    }
    if profiles::is_deleted(state, actor)? {
        shown.insert("type".into(), "Tombstone".into());
        shown.insert("deleted".into(), true.into());
        state.put(&place, Value::Object(shown));
        return Ok(());
    }
    let profile = profiles::newest(state, actor)?;
    // Documents of our own actors name where they moved to; one without it takes the Move back.
    let back = profile.as_ref().filter(|profile| !profile.document.contains_key("movedTo"));
    let back = back.map(|profile| profile.order());
    if let Some(profile) = profile {
        for member in PROFILE {
            if let Some(value) = profile.document.get(member) {
                shown.insert(member.into(), value.clone());
            }
        }
        shown.insert("deleted".into(), false.into());
        shown.insert("order".into(), json!(profile.order()));
    }
    for member in ["movedTo", MOVED_PRIVATELY] {
        if let Some(moved) = get_as::<Moved>(state, &key(&["~moved", actor, member]))?
            && back.is_none_or(|back| back < moved.stamp.order)
        {
            shown.insert(member.into(), moved.target.into());
        }
    }
    let keys = key_log::keys(state, actor)?;
    if !keys.is_empty() {
        shown.insert("keys".into(), json!(keys));
    }
    state.put(&place, Value::Object(shown));
    Ok(())
}
