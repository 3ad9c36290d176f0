//! `objects`: the newest version of every object.
//!
//! Versions are kept for each author that speaks of an object; the one who created it is its
//! owner (of several, all of one origin, the one with the smallest id), and only the owner's
//! statements show. So a Delete by somebody else has no effect, whichever comes first.

use fedsx_kernel::activity::kind_of;
use fedsx_kernel::address::same_origin;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, parts, prefix, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::common::{
    Stamp, embedded, is_actor, is_local_record, is_own, is_public, is_public_object,
};
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};

/// Keys `[object id]` with `{id, type, latest, cid, attributedTo, order, deleted, versions,
/// public}`:
/// `latest` is the newest document, `cid` the activity that said it. A deleted object is a
/// `Tombstone` with its `formerType` and without `latest`. What is not `public` is shown to its
/// author and to those who received the activity `cid`; not to who operates the instance either,
/// who has no need to read what people write to each other.
pub struct Objects;

/// Authors of one object that are looked at.
const MAX_AUTHORS: usize = 16;

/// What one author said of an object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Said {
    created: bool,
    deleted: bool,
    versions: u64,
    newest: Option<Stamp>,
    kind: Option<String>,
    document: Option<Map<String, Value>>,
    /// Whether anyone may read the newest version.
    public: bool,
    /// The newest of creations, changes and deletions.
    latest: Stamp,
}

impl Fold for Objects {
    fn name(&self) -> &'static str {
        "objects"
    }

    fn version(&self) -> u32 {
        2
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
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
        let id = match activity.kind() {
            "Create" | "Update" => {
                let Some((id, document)) = embedded(activity) else { return Ok(()) };
                if id == author || is_actor(document) || !is_own(author, id, document) {
                    return Ok(());
                }
                let mut said = said(state, id, author)?;
                said.created |= activity.kind() == "Create";
                said.versions = said.versions.saturating_add(1);
                if said.newest.as_ref().is_none_or(|newest| *newest < stamp) {
                    said.newest = Some(stamp.clone());
                    said.public = is_public(activity) || is_public_object(document);
                    said.kind = kind_of(document).map(str::to_owned);
                    said.document = (!said.deleted).then(|| without_hidden(document));
                }
                said.latest = said.latest.max(stamp);
                put_as(state, &said_key(id, author), &said)?;
                id
            }
            "Delete" => {
                let Some(id) = activity.object_id() else { return Ok(()) };
                if id == author || !same_origin(author, id) {
                    return Ok(());
                }
                let mut said = said(state, id, author)?;
                said.deleted = true;
                said.document = None;
                said.latest = said.latest.max(stamp);
                put_as(state, &said_key(id, author), &said)?;
                id
            }
            _ => return Ok(()),
        };
        Ok(show(state, id)?)
    }
}

/// Whoever is named in `bto` and `bcc` is known to the author only (ActivityPub, section 6).
fn without_hidden(document: &Map<String, Value>) -> Map<String, Value> {
    let mut document = document.clone();
    for member in ["bto", "bcc"] {
        document.remove(member);
    }
    document
}

fn said_key(id: &str, author: &str) -> String {
    key(&["~said", id, author])
}

fn said(state: &dyn StateView, id: &str, author: &str) -> Result<Said, StateError> {
    Ok(get_as(state, &said_key(id, author))?.unwrap_or_default())
}

fn show(state: &mut dyn State, id: &str) -> Result<(), StateError> {
    let mut owner: Option<(String, Said)> = None;
    for (said_key, value) in state.scan(&prefix(&["~said", id]), None, MAX_AUTHORS)? {
        let said: Said = serde_json::from_value(value)
            .map_err(|e| StateError::Shape { key: said_key.clone(), reason: e.to_string() })?;
        // Keys come in the order of authors, so that the first who created it is the owner.
        if owner.as_ref().is_none_or(|(_, held)| said.created && !held.created) {
            owner = parts(&said_key).pop().map(|author| (author, said));
        }
    }
    let Some((author, said)) = owner else { return Ok(()) };
    let mut shown = json!({
        "id": id,
        "type": if said.deleted { Some("Tombstone") } else { said.kind.as_deref() },
        "cid": said.newest.as_ref().map_or(&said.latest.cid, |newest| &newest.cid),
        "attributedTo": author,
        "order": said.latest.order,
        "deleted": said.deleted,
        "versions": said.versions,
        "public": said.public,
    });
    if let Value::Object(members) = &mut shown {
        if let (true, Some(kind)) = (said.deleted, said.kind) {
            members.insert("formerType".into(), kind.into());
        }
        if let Some(document) = said.document {
            members.insert("latest".into(), Value::Object(document));
        }
    }
    state.put(&key(&[id]), shown);
    Ok(())
}
