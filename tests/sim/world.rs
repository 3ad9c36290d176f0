//! The world of one run: instances, network, people, faults, and the way to the end.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fedsx::node::verified_genesis;
use fedsx_genesis::bundle::Verified;
use fedsx_kernel::Cid;
use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::check;
use super::dice::Dice;
use super::faults::{self, Fault};
use super::net::Net;
use super::node::SimNode;
use super::trace::{Amount, Trace};
use super::user::{self, User};

const HOUR: Duration = Duration::from_secs(3600);
/// How long a world may take to come to rest after it was healed: the longest pause, its jitter,
/// a probe a day, and what follows from these.
const REST: Duration = Duration::from_secs(8 * 24 * 3600);

/// Something that was published and acknowledged.
#[derive(Clone, Debug)]
pub struct Published {
    pub node: usize,
    pub cid: Cid,
}

pub struct World {
    pub seed: u64,
    pub trace: Arc<Trace>,
    pub net: Arc<Net>,
    pub nodes: Vec<Arc<SimNode>>,
    /// Every actor, with its instance.
    pub cast: Vec<(usize, String)>,
    pub published: Mutex<Vec<Published>>,
    violations: Mutex<Vec<String>>,
    /// Faults that keep an instance down.
    held: Mutex<Vec<i32>>,
    dice: Dice,
}

/// What came of a run.
pub struct Outcome {
    pub hash: String,
    pub amount: Amount,
    pub virtual_hours: u64,
    pub schedule: Vec<String>,
    pub violations: Vec<String>,
    pub lines: Vec<String>,
    pub counts: check::Counts,
}

/// Runs one seed.
pub fn run(seed: u64, echo: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(live(seed, echo))
}

fn genesis() -> Arc<Verified> {
    static VERIFIED: OnceLock<Arc<Verified>> = OnceLock::new();
    VERIFIED.get_or_init(|| Arc::new(verified_genesis().unwrap())).clone()
}

async fn live(seed: u64, echo: bool) -> Outcome {
    let dice = Dice::new(seed, "world");
    let trace = Arc::new(Trace::new(echo));
    let count = 2 + [0, 0, 1, 1, 2, 3][dice.below(6)];
    let net = Net::new(count, seed, trace.clone());
    let mut cast = Vec::new();
    for node in 0..count {
        for index in 0..dice.between(1, 3) {
            cast.push((
                node,
                format!("{}{node}", ["ann", "bob", "cy"][usize::try_from(index).unwrap()]),
            ));
        }
    }
    let (failed, failures) = mpsc::unbounded_channel();
    let nodes = (0..count)
        .map(|node| {
            let names = cast.iter().filter(|(at, _)| *at == node).map(|(_, name)| name.clone());
            let names = names.collect();
            SimNode::new(node, seed, names, net.clone(), trace.clone(), failed.clone())
        })
        .collect();
    let away = dice.chance(30);
    let pause = dice.between(1, 60);
    let acts = dice.between(4, 12);
    let span = Duration::from_secs(acts * pause / 2 + 30);
    let schedule = faults::schedule(&Dice::new(seed, "faults"), count, span, away);
    let told: Vec<_> = schedule.iter().map(Fault::to_string).collect();
    let world = Arc::new(World {
        seed,
        trace: trace.clone(),
        net,
        nodes,
        cast,
        published: Mutex::default(),
        violations: Mutex::default(),
        held: Mutex::new(vec![0; count]),
        dice,
    });
    let counts =
        AssertUnwindSafe(world.clone().story(schedule, failures, acts, pause)).catch_unwind().await;
    let counts = counts.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        world.violation(format!("a panic: {}", said.unwrap_or_default()));
        check::Counts::default()
    });
    let violations = std::mem::take(&mut *world.violations.lock().unwrap());
    Outcome {
        hash: trace.hash(),
        amount: trace.amount(),
        virtual_hours: trace.elapsed_ms() / 3_600_000,
        schedule: told,
        violations,
        lines: trace.lines(),
        counts,
    }
}

impl World {
    pub fn violation(&self, what: String) {
        self.trace.note(&format!("VIOLATION {what}"));
        self.violations.lock().unwrap().push(what);
    }

    async fn story(
        self: Arc<Self>,
        schedule: Vec<Fault>,
        mut failures: mpsc::UnboundedReceiver<usize>,
        acts: u64,
        pause: u64,
    ) -> check::Counts {
        for node in &self.nodes {
            assert!(node.start(&genesis(), None).await, "the first start");
        }
        let world = self.clone();
        let reviver = tokio::spawn(async move {
            while let Some(node) = failures.recv().await {
                world.nodes[node].crash("at a write");
                let world = world.clone();
                let pause = world.dice.seconds(0, 120);
                tokio::spawn(async move {
                    sleep(pause).await;
                    world.revive(node).await;
                });
            }
        });
        let users: Vec<_> = self
            .cast
            .iter()
            .map(|(node, name)| {
                let user = User::new(self.clone(), self.nodes[*node].clone(), name);
                tokio::spawn(user.act(acts, pause))
            })
            .collect();
        let faults: Vec<_> = schedule
            .into_iter()
            .map(|fault| tokio::spawn(faults::happen(self.clone(), fault)))
            .collect();
        for fault in faults {
            fault.await.unwrap();
        }
        self.net.heal();
        for node in 0..self.nodes.len() {
            self.nodes[node].crash_at_write(-1, false);
            self.revive(node).await;
        }
        self.trace.note("healed");
        for user in users {
            match timeout(48 * HOUR, user).await {
                Ok(ended) => ended.unwrap(),
                Err(_) => self.violation("a user got no answer for two days".to_owned()),
            }
        }
        self.rest().await;
        let first = check::deliveries(&self, None).await;
        self.replay_letters().await;
        self.rest().await;
        let counts = check::everything(&self, first).await;
        reviver.abort();
        let _ = reviver.await;
        for node in &self.nodes {
            node.stop().await;
        }
        // What a life had begun that was stopped in good order must end as well.
        sleep(HOUR).await;
        let left = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if left > 0 && !self.nodes.iter().any(|node| node.ever_crashed()) {
            self.violation(format!("{left} tasks are still there an hour after the end"));
        }
        check::disks(&self);
        counts
    }

    /// Keeps an instance down, or not any more.
    pub fn hold(&self, node: usize, by: i32) {
        self.held.lock().unwrap()[node] += by;
    }

    /// Brings an instance up where nothing keeps it down.
    pub async fn revive(&self, node: usize) {
        if self.held.lock().unwrap()[node] > 0 {
            return;
        }
        // Sometimes the power fails again while it starts.
        let fuse = self.dice.chance(15).then(|| {
            let writes = i64::try_from(self.dice.between(0, 40)).unwrap();
            (writes, self.dice.chance(50))
        });
        if !self.nodes[node].start(&genesis(), fuse).await {
            self.nodes[node].start(&genesis(), None).await;
        }
    }

    /// Waits until nothing is queued, under way or behind anywhere.
    async fn rest(&self) {
        let rests = async {
            let mut quiet = 0;
            while quiet < 3 {
                sleep(Duration::from_secs(600)).await;
                quiet = if self.is_quiet().await { quiet + 1 } else { 0 };
            }
        };
        if timeout(REST, rests).await.is_err() {
            for node in &self.nodes {
                let Some(handles) = node.handles() else { continue };
                let peers = handles.delivery.peers(None, 100).await.unwrap();
                self.violation(format!("n{} does not come to rest: {peers:?}", node.index));
            }
        }
    }

    async fn is_quiet(&self) -> bool {
        if !self.net.is_quiet() {
            return false;
        }
        for node in &self.nodes {
            let Some(handles) = node.handles() else { return false };
            let peers = handles.delivery.peers(None, 1000).await.unwrap();
            if peers.iter().any(|peer| peer.queued > 0 || peer.in_flight > 0) {
                return false;
            }
            let name = self.cast.iter().find(|(at, _)| *at == node.index).map(|(_, name)| name);
            let ready =
                user::request(self, node, "GET", "/readyz", name.unwrap(), None, None).await;
            if !matches!(ready, Ok((200, _))) {
                return false;
            }
        }
        true
    }

    /// Operators look through what was parked, now that all is well.
    async fn replay_letters(&self) {
        for node in &self.nodes {
            let Some(handles) = node.handles() else { continue };
            for letter in handles.delivery.dead_letters(None, 1000).await.unwrap() {
                self.trace
                    .note(&format!("n{} replays {} ({})", node.index, letter.id, letter.reason));
                handles.delivery.replay(&letter.id).await.unwrap();
            }
        }
    }
}
