//! The index into the log: who is owed what.
//!
//! One actor follows the log. A batch of records is folded into queue entries, statuses, the
//! graph and the cursor, and all of that is written at once: a crash neither forgets nor
//! doubles anything.

mod fold;
mod forward;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use fedsx_kernel::Kernel;
use fedsx_kernel::log::StoreError;
use fedsx_kernel::state::StateError;
use fedsx_kernel::supervision::{self, StartError, SupervisorMessage};
use futures::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use thiserror::Error;
use tokio::sync::watch;

use crate::backfill::Backfills;
use crate::gaps::Healers;
use crate::ledger::Ledger;
use crate::peer::Peers;
use crate::service::Options;

/// Why a batch could not be folded.
#[derive(Debug, Error)]
pub(crate) enum FoldError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
}

/// The handle on the index; cheap to clone.
#[derive(Clone)]
pub(crate) struct Index {
    cursor: watch::Receiver<u64>,
}

impl Index {
    pub fn cursor(&self) -> u64 {
        *self.cursor.borrow()
    }

    /// Waits until the log is folded up to a position.
    pub async fn reach(&self, seq: u64) {
        let mut cursor = self.cursor.clone();
        // An error means that the index is gone for good: nothing is left to wait for.
        let _ = cursor.wait_for(|reached| *reached >= seq).await;
    }
}

#[derive(Clone)]
pub(crate) struct Folding {
    pub kernel: Kernel,
    pub ledger: Ledger,
    pub options: Arc<Options>,
}

struct Indexer {
    folding: Folding,
    peers: Peers,
    backfills: Backfills,
    healers: Healers,
    cursor: Arc<watch::Sender<u64>>,
}

/// The log has grown.
pub(crate) struct Advance;

/// Starts the index under the supervisor; it has read its cursor when this returns.
pub(crate) async fn start(
    kernel: Kernel,
    ledger: Ledger,
    peers: Peers,
    backfills: Backfills,
    healers: Healers,
    supervisor: &ActorRef<SupervisorMessage>,
    options: Arc<Options>,
) -> Result<Index, StartError> {
    let (sender, cursor) = watch::channel(0);
    let sender = Arc::new(sender);
    let folding = Folding { kernel, ledger, options };
    let start = move |supervisor| {
        let indexer = Indexer {
            folding: folding.clone(),
            peers: peers.clone(),
            backfills: backfills.clone(),
            healers: healers.clone(),
            cursor: sender.clone(),
        };
        async move {
            let (actor, _) = Actor::spawn_linked(None, indexer, (), supervisor).await?;
            Ok(actor.get_cell())
        }
        .boxed()
    };
    supervision::keep(supervisor, "delivery/index".to_owned(), Arc::new(start)).await?;
    Ok(Index { cursor })
}

impl Actor for Indexer {
    type Msg = Advance;
    type State = u64;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Advance>,
        (): (),
    ) -> Result<u64, ActorProcessingErr> {
        let (folding, head) = (self.folding.clone(), self.folding.kernel.log().head());
        let open = move || fold::open(&folding.ledger, head);
        let seq = self.folding.kernel.runtime().run(open).await??;
        self.cursor.send_replace(seq);
        let mut watch = self.folding.kernel.log().news();
        tokio::spawn(async move {
            loop {
                watch.borrow_and_update();
                if myself.cast(Advance).is_err() || watch.changed().await.is_err() {
                    break;
                }
            }
        });
        Ok(seq)
    }

    async fn handle(
        &self,
        _: ActorRef<Advance>,
        Advance: Advance,
        seq: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        while *seq < self.folding.kernel.log().head() {
            let folding = self.folding.clone();
            let _turn = self.folding.kernel.log().turn(*seq).await;
            let folded = self.folding.kernel.runtime().run(move || fold::batch(&folding)).await??;
            for (actor, origin) in &folded.followers {
                self.peers.followers_changed(actor, origin);
            }
            for peer in &folded.peers {
                self.peers.wake(peer);
            }
            if folded.moderated {
                self.peers.release();
            }
            for (peer, seq) in &folded.erased {
                self.peers.erase(peer, *seq);
            }
            for job in folded.jobs {
                self.backfills.begin(job);
            }
            for author in &folded.holes {
                self.healers.begin(author);
            }
            if folded.seq <= *seq {
                break;
            }
            *seq = folded.seq;
            // Whoever waits for this position finds the peers woken.
            self.cursor.send_replace(*seq);
        }
        Ok(())
    }
}
