//! The handle on delivery, and what it answers.

mod census;
mod letters;
mod view;

use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::log::{StoreError, Table};
use fedsx_kernel::runtime::BlockingFailed;
use fedsx_kernel::supervision::{StartError, SupervisorMessage};
use fedsx_kernel::{Cid, Kernel, Refusal};
use ractor::ActorRef;
use serde::Serialize;
use thiserror::Error;

use crate::backfill::Backfills;
use crate::client::{Client, ClientError};
use crate::discovery::Discovery;
use crate::gaps::Healers;
use crate::index::{self, Index};
use crate::ledger::{Attempt, Ledger, Schemes, Signing, StatusKind};
use crate::peer::{Context, Peers};
use crate::standings::Standings;
use crate::synchronization::{Statement, Synchronizer};

pub use census::Census;

/// Configuration of delivery.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pauses after the first, second, ... failed attempt. After the last pause's attempt fails
    /// too, an activity is parked and a peer is given up but for probes.
    pub schedule: Vec<Duration>,
    /// By how much a pause may be shorter or longer, as a fraction.
    pub jitter: f64,
    /// Sends to one peer that may be under way.
    pub sends_per_peer: usize,
    /// Sends to all peers that may be under way.
    pub sends: usize,
    /// Items of one peer that are kept in memory.
    pub window: usize,
    /// How often a peer that was given up is probed.
    pub probe_every: Duration,
    /// How long something may wait for a peer that was given up.
    pub max_age: Duration,
    /// Bounds within which a peer's Retry-After is honoured.
    pub retry_after: (Duration, Duration),
    /// Records that are folded at once.
    pub batch: usize,
    /// The most activities that one backfill fetches.
    pub backfill_items: u64,
    /// The most pages that one backfill fetches.
    pub backfill_pages: u32,
    /// Backfills that may be under way.
    pub backfills: usize,
    /// The most positions below the end of an author's outbox in which holes are fetched.
    pub heal_range: u64,
    /// The most pages that are fetched for one author's holes before the next pause.
    pub heal_pages: u32,
    /// Followers here as whom a hole is asked for, until one may see what was said.
    pub heal_askers: usize,
    /// Authors whose holes may be fetched at the same time.
    pub heals: usize,
    /// The least time between two fetches of what an actor elsewhere knows of its followers here.
    pub synchronise_pause: Duration,
}

impl Options {
    /// How long a hole is left alone, and the pause between two fetches for one author: by then
    /// what was only late has come, by its second attempt.
    pub(crate) fn heal_after(&self) -> Duration {
        self.schedule.get(1).or(self.schedule.first()).copied().unwrap_or(self.probe_every)
    }
}

impl Default for Options {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            schedule: vec![
                Duration::from_secs(30),
                minutes(5),
                minutes(30),
                minutes(6 * 60),
                minutes(24 * 60),
            ],
            jitter: 0.1,
            sends_per_peer: 16,
            sends: 256,
            window: 256,
            probe_every: minutes(24 * 60),
            max_age: minutes(30 * 24 * 60),
            retry_after: (Duration::from_secs(1), minutes(24 * 60)),
            batch: 256,
            backfill_items: 10_000,
            backfill_pages: 1_000,
            backfills: 4,
            heal_range: 10_000,
            heal_pages: 20,
            heal_askers: 4,
            heals: 4,
            synchronise_pause: minutes(10),
        }
    }
}

/// Why delivery could not be started or asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The ledger or the log failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An actor did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The blocking pool is gone.
    #[error(transparent)]
    Blocking(#[from] BlockingFailed),
    /// There is no dead letter with this id.
    #[error("there is no dead letter {0:?}")]
    NoSuchLetter(String),
    /// The decision could not be recorded.
    #[error("the decision could not be recorded: {0}")]
    Record(Refusal),
    /// The actor that owns the queue does not answer; try again.
    #[error("the queue of {0} does not answer")]
    NoAnswer(String),
}

/// The parts of which delivery is made.
pub struct Parts {
    /// The kernel; log, rules, keys and surroundings are taken from it.
    pub kernel: Kernel,
    /// The table for ledgers.
    pub ledgers: Arc<dyn Table>,
    /// Who finds actors elsewhere.
    pub discovery: Discovery,
    /// The way out.
    pub client: Client,
    /// How this instance stands to others.
    pub standings: Standings,
    /// The node's supervisor.
    pub supervisor: ActorRef<SupervisorMessage>,
}

/// Where an activity is with respect to one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// The peer's origin.
    pub peer: String,
    /// Where it is.
    pub status: StatusKind,
    /// The first and the latest attempts.
    pub timeline: Vec<Attempt>,
    /// How many attempts there were in all.
    pub attempts: u32,
    /// When the next attempt is due at the earliest, in milliseconds since 1970.
    pub next_ms: Option<i64>,
    /// How many actors of the peer it is for.
    pub recipients: u32,
}

/// One row of the `delivery-state` projection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateRow {
    /// The activity's CID.
    pub cid: String,
    /// The `global_seq` of its entry in its author's outbox.
    pub global_seq: u64,
    /// The rest.
    #[serde(flatten)]
    pub status: PeerStatus,
}

/// A page of the `delivery-state` projection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatePage {
    /// In the order of CID and peer.
    pub rows: Vec<StateRow>,
    /// Where the next page starts, if there may be one.
    pub next: Option<String>,
}

/// Everything that waits for a peer that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first `global_seq` of it.
    pub from: u64,
    /// The last `global_seq` of it.
    pub to: u64,
    /// How many activities.
    pub count: u64,
}

/// Something that is not tried any more, or once a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Names it to [`Delivery::replay`] and [`Delivery::drop_letter`]: `<peer>#<global_seq>`, or
    /// `<peer>#*` for the whole queue of a peer that was given up.
    pub id: String,
    /// The peer's origin.
    pub peer: String,
    /// The activity, where it is one.
    pub cid: Option<Cid>,
    /// The queue, where it is a whole one.
    pub span: Option<Span>,
    /// Actors of the peer, the first of them where there are many.
    pub recipients: Vec<String>,
    /// The first and the latest attempts.
    pub timeline: Vec<Attempt>,
    /// Since when, in milliseconds since 1970.
    pub parked_ms: i64,
    /// Why.
    pub reason: String,
}

/// What is known about a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerInfo {
    /// Its origin.
    pub peer: String,
    /// Activities that wait or are under way.
    pub queued: u64,
    /// Sends under way.
    pub in_flight: usize,
    /// Nothing is sent before this time, in milliseconds since 1970.
    pub backoff_until_ms: Option<i64>,
    /// Failures in a row.
    pub failures: u32,
    /// How requests are signed that it takes.
    pub scheme: Option<Signing>,
    /// All that is remembered of how it takes requests signed.
    pub schemes: Schemes,
    /// Since when it is given up but for probes, in milliseconds since 1970.
    pub down_since_ms: Option<i64>,
    /// Whether this instance has nothing to do with it: what is queued waits for the end of that.
    pub blocked: bool,
}

/// Delivery of a node; cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    kernel: Kernel,
    ledger: Ledger,
    index: Index,
    peers: Peers,
    backfills: Backfills,
    healers: Healers,
    synchronizer: Synchronizer,
    census: census::LastCensus,
}

impl Delivery {
    /// Starts the index, the peers that something is queued for, and the backfills under way.
    ///
    /// # Errors
    /// Where the ledger cannot be read or the index does not start.
    pub async fn open(parts: Parts, options: Options) -> Result<Self, DeliveryError> {
        let Parts { kernel, ledgers, discovery, client, standings, supervisor } = parts;
        let (ledger, options) = (Ledger::new(ledgers), Arc::new(options));
        let peers = Peers::new(Context::new(
            kernel.clone(),
            ledger.clone(),
            discovery.clone(),
            client.clone(),
            standings,
            supervisor.clone(),
            options.clone(),
        ));
        let backfills = Backfills::new(
            kernel.clone(),
            ledger.clone(),
            discovery.clone(),
            client.clone(),
            options.clone(),
        );
        let synchronizer =
            Synchronizer::new(kernel.clone(), discovery.clone(), client.clone(), &options);
        let healers =
            Healers::new(kernel.clone(), ledger.clone(), discovery, client, options.clone());
        peers.resume().await?;
        backfills.resume().await?;
        healers.resume().await?;
        let index = index::start(
            kernel.clone(),
            ledger.clone(),
            peers.clone(),
            backfills.clone(),
            healers.clone(),
            &supervisor,
            options,
        )
        .await?;
        let census = census::LastCensus::default();
        Ok(Self { kernel, ledger, index, peers, backfills, healers, synchronizer, census })
    }

    /// Tells the queues that a peer was heard of, so that one that was given up is tried again.
    /// Cheap; call it for every verified request of the peer (an origin).
    pub fn contact(&self, peer: &str) {
        self.peers.contact(peer);
    }

    /// Asks a peer (an origin) for its node information and answers with the status; where it answers,
    /// what waits for it is tried.
    ///
    /// # Errors
    /// What became of the request.
    pub async fn probe(&self, peer: &str) -> Result<u16, ClientError> {
        self.peers.probe(peer).await
    }

    /// An actor elsewhere says who follows it here; call it only for a request whose signature by
    /// that actor held. What is to be done is done by and by, with what it delivered as the cause.
    pub fn heard_of_followers(&self, actor: &str, statement: Statement, cause: Cid) {
        self.synchronizer.heard(actor.to_owned(), statement, cause);
    }

    #[cfg(test)]
    pub(crate) fn backfills(&self) -> &Backfills {
        &self.backfills
    }

    /// The last `global_seq` that was folded.
    pub fn cursor(&self) -> u64 {
        self.index.cursor()
    }

    /// Waits until everything that the log holds now is queued.
    pub async fn caught_up(&self) {
        self.kernel.log().hurry();
        self.index.reach(self.kernel.log().head()).await;
    }

    /// Waits until everything that the log holds now is queued and nothing can be sent at once:
    /// it was delivered, or waits for its next attempt. For tests.
    pub async fn wait_idle(&self) {
        self.caught_up().await;
        self.peers.idle().await;
        self.backfills.idle().await;
        self.healers.idle().await;
    }

    /// Starts no more sends and waits for those under way; whether they ended in time. What is
    /// queued goes on after the next start.
    pub async fn quiesce(&self, patience: Duration) -> bool {
        let (sends, fetches, heals) = futures::future::join3(
            self.peers.quiesce(patience),
            self.backfills.quiesce(patience),
            self.healers.quiesce(patience),
        )
        .await;
        sends && fetches && heals
    }
}

#[cfg(test)]
mod tests;
