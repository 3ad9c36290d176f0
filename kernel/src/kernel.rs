//! The kernel's handle: publish, receive, read.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ractor::ActorRef;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::activity::Activity;
use crate::address::{ActorName, Base};
use crate::cid::Cid;
use crate::hosts::Hosts;
use crate::keys::{KeyRing, ParsedKeys, RingError};
use crate::log::{Append, AppendError, Appended, BODY_ERASED, Log, Meta, Once, Place};
use crate::pipeline::inbound::{Delivery, Received};
use crate::pipeline::rates::Rates;
use crate::pipeline::replays::Replays;
use crate::proof::Suites;
use crate::refusal::{Problem, Refusal};
use crate::rules::Rules;
use crate::runtime::Runtime;
use crate::supervision::SupervisorMessage;

/// Configuration of the kernel.
#[derive(Clone, Debug)]
pub struct KernelOptions {
    /// Addresses of this instance.
    pub base: Base,
    /// The actor that stands for the instance itself.
    pub instance: ActorName,
    /// Raised whenever the instance is restored from a backup.
    pub epoch: u64,
    /// Publishes of one actor that may be under way.
    pub publishes_in_flight: usize,
    /// Deliveries that may be under way.
    pub deliveries_in_flight: usize,
    /// Deliveries that may wait for the documents of their authors. Others go on meanwhile.
    pub introductions_in_flight: usize,
    /// Deliveries that are taken of one peer each second; 0 for no limit.
    pub peer_deliveries_per_second: u32,
    /// Deliveries of one peer that may come at once.
    pub peer_burst: u32,
    /// After this long without work a hosted actor leaves memory.
    pub idle: Duration,
    /// How long the signature of an accepted request is remembered.
    pub replay_window: Duration,
}

impl KernelOptions {
    /// The defaults for an instance with this base.
    #[allow(clippy::missing_panics_doc)]
    pub fn new(base: Base) -> Self {
        #[allow(clippy::expect_used, reason = "a constant that is a valid name")]
        let instance = "instance".parse().expect("a valid name");
        Self {
            base,
            instance,
            epoch: 0,
            publishes_in_flight: 64,
            deliveries_in_flight: 256,
            introductions_in_flight: 128,
            peer_deliveries_per_second: 100,
            peer_burst: 5000,
            idle: Duration::from_secs(300),
            replay_window: Duration::from_secs(13 * 3600),
        }
    }
}

/// Brings the keys of an actor elsewhere into the admission state.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// Fetches the actor's document from its origin and records it. One flight per actor;
    /// failures are remembered shortly.
    async fn refresh(&self, actor: &str) -> Result<(), Refusal>;
}

/// A request to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The actor who publishes.
    pub actor: ActorName,
    /// What the client sent, in normal form.
    pub request: Map<String, Value>,
    /// What makes the request unrepeatable.
    pub once: Option<Once>,
    /// The activity that this one follows from.
    pub cause: Option<Cid>,
    /// Whether the definitions of this instance may change by it (the scope `define`).
    pub defines: bool,
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// The activity as it stands in the log.
    pub activity: Arc<Activity>,
    /// Position in the author's outbox.
    pub seq: u64,
    /// From this position on the log holds it.
    pub global_seq: u64,
    /// Whether an earlier request with the same idempotency key published it.
    pub already: bool,
}

/// The kernel of a node; cheap to clone.
#[derive(Clone)]
pub struct Kernel {
    pub(crate) inner: Arc<Shared>,
    hosts: Hosts,
}

/// What the pipelines share.
pub struct Shared {
    pub(crate) options: KernelOptions,
    pub(crate) log: Log,
    pub(crate) rules: Arc<dyn Rules>,
    pub(crate) runtime: Runtime,
    pub(crate) ring: KeyRing,
    pub(crate) suites: Suites,
    pub(crate) keys: Arc<dyn KeySource>,
    pub(crate) parsed: ParsedKeys,
    pub(crate) replays: Replays,
    pub(crate) deliveries: Semaphore,
    pub(crate) introductions: Semaphore,
    pub(crate) rates: Rates,
}

/// The parts of which a kernel is made.
pub struct Parts {
    /// Configuration.
    pub options: KernelOptions,
    /// The log.
    pub log: Log,
    /// What verbs mean.
    pub rules: Arc<dyn Rules>,
    /// Clock, randomness, blocking pool.
    pub runtime: Runtime,
    /// The private keys.
    pub ring: KeyRing,
    /// Signature suites by name.
    pub suites: Suites,
    /// Where foreign keys come from.
    pub keys: Arc<dyn KeySource>,
    /// The node's supervisor.
    pub supervisor: ActorRef<SupervisorMessage>,
}

impl Kernel {
    /// Puts a kernel together.
    pub fn new(parts: Parts) -> Self {
        let replays = Replays::new(parts.options.replay_window);
        let inner = Arc::new(Shared {
            deliveries: Semaphore::new(parts.options.deliveries_in_flight),
            introductions: Semaphore::new(parts.options.introductions_in_flight),
            rates: Rates::new(
                parts.options.peer_deliveries_per_second,
                parts.options.peer_burst,
                "this peer delivers too often",
            ),
            options: parts.options,
            log: parts.log,
            rules: parts.rules,
            runtime: parts.runtime,
            ring: parts.ring,
            suites: parts.suites,
            keys: parts.keys,
            parsed: ParsedKeys::new(),
            replays,
        });
        let hosts = Hosts::new(inner.clone(), parts.supervisor);
        Self { inner, hosts }
    }

    /// Publishes as an actor that is hosted here; returns when it is durable.
    pub async fn publish(&self, publish: Publish) -> Result<Published, Refusal> {
        self.hosts.publish(publish).await
    }

    /// Takes a delivery in; returns when it is durable.
    pub async fn receive(&self, delivery: Delivery) -> Result<Received, Refusal> {
        crate::pipeline::inbound::receive(&self.inner, delivery).await
    }

    /// Whether a delivery that came now would be taken up, after so many that are on their way: beyond
    /// [`KernelOptions`]' `deliveries_in_flight` it would not, so that it need not even be read.
    pub fn takes_deliveries(&self, coming: usize) -> bool {
        self.inner.deliveries.available_permits() > coming
    }

    /// Whether an activity that was fetched from a URL is by its author and admissible; nothing is
    /// appended. The answer names what vouches for it.
    pub async fn vouch(&self, body: &[u8], url: &str) -> Result<(Activity, String), Refusal> {
        crate::pipeline::inbound::vouch(&self.inner, body, url).await
    }

    /// Records an observation or decision of this instance in the `local` stream. `content` has
    /// a `type`; author, time and salt are added.
    pub async fn record(
        &self,
        content: Map<String, Value>,
        once: Option<Once>,
    ) -> Result<u64, Refusal> {
        record(&self.inner.log, &self.inner.options, &self.inner.runtime, content, once).await
    }

    /// Erases a body: this stub takes its place ([`Activity::stub`]), and a record in the `local`
    /// stream says which object's content that was, who asked for it, and why. Gives the position
    /// of the record, and nothing where nothing but the stub was left.
    ///
    /// # Errors
    /// Where the log takes no appends.
    pub async fn erase(
        &self,
        stub: Activity,
        object: &str,
        by: &str,
        why: &str,
    ) -> Result<Option<u64>, Refusal> {
        let cid = stub.cid().to_string();
        let key = format!("erased\n{cid}\n{object}");
        let about = serde_json::json!({ "cid": cid, "object": object, "by": by, "why": why });
        let mut content = Map::new();
        content.insert("type".into(), BODY_ERASED.into());
        content.insert("object".into(), about);
        let Shared { log, options, runtime, .. } = &*self.inner;
        let (place, once) = (Place::Erasing(Arc::new(stub)), Once { key, fingerprint: None });
        match append(log, options, runtime, content, Some(once), place).await {
            Ok(appended) => Ok(Some(appended.global_seq)),
            Err(AppendError::OnceTaken(_) | AppendError::NothingToErase(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// What verbs mean.
    pub fn rules(&self) -> &Arc<dyn Rules> {
        &self.inner.rules
    }

    /// Configuration.
    pub fn options(&self) -> &KernelOptions {
        &self.inner.options
    }

    /// Clock, randomness, blocking pool.
    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    /// Names of the signature suites.
    pub fn suites(&self) -> Vec<String> {
        self.inner.suites.names().into_iter().map(str::to_owned).collect()
    }

    /// How many hosted actors are in memory.
    pub fn hosted_in_memory(&self) -> usize {
        self.hosts.len()
    }

    /// The private keys.
    pub fn ring(&self) -> &KeyRing {
        &self.inner.ring
    }
}

impl From<RingError> for Refusal {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Missing(_) => Refusal::new(Problem::PrivateKeyMissing, error.to_string()),
            RingError::Store(error) => error.into(),
            other => Refusal::new(Problem::Internal, other.to_string()),
        }
    }
}

/// Appends to the `local` stream; see [`Kernel::record`].
pub async fn record(
    log: &Log,
    options: &KernelOptions,
    runtime: &Runtime,
    content: Map<String, Value>,
    once: Option<Once>,
) -> Result<u64, Refusal> {
    match append(log, options, runtime, content, once, Place::Local).await {
        Ok(appended) => Ok(appended.global_seq),
        Err(AppendError::OnceTaken(used)) => Ok(used.global_seq),
        Err(error) => Err(error.into()),
    }
}

async fn append(
    log: &Log,
    options: &KernelOptions,
    runtime: &Runtime,
    mut content: Map<String, Value>,
    once: Option<Once>,
    place: Place,
) -> Result<Appended, AppendError> {
    let internal = |error: &dyn std::fmt::Display| {
        AppendError::Refused(Refusal::new(Problem::Internal, error.to_string()))
    };
    let now = runtime.clock.now();
    content.insert("actor".into(), options.base.actor(&options.instance).into());
    content.insert("published".into(), now.to_string().into());
    content.insert("salt".into(), hex::encode(runtime.random.bytes::<16>()).into());
    let content = match crate::json::normalise(Value::Object(content)) {
        Ok(Value::Object(content)) => content,
        Ok(_) => return Err(internal(&"a record is an object")),
        Err(error) => return Err(internal(&error)),
    };
    let activity = Activity::seal(content).map_err(|e| internal(&e))?;
    let meta = Meta { received_ms: now.as_millisecond(), ..Meta::default() };
    log.append(Append { activity: Arc::new(activity), place, meta, once, guard: None }).await
}
