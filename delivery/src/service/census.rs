//! How much waits, and for whom: counts for metrics, never names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fedsx_kernel::log::StoreError;
use tokio::time::Instant;

use super::{Delivery, DeliveryError};
use crate::ledger::Ledger;

/// Peers and letters are read in pages of this size.
const PAGE: usize = 512;
/// A census is good for so many times as long as it took: at most a twentieth of one thread.
const PAUSE: u32 = 20;

/// What waits for peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Activities that wait, each counted once for each peer.
    pub queued: u64,
    /// When the oldest of them was queued that is not for a peer that was given up, in
    /// milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// Activities that were parked for one peer.
    pub letters: u64,
    /// Peers that something waits for and that are well.
    pub well: u64,
    /// Peers that failed lately.
    pub backing_off: u64,
    /// Peers that were given up but for probes.
    pub given_up: u64,
}

/// The last census.
#[derive(Clone, Default)]
pub(super) struct LastCensus(Arc<Mutex<Option<(Census, Instant, Duration)>>>);

impl Delivery {
    /// Counts what waits. Where counting takes long, the answer may be an earlier one.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn census(&self) -> Result<Census, DeliveryError> {
        let last = *self.census.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((census, at, took)) = last
            && at.elapsed() < took.saturating_mul(PAUSE)
        {
            return Ok(census);
        }
        let (ledger, began) = (self.ledger.clone(), Instant::now());
        let census = self.kernel.runtime().run(move || take(&ledger)).await??;
        let taken = (census, Instant::now(), began.elapsed());
        *self.census.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        Ok(census)
    }
}

fn take(ledger: &Ledger) -> Result<Census, StoreError> {
    let mut census = Census { letters: ledger.count_letters()?, ..Census::default() };
    let mut after: Option<String> = None;
    loop {
        let page = ledger.queued_peers(after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        for peer in page {
            let memory = ledger.memory(&peer)?;
            census.queued += ledger.span(&peer)?.map_or(0, |(_, _, count)| count);
            if memory.failures == 0 {
                census.well += 1;
            }
            if memory.down_since_ms.is_none()
                && let Some((_, item)) = ledger.items(&peer, None, 1)?.pop()
            {
                let oldest_ms = census.oldest_ms.unwrap_or(i64::MAX);
                census.oldest_ms = Some(oldest_ms.min(item.enqueued_ms));
            }
        }
    }
    let mut after: Option<String> = None;
    loop {
        let page = ledger.memories(after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (_, memory) in page {
            if memory.down_since_ms.is_some() {
                census.given_up += 1;
            } else if memory.failures > 0 {
                census.backing_off += 1;
            }
        }
    }
    Ok(census)
}
