//! Who owns an object that was made here, and which activity states its newest version.

use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{self, State, StateError, StateView, key};
use fedsx_kernel::{Cid, Order};
use serde::{Deserialize, Serialize};

/// An object of one of our actors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owned {
    /// The id of its author.
    pub actor: String,
    /// The activity that states the newest version.
    pub cid: Cid,
    /// Its order.
    pub order: Order,
    /// Whether it was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// What is known of an object that was made here.
pub fn owned(state: &dyn StateView, id: &str) -> Result<Option<Owned>, StateError> {
    state::get_as(state, &key(&["object", id]))
}

pub(super) fn fold(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    let Stream::Outbox(_) = record.entry.stream else { return Ok(()) };
    let deleted = match activity.kind() {
        "Create" | "Update" => false,
        "Delete" => true,
        _ => return Ok(()),
    };
    let Some(id) = activity.object_id() else { return Ok(()) };
    let entry = Owned {
        actor: activity.actor().to_owned(),
        cid: *activity.cid(),
        order: activity.order(),
        deleted,
    };
    state::put_as(state, &key(&["object", id]), &entry)
}
