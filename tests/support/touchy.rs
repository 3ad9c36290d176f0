//! Storage in memory that does as a test wants: its writes wait or fail, its disk is full.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use fedsx_kernel::Cid;
use fedsx_kernel::activity::Body;
use fedsx_kernel::log::{
    Batch, Entry, FreeSpace, LogStore, MemoryStorage, OnceValue, Pairs, Storage, StoreError,
    Stream, Table, TableWrite,
};
use fedsx_kernel::state::StateView;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Batches of the log.
    Log,
    /// States of projections.
    Projections,
    /// How far delivery's index has come.
    Delivery,
    /// How far the instance's own answers have come.
    Reactions,
    /// How far triggers have come.
    Triggers,
}

/// What becomes of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    #[default]
    Made,
    Wait,
    Fail,
}

/// Where writes pass.
#[derive(Default)]
struct Gate {
    state: Mutex<(Fate, usize)>,
    changed: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, (Fate, usize)> {
        self.state.lock().expect("a gate")
    }

    fn set(&self, fate: Fate) {
        self.lock().0 = fate;
        self.changed.notify_all();
    }

    fn pass(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.1 += 1;
        while state.0 == Fate::Wait {
            state = self.changed.wait(state).expect("a gate");
        }
        state.1 -= 1;
        match state.0 {
            Fate::Fail => Err(StoreError::Io("a fault of the test".into())),
            Fate::Made | Fate::Wait => Ok(()),
        }
    }
}

#[derive(Default)]
struct Gates([Gate; 5]);

impl Gates {
    fn of(&self, writes: Writes) -> &Gate {
        &self.0[writes as usize]
    }
}

/// The storage.
#[derive(Default)]
pub struct Touchy {
    inner: MemoryStorage,
    gates: Arc<Gates>,
    space: Mutex<Option<FreeSpace>>,
}

impl Touchy {
    /// What becomes of writes from now on, those that wait included.
    pub fn set(&self, writes: Writes, fate: Fate) {
        self.gates.of(writes).set(fate);
    }

    /// How many writes of a kind wait.
    pub fn waiting(&self, writes: Writes) -> usize {
        self.gates.of(writes).lock().1
    }

    /// What the disk says of the room that it has.
    pub fn has_space(&self, free_bytes: u64, reserve_bytes: u64) {
        *self.space.lock().expect("the space") = Some(FreeSpace { free_bytes, reserve_bytes });
    }

    /// Lets everything pass.
    pub fn let_go(&self) {
        self.gates.0.iter().for_each(|gate| gate.set(Fate::Made));
    }

    fn table(&self, inner: Arc<dyn Table>, is_projections: bool) -> Arc<dyn Table> {
        Arc::new(TouchyTable { inner, gates: self.gates.clone(), is_projections })
    }
}

impl Storage for Touchy {
    fn log(&self) -> Arc<dyn LogStore> {
        Arc::new(TouchyLog { inner: self.inner.log(), gates: self.gates.clone() })
    }

    fn projections(&self) -> Arc<dyn Table> {
        self.table(self.inner.projections(), true)
    }

    fn ledgers(&self) -> Arc<dyn Table> {
        self.table(self.inner.ledgers(), false)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }

    fn space(&self) -> Option<FreeSpace> {
        *self.space.lock().expect("the space")
    }
}

struct TouchyTable {
    inner: Arc<dyn Table>,
    gates: Arc<Gates>,
    is_projections: bool,
}

impl TouchyTable {
    fn kind(&self, key: &[u8]) -> Option<Writes> {
        match key {
            _ if self.is_projections => Some(Writes::Projections),
            b"delivery\0c" => Some(Writes::Delivery),
            b"reactions\0cursor" => Some(Writes::Reactions),
            b"triggers\0cursor" => Some(Writes::Triggers),
            _ => None,
        }
    }
}

impl Table for TouchyTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Pairs, StoreError> {
        self.inner.scan(prefix, after, limit)
    }

    fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        self.inner.scan_back(prefix, before, limit)
    }

    fn apply(&self, writes: Vec<TableWrite>) -> Result<(), StoreError> {
        if let Some(kind) = writes.iter().find_map(|(key, _)| self.kind(key)) {
            self.gates.of(kind).pass()?;
        }
        self.inner.apply(writes)
    }
}

struct TouchyLog {
    inner: Arc<dyn LogStore>,
    gates: Arc<Gates>,
}

impl LogStore for TouchyLog {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.gates.of(Writes::Log).pass()?;
        self.inner.append(batch)
    }

    fn head(&self) -> Result<u64, StoreError> {
        self.inner.head()
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.read(after, limit)
    }

    fn read_stream(
        &self,
        stream: &Stream,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.inner.read_stream(stream, from, limit)
    }

    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError> {
        self.inner.stream_len(stream)
    }

    fn streams(&self) -> Result<Vec<(Stream, u64)>, StoreError> {
        self.inner.streams()
    }

    fn position(&self, stream: &Stream, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.inner.position(stream, cid)
    }

    fn first_entry(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.inner.first_entry(cid)
    }

    fn body(&self, cid: &Cid) -> Result<Option<Body>, StoreError> {
        self.inner.body(cid)
    }

    fn by_id(&self, id: &str) -> Result<Option<Cid>, StoreError> {
        self.inner.by_id(id)
    }

    fn once(&self, key: &str) -> Result<Option<OnceValue>, StoreError> {
        self.inner.once(key)
    }

    fn state(&self) -> &dyn StateView {
        self.inner.state()
    }
}
