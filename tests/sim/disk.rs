//! The disk of an instance: it outlives crashes, but for what was not synced.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use fedsx_kernel::Cid;
use fedsx_kernel::activity::Body;
use fedsx_kernel::log::{
    Batch, Entry, LogStore, MemoryStorage, OnceValue, Pairs, Storage, StoreError, Stream, Table,
    TableWrite,
};
use fedsx_kernel::state::StateView;
use tokio::sync::{mpsc, watch};

use super::dice::Dice;
use super::trace::Trace;

/// What is on the disk.
pub struct Disk {
    log: Arc<dyn LogStore>,
    projections: Arc<Rows>,
    ledgers: Arc<Rows>,
}

impl Disk {
    pub fn new() -> Arc<Self> {
        let log = MemoryStorage::default().log();
        Arc::new(Self { log, projections: Arc::default(), ledgers: Arc::default() })
    }

    /// The power fails: of what was not synced, only a part that came first is left.
    pub fn crash(&self, dice: &Dice) {
        for rows in [&self.projections, &self.ledgers] {
            rows.crash(dice);
        }
    }
}

#[derive(Default)]
struct Rows(Mutex<Content>);

#[derive(Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// For each write that was not synced, what it replaced.
    unsynced: Vec<Vec<TableWrite>>,
}

impl Rows {
    fn crash(&self, dice: &Dice) {
        let mut content = self.0.lock().unwrap();
        let keep = dice.below(content.unsynced.len() + 1);
        while content.unsynced.len() > keep {
            for (key, old) in content.unsynced.pop().unwrap().into_iter().rev() {
                match old {
                    Some(old) => content.rows.insert(key, old),
                    None => content.rows.remove(&key),
                };
            }
        }
        content.unsynced.clear();
    }

    fn sync(&self) {
        self.0.lock().unwrap().unsynced.clear();
    }

    fn apply(&self, writes: Vec<TableWrite>) {
        let mut content = self.0.lock().unwrap();
        let mut undo = Vec::new();
        for (key, value) in writes {
            let old = match value {
                Some(value) => content.rows.insert(key.clone(), value),
                None => content.rows.remove(&key),
            };
            undo.push((key, old));
        }
        content.unsynced.push(undo);
    }
}

/// One power supply: between the disk and one life of an instance.
pub struct Power {
    node: usize,
    on: AtomicBool,
    /// Writes that are left before the power fails; negative for no end.
    fuse: AtomicI64,
    /// Whether the last write still gets through.
    last_is_kept: AtomicBool,
    /// Whether the instance lives, for its connections.
    life: watch::Sender<bool>,
    failed: mpsc::UnboundedSender<usize>,
}

impl Power {
    /// A failure by itself is told to `failed`.
    pub fn new(node: usize, failed: mpsc::UnboundedSender<usize>) -> Arc<Self> {
        Arc::new(Self {
            node,
            on: AtomicBool::new(true),
            fuse: AtomicI64::new(-1),
            last_is_kept: AtomicBool::new(false),
            life: watch::Sender::new(true),
            failed,
        })
    }

    pub fn life(&self) -> watch::Receiver<bool> {
        self.life.subscribe()
    }

    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    pub fn cut(&self) {
        self.on.store(false, Ordering::SeqCst);
        self.life.send_replace(false);
    }

    /// The power fails at the `writes`-th write from now on.
    pub fn fail_after(&self, writes: i64, last_is_kept: bool) {
        self.last_is_kept.store(last_is_kept, Ordering::SeqCst);
        self.fuse.store(writes, Ordering::SeqCst);
    }

    fn read<T>(&self, read: impl FnOnce() -> T) -> Result<T, StoreError> {
        if self.is_on() { Ok(read()) } else { Err(gone()) }
    }

    fn write<T>(&self, write: impl FnOnce() -> T) -> Result<T, StoreError> {
        if !self.is_on() {
            return Err(gone());
        }
        if self.fuse.load(Ordering::SeqCst) < 0 {
            return Ok(write());
        }
        if self.fuse.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(write());
        }
        if self.last_is_kept.load(Ordering::SeqCst) {
            write();
        }
        self.cut();
        // Whoever waits for it is gone only at the very end.
        let _ = self.failed.send(self.node);
        Err(gone())
    }
}

fn gone() -> StoreError {
    StoreError::Io("the power failed".into())
}

/// The disk as one life of an instance sees it.
pub struct SimStorage {
    disk: Arc<Disk>,
    power: Arc<Power>,
    trace: Arc<Trace>,
}

impl SimStorage {
    pub fn new(disk: Arc<Disk>, power: Arc<Power>, trace: Arc<Trace>) -> Self {
        Self { disk, power, trace }
    }
}

impl Storage for SimStorage {
    fn log(&self) -> Arc<dyn LogStore> {
        Arc::new(SimLog {
            disk: self.disk.clone(),
            power: self.power.clone(),
            trace: self.trace.clone(),
        })
    }

    fn projections(&self) -> Arc<dyn Table> {
        Arc::new(SimTable { rows: self.disk.projections.clone(), power: self.power.clone() })
    }

    fn ledgers(&self) -> Arc<dyn Table> {
        Arc::new(SimTable { rows: self.disk.ledgers.clone(), power: self.power.clone() })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.power.write(|| {
            self.disk.ledgers.sync();
            self.disk.projections.sync();
        })
    }
}

struct SimLog {
    disk: Arc<Disk>,
    power: Arc<Power>,
    trace: Arc<Trace>,
}

impl LogStore for SimLog {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.power.write(|| {
            self.disk.log.append(batch)?;
            // Log and ledgers are synced together; projections may be behind.
            self.disk.ledgers.sync();
            for entry in &batch.entries {
                let Entry { global_seq, stream, stream_seq, cid, .. } = entry;
                let node = self.power.node;
                self.trace
                    .append(&format!("n{node} append {global_seq} {stream} {stream_seq} {cid}"));
            }
            Ok(())
        })?
    }

    fn head(&self) -> Result<u64, StoreError> {
        self.power.read(|| self.disk.log.head())?
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.power.read(|| self.disk.log.read(after, limit))?
    }

    fn read_stream(
        &self,
        stream: &Stream,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.power.read(|| self.disk.log.read_stream(stream, from, limit))?
    }

    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError> {
        self.power.read(|| self.disk.log.stream_len(stream))?
    }

    fn streams(&self) -> Result<Vec<(Stream, u64)>, StoreError> {
        self.power.read(|| self.disk.log.streams())?
    }

    fn position(&self, stream: &Stream, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.power.read(|| self.disk.log.position(stream, cid))?
    }

    fn first_entry(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.power.read(|| self.disk.log.first_entry(cid))?
    }

    fn body(&self, cid: &Cid) -> Result<Option<Body>, StoreError> {
        self.power.read(|| self.disk.log.body(cid))?
    }

    fn by_id(&self, id: &str) -> Result<Option<Cid>, StoreError> {
        self.power.read(|| self.disk.log.by_id(id))?
    }

    fn once(&self, key: &str) -> Result<Option<OnceValue>, StoreError> {
        self.power.read(|| self.disk.log.once(key))?
    }

    fn state(&self) -> &dyn StateView {
        self.disk.log.state()
    }
}

struct SimTable {
    rows: Arc<Rows>,
    power: Arc<Power>,
}

impl Table for SimTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.power.read(|| self.rows.0.lock().unwrap().rows.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Pairs, StoreError> {
        self.power.read(|| {
            let content = self.rows.0.lock().unwrap();
            content
                .rows
                .range(after.unwrap_or(prefix).max(prefix).to_vec()..)
                .filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after))
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(limit)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        })
    }

    fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        self.power.read(|| {
            let content = self.rows.0.lock().unwrap();
            let all = content.rows.range(prefix.to_vec()..);
            let mut pairs: Pairs = all
                .take_while(|(key, _)| key.starts_with(prefix))
                .filter(|(key, _)| before.is_none_or(|before| key.as_slice() < before))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            pairs.reverse();
            pairs.truncate(limit);
            pairs
        })
    }

    fn apply(&self, writes: Vec<TableWrite>) -> Result<(), StoreError> {
        self.power.write(|| self.rows.apply(writes))
    }
}
