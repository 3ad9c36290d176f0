//! `fedsx log rebuild`: the kept tiles of all outboxes, computed from the log.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use fedsx_kernel::log::{Storage as _, Stream};
use fedsx_kernel::merkle::Tree;

use super::RebuildArgs;
use crate::data;
use crate::progress::Progress;

/// Tiles computed between two looks at the progress: 16,384 leaves.
const STEP: u64 = 64;

pub(super) fn run(args: &RebuildArgs) -> Result<ExitCode> {
    data::refuse_backup(&args.data)?;
    let storage = data::open_offline(&args.data)?;
    let (log, table) = (storage.log(), storage.ledgers());
    let mut streams = log.streams()?;
    streams.retain(|(stream, _)| matches!(stream, Stream::Outbox(_)));
    let leaves = streams.iter().map(|(_, size)| size).sum();
    let bar = Progress::count("hashing", leaves);
    for (stream, size) in &streams {
        let tree = Tree::new(log.as_ref(), table.as_ref(), stream);
        tree.forget().with_context(|| stream.to_string())?;
        let mut covered = 0;
        loop {
            let next = tree.catch_up(*size, STEP).with_context(|| stream.to_string())?;
            bar.add(next - covered);
            if next == covered {
                break;
            }
            covered = next;
        }
        bar.add(size - covered);
    }
    storage.sync()?;
    drop(bar);
    println!("computed the trees of {} outboxes with {leaves} entries", streams.len());
    Ok(ExitCode::SUCCESS)
}
