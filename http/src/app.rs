use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use fedsx_delivery::Delivery;
use fedsx_delivery::discovery::Discovery;
use fedsx_genesis::bundle::Verified;
use fedsx_genesis::erasure::Eraser;
use fedsx_genesis::triggers::Triggers;
use fedsx_kernel::ActorName;
use fedsx_kernel::Kernel;
use fedsx_kernel::backup::Backups;
use fedsx_kernel::merkle::Trees;
use fedsx_kernel::pipeline::Rates as PeerRates;
use fedsx_kernel::tokens::Tokens;
use fedsx_projections::Projections;
use ipnet::IpNet;
use tokio::sync::{Semaphore, watch};

use crate::capability::Capabilities;
use crate::dated::Dates;
use crate::hot::Hot;
use crate::limits::{BURST_S, Load, Rates, Tally};
use crate::request_id::Names;

/// Configuration of the server.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long request headers may take to arrive, and a connection may be idle.
    pub header_timeout: Duration,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub response_timeout: Duration,
    /// Bytes of request bodies that may be in memory; beyond, 503.
    pub body_memory_bytes: usize,
    /// Proxies whose `X-Forwarded-For` says who the client is.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections that may be open; beyond, 503.
    pub connections: usize,
    /// Connections, and requests under way, of one client address; beyond, 429. 0 for no limit.
    pub concurrent_per_address: usize,
    /// Requests that may be under way; beyond, 503.
    pub requests_in_flight: usize,
    /// How long work may wait for its turn before a share of requests is answered 503.
    pub queueing_delay: Duration,
    /// Requests per second of one client address, and ten times as many at once; 0 for no limit.
    pub requests_per_second: u32,
    /// The same for all that bear tokens of one actor.
    pub actor_requests_per_second: u32,
    /// The same for all that actors of one peer signed, to read.
    pub peer_reads_per_second: u32,
    /// How long shutting down waits for requests under way.
    pub drain: Duration,
    /// For how long, before that, requests are still taken while `/readyz` says that the node goes.
    pub notice: Duration,
    /// How many entries what follows the log may be behind its end for the node to be ready, once
    /// it has caught up.
    pub ready_lag: u64,
    /// Longest wait for `min_seq`.
    pub max_wait: Duration,
    /// Whether outboxes, collections, objects and activities are for signed requests alone
    /// ("authorized fetch"), and of actor documents only what keys and inboxes are found by.
    pub authorized_fetch: bool,
    /// A random name of this process, by which an instance knows itself under its base URL; empty
    /// where nobody asks.
    pub run: String,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_body_bytes: fedsx_kernel::json::MAX_BYTES,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(30),
            body_memory_bytes: 64 * 1024 * 1024,
            trusted_proxies: Vec::new(),
            connections: 4096,
            concurrent_per_address: 256,
            requests_in_flight: 1024,
            queueing_delay: Duration::from_millis(100),
            requests_per_second: 200,
            actor_requests_per_second: 200,
            peer_reads_per_second: 100,
            drain: Duration::from_secs(10),
            notice: Duration::ZERO,
            ready_lag: 1000,
            max_wait: Duration::from_secs(30),
            authorized_fetch: false,
            run: String::new(),
        }
    }
}

/// Whether the node is fit to serve, and why not.
#[derive(Clone)]
pub struct Readiness {
    /// How far the instance's own answers have come.
    pub reactions: watch::Receiver<u64>,
    /// How far the triggers have come.
    pub triggers: watch::Receiver<u64>,
}

/// What the handlers work with.
pub struct AppParts {
    /// Configuration.
    pub options: HttpOptions,
    /// The kernel.
    pub kernel: Kernel,
    /// The projections.
    pub projections: Projections,
    /// Delivery.
    pub delivery: Delivery,
    /// Finding actors elsewhere.
    pub discovery: Discovery,
    /// Merkle trees over the outboxes.
    pub trees: Trees,
    /// Bearer tokens.
    pub tokens: Tokens,
    /// Capability tokens.
    pub capabilities: Capabilities,
    /// Erases what authors deleted.
    pub eraser: Eraser,
    /// What published triggers do.
    pub triggers: Triggers,
    /// Backups of this instance.
    pub backups: Backups,
    /// The genesis bundle in force.
    pub genesis: Arc<Verified>,
    /// What readiness depends on beside the projections.
    pub readiness: Readiness,
    /// Renders the metrics.
    pub metrics: crate::metrics::Metrics,
}

/// The handlers' shared state; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// What all handlers share. Each request clones [`App`] some times, so that one count of references
/// stands for all of it.
pub struct Shared {
    pub(crate) parts: AppParts,
    /// Whether the node was told to stop.
    pub(crate) draining: Arc<AtomicBool>,
    /// Whether everything that follows the log once stood at its end.
    pub(crate) caught_up: AtomicBool,
    pub(crate) rates: Rates<IpAddr>,
    pub(crate) actor_rates: Rates<ActorName>,
    /// Signed reads, by the origin of who signed them.
    pub(crate) peer_rates: PeerRates,
    pub(crate) under_way: Tally,
    pub(crate) load: Arc<Load>,
    pub(crate) body_memory: Arc<Semaphore>,
    /// One reads the whole log at a time.
    pub(crate) sweeps: Arc<Semaphore>,
    pub(crate) names: Names,
    pub(crate) dates: Dates,
    pub(crate) hot: Hot,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// Puts the shared state together.
    pub fn new(parts: AppParts) -> Self {
        let options = &parts.options;
        let (most, target) = (options.requests_in_flight, options.queueing_delay);
        Self(Arc::new(Shared {
            rates: Rates::new(options.requests_per_second),
            actor_rates: Rates::new(options.actor_requests_per_second),
            peer_rates: PeerRates::new(
                options.peer_reads_per_second,
                options.peer_reads_per_second.saturating_mul(BURST_S),
                "this peer reads too often",
            ),
            under_way: Tally::new(options.concurrent_per_address),
            load: Arc::new(Load::new(most, target, parts.kernel.clone())),
            body_memory: Arc::new(Semaphore::new(options.body_memory_bytes)),
            draining: Arc::default(),
            caught_up: AtomicBool::default(),
            sweeps: Arc::new(Semaphore::new(1)),
            names: Names::new(parts.kernel.runtime().random.as_ref()),
            dates: Dates::default(),
            hot: Hot::default(),
            parts,
        }))
    }

    /// Limits the requests of one client address to this many each second, with bursts of ten
    /// times as many; 0 for no limit.
    pub fn limit_requests(&self, per_second: u32) {
        self.rates.set(per_second);
    }

    /// The same for all that bear tokens of one actor.
    pub fn limit_actor_requests(&self, per_second: u32) {
        self.actor_rates.set(per_second);
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.parts.kernel
    }

    pub(crate) fn base(&self) -> &fedsx_kernel::Base {
        &self.parts.kernel.options().base
    }

    /// Runs a read of the store in the blocking pool.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, fedsx_kernel::Refusal> + Send + 'static,
    ) -> Result<T, fedsx_kernel::Refusal> {
        let app = self.clone();
        self.kernel().runtime().run(move || work(&app)).await.map_err(|e| {
            fedsx_kernel::Refusal::new(fedsx_kernel::Problem::Internal, e.to_string())
        })?
    }
}
