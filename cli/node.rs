//! A node: every component put together over injected surroundings.
//!
//! The program gives it sled, TCP and the system clock; a simulator gives it memory, its own
//! network and virtual time. The order below is the direction in which data flows.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fedsx_delivery::announced::Announced;
use fedsx_delivery::client::{Client, ClientOptions, Dial};
use fedsx_delivery::discovery::{Discovery, DiscoveryOptions, DiscoveryParts};
use fedsx_delivery::moves::MoveChecks;
use fedsx_delivery::standings::Standings;
use fedsx_delivery::{Delivery, service};
use fedsx_genesis::bundle::Verified;
use fedsx_genesis::erasure::{self, Eraser, Wishes};
use fedsx_genesis::triggers::Triggers;
use fedsx_genesis::{GenesisRules, boot, follower, moderation, reactions};
use fedsx_http::capability::Capabilities;
use fedsx_http::metrics::Metrics;
use fedsx_http::{App, AppParts, HttpOptions, Listener, Readiness, Server};
use fedsx_kernel::backup::{Backups, Beside};
use fedsx_kernel::kernel::Parts;
use fedsx_kernel::keys::{KeyMaker, KeyRing, MasterKey, Vault};
use fedsx_kernel::log::{Log, LogOptions, Storage};
use fedsx_kernel::merkle::Trees;
use fedsx_kernel::proof::Suites;
use fedsx_kernel::rules::Rules;
use fedsx_kernel::runtime::{Clock, Runtime};
use fedsx_kernel::supervision::{Supervisor, SupervisorMessage};
use fedsx_kernel::tokens::{TokenError, TokenSpec, Tokens};
use fedsx_kernel::{Kernel, KernelOptions};
use fedsx_projections::{Context, Projections, builtin, published};
use ractor::ActorRef;
use tokio::sync::watch;

/// How long sends under way may take when the node stops.
const QUIESCE: Duration = Duration::from_secs(10);
/// What the token look-up key is derived for.
const TOKEN_KEY: &str = "fedsx 2026-11 token look-up";
/// What the key that signs capability tokens is derived for.
const CAPABILITY_KEY: &str = "fedsx 2026-11 capability root";

/// Configuration of a node.
pub struct NodeOptions {
    /// The kernel's.
    pub kernel: KernelOptions,
    /// The log's.
    pub log: LogOptions,
    /// Of requests to others.
    pub client: ClientOptions,
    /// Of finding actors elsewhere.
    pub discovery: DiscoveryOptions,
    /// Delivery's.
    pub delivery: service::Options,
    /// The server's.
    pub http: HttpOptions,
    /// The tokens of the configuration.
    pub tokens: Vec<TokenSpec>,
    /// Which deletions erase.
    pub wishes: Wishes,
    /// Whether only listed domains are allowed, where the configuration says it.
    pub allow_list: Option<bool>,
}

/// The surroundings of a node.
pub struct Surroundings {
    /// Clock, randomness, blocking pool.
    pub runtime: Runtime,
    /// Where everything is kept.
    pub storage: Arc<dyn Storage>,
    /// The files beside the storage, where there are any: backups need them.
    pub beside: Option<Arc<dyn Beside>>,
    /// How others are reached.
    pub dial: Arc<dyn Dial>,
    /// Encrypts private keys.
    pub master_key: MasterKey,
    /// Makes private keys.
    pub key_maker: Arc<dyn KeyMaker>,
    /// The verified genesis bundle.
    pub genesis: Arc<Verified>,
    /// Where metrics go.
    pub metrics: Metrics,
}

/// A running node.
pub struct Node {
    /// The kernel.
    pub kernel: Kernel,
    /// The projections.
    pub projections: Projections,
    /// Delivery.
    pub delivery: Delivery,
    app: App,
    tokens: Tokens,
    backups: Backups,
    supervisor: ActorRef<SupervisorMessage>,
}

/// What can be changed while a node runs.
#[derive(Clone)]
pub struct Controls {
    tokens: Tokens,
    app: App,
}

impl Controls {
    /// Takes these tokens of the configuration in place of those that it had before.
    pub fn configure_tokens(&self, specs: &[TokenSpec]) {
        self.tokens.configure(specs);
    }

    /// Limits the requests of one client address; 0 for no limit.
    pub fn limit_requests(&self, per_second: u32) {
        self.app.limit_requests(per_second);
    }

    /// Limits the requests of all that bear tokens of one actor; 0 for no limit.
    pub fn limit_actor_requests(&self, per_second: u32) {
        self.app.limit_actor_requests(per_second);
    }
}

impl Node {
    /// Starts everything but the server. When it returns, genesis is in force.
    pub async fn start(options: NodeOptions, around: Surroundings) -> Result<Self> {
        let base = options.kernel.base.clone();
        let rules: Arc<dyn Rules> =
            Arc::new(GenesisRules::new(base, options.kernel.instance.clone()));
        let (storage, runtime) = (around.storage.clone(), around.runtime.clone());
        let log =
            Log::open(storage, rules.clone(), runtime.clone(), &options.log).context("the log")?;
        // Without a store that takes writes, nothing that follows the log gets on.
        let written = log.clone();
        let futile = Arc::new(move || written.failure());
        let supervisor = Supervisor::start_unless(runtime.clock, futile).await?;
        let node = Self::assemble(options, around, rules, log, supervisor.clone()).await;
        if node.is_err() {
            // What was started before the failure goes down with it.
            supervisor.stop(None);
        }
        node
    }

    async fn assemble(
        options: NodeOptions,
        around: Surroundings,
        rules: Arc<dyn Rules>,
        log: Log,
        supervisor: ActorRef<SupervisorMessage>,
    ) -> Result<Self> {
        let Surroundings {
            runtime,
            storage,
            beside,
            dial,
            master_key,
            key_maker,
            genesis,
            metrics,
        } = around;
        let base = options.kernel.base.clone();
        let tokens = tokens(storage.as_ref(), &master_key, runtime.clock.clone())?;
        tokens.configure(&options.tokens);
        let root = master_key.derive(CAPABILITY_KEY);
        let capabilities = Capabilities::load(storage.ledgers(), &root, runtime.clone())?;
        log.sync().await?;
        let ring = KeyRing::new(Vault::new(master_key), storage.ledgers()).with_maker(key_maker);
        let standings = Standings::new(base.clone(), log.clone());
        let client = Client::new(options.client, dial, runtime.clock.clone());
        let client = client.with_gate(Arc::new(standings.clone()));
        let discovery = Discovery::new(
            DiscoveryParts {
                client: client.clone(),
                log: log.clone(),
                kernel_options: options.kernel.clone(),
                runtime: runtime.clone(),
                rules: rules.clone(),
                ring: ring.clone(),
            },
            options.discovery,
        );
        let kernel = Kernel::new(Parts {
            options: options.kernel,
            log: log.clone(),
            rules,
            runtime: runtime.clone(),
            ring,
            suites: Suites::standard(),
            keys: Arc::new(discovery.clone()),
            supervisor: supervisor.clone(),
        });
        boot::boot(&kernel, &genesis).await.context("genesis")?;
        if let Some(only_listed) = options.allow_list {
            moderation::configure(&kernel, only_listed).await.context("the allow list")?;
        }
        let projections = Projections::open_under(
            supervisor.clone(),
            storage.projections(),
            log.clone(),
            runtime.clone(),
            Context { base: base.clone() },
            builtin(),
        )
        .await
        .context("the projections")?;
        published::keep(projections.clone(), log.clone(), runtime.clone(), base)
            .await
            .context("the published projections")?;
        let delivery = Delivery::open(
            service::Parts {
                kernel: kernel.clone(),
                ledgers: storage.ledgers(),
                discovery: discovery.clone(),
                client,
                standings,
                supervisor: supervisor.clone(),
            },
            options.delivery,
        )
        .await
        .context("delivery")?;
        let reactions = reactions::start(kernel.clone(), storage.ledgers(), &supervisor)
            .await
            .context("reactions")?;
        reactions::carry::start(kernel.clone(), storage.ledgers(), &supervisor)
            .await
            .context("followers of who moved")?;
        let moves = MoveChecks::resume(kernel.clone(), discovery.clone(), storage.ledgers())
            .context("Moves that wait")?;
        follower::follow(kernel.clone(), storage.ledgers(), Arc::new(moves), &supervisor)
            .await
            .context("Moves")?;
        let announced = Arc::new(Announced::new(kernel.clone(), discovery.clone()));
        follower::follow(kernel.clone(), storage.ledgers(), announced, &supervisor)
            .await
            .context("what is announced")?;
        let eraser = Eraser::new(kernel.clone());
        erasure::follow(eraser.clone(), options.wishes, storage.ledgers(), &supervisor)
            .await
            .context("erasures")?;
        let (triggers, acted) = Triggers::start(kernel.clone(), storage.ledgers(), &supervisor)
            .await
            .context("triggers")?;
        let backups = Backups::new(storage.clone(), beside, runtime.clone());
        let app = App::new(AppParts {
            options: options.http,
            kernel: kernel.clone(),
            projections: projections.clone(),
            delivery: delivery.clone(),
            discovery,
            trees: Trees::new(log, storage.ledgers(), runtime.clone()),
            tokens: tokens.clone(),
            capabilities,
            eraser,
            backups: backups.clone(),
            genesis,
            triggers,
            readiness: Readiness { reactions, triggers: acted },
            metrics,
        });
        Ok(Self { kernel, projections, delivery, app, tokens, backups, supervisor })
    }

    /// Serves until `stop` turns true, then drains and stops everything.
    pub async fn serve(
        self,
        listener: Box<dyn Listener>,
        stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let drained = Server::new(self.app.clone()).run(listener, stop).await;
        self.stop().await;
        if !drained? {
            tracing::warn!("some requests did not end in time");
        }
        Ok(())
    }

    /// What can be changed while the node runs.
    pub fn controls(&self) -> Controls {
        Controls { tokens: self.tokens.clone(), app: self.app.clone() }
    }

    /// The actor above all others of the node. A simulator that lets the node crash kills it.
    pub fn supervisor(&self) -> ActorRef<SupervisorMessage> {
        self.supervisor.clone()
    }

    /// Stops everything but the server. What is queued goes on after the next start.
    pub async fn stop(self) {
        self.backups.stop().await;
        if !self.delivery.quiesce(QUIESCE).await {
            tracing::warn!("some sends did not end in time; they are made again after the start");
        }
        self.projections.shutdown().await;
        self.kernel.log().close().await;
        self.supervisor.stop(None);
    }
}

/// The tokens of an instance.
///
/// # Errors
/// Where the ledger cannot be read, or holds something else.
pub fn tokens(
    storage: &dyn Storage,
    master_key: &MasterKey,
    clock: Arc<dyn Clock>,
) -> Result<Tokens, TokenError> {
    Tokens::load(storage.ledgers(), *master_key.derive(TOKEN_KEY), clock)
}

/// The built-in genesis bundle, verified.
///
/// # Errors
/// Where a file of the bundle differs from its manifest.
pub fn verified_genesis() -> Result<Verified> {
    Ok(fedsx_genesis::bundle::Bundle::embedded().verify()?)
}
