//! The projections, in a database of their own beside that of the log.
//!
//! What stands here can be made again from the log. So nothing waits for its syncs, and where it is
//! damaged it is removed and made anew: at the start where it shows then, else at the next one, for
//! which a file [`MARK`] is left. Its journal is synced when its rows are moved into sled, and at the
//! end of a process. A write that fails stops the log, too: the disk is full, or the
//! operator has to know at least. A projection
//! that stands behind the log after a crash catches up; one that stands ahead of a log that was
//! cut back is noticed by its checkpoint, which names the body of the entry that it stands at.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SledOptions;
use super::core::Failure;
use super::database::Place;
use super::errors::read_error;
use super::opening::{self, OpenError};
use super::rows::Space;
use super::table::SledTable;
use crate::log::snapshot::Gate;
use crate::log::store::{Pairs, StoreError, Table, TableWrite};

/// The name of its tree, here and in the database of the log, where it stood at first.
const TREE: &str = "projections";

/// The name of the file in it that says that it is damaged.
const MARK: &str = "damaged";

/// The database of the projections.
pub(super) struct Derived {
    table: SledTable,
    /// Its file.
    pub(super) file: Arc<File>,
}

fn place(directory: &Path) -> PathBuf {
    directory.join("projections")
}

/// Where a damaged one goes before it is removed.
fn damaged(directory: &Path) -> PathBuf {
    directory.join("projections.damaged")
}

/// Removes the tree that older versions kept in the database of the log.
pub(super) fn leave(log: &sled::Db) -> Result<(), StoreError> {
    if log.drop_tree(TREE).map_err(read_error)? {
        tracing::info!("the projections get a database of their own; they are rebuilt");
    }
    Ok(())
}

/// Removes the database, whatever is in it.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    remove_all(&place(directory))?;
    remove_all(&damaged(directory))
}

fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

impl Derived {
    /// Opens it, or makes it. A damaged one is removed first: nothing of it is worth keeping, and
    /// it may hold what is erased later.
    pub(super) fn open(
        directory: &Path,
        options: &SledOptions,
        failed: &Failure,
    ) -> Result<Self, OpenError> {
        let (place, damaged) = (place(directory), damaged(directory));
        remove_all(&damaged).map_err(opening::io_at(&damaged))?;
        opening::check_unused(directory, &place)?;
        match Self::start(directory, &place, options, failed) {
            Err(OpenError::Damaged { place: at, reason, .. }) => {
                let (at, projections) = (own(&at), place.display());
                tracing::warn!(%projections, at, reason, "damaged; projections are rebuilt");
                fs::rename(&place, &damaged).map_err(opening::io_at(&place))?;
                remove_all(&damaged).map_err(opening::io_at(&damaged))?;
                Self::start(directory, &place, options, failed)
            }
            other => other,
        }
    }

    fn start(
        directory: &Path,
        place: &Path,
        options: &SledOptions,
        failed: &Failure,
    ) -> Result<Self, OpenError> {
        if place.join(MARK).exists() {
            return Err(OpenError::Damaged {
                path: directory.to_owned(),
                place: "projections".into(),
                reason: "it was found damaged while it was read".into(),
            });
        }
        let database = Place {
            directory,
            store: place,
            trees: &[(TREE, Space::PROJECTIONS)],
            noted: 0,
            mark: Some(place.join(MARK)),
        };
        let mut opened = database.open(options, &Arc::new(Gate::default()), failed)?;
        let Some(rows) = opened.rows.pop() else {
            return Err(OpenError::Store(StoreError::Io("the database has no trees".into())));
        };
        let table = SledTable { core: opened.core, rows };
        Ok(Self { table, file: opened.file })
    }

    /// Makes everything durable that was written.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        self.guarded(|table| table.core.settle())
    }

    /// Reads everything once; gives the number of rows.
    pub(super) fn check(&self) -> Result<u64, StoreError> {
        self.guarded(|table| table.rows.check())
    }

    /// Notices damage: sled gives an error for it, or panics.
    fn guarded<T>(
        &self,
        work: impl FnOnce(&SledTable) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (place, reason) = match catch_unwind(AssertUnwindSafe(|| work(&self.table))) {
            Ok(Err(StoreError::Damaged { place, reason })) => (own(&place), reason),
            Ok(other) => return other,
            Err(panic) => ("projections".to_owned(), opening::said(panic.as_ref())),
        };
        self.table.core.damaged(&format!("{place}: {reason}"));
        let reason = format!("{reason}; projections are rebuilt at the next start");
        Err(StoreError::Damaged { place, reason })
    }
}

impl Table for Derived {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.guarded(|table| table.get(key))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Pairs, StoreError> {
        self.guarded(|table| table.scan(prefix, after, limit))
    }

    fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        self.guarded(|table| table.scan_back(prefix, before, limit))
    }

    fn apply(&self, writes: Vec<TableWrite>) -> Result<(), StoreError> {
        self.guarded(|table| table.apply(writes))
    }
}

/// A place in this database, as the code that both share calls it.
fn own(place: &str) -> String {
    match place.strip_prefix("store") {
        Some(rest) => format!("projections{rest}"),
        None => format!("projections: {place}"),
    }
}
