use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::entry::{Entry, Stream};
use super::erasure::Erasure;
use super::head::Head;
use super::snapshot::{BackupError, Progress};
use crate::activity::Body;
use crate::cid::Cid;
use crate::state::{StateView, Writes};

/// Why a store could not do what was asked.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The device has no room.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Reading or writing failed.
    #[error("storage failed: {0}")]
    Io(String),
    /// What is stored is not what was written.
    #[error("damaged at {place}: {reason}")]
    Damaged {
        /// Where.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The batch does not continue the log.
    #[error("the batch does not continue the log: {0}")]
    NotContinuous(String),
    /// An earlier write failed; nothing is written any more until a restart.
    #[error("the store takes no more writes since: {0}")]
    Poisoned(String),
}

impl StoreError {
    /// The body of an entry is not there.
    pub(crate) fn no_body(entry: &Entry) -> Self {
        Self::Damaged {
            place: format!("entry {}", entry.global_seq),
            reason: format!("the body {} is missing", entry.cid),
        }
    }
}

/// What a once key was used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceValue {
    /// The entry that used it.
    pub global_seq: u64,
    /// Its body.
    pub cid: Cid,
    /// Hash of the request that used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// What is committed together: all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Bodies that the log does not hold yet, each with the foreign id to find it by.
    pub bodies: Vec<(Cid, Body, Option<String>)>,
    /// Entries, continuing the log and each stream without a hole.
    pub entries: Vec<Entry>,
    /// Once keys used by these entries.
    pub once: Vec<(String, OnceValue)>,
    /// Changes to the admission state.
    pub state: Writes,
    /// Bodies that are erased.
    pub erasures: Vec<Erasure>,
}

/// A durable, ordered log of events. All methods block.
///
/// The store knows nothing of verbs; it keeps what the single writer decided, atomically, and
/// [`LogStore::append`] returns only when the batch is on the device.
pub trait LogStore: Send + Sync + 'static {
    /// Commits a batch and makes it durable.
    fn append(&self, batch: &Batch) -> Result<(), StoreError>;
    /// The last `global_seq`; 0 for an empty log.
    fn head(&self) -> Result<u64, StoreError>;
    /// Up to `limit` entries with `global_seq` above `after`.
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError>;
    /// The same with their bodies, for whoever reads the log from end to end.
    fn read_whole(&self, after: u64, limit: usize) -> Result<Vec<(Entry, Body)>, StoreError> {
        let with_body = |entry: Entry| match self.body(&entry.cid)? {
            Some(body) => Ok((entry, body)),
            None => Err(StoreError::no_body(&entry)),
        };
        self.read(after, limit)?.into_iter().map(with_body).collect()
    }
    /// Up to `limit` entries of a stream from a position on.
    fn read_stream(
        &self,
        stream: &Stream,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;
    /// How many entries a stream has: its next position.
    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError>;
    /// Every stream with its length.
    fn streams(&self) -> Result<Vec<(Stream, u64)>, StoreError>;
    /// The position of a body in a stream.
    fn position(&self, stream: &Stream, cid: &Cid) -> Result<Option<u64>, StoreError>;
    /// The `global_seq` of the first entry of a body.
    fn first_entry(&self, cid: &Cid) -> Result<Option<u64>, StoreError>;
    /// A body.
    fn body(&self, cid: &Cid) -> Result<Option<Body>, StoreError>;
    /// The body with a foreign id.
    fn by_id(&self, id: &str) -> Result<Option<Cid>, StoreError>;
    /// What a once key was used for.
    fn once(&self, key: &str) -> Result<Option<OnceValue>, StoreError>;
    /// The admission state, as committed.
    fn state(&self) -> &dyn StateView;
}

/// One write to a [`Table`]: a key and its new value, or `None` to remove it.
pub type TableWrite = (Vec<u8>, Option<Vec<u8>>);

/// Keys and values, in the order in which they were asked for.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Ordered keys and values beside the log: projections and ledgers. All methods block.
pub trait Table: Send + Sync + 'static {
    /// The value at a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Up to `limit` entries whose keys start with `prefix` and come after `after`, in key order.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Pairs, StoreError>;
    /// The same from the end: keys before `before`, in falling order.
    fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError>;
    /// Applies all writes or none. Ledgers are durable after the next [`Storage::sync`],
    /// projections after [`Storage::settle`]; a crash before takes the last writes back.
    fn apply(&self, writes: Vec<TableWrite>) -> Result<(), StoreError>;
    /// Removes all entries whose keys start with `prefix`, some at a time; gives how many those were.
    fn remove_all(&self, prefix: &[u8]) -> Result<u64, StoreError> {
        let mut removed = 0;
        // From where the last ones ended: a table may pass by what was removed for a while.
        let mut after: Option<Vec<u8>> = None;
        loop {
            let some = self.scan(prefix, after.as_deref(), REMOVED_AT_ONCE)?;
            let Some((last, _)) = some.last() else { return Ok(removed) };
            after = Some(last.clone());
            removed += some.len() as u64;
            self.apply(some.into_iter().map(|(key, _)| (key, None)).collect())?;
        }
    }
}

/// Entries that are removed in one step.
const REMOVED_AT_ONCE: usize = 1000;

/// The room on the device that a store lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Bytes that are kept free: with less, the log takes nothing.
    pub reserve_bytes: u64,
}

impl FreeSpace {
    /// Whether the log takes nothing more for lack of room.
    pub fn is_short(&self) -> bool {
        self.free_bytes < self.reserve_bytes
    }
}

/// Everything that a node stores, from one provider.
pub trait Storage: Send + Sync + 'static {
    /// The log.
    fn log(&self) -> Arc<dyn LogStore>;
    /// The table for projections, which can be rebuilt from the log.
    fn projections(&self) -> Arc<dyn Table>;
    /// The table for ledgers: keys, tokens, delivery queues and attempts, caches.
    fn ledgers(&self) -> Arc<dyn Table>;
    /// Makes every write to log and ledgers so far durable. Only the log's writer calls this.
    fn sync(&self) -> Result<(), StoreError>;
    /// Why no more writes are taken until a restart, where one failed.
    fn failure(&self) -> Option<String> {
        None
    }
    /// The room on the device, where the provider knows of one.
    fn space(&self) -> Option<FreeSpace> {
        None
    }
    /// Makes every write so far durable, those to projections too, which otherwise become so now
    /// and then: what a crash takes back of them is folded again. For the end of a process.
    fn settle(&self) -> Result<(), StoreError> {
        self.sync()
    }
    /// Copies log, admission state and ledgers, as they stand at one moment between two batches,
    /// into a new data directory; writes go on meanwhile. Projections are left to be rebuilt.
    /// The copy is durable on return, and its head is the answer.
    fn backup(
        &self,
        directory: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<Head>, BackupError> {
        let _ = (directory, progress);
        Err(BackupError::Unsupported)
    }
}
