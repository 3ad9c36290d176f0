//! `feed`: what came into the inbox of each hosted actor, for people to read.
//!
//! An item stands where its entry stands in the log. It holds a short form of the object as it
//! was; the newest version is in `objects`. Only what is public is copied into the item of
//! somebody else's Announce: naming an object must not show it to who may not read it.

use fedsx_genesis::definition::Kind;
use fedsx_genesis::records::ACTIVITY_FETCHED;
use fedsx_kernel::activity::{Activity, id_of};
use fedsx_kernel::address::ActorName;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{State, StateError, get_as, key, parts, prefix, put_as};
use serde_json::{Map, Value, json};

use super::common::{embedded, is_actor, is_local_record, is_own, is_public};
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};

/// Keys `[actor name, position in the log with 20 digits]` with `{cid, id, type, actor,
/// published, object, announced, backfilled, deleted, unknown}`: `object` is the short form of
/// the embedded object or an id, `announced` that of an announced one that is known here,
/// `unknown` is set for verbs that had no definition.
pub struct Feed;

/// Verbs that change state elsewhere and are not for reading.
const SILENT: [&str; 14] = [
    "Accept", "Add", "Block", "Delete", "Endorse", "Flag", "Follow", "Ignore", "Like", "Move",
    "Reject", "Remove", "Undo", "Update",
];
/// Members of an object in its short form.
const SUMMARY: [&str; 8] =
    ["id", "type", "name", "summary", "content", "inReplyTo", "sensitive", "published"];
/// The longest text in a short form, in bytes; a longer one is left to `objects`.
const MAX_TEXT_BYTES: usize = 8 * 1024;
/// Items that one arriving object or Delete changes.
const MAX_TOUCHED: usize = 1000;

impl Fold for Feed {
    fn name(&self) -> &'static str {
        "feed"
    }

    fn version(&self) -> u32 {
        1
    }

    fn scope(&self) -> Scope {
        Scope::EachEntry
    }

    fn visibility(&self) -> Visibility {
        Visibility::Private
    }

    fn withdrawn(&self, now: &Value) -> bool {
        let announced = now.get("announced").and_then(|announced| announced.get("type"));
        now.get("deleted") == Some(&Value::Bool(true)) || announced == Some(&json!("Tombstone"))
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let activity = &record.activity;
        if is_local_record(record) {
            // What an Announce passes on may have been fetched; nobody here received it.
            if activity.kind() == ACTIVITY_FETCHED
                && let Some(object) = activity.object()
                && let Ok(fetched) = Activity::from_document(object.clone())
                && fetched.kind() == "Create"
            {
                known(state, &fetched)?;
            }
            return Ok(());
        }
        match activity.kind() {
            "Create" if record.entry.first => known(state, activity)?,
            "Delete" if record.entry.first => deleted(state, activity)?,
            _ => {}
        }
        if let Stream::Inbox(receiver) = &record.entry.stream
            && is_shown(activity)
        {
            item(state, record, receiver)?;
        }
        Ok(())
    }
}

fn is_shown(activity: &Activity) -> bool {
    let kind = activity.kind();
    if SILENT.contains(&kind) || Kind::of_type(kind).is_some() {
        return false;
    }
    kind != "Create" || embedded(activity).is_none_or(|(_, document)| !is_actor(document))
}

fn item(state: &mut dyn State, record: &Record, receiver: &ActorName) -> Result<(), StateError> {
    let (activity, entry) = (&record.activity, &record.entry);
    let position = format!("{:020}", entry.global_seq);
    let mut item = Map::new();
    item.insert("cid".into(), entry.cid.to_string().into());
    item.insert("id".into(), activity.id().into());
    item.insert("type".into(), activity.kind().into());
    item.insert("actor".into(), activity.actor().into());
    if let Some(published) = activity.get("published") {
        item.insert("published".into(), published.clone());
    }
    if let Some(object) = activity.object() {
        // What somebody says of the object of another is not to be taken for that object.
        let trusted = match (activity.object_id(), object) {
            (Some(id), Value::Object(document)) => is_own(activity.actor(), id, document),
            _ => true,
        };
        let named = || activity.object_id().map(Value::from).unwrap_or_default();
        item.insert("object".into(), if trusted { short(object) } else { named() });
    }
    item.insert("backfilled".into(), entry.meta.backfilled.into());
    if activity.kind() != "Create" && entry.meta.judged_by.is_none() {
        item.insert("unknown".into(), true.into());
    }
    if let Some(object) = activity.object_id() {
        // Which author may delete the object decides whose Delete marks the item.
        let noted = match activity.kind() {
            "Create" if is_deleted(state, object, activity.actor())? => {
                item.insert("deleted".into(), true.into());
                item.insert("object".into(), json!({ "id": object, "type": "Tombstone" }));
                None
            }
            "Create" => Some(key(&["~shown", object, receiver.as_str(), &position])),
            "Announce" => {
                let place = key(&["~announced", object, receiver.as_str(), &position]);
                if let Some(known) = get_as(state, &key(&["~object", object]))? {
                    announce(&mut item, known);
                }
                Some(place)
            }
            _ => None,
        };
        if let Some(place) = noted {
            state.put(&place, activity.actor().into());
        }
    }
    put_as(state, &key(&[receiver.as_str(), &position]), &item)
}

/// A Create arrived: Announces of its object show it from now on.
fn known(state: &mut dyn State, activity: &Activity) -> Result<(), StateError> {
    let Some((id, document)) = embedded(activity) else { return Ok(()) };
    let author = activity.actor();
    if is_actor(document) || !is_public(activity) || !is_own(author, id, document) {
        return Ok(());
    }
    let Value::Object(mut known) = short(&Value::Object(document.clone())) else { return Ok(()) };
    known.insert("attributedTo".into(), author.into());
    known.insert("cid".into(), activity.cid().to_string().into());
    if is_deleted(state, id, author)? {
        known = tombstone(id, author);
    }
    for name in [id, activity.id()] {
        let place = key(&["~object", name]);
        if state.get(&place)?.is_none() {
            state.put(&place, Value::Object(known.clone()));
            for (name, position) in touched(state, "~announced", name)? {
                change(state, &name, &position, |item| announce(item, known.clone()))?;
            }
        }
    }
    state.put(&key(&["~activity", id, author]), activity.id().into());
    Ok(())
}

/// A Delete marks the items of its author's object and takes the text out of Announces.
fn deleted(state: &mut dyn State, activity: &Activity) -> Result<(), StateError> {
    let (Some(id), author) = (activity.object_id(), activity.actor()) else { return Ok(()) };
    state.put(&key(&["~deleted", id, author]), Value::Bool(true));
    for (name, position) in touched(state, "~shown", id)? {
        change(state, &name, &position, |item| {
            if item.get("actor").and_then(Value::as_str) == Some(author) {
                item.insert("deleted".into(), true.into());
                item.insert("object".into(), json!({ "id": id, "type": "Tombstone" }));
            }
        })?;
    }
    let activity_id: Option<String> = get_as(state, &key(&["~activity", id, author]))?;
    for known_as in [Some(id), activity_id.as_deref()].into_iter().flatten() {
        let place = key(&["~object", known_as]);
        let held: Option<Map<String, Value>> = get_as(state, &place)?;
        let by_author =
            |held: &Map<String, Value>| held.get("attributedTo") == Some(&json!(author));
        if held.as_ref().is_some_and(by_author) {
            put_as(state, &place, &tombstone(id, author))?;
            for (name, position) in touched(state, "~announced", known_as)? {
                change(state, &name, &position, |item| announce(item, tombstone(id, author)))?;
            }
        }
    }
    Ok(())
}

fn is_deleted(state: &dyn State, id: &str, author: &str) -> Result<bool, StateError> {
    Ok(state.get(&key(&["~deleted", id, author]))?.is_some())
}

fn tombstone(id: &str, author: &str) -> Map<String, Value> {
    [("id", id), ("type", "Tombstone"), ("attributedTo", author)]
        .map(|(member, value)| (member.to_owned(), Value::from(value)))
        .into_iter()
        .collect()
}

fn announce(item: &mut Map<String, Value>, known: Map<String, Value>) {
    item.insert("announced".into(), Value::Object(known));
}

/// The items that a note leads to: actor names and positions.
fn touched(state: &dyn State, note: &str, id: &str) -> Result<Vec<(String, String)>, StateError> {
    let found = state.scan(&prefix(&[note, id]), None, MAX_TOUCHED)?;
    let place = |place: &str| {
        let mut parts = parts(place);
        let position = parts.pop()?;
        Some((parts.pop()?, position))
    };
    Ok(found.iter().filter_map(|(key, _)| place(key)).collect())
}

fn change(
    state: &mut dyn State,
    name: &str,
    position: &str,
    change: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), StateError> {
    let place = key(&[name, position]);
    let Some(mut item) = get_as::<Map<String, Value>>(state, &place)? else { return Ok(()) };
    change(&mut item);
    put_as(state, &place, &item)
}

/// The short form of an object: an id as it is, of a document what a list shows.
fn short(object: &Value) -> Value {
    let Value::Object(document) = object else {
        return id_of(object).map_or(Value::Null, Value::from);
    };
    let mut short = Map::new();
    for member in SUMMARY {
        match document.get(member) {
            Some(Value::String(text)) if text.len() > MAX_TEXT_BYTES => {
                short.insert("truncated".into(), true.into());
            }
            Some(value @ (Value::String(_) | Value::Bool(_))) => {
                short.insert(member.into(), value.clone());
            }
            // The first of several types names the object; other lists are left to `objects`.
            Some(Value::Array(items)) if member == "type" => {
                short.insert(member.into(), items.first().cloned().unwrap_or_default());
            }
            _ => {}
        }
    }
    Value::Object(short)
}
