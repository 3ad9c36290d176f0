//! The order of one author's statements.
//!
//! Statements are ordered by their author, never by arrival: by `(epoch, seq)` where the author
//! numbers them, else by `updated`, then `published`.

use serde::{Deserialize, Serialize};

/// A place in the order of one author's statements; a later statement compares greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Order {
    /// How often the author's instance was restored from a backup.
    pub epoch: u64,
    /// Position in the author's outbox.
    pub seq: u64,
    /// `updated`, else `published`, in milliseconds since 1970; 0 where `seq` orders.
    pub time_ms: i64,
}

impl Order {
    /// The order of a numbered statement.
    pub const fn numbered(epoch: u64, seq: u64) -> Self {
        Self { epoch, seq, time_ms: 0 }
    }

    /// The order of a statement that only has a time.
    pub const fn timed(time_ms: i64) -> Self {
        Self { epoch: 0, seq: 0, time_ms }
    }
}
