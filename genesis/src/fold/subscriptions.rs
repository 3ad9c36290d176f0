//! Who subscribed to what: `subscriber, name, topic, actor` for each actor of this instance.

use fedsx_kernel::activity::{Activity, id_of};
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{self, State, StateError, key};
use serde_json::Value;

use crate::published::subscription::{SUBSCRIBER, topic};

pub(super) fn fold(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let Stream::Outbox(_) = record.entry.stream else { return Ok(()) };
    let activity = &record.activity;
    match activity.kind() {
        "Subscribe" => {
            let object = activity.object();
            if let Some(place) =
                object.and_then(|object| place(object, activity.get("topic"), activity))
            {
                state.put(&place, activity.id().into());
            }
            Ok(())
        }
        "Undo" => {
            let Some(undone) = activity.object() else { return Ok(()) };
            let subscribed = undone.get("type").and_then(Value::as_str) == Some("Subscribe");
            let object = undone.get("object").filter(|_| subscribed);
            let Some(place) =
                object.and_then(|object| place(object, undone.get("topic"), activity))
            else {
                return Ok(());
            };
            // A later subscription to the same stands.
            let held: Option<String> = state::get_as(state, &place)?;
            if held.as_deref() == id_of(undone) {
                state.remove(&place);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn place(object: &Value, named: Option<&Value>, activity: &Activity) -> Option<String> {
    let name = object.get("name").and_then(Value::as_str)?;
    let named = named.and_then(Value::as_str).map(topic).unwrap_or_default();
    Some(key(&[SUBSCRIBER, name, &named, activity.actor()]))
}
