//! Rebuilding a projection of a data directory that no server runs on.

use std::sync::Arc;

use fedsx_kernel::log::{StoreError, Table};

use crate::engine::{Halt, Options, Rebuilt, Runner, Shared};
use crate::fold::{Context, Fold};
use crate::source::Source;

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
    let runner = Runner { shared: shared.clone(), source, context, batch };
    runner.prepare().map_err(store_error)?;
    // Where one was under way, it is finished first: what it makes is as good as a new one.
    runner.rebuild().map_err(store_error)?;
    while runner.advance().map_err(store_error)? {
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
