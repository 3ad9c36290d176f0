//! Records that a fold could not digest, and what was decided about them.
//!
//! A decision is an activity of the instance actor, signed and in the log like any other, so
//! that a rebuild comes to the same state: a retry folds the old record over the state at the
//! position of the decision; a skip marks it as done with.

use std::fmt;
use std::str::FromStr;

use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::{Base, Cid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::folds::INSTANCE;

/// The verb of a decision about a record that was set aside.
pub const DECIDE_SET_ASIDE: &str = "DecideSetAside";
/// The type of the object of a decision.
const SET_ASIDE_RECORD: &str = "SetAsideRecord";
/// The longest reason that is kept for a record or a decision, in characters.
pub const MAX_REASON_CHARS: usize = 500;

/// A record that a fold could not digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// The entry.
    pub global_seq: u64,
    /// The body.
    pub cid: Cid,
    /// Why it could not be digested, the last time it was tried.
    pub reason: String,
    /// What became of it.
    #[serde(default)]
    pub status: Status,
    /// Retries that failed.
    #[serde(default)]
    pub failed_retries: u64,
    /// The last decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
}

/// What became of a record that was set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing was decided, or a retry failed.
    #[default]
    Waiting,
    /// It is left out for good, unless somebody decides to retry it.
    Skipped,
    /// It was folded by a retry.
    Retried,
}

/// What is to be done with a record that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Fold it now.
    Retry,
    /// Leave it out.
    Skip,
}

impl FromStr for Verdict {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "retry" => Ok(Self::Retry),
            "skip" => Ok(Self::Skip),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
        })
    }
}

/// A decision that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What was decided.
    pub decision: Verdict,
    /// The position of the decision.
    pub global_seq: u64,
    /// The activity that says it.
    pub cid: Cid,
    /// Why, in the words of who decided.
    pub why: String,
}

impl SetAside {
    pub(crate) fn new(record: &Record, reason: &str) -> Self {
        Self {
            global_seq: record.entry.global_seq,
            cid: record.entry.cid,
            reason: shortened(reason),
            status: Status::Waiting,
            failed_retries: 0,
            decided: None,
        }
    }

    /// Whether somebody should decide about it.
    pub fn waits(&self) -> bool {
        self.status == Status::Waiting
    }

    /// A request to publish a decision about this record of a projection as the instance actor.
    pub fn decision(&self, projection: &str, decision: Verdict, why: &str) -> Map<String, Value> {
        let request = json!({
            "@context": {
                "decision": "fedsx:decision",
                "global_seq": "fedsx:global_seq",
                "projection": "fedsx:projection",
                "why": "fedsx:why",
            },
            "type": DECIDE_SET_ASIDE,
            "object": {
                "type": SET_ASIDE_RECORD,
                "projection": projection,
                "global_seq": self.global_seq,
                "cid": self.cid.to_string(),
            },
            "decision": decision.to_string(),
            "why": shortened(why),
        });
        request.as_object().cloned().unwrap_or_default()
    }
}

pub(crate) fn shortened(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).collect()
}

/// A decision as it stands in the log.
pub(crate) struct Decision {
    pub(crate) about: u64,
    pub(crate) cid: Cid,
    pub(crate) decided: Decided,
}

impl Decision {
    /// The decision that a record is, if it is one about this projection. Only the instance actor
    /// decides; what others publish under this name has no effect.
    pub(crate) fn of(record: &Record, base: &Base, projection: &str) -> Option<Self> {
        let activity = &record.activity;
        if activity.kind() != DECIDE_SET_ASIDE {
            return None;
        }
        let Stream::Outbox(author) = &record.entry.stream else { return None };
        if author.as_str() != INSTANCE || activity.actor() != base.actor(author) {
            return None;
        }
        let object = activity.object()?;
        if object.get("projection")?.as_str()? != projection {
            return None;
        }
        Some(Self {
            about: object.get("global_seq")?.as_u64()?,
            cid: object.get("cid")?.as_str()?.parse().ok()?,
            decided: Decided {
                decision: activity.get("decision")?.as_str()?.parse().ok()?,
                global_seq: record.entry.global_seq,
                cid: record.entry.cid,
                why: shortened(activity.get("why").and_then(Value::as_str).unwrap_or_default()),
            },
        })
    }
}
