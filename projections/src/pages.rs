//! Reading the log once for all projections that catch up.
//!
//! Each projection asks for the records that it folds next. Those that are far behind the end of
//! the log and at about the same place get the same page, decoded once; they stay together because
//! they take turns ([`Pages::turn`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedsx_kernel::Cid;
use fedsx_kernel::log::{Log, Record, StoreError};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::source::Source;

/// Pages that are kept while somebody catches up.
const KEPT: usize = 4;
/// Who is not this many records behind reads what was just appended, which is in memory anyway.
const FAR: u64 = 4096;
/// Projections that catch up at the same time; more would drift apart.
const TURNS: usize = 2;

/// The records after a position.
struct Page {
    after: u64,
    limit: usize,
    /// How many bodies had been erased when it was read.
    erasures: u64,
    /// Empty while somebody reads it; others wait for that.
    records: Mutex<Option<Arc<[Record]>>>,
}

/// The records of a running log.
pub(crate) struct Pages {
    log: Log,
    kept: Mutex<VecDeque<Arc<Page>>>,
    turns: Semaphore,
}

impl Pages {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, kept: Mutex::default(), turns: Semaphore::new(TURNS) }
    }

    /// Waits until it is the turn of a projection that stands at a position to fold a batch; at
    /// the end of the log there are no turns. Whoever waits longest is next, so that no projection
    /// gets ahead of the others because its fold is fast.
    pub(crate) async fn turn(&self, at: u64) -> Option<SemaphorePermit<'_>> {
        if !self.is_far(at) {
            return None;
        }
        // It is never closed.
        self.turns.acquire().await.ok()
    }

    fn is_far(&self, after: u64) -> bool {
        self.log.head().saturating_sub(after) > FAR
    }

    fn kept(&self, after: u64, limit: usize) -> Arc<Page> {
        let erasures = self.log.erasures();
        let mut kept = lock(&self.kept);
        // What was read before a body was erased may hold it.
        kept.retain(|page| page.erasures == erasures);
        if let Some(page) = kept.iter().find(|page| page.after == after && page.limit == limit) {
            return page.clone();
        }
        let page = Arc::new(Page { after, limit, erasures, records: Mutex::new(None) });
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(page.clone());
        page
    }
}

impl Source for Pages {
    fn head(&self) -> Result<u64, StoreError> {
        Ok(self.log.head())
    }

    fn records(&self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.log.records(after, limit)
    }

    fn page(&self, after: u64, limit: usize) -> Result<Arc<[Record]>, StoreError> {
        if !self.is_far(after) {
            lock(&self.kept).clear();
            return self.log.records(after, limit).map(Into::into);
        }
        let page = self.kept(after, limit);
        let mut records = lock(&page.records);
        if let Some(records) = &*records {
            return Ok(records.clone());
        }
        let read: Arc<[Record]> = self.log.sweep(after, limit)?.into();
        *records = Some(read.clone());
        Ok(read)
    }

    fn cid_at(&self, global_seq: u64) -> Result<Option<Cid>, StoreError> {
        self.log.cid_at(global_seq)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
