//! What log and tables of one database share: the order of writes, and whether they still work.
//!
//! A write goes into the [`Journal`] and into memory; [`flush`](super::flush) moves it into sled.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::device::{Device, Room, Writer};
use super::errors::io_failure;
use super::flush::{self, Bottom};
use super::journal::{Journal, WriteError};
use super::rows::{Prepared, Rows};
use crate::log::snapshot::Tracked;
use crate::log::store::{FreeSpace, StoreError, TableWrite};
use crate::metrics::{self, Timer};

/// What a row costs in memory beside its bytes, about, in bytes.
const ROW_OVERHEAD_BYTES: u64 = 100;

/// How often those who wait for room in memory look whether writes still work.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why a write failed, once one did.
pub(super) type Failure = Arc<OnceLock<String>>;

/// A database, its journal, and what is known of its health.
pub(super) struct Core {
    pub(super) store: PathBuf,
    pub(super) trees: Vec<Arc<Tracked>>,
    pub(super) bottom: Mutex<Bottom>,
    pub(super) shared: Arc<Shared>,
    pub(super) device: Arc<dyn Device>,
    room: Room,
    /// Shared by the databases of a data directory: one that takes no more writes is none to go on
    /// with.
    pub(super) failed: Failure,
    /// The active tables are frozen when they have so many bytes.
    pub(super) memory_bytes: u64,
    mark: Option<PathBuf>,
}

/// What writes take in memory, about, in bytes.
pub(super) fn weight(writes: &[TableWrite]) -> u64 {
    let size = |(key, value): &TableWrite| {
        (key.len() + value.as_ref().map_or(0, Vec::len)) as u64 + ROW_OVERHEAD_BYTES
    };
    writes.iter().map(size).sum()
}

/// What those who write share with the thread that moves it into sled.
pub(super) struct Shared {
    turn: Mutex<Turn>,
    /// There is something to move, or the store goes.
    pub(super) work: Condvar,
    /// There is room in memory again, or nothing is in flight.
    pub(super) done: Condvar,
}

/// The order of writes; held while one is written.
pub(super) struct Turn {
    pub(super) journal: Journal,
    /// Commits whose frames are written and whose rows are not in memory yet: their journal must
    /// not be ended.
    pub(super) in_flight: u32,
    /// Bytes in the active tables, about.
    pub(super) bytes: u64,
    /// Counts commits.
    pub(super) commits: u64,
    /// The generation whose rows are frozen.
    pub(super) frozen: Option<u64>,
    /// The frozen rows wait for room on the disk.
    pub(super) stalled: bool,
    /// How many wait until everything is moved.
    pub(super) hurried: u32,
    /// The store goes.
    pub(super) closed: bool,
}

impl Shared {
    pub(super) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a [`Core`] is made of.
pub(super) struct Parts<'a> {
    pub(super) store: &'a Path,
    pub(super) trees: Vec<Arc<Tracked>>,
    pub(super) bottom: Bottom,
    pub(super) journal: Journal,
    pub(super) device: Arc<dyn Device>,
    pub(super) room: Room,
    pub(super) failed: Failure,
    pub(super) memory_bytes: u64,
    pub(super) move_after: Duration,
    /// Bytes that are in memory already.
    pub(super) held: u64,
    /// Written to where the database is found damaged and can be made anew.
    pub(super) mark: Option<PathBuf>,
}

impl Core {
    /// Starts the thread that moves rows into sled.
    pub(super) fn start(parts: Parts<'_>) -> io::Result<Arc<Self>> {
        let Parts { store, trees, bottom, journal, device, room, failed, .. } = parts;
        let Parts { memory_bytes, move_after, held, mark, .. } = parts;
        let turn = Turn {
            journal,
            in_flight: 0,
            bytes: held,
            commits: 0,
            frozen: None,
            stalled: false,
            hurried: 0,
            closed: false,
        };
        let shared =
            Arc::new(Shared { turn: Mutex::new(turn), work: Condvar::new(), done: Condvar::new() });
        let core = Arc::new(Self {
            store: store.to_owned(),
            trees,
            bottom: Mutex::new(bottom),
            shared: shared.clone(),
            device,
            room,
            failed,
            memory_bytes,
            mark,
        });
        let weak: Weak<Self> = Arc::downgrade(&core);
        let work = move || flush::run(&weak, &shared, move_after);
        std::thread::Builder::new().name("fedsx-store".into()).spawn(work)?;
        Ok(core)
    }

    pub(super) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.shared.turn()
    }

    /// Refuses writes since one failed.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.failure().map_or(Ok(()), |why| Err(StoreError::Poisoned(why)))
    }

    /// Why no more writes are taken, where one failed.
    pub(super) fn failure(&self) -> Option<String> {
        self.failed.get().cloned()
    }

    /// Notes that a write failed, and tells so once; the first reason stays.
    pub(super) fn fail(&self, why: String) -> StoreError {
        let first = || {
            tracing::error!(why, "a write failed; no more are taken until a restart");
            why
        };
        let why = self.failed.get_or_init(first).clone();
        self.shared.done.notify_all();
        StoreError::Poisoned(why)
    }

    /// Whether the disk has room for so many bytes; what is moved may use what the log must leave.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.room.has(bytes)
    }

    /// Looks at the room for this file, too.
    pub(super) fn also_watch(&self, file: Arc<File>) {
        self.room.also(file);
    }

    /// Leaves a note that the database is not what was written, where that helps.
    pub(super) fn damaged(&self, why: &str) {
        let Some(mark) = self.mark.as_ref().filter(|mark| !mark.exists()) else { return };
        tracing::error!(why, "damaged; projections are rebuilt at the next start");
        if let Err(error) = fs::write(mark, why) {
            tracing::error!(%error, "remove the directory of the projections before it");
        }
    }

    /// The room on the device.
    pub(super) fn space(&self) -> FreeSpace {
        self.room.space()
    }

    /// Works out writes and checks that there is room for them.
    pub(super) fn admit(
        &self,
        rows: &Rows,
        writer: Writer,
        writes: Vec<TableWrite>,
    ) -> Result<Prepared, StoreError> {
        self.check()?;
        let prepared = rows.prepare(writes)?;
        self.room.admit(writer, prepared.bytes)?;
        Ok(prepared)
    }

    /// Takes writes, which show at once and are durable after the next [`Core::sync`].
    pub(super) fn commit(&self, rows: &Rows, prepared: Prepared) -> Result<(), StoreError> {
        let mut turn = self.spacious()?;
        turn.journal.write(&prepared.writes).map_err(|e| self.unwritten(e))?;
        self.put(&mut turn, rows, prepared, || ());
        Ok(())
    }

    /// Takes writes, which are durable when they show. Who sees them sees what `shown` did, too.
    pub(super) fn commit_durably(
        &self,
        rows: &Rows,
        prepared: Prepared,
        shown: impl FnOnce(),
    ) -> Result<(), StoreError> {
        let (file, end) = {
            let mut turn = self.spacious()?;
            turn.journal.write(&prepared.writes).map_err(|e| self.unwritten(e))?;
            turn.in_flight += 1;
            (turn.journal.file.clone(), turn.journal.end)
        };
        let synced = self.sync_journal(&file);
        let mut turn = self.turn();
        turn.in_flight = turn.in_flight.saturating_sub(1);
        if turn.in_flight == 0 {
            self.shared.done.notify_all();
        }
        synced?;
        self.check()?;
        turn.journal.synced = turn.journal.synced.max(end);
        self.put(&mut turn, rows, prepared, shown);
        Ok(())
    }

    /// Returns when everything that was written is on the device.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.check()?;
        let (file, generation, end) = {
            let turn = self.turn();
            if turn.journal.synced == turn.journal.end {
                return Ok(());
            }
            (turn.journal.file.clone(), turn.journal.generation, turn.journal.end)
        };
        self.sync_journal(&file)?;
        let mut turn = self.turn();
        if turn.journal.generation == generation {
            turn.journal.synced = turn.journal.synced.max(end);
        }
        Ok(())
    }

    fn sync_journal(&self, file: &File) -> Result<(), StoreError> {
        let timer = Timer::start();
        self.device.sync(file).map_err(|e| self.fail(io_failure(&e)))?;
        metrics::SYNC_SECONDS.record(timer.seconds(), &[]);
        Ok(())
    }

    /// Waits until memory has room for more: twice what is moved at once.
    fn spacious(&self) -> Result<MutexGuard<'_, Turn>, StoreError> {
        let mut turn = self.turn();
        loop {
            self.check()?;
            let frozen = turn.frozen.is_some();
            if turn.bytes < self.memory_bytes.saturating_mul(2) || !frozen && !turn.stalled {
                return Ok(turn);
            }
            if turn.stalled {
                let why = "there is no room to move into the database what was written before";
                return Err(StoreError::Full(why.into()));
            }
            // The other database of the data directory may have failed meanwhile.
            let waited = self.shared.done.wait_timeout(turn, LOOK_AGAIN);
            turn = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn unwritten(&self, error: WriteError) -> StoreError {
        match error {
            WriteError::Full(error) => StoreError::Full(error.to_string()),
            WriteError::Failed(error) => self.fail(io_failure(&error)),
        }
    }

    fn put(&self, turn: &mut Turn, rows: &Rows, prepared: Prepared, shown: impl FnOnce()) {
        let before = turn.bytes;
        turn.bytes = turn.bytes.saturating_add(weight(&prepared.writes));
        turn.commits += 1;
        rows.tree().apply(prepared.writes, shown);
        if turn.bytes >= self.memory_bytes {
            self.freeze(turn);
        }
        if before == 0 {
            self.shared.work.notify_all();
        }
    }

    /// Begins the next journal, and hands over what the one before has, where that can be done now.
    pub(super) fn freeze(&self, turn: &mut Turn) {
        if turn.frozen.is_some() || turn.in_flight > 0 || self.check().is_err() {
            return;
        }
        // What is in a journal is durable before there is another one.
        if turn.journal.synced < turn.journal.end {
            if let Err(error) = self.device.sync(&turn.journal.file) {
                self.fail(io_failure(&error));
                return;
            }
            turn.journal.synced = turn.journal.end;
        }
        match Journal::create(&self.store, turn.journal.generation + 1) {
            Ok(next) => {
                let old = std::mem::replace(&mut turn.journal, next);
                for tree in &self.trees {
                    tree.freeze();
                }
                turn.frozen = Some(old.generation);
                turn.bytes = 0;
                turn.stalled = false;
                self.shared.work.notify_all();
            }
            Err(error) => {
                if !turn.stalled {
                    tracing::warn!(%error, "no new journal can be made; the old one goes on");
                }
                turn.stalled = true;
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.turn().closed = true;
        self.shared.work.notify_all();
    }
}
