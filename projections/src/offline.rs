//! Rebuilding projections of a data directory that no server runs on.

use std::sync::Arc;

use fedsx_kernel::log::{Record, StoreError, Table};
use fedsx_kernel::trace::Traces;

use crate::batch::{Folding, Open};
use crate::digest::{self, Digest};
use crate::engine::{Halt, Options, Rebuilt, Runner, Shared};
use crate::fold::{Context, Fold};
use crate::layout::{Build, Checkpoint};
use crate::source::Source;

/// Digests of several projections from one reading of the log. State is kept in a table, so that
/// memory does not grow with the log.
pub struct Rebuilds {
    table: Arc<dyn Table>,
    source: Arc<dyn Source>,
    context: Context,
    folds: Vec<One>,
}

struct One {
    fold: Arc<dyn Fold>,
    /// The position that it is folded up to.
    until: u64,
    open: Open,
}

impl Rebuilds {
    /// Each fold with the position up to which it is folded; the table must be empty. Decisions
    /// about records that were set aside are looked up in the source.
    pub fn new(
        table: Arc<dyn Table>,
        source: Arc<dyn Source>,
        context: Context,
        folds: Vec<(Arc<dyn Fold>, u64)>,
    ) -> Self {
        let one = |(fold, until)| One { fold, until, open: Open::new(Checkpoint::default(), None) };
        Self { table, source, context, folds: folds.into_iter().map(one).collect() }
    }

    /// Folds the next records of the log.
    ///
    /// # Errors
    /// Where log or table cannot be read, or the table cannot be written.
    pub fn take(&mut self, records: &[Arc<Record>]) -> Result<(), StoreError> {
        for One { fold, until, open } in &mut self.folds {
            let end = records.partition_point(|record| record.entry.global_seq <= *until);
            let Some(records) = records.get(..end).filter(|records| !records.is_empty()) else {
                continue;
            };
            let folding = folding(&**fold, &self.context, &*self.source, &self.table);
            folding.take(open, records).map_err(store_error)?;
            if open.is_full() {
                let full = std::mem::replace(open, Open::new(Checkpoint::default(), None));
                *open = Open::new(folding.commit(full)?, None);
            }
        }
        Ok(())
    }

    /// The digests of what was folded, in the order of the folds.
    ///
    /// # Errors
    /// As [`Rebuilds::take`].
    pub fn finish(self) -> Result<Vec<Digest>, StoreError> {
        let Self { table, source, context, folds } = self;
        let digest = |One { fold, open, .. }: One| {
            folding(&*fold, &context, &*source, &table).commit(open)?;
            digest::stored(&table, fold.name(), Build::first(fold.version()))
        };
        folds.into_iter().map(digest).collect()
    }
}

fn folding<'a>(
    fold: &'a dyn Fold,
    context: &'a Context,
    source: &'a dyn Source,
    table: &'a Arc<dyn Table>,
) -> Folding<'a> {
    Folding { fold, context, source, table, build: Build::first(fold.version()) }
}

/// Builds the state of a projection anew from the log, beside what is stored, and puts it in its
/// place. `progress` is told the position from time to time. Blocks; what was written is durable
/// after the storage was settled. Interrupted, it goes on where it stopped, or in the next server.
///
/// # Errors
/// Where log or table cannot be read, or the table cannot be written.
pub fn rebuild_stored(
    table: Arc<dyn Table>,
    source: Arc<dyn Source>,
    fold: Arc<dyn Fold>,
    context: &Context,
    progress: &mut dyn FnMut(u64),
) -> Result<Rebuilt, StoreError> {
    let shared = Arc::new(Shared::new(fold, table, String::new(), None));
    let (context, batch) = (context.clone(), Options::default().batch);
    let runner = Runner::new(shared.clone(), source, context, batch);
    runner.prepare().map_err(store_error)?;
    // Where one was under way, it is finished first: what it makes is as good as a new one.
    runner.rebuild().map_err(store_error)?;
    while runner.advance(&Traces::off()).map_err(store_error)? {
        progress(shared.making().map_or(0, |making| making.global_seq));
    }
    shared.rebuilt().ok_or_else(|| StoreError::Io("the rebuild did not end".into()))
}

fn store_error(halt: Halt) -> StoreError {
    match halt {
        Halt::Store(error) => error,
        other => StoreError::Io(other.to_string()),
    }
}
