use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use fedsx_delivery::Delivery;
use fedsx_delivery::discovery::Discovery;
use fedsx_genesis::bundle::Verified;
use fedsx_genesis::erasure::Eraser;
use fedsx_genesis::triggers::Triggers;
use fedsx_kernel::Kernel;
use fedsx_kernel::backup::Backups;
use fedsx_kernel::merkle::Trees;
use fedsx_kernel::tokens::Tokens;
use fedsx_projections::Projections;
use tokio::sync::{Semaphore, watch};

use crate::capability::Capabilities;
use crate::limits::Rates;

/// Configuration of the server.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long request headers may take to arrive.
    pub header_timeout: Duration,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// Connections that may be open.
    pub connections: usize,
    /// Requests that may be under way; beyond, 503.
    pub requests_in_flight: usize,
    /// Requests per second of one client address; 0 for no limit.
    pub requests_per_second: u32,
    /// Requests of one client address that may come at once.
    pub burst: u32,
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
            connections: 4096,
            requests_in_flight: 1024,
            requests_per_second: 200,
            burst: 2000,
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
pub struct App {
    pub(crate) parts: Arc<AppParts>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) in_flight: Arc<Semaphore>,
    /// Whether the node was told to stop.
    pub(crate) draining: Arc<AtomicBool>,
    /// Whether everything that follows the log once stood at its end.
    pub(crate) caught_up: Arc<AtomicBool>,
}

impl App {
    /// Puts the shared state together.
    pub fn new(parts: AppParts) -> Self {
        let rates = Rates::new(parts.options.requests_per_second, parts.options.burst);
        let in_flight = Arc::new(Semaphore::new(parts.options.requests_in_flight));
        Self {
            parts: Arc::new(parts),
            rates: Arc::new(rates),
            in_flight,
            draining: Arc::default(),
            caught_up: Arc::default(),
        }
    }

    /// Limits the requests of one client address to this many each second, with bursts of ten
    /// times as many; 0 for no limit.
    pub fn limit_requests(&self, per_second: u32) {
        self.rates.set(per_second, per_second.saturating_mul(10));
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
