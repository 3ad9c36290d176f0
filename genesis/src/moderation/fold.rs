//! The admission fold: which decisions stand.

use fedsx_kernel::Base;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{State, StateError};
use serde_json::Value;

use super::record::{self, MODERATION_NOTED, Note, Stands};
use super::{decided, moderator, report, undone};

/// Changes the state by a record: a decision of the instance actor, or the Undo of one.
pub(crate) fn fold(base: &Base, state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    match &record.entry.stream {
        Stream::Local if activity.kind() == MODERATION_NOTED => return noted(state, record),
        Stream::Outbox(_) if activity.actor() == moderator(base) => {}
        _ => return Ok(()),
    }
    if let Some(cause) = &record.entry.meta.cause {
        record::attribute(state, activity.cid(), cause)?;
    }
    report::fold(state, record)?;
    if let Some((id, decision)) = undone(activity) {
        let mut row = record::row(state, &decision.subject)?;
        if let Some(standing) = row.get_mut(&decision.action) {
            standing.retain(|one| one.id != id);
            if standing.is_empty() {
                row.remove(&decision.action);
            }
        }
        record::put_last(state, record.entry.global_seq);
        return record::put(state, &decision.subject, &row);
    }
    let Some(decision) = decided(activity) else { return Ok(()) };
    let mut row = record::row(state, &decision.subject)?;
    row.entry(decision.action).or_default().push(Stands {
        cid: activity.cid().to_string(),
        id: activity.id().to_owned(),
        source: activity.get("source").and_then(Value::as_str).map(str::to_owned),
    });
    record::put_last(state, record.entry.global_seq);
    record::put(state, &decision.subject, &row)
}

/// Who decides and why, before the decision, whose cause is this record. Where the record names the
/// decision, it was made after it, as earlier versions did.
fn noted(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let Some(object) = record.activity.object() else { return Ok(()) };
    let note: Note = serde_json::from_value(object.clone()).unwrap_or_default();
    let itself = record.activity.cid().to_string();
    let of = object.get("cid").and_then(Value::as_str).unwrap_or(&itself);
    record::put_note(state, of, &note)
}
