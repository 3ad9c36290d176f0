//! Where a fold's records come from: a running log, or a store that nobody writes to.

use std::sync::Arc;

use fedsx_kernel::activity::{ActivityError, Body};
use fedsx_kernel::log::{Entry, Log, LogStore, Record, Records, StoreError};
use fedsx_kernel::{Activity, Cid};

/// Records in the order of the log. All methods block.
pub trait Source: Send + Sync + 'static {
    /// The last position; 0 for an empty log.
    ///
    /// # Errors
    /// Where the log cannot be read.
    fn head(&self) -> Result<u64, StoreError>;

    /// Up to `limit` records above a position.
    ///
    /// # Errors
    /// Where the log cannot be read or is damaged.
    fn records(&self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// The same for folding: what several projections fold is read once where that is possible.
    ///
    /// # Errors
    /// Where the log cannot be read or is damaged.
    fn page(&self, after: u64, limit: usize) -> Result<Records, StoreError> {
        Ok(self.records(after, limit)?.into_iter().map(Arc::new).collect())
    }

    /// The body that stands at a position.
    ///
    /// # Errors
    /// Where the log cannot be read.
    fn cid_at(&self, global_seq: u64) -> Result<Option<Cid>, StoreError>;

    /// The record at a position.
    ///
    /// # Errors
    /// Where the log cannot be read or is damaged.
    fn record(&self, global_seq: u64) -> Result<Option<Record>, StoreError> {
        let Some(before) = global_seq.checked_sub(1) else { return Ok(None) };
        let found = self.records(before, 1)?.pop();
        Ok(found.filter(|record| record.entry.global_seq == global_seq))
    }
}

fn cid_at(store: &dyn LogStore, global_seq: u64) -> Result<Option<Cid>, StoreError> {
    let Some(before) = global_seq.checked_sub(1) else { return Ok(None) };
    let entry = store.read(before, 1)?.pop();
    Ok(entry.filter(|entry| entry.global_seq == global_seq).map(|entry| entry.cid))
}

impl Source for Log {
    fn head(&self) -> Result<u64, StoreError> {
        Ok(Log::head(self))
    }

    fn records(&self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        Log::records(self, after, limit)
    }

    fn page(&self, after: u64, limit: usize) -> Result<Records, StoreError> {
        Log::page(self, after, limit)
    }

    fn cid_at(&self, global_seq: u64) -> Result<Option<Cid>, StoreError> {
        cid_at(self.store(), global_seq)
    }
}

/// A store without a writer, for commands on a data directory.
pub struct StoreSource(pub Arc<dyn LogStore>);

impl Source for StoreSource {
    fn head(&self) -> Result<u64, StoreError> {
        self.0.head()
    }

    fn records(&self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let read = |(entry, body): (Entry, Body)| {
            let damaged = |e: ActivityError| StoreError::Damaged {
                place: format!("entry {}", entry.global_seq),
                reason: e.to_string(),
            };
            let activity = Activity::from_body(&body).map_err(damaged)?;
            Ok(Record { entry, activity: Arc::new(activity) })
        };
        self.0.read_whole(after, limit)?.into_iter().map(read).collect()
    }

    fn cid_at(&self, global_seq: u64) -> Result<Option<Cid>, StoreError> {
        cid_at(&*self.0, global_seq)
    }
}
