//! What the log finds under hashes.
//!
//! Rows under hashes would stand all over the tree: each new one is put into a leaf of its own, and the
//! longer the log is, the fewer of those are in memory; that a hash is new would be seen only where
//! it would stand. So they are told apart by when they came. The rows of one *epoch* stand together;
//! of each epoch but the newest one a filter says which hashes it may have, and those of the newest one are in
//! memory. A hash that is not in the log is hardly ever looked for in the tree.
//!
//! Filters are binary fuse filters of 16 bits (Graf and Lemire, 2022): some 2.3 bytes for each hash, and 1 of 65,536
//! look-ups in vain. They are written with the batch that begins the next epoch; one that
//! is not there is made from the rows.
//!
//! Rows of formats 1 to 3 stand without an epoch, and are looked for last.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use xorf::{BinaryFuse16, Filter as _};

use super::keys;
use super::rows::Rows;
use crate::log::store::{StoreError, TableWrite};

/// Rows of the log under hashes.
pub(super) struct Hashes {
    rows: Arc<Rows>,
    /// An epoch ends when it has so many.
    epoch_hashes: usize,
    epochs: RwLock<Epochs>,
}

#[derive(Default)]
struct Epochs {
    /// Those that have ended, in order.
    ended: Vec<Ended>,
    /// The number of the newest one.
    newest: u32,
    /// What it has.
    marks: HashSet<u64>,
    /// Whether there are rows without an epoch.
    older: bool,
}

struct Ended {
    epoch: u32,
    /// None where none could be made, so that each hash may be there.
    filter: Option<BinaryFuse16>,
}

/// What is known once a batch is shown.
pub(super) struct Noted {
    marks: Vec<u64>,
    ended: Option<Ended>,
}

/// What tells a hash apart from most others: its first bytes, and what it is a hash of.
fn mark(key: &[u8]) -> u64 {
    let (tag, hash) = key.split_first().unwrap_or((&0, &[]));
    let first = hash.first_chunk::<8>().copied().unwrap_or_default();
    u64::from_be_bytes(first) ^ u64::from(*tag)
}

impl Ended {
    fn new(epoch: u32, marks: &HashSet<u64>) -> Self {
        let filter = BinaryFuse16::try_from_iterator(marks.iter().copied());
        let filter = filter.inspect_err(|reason| tracing::warn!(epoch, reason, "no filter"));
        Self { epoch, filter: filter.ok() }
    }

    fn may_have(&self, mark: u64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.contains(&mark))
    }
}

impl Hashes {
    /// Knows nothing before [`Hashes::load`].
    pub(super) fn new(rows: Arc<Rows>, epoch_hashes: usize) -> Self {
        Self { rows, epoch_hashes, epochs: RwLock::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, Epochs> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Epochs> {
        self.epochs.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out anew what there is, after rows were written from outside.
    pub(super) fn load(&self) -> Result<(), StoreError> {
        let mut epochs = Epochs::default();
        for tag in keys::HASHED_BEFORE {
            epochs.older |= self.rows.range(&[tag], Some(&[tag + 1])).next().transpose()?.is_some();
        }
        let mut numbers = Vec::new();
        let mut from = Some(0);
        while let Some(number) = from {
            let mut rows = self.rows.range(&keys::epoch(number), Some(&keys::epochs_end()));
            let Some((key, _)) = rows.next().transpose()? else { break };
            let found = keys::epoch_of(&key).ok_or_else(|| StoreError::Damaged {
                place: keys::shown(&key),
                reason: "no hash of an epoch".into(),
            })?;
            numbers.push(found);
            from = found.checked_add(1);
        }
        let newest = numbers.pop();
        for number in numbers {
            epochs.ended.push(self.ended(number)?);
        }
        if let Some(newest) = newest {
            epochs.newest = newest;
            epochs.marks = self.marks(newest)?;
        }
        *self.write() = epochs;
        Ok(())
    }

    fn marks(&self, epoch: u32) -> Result<HashSet<u64>, StoreError> {
        let begin = keys::epoch(epoch);
        let end = epoch.checked_add(1).map_or_else(keys::epochs_end, keys::epoch);
        let rows = self.rows.range(&begin, Some(&end));
        rows.map(|row| row.map(|(key, _)| mark(key.get(begin.len()..).unwrap_or_default())))
            .collect()
    }

    fn ended(&self, epoch: u32) -> Result<Ended, StoreError> {
        let key = keys::filter(epoch);
        match self.rows.get(&key)? {
            Some(bytes) => {
                let filter = keys::from_cbor(&bytes, || keys::shown(&key))?;
                Ok(Ended { epoch, filter: Some(filter) })
            }
            None => Ok(Ended::new(epoch, &self.marks(epoch)?)),
        }
    }

    /// The value under a hash.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mark = mark(key);
        let (places, older) = {
            let epochs = self.read();
            let newest = epochs.marks.contains(&mark).then_some(epochs.newest);
            let ended = epochs.ended.iter().rev().filter(|ended| ended.may_have(mark));
            let places: Vec<u32> =
                newest.into_iter().chain(ended.map(|ended| ended.epoch)).collect();
            (places, epochs.older)
        };
        for epoch in places {
            if let Some(value) = self.rows.get(&keys::hashed(epoch, key))? {
                return Ok(Some(value));
            }
        }
        if older { self.rows.get(key) } else { Ok(None) }
    }

    /// What new values under hashes come to, and what is to be noted once they show.
    pub(super) fn put(
        &self,
        values: Vec<(Vec<u8>, Vec<u8>)>,
        writes: &mut Vec<TableWrite>,
    ) -> Result<Noted, StoreError> {
        let epochs = self.read();
        let mut noted = Noted { marks: Vec::with_capacity(values.len()), ended: None };
        let mut epoch = epochs.newest;
        if !values.is_empty() && epochs.marks.len() >= self.epoch_hashes {
            let ended = Ended::new(epoch, &epochs.marks);
            if let Some(filter) = &ended.filter {
                writes.push((keys::filter(epoch), Some(keys::to_cbor(filter)?)));
            }
            noted.ended = Some(ended);
            epoch = epoch.saturating_add(1);
        }
        for (key, value) in values {
            noted.marks.push(mark(&key));
            writes.push((keys::hashed(epoch, &key), Some(value)));
        }
        Ok(noted)
    }

    /// Notes what shows now.
    pub(super) fn shown(&self, noted: Noted) {
        let mut epochs = self.write();
        if let Some(ended) = noted.ended {
            epochs.newest = ended.epoch.saturating_add(1);
            epochs.ended.push(ended);
            epochs.marks.clear();
        }
        epochs.marks.extend(noted.marks);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::cid::Cid;
    use crate::log::sled_store::SledOptions;
    use crate::log::sled_store::compact::patiently;
    use crate::log::sled_store::database::{Database, Place};
    use crate::log::sled_store::rows::Space;

    const EPOCH: usize = 10;

    struct Store {
        directory: tempfile::TempDir,
        database: Database,
        rows: Arc<Rows>,
    }

    impl Store {
        fn open(directory: tempfile::TempDir) -> Self {
            let store = directory.path().join("store");
            let trees = &[("log", Space::LOG)];
            let place = || Place {
                directory: directory.path(),
                store: &store,
                trees,
                noted: 0,
                mark: None,
            };
            let open = || place().open(&SledOptions::default(), &Arc::default(), &Arc::default());
            let mut database = patiently(open).map_err(|e| e.to_string()).unwrap();
            let rows = Arc::new(database.rows.pop().unwrap());
            Self { directory, database, rows }
        }

        fn new() -> Self {
            Self::open(tempfile::tempdir().unwrap())
        }

        fn write(&self, writes: Vec<TableWrite>) {
            let prepared = self.rows.prepare(writes).unwrap();
            self.database.core.commit(&self.rows, prepared).unwrap();
        }

        /// The same once more, after an end.
        fn again(self, hashes: Hashes) -> Self {
            let Self { directory, database, rows } = self;
            database.core.settle().unwrap();
            drop((hashes, database, rows));
            Self::open(directory)
        }

        fn hashes(&self, epoch: usize) -> Hashes {
            let hashes = Hashes::new(self.rows.clone(), epoch);
            hashes.load().unwrap();
            hashes
        }

        fn put(&self, hashes: &Hashes, numbers: impl Iterator<Item = u32>) {
            let mut writes = Vec::new();
            let values = numbers.map(|number| (key(number), number.to_be_bytes().to_vec()));
            let noted = hashes.put(values.collect(), &mut writes).unwrap();
            self.write(writes);
            hashes.shown(noted);
        }

        fn filters(&self) -> Vec<Vec<u8>> {
            let filters = self.rows.range(&keys::filter(0), Some(&keys::epoch(0)));
            filters.map(|row| row.unwrap().0).collect()
        }
    }

    /// Of a body, or of a foreign id.
    fn key(number: u32) -> Vec<u8> {
        match number % 3 {
            0 => keys::foreign_id(&number.to_string()),
            _ => keys::first(&Cid::of_block(&number.to_be_bytes())),
        }
    }

    fn assert_has(hashes: &Hashes, numbers: std::ops::Range<u32>) {
        for number in 0..numbers.end + 100 {
            let wanted = numbers.contains(&number).then(|| number.to_be_bytes().to_vec());
            assert_eq!(hashes.get(&key(number)).unwrap(), wanted, "{number}");
        }
    }

    #[test]
    fn what_was_put_is_found_and_nothing_else() {
        let store = Store::new();
        let hashes = store.hashes(EPOCH);
        let mut next = 0;
        for length in [1, 4, 0, 10, 3, 25, 7, 30, 2, 9, 1, 1, 60] {
            store.put(&hashes, next..next + length);
            next += length;
            assert_has(&hashes, 0..next);
            assert_has(&store.hashes(EPOCH), 0..next);
        }
        assert!(store.filters().len() > 2);
    }

    /// Those of the second size are larger than a row may be.
    #[test]
    fn it_is_found_after_a_restart_with_and_without_filters() {
        for epoch in [10, 4000] {
            let store = Store::new();
            let hashes = store.hashes(epoch);
            let end = u32::try_from(epoch * 5 / 2).unwrap();
            let step = epoch / 10;
            for number in (0..end).step_by(step) {
                store.put(&hashes, number..number + u32::try_from(step).unwrap());
            }
            let store = store.again(hashes);
            let hashes = store.hashes(epoch);
            assert_has(&hashes, 0..end);
            assert_eq!((hashes.read().newest, hashes.read().marks.len()), (2, epoch / 2));
            let filters = store.filters();
            assert_eq!(filters.len(), 2);
            store.write(filters.into_iter().map(|key| (key, None)).collect());
            let hashes = store.hashes(epoch);
            assert!(hashes.read().ended.iter().all(|ended| ended.filter.is_some()));
            assert_has(&hashes, 0..end);
            store.put(&hashes, end..end + 15);
            assert_has(&hashes, 0..end + 15);
        }
    }

    #[test]
    fn rows_of_earlier_formats_are_found() {
        let store = Store::new();
        let plain = (0..20).map(|number: u32| (key(number), Some(number.to_be_bytes().to_vec())));
        store.write(plain.collect());
        let hashes = store.hashes(EPOCH);
        assert_has(&hashes, 0..20);
        store.put(&hashes, 20..50);
        assert_has(&hashes, 0..50);
        assert_has(&store.hashes(EPOCH), 0..50);
    }

    /// Filters keep most of what is not there away from the tree.
    #[test]
    fn filters_refuse() {
        let marks: HashSet<u64> = (0..2000).map(|number| mark(&key(number))).collect();
        let ended = Ended::new(0, &marks);
        assert!(marks.iter().all(|mark| ended.may_have(*mark)));
        let taken = (2000..4000).filter(|number| ended.may_have(mark(&key(*number)))).count();
        assert!(taken < 5, "{taken} of 2,000");
    }
}
