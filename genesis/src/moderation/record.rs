//! What the admission state holds of decisions.

use std::collections::{BTreeMap, HashSet};

use fedsx_kernel::Cid;
use fedsx_kernel::state::{self, StateError, StateView, key, parts, prefix};
use serde::{Deserialize, Serialize};

use super::{Action, Subject};

/// The type of the `local` record that says who made a decision that is for everyone, and why.
pub const MODERATION_NOTED: &str = "ModerationNoted";

const MODERATED: &str = "moderated";
const NOTE: &str = "moderation-note";
const LAST: &str = "moderation-last";

/// A decision that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stands {
    /// The CID of the activity.
    pub cid: String,
    /// Its id.
    pub id: String,
    /// From which list of others it was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The decisions about one subject that stand, oldest first.
pub type Row = BTreeMap<Action, Vec<Stands>>;

/// Who decided, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The id of the actor whose token decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The name of that token, which is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn place(subject: &Subject) -> String {
    key(&[MODERATED, &subject.to_string()])
}

/// What stands about exactly this subject.
///
/// # Errors
/// Where the state cannot be read.
pub fn row(state: &dyn StateView, subject: &Subject) -> Result<Row, StateError> {
    Ok(state::get_as(state, &place(subject))?.unwrap_or_default())
}

pub(super) fn put(
    state: &mut dyn state::State,
    subject: &Subject,
    row: &Row,
) -> Result<(), StateError> {
    if row.is_empty() {
        state.remove(&place(subject));
        return Ok(());
    }
    state::put_as(state, &place(subject), row)
}

/// The position in the log of the last decision or Undo of one; 0 where there was none.
///
/// # Errors
/// Where the state cannot be read.
pub fn last(state: &dyn StateView) -> Result<u64, StateError> {
    Ok(state::get_as(state, LAST)?.unwrap_or_default())
}

/// What [`last`] is read from; none where nothing was ever decided.
pub(super) fn last_decision(
    state: &dyn StateView,
) -> Result<Option<std::sync::Arc<serde_json::Value>>, StateError> {
    state.get_shared(LAST)
}

pub(super) fn put_last(state: &mut dyn state::State, global_seq: u64) {
    state.put(LAST, global_seq.into());
}

/// Up to `limit` subjects about which something stands, after `after`, in the order of their texts.
///
/// # Errors
/// Where the state cannot be read.
pub fn page(
    state: &dyn StateView,
    after: Option<&Subject>,
    limit: usize,
) -> Result<Vec<(Subject, Row)>, StateError> {
    let after = after.map(place);
    let found = state.scan(&prefix(&[MODERATED]), after.as_deref(), limit)?;
    found
        .into_iter()
        .map(|(at, value)| {
            let shape = |reason: String| StateError::Shape { key: at.clone(), reason };
            let text = parts(&at).pop().unwrap_or_default();
            let subject = text.parse().map_err(|e: super::SubjectError| shape(e.to_string()))?;
            let row = serde_json::from_value(value).map_err(|e| shape(e.to_string()))?;
            Ok((subject, row))
        })
        .collect()
}

/// The actors about whom something stands by their ids.
pub(super) fn actors(state: &dyn StateView) -> Result<HashSet<String>, StateError> {
    const PAGE: usize = 1024;
    let mut actors = HashSet::new();
    // Ids of actors begin with a scheme, as few domains do.
    for scheme in ["http", "HTTP"] {
        let below = format!("{}{scheme}", prefix(&[MODERATED]));
        let mut after: Option<String> = None;
        loop {
            let found = state.scan(&below, after.as_deref(), PAGE)?;
            let is_last = found.len() < PAGE;
            after = found.last().map(|(at, _)| at.clone());
            let ids = found.into_iter().filter_map(|(at, _)| parts(&at).pop());
            actors.extend(ids.filter(|id| id.contains("://")));
            if is_last {
                break;
            }
        }
    }
    Ok(actors)
}

/// Who made a decision that is for everyone, and why.
///
/// # Errors
/// Where the state cannot be read.
pub fn note(state: &dyn StateView, cid: &Cid) -> Result<Option<Note>, StateError> {
    state::get_as(state, &key(&[NOTE, &cid.to_string()]))
}

/// Makes what was noted that of the decision which it is the cause of.
pub(super) fn attribute(
    state: &mut dyn state::State,
    decision: &Cid,
    noted: &Cid,
) -> Result<(), StateError> {
    let Some(held) = note(state, noted)? else { return Ok(()) };
    state.remove(&key(&[NOTE, &noted.to_string()]));
    put_note(state, &decision.to_string(), &held)
}

pub(super) fn put_note(
    state: &mut dyn state::State,
    cid: &str,
    note: &Note,
) -> Result<(), StateError> {
    state::put_as(state, &key(&[NOTE, cid]), note)
}
