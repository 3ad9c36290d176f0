//! The newest statement of each author elsewhere, and two statements at one position.

use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{self, State, StateError, StateView, key, parts, prefix};
use fedsx_kernel::{Base, Order};
use serde::Serialize;
use serde_json::{Value, json};

/// Where the number of equivocations stands.
const EQUIVOCATION_COUNT: &str = "equivocations";

pub(super) fn fold(base: &Base, state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    if record.entry.stream == Stream::Local || base.is_local(activity.actor()) {
        return Ok(());
    }
    let order = activity.order();
    let is_newest = order > latest(state, activity.actor())?;
    if is_newest {
        state::put_as(state, &key(&["latest", activity.actor()]), &order)?;
    }
    let Some((epoch, seq)) = activity.position() else { return Ok(()) };
    let (epoch, seq) = (format!("{epoch:010}"), format!("{seq:020}"));
    let place = key(&["position", activity.actor(), &epoch, &seq]);
    let cid = activity.cid().to_string();
    // Under a number that is greater than all that were seen, nothing can stand.
    let held = if is_newest { None } else { state.get(&place)? };
    match held {
        None => state.put(&place, cid.into()),
        Some(held) if held == json!(cid) => {}
        Some(held) => {
            tracing::warn!(actor = activity.actor(), %epoch, %seq, %cid, "equivocation");
            let place = key(&["equivocation", activity.actor(), &epoch, &seq, &cid]);
            state.put(&place, json!({ "first": held, "other": cid }));
            let count = equivocation_count(state)?.saturating_add(1);
            state.put(EQUIVOCATION_COUNT, count.into());
        }
    }
    Ok(())
}

/// Two statements of one author under one number (same actor, epoch and seq, other CID).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Equivocation {
    /// Where the list goes on after this one.
    pub id: String,
    /// The author.
    pub actor: String,
    /// The number.
    pub epoch: u64,
    /// The number.
    pub seq: u64,
    /// The statement that came first.
    pub first: String,
    /// The one that came later.
    pub other: String,
}

/// How many equivocations were seen.
pub fn equivocation_count(state: &dyn StateView) -> Result<u64, StateError> {
    Ok(state::get_as(state, EQUIVOCATION_COUNT)?.unwrap_or(0))
}

/// Equivocations by author and number, from after the one with the id `after`.
pub fn equivocations(
    state: &dyn StateView,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Equivocation>, StateError> {
    let below = prefix(&["equivocation"]);
    let after = after.map(|id| {
        // Only the actor's id, which comes first, may have spaces.
        let mut parts: Vec<&str> = id.rsplitn(4, ' ').collect();
        parts.reverse();
        format!("{below}{}", key(&parts))
    });
    let found = state.scan(&below, after.as_deref(), limit)?;
    found
        .into_iter()
        .map(|(place, value)| {
            let shape =
                |reason: &str| StateError::Shape { key: place.clone(), reason: reason.to_owned() };
            let parts = parts(&place);
            let [_, actor, epoch, seq, other] = parts.as_slice() else {
                return Err(shape("five parts"));
            };
            let number = |text: &str| text.parse().map_err(|_| shape("not a number"));
            let first = value.get("first").and_then(Value::as_str);
            Ok(Equivocation {
                id: [actor, epoch, seq, other].map(String::as_str).join(" "),
                actor: actor.clone(),
                epoch: number(epoch)?,
                seq: number(seq)?,
                first: first.ok_or_else(|| shape("no first statement"))?.to_owned(),
                other: other.clone(),
            })
        })
        .collect()
}

/// The newest statement that was seen of an author elsewhere.
pub(super) fn latest(state: &dyn StateView, actor: &str) -> Result<Order, StateError> {
    Ok(state::get_as(state, &key(&["latest", actor]))?.unwrap_or_default())
}
