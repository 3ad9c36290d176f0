//! What is noted of triggers: how often each was set off, and what went wrong.
//!
//! | key | value |
//! |---|---|
//! | `triggers\0s<definition>` | [`Counts`] |
//! | `triggers\0f<global_seq, 8 bytes big-endian><definition>` | [`Failure`] |
//! | `triggers\0n` | how many failures are kept |
//! | `triggers\0m<definition>` | [`Minute`] |

use std::sync::Arc;

use fedsx_kernel::log::{Record, StoreError, Table, TableWrite};
use fedsx_kernel::{ActorName, Cid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Active, MAX_PER_MINUTE};

/// How many failures are kept, the newest ones.
pub const MAX_FAILURES: u64 = 1_000;
/// The longest reason that is kept, in characters.
const MAX_REASON_CHARS: usize = 500;
const ROOT: &str = "triggers\0";
const MINUTE_MS: i64 = 60_000;

/// What a trigger did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Activities that it published.
    pub published: u64,
    /// Activities on which it failed.
    pub failed: u64,
    /// Activities on which it did not act, because they were too many.
    pub limited: u64,
}

/// One activity on which a trigger failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The trigger.
    pub name: String,
    /// Its definition.
    pub definition: Cid,
    /// The actor as whom it would have published.
    pub publisher: ActorName,
    /// The activity that set it off.
    pub cause: Cid,
    /// Where that stands in the log.
    pub global_seq: u64,
    /// What went wrong.
    pub reason: String,
}

impl Failure {
    pub(super) fn of(active: &Active, record: &Record, reason: String) -> Self {
        Self {
            name: active.name.clone(),
            definition: active.definition,
            publisher: active.publisher.clone(),
            cause: record.entry.cid,
            global_seq: record.entry.global_seq,
            reason: reason.chars().take(MAX_REASON_CHARS).collect(),
        }
    }
}

/// How often a trigger was set off within a minute of the log's clock.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Minute {
    minute: i64,
    count: u64,
}

pub(super) struct Ledger(Arc<dyn Table>);

impl Ledger {
    pub(super) fn new(table: Arc<dyn Table>) -> Self {
        Self(table)
    }

    pub(super) fn counts(&self, definition: &Cid) -> Result<Counts, StoreError> {
        self.get(&key("s", definition))
    }

    pub(super) fn published(&self, definition: &Cid, count: u64) -> Result<(), StoreError> {
        let mut counts = self.counts(definition)?;
        counts.published = counts.published.saturating_add(count);
        self.0.apply(vec![put(key("s", definition), &counts)?])
    }

    /// Whether a trigger may be set off once more in the minute in which its cause came.
    pub(super) fn admit(&self, definition: &Cid, received_ms: i64) -> Result<bool, StoreError> {
        let place = key("m", definition);
        let mut held: Minute = self.get(&place)?;
        let minute = received_ms.div_euclid(MINUTE_MS);
        if held.minute != minute {
            held = Minute { minute, count: 0 };
        }
        if held.count >= MAX_PER_MINUTE {
            return Ok(false);
        }
        held.count += 1;
        self.0.apply(vec![put(place, &held)?])?;
        Ok(true)
    }

    /// Notes that a trigger did not act on an activity; only the first of a row is listed.
    pub(super) fn limited(&self, failure: &Failure) -> Result<(), StoreError> {
        let mut counts = self.counts(&failure.definition)?;
        counts.limited = counts.limited.saturating_add(1);
        let mut writes = vec![put(key("s", &failure.definition), &counts)?];
        let newest = self.failures(None, 1)?.pop();
        if newest.is_none_or(|held| {
            held.definition != failure.definition || held.reason != failure.reason
        }) {
            writes.extend(self.listed(failure)?);
        }
        self.0.apply(writes)
    }

    /// Notes that a trigger failed on an activity.
    pub(super) fn note(&self, failure: &Failure) -> Result<(), StoreError> {
        let mut counts = self.counts(&failure.definition)?;
        counts.failed = counts.failed.saturating_add(1);
        let mut writes = vec![put(key("s", &failure.definition), &counts)?];
        writes.extend(self.listed(failure)?);
        self.0.apply(writes)
    }

    /// Whether a trigger failed on the activity at a position before.
    pub(super) fn failed(&self, global_seq: u64, definition: &Cid) -> Result<bool, StoreError> {
        Ok(self.0.get(&failure_key(global_seq, definition))?.is_some())
    }

    /// The newest failures first, before a position.
    pub(super) fn failures(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Failure>, StoreError> {
        let prefix = format!("{ROOT}f").into_bytes();
        let before = before.map(|before| [&prefix[..], &before.to_be_bytes()].concat());
        let found = self.0.scan_back(&prefix, before.as_deref(), limit)?;
        found.iter().map(|(place, value)| read(place, value)).collect()
    }

    fn listed(&self, failure: &Failure) -> Result<Vec<TableWrite>, StoreError> {
        let place = failure_key(failure.global_seq, &failure.definition);
        if self.0.get(&place)?.is_some() {
            return Ok(Vec::new());
        }
        let number = format!("{ROOT}n").into_bytes();
        let mut count: u64 = self.get(&number)?;
        let mut writes = vec![put(place, failure)?];
        if count >= MAX_FAILURES {
            let oldest = self.0.scan(format!("{ROOT}f").as_bytes(), None, 1)?;
            writes.extend(oldest.into_iter().map(|(place, _)| (place, None)));
        } else {
            count += 1;
            writes.push(put(number, &count)?);
        }
        Ok(writes)
    }

    fn get<T: DeserializeOwned + Default>(&self, place: &[u8]) -> Result<T, StoreError> {
        Ok(self.0.get(place)?.map(|value| read(place, &value)).transpose()?.unwrap_or_default())
    }
}

fn key(what: &str, definition: &Cid) -> Vec<u8> {
    format!("{ROOT}{what}{definition}").into_bytes()
}

fn failure_key(global_seq: u64, definition: &Cid) -> Vec<u8> {
    let prefix = format!("{ROOT}f").into_bytes();
    [&prefix[..], &global_seq.to_be_bytes(), definition.to_string().as_bytes()].concat()
}

fn read<T: DeserializeOwned>(place: &[u8], value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|e| StoreError::Damaged {
        place: format!("ledger key {:?}", String::from_utf8_lossy(place)),
        reason: e.to_string(),
    })
}

fn put<T: Serialize>(place: Vec<u8>, value: &T) -> Result<TableWrite, StoreError> {
    let value = serde_json::to_vec(value).map_err(|e| StoreError::Io(e.to_string()))?;
    Ok((place, Some(value)))
}
