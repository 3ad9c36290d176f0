use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use super::check::{self, Known};
use super::entry::{Entry, Stream};
use super::store::{Batch, LogStore, OnceValue, Pairs, Storage, StoreError, Table, TableWrite};
use crate::activity::Body;
use crate::cid::Cid;
use crate::state::{MemoryState, StateError, StateView};

/// Storage that is gone with the process: for tests and simulation.
#[derive(Default)]
pub struct MemoryStorage {
    log: Arc<MemoryLog>,
    projections: Arc<MemoryTable>,
    ledgers: Arc<MemoryTable>,
}

impl Storage for MemoryStorage {
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
        Ok(())
    }
}

#[derive(Default)]
struct MemoryLog {
    content: RwLock<Content>,
    state: SharedState,
}

#[derive(Default)]
struct Content {
    entries: Vec<Entry>,
    streams: BTreeMap<Stream, Vec<u64>>,
    positions: HashMap<(Stream, Cid), u64>,
    first: HashMap<Cid, u64>,
    bodies: HashMap<Cid, Body>,
    ids: HashMap<String, Cid>,
    once: HashMap<String, OnceValue>,
}

#[derive(Default)]
struct SharedState(RwLock<MemoryState>);

impl StateView for SharedState {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key)
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).scan(prefix, after, limit)
    }
}

impl MemoryLog {
    fn with<T>(&self, read: impl FnOnce(&Content) -> T) -> T {
        read(&self.content.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LogStore for MemoryLog {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        check::continues(batch, &*content)?;
        for (cid, body, id) in &batch.bodies {
            content.bodies.insert(*cid, body.clone());
            if let Some(id) = id {
                content.ids.insert(id.clone(), *cid);
            }
        }
        for entry in &batch.entries {
            content.first.entry(entry.cid).or_insert(entry.global_seq);
            content.positions.insert((entry.stream.clone(), entry.cid), entry.stream_seq);
            content.streams.entry(entry.stream.clone()).or_default().push(entry.global_seq);
            content.entries.push(entry.clone());
        }
        content.once.extend(batch.once.iter().cloned());
        for erasure in &batch.erasures {
            content.bodies.insert(erasure.cid, erasure.stub.clone());
            for entry in &erasure.entries {
                if let Some(held) = content.at_mut(entry.global_seq) {
                    *held = entry.clone();
                }
            }
        }
        self.state.0.write().unwrap_or_else(PoisonError::into_inner).commit(batch.state.clone());
        Ok(())
    }

    fn head(&self) -> Result<u64, StoreError> {
        Ok(self.with(|content| content.entries.len() as u64))
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(self.with(|content| content.entries.iter().skip(skip).take(limit).cloned().collect()))
    }

    fn read_stream(
        &self,
        stream: &Stream,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.with(|content| {
            let Some(seqs) = content.streams.get(stream) else { return Vec::new() };
            seqs.iter()
                .skip(skip)
                .take(limit)
                .filter_map(|seq| content.entries.get(usize::try_from(*seq).ok()?.checked_sub(1)?))
                .cloned()
                .collect()
        }))
    }

    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError> {
        Ok(self.with(|content| content.streams.get(stream).map_or(0, |seqs| seqs.len() as u64)))
    }

    fn streams(&self) -> Result<Vec<(Stream, u64)>, StoreError> {
        Ok(self.with(|content| {
            content.streams.iter().map(|(name, seqs)| (name.clone(), seqs.len() as u64)).collect()
        }))
    }

    fn position(&self, stream: &Stream, cid: &Cid) -> Result<Option<u64>, StoreError> {
        Ok(self.with(|content| content.positions.get(&(stream.clone(), *cid)).copied()))
    }

    fn first_entry(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        Ok(self.with(|content| content.first.get(cid).copied()))
    }

    fn body(&self, cid: &Cid) -> Result<Option<Body>, StoreError> {
        Ok(self.with(|content| content.bodies.get(cid).cloned()))
    }

    fn by_id(&self, id: &str) -> Result<Option<Cid>, StoreError> {
        Ok(self.with(|content| content.ids.get(id).copied()))
    }

    fn once(&self, key: &str) -> Result<Option<OnceValue>, StoreError> {
        Ok(self.with(|content| content.once.get(key).cloned()))
    }

    fn state(&self) -> &dyn StateView {
        &self.state
    }
}

impl Content {
    fn at_mut(&mut self, global_seq: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(global_seq.checked_sub(1)?).ok()?)
    }
}

impl Known for Content {
    fn head(&self) -> Result<u64, StoreError> {
        Ok(self.entries.len() as u64)
    }

    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError> {
        Ok(self.streams.get(stream).map_or(0, |seqs| seqs.len() as u64))
    }

    fn is_in(&self, stream: &Stream, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.positions.contains_key(&(stream.clone(), *cid)))
    }

    fn holds(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.first.contains_key(cid))
    }

    fn used(&self, once: &str) -> Result<bool, StoreError> {
        Ok(self.once.contains_key(once))
    }

    fn entry_at(&self, global_seq: u64) -> Result<Option<Entry>, StoreError> {
        let index = global_seq.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        Ok(index.and_then(|index| self.entries.get(index)).cloned())
    }
}

#[derive(Default)]
struct MemoryTable(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Table for MemoryTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Pairs, StoreError> {
        let content = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(content
            .range(after.unwrap_or(prefix).max(prefix).to_vec()..)
            .filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        let content = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(content
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| before.is_none_or(|before| key.as_slice() < before))
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn apply(&self, writes: Vec<TableWrite>) -> Result<(), StoreError> {
        let mut content = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in writes {
            match value {
                Some(value) => content.insert(key, value),
                None => content.remove(&key),
            };
        }
        Ok(())
    }
}
