//! Starts, replaces and ends published projections as their definitions take effect and end.

use std::collections::BTreeMap;
use std::time::Duration;

use fedsx_genesis::published::may_redefine;
use fedsx_genesis::script::Scripts;
use fedsx_kernel::Base;
use fedsx_kernel::log::{Entry, Log, StoreError, Stream};
use fedsx_kernel::runtime::{BlockingFailed, Runtime};
use thiserror::Error;

use super::{ListError, published};
use crate::engine::Projections;
use crate::error::OpenError;
use crate::fold::Fold as _;

/// Entries read at once.
const PAGE: usize = 512;
/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the published projections are not what the definitions say.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The definitions could not be read.
    #[error(transparent)]
    List(#[from] ListError),
    /// A projection could not be started or ended.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log could not be read.
    #[error(transparent)]
    Storage(#[from] StoreError),
    /// The blocking pool is gone.
    #[error(transparent)]
    Blocking(#[from] BlockingFailed),
}

/// Starts the published projections, and keeps to the definitions from then on, until the log is
/// closed. When it returns, what was in force runs. Must be called inside a tokio runtime.
///
/// # Errors
/// Where definitions or projections cannot be read.
pub async fn keep(
    projections: Projections,
    log: Log,
    runtime: Runtime,
    base: Base,
) -> Result<(), KeepError> {
    let mut head = log.news();
    head.mark_changed();
    let position = log.head();
    let running = BTreeMap::new();
    let mut keeper =
        Keeper { projections, log, runtime, base, scripts: Scripts::new(), running, position };
    keeper.settle().await?;
    keeper.projections.remove_others().await?;
    tokio::spawn(async move {
        while head.changed().await.is_ok() {
            while let Err(error) = keeper.advance().await {
                tracing::error!(%error, "published projections do not follow their definitions");
                keeper.runtime.clock.sleep(PAUSE).await;
            }
        }
    });
    Ok(())
}

struct Keeper {
    projections: Projections,
    log: Log,
    runtime: Runtime,
    base: Base,
    scripts: Scripts,
    /// What runs, and of which version.
    running: BTreeMap<String, u32>,
    /// Definitions were looked at up to here.
    position: u64,
}

impl Keeper {
    /// Looks at what came into the log, and at the definitions where some may have changed.
    async fn advance(&mut self) -> Result<(), KeepError> {
        loop {
            let (log, after) = (self.log.clone(), self.position);
            let (last, moved) = self.runtime.run(move || look(&log, after)).await??;
            if moved {
                self.settle().await?;
            }
            let Some(last) = last else { return Ok(()) };
            self.position = last;
            self.projections.settled_at(last);
        }
    }

    /// Lets run what is in force.
    async fn settle(&mut self) -> Result<(), KeepError> {
        let (log, base, scripts) = (self.log.clone(), self.base.clone(), self.scripts.clone());
        let wanted = self.runtime.run(move || published(log.store(), &base, &scripts)).await??;
        let ended: Vec<String> = self
            .running
            .keys()
            .filter(|name| !wanted.iter().any(|fold| fold.name() == *name))
            .cloned()
            .collect();
        for name in ended {
            self.projections.remove(&name).await?;
            self.running.remove(&name);
            tracing::info!(projection = %name, "a published projection ended");
        }
        for fold in wanted {
            let (name, version) = (fold.name().to_owned(), fold.version());
            if self.running.get(&name) == Some(&version) {
                continue;
            }
            tracing::info!(projection = %name, version, "a published projection runs");
            self.projections.put(fold).await?;
            self.running.insert(name, version);
        }
        self.projections.settled_at(self.position);
        Ok(())
    }
}

/// The last entry after a position, within one page, and whether one may change definitions.
fn look(log: &Log, after: u64) -> Result<(Option<u64>, bool), StoreError> {
    let entries = log.store().read(after, PAGE)?;
    let mut moved = false;
    for entry in &entries {
        moved = moved || defines(log, entry)?;
    }
    Ok((entries.last().map(|entry| entry.global_seq), moved))
}

fn defines(log: &Log, entry: &Entry) -> Result<bool, StoreError> {
    if let Stream::Inbox(_) = entry.stream {
        return Ok(false);
    }
    let activity = log.activity(&entry.cid)?;
    Ok(activity.is_none_or(|activity| may_redefine(&entry.stream, &activity)))
}
