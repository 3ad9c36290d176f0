//! The log in its tree.
//!
//! What readers of the log answer leaves the instance, so they see nothing that is not durable: a
//! batch is shown when its frame in the journal is synced, and after a sync that failed never.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use super::core::Core;
use super::device::Writer;
use super::hashes::{Hashes, Noted};
use super::rows::Rows;
use super::state::{self, SledState};
use super::{entries, keys};
use crate::activity::Body;
use crate::cid::Cid;
use crate::log::check::{self, Known};
use crate::log::entry::{Entry, Stream};
use crate::log::store::{Batch, LogStore, OnceValue, StoreError, TableWrite};
use crate::state::StateView;

pub(super) struct SledLog {
    core: Arc<Core>,
    rows: Arc<Rows>,
    state: SledState,
    hashes: Hashes,
    /// The last entry that is durable.
    durable: AtomicU64,
    /// How many entries those streams have that were appended to last.
    lengths: Cache<Stream, u64>,
}

/// Streams whose lengths are kept.
const KEPT_LENGTHS: usize = 4096;

impl SledLog {
    /// An epoch of [`Hashes`] ends when it has so many.
    pub(super) fn open(
        core: Arc<Core>,
        rows: Rows,
        epoch_hashes: usize,
    ) -> Result<Self, StoreError> {
        let rows = Arc::new(rows);
        let (state, durable) = (SledState::new(rows.clone()), AtomicU64::new(0));
        let hashes = Hashes::new(rows.clone(), epoch_hashes);
        let log = Self { core, state, hashes, rows, durable, lengths: Cache::new(KEPT_LENGTHS) };
        log.reload()?;
        Ok(log)
    }

    /// Finds the end of the log anew, after rows were written from outside.
    pub(super) fn reload(&self) -> Result<(), StoreError> {
        let head = match self.rows.last(&[keys::ENTRY])? {
            None => 0,
            Some(key) => keys::number(key.get(1..).unwrap_or_default(), || keys::shown(&key))?,
        };
        self.hashes.load()?;
        self.durable.store(head, Ordering::SeqCst);
        self.lengths.clear();
        self.state.changed_wholly();
        Ok(())
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    fn entry(&self, global_seq: u64) -> Result<Entry, StoreError> {
        let bytes = self.rows.get(&keys::entry(global_seq))?;
        entries::decode(global_seq, &bytes.ok_or_else(|| missing(global_seq))?)
    }

    /// The last place of a stream that is taken by a durable entry.
    fn last_of(&self, stream: &Stream) -> Result<Option<u64>, StoreError> {
        let (from, end) = (keys::in_stream(stream, 0), keys::stream_end(stream));
        for item in self.rows.range_back(&from, Some(&end)) {
            let (key, seq) = item?;
            let (_, last) = keys::place_of(&key).ok_or_else(|| no_place(&key))?;
            if keys::number(&seq, || keys::shown(&key))? <= self.durable() {
                return Ok(Some(last));
            }
        }
        Ok(None)
    }

    /// What a batch comes to in rows, and what is known of its hashes once it shows.
    fn writes(&self, batch: &Batch) -> Result<(Vec<TableWrite>, Noted), StoreError> {
        let (mut writes, mut hashed): (Vec<TableWrite>, _) = (Vec::new(), Vec::new());
        let mut put = |key: Vec<u8>, value: Vec<u8>| writes.push((key, Some(value)));
        let firsts: HashMap<&Cid, u64> = batch
            .entries
            .iter()
            .filter(|entry| entry.first)
            .map(|entry| (&entry.cid, entry.global_seq))
            .collect();
        for (cid, body, id) in &batch.bodies {
            let first = firsts.get(cid).ok_or_else(|| {
                StoreError::NotContinuous(format!("the body {cid} has no first entry"))
            })?;
            put(keys::body(*first), keys::to_cbor(body)?);
            if let Some(id) = id {
                hashed.push((keys::foreign_id(id), cid.to_bytes()));
            }
        }
        for entry in &batch.entries {
            let Entry { global_seq, stream, stream_seq, cid, .. } = entry;
            let seq = global_seq.to_be_bytes();
            put(keys::entry(*global_seq), entries::encode(entry)?);
            put(keys::in_stream(stream, *stream_seq), seq.to_vec());
            // The first entry of a body tells its place itself.
            if entry.first {
                hashed.push((keys::first(cid), seq.to_vec()));
            } else {
                put(keys::position(stream, cid), stream_seq.to_be_bytes().to_vec());
            }
        }
        for (key, value) in &batch.once {
            put(keys::once(key), keys::to_cbor(value)?);
        }
        for erasure in &batch.erasures {
            let first = self.first_entry(&erasure.cid)?.ok_or_else(|| {
                StoreError::NotContinuous(format!("there is no body {} to erase", erasure.cid))
            })?;
            put(keys::body(first), keys::to_cbor(&erasure.stub)?);
            for entry in &erasure.entries {
                put(keys::entry(entry.global_seq), entries::encode(entry)?);
            }
        }
        for erasure in &batch.erasures {
            let of_format_1 = keys::body_by_hash(&erasure.cid);
            if self.rows.get(&of_format_1)?.is_some() {
                writes.push((of_format_1, None));
            }
        }
        for (key, value) in &batch.state {
            let value = value.as_ref().map(state::encode).transpose()?;
            writes.push((state::place(key), value));
        }
        let noted = self.hashes.put(hashed, &mut writes)?;
        Ok((writes, noted))
    }

    /// Commits a batch and further rows of the log's tree with it.
    pub(super) fn append_with(
        &self,
        batch: &Batch,
        more: Vec<TableWrite>,
    ) -> Result<(), StoreError> {
        self.core.check()?;
        check::continues(batch, self)?;
        let (mut writes, noted) = self.writes(batch)?;
        let wholly = !more.is_empty();
        writes.extend(more);
        let prepared = self.core.admit(&self.rows, Writer::Log, writes)?;
        let last = batch.entries.last().map_or(self.durable(), |entry| entry.global_seq);
        let shown = || {
            self.hashes.shown(noted);
            self.durable.store(last, Ordering::SeqCst);
            if wholly {
                self.lengths.clear();
                self.state.changed_wholly();
            }
            self.state.changed(&batch.state);
            for Entry { stream, stream_seq, .. } in &batch.entries {
                self.lengths.insert(stream.clone(), stream_seq + 1);
            }
        };
        self.core.commit_durably(&self.rows, prepared, shown)
    }
}

fn missing(global_seq: u64) -> StoreError {
    StoreError::Damaged { place: format!("entry {global_seq}"), reason: "it is missing".into() }
}

fn no_place(key: &[u8]) -> StoreError {
    StoreError::Damaged { place: keys::shown(key), reason: "no place in a stream".into() }
}

impl Known for SledLog {
    fn head(&self) -> Result<u64, StoreError> {
        Ok(self.durable())
    }

    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError> {
        LogStore::stream_len(self, stream)
    }

    fn is_in(&self, stream: &Stream, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.position(stream, cid)?.is_some())
    }

    fn holds(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.first_entry(cid)?.is_some())
    }

    fn used(&self, once: &str) -> Result<bool, StoreError> {
        Ok(self.once(once)?.is_some())
    }

    fn entry_at(&self, global_seq: u64) -> Result<Option<Entry>, StoreError> {
        let Some(before) = global_seq.checked_sub(1) else { return Ok(None) };
        Ok(self.read(before, 1)?.pop())
    }
}

impl LogStore for SledLog {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.append_with(batch, Vec::new())
    }

    fn head(&self) -> Result<u64, StoreError> {
        Ok(self.durable())
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let durable = self.durable();
        if after >= durable {
            return Ok(Vec::new());
        }
        let (from, end) = (keys::entry(after + 1), keys::entry(durable.saturating_add(1)));
        let mut entries = Vec::new();
        for (expected, item) in (after + 1..).zip(self.rows.range(&from, Some(&end)).take(limit)) {
            let (key, value) = item?;
            if key != keys::entry(expected) {
                return Err(missing(expected));
            }
            entries.push(entries::decode(expected, &value)?);
        }
        if entries.is_empty() && limit > 0 {
            return Err(missing(after + 1));
        }
        Ok(entries)
    }

    fn read_whole(&self, after: u64, limit: usize) -> Result<Vec<(Entry, Body)>, StoreError> {
        let entries = self.read(after, limit)?;
        let Some(last) = entries.last() else { return Ok(Vec::new()) };
        let (from, end) = (keys::body(after + 1), keys::body(last.global_seq.saturating_add(1)));
        let mut bodies = self.rows.range(&from, Some(&end)).peekable();
        let mut whole = Vec::with_capacity(entries.len());
        for entry in entries {
            let place = keys::body(entry.global_seq);
            let body = match bodies.next_if(|item| match item {
                Ok((key, _)) => *key == place,
                Err(_) => true,
            }) {
                Some(item) => {
                    let (_, bytes) = item?;
                    keys::from_cbor(&bytes, || format!("body {}", entry.cid))?
                }
                // It came before these, or stands where format 1 kept it.
                None => self.body(&entry.cid)?.ok_or_else(|| StoreError::no_body(&entry))?,
            };
            whole.push((entry, body));
        }
        Ok(whole)
    }

    fn read_stream(
        &self,
        stream: &Stream,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let end = keys::stream_end(stream);
        let mut entries = Vec::new();
        let rows = self.rows.range(&keys::in_stream(stream, from), Some(&end)).take(limit);
        for (index, item) in rows.enumerate() {
            let (key, seq) = item?;
            let expected = from.saturating_add(index as u64);
            let place = || format!("{stream} {expected}");
            let seq = keys::number(&seq, place)?;
            if seq > self.durable() {
                break;
            }
            let entry = self.entry(seq)?;
            if key != keys::in_stream(stream, expected)
                || entry.stream != *stream
                || entry.stream_seq != expected
            {
                return Err(StoreError::Damaged {
                    place: place(),
                    reason: "it is missing or names another entry".into(),
                });
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError> {
        match self.lengths.get(stream) {
            Some(length) => Ok(length),
            None => Ok(self.last_of(stream)?.map_or(0, |last| last + 1)),
        }
    }

    fn streams(&self) -> Result<Vec<(Stream, u64)>, StoreError> {
        let mut streams = Vec::new();
        let (mut from, end) = keys::all_streams();
        while let Some(item) = self.rows.range(&from, Some(&end)).next() {
            let (key, _) = item?;
            let (stream, _) = keys::place_of(&key).ok_or_else(|| no_place(&key))?;
            from = keys::stream_end(&stream);
            if let Some(last) = self.last_of(&stream)? {
                streams.push((stream, last + 1));
            }
        }
        Ok(streams)
    }

    fn position(&self, stream: &Stream, cid: &Cid) -> Result<Option<u64>, StoreError> {
        let Some(first) = self.first_entry(cid)? else { return Ok(None) };
        let first = self.entry(first)?;
        if first.stream == *stream {
            return Ok(Some(first.stream_seq));
        }
        let key = keys::position(stream, cid);
        let found = self.rows.get(&key)?;
        found.map(|bytes| keys::number(&bytes, || keys::shown(&key))).transpose()
    }

    fn first_entry(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        let key = keys::first(cid);
        let Some(bytes) = self.hashes.get(&key)? else { return Ok(None) };
        let first = keys::number(&bytes, || keys::shown(&key))?;
        Ok(Some(first).filter(|seq| *seq <= self.durable()))
    }

    fn body(&self, cid: &Cid) -> Result<Option<Body>, StoreError> {
        let Some(first) = self.first_entry(cid)? else { return Ok(None) };
        let bytes = match self.rows.get(&keys::body(first))? {
            Some(bytes) => Some(bytes),
            None => self.rows.get(&keys::body_by_hash(cid))?,
        };
        bytes.map(|bytes| keys::from_cbor(&bytes, || format!("body {cid}"))).transpose()
    }

    fn by_id(&self, id: &str) -> Result<Option<Cid>, StoreError> {
        let key = keys::foreign_id(id);
        let Some(bytes) = self.hashes.get(&key)? else { return Ok(None) };
        let cid = Cid::from_bytes(&bytes)
            .map_err(|e| StoreError::Damaged { place: keys::shown(&key), reason: e.to_string() })?;
        Ok(Some(cid))
    }

    fn once(&self, key: &str) -> Result<Option<OnceValue>, StoreError> {
        let Some(bytes) = self.rows.get(&keys::once(key))? else { return Ok(None) };
        let used: OnceValue = keys::from_cbor(&bytes, || format!("once key {key:?}"))?;
        Ok(Some(used).filter(|used| used.global_seq <= self.durable()))
    }

    fn state(&self) -> &dyn StateView {
        &self.state
    }
}
