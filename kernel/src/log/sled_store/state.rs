//! The admission state in the log's tree.
//!
//! Each activity asks for some ten values, most of them the same as the one before did: those that
//! were read last are kept decoded, also that there is none at a key.

use std::sync::{Arc, PoisonError, RwLock};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;

use super::rows::Rows;
use crate::activity::weight;
use crate::canonical;
use crate::log::store::StoreError;
use crate::state::{StateError, StateView, Writes};

/// Values that are kept, about.
const KEPT: usize = 8192;
/// Decoded values take so many bytes in memory, about.
const KEPT_BYTES: u64 = 8 * 1024 * 1024;
/// A decoded value takes so many times the bytes that it was decoded from, about.
const DECODED: usize = 6;
/// What a kept value takes beside that, in bytes, about.
const OVERHEAD_BYTES: usize = 200;

/// What stands at a key, and what that takes in memory.
#[derive(Clone)]
struct Kept {
    value: Option<Arc<Value>>,
    bytes: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<String, Kept> for ByBytes {
    fn weight(&self, _: &String, kept: &Kept) -> u64 {
        kept.bytes
    }
}

/// The admission state.
pub(super) struct SledState {
    rows: Arc<Rows>,
    kept: Cache<String, Kept, ByBytes>,
    /// Counts changes: what was read before one is not kept after it.
    changes: RwLock<u64>,
}

impl SledState {
    pub(super) fn new(rows: Arc<Rows>) -> Self {
        let kept = Cache::with_weighter(KEPT, KEPT_BYTES, ByBytes);
        Self { rows, kept, changes: RwLock::new(0) }
    }

    /// Forgets what was written anew, to be called when that shows; what was read before is likely to be
    /// read again.
    pub(super) fn changed(&self, writes: &Writes) {
        if writes.is_empty() {
            return;
        }
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        *changes += 1;
        // Who finds a new value finds no old one at another key: first all go, then the new ones come.
        let mut read_before = Vec::new();
        for (key, value) in writes {
            let kept = self.kept.remove(key);
            if kept.is_some_and(|(_, kept)| kept.value.is_some()) {
                read_before.push((key, value));
            }
        }
        for (key, value) in read_before {
            let value = value.clone().map(Arc::new);
            let takes = value.as_deref().map_or(0, weight) + key.len() + OVERHEAD_BYTES;
            self.kept.insert(key.clone(), Kept { value, bytes: takes as u64 });
        }
    }

    /// Forgets everything.
    pub(super) fn changed_wholly(&self) {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        *changes += 1;
        self.kept.clear();
    }

    fn changes(&self) -> u64 {
        *self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, key: &str) -> Result<Kept, StateError> {
        let bytes = self.rows.get(&place(key))?;
        let length = bytes.as_ref().map_or(0, Vec::len);
        let takes = length.saturating_mul(DECODED) + key.len() + OVERHEAD_BYTES;
        Ok(Kept {
            value: bytes.map(|bytes| decode(key, &bytes)).transpose()?.map(Arc::new),
            bytes: takes as u64,
        })
    }
}

impl StateView for SledState {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        Ok(self.get_shared(key)?.map(|value| (*value).clone()))
    }

    fn get_shared(&self, key: &str) -> Result<Option<Arc<Value>>, StateError> {
        if let Some(kept) = self.kept.get(key) {
            return Ok(kept.value);
        }
        let before = self.changes();
        let read = self.read(key)?;
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        if *changes == before {
            self.kept.insert(key.to_owned(), read.clone());
        }
        Ok(read.value)
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let after = after.map(place);
        let found = self.rows.scan(&place(prefix), after.as_deref(), limit);
        found?
            .into_iter()
            .map(|(key, bytes)| {
                let key = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
                let value = decode(&key, &bytes)?;
                Ok((key, value))
            })
            .collect()
    }
}

fn decode(key: &str, bytes: &[u8]) -> Result<Value, StateError> {
    serde_ipld_dagcbor::from_slice(bytes)
        .map_err(|e| StateError::Shape { key: key.to_owned(), reason: e.to_string() })
}

/// The key of an entry of the state in the log's tree.
pub(super) fn place(key: &str) -> Vec<u8> {
    [b"a".as_slice(), key.as_bytes()].concat()
}

pub(super) fn encode(value: &Value) -> Result<Vec<u8>, StoreError> {
    canonical::to_dag_cbor(value).map_err(|e| StoreError::Io(e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::json;

    use crate::log::store::Batch;
    use crate::log::{SledStorage, Storage as _};
    use crate::state::Writes;

    fn batch(key: &str, value: Option<u64>) -> Batch {
        let state = Writes::from([(key.to_owned(), value.map(|value| json!({ "value": value })))]);
        Batch { state, ..Batch::default() }
    }

    #[test]
    fn what_is_kept_is_what_was_written_last() {
        let directory = tempfile::tempdir().unwrap();
        let storage = SledStorage::open(directory.path()).unwrap();
        let log = storage.log();
        assert_eq!(log.state().get("row").unwrap(), None);
        for value in [Some(1), Some(2), None, Some(3)] {
            log.append(&batch("row", value)).unwrap();
            let wanted = value.map(|value| json!({ "value": value }));
            assert_eq!(log.state().get("row").unwrap(), wanted);
            assert_eq!(log.state().get_shared("row").unwrap().as_deref(), wanted.as_ref());
        }
    }

    /// Who knows that a value was written never reads an older one, whoever else reads meanwhile.
    #[test]
    fn readers_do_not_keep_what_was_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let storage = SledStorage::open(directory.path()).unwrap();
        let log = storage.log();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        log.state().get_shared("row").unwrap();
                    }
                });
            }
            for value in 0..200 {
                log.append(&batch("row", Some(value))).unwrap();
                let held = log.state().get("row").unwrap().unwrap();
                assert_eq!(held["value"], value);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
