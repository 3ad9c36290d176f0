//! The embedded default: sled.
//!
//! One database holds a tree for the log and one for the ledgers; the projections have a database
//! of their own ([`derived`]). [`rows`] says how values of any size stand in them. Keys of the
//! log's tree start with a byte that says what they hold:
//!
//! | key | value |
//! |---|---|
//! | `e` global_seq | entry ([`entries`]) |
//! | `d` global_seq of its first entry | body (CBOR) |
//! | `s` stream `\0` stream_seq | global_seq |
//! | `h` epoch `f` hash | global_seq of the first entry ([`hashes`]) |
//! | `u` stream `\0` hash | stream_seq, where that is not of the first entry |
//! | `h` epoch `i` blake3 of a foreign id | hash |
//! | `g` epoch | which hashes an epoch may have (CBOR) |
//! | `o` blake3 of a once key | once value (CBOR) |
//! | `a` key | admission state (DAG-CBOR) |
//!
//! An append goes to the end of `e`, `d` and its stream, and among the newest hashes.
//! Formats 1 to 3, whose rows are still read, had `f` and `i` without an epoch. Format 1 had bodies at `b` hash, a `u`
//! for every entry, and the length of each stream at `n`.
//!
//! In front of sled stands a [`journal`], which is what is synced; what is in it is read from memory
//! ([`layers`]) until it is moved into sled ([`flush`]). sled's own `flush` does not sync the device,
//! so a move does, on the database file itself. What sled does at its start with a file that is
//! damaged is told in [`inspect`].

mod codec;
mod compact;
mod core;
mod database;
mod derived;
mod device;
mod entries;
mod errors;
mod flush;
mod gait;
mod hashes;
mod inspect;
mod journal;
mod keys;
pub(super) mod layers;
mod log;
mod opening;
mod raw;
pub(super) mod rows;
mod salvage;
mod state;
mod table;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use compact::{CompactError, Compacted};
pub use device::{Device, Disk};
pub use opening::{FORMAT, OpenError};
pub use salvage::{FirstDamage, Salvage, SalvageError, Salvaged, StreamKept, Unreadable};

use self::core::{Core, Failure};
use self::database::Place;
use self::derived::Derived;
use self::log::SledLog;
use self::rows::{Rows, Space};
use self::table::SledTable;
use super::head::{Head, HeadFile};
use super::snapshot::{BackupError, Copied, Gate, Progress};
use super::store::{FreeSpace, LogStore, Storage, StoreError, Table};

/// How a store is opened.
#[derive(Clone)]
pub struct SledOptions {
    /// What is kept free on the disk, in bytes: appends that would use it are refused before
    /// anything of them is written, and go on when there is room again. 0 turns that off.
    pub reserve_bytes: u64,
    /// Page cache of sled, in bytes; half of it is for the projections.
    pub cache_bytes: u64,
    /// Whether new values are made shorter, at some cost in time; both kinds are always read.
    pub compress: bool,
    /// What is written is moved from memory into sled when it takes so many bytes there, about; the
    /// journal has as many, and both have twice as many while that is done. Log and projections
    /// count apart.
    pub memory_bytes: u64,
    /// It is also moved when nothing else was written for so long.
    pub move_after: Duration,
    /// Hashes that stand together, and of which one filter tells which they may be.
    pub epoch_hashes: usize,
    /// The device.
    pub device: Arc<dyn Device>,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            reserve_bytes: 64 * 1024 * 1024,
            cache_bytes: 32 * 1024 * 1024,
            compress: true,
            memory_bytes: 4 * 1024 * 1024,
            move_after: Duration::from_secs(20),
            epoch_hashes: 65_536,
            device: Arc::new(Disk),
        }
    }
}

/// Storage in a directory, through sled.
pub struct SledStorage {
    core: Arc<Core>,
    gate: Arc<Gate>,
    log: Arc<SledLog>,
    projections: Arc<Derived>,
    ledgers: Arc<SledTable>,
}

impl SledStorage {
    /// Opens the store in a data directory, or makes it.
    ///
    /// # Errors
    /// Where it is in use, of another format, or damaged. A damaged store is not changed.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_with(directory, SledOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`SledStorage::open`].
    pub fn open_with(directory: &Path, options: SledOptions) -> Result<Self, OpenError> {
        fs::create_dir_all(directory).map_err(opening::io_at(directory))?;
        compact::settle(directory).map_err(opening::io_at(directory))?;
        let store = directory.join("store");
        opening::check_unused(directory, &store)?;
        opening::check_format(directory, &store)?;
        compact::tidy(directory).map_err(opening::io_at(directory))?;
        let storage = Self::start(directory, &store, &options)?;
        opening::guarded(directory, || storage.check_tail(directory))?;
        Ok(storage)
    }

    fn start(directory: &Path, store: &Path, options: &SledOptions) -> Result<Self, OpenError> {
        let reading = |e| OpenError::reading(directory, e);
        let (gate, failed) = (Arc::new(Gate::default()), Failure::default());
        let place = Place {
            directory,
            store,
            trees: &[("log", Space::LOG), ("ledgers", Space::LEDGERS)],
            noted: opening::noted(directory)?,
            mark: None,
        };
        let mut own = place.open(options, &gate, &failed)?;
        derived::leave(&own.db).map_err(reading)?;
        let projections = Derived::open(directory, options, &failed)?;
        // The log stops first, so that what follows it may catch up.
        own.core.also_watch(projections.file.clone());
        let (Some(ledgers), Some(log)) = (own.rows.pop(), own.rows.pop()) else {
            return Err(OpenError::Store(StoreError::Io("the database has no trees".into())));
        };
        let core = own.core;
        let log = SledLog::open(core.clone(), log, options.epoch_hashes).map_err(reading)?;
        Ok(Self {
            log: Arc::new(log),
            projections: Arc::new(projections),
            ledgers: Arc::new(SledTable { core: core.clone(), rows: ledgers }),
            core,
            gate,
        })
    }

    /// Checks that the log ends where it was noted to end, or later, and that its last entry is
    /// whole.
    fn check_tail(&self, directory: &Path) -> Result<(), OpenError> {
        let reading = |e| OpenError::reading(directory, e);
        let found = LogStore::head(&*self.log).map_err(reading)?;
        if let Some(Head { global_seq: noted, root }) = HeadFile::new(directory).read()? {
            let at_noted = match noted.checked_sub(1) {
                Some(before) => self.log.read(before, 1).map_err(reading)?.pop(),
                None => None,
            };
            if found < noted || at_noted.is_none_or(|entry| entry.cid != root) {
                return Err(OpenError::CutBack { path: directory.to_owned(), found, noted });
            }
        }
        let Some(before) = found.checked_sub(1) else { return Ok(()) };
        for entry in self.log.read(before, 1).map_err(reading)? {
            let (stream, cid) = (&entry.stream, &entry.cid);
            let whole = self.log.body(cid).map_err(reading)?.is_some()
                && self.log.position(stream, cid).map_err(reading)? == Some(entry.stream_seq)
                && LogStore::stream_len(&*self.log, stream).map_err(reading)?
                    == entry.stream_seq + 1;
            if !whole {
                return Err(OpenError::Damaged {
                    path: directory.to_owned(),
                    place: format!("entry {found}"),
                    reason: "what belongs to it is missing".into(),
                });
            }
        }
        Ok(())
    }

    /// Reads everything that is stored once, so that a place that cannot be read shows; gives the
    /// number of rows.
    ///
    /// # Errors
    /// The first place that cannot be read.
    pub fn check(&self) -> Result<u64, StoreError> {
        let own = Rows::check(self.log.rows())? + Rows::check(&self.ledgers.rows)?;
        Ok(own + self.projections.check()?)
    }

    /// See [`Storage::backup`].
    fn copy_into(
        &self,
        directory: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<Head>, BackupError> {
        if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(BackupError::NotEmpty(directory.to_owned()));
        }
        let target = Self::open(directory)?;
        let snapshot = self.gate.begin()?;
        // An entry has five keys, where its body is new, and changes some state.
        let expected = LogStore::head(&*self.log)?.saturating_mul(6);
        let mut copied = Copied { keys: 0, expected };
        let trees = [
            (self.log.rows().tree(), target.log.rows().tree()),
            (self.ledgers.rows.tree(), target.ledgers.rows.tree()),
        ];
        for (from, to) in trees {
            while let Some(page) = snapshot.page(from)? {
                copied.keys += page.len() as u64;
                copied.expected = copied.expected.max(copied.keys);
                let kept = page.into_iter().filter(|(key, _)| !from.space().is_own(key));
                target.core.load(to, kept.map(|(key, value)| (key, Some(value))).collect())?;
                if progress(copied).is_break() {
                    return Err(BackupError::Stopped);
                }
            }
        }
        drop(snapshot);
        target.core.loaded()?;
        target.log.reload()?;
        let last = LogStore::head(&*target.log)?;
        let head = match last.checked_sub(1) {
            Some(before) => target.log.read(before, 1)?.pop(),
            None => None,
        };
        let head = head.map(|entry| Head { global_seq: entry.global_seq, root: entry.cid });
        if let Some(head) = &head {
            HeadFile::new(directory).write(head)?;
        }
        drop(target);
        // Made as any store is opened; the next one makes it again.
        derived::remove(directory).map_err(|e| StoreError::Io(errors::io_failure(&e)))?;
        for place in [directory.join("store"), directory.to_owned()] {
            File::open(place)
                .and_then(|place| place.sync_all())
                .map_err(|e| StoreError::Io(errors::io_failure(&e)))?;
        }
        Ok(head)
    }
}

impl Storage for SledStorage {
    fn log(&self) -> Arc<dyn LogStore> {
        self.log.clone()
    }

    fn projections(&self) -> Arc<dyn Table> {
        self.projections.clone()
    }

    fn ledgers(&self) -> Arc<dyn Table> {
        self.ledgers.clone()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.core.sync()
    }

    fn failure(&self) -> Option<String> {
        self.core.failure()
    }

    fn space(&self) -> Option<FreeSpace> {
        Some(self.core.space())
    }

    fn settle(&self) -> Result<(), StoreError> {
        // Where one takes no more writes, the other still may.
        let own = self.core.settle();
        let derived = self.projections.settle();
        own.and(derived)
    }

    fn backup(
        &self,
        directory: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<Head>, BackupError> {
        self.copy_into(directory, progress)
    }
}
