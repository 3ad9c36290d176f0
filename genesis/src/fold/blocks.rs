//! Blocks by actors of this instance, each for itself. Those of the instance actor count for all of
//! it (`moderation`).

use fedsx_kernel::Order;
use fedsx_kernel::activity::id_of;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{self, State, StateError, StateView, key};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Block {
    blocked: Option<Order>,
    lifted: Option<Order>,
}

/// Whether `actor` blocks `target`.
pub fn blocks(state: &dyn StateView, actor: &str, target: &str) -> Result<bool, StateError> {
    let block: Option<Block> = state::get_as(state, &key(&["block", actor, target]))?;
    Ok(block.is_some_and(|block| block.blocked > block.lifted))
}

pub(super) fn fold(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    let Stream::Outbox(_) = record.entry.stream else { return Ok(()) };
    let (target, lifts) = match activity.kind() {
        "Block" => (activity.object_id(), false),
        "Undo" => {
            // Our own Undo always embeds what it undoes.
            let undone = activity.object().filter(|object| {
                object.get("type").and_then(serde_json::Value::as_str) == Some("Block")
            });
            (undone.and_then(|object| object.get("object")).and_then(id_of), true)
        }
        _ => return Ok(()),
    };
    let Some(target) = target else { return Ok(()) };
    let place = key(&["block", activity.actor(), target]);
    let mut block: Block = state::get_as(state, &place)?.unwrap_or_default();
    let order = Some(activity.order());
    if lifts {
        block.lifted = block.lifted.max(order);
    } else {
        block.blocked = block.blocked.max(order);
    }
    state::put_as(state, &place, &block)
}
