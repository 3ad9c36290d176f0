//! Reading the log once for all who follow it and are far behind.
//!
//! Whoever follows the log asks for the records that come next. Those who are far from its end and
//! at about the same place get the same page, decoded once; they stay together because they take
//! turns (`turns`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::{Record, Records};
use super::store::StoreError;

/// Pages that are kept while somebody catches up.
const KEPT: usize = 4;
/// Who is not this many records behind reads what was just appended, which is in memory anyway.
const FAR: u64 = 4096;

/// The records after a position.
struct Page {
    after: u64,
    limit: usize,
    /// How many bodies had been erased when it was read.
    erasures: u64,
    /// Empty while somebody reads it; others wait for that.
    records: Mutex<Option<Records>>,
}

/// What those read who catch up.
pub(super) struct Pages {
    kept: Mutex<VecDeque<Arc<Page>>>,
    /// Whether a page was asked for since somebody at the end of the log looked.
    used: AtomicBool,
}

impl Pages {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::default(), used: AtomicBool::new(false) }
    }

    /// Whether who stands at a position has far to go.
    pub(super) fn is_far(head: u64, at: u64) -> bool {
        head.saturating_sub(at) > FAR
    }

    /// The records after a position, from a page that is kept or by reading them.
    pub(super) fn page(
        &self,
        after: u64,
        limit: usize,
        erasures: u64,
        read: impl FnOnce() -> Result<Vec<Record>, StoreError>,
    ) -> Result<Records, StoreError> {
        self.used.store(true, Ordering::Relaxed);
        let page = self.kept(after, limit, erasures);
        let mut records = lock(&page.records);
        if let Some(records) = &*records {
            return Ok(records.clone());
        }
        let new: Records = read()?.into_iter().map(Arc::new).collect();
        *records = Some(new.clone());
        Ok(new)
    }

    /// Somebody reads at the end of the log; pages that nobody asks for meanwhile are not kept.
    pub(super) fn pass(&self) {
        if !self.used.swap(false, Ordering::Relaxed) {
            lock(&self.kept).clear();
        }
    }

    fn kept(&self, after: u64, limit: usize, erasures: u64) -> Arc<Page> {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
