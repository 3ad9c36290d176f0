//! How long the chain of causes behind an activity is.

use fedsx_kernel::Cid;
use fedsx_kernel::log::{Log, Record, StoreError};
use serde_json::Value;

/// The longest chain of causes that sets triggers off: what is derived from it sets none off.
pub const MAX_CHAIN: usize = 8;

/// The number of activities in this log of which each caused the next, up to this one, at most
/// [`MAX_CHAIN`]. It is followed, not taken from what a sender says; where a sender leaves a cause
/// out, the limit on how often a trigger is set off remains.
pub(super) fn length(log: &Log, record: &Record) -> Result<usize, StoreError> {
    let mut length = 0;
    let mut cause = cause_of(record);
    while let Some(cid) = cause.filter(|_| length < MAX_CHAIN) {
        length += 1;
        cause = log.first(&cid)?.as_ref().and_then(cause_of);
    }
    Ok(length)
}

fn cause_of(record: &Record) -> Option<Cid> {
    let said = || record.activity.get("cause").and_then(Value::as_str)?.parse().ok();
    record.entry.meta.cause.or_else(said)
}
