//! Definitions: the genesis bundle, and what actors of this instance publish.

use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{State, StateError};
use serde_json::Value;

use crate::definition::{Definition, Kind};
use crate::records::GENESIS_ACTIVATED;
use crate::registry;

pub(super) fn fold(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    match &record.entry.stream {
        Stream::Local if activity.kind() == GENESIS_ACTIVATED => {
            let definitions = activity
                .object()
                .and_then(|object| object.get("definitions"))
                .and_then(Value::as_object);
            for (path, entry) in definitions.into_iter().flatten() {
                let document = entry.get("document").unwrap_or(&Value::Null);
                let definition = Definition::parse(document)
                    .map_err(|e| StateError::Shape { key: path.clone(), reason: e.to_string() })?;
                registry::put(state, &definition, "genesis")?;
            }
            Ok(())
        }
        Stream::Outbox(_) if Kind::of_type(activity.kind()).is_some() => {
            let Some(object) = activity.object() else { return Ok(()) };
            match Definition::published(activity.kind(), object) {
                Ok(definition) => registry::put(state, &definition, activity.id()),
                // Judged before it was appended; a definition that newer rules refuse is void.
                Err(_) => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
