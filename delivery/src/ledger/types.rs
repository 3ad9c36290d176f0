use fedsx_kernel::Cid;
use serde::{Deserialize, Serialize};

use super::schemes::Schemes;

/// The most attempts that a timeline keeps; older ones in the middle are left out.
pub(crate) const MAX_TIMELINE: usize = 50;

/// What stands in place of a reason once the content was erased.
pub(crate) const ERASED: &str = "the content was erased";

/// One attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: i64,
    /// The peer's last status, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where an activity is, with respect to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusKind {
    /// Waits for its first or next attempt.
    Queued,
    /// The peer took it.
    Delivered,
    /// Nothing is tried any more; it is a dead letter.
    Parked,
    /// There was nobody left to send it to.
    Skipped,
    /// Its content was erased before the peer took it; nothing is sent any more.
    Erased,
}

/// What the ledger says about one activity and one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub seq: u64,
    pub kind: StatusKind,
    /// The first and the latest attempts, [`MAX_TIMELINE`] at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Attempt>,
    /// How many attempts there were in all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempts: u32,
    /// When the next attempt is due at the earliest, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<i64>,
    pub recipients: u32,
}

/// What is left out of a row: there is one for each send.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Status {
    pub fn queued(seq: u64, recipients: u32) -> Self {
        Self {
            seq,
            kind: StatusKind::Queued,
            timeline: Vec::new(),
            attempts: 0,
            next_ms: None,
            recipients,
        }
    }

    /// Nothing of the activity is left to send, and nothing that peers said of its content is kept:
    /// answers quote what they refuse.
    pub fn erase(&mut self) {
        for attempt in self.timeline.iter_mut().filter(|attempt| attempt.reason.is_some()) {
            attempt.reason = Some(ERASED.to_owned());
        }
        if matches!(self.kind, StatusKind::Queued | StatusKind::Parked) {
            self.kind = StatusKind::Erased;
            self.next_ms = None;
        }
    }

    /// Notes an attempt. The first half of the timeline is kept, since it shows how the trouble
    /// began, and of the rest the latest.
    pub fn note(&mut self, attempt: Attempt) {
        self.attempts = self.attempts.saturating_add(1);
        if self.timeline.len() >= MAX_TIMELINE {
            self.timeline.remove(MAX_TIMELINE / 2);
        }
        self.timeline.push(attempt);
    }
}

/// An activity that is owed to a peer: an index into the log, not a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub cid: Cid,
    /// Actor ids on the peer; the first of them where there are many, see `chunks`.
    pub recipients: Vec<String>,
    /// How many recipients there are in all.
    pub total: u32,
    /// How many further lists of recipients stand beside the item.
    #[serde(default, skip_serializing_if = "is_default")]
    pub chunks: u32,
    /// Whether the shared inbox of the peer serves: several recipients, all of whom the peer finds
    /// by the addressing. A hidden recipient is reached by the inbox of its own alone.
    pub shared: bool,
    /// What it is about: items that share a subject are sent one after the other.
    pub subjects: Vec<String>,
    /// What it changes for later items that wait for it, without waiting itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Changes of earlier items that it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// Failed attempts that count against the activity.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempts: u32,
    /// Not before this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "is_default")]
    pub next_ms: i64,
    /// How long it was to wait when that was decided, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<i64>,
    pub enqueued_ms: i64,
    /// How many recipients, in order, need nothing more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub done: u32,
    /// Why one of those was refused for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// How much of what a peer's actors said was forwarded in a while, by the times of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// When the while began, in milliseconds since 1970.
    pub since_ms: i64,
    pub count: u32,
}

/// An item that nothing is tried for any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub item: Item,
    pub timeline: Vec<Attempt>,
    pub parked_ms: i64,
    pub reason: String,
}

/// What is remembered about a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerMemory {
    /// How it takes requests signed.
    #[serde(flatten)]
    pub schemes: Schemes,
    /// Failures in a row that count against the peer.
    #[serde(default)]
    pub failures: u32,
    /// Nothing is sent before this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// How long that was when it was decided, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<i64>,
    /// Since when it is given up, but for a probe a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_since_ms: Option<i64>,
}

/// How far the log was folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The last `global_seq` that was folded.
    pub seq: u64,
    /// Entries up to here were queued by an earlier fold, and are not queued again.
    #[serde(default)]
    pub queued_to: u64,
}
