//! Actors: documents, keys, deletion.

use fedsx_kernel::activity::id_of;
use fedsx_kernel::keys::Key;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{State, StateError};
use fedsx_kernel::{Base, Order};
use serde_json::Value;

use super::positions::latest;
use crate::actor_keys;
use crate::actors::{self, ActorState};
use crate::records::ACTOR_FETCHED;

pub(super) fn fold(base: &Base, state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    if record.entry.stream == Stream::Local {
        return if activity.kind() == ACTOR_FETCHED { fetched(state, record) } else { Ok(()) };
    }
    if !actor_keys::concerns_author(activity) {
        return Ok(());
    }
    let id = activity.actor();
    let known = actors::actor(state, id)?;
    let order = activity.order();
    match activity.kind() {
        "Create" | "Update" => {
            // An actor elsewhere is known by fetching it; a push alone introduces nobody.
            if known.is_none() && !base.is_local(id) {
                return Ok(());
            }
            let mut actor = known.unwrap_or_default();
            if actor.deleted {
                return Ok(());
            }
            if let Err(reason) = actor_keys::fold_keys(&mut actor.keys, activity) {
                tracing::warn!(actor = id, cid = %activity.cid(), reason, "a key change has no effect");
            }
            if let Some(document @ Value::Object(_)) = activity.object()
                && (actor.document.is_null() || order >= actor.order)
            {
                actor.document = document.clone();
                actor.order = order;
            }
            actors::put(state, id, &actor)
        }
        "Delete" => {
            let mut actor = known.unwrap_or_default();
            actor.deleted = true;
            actor.document = Value::Null;
            // An end is an end, whatever was said before or after it and in which order it came.
            actor.order = Order::default();
            actors::put(state, id, &actor)
        }
        _ => Ok(()),
    }
}

fn fetched(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let Some(document) = record.activity.object() else { return Ok(()) };
    let Some(id) = id_of(document) else { return Ok(()) };
    let mut actor = actors::actor(state, id)?.unwrap_or_default();
    let served = record
        .activity
        .get("keyHistory")
        .and_then(|keys| serde_json::from_value::<Vec<Key>>(keys.clone()).ok());
    let seen = latest(state, id)?;
    let fetched_ms = record.entry.meta.received_ms;
    let time = jiff::Timestamp::from_millisecond(fetched_ms).unwrap_or_default();
    let keys = actor_keys::merge_fetched(&actor.keys, served, document, id, seen, time);
    actor = ActorState {
        document: document.clone(),
        order: actor.order.max(seen),
        keys,
        deleted: false,
        fetched_ms,
    };
    actors::put(state, id, &actor)
}
