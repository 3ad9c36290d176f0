//! A database with its journal, opened.

use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SledOptions;
use super::core::{Core, Failure, Parts};
use super::device::Room;
use super::errors::read_error;
use super::flush::{self, Bottom};
use super::journal::{self, Journal, replay};
use super::keys;
use super::opening::{self, OpenError};
use super::rows::{Rows, Space};
use crate::log::snapshot::{Gate, Tracked};

/// Where a database is and what it holds.
pub(super) struct Place<'a> {
    /// The data directory.
    pub(super) directory: &'a Path,
    /// The database's own directory.
    pub(super) store: &'a Path,
    /// Its trees. The first one also holds what is noted of the database itself.
    pub(super) trees: &'a [(&'a str, Space)],
    /// The last entry of the log that was noted as durable; 0 for a database without a log.
    pub(super) noted: u64,
    /// Where it is said that it was found damaged, where that is enough to have it made anew.
    pub(super) mark: Option<PathBuf>,
}

/// A database that is open.
pub(super) struct Database {
    pub(super) core: Arc<Core>,
    /// In the order in which they were named.
    pub(super) rows: Vec<Rows>,
    pub(super) file: Arc<File>,
    pub(super) db: sled::Db,
}

impl Place<'_> {
    /// Opens it, or makes it, and reads the journal into memory. A damaged one is not changed.
    pub(super) fn open(
        self,
        options: &SledOptions,
        gate: &Arc<Gate>,
        failed: &Failure,
    ) -> Result<Database, OpenError> {
        let (directory, store) = (self.directory, self.store);
        let journals = replay::read(store).map_err(opening::io_at(store))?;
        if let Some(damage) = replay::inspect(&journals) {
            return Err(OpenError::damaged(directory, damage));
        }
        let config = opening::config(store, options);
        // What a journal writes may stand in the database and not be durable there.
        let in_journals = journals.iter().flat_map(|journal| journal.writes(true)).flatten();
        let in_journals = in_journals.flatten().filter_map(|(key, _)| entry_of(&key)).min();
        let noted = self.noted.min(in_journals.map_or(u64::MAX, |first| first.saturating_sub(1)));
        let db = opening::open(directory, store, &config, noted)?;
        opening::sync_files(directory, store)?;
        opening::guarded(directory, || self.start(db, config, &journals, options, gate, failed))
    }

    fn start(
        &self,
        db: sled::Db,
        config: sled::Config,
        journals: &[replay::Found],
        options: &SledOptions,
        gate: &Arc<Gate>,
        failed: &Failure,
    ) -> Result<Database, OpenError> {
        let (directory, store) = (self.directory, self.store);
        let reading = |e| OpenError::reading(directory, e);
        let file = opening::file(store)?;
        let mut trees = Vec::new();
        for (name, space) in self.trees {
            let tree = db.open_tree(name).map_err(|e| reading(read_error(e)))?;
            trees.push(Arc::new(Tracked::new(tree, *space, gate.clone())));
        }
        let flushed = match trees.first() {
            Some(first) => flush::flushed(first).map_err(|e| reading(read_error(e)))?,
            None => None,
        };
        let open = replay::open_ones(journals, flushed)
            .map_err(|damage| OpenError::damaged(directory, damage))?;
        let held = fill(directory, &trees, &open)?;
        self.check_end(&trees, &open)?;
        let io = opening::io_at(store);
        let mut journal = None;
        for one in &open {
            journal = Some(Journal::resume(store, one.end()).map_err(&io)?);
        }
        let journal = match journal {
            Some(journal) => journal,
            None => Journal::create(store, flushed.unwrap_or(0) + 1).map_err(&io)?,
        };
        journal::remove_up_to(store, flushed.unwrap_or(0)).map_err(&io)?;
        let room = Room::new(options.device.clone(), vec![file.clone()], options.reserve_bytes);
        let parts = Parts {
            store,
            trees: trees.clone(),
            bottom: Bottom::new(db.clone(), config.clone(), file.clone(), store),
            journal,
            device: options.device.clone(),
            room,
            failed: failed.clone(),
            memory_bytes: options.memory_bytes,
            move_after: options.move_after,
            held,
            mark: self.mark.clone(),
        };
        let core = Core::start(parts).map_err(&io)?;
        let rows = trees.into_iter().map(|tree| Rows::open(tree, options.compress, config.clone()));
        let rows = rows.collect::<Result<_, _>>().map_err(reading)?;
        Ok(Database { core, rows, file, db })
    }
}

impl Place<'_> {
    /// Whether what is about to be cut off was noted as durable.
    fn check_end(
        &self,
        trees: &[Arc<Tracked>],
        journals: &[&replay::Found],
    ) -> Result<(), OpenError> {
        let torn = journals.iter().find_map(|journal| journal.torn());
        let Some((damage, log)) = torn.zip(trees.first()).filter(|_| self.noted > 0) else {
            return Ok(());
        };
        let [from, to] = [1, self.noted].map(|seq| log.space().row(&keys::entry(seq)).into());
        let last = log.range_back(Bound::Included(from), Bound::Included(to)).next().transpose();
        let last = last.map_err(|e| OpenError::reading(self.directory, read_error(e)))?;
        match last.and_then(|(key, _)| entry_of(&key)) {
            Some(last) if last == self.noted => Ok(()),
            _ => Err(OpenError::damaged(self.directory, damage)),
        }
    }
}

/// The entry that a row of the log's tree holds.
fn entry_of(row: &[u8]) -> Option<u64> {
    let position = Space::LOG.key_of(row)?.strip_prefix(&[keys::ENTRY])?;
    position.try_into().ok().map(u64::from_be_bytes)
}

/// Puts what the journals hold into memory; gives its size in bytes.
fn fill(
    directory: &Path,
    trees: &[Arc<Tracked>],
    journals: &[&replay::Found],
) -> Result<u64, OpenError> {
    let mut held = 0;
    for writes in journals.iter().flat_map(|journal| journal.writes(false)) {
        let writes = writes.map_err(|damage| OpenError::damaged(directory, damage))?;
        for tree in trees {
            let own = writes.iter().filter(|(key, _)| Space::of(key) == Some(tree.space()));
            let own: Vec<_> = own.cloned().collect();
            held += super::core::weight(&own);
            tree.put(own, || ());
        }
    }
    Ok(held)
}

/// All rows that a tree holds, but for what is noted of the database itself.
pub(super) fn content(
    tree: &Tracked,
) -> impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>> {
    let end = Bound::Excluded(tree.space().mark().into());
    tree.range(Bound::Unbounded, end)
}
