//! Reading the ledger: the `delivery-state` projection and the peers.

use std::collections::BTreeMap;

use fedsx_kernel::Cid;

use super::{Delivery, DeliveryError, PeerInfo, PeerStatus, StatePage, StateRow};
use crate::ledger::{PeerMemory, Schemes, Status};

/// The most rows that one page has.
const MAX_PAGE: usize = 1000;
/// The most peers that an activity's status lists.
const MAX_PEERS: usize = 10_000;

impl Delivery {
    /// Where an activity is now, for each peer that it is or was owed to.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn status(&self, cid: &Cid) -> Result<Vec<PeerStatus>, DeliveryError> {
        let (ledger, cid) = (self.ledger.clone(), *cid);
        let rows = self
            .kernel
            .runtime()
            .run(move || ledger.statuses(Some(&cid), None, MAX_PEERS))
            .await??;
        Ok(rows.into_iter().map(|(_, peer, status)| peer_status(peer, status)).collect())
    }

    /// Up to `limit` rows of the `delivery-state` projection, after the row that an earlier page
    /// named as [`StatePage::next`].
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn state(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<StatePage, DeliveryError> {
        let (ledger, limit) = (self.ledger.clone(), limit.clamp(1, MAX_PAGE));
        let after = after.map(str::to_owned);
        let rows = self
            .kernel
            .runtime()
            .run(move || {
                let after = after.as_deref().and_then(|after| after.split_once(' '));
                ledger.statuses(None, after, limit)
            })
            .await??;
        let full = rows.len() == limit;
        let next = rows.last().filter(|_| full).map(|(cid, peer, _)| format!("{cid} {peer}"));
        let row = |(cid, peer, status): (String, String, Status)| StateRow {
            cid,
            global_seq: status.seq,
            status: peer_status(peer, status),
        };
        Ok(StatePage { rows: rows.into_iter().map(row).collect(), next })
    }

    /// How a peer (an origin) takes requests signed; `None` where nothing is known of that.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn schemes(&self, peer: &str) -> Result<Option<Schemes>, DeliveryError> {
        let (ledger, peer) = (self.ledger.clone(), peer.to_owned());
        let memory = self.kernel.runtime().run(move || ledger.memory(&peer)).await??;
        Ok(Some(memory.schemes).filter(|schemes| *schemes != Schemes::default()))
    }

    /// Every peer that something is queued for or that is remembered, after a peer.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn peers(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PeerInfo>, DeliveryError> {
        let (ledger, limit) = (self.ledger.clone(), limit.clamp(1, MAX_PAGE));
        let after = after.map(str::to_owned);
        let listed = self.kernel.runtime().run(move || {
            let after = after.as_deref();
            let mut peers: BTreeMap<String, PeerMemory> =
                ledger.memories(after, limit)?.into_iter().collect();
            for peer in ledger.queued_peers(after, limit)? {
                peers.entry(peer).or_default();
            }
            let mut listed = Vec::new();
            for (peer, memory) in peers.into_iter().take(limit) {
                let queued = ledger.span(&peer)?.map_or(0, |(_, _, count)| count);
                listed.push((peer, memory, queued));
            }
            Ok::<_, DeliveryError>(listed)
        });
        let info = |(peer, memory, queued): (String, PeerMemory, u64)| PeerInfo {
            in_flight: self.peers.in_flight(&peer),
            blocked: self.peers.is_blocked(&peer),
            peer,
            queued,
            backoff_until_ms: memory.until_ms,
            failures: memory.failures,
            scheme: memory.schemes.took,
            schemes: memory.schemes,
            down_since_ms: memory.down_since_ms,
        };
        Ok(listed.await??.into_iter().map(info).collect())
    }
}

fn peer_status(peer: String, status: Status) -> PeerStatus {
    PeerStatus {
        peer,
        status: status.kind,
        timeline: status.timeline,
        attempts: status.attempts,
        next_ms: status.next_ms,
        recipients: status.recipients,
    }
}
