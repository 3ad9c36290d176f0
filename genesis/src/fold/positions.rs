//! The newest statement of each author elsewhere, and two statements at one position.

use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{self, State, StateError, StateView, key};
use fedsx_kernel::{Base, Order};
use serde_json::json;

pub(super) fn fold(base: &Base, state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    if record.entry.stream == Stream::Local || base.is_local(activity.actor()) {
        return Ok(());
    }
    let order = activity.order();
    if order > latest(state, activity.actor())? {
        state::put_as(state, &key(&["latest", activity.actor()]), &order)?;
    }
    let Some((epoch, seq)) = activity.position() else { return Ok(()) };
    let (epoch, seq) = (format!("{epoch:010}"), format!("{seq:020}"));
    let place = key(&["position", activity.actor(), &epoch, &seq]);
    let cid = activity.cid().to_string();
    match state.get(&place)? {
        None => state.put(&place, cid.into()),
        Some(held) if held == json!(cid) => {}
        Some(held) => {
            tracing::warn!(actor = activity.actor(), %epoch, %seq, %cid, "equivocation");
            let place = key(&["equivocation", activity.actor(), &epoch, &seq, &cid]);
            state.put(&place, json!({ "first": held, "other": cid }));
        }
    }
    Ok(())
}

/// The newest statement that was seen of an author elsewhere.
pub(super) fn latest(state: &dyn StateView, actor: &str) -> Result<Order, StateError> {
    Ok(state::get_as(state, &key(&["latest", actor]))?.unwrap_or_default())
}
