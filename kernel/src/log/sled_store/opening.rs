//! Opening a data directory: format, lock, damage.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::SledOptions;
use super::inspect::{self, Damage, Finding};
use crate::log::head::{HeadError, HeadFile, replace};
use crate::log::store::StoreError;

/// The format of the data directory that this code writes. It reads every one from
/// [`OLDEST_FORMAT`] on, and makes it this one: older rows stay as they are.
pub const FORMAT: u32 = 4;
/// The oldest format that can be read.
const OLDEST_FORMAT: u32 = 1;

/// Why a data directory could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("{0} is in use by another process; stop it first (a running `fedsx serve`?)")]
    InUse(PathBuf),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
    /// It was written by a newer version.
    #[error(
        "{path} has format {found}, which a newer version of fedsx wrote; this one reads up to \
         format {FORMAT}"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// What its format file says.
        found: u32,
    },
    /// It is no data directory, or its format file is damaged.
    #[error(
        "{path} has format {found:?}; this version of fedsx reads formats {OLDEST_FORMAT} to {FORMAT}"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// The files are not what was written.
    #[error(
        "the database in {path} is damaged at {place}: {reason}; restore a backup, or save what \
         can be read: fedsx recover --data {path} --out NEW"
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// Where.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The log ends before what was noted as durable.
    #[error(
        "the log in {path} ends at entry {found}, but {noted} entries were durable: it was cut \
         back; restore a backup, or go on with what is left: fedsx recover --data {path} --out NEW"
    )]
    CutBack {
        /// The directory.
        path: PathBuf,
        /// Where the log ends.
        found: u64,
        /// Where it ended once.
        noted: u64,
    },
    /// The head file cannot be used.
    #[error("{0}; restore a backup, or build the directory anew with fedsx recover")]
    Head(#[from] HeadError),
    /// Reading the log failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    pub(super) fn damaged(directory: &Path, damage: Damage) -> Self {
        Self::Damaged { path: directory.to_owned(), place: damage.place, reason: damage.reason }
    }

    /// A failure to read, at the place that it names.
    pub(super) fn reading(directory: &Path, error: StoreError) -> Self {
        match error {
            StoreError::Damaged { place, reason } => {
                Self::Damaged { path: directory.to_owned(), place, reason }
            }
            other => Self::Store(other),
        }
    }
}

pub(super) fn io_at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path: path.clone(), source }
}

/// Reads the format file, or makes it in a directory without a store.
pub(super) fn check_format(directory: &Path, store: &Path) -> Result<(), OpenError> {
    let path = directory.join("format");
    let fail = io_at(&path);
    match fs::read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            match text.trim().parse::<u32>() {
                Ok(FORMAT) => Ok(()),
                // Before anything is written that older versions cannot read.
                Ok(OLDEST_FORMAT..FORMAT) => {
                    replace(&path, format!("{FORMAT}\n").as_bytes()).map_err(fail)
                }
                Ok(found) if found > FORMAT => {
                    Err(OpenError::Newer { path: directory.to_owned(), found })
                }
                _ => Err(OpenError::Format {
                    path: directory.to_owned(),
                    found: text.trim().chars().take(32).collect(),
                }),
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && !store.exists() => {
            replace(&path, format!("{FORMAT}\n").as_bytes()).map_err(fail)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::Format { path: directory.to_owned(), found: "no format file".into() })
        }
        Err(e) => Err(fail(e)),
    }
}

/// Refuses a directory whose database file another process has locked.
pub(super) fn check_unused(directory: &Path, store: &Path) -> Result<(), OpenError> {
    let path = store.join("db");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_at(&path)(e)),
    };
    match file.try_lock() {
        // Released as the file is closed, before sled takes it.
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(e)) => Err(io_at(&path)(e)),
    }
}

/// Opens a database, unless that would destroy what is good in a damaged file. `noted` is the
/// last entry of the log that was noted as durable.
pub(super) fn open(
    directory: &Path,
    store: &Path,
    config: &sled::Config,
    noted: u64,
) -> Result<sled::Db, OpenError> {
    if store.exists() {
        match inspect::inspect(store, noted).map_err(io_at(store))? {
            Finding::Sound => {}
            Finding::Torn(cut) => {
                tracing::warn!(store = %store.display(), "what was not synced is cut off");
                inspect::cut(store, &cut).map_err(io_at(store))?;
            }
            Finding::Damaged(damage) => return Err(OpenError::damaged(directory, damage)),
        }
        settle(store).map_err(io_at(store))?;
    }
    // sled relies on its files in many places, and panics where they are not what it expects.
    let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
    opened.unwrap_or_else(|panic| Err(sled::Error::ReportableBug(said(panic.as_ref())))).map_err(
        |e| match e {
            // sled wraps the failed lock into an error of kind `Other`.
            sled::Error::Io(e)
                if e.kind() == io::ErrorKind::WouldBlock
                    || e.to_string().contains("could not acquire lock") =>
            {
                OpenError::InUse(directory.to_owned())
            }
            sled::Error::Io(e) if e.kind() != io::ErrorKind::UnexpectedEof => io_at(store)(e),
            other => OpenError::Damaged {
                path: directory.to_owned(),
                place: match &other {
                    sled::Error::Corruption { at: Some(at), .. } => {
                        format!("store/db at byte {}", at.lid())
                    }
                    _ => "store".into(),
                },
                reason: other.to_string(),
            },
        },
    )
}

/// How sled is set up.
pub(super) fn config(store: &Path, options: &SledOptions) -> sled::Config {
    sled::Config::new().path(store).cache_capacity(options.cache_bytes / 2).flush_every_ms(None)
}

/// The file of a database, for syncs. What an earlier process left unsynced counts as durable from
/// here on.
pub(super) fn file(store: &Path) -> Result<Arc<File>, OpenError> {
    let path = store.join("db");
    let file = OpenOptions::new().read(true).write(true).open(&path);
    file.and_then(|file| file.sync_all().map(|()| Arc::new(file))).map_err(io_at(&path))
}

/// The last entry that the head file says was durable.
pub(super) fn noted(directory: &Path) -> Result<u64, OpenError> {
    Ok(HeadFile::new(directory).read()?.map_or(0, |head| head.global_seq))
}

/// Puts in order what sled, when it is interrupted, leaves in a state that it does not read again.
fn settle(store: &Path) -> io::Result<()> {
    // sled notes in a snapshot what it read at its start, and trusts that the next time. What it
    // reads must therefore be durable first: after a kill it may be in the page cache only.
    match File::open(store.join("db")) {
        Ok(file) => file.sync_data()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // sled takes a snapshot that it was still writing for a finished one.
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(path)?;
        }
    }
    // sled writes its parameters, which are always the same, in two steps and does not sync
    // them. Without the file it writes them again; with a part of it, it gives up.
    let parameters = store.join("conf");
    match fs::read(&parameters) {
        Ok(bytes) if checksum_holds(&bytes) => Ok(()),
        Ok(_) => fs::remove_file(parameters),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn checksum_holds(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<4>().is_some_and(|(content, sum)| {
        !content.is_empty() && crc32fast::hash(content) == u32::from_le_bytes(*sum)
    })
}

/// Makes durable what sled made at its start and does not sync: its parameters, and the names of
/// its files.
pub(super) fn sync_files(directory: &Path, store: &Path) -> Result<(), OpenError> {
    for place in [store.join("conf"), store.to_owned(), directory.to_owned()] {
        let synced = File::open(&place).and_then(|file| file.sync_all());
        synced.map_err(io_at(&place))?;
    }
    Ok(())
}

/// Runs what reads the database; a panic in sled becomes an error.
pub(super) fn guarded<T>(
    directory: &Path,
    work: impl FnOnce() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(OpenError::Damaged {
            path: directory.to_owned(),
            place: "store".into(),
            reason: said(panic.as_ref()),
        })
    })
}

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("sled cannot read its files");
    text.chars().take(300).collect()
}
