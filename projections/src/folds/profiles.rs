//! The newest document of each actor: as it said itself, or as it was fetched.

use fedsx_genesis::actor_keys::concerns_author;
use fedsx_genesis::records::ACTOR_FETCHED;
use fedsx_kernel::activity::id_of;
use fedsx_kernel::log::Record;
use fedsx_kernel::order::Order;
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{Stamp, embedded, is_local_record};

/// An actor document and where it comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Profile {
    stamp: Stamp,
    /// When it was said or fetched, in milliseconds since 1970.
    pub(super) time_ms: i64,
    pub(super) document: Map<String, Value>,
}

impl Profile {
    /// The statement's place among the author's; of a fetched document the time only.
    pub(super) fn order(&self) -> Order {
        self.stamp.order
    }
}

/// Takes the actor document that a record embeds; gives the actor's id.
pub(super) fn learn(state: &mut dyn State, record: &Record) -> Result<Option<String>, StateError> {
    let activity = &record.activity;
    let received_ms = record.entry.meta.received_ms;
    let (source, id, document, time_ms) = if is_local_record(record) {
        let Some(document) = activity.object() else { return Ok(None) };
        match (id_of(document), document.as_object()) {
            (Some(id), Some(document)) if activity.kind() == ACTOR_FETCHED => {
                ("fetched", id, document, received_ms)
            }
            _ => return Ok(None),
        }
    } else {
        match embedded(activity) {
            Some((id, document))
                if concerns_author(activity) && matches!(activity.kind(), "Create" | "Update") =>
            {
                ("said", id, document, activity.published_ms().unwrap_or(received_ms))
            }
            _ => return Ok(None),
        }
    };
    let stamp = Stamp::of(activity);
    let place = key(&["~profile", source, id]);
    let held: Option<Profile> = get_as(state, &place)?;
    if is_deleted(state, id)? || held.is_some_and(|held| held.stamp >= stamp) {
        return Ok(None);
    }
    put_as(state, &place, &Profile { stamp, time_ms, document: document.clone() })?;
    Ok(Some(id.to_owned()))
}

/// Notes that an actor deleted itself and drops its documents.
pub(super) fn delete(state: &mut dyn State, id: &str) {
    state.put(&key(&["~deleted", id]), Value::Bool(true));
    state.remove(&key(&["~profile", "said", id]));
    state.remove(&key(&["~profile", "fetched", id]));
}

/// Whether an actor deleted itself.
pub(super) fn is_deleted(state: &dyn StateView, id: &str) -> Result<bool, StateError> {
    Ok(state.get(&key(&["~deleted", id]))?.is_some())
}

/// The document that counts: of what the actor said and what was fetched, the later one.
pub(super) fn newest(state: &dyn StateView, id: &str) -> Result<Option<Profile>, StateError> {
    let said: Option<Profile> = get_as(state, &key(&["~profile", "said", id]))?;
    let fetched = self::fetched(state, id)?;
    Ok(match (said, fetched) {
        (Some(said), Some(fetched)) if fetched.time_ms > said.time_ms => Some(fetched),
        (said, fetched) => said.or(fetched),
    })
}

/// The newest document that was fetched.
pub(super) fn fetched(state: &dyn StateView, id: &str) -> Result<Option<Profile>, StateError> {
    get_as(state, &key(&["~profile", "fetched", id]))
}
