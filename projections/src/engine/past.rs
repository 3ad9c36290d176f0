//! Past state: what a projection was at an earlier position, folded anew in memory.
//!
//! The last few past states are retained, so that paging through one, or looking at positions one
//! after the other, does not fold from the beginning each time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use fedsx_kernel::log::{Log, StoreError};
use tokio::sync::Semaphore;

use super::info::Options;
use crate::error::QueryError;
use crate::fold::{Context, Fold};
use crate::in_memory::InMemory;
use crate::source::Source;

/// Past states that are made at once.
const AT_ONCE: usize = 2;
/// Past states that are retained.
const RETAINED: usize = 8;
/// What part of the memory that one state may take all retained ones may hold, since they stay.
const RETAINED_PART: usize = 4;
/// Records that are read in one step.
const PAGE: u64 = 512;

/// The past states of all projections.
pub(super) struct Past {
    records: u64,
    bytes: usize,
    permits: Semaphore,
    retained: Mutex<VecDeque<Retained>>,
}

struct Retained {
    name: String,
    version: u32,
    /// How many bodies had been erased when it was begun; after another one it is not retained.
    erasures: u64,
    folded: Arc<InMemory>,
}

impl Past {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            records: options.past_records,
            bytes: options.past_bytes,
            permits: Semaphore::new(AT_ONCE),
            retained: Mutex::new(VecDeque::new()),
        }
    }

    /// The state at a position, which the log has reached. Blocks.
    pub(super) fn at(
        &self,
        fold: &dyn Fold,
        context: &Context,
        source: &Log,
        at: u64,
    ) -> Result<Arc<InMemory>, QueryError> {
        if !fold.keeps_past() {
            return Err(QueryError::NoPast(fold.name().to_owned()));
        }
        let erasures = source.erasures();
        let nearest = self.nearest(fold, erasures, at);
        if let Some(found) = nearest.as_ref().filter(|found| found.at == at) {
            return Ok(found.clone());
        }
        let from = nearest.as_ref().map_or(0, |found| found.at);
        let records = at.saturating_sub(from);
        if records > self.records {
            return Err(QueryError::TooManyRecords { records, limit: self.records });
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(QueryError::Busy("queries for past state"));
        };
        let mut folded = nearest.map(|found| InMemory::clone(&found)).unwrap_or_default();
        let mut one = |global_seq| Source::record(source, global_seq);
        while folded.at < at {
            let wanted = usize::try_from((at - folded.at).min(PAGE)).unwrap_or_default();
            let records = source.records(folded.at, wanted)?;
            if records.is_empty() {
                return Err(QueryError::Storage(StoreError::Damaged {
                    place: format!("entry {}", folded.at.saturating_add(1)),
                    reason: "it is missing".into(),
                }));
            }
            for record in records {
                folded.fold(fold, context, &record, &mut one)?;
                if folded.bytes > self.bytes {
                    return Err(QueryError::TooMuchState { limit: self.bytes as u64 });
                }
            }
        }
        let folded = Arc::new(folded);
        self.retain(fold, erasures, folded.clone());
        Ok(folded)
    }

    /// The retained state that is nearest to a position, from below.
    fn nearest(&self, fold: &dyn Fold, erasures: u64, at: u64) -> Option<Arc<InMemory>> {
        let retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        let of_fold = retained
            .iter()
            .filter(|item| item.name == fold.name() && item.version == fold.version())
            .filter(|item| item.erasures == erasures);
        of_fold
            .filter(|item| item.folded.at <= at)
            .max_by_key(|item| item.folded.at)
            .map(|item| item.folded.clone())
    }

    fn retain(&self, fold: &dyn Fold, erasures: u64, folded: Arc<InMemory>) {
        let mut retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, version) = (fold.name().to_owned(), fold.version());
        retained.retain(|item| item.erasures == erasures);
        retained.push_back(Retained { name, version, erasures, folded });
        let bytes =
            |all: &VecDeque<Retained>| -> usize { all.iter().map(|i| i.folded.bytes).sum() };
        while retained.len() > RETAINED || bytes(&retained) > self.bytes / RETAINED_PART {
            retained.pop_front();
        }
    }

    /// Forgets what was retained of a projection.
    pub(super) fn forget(&self, name: &str) {
        let mut retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        retained.retain(|item| item.name != name);
    }
}
