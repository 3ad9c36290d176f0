//! What the admission state knows of actors, hosted here or elsewhere.

use std::sync::Arc;

use fedsx_kernel::address::NameError;
use fedsx_kernel::keys::KeyHistory;
use fedsx_kernel::state::{self, State, StateError, StateView, key};
use fedsx_kernel::{ActorName, Base, Order};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kept::{Keepable, Kept};

/// The names of the types that are actors (ActivityStreams 2.0 Vocabulary, section 3.2).
pub const ACTOR_TYPES: [&str; 5] = ["Person", "Service", "Group", "Application", "Organization"];

/// An actor as the admission state keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActorState {
    /// The newest actor document.
    pub document: Value,
    /// The order of the statement that said so.
    pub order: Order,
    /// Every key that it ever had.
    pub keys: KeyHistory,
    /// Whether it was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// When the document was last fetched, in milliseconds since 1970; 0 for our own.
    #[serde(default)]
    pub fetched_ms: i64,
}

impl ActorState {
    /// Whether Follows wait for a decision of the actor.
    pub fn approves_followers(&self) -> bool {
        self.document.get("manuallyApprovesFollowers").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The id of its followers collection.
    pub fn followers(&self) -> Option<&str> {
        self.document.get("followers").and_then(Value::as_str)
    }
}

/// Whether a type is one of an actor.
pub fn is_actor_type(kind: &str) -> bool {
    ACTOR_TYPES.contains(&kind)
}

/// What is known of an actor.
pub fn actor(state: &dyn StateView, id: &str) -> Result<Option<ActorState>, StateError> {
    state::get_as(state, &key(&["actor", id]))
}

/// An actor as the admission state keeps it, to be looked at without a copy: each append asks.
#[derive(Clone, Debug)]
pub struct Held(Arc<Value>);

impl Held {
    /// The row ([`ActorState`] as JSON): the same allocation until something is stated about the actor.
    pub fn row(&self) -> &Arc<Value> {
        &self.0
    }

    /// The newest document.
    pub fn document(&self) -> &Value {
        self.0.get("document").unwrap_or(&Value::Null)
    }

    /// Whether the actor was deleted.
    pub fn is_deleted(&self) -> bool {
        self.0.get("deleted").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The id of the followers collection.
    pub fn followers(&self) -> Option<&str> {
        self.document().get("followers").and_then(Value::as_str)
    }
}

/// What is known of an actor, without a copy.
pub fn held(state: &dyn StateView, id: &str) -> Result<Option<Held>, StateError> {
    Ok(state.get_shared(&key(&["actor", id]))?.map(Held))
}

/// Whether an actor was deleted; `None` where it is unknown.
pub fn deleted(state: &dyn StateView, id: &str) -> Result<Option<bool>, StateError> {
    Ok(held(state, id)?.map(|held| held.is_deleted()))
}

/// Keys of actors that were read last.
pub(crate) struct Histories(Kept<KeyHistory>);

/// Bytes of keys that are kept, about.
const KEPT_BYTES: u64 = 2 * 1024 * 1024;
/// What a key takes in memory, in bytes, about.
const KEY_BYTES: usize = 1000;

impl Keepable for KeyHistory {
    fn bytes(&self) -> usize {
        self.all().len() * KEY_BYTES
    }
}

impl Histories {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(Kept::new(KEPT_BYTES))
    }

    /// The keys of an actor, with their history; the document is not read for it.
    pub(crate) fn of(
        &self,
        state: &dyn StateView,
        id: &str,
    ) -> Result<Option<KeyHistory>, StateError> {
        let place = key(&["actor", id]);
        let Some(held) = state.get_shared(&place)? else { return Ok(None) };
        let read = |held: &Value| {
            KeyHistory::deserialize(held.get("keys").unwrap_or(&Value::Null))
                .map_err(|e| StateError::Shape { key: place, reason: e.to_string() })
        };
        self.0.of(id, held, read).map(Some)
    }
}

/// The newest document of an actor.
pub fn document(state: &dyn StateView, id: &str) -> Result<Option<Value>, StateError> {
    Ok(held(state, id)?.map(|held| held.document().clone()))
}

/// Actors that live at a base, in the order of their names: up to `limit` after the name `after`.
///
/// # Errors
/// Where the state cannot be read.
pub fn hosted(
    state: &dyn StateView,
    base: &Base,
    after: Option<&ActorName>,
    limit: usize,
) -> Result<Vec<(ActorName, ActorState)>, StateError> {
    let below = key(&["actor", &format!("{base}/actors/")]);
    let after = after.map(|name| key(&["actor", &base.actor(name)]));
    let found = state.scan(&below, after.as_deref(), limit)?;
    found
        .into_iter()
        .map(|(place, value)| {
            let shape = |reason: String| StateError::Shape { key: place.clone(), reason };
            let name = place.get(below.len()..).unwrap_or_default();
            let name = name.parse().map_err(|e: NameError| shape(e.to_string()))?;
            let actor = serde_json::from_value(value).map_err(|e| shape(e.to_string()))?;
            Ok((name, actor))
        })
        .collect()
}

pub(crate) fn put(state: &mut dyn State, id: &str, actor: &ActorState) -> Result<(), StateError> {
    state::put_as(state, &key(&["actor", id]), actor)
}
