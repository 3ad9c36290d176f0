//! An actor's keys, from its own statements and from what was fetched.
//!
//! Statements about keys are kept and folded again in the author's order whenever one more
//! arrives, so that arrival does not matter. What was fetched is merged in the order of the
//! `local` stream, which is this instance's own.

use fedsx_genesis::actor_keys;
use fedsx_genesis::records::ACTOR_FETCHED;
use fedsx_kernel::activity::{Activity, id_of};
use fedsx_kernel::keys::{Key, KeyHistory};
use fedsx_kernel::log::Record;
use fedsx_kernel::order::Order;
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, prefix, put_as};
use serde_json::Value;

use super::common::{Stamp, is_local_record};
use crate::error::FoldError;

/// Statements about keys that are kept of one actor.
const MAX_STATEMENTS: usize = 512;

/// Takes what a record says about keys; gives the actor whose keys may have changed.
pub(super) fn learn(state: &mut dyn State, record: &Record) -> Result<Option<String>, FoldError> {
    let activity = &record.activity;
    if is_local_record(record) {
        return if activity.kind() == ACTOR_FETCHED { fetched(state, record) } else { Ok(None) };
    }
    let speaks = actor_keys::concerns_author(activity)
        && (!actor_keys::introduced(activity).is_empty()
            || (activity.kind() == "Update" && actor_keys::rotation(activity).is_some()));
    if !speaks {
        return Ok(None);
    }
    let actor = activity.actor();
    let held = state.scan(&prefix(&["~keys", "said", actor]), None, MAX_STATEMENTS)?.len();
    if held >= MAX_STATEMENTS {
        let reason = format!("the actor made more than {MAX_STATEMENTS} statements about keys");
        return Err(FoldError::Undigestible(reason));
    }
    let mut statement = activity.document().clone();
    // The proof is not part of the identity, and nothing here asks for it again.
    statement.remove("proof");
    let place = key(&["~keys", "said", actor, &Stamp::of(activity).sortable()]);
    state.put(&place, Value::Object(statement));
    Ok(Some(actor.to_owned()))
}

fn fetched(state: &mut dyn State, record: &Record) -> Result<Option<String>, FoldError> {
    let activity = &record.activity;
    let Some(document) = activity.object() else { return Ok(None) };
    let Some(actor) = id_of(document) else { return Ok(None) };
    let served = activity
        .get("keyHistory")
        .and_then(|keys| serde_json::from_value::<Vec<Key>>(keys.clone()).ok());
    let fetched_key = key(&["~keys", "fetched", actor]);
    let known: KeyHistory = get_as(state, &fetched_key)?.unwrap_or_default();
    let fetched_ms = record.entry.meta.received_ms;
    let time = jiff::Timestamp::from_millisecond(fetched_ms).unwrap_or_default();
    let latest = Order::timed(fetched_ms);
    let merged = actor_keys::merge_fetched(&known, served, document, actor, latest, time);
    put_as(state, &fetched_key, &merged)?;
    Ok(Some(actor.to_owned()))
}

/// Every key of an actor: what was fetched, with the author's statements on top. A statement
/// that the origin had taken into account when it was asked changes nothing.
pub(super) fn keys(state: &dyn StateView, actor: &str) -> Result<Vec<Key>, StateError> {
    let mut history: KeyHistory =
        get_as(state, &key(&["~keys", "fetched", actor]))?.unwrap_or_default();
    for (place, statement) in
        state.scan(&prefix(&["~keys", "said", actor]), None, MAX_STATEMENTS)?
    {
        let activity = Activity::from_document(statement)
            .map_err(|e| StateError::Shape { key: place, reason: e.to_string() })?;
        if let Err(reason) = actor_keys::fold_keys(&mut history, &activity) {
            tracing::debug!(actor, cid = %activity.cid(), reason, "a key change has no effect");
        }
    }
    Ok(history.into())
}
