//! Objects whose content was erased here: late copies of it are not taken in again.

use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{State, StateError};
use serde_json::Value;

use crate::erasure;
use crate::records::BODY_ERASED;

pub(super) fn fold(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    if record.entry.stream != Stream::Local || activity.kind() != BODY_ERASED {
        return Ok(());
    }
    let object = activity.object().and_then(|about| about.get("object")).and_then(Value::as_str);
    if let Some(object) = object {
        state.put(&erasure::place(object), Value::Bool(true));
    }
    Ok(())
}
