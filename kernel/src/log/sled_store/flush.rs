//! Moving rows from memory into sled.
//!
//! A thread does it when the tables are large, and when nothing was written for a while; then it
//! sleeps until something is written. The frozen rows are put into sled in key order, each once, in
//! batches of which only so much is left without a sync, no faster than the next rows come
//! ([`Gait`]). Then sled notes the generation, and the journal is removed. Where there is no room for
//! all of it, nothing is begun.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::core::{Core, Shared};
use super::device::AMPLIFICATION;
use super::errors::{io_failure, write_failure};
use super::gait::Gait;
use super::journal;
use super::opening;
use super::rows::{Mark, Space};
use crate::log::snapshot::Tracked;
use crate::log::store::{StoreError, TableWrite};

/// Most bytes of sled's log that are written without a sync, beside one segment that it fills. sled
/// counts what it handed to the system as stable, moves pages on that ground, and uses their old
/// segments again, four segments of 512 KiB later at the earliest; a power cut must not find both
/// places gone. How much of the log a row makes depends on the leaves that it comes to: some three
/// times its length at the end of the key space, eight times at random places.
const UNSYNCED_BYTES: i64 = 1024 * 1024;
/// Bytes of one batch, about. sled lets nobody read, in any database of the process, while a batch is
/// applied.
const BATCH_BYTES: u64 = 32 * 1024;
/// How often the watch looks for a write that failed in sled's own threads.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// sled's database, and how far it was synced.
pub(super) struct Bottom {
    db: sled::Db,
    config: sled::Config,
    file: Arc<File>,
    blobs: PathBuf,
    synced_blobs: HashSet<PathBuf>,
    now: Mark,
    /// What the file says last.
    marked: Option<Mark>,
    /// Where sled's log ended when the last sync was begun.
    synced_to: i64,
}

impl Bottom {
    pub(super) fn new(
        db: sled::Db,
        config: sled::Config,
        file: Arc<File>,
        store: &std::path::Path,
    ) -> Self {
        Self {
            db,
            config,
            file,
            blobs: store.join("blobs"),
            synced_blobs: HashSet::new(),
            now: Mark::default(),
            marked: None,
            synced_to: 0,
        }
    }

    /// Applies a batch to a tree of sled. Only so much is left for the next sync.
    fn apply(
        &mut self,
        core: &Core,
        tree: &Tracked,
        writes: Vec<(sled::IVec, Option<sled::IVec>)>,
    ) -> Result<(), StoreError> {
        core.check()?;
        if self.log_end().saturating_sub(self.synced_to) > UNSYNCED_BYTES {
            self.sync(core)?;
        }
        let earlier = self.marked.map(|marked| marked.begun);
        let mark = (self.marked != Some(self.now)).then_some(Mark { earlier, ..self.now });
        self.marked = Some(self.now);
        let mut batch = sled::Batch::default();
        let mut keys = Vec::with_capacity(writes.len());
        for (key, value) in writes {
            keys.push(key.clone());
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        if let Some(mark) = mark {
            batch.insert(tree.space().mark(), mark.value());
        }
        let applied = tree.tree().apply_batch(batch).and_then(|()| {
            // sled leaves it to whoever comes by next, readers too, to split or merge the leaves
            // that were written. After a write that fails they could not: it is done now. The row
            // that follows a row came by already.
            let mut keys = keys.iter().peekable();
            while let Some(key) = keys.next() {
                if !keys.peek().is_some_and(|next| follows(key, next)) {
                    tree.tree().contains_key(key)?;
                }
            }
            Ok(())
        });
        applied.map_err(|e| {
            if matches!(e, sled::Error::Corruption { .. } | sled::Error::ReportableBug(_)) {
                core.damaged(&e.to_string());
            }
            core.fail(write_failure(&e))
        })
    }

    /// How much of its log sled handed to the system.
    fn log_end(&self) -> i64 {
        self.db.context.pagecache.log.stable_offset()
    }

    /// Hands sled's buffers to the system, then waits until the device has them.
    fn sync(&mut self, core: &Core) -> Result<(), StoreError> {
        core.check()?;
        self.now.begun += 1;
        self.db.flush().map_err(|e| core.fail(write_failure(&e)))?;
        self.synced_to = self.log_end();
        // The watch may have seen another thread's write fail.
        core.check()?;
        let synced = self.sync_blobs().and_then(|()| core.device.sync(&self.file));
        synced.map_err(|e| core.fail(io_failure(&e)))?;
        self.now.done = self.now.begun;
        Ok(())
    }

    /// sled never syncs the files that it makes for large records. There should be none, since
    /// rows are small; what has to be durable is synced nevertheless.
    fn sync_blobs(&mut self) -> io::Result<()> {
        let mut new = Vec::new();
        for entry in fs::read_dir(&self.blobs)? {
            let path = entry?.path();
            if !self.synced_blobs.contains(&path) {
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
                _ => self.synced_blobs.insert(path),
            };
        }
        File::open(&self.blobs)?.sync_all()
    }

    /// Applies rows in key order, in batches, after each of which its bytes are told.
    fn apply_all(
        &mut self,
        core: &Core,
        tree: &Tracked,
        rows: impl Iterator<Item = (sled::IVec, Option<sled::IVec>)>,
        mut applied: impl FnMut(u64),
    ) -> Result<(), StoreError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (key, value) in rows {
            bytes += (key.len() + value.as_ref().map_or(0, |value| value.len())) as u64;
            batch.push((key, value));
            if bytes >= BATCH_BYTES {
                self.apply(core, tree, std::mem::take(&mut batch))?;
                applied(std::mem::take(&mut bytes));
            }
        }
        if batch.is_empty() { Ok(()) } else { self.apply(core, tree, batch) }
    }
}

/// Whether a key is one of the next ones after another, as those of a log are.
fn follows(key: &[u8], next: &[u8]) -> bool {
    let begin = key.len().saturating_sub(2);
    key.len() == next.len() && key.get(..begin) == next.get(..begin)
}

/// The generation whose rows a database has, and those of all before.
pub(super) fn flushed(tree: &Tracked) -> sled::Result<Option<u64>> {
    let value = tree.get(&tree.space().generation())?;
    Ok(value.and_then(|value| {
        value.strip_prefix(GENERATION_BEGINS)?.try_into().ok().map(u64::from_be_bytes)
    }))
}

/// How the value with the generation begins.
const GENERATION_BEGINS: &[u8] = b"fedsx flushed ";

/// Works until the store goes. What is written is moved when nothing else was written for `idle`.
pub(super) fn run(core: &Weak<Core>, shared: &Shared, idle: Duration) {
    loop {
        {
            let mut turn = shared.turn();
            loop {
                if turn.closed {
                    return;
                }
                let waits = turn.frozen.is_some() || turn.bytes > 0;
                if turn.frozen.is_some() && !turn.stalled {
                    break;
                }
                if !waits {
                    turn = shared.work.wait(turn).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                let before = turn.commits;
                let waited = shared.work.wait_timeout(turn, idle);
                let (held, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                turn = held;
                if timeout.timed_out() && (turn.commits == before || turn.stalled) {
                    break;
                }
            }
        }
        let Some(core) = core.upgrade() else { return };
        if core.flush().is_err() {
            // No more writes are taken; what is in the journals is moved after a restart.
            return;
        }
    }
}

impl Core {
    /// Moves what is frozen, or else what is active, into sled. Does nothing where there is no room
    /// for it.
    ///
    /// # Errors
    /// Where a write failed; no more are taken then.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        // sled panics where its files are not what it expects.
        catch_unwind(AssertUnwindSafe(|| self.move_down())).unwrap_or_else(|panic| {
            let why = opening::said(panic.as_ref());
            self.damaged(&why);
            Err(self.fail(why))
        })
    }

    fn move_down(&self) -> Result<(), StoreError> {
        let mut bottom = self.bottom.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let generation = {
            let mut turn = self.turn();
            while turn.frozen.is_none() && turn.in_flight > 0 {
                turn = self.shared.done.wait(turn).unwrap_or_else(PoisonError::into_inner);
                self.check()?;
            }
            if turn.frozen.is_none() && turn.bytes > 0 {
                self.freeze(&mut turn);
            }
            let Some(generation) = turn.frozen else { return self.check() };
            generation
        };
        let frozen = self.trees.iter().map(|tree| tree.frozen().unwrap_or_default());
        let frozen: Vec<_> = frozen.collect();
        let sizes = frozen.iter().flat_map(|rows| rows.iter());
        let bytes = sizes.map(|(key, value)| key.len() + value.as_ref().map_or(0, |v| v.len()));
        let bytes = bytes.sum::<usize>() as u64;
        if !self.has_room(bytes.saturating_mul(AMPLIFICATION)) {
            let mut turn = self.turn();
            if !turn.stalled {
                tracing::warn!("there is no room to move into the database what was written");
            }
            turn.stalled = true;
            self.shared.done.notify_all();
            return Ok(());
        }
        let mut gait = Gait::new(bytes);
        self.watched(&mut bottom, |bottom| {
            for (tree, rows) in self.trees.iter().zip(&frozen) {
                let rows = rows.iter().map(|(key, value)| (key.clone(), value.clone()));
                bottom.apply_all(self, tree, rows, |bytes| gait.moved(self, bytes))?;
            }
            bottom.sync(self)?;
            let Some(first) = self.trees.first() else { return Ok(()) };
            let value = [GENERATION_BEGINS, &generation.to_be_bytes()].concat();
            let key = first.space().generation();
            // With it goes a mark that says that the rows are durable.
            bottom.apply(self, first, vec![(key.into(), Some(value.into()))])?;
            bottom.sync(self)
        })?;
        {
            let mut turn = self.turn();
            for tree in &self.trees {
                tree.thaw();
            }
            turn.frozen = None;
            turn.stalled = false;
            self.shared.done.notify_all();
        }
        if let Err(error) = journal::remove_up_to(&self.store, generation) {
            // It is not read again, and removed with the next one.
            tracing::warn!(%error, "a journal that is no longer needed stays for now");
        }
        Ok(())
    }

    /// Moves everything that was written so far.
    ///
    /// # Errors
    /// Where a write failed. Where there is no room it stays in the journal, which is synced.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        self.sync()?;
        self.turn().hurried += 1;
        // What was frozen before, then what is active now.
        let settled = self.flush().and_then(|()| self.flush());
        self.turn().hurried -= 1;
        settled
    }

    /// Puts rows into a tree of a database that nobody else uses, without the journal; durable
    /// after [`Core::loaded`].
    pub(super) fn load(&self, tree: &Tracked, rows: Vec<TableWrite>) -> Result<(), StoreError> {
        let mut bottom = self.bottom.lock().unwrap_or_else(PoisonError::into_inner);
        self.watched(&mut bottom, |bottom| {
            let rows = rows.into_iter();
            let rows = rows.map(|(key, value)| (key.into(), value.map(sled::IVec::from)));
            bottom.apply_all(self, tree, rows, |_| ())
        })
    }

    /// Makes durable what was loaded.
    pub(super) fn loaded(&self) -> Result<(), StoreError> {
        let mut bottom = self.bottom.lock().unwrap_or_else(PoisonError::into_inner);
        self.watched(&mut bottom, |bottom| bottom.sync(self))
    }

    /// sled writes in threads of its own, and when such a write fails it does not always wake those
    /// who wait for it. While sled is written to, a watch notices, refuses further writes, and
    /// wakes them.
    fn watched<T>(&self, bottom: &mut Bottom, work: impl FnOnce(&mut Bottom) -> T) -> T {
        let (config, db) = (bottom.config.clone(), bottom.db.clone());
        let (working, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let watch = move || {
                while ended.recv_timeout(WATCH_EVERY) == Err(RecvTimeoutError::Timeout) {
                    let Err(error) = config.global_error() else { continue };
                    self.fail(write_failure(&error));
                    // Fails at once, and on its way wakes whoever waits.
                    let _ = db.context.pagecache.log.make_stable(i64::MAX);
                }
            };
            let started = std::thread::Builder::new().name("fedsx-watch".into());
            if let Err(error) = started.spawn_scoped(scope, watch) {
                tracing::warn!(%error, "the store is not watched for failing writes");
            }
            let done = work(bottom);
            drop(working);
            done
        })
    }
}

impl Space {
    /// The key of the row that says how far the store was synced.
    pub(super) fn mark(self) -> Vec<u8> {
        vec![self.bounds().1 - 1]
    }

    /// The key of the row that says which generation was moved into the database.
    pub(super) fn generation(self) -> Vec<u8> {
        vec![self.bounds().1 - 1, b'g']
    }

    /// Whether a row is about the database, and no part of what it holds.
    pub(super) fn is_own(self, row: &[u8]) -> bool {
        row.first() == Some(&(self.bounds().1 - 1))
    }
}
