//! An instance in this process, spoken to over a socket like any other, over surroundings that do as
//! a test wants: for what no disk, network or clock outside can be made to do at a given moment.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fedsx::node::{Node, NodeOptions, Surroundings, verified_genesis};
use fedsx_delivery::client::{BoxedStream, ClientOptions, Dial, TcpDial};
use fedsx_delivery::{DiscoveryOptions, service};
use fedsx_genesis::erasure::Wishes;
use fedsx_http::metrics::Metrics;
use fedsx_http::{HttpOptions, TcpAcceptor};
use fedsx_kernel::keys::{Algorithm, KeyError, KeyMaker, MasterKey, SecretKey};
use fedsx_kernel::log::LogOptions;
use fedsx_kernel::runtime::{Clock, OsRandom, Random, Runtime};
use fedsx_kernel::{Base, Kernel, KernelOptions};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::client::Client;
use super::node::{Spec, secret};
use super::peer::rsa;
use super::poll::{PATIENCE, eventually};
use super::touchy::Touchy;
use super::verbs::Published;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);

/// The system's clock, or one that stands still.
#[derive(Default)]
pub struct HandClock(Mutex<Option<Timestamp>>);

impl HandClock {
    /// Stands at this time from now on.
    pub fn stands_at(&self, time: Timestamp) {
        *self.0.lock().expect("the clock") = Some(time);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        self.0.lock().expect("the clock").unwrap_or_else(Timestamp::now)
    }
}

/// Dials over TCP, or lets who wants to dial wait.
pub struct Line {
    held: watch::Sender<bool>,
    waiting: AtomicUsize,
}

impl Line {
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

impl Dial for Line {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxedStream>> {
        Box::pin(async move {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            // The sender lives as long as the line.
            let _ = self.held.subscribe().wait_for(|held| !held).await;
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            TcpDial { allow_private_network: true }.dial(host, port).await
        })
    }
}

/// One RSA key for all: making one takes long.
struct ReadyKeys;

impl KeyMaker for ReadyKeys {
    fn make(&self, algorithm: Algorithm, random: &dyn Random) -> Result<SecretKey, KeyError> {
        match algorithm {
            Algorithm::Ed25519 => Ok(SecretKey::generate_ed25519(random)),
            _ => Ok(rsa().clone()),
        }
    }
}

/// A running instance.
pub struct Inside {
    pub base: String,
    pub kernel: Kernel,
    pub storage: Arc<Touchy>,
    pub clock: Arc<HandClock>,
    pub line: Arc<Line>,
    client: Client,
    stop: watch::Sender<bool>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Inside {
    /// With the tokens of [`Spec`], the limits that are in use inside, and none on single clients.
    pub fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
        let (storage, clock) = (Arc::new(Touchy::default()), Arc::new(HandClock::default()));
        let line = Arc::new(Line { held: watch::Sender::new(false), waiting: AtomicUsize::new(0) });
        let localhost = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime.block_on(TcpListener::bind(localhost)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let base = format!("http://localhost:{port}");
        // The recorder is that of the process.
        static METRICS: OnceLock<Metrics> = OnceLock::new();
        let metrics = METRICS.get_or_init(|| Metrics::install().expect("a recorder"));
        let around = Surroundings {
            runtime: Runtime { clock: clock.clone(), ..Runtime::system() },
            storage: storage.clone(),
            beside: None,
            dial: line.clone(),
            master_key: MasterKey::generate(&OsRandom),
            key_maker: Arc::new(ReadyKeys),
            genesis: Arc::new(verified_genesis().expect("the bundle")),
            metrics: metrics.clone(),
        };
        let options = options(base.parse().expect("a base"));
        let node = runtime.block_on(Node::start(options, around)).expect("it starts");
        let kernel = node.kernel.clone();
        let (stop, told) = watch::channel(false);
        runtime.spawn(node.serve(Box::new(TcpAcceptor(listener)), told));
        let client = Client::new(&base);
        let inside =
            Self { base, kernel, storage, clock, line, client, stop, runtime: Some(runtime) };
        eventually(PATIENCE, "/readyz answers 200", || {
            (inside.client.get("/readyz").status == 200).then_some(())
        });
        inside
    }

    /// A client without a token.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A client with the token of an actor.
    pub fn as_actor(&self, name: &str) -> Client {
        self.client.with_secret(&secret(name))
    }

    /// The id of a hosted actor.
    pub fn actor(&self, name: &str) -> String {
        format!("{}/actors/{name}", self.base)
    }

    /// Publishes as an actor; the request must be taken.
    #[track_caller]
    pub fn publish(&self, name: &str, request: &Value) -> Published {
        let answer = self.as_actor(name).post("/activity", request).expect(201, "a publish");
        Published::of(&answer.json())
    }

    /// Creates a Person by its first activity.
    #[track_caller]
    pub fn create(&self, name: &str) -> Published {
        let person = json!({ "type": "Person", "name": name });
        self.publish(name, &json!({ "type": "Create", "object": person }))
    }

    /// Tells it to stop; it takes requests for a long while yet.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // No thread is left waiting.
        self.storage.let_go();
        self.line.hold(false);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn options(base: Base) -> NodeOptions {
    let tokens = Spec::default().tokens;
    NodeOptions {
        kernel: KernelOptions::new(base),
        log: LogOptions::default(),
        client: ClientOptions {
            allow_private_network: true,
            allow_http: true,
            connect_timeout: LONG,
            request_timeout: LONG,
            ..ClientOptions::default()
        },
        discovery: DiscoveryOptions { fetch_timeout: LONG, ..DiscoveryOptions::default() },
        delivery: service::Options::default(),
        http: HttpOptions {
            ready_lag: 0,
            notice: LONG,
            queueing_delay: LONG,
            concurrent_per_address: 0,
            requests_per_second: 0,
            actor_requests_per_second: 0,
            ..HttpOptions::default()
        },
        tokens: tokens.iter().map(|token| token.parse().expect("a token")).collect(),
        wishes: Wishes { always: false },
        allow_list: None,
    }
}
