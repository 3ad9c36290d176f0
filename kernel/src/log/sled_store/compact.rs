//! Writing a store anew, so that nothing is left of what was replaced or removed.
//!
//! sled keeps old versions of a row in its file until it happens to use their place again. The
//! live rows are copied into a new database beside the old one, in `compact/`; the copy is
//! compared with the original, row by row, and then takes its place by two renames. Whatever
//! interrupts it: where `store/` is, it is whole, and `compact/` is of no use; where it is not, the
//! copy in `compact/` is whole, and the next opening puts it in its place.
//!
//! Projections are not copied. They are built anew from the log.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::database::content;
use super::keys;
use super::opening::OpenError;
use super::rows::Rows;
use super::{SledStorage, errors};
use crate::log::head::Head;
use crate::log::snapshot::{BackupError, Progress};
use crate::log::store::{Batch, LogStore, OnceValue, StoreError, TableWrite};

/// Once keys that are changed in one step.
const BATCH: usize = 256;
/// How often, and after which pause, a database is opened that is just being closed.
const TRIES: usize = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Why a store was not written anew.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompactError {
    /// It is in use, damaged or unreadable.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be copied; it is as it was.
    #[error("the copy: {0}")]
    Copy(#[from] BackupError),
    /// It could not be read or written; it is as it was.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy is not the same; the store is as it was.
    #[error("the copy differs from the store at {0}; the store is as it was")]
    Differs(String),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
}

/// What was written anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// The end of the log.
    pub global_seq: u64,
    /// Rows of log and ledgers.
    pub rows: u64,
    /// Bytes that the store took before.
    pub bytes_before: u64,
    /// Bytes that it takes now.
    pub bytes_after: u64,
}

fn beside(directory: &Path) -> PathBuf {
    directory.join("compact")
}

fn at(path: &Path) -> impl Fn(io::Error) -> CompactError {
    let path = path.to_owned();
    move |source| CompactError::Io { path: path.clone(), source }
}

/// Ends a change of places that was interrupted. Runs before a store is opened.
pub(super) fn settle(directory: &Path) -> io::Result<()> {
    let (store, copy) = (directory.join("store"), beside(directory).join("store"));
    if !store.exists() && copy.exists() {
        tracing::warn!(directory = %directory.display(), "the end of a compaction is caught up on");
        fs::rename(copy, store)?;
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Removes what an interrupted compaction left. Only for who has the store open.
pub(super) fn tidy(directory: &Path) -> io::Result<()> {
    remove(&beside(directory))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

impl SledStorage {
    /// Writes the store of a data directory anew, so that nothing is left of what was erased,
    /// replaced or removed. Projections are left to be rebuilt.
    ///
    /// # Errors
    /// Where it is in use, damaged, or cannot be copied; then it is as it was.
    pub fn compact(directory: &Path, progress: Progress<'_>) -> Result<Compacted, CompactError> {
        let (store, place) = (directory.join("store"), beside(directory));
        let copied = Self::copy_beside(directory, &place, progress);
        let (head, rows) = match copied {
            Ok(copied) => copied,
            Err(error) => {
                // The reason matters more than what could not be tidied up.
                let _ = remove(&place);
                return Err(error);
            }
        };
        let bytes_before = size(&store).map_err(at(&store))?;
        swap(directory, &store, &place)?;
        let bytes_after = size(&store).map_err(at(&store))?;
        let global_seq = head.map_or(0, |head| head.global_seq);
        Ok(Compacted { global_seq, rows, bytes_before, bytes_after })
    }

    fn copy_beside(
        directory: &Path,
        place: &Path,
        progress: Progress<'_>,
    ) -> Result<(Option<Head>, u64), CompactError> {
        let source = Self::open(directory)?;
        source.drop_fingerprints()?;
        remove(place).map_err(at(place))?;
        let head = source.copy_into(place, progress)?;
        let copy = patiently(|| Self::open(place))?;
        let pairs =
            [(source.log.rows(), copy.log.rows()), (&source.ledgers.rows, &copy.ledgers.rows)];
        let mut rows = 0;
        for (old, new) in pairs {
            rows += same(old, new)?;
        }
        Ok((head, rows))
    }

    /// Hashes of requests whose content was erased say whether a guess is right, to who has the
    /// master key; a repeated request is known without them.
    fn drop_fingerprints(&self) -> Result<(), CompactError> {
        let log = &*self.log;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = log.rows().scan(&[keys::ONCE], after.as_deref(), BATCH)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut writes: Vec<TableWrite> = Vec::new();
            for (key, bytes) in page {
                let used: OnceValue = keys::from_cbor(&bytes, || keys::shown(&key))?;
                let erased = used.fingerprint.is_some()
                    && log.body(&used.cid)?.is_some_and(|body| body.erased.is_some());
                if erased {
                    let bare = keys::to_cbor(&OnceValue { fingerprint: None, ..used })?;
                    writes.push((key, Some(bare)));
                }
            }
            if !writes.is_empty() {
                log.append_with(&Batch::default(), writes)?;
            }
        }
    }
}

/// Compares all rows as they stand in the files, but for the marks of syncs; gives their number.
fn same(old: &Rows, new: &Rows) -> Result<u64, CompactError> {
    let pair = |item: Option<sled::Result<(sled::IVec, sled::IVec)>>| {
        item.transpose().map_err(|e| CompactError::Store(errors::read_error(e)))
    };
    let mut copied = content(new.tree());
    let mut count = 0;
    for item in content(old.tree()) {
        let (expected, found) = (pair(Some(item))?, pair(copied.next())?);
        if expected != found {
            let key = expected.map_or_else(String::new, |(key, _)| keys::shown(&key));
            return Err(CompactError::Differs(key));
        }
        count += 1;
    }
    match pair(copied.next())? {
        Some((key, _)) => Err(CompactError::Differs(keys::shown(&key))),
        None => Ok(count),
    }
}

/// Puts the copy in the place of the store, and removes the old one.
fn swap(directory: &Path, store: &Path, place: &Path) -> Result<(), CompactError> {
    let copy = place.join("store");
    // Nobody opens the one or the other meanwhile: sled locks the same files.
    let mut locks = Vec::new();
    for path in [store.join("db"), copy.join("db")] {
        let file = File::open(&path).map_err(at(&path))?;
        patiently(|| file.try_lock().map_err(|_| OpenError::InUse(directory.to_owned())))?;
        locks.push(file);
    }
    for path in [&copy, place] {
        File::open(path).and_then(|path| path.sync_all()).map_err(at(path))?;
    }
    let old = place.join("old");
    fs::rename(store, &old).map_err(at(store))?;
    fs::rename(&copy, store).map_err(at(&copy))?;
    for path in [place, directory] {
        File::open(path).and_then(|path| path.sync_all()).map_err(at(path))?;
    }
    drop(locks);
    remove(place).map_err(at(place))?;
    let projections = directory.join("projections");
    remove(&projections).map_err(at(&projections))?;
    File::open(directory).and_then(|path| path.sync_all()).map_err(at(directory))
}

/// Tries again for a while: sled's threads hold a database a little longer than its owner.
#[allow(clippy::disallowed_methods, reason = "offline; nothing else goes on in this process")]
pub(super) fn patiently<T>(mut open: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    for _ in 0..TRIES {
        match open() {
            Err(OpenError::InUse(_)) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    open()
}

fn size(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        bytes += if kind.is_dir() { size(&entry.path())? } else { kind.len() };
    }
    Ok(bytes)
}
