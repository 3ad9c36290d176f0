//! Whatever happens to the process, the stored state is what the log gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use fedsx_kernel::log::{Log, Record, StoreError, Table, TableWrite};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::state::State;
use fedsx_kernel::supervision::{Supervisor, SupervisorMessage};
use fedsx_projections::set_aside::Status;
use fedsx_projections::{
    Context, Fold, FoldError, Options, Projections, Reader, Scope, Shown, Verdict, Visibility,
    builtin, rebuild_digest, stored_digest,
};
use proptest::prelude::*;
use proptest::sample::Index;
use ractor::ActorRef;
use serde_json::Value;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What survives a crash, and what it was before the last writes.
#[derive(Default)]
struct Disk {
    now: Content,
    before: VecDeque<Content>,
}

/// A table of a process that dies after some writes.
struct Mortal {
    disk: Arc<Mutex<Disk>>,
    /// Writes until the end; negative once it has come.
    life: AtomicI64,
}

const LONG: i64 = i64::MAX / 2;

impl Mortal {
    fn is_dead(&self) -> bool {
        self.life.load(Ordering::SeqCst) < 0
    }
}

impl Table for Mortal {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.disk.lock().unwrap().now.get(key).cloned())
    }
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Pairs, StoreError> {
        let disk = self.disk.lock().unwrap();
        let all = disk.now.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let all = all.filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        Ok(all.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
    fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        let mut all = self.scan(prefix, None, usize::MAX)?;
        all.retain(|(key, _)| before.is_none_or(|before| key.as_slice() < before));
        Ok(all.into_iter().rev().take(limit).collect())
    }
    fn apply(&self, writes: Vec<TableWrite>) -> Result<(), StoreError> {
        let mut disk = self.disk.lock().unwrap();
        if self.life.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(StoreError::Io("the process is gone".into()));
        }
        let before = disk.now.clone();
        disk.before.push_back(before);
        if disk.before.len() > 8 {
            disk.before.pop_front();
        }
        for (key, value) in writes {
            match value {
                Some(value) => disk.now.insert(key, value),
                None => disk.now.remove(&key),
            };
        }
        Ok(())
    }
}

/// A later version of a fold that does the same.
struct Later(Arc<dyn Fold>, u32);

impl Fold for Later {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn version(&self) -> u32 {
        self.0.version() + self.1
    }
    fn scope(&self) -> Scope {
        self.0.scope()
    }
    fn visibility(&self) -> Visibility {
        self.0.visibility()
    }
    fn shown_to(&self, key: &[String], value: &Value, reader: &Reader) -> Shown {
        self.0.shown_to(key, value, reader)
    }
    fn fold(
        &self,
        context: &Context,
        state: &mut dyn State,
        record: &Record,
    ) -> Result<(), FoldError> {
        self.0.fold(context, state, record)
    }
}

fn folds(later: u32) -> Vec<Arc<dyn Fold>> {
    let mut all = builtin();
    all.push(Arc::new(Gate));
    all.into_iter().map(|one| Arc::new(Later(one, later)) as Arc<dyn Fold>).collect()
}

/// What happens after an activity.
#[derive(Clone, Debug)]
enum Event {
    Nothing,
    Settle,
    Close,
    /// The process dies after some more writes, and the last ones before that are lost: the log
    /// was synced after them, the table was not.
    Crash {
        life: u8,
        lost: u8,
    },
    /// The process is gone at once, wherever it is.
    Kill {
        lost: u8,
    },
    Rebuild(Index),
    Decide(Index, bool),
    Upgrade,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Nothing),
        4 => Just(Event::Settle),
        1 => Just(Event::Close),
        4 => (0..12u8, 0..5u8).prop_map(|(life, lost)| Event::Crash { life, lost }),
        2 => (0..5u8).prop_map(|lost| Event::Kill { lost }),
        3 => any::<Index>().prop_map(Event::Rebuild),
        4 => (any::<Index>(), any::<bool>()).prop_map(|(which, retry)| Event::Decide(which, retry)),
        1 => Just(Event::Upgrade),
    ]
}

/// A process over a log and a disk.
struct Process {
    projections: Projections,
    supervisor: ActorRef<SupervisorMessage>,
    table: Arc<Mortal>,
}

impl Process {
    async fn start(disk: &Arc<Mutex<Disk>>, log: &Log, later: u32, batch: u64) -> Self {
        let table = Arc::new(Mortal { disk: disk.clone(), life: AtomicI64::new(LONG) });
        let runtime = Runtime::system();
        let supervisor = Supervisor::start(runtime.clock.clone()).await.unwrap();
        let (under, to) = (supervisor.clone(), table.clone());
        let (options, folds) = (Options { batch, ..Options::default() }, folds(later));
        let projections =
            Projections::open_with(options, under, to, log.clone(), runtime, context(), folds);
        Self { projections: projections.await.unwrap(), supervisor, table }
    }

    fn is_settled(&self) -> bool {
        self.projections.list().iter().all(|info| info.caught_up && info.rebuilding.is_none())
    }

    async fn settled(&self) {
        while !self.table.is_dead() && !self.is_settled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends the process without a word.
    async fn kill(self, disk: &Arc<Mutex<Disk>>, lost: u8) {
        self.table.life.store(0, Ordering::SeqCst);
        self.supervisor.kill();
        let mut disk = disk.lock().unwrap();
        for _ in 0..lost {
            if let Some(before) = disk.before.pop_back() {
                disk.now = before;
            }
        }
        disk.before.clear();
    }
}

async fn decide(process: &Process, log: &Log, said: &mut u64, which: &Index, retry: bool) {
    let mut waiting = Vec::new();
    for info in process.projections.list() {
        for item in process.projections.set_aside(&info.name, None).unwrap() {
            waiting.push((info.name.clone(), item));
        }
    }
    if waiting.is_empty() {
        return;
    }
    let (name, item) = which.get(&waiting);
    let verdict = if retry { Verdict::Retry } else { Verdict::Skip };
    let decision = instance_says(*said, &item.decision(name, verdict, "because"));
    *said += 1;
    append(log, &(decision, false)).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_stored_is_what_the_log_gives(
        ops in ops(),
        events in prop::collection::vec(event(), 30),
        batch in 1..9u64,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2).enable_all().build().unwrap();
        let result: Result<(), TestCaseError> = runtime.block_on(async {
            let (_storage, log) = open_log();
            let disk = Arc::new(Mutex::new(Disk::default()));
            let (mut later, mut said) = (0, 0);
            let mut process = Process::start(&disk, &log, later, batch).await;
            for (activity, event) in build(&ops).iter().zip(events) {
                append(&log, activity).await;
                match event {
                    Event::Nothing => {}
                    Event::Settle => process.settled().await,
                    Event::Close => {
                        process.projections.shutdown().await;
                        process.supervisor.stop(None);
                        process = Process::start(&disk, &log, later, batch).await;
                    }
                    Event::Crash { life, lost } => {
                        process.table.life.store(life.into(), Ordering::SeqCst);
                        process.settled().await;
                        process.kill(&disk, lost).await;
                        process = Process::start(&disk, &log, later, batch).await;
                    }
                    Event::Kill { lost } => {
                        process.kill(&disk, lost).await;
                        process = Process::start(&disk, &log, later, batch).await;
                    }
                    Event::Rebuild(which) => {
                        let name = which.get(&builtin()).name().to_owned();
                        // One may be under way already.
                        let _ = process.projections.rebuild(&name).await;
                    }
                    Event::Decide(which, retry) => {
                        process.settled().await;
                        decide(&process, &log, &mut said, &which, retry).await;
                    }
                    Event::Upgrade => {
                        later += 1;
                        process.kill(&disk, 0).await;
                        process = Process::start(&disk, &log, later, batch).await;
                    }
                }
            }
            process.settled().await;
            prop_assert!(process.is_settled());
            for fold in folds(later) {
                let rebuilt = rebuild_digest(&log, &*fold, &context()).unwrap();
                let running = process.projections.digest(fold.name()).await.unwrap();
                prop_assert_eq!(&running, &rebuilt, "{}", fold.name());
                let aside = process.projections.set_aside(fold.name(), None).unwrap();
                let waiting = aside.iter().filter(|item| item.status == Status::Waiting).count();
                prop_assert_eq!(waiting as u64, rebuilt.set_aside);
                prop_assert_eq!(process.projections.info(fold.name()).unwrap().set_aside, rebuilt.set_aside);
                let last = process.projections.rebuilt(fold.name()).unwrap();
                prop_assert!(last.is_none_or(|last| last.is_same()), "{}", fold.name());
            }
            process.projections.shutdown().await;
            let table: Arc<dyn Table> = process.table.clone();
            for fold in folds(later) {
                let rebuilt = rebuild_digest(&log, &*fold, &context()).unwrap();
                prop_assert_eq!(stored_digest(&table, &*fold).unwrap(), rebuilt);
            }
            process.supervisor.stop(None);
            Ok(())
        });
        result?;
    }
}
