//! One instance: a disk that stays, and one life after the other over it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fedsx::node::{Node, NodeOptions, Surroundings};
use fedsx_delivery::client::ClientOptions;
use fedsx_delivery::{Delivery, DiscoveryOptions, service};
use fedsx_genesis::bundle::Verified;
use fedsx_genesis::erasure::Wishes;
use fedsx_http::HttpOptions;
use fedsx_http::metrics::Metrics;
use fedsx_kernel::keys::{Algorithm, KeyError, KeyMaker, MasterKey, SecretKey};
use fedsx_kernel::log::{LogOptions, Storage};
use fedsx_kernel::runtime::{InlineBlocking, ManualClock, Random, Runtime, SeededRandom};
use fedsx_kernel::supervision::SupervisorMessage;
use fedsx_kernel::trace::Traces;
use fedsx_kernel::{Base, Kernel, KernelOptions};
use fedsx_projections::Projections;
use ractor::ActorRef;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::dice::{Dice, derive};
use super::disk::{Disk, Power, SimStorage};
use super::net::{Door, Net, SimListener, host};
use super::trace::Trace;

/// When every run begins: 2026-09-21.
const START_MS: i64 = 1_790_000_000_000;
/// RSA keys that are shared by all actors of a process, since making one takes long.
const RSA_KEYS: u64 = 2;

/// An instance.
pub struct SimNode {
    pub index: usize,
    pub base: Base,
    seed: u64,
    trace: Arc<Trace>,
    net: Arc<Net>,
    dice: Dice,
    disk: Arc<Disk>,
    names: Vec<String>,
    /// How far its clock is wrong.
    skew_ms: Mutex<i64>,
    lives: AtomicU64,
    crashes: AtomicU64,
    up: Mutex<Option<Up>>,
    failed: mpsc::UnboundedSender<usize>,
}

/// What a living instance is reached by.
#[derive(Clone)]
pub struct Handles {
    pub kernel: Kernel,
    pub projections: Projections,
    pub delivery: Delivery,
}

struct Up {
    handles: Handles,
    power: Arc<Power>,
    clock: Arc<ManualClock>,
    supervisor: ActorRef<SupervisorMessage>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl SimNode {
    pub fn new(
        index: usize,
        seed: u64,
        names: Vec<String>,
        net: Arc<Net>,
        trace: Arc<Trace>,
        failed: mpsc::UnboundedSender<usize>,
    ) -> Arc<Self> {
        let dice = Dice::new(seed, &format!("node {index}"));
        let skew_ms = i64::try_from(dice.between(0, 120_000)).unwrap() - 60_000;
        Arc::new(Self {
            index,
            base: format!("http://{}", host(index)).parse().unwrap(),
            seed,
            trace,
            net,
            dice,
            disk: Disk::new(),
            names,
            skew_ms: Mutex::new(skew_ms),
            lives: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            up: Mutex::new(None),
            failed,
        })
    }

    pub fn actor(&self, name: &str) -> String {
        format!("{}/actors/{name}", self.base)
    }

    pub fn handles(&self) -> Option<Handles> {
        self.up.lock().unwrap().as_ref().map(|up| up.handles.clone())
    }

    pub fn is_up(&self) -> bool {
        self.up.lock().unwrap().is_some()
    }

    pub fn ever_crashed(&self) -> bool {
        self.crashes.load(Ordering::SeqCst) > 0
    }

    fn options(&self) -> NodeOptions {
        let tokens = self.names.iter().map(|name| {
            format!("{name}={}:publish,read,define,admin", secret(name)).parse().unwrap()
        });
        NodeOptions {
            kernel: KernelOptions::new(self.base.clone()),
            log: LogOptions::default(),
            client: ClientOptions { allow_http: true, ..ClientOptions::default() },
            discovery: DiscoveryOptions::default(),
            delivery: service::Options::default(),
            http: HttpOptions { ready_lag: 0, ..HttpOptions::default() },
            tokens: tokens.collect(),
            wishes: Wishes { always: false },
            allow_list: None,
        }
    }

    /// Begins a new life, unless one goes on; false where the power failed meanwhile.
    pub async fn start(&self, genesis: &Arc<Verified>, fuse: Option<(i64, bool)>) -> bool {
        if self.is_up() {
            return true;
        }
        let life = self.lives.fetch_add(1, Ordering::SeqCst);
        let random = derive(self.seed, &format!("random of {} in life {life}", self.index));
        let power = Power::new(self.index, self.failed.clone());
        if let Some((writes, last_is_kept)) = fuse {
            power.fail_after(writes, last_is_kept);
        }
        let elapsed_ms = i64::try_from(self.trace.elapsed_ms()).unwrap();
        let clock =
            Arc::new(ManualClock::new(START_MS + elapsed_ms + *self.skew_ms.lock().unwrap()));
        let around = Surroundings {
            runtime: Runtime {
                clock: clock.clone(),
                random: Arc::new(SeededRandom::new(random)),
                blocking: Arc::new(InlineBlocking),
                traces: Traces::off(),
            },
            storage: Arc::new(self.storage(&power)),
            beside: None,
            dial: self.net.dialler(self.index, power.life()),
            master_key: MasterKey::generate(&SeededRandom::new(derive(self.seed, "master key"))),
            key_maker: Arc::new(ReadyKeys),
            genesis: genesis.clone(),
            metrics: Metrics::detached(),
        };
        self.trace.note(&format!("n{} starts life {life}", self.index));
        let node = match Node::start(self.options(), around).await {
            Ok(node) => node,
            Err(error) => {
                self.trace.note(&format!("n{} did not start: {error:#}", self.index));
                assert!(!power.is_on(), "n{} did not start: {error:#}", self.index);
                self.crashes.fetch_add(1, Ordering::SeqCst);
                self.disk.crash(&self.dice);
                return false;
            }
        };
        let handles = Handles {
            kernel: node.kernel.clone(),
            projections: node.projections.clone(),
            delivery: node.delivery.clone(),
        };
        let supervisor = node.supervisor();
        let (stop, told) = watch::channel(false);
        let (listener, incoming) = mpsc::unbounded_channel();
        let serving = tokio::spawn(node.serve(Box::new(SimListener(incoming)), told));
        self.net.open_door(self.index, Some(Door { listener, life: power.life() }));
        let lives = power.is_on();
        *self.up.lock().unwrap() = Some(Up { handles, power, clock, supervisor, stop, serving });
        if !lives {
            self.crash("while it started");
        }
        lives
    }

    /// The power fails now.
    pub fn crash(&self, why: &str) {
        let Some(up) = self.up.lock().unwrap().take() else { return };
        self.trace.note(&format!("n{} crashes {why}", self.index));
        self.crashes.fetch_add(1, Ordering::SeqCst);
        up.power.cut();
        self.net.open_door(self.index, None);
        up.serving.abort();
        up.supervisor.kill();
        self.disk.crash(&self.dice);
    }

    /// The power fails at a write that is yet to come.
    pub fn crash_at_write(&self, writes: i64, last_is_kept: bool) {
        if let Some(up) = &*self.up.lock().unwrap() {
            up.power.fail_after(writes, last_is_kept);
        }
    }

    /// Stops in good order.
    pub async fn stop(&self) {
        let Some(up) = self.up.lock().unwrap().take() else { return };
        self.trace.note(&format!("n{} stops", self.index));
        self.net.open_door(self.index, None);
        up.stop.send_replace(true);
        let ended = timeout(Duration::from_secs(120), up.serving).await;
        assert!(ended.is_ok(), "n{} did not stop within two minutes", self.index);
        up.power.cut();
        // Even after an orderly stop, only what was synced is sure to be there.
        self.disk.crash(&self.dice);
    }

    /// Sets the clock forward or back.
    pub fn jump(&self, by_ms: i64) {
        *self.skew_ms.lock().unwrap() += by_ms;
        if let Some(up) = &*self.up.lock().unwrap() {
            up.clock.jump_ms(by_ms);
        }
    }

    fn storage(&self, power: &Arc<Power>) -> SimStorage {
        SimStorage::new(self.disk.clone(), power.clone(), self.trace.clone())
    }

    /// What is on the disk, for checks after the end.
    pub fn on_disk(&self) -> impl Storage {
        self.storage(&Power::new(self.index, self.failed.clone()))
    }
}

/// The token of an actor.
pub fn secret(name: &str) -> String {
    format!("secret-of-{name}")
}

/// RSA keys that were made before.
struct ReadyKeys;

impl KeyMaker for ReadyKeys {
    fn make(&self, algorithm: Algorithm, random: &dyn Random) -> Result<SecretKey, KeyError> {
        static RSA: OnceLock<Vec<SecretKey>> = OnceLock::new();
        if algorithm == Algorithm::Ed25519 {
            return Ok(SecretKey::generate_ed25519(random));
        }
        let keys = RSA.get_or_init(|| {
            let make = |n| SecretKey::generate_rsa(&SeededRandom::new(n)).unwrap();
            (0..RSA_KEYS).map(make).collect()
        });
        let [choice] = random.bytes();
        Ok(keys[usize::from(choice) % keys.len()].clone())
    }
}
