//! The embedded default: sled.
//!
//! One tree holds the log, one the projections, one the ledgers; [`rows`] says how values of any
//! size stand in them. Keys of the log's tree start with a byte that says what they hold:
//!
//! | key | value |
//! |---|---|
//! | `e` global_seq | entry (CBOR) |
//! | `s` stream `\0` stream_seq | global_seq |
//! | `n` stream | length of the stream |
//! | `u` stream `\0` hash | stream_seq |
//! | `f` hash | global_seq of the first entry |
//! | `b` hash | body (CBOR) |
//! | `i` blake3 of a foreign id | hash |
//! | `o` blake3 of a once key | once value (CBOR) |
//! | `a` key | admission state (DAG-CBOR) |
//!
//! sled's `flush` does not sync the device, so [`Storage::sync`] does, on the database file itself.
//! What sled does at its start with a file that is damaged is told in [`inspect`].

mod compact;
mod core;
mod device;
mod errors;
mod inspect;
mod keys;
mod log;
mod opening;
mod raw;
mod rows;
mod salvage;
mod state;
mod table;

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

pub use compact::{CompactError, Compacted};
pub use device::{Device, Disk};
pub use opening::{FORMAT, OpenError};
pub use salvage::{FirstDamage, Salvage, SalvageError, Salvaged, StreamKept};

use self::core::Core;
use self::log::SledLog;
use self::rows::{Rows, Space};
use self::table::SledTable;
use super::head::{Head, HeadFile};
use super::snapshot::{BackupError, Copied, Gate, Part, Progress, Tracked};
use super::store::{LogStore, Storage, StoreError, Table};

/// How a store is opened.
#[derive(Clone)]
pub struct SledOptions {
    /// What is kept free on the disk, in bytes: appends that would use it are refused before
    /// anything of them is written, and go on when there is room again. 0 turns that off.
    pub reserve_bytes: u64,
    /// Page cache of sled, in bytes.
    pub cache_bytes: u64,
    /// The device.
    pub device: Arc<dyn Device>,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            reserve_bytes: 64 * 1024 * 1024,
            cache_bytes: 32 * 1024 * 1024,
            device: Arc::new(Disk),
        }
    }
}

/// Storage in a directory, through sled.
pub struct SledStorage {
    core: Arc<Core>,
    gate: Arc<Gate>,
    log: Arc<SledLog>,
    projections: Arc<SledTable>,
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
        opening::check_format(directory, &store)?;
        opening::check_unused(directory, &store)?;
        let config = sled::Config::new()
            .path(&store)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(None);
        let db = opening::open(directory, &store, &config)?;
        opening::sync_files(directory, &store)?;
        compact::tidy(directory).map_err(opening::io_at(directory))?;
        opening::guarded(directory, || {
            let storage = Self::start(directory, &store, db, config, options)?;
            storage.check_tail(directory)?;
            Ok(storage)
        })
    }

    fn start(
        directory: &Path,
        store: &Path,
        db: sled::Db,
        config: sled::Config,
        options: SledOptions,
    ) -> Result<Self, OpenError> {
        let path = store.join("db");
        let file = OpenOptions::new().read(true).write(true).open(&path);
        // What an earlier process left unsynced counts as durable from here on.
        let file = file.and_then(|file| file.sync_all().map(|()| file));
        let file = file.map_err(opening::io_at(&path))?;
        let gate = Arc::new(Gate::default());
        let rows = |name: &str, part: Part, space: Space| {
            let tree = db.open_tree(name).map_err(errors::read_error);
            tree.and_then(|tree| {
                Rows::open(Tracked::new(tree, part, gate.clone()), space, config.clone())
            })
            .map_err(|e| OpenError::reading(directory, e))
        };
        let log = rows("log", Part::Log, Space::LOG)?;
        let projections = rows("projections", Part::Projections, Space::PROJECTIONS)?;
        let ledgers = rows("ledgers", Part::Ledgers, Space::LEDGERS)?;
        let SledOptions { reserve_bytes, device, .. } = options;
        let core = Core::start(db, config, file, store, device, reserve_bytes);
        let log = SledLog::open(core.clone(), log);
        Ok(Self {
            log: Arc::new(log.map_err(|e| OpenError::reading(directory, e))?),
            projections: Arc::new(SledTable { core: core.clone(), rows: projections }),
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
        let all = [self.log.rows(), &self.projections.rows, &self.ledgers.rows];
        all.into_iter().map(Rows::check).sum()
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
                let writes = page.into_iter().map(|(key, value)| (key, Some(value))).collect();
                to.apply(writes).map_err(|e| StoreError::Io(errors::write_failure(&e)))?;
                if progress(copied).is_break() {
                    return Err(BackupError::Stopped);
                }
            }
        }
        drop(snapshot);
        target.sync()?;
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

    fn backup(
        &self,
        directory: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<Head>, BackupError> {
        self.copy_into(directory, progress)
    }
}
