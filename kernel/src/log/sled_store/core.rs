//! What log and tables of one store share: the database, its file, and whether writes still work.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::device::{AMPLIFICATION, Device, Room, Writer};
use super::errors::{io_failure, write_failure};
use super::rows::{Mark, Prepared, Rows};
use crate::log::store::{FreeSpace, StoreError, TableWrite};
use crate::metrics::{self, Timer};

/// Most bytes that are written without a sync, about. sled counts what it handed to the system as
/// stable, moves pages on that ground, and uses their old segments again, four segments of 512 KiB
/// later at the earliest; a power cut must not find both places gone.
const UNSYNCED_BYTES: u64 = 1024 * 1024;
/// How often the watch looks for a write that failed in sled's own threads.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// Why a write failed, once one did.
pub(super) type Failure = Arc<OnceLock<String>>;

/// The database and what is known of its health.
pub(super) struct Core {
    db: sled::Db,
    file: Arc<File>,
    blobs: PathBuf,
    synced_blobs: Mutex<HashSet<PathBuf>>,
    device: Arc<dyn Device>,
    room: Room,
    /// Shared by the databases of a data directory: one that takes no more writes is none to go on
    /// with.
    failed: Failure,
    turn: Mutex<Turn>,
    /// Closed when the store goes, which ends the watch.
    _watched: mpsc::Sender<()>,
}

/// The order of batches and syncs; held while a batch is applied.
#[derive(Default)]
struct Turn {
    now: Mark,
    /// What the file says last.
    marked: Option<Mark>,
    /// Bytes applied since the last sync was begun, about.
    unsynced: u64,
}

impl Core {
    pub(super) fn start(
        db: sled::Db,
        config: sled::Config,
        file: Arc<File>,
        store: &std::path::Path,
        device: Arc<dyn Device>,
        room: Room,
        failed: Failure,
    ) -> Arc<Self> {
        let (watched, closed) = mpsc::channel();
        let core = Arc::new(Self {
            db,
            blobs: store.join("blobs"),
            synced_blobs: Mutex::default(),
            room,
            file,
            device,
            failed,
            turn: Mutex::default(),
            _watched: watched,
        });
        watch(Arc::downgrade(&core), config, closed);
        core
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
        StoreError::Poisoned(self.failed.get_or_init(first).clone())
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

    /// Applies writes. Only so much is left for the next sync.
    pub(super) fn commit(&self, rows: &Rows, prepared: Prepared) -> Result<(), StoreError> {
        let bytes = prepared.bytes.saturating_mul(AMPLIFICATION);
        let before = self.turn().unsynced;
        if before > 0 && before.saturating_add(bytes) > UNSYNCED_BYTES {
            self.sync()?;
        }
        let mut turn = self.turn();
        turn.unsynced = turn.unsynced.saturating_add(bytes);
        let earlier = turn.marked.map(|marked| marked.begun);
        let mark = (turn.marked != Some(turn.now)).then_some(Mark { earlier, ..turn.now });
        turn.marked = Some(turn.now);
        rows.commit(prepared, mark).map_err(|e| self.fail(write_failure(&e)))
    }

    /// Makes everything durable that was applied; says so in the file after a large batch, so
    /// that the next start need not guess.
    pub(super) fn sync_after(&self, rows: &Rows) -> Result<(), StoreError> {
        let large = self.turn().unsynced > UNSYNCED_BYTES;
        self.sync()?;
        if large {
            self.commit(rows, Prepared::default())?;
            self.sync()?;
        }
        Ok(())
    }

    /// Hands sled's buffers to the system, then waits until the device has them.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.check()?;
        let begun = {
            let mut turn = self.turn();
            turn.now.begun += 1;
            turn.unsynced = 0;
            turn.now.begun
        };
        self.db.flush().map_err(|e| self.fail(write_failure(&e)))?;
        // The watch may have seen another thread's write fail.
        self.check()?;
        let timer = Timer::start();
        let synced = self.sync_blobs().and_then(|()| self.device.sync(&self.file));
        synced.map_err(|e| self.fail(io_failure(&e)))?;
        metrics::SYNC_SECONDS.record(timer.seconds(), &[]);
        let mut turn = self.turn();
        turn.now.done = turn.now.done.max(begun);
        Ok(())
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// sled never syncs the files that it makes for large records. There should be none, since
    /// rows are small; what has to be durable is synced nevertheless.
    fn sync_blobs(&self) -> io::Result<()> {
        let mut new = Vec::new();
        let mut synced = self.synced_blobs.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in fs::read_dir(&self.blobs)? {
            let path = entry?.path();
            if !synced.contains(&path) {
                new.push(path);
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        tracing::warn!(files = new.len(), "sled keeps records outside of its database file");
        for path in new {
            match File::open(&path).and_then(|file| file.sync_all()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => synced.insert(path),
            };
        }
        File::open(&self.blobs)?.sync_all()
    }
}

/// sled writes in threads of its own, and when such a write fails it does not always wake those
/// who wait for it. The watch notices, refuses further writes, and wakes them.
fn watch(core: Weak<Core>, config: sled::Config, closed: mpsc::Receiver<()>) {
    let watch = move || {
        while closed.recv_timeout(WATCH_EVERY) == Err(RecvTimeoutError::Timeout) {
            let Err(error) = config.global_error() else { continue };
            let Some(core) = core.upgrade() else { break };
            core.fail(write_failure(&error));
            // Fails at once, and on its way wakes whoever waits.
            let _ = core.db.context.pagecache.log.make_stable(i64::MAX);
        }
    };
    let started = std::thread::Builder::new().name("fedsx-store".into()).spawn(watch);
    if let Err(error) = started {
        tracing::warn!(%error, "the store is not watched for failing writes");
    }
}
