//! `objects`: the newest version of every object.
//!
//! Versions are kept for each author that speaks of an object; the one who created it is its
//! owner (of several, all of one origin, the one with the smallest id), and only the owner's
//! statements show. So a Delete by somebody else has no effect, whichever comes first.
//!
//! A row says which activity has the newest version; the document is read from the log.

use fedsx_kernel::Cid;
use fedsx_kernel::activity::kind_of;
use fedsx_kernel::address::same_origin;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView, key};
use serde_json::{Map, Value, json};

use super::common::{
    Stamp, embedded, is_actor, is_local_record, is_own, is_public, is_public_object,
};
use super::said::{self, AllSaid, Said};
use crate::display;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};
use crate::render::Bodies;

/// Keys `[object id]` with `{id, type, latest, cid, attributedTo, order, deleted, versions,
/// public}`:
/// `latest` is the newest document made safe to show ([`display::document`]), `cid` the activity that said it. A deleted object is a
/// `Tombstone` with its `formerType` and without `latest`. What is not `public` is shown to its
/// author and to those who received the activity `cid`; not to who operates the instance either,
/// who has no need to read what people write to each other.
pub struct Objects;

impl Fold for Objects {
    fn name(&self) -> &'static str {
        "objects"
    }

    fn version(&self) -> u32 {
        3
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn verbs(&self) -> Option<&'static [&'static str]> {
        Some(&["Create", "Update", "Delete"])
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
    }

    fn serves(&self, older: u32) -> bool {
        // Before, rows were whole documents.
        older >= 3
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn render(
        &self,
        _: &dyn StateView,
        bodies: &dyn Bodies,
        key: &[String],
        held: Value,
    ) -> Result<Option<Value>, StateError> {
        let [id] = key else { return Ok(None) };
        said::of_row(id, &held)?.owner().map(|said| shown(bodies, id, said)).transpose()
    }

    fn public_part(&self, _: &[String], held: &Value) -> Option<Value> {
        said::is_public(held).then(|| held.clone())
    }

    fn shown_to(&self, _: &[String], value: &Value, reader: &Reader) -> Shown {
        let member = |name| value.get(name);
        let public = member("public").and_then(Value::as_bool).unwrap_or(false);
        let author = member("attributedTo").and_then(Value::as_str);
        if public || author.is_some_and(|author| reader.is(author)) {
            Shown::Whole
        } else {
            Shown::to_audience_in(value)
        }
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let activity = &record.activity;
        if is_local_record(record) {
            return Ok(());
        }
        let (author, stamp) = (activity.actor(), Stamp::of(activity));
        match activity.kind() {
            "Create" | "Update" => {
                let Some((id, document)) = embedded(activity) else { return Ok(()) };
                if id == author || is_actor(document) || !is_own(author, id, document) {
                    return Ok(());
                }
                let created = activity.kind() == "Create";
                let public = is_public(activity) || is_public_object(document);
                change(state, id, author, |said| said.version(&stamp, created, public))?;
            }
            "Delete" => {
                let Some(id) = activity.object_id() else { return Ok(()) };
                if id == author || !same_origin(author, id) {
                    return Ok(());
                }
                change(state, id, author, |said| said.end(&stamp))?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn change(
    state: &mut dyn State,
    id: &str,
    author: &str,
    change: impl FnOnce(&mut Said),
) -> Result<(), StateError> {
    let place = key(&[id]);
    let mut all = match state.get(&place)? {
        Some(held) => said::of_row(id, &held)?,
        None => AllSaid::default(),
    };
    if let Some(said) = all.by(author) {
        change(said);
        state.put(&place, all.to_row(id));
    }
    Ok(())
}

/// The row of an object as it is shown.
fn shown(bodies: &dyn Bodies, id: &str, said: &Said) -> Result<Value, StateError> {
    let document = match &said.newest {
        Some(newest) => document(bodies, id, &newest.cid)?,
        None => None,
    };
    let kind = document.as_ref().and_then(kind_of).map(str::to_owned);
    let mut shown = json!({
        "id": id,
        "type": if said.deleted { Some("Tombstone") } else { kind.as_deref() },
        "cid": said.newest.as_ref().map_or(&said.latest.cid, |newest| &newest.cid),
        "attributedTo": said.author,
        "order": said.latest.order,
        "deleted": said.deleted,
        "versions": said.versions,
        "public": said.public,
    });
    if let Value::Object(members) = &mut shown {
        match (said.deleted, kind, document) {
            (true, Some(kind), _) => drop(members.insert("formerType".into(), kind.into())),
            (false, _, Some(document)) => {
                let document = display::document(&without_hidden(document));
                members.insert("latest".into(), Value::Object(document));
            }
            _ => {}
        }
    }
    Ok(shown)
}

/// The object in the body with a CID.
fn document(
    bodies: &dyn Bodies,
    id: &str,
    cid: &str,
) -> Result<Option<Map<String, Value>>, StateError> {
    let Ok(cid) = cid.parse::<Cid>() else { return Ok(None) };
    let record = bodies.first(&cid)?;
    let embedded = record.as_ref().and_then(|record| embedded(&record.activity));
    Ok(embedded.filter(|(found, _)| *found == id).map(|(_, document)| document.clone()))
}

/// Whoever is named in `bto` and `bcc` is known to the author only (ActivityPub, section 6).
fn without_hidden(mut document: Map<String, Value>) -> Map<String, Value> {
    for member in ["bto", "bcc"] {
        document.remove(member);
    }
    document
}
