//! Items as they are shown.

use fedsx_kernel::activity::{Activity, id_of};
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{StateError, StateView};
use serde_json::{Map, Value, json};

use super::super::common::{embedded, is_local_record, is_own};
use super::notes::is_deleted;
use super::{Item, fetched, shows};
use crate::display;
use crate::render::Bodies;

/// The item at a key; `None` where its entry cannot be read.
pub(super) fn render(
    state: &dyn StateView,
    bodies: &dyn Bodies,
    key: &[String],
    held: Value,
) -> Result<Option<Value>, StateError> {
    let shape = |reason: String| StateError::Shape { key: key.join(" "), reason };
    let Some(position) = key.last().and_then(|last| last.parse().ok()) else { return Ok(None) };
    let held: Item = serde_json::from_value(held).map_err(|e| shape(e.to_string()))?;
    let Some(record) = bodies.at(position)? else { return Ok(None) };
    let mut shown = entry(&record);
    match (record.activity.kind(), record.activity.object_id()) {
        ("Create", Some(object)) if held.deleted => {
            shown.insert("deleted".into(), true.into());
            shown.insert("object".into(), json!({ "id": object, "type": "Tombstone" }));
        }
        ("Announce", Some(object)) => {
            if let Some(announced) = announced(state, bodies, object, held)? {
                shown.insert("announced".into(), Value::Object(announced));
            }
        }
        _ => {}
    }
    Ok(Some(Value::Object(shown)))
}

/// What the entry itself tells.
fn entry(record: &Record) -> Map<String, Value> {
    let (activity, entry) = (&record.activity, &record.entry);
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
    item
}

/// The short form of an announced object that anyone may be shown.
fn announced(
    state: &dyn StateView,
    bodies: &dyn Bodies,
    name: &str,
    held: Item,
) -> Result<Option<Map<String, Value>>, StateError> {
    let record = if held.announced > 0 {
        bodies.at(held.announced)?
    } else {
        // It names an activity, which came before it.
        bodies.by_id(name)?
    };
    let Some(record) = record else { return Ok(None) };
    let said = if is_local_record(&record) {
        let Some(said) = fetched(&record.activity) else { return Ok(None) };
        said
    } else {
        Activity::clone(&record.activity)
    };
    let Some(id) = shows(&said).filter(|id| *id == name || said.id() == name) else {
        return Ok(None);
    };
    let author = said.actor();
    let deleted = held.deleted || is_deleted(state, id, author)?;
    let mut known = match embedded(&said).map(|(_, document)| display::object(document)) {
        Some(short) if !deleted => short,
        _ => Map::from_iter(
            [("id", id), ("type", "Tombstone")].map(|(k, v)| (k.to_owned(), v.into())),
        ),
    };
    known.insert("attributedTo".into(), author.into());
    if !deleted {
        known.insert("cid".into(), said.cid().to_string().into());
    }
    Ok(Some(known))
}

/// The short form of an object: an id as it is, of a document what a list shows.
fn short(object: &Value) -> Value {
    match object {
        Value::Object(document) => Value::Object(display::object(document)),
        other => id_of(other).map_or(Value::Null, Value::from),
    }
}
