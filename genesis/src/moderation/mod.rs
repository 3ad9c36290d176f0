//! Moderation: what this instance has decided about others, and about actors of its own.
//!
//! Every decision is an activity of the instance actor, and is taken back by an `Undo` of it: a
//! `Block` (ActivityStreams 2.0), or a `Moderate`, which genesis defines for what ActivityStreams
//! has no verb. The admission state holds what stands, by what it is about; [`standing`] is the
//! one place that says what follows from it. See `plans/moderation.md`.
//!
//! | key | value |
//! |---|---|
//! | `moderated`, subject | the decisions about it that stand, by action |
//! | `report-resolved`, id | by what the report was dealt with |
//! | `moderation-note`, CID | who decided this and why, where the activity is for everyone; by the CID of the record until there is a decision |
//! | `moderation-last` | the position of the last decision or Undo of one |

pub mod blocklist;
mod configured;
mod decision;
mod fold;
mod hidden;
mod record;
pub mod report;
pub mod simulation;
mod standing;
mod subject;

use fedsx_kernel::Base;

pub use configured::configure;
pub use decision::{Action, Decision, MODERATE, decided, undone};
pub(crate) use fold::fold;
pub use hidden::Hidden;
pub use record::{MODERATION_NOTED, Note, Row, Stands, last, note, page, row};
pub use standing::{Standing, Standings, allows_only_listed, is_suspended, standing};
pub use subject::{Subject, SubjectError};

/// The longest reason, in characters.
pub const MAX_REASON_CHARS: usize = 2_000;

/// The id of the actor whose decisions count: that of the instance itself.
pub fn moderator(base: &Base) -> String {
    format!("{base}/actors/instance")
}
