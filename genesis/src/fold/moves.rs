//! Who moved where: Moves of our own actors, and those from elsewhere that were found to count.

use fedsx_kernel::activity::id_of;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{self, State, StateError, key};
use serde_json::{Value, json};

use crate::actors;
use crate::moves::{self, Moved};
use crate::records::MOVE_CONFIRMED;

pub(super) fn fold(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let Some((actor, target)) = counts(record) else { return Ok(()) };
    let at_ms = record.entry.meta.received_ms;
    for (what, of, with) in [("moved", actor, target), ("arrived", target, actor)] {
        state::put_as(state, &key(&[what, of]), &Moved { with: with.to_owned(), at_ms })?;
    }
    if matches!(record.entry.stream, Stream::Outbox(_))
        && let Some(mut own) = actors::actor(state, actor)?
        && let Some(document) = own.document.as_object_mut()
    {
        document.insert("movedTo".into(), json!(target));
        actors::put(state, actor, &own)?;
    }
    Ok(())
}

/// The old and the new actor, of a record by which a Move counts.
fn counts(record: &Record) -> Option<(&str, &str)> {
    let activity = &record.activity;
    match record.entry.stream {
        Stream::Local if activity.kind() == MOVE_CONFIRMED => {
            let object = activity.object()?;
            let member = |name| object.get(name).and_then(Value::as_str);
            Some((member("actor")?, member("target")?))
        }
        Stream::Outbox(_) => Some((activity.object().and_then(id_of)?, moves::target(activity)?)),
        _ => None,
    }
}
