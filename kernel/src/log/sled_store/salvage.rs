//! Saving what can be read from a damaged store.
//!
//! The file is read without sled, message by message in the order of sled's log; a message counts
//! if its checksum holds. What stands in a page is what the newest readable version of the page
//! says, with the readable changes after it; so a page that cannot be read is replaced by an older
//! version where there is one. Entries are then taken over in the order of the log, up to the
//! first one that cannot be read whole, and every body is checked against its CID.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use super::SledStorage;
use super::keys;
use super::log::read_entry;
use super::opening::{self, OpenError};
use super::raw::{self, Change, Kind, Message, SEGMENT, Segments, Walk};
use super::rows::{MAX_ROW_BYTES, Space, Stored, stored};
use crate::activity::{Activity, Body};
use crate::cid::Cid;
use crate::log::entry::{Entry, Record, Stream};
use crate::log::head::{Head, HeadFile};
use crate::log::store::{Batch, LogStore, OnceValue, StoreError, TableWrite};
use crate::rules::Rules;
use crate::state::{Overlay, State, StateError};

/// Entries taken over in one batch.
const BATCH: usize = 256;
const SEGMENT_BYTES: u64 = SEGMENT as u64;

/// Why nothing could be saved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// It cannot be opened at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
    /// The new store could not be written.
    #[error("the new store: {0}")]
    Store(#[from] StoreError),
    /// The admission state could not be built.
    #[error("the admission state: {0}")]
    State(#[from] StateError),
}

/// A value in the damaged store.
enum Place {
    /// In the database file.
    File { at: u64, length: usize },
    /// Read from a file of its own.
    Held(Vec<u8>),
}

/// What could be read of a damaged store.
pub struct Salvage {
    segments: Segments,
    path: PathBuf,
    noted: Option<Head>,
    /// Keys as they stand in the file.
    rows: BTreeMap<Vec<u8>, Place>,
    unreadable: Vec<(u64, u64)>,
}

/// Where taking over ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FirstDamage {
    /// The first entry that is not whole.
    pub global_seq: u64,
    /// Its stream, where that can still be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// How much of a stream was taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamKept {
    /// The stream.
    pub stream: Stream,
    /// Entries taken over.
    pub kept: u64,
    /// Entries that it had, as far as that can be told.
    pub of: u64,
}

/// What was taken over, and what is missing.
#[derive(Clone, Debug, Serialize)]
pub struct Salvaged {
    /// Entries taken over.
    pub entries: u64,
    /// The last entry that was noted as durable.
    pub noted: Option<u64>,
    /// Readable entries after the first damage; they are not taken over.
    pub beyond: u64,
    /// Where taking over ended, unless that is the end of the log.
    pub first_damage: Option<FirstDamage>,
    /// Every stream that is known of.
    pub streams: Vec<StreamKept>,
    /// Once keys taken over.
    pub once: u64,
    /// Places of the database file that cannot be read: first byte and number of bytes.
    pub unreadable: Vec<(u64, u64)>,
}

impl Salvaged {
    /// Whether the whole log was taken over.
    pub fn is_whole(&self) -> bool {
        self.first_damage.is_none() && self.noted.is_none_or(|noted| self.entries >= noted)
    }
}

impl Salvage {
    /// Reads the store of a data directory, which is not changed. `progress` is told bytes done
    /// and bytes in all.
    ///
    /// # Errors
    /// Where another process uses it, or the file cannot be read at all.
    pub fn scan(
        directory: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, SalvageError> {
        let store = directory.join("store");
        opening::check_unused(directory, &store)?;
        let path = store.join("db");
        let fail = |source| SalvageError::Io { path: path.clone(), source };
        let segments = Segments::open(&path).map_err(fail)?;
        // A head file that cannot be read says nothing, and is no reason to stop here.
        let noted = HeadFile::new(directory).read().unwrap_or_default();
        let mut reader = Reader::new(&store, &segments);
        reader.read(progress).map_err(fail)?;
        let (rows, unreadable) = (reader.rows, reader.unreadable);
        Ok(Self { segments, path, noted, rows, unreadable })
    }

    /// Rows of the ledgers whose keys start with this; `None` for a value that cannot be read.
    pub fn ledger(&self, prefix: &[u8]) -> Vec<TableWrite> {
        let from = Space::LEDGERS.row(prefix);
        self.rows
            .range(from.clone()..)
            .take_while(|(row, _)| row.starts_with(&from))
            .filter_map(|(row, _)| Space::LEDGERS.key_of(row))
            .map(|key| (key.to_vec(), self.value(Space::LEDGERS, key)))
            .collect()
    }

    /// Places of the database file that cannot be read: first byte and number of bytes.
    pub fn unreadable(&self) -> &[(u64, u64)] {
        &self.unreadable
    }

    /// Whether a part in the middle of the file cannot be read.
    pub fn is_holed(&self) -> bool {
        !self.unreadable.is_empty()
    }

    /// Takes over what belongs to the log into a new, empty store. `progress` is told entries
    /// done and entries in all.
    ///
    /// # Errors
    /// Where the new store cannot be written.
    pub fn restore(
        &self,
        into: &SledStorage,
        rules: &dyn Rules,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Salvaged, SalvageError> {
        let last = self.last_entry();
        let mut lengths: BTreeMap<Stream, u64> = BTreeMap::new();
        let mut places = HashSet::new();
        let mut bodies = HashSet::new();
        let (mut kept, mut damage) = (0, None);
        while damage.is_none() && kept < last {
            let mut batch = Batch::default();
            let mut state = Overlay::new(into.log.state());
            while batch.entries.len() < BATCH && kept < last {
                let (entry, body) = match self.whole(kept + 1, &lengths, &places, &bodies) {
                    Ok(whole) => whole,
                    Err(found) => {
                        damage = Some(found);
                        break;
                    }
                };
                kept += 1;
                *lengths.entry(entry.stream.clone()).or_default() += 1;
                places.insert((entry.stream.clone(), entry.cid));
                if let Some((body, activity)) = body {
                    bodies.insert(entry.cid);
                    let own = activity.certifies_itself() || entry.stream == Stream::Local;
                    let id = (!own).then(|| activity.id().to_owned());
                    batch.bodies.push((entry.cid, body, id));
                    let mut changes = Overlay::new(&state);
                    let record = Record { entry: entry.clone(), activity: Arc::new(activity) };
                    rules.fold(&mut changes, &record)?;
                    for (key, value) in changes.into_writes() {
                        match value {
                            Some(value) => state.put(&key, value),
                            None => state.remove(&key),
                        }
                    }
                }
                batch.entries.push(entry);
            }
            batch.state = state.into_writes();
            into.log.append(&batch)?;
            progress(kept, last);
        }
        let once = self.restore_once(into, kept)?;
        let noted = self.noted.as_ref().map(|head| head.global_seq);
        if damage.is_none() && noted.is_some_and(|noted| noted > kept) {
            damage = Some(self.lost(kept + 1, None, "it is missing"));
        }
        Ok(Salvaged {
            entries: kept,
            noted,
            beyond: self.beyond(kept, &mut lengths.clone()),
            first_damage: damage,
            streams: self.streams(kept, &lengths),
            once,
            unreadable: self.unreadable.clone(),
        })
    }

    /// An entry, and its body where it comes first.
    #[allow(clippy::type_complexity)]
    fn whole(
        &self,
        global_seq: u64,
        lengths: &BTreeMap<Stream, u64>,
        places: &HashSet<(Stream, Cid)>,
        bodies: &HashSet<Cid>,
    ) -> Result<(Entry, Option<(Body, Activity)>), FirstDamage> {
        let entry = self
            .entry(global_seq)
            .ok_or_else(|| self.lost(global_seq, None, "it cannot be read"))?;
        let lost = |reason: &str| self.lost(global_seq, Some(&entry), reason);
        if entry.stream_seq != lengths.get(&entry.stream).copied().unwrap_or(0)
            || places.contains(&(entry.stream.clone(), entry.cid))
            || entry.first == bodies.contains(&entry.cid)
        {
            return Err(lost("it does not continue its stream"));
        }
        if !entry.first {
            return Ok((entry, None));
        }
        let bytes = self
            .value(Space::LOG, &keys::body(&entry.cid))
            .ok_or_else(|| lost("its body cannot be read"))?;
        let body: Body =
            keys::from_cbor(&bytes, String::new).map_err(|_| lost("its body is not one"))?;
        match Activity::from_body(&body) {
            Ok(activity) if *activity.cid() == entry.cid => Ok((entry, Some((body, activity)))),
            Ok(_) => Err(lost("its body does not have its CID")),
            Err(e) => Err(lost(&format!("its body is no activity: {e}"))),
        }
    }

    fn lost(&self, global_seq: u64, entry: Option<&Entry>, reason: &str) -> FirstDamage {
        let near = self.unreadable.first().map_or_else(String::new, |(at, bytes)| {
            format!("; {bytes} bytes of store/db cannot be read at byte {at}")
        });
        FirstDamage {
            global_seq,
            stream: entry.map(|entry| format!("{} {}", entry.stream, entry.stream_seq)),
            reason: format!("{reason}{near}"),
        }
    }

    fn entry(&self, global_seq: u64) -> Option<Entry> {
        let bytes = self.value(Space::LOG, &keys::entry(global_seq))?;
        read_entry(global_seq, &bytes).ok()
    }

    fn last_entry(&self) -> u64 {
        let [from, to] = [0, u64::MAX].map(|seq| Space::LOG.row(&keys::entry(seq)));
        let last = self.rows.range(from..=to).next_back();
        last.and_then(|(row, _)| row.get(2..)?.try_into().ok()).map_or(0, u64::from_be_bytes)
    }

    /// Counts readable entries after a position, and lengthens the streams by them.
    fn beyond(&self, kept: u64, lengths: &mut BTreeMap<Stream, u64>) -> u64 {
        let mut count = 0;
        for (stream, length) in self.entries_after(kept) {
            let known = lengths.entry(stream).or_default();
            *known = (*known).max(length);
            count += 1;
        }
        count
    }

    /// Readable entries after a position: their streams, and how long these were with them.
    fn entries_after(&self, kept: u64) -> impl Iterator<Item = (Stream, u64)> {
        let [from, to] = [kept + 1, u64::MAX].map(|seq| Space::LOG.row(&keys::entry(seq)));
        self.rows
            .range(from..=to)
            .filter_map(|(row, _)| row.get(2..)?.try_into().ok().map(u64::from_be_bytes))
            .filter_map(|seq| self.entry(seq))
            .map(|entry| (entry.stream, entry.stream_seq + 1))
    }

    fn streams(&self, kept: u64, lengths: &BTreeMap<Stream, u64>) -> Vec<StreamKept> {
        let mut of = lengths.clone();
        self.beyond(kept, &mut of);
        let lengths_at = Space::LOG.row(&[keys::LENGTH]);
        let known = self.rows.range(lengths_at.clone()..);
        for (row, _) in known.take_while(|(row, _)| row.starts_with(&lengths_at)) {
            let Some(key) = Space::LOG.key_of(row) else { continue };
            let length = self
                .value(Space::LOG, key)
                .and_then(|bytes| keys::number(&bytes, String::new).ok());
            if let (Some(stream), Some(length)) = (keys::stream_of_length(key), length) {
                let known = of.entry(stream).or_default();
                *known = (*known).max(length);
            }
        }
        of.into_iter()
            .map(|(stream, of)| StreamKept {
                kept: lengths.get(&stream).copied().unwrap_or(0),
                stream,
                of,
            })
            .collect()
    }

    /// Takes over the once keys of the entries that were taken over.
    fn restore_once(&self, into: &SledStorage, kept: u64) -> Result<u64, SalvageError> {
        let from = Space::LOG.row(&[keys::ONCE]);
        let mut rows: Vec<TableWrite> = Vec::new();
        for (row, _) in
            self.rows.range(from.clone()..).take_while(|(row, _)| row.starts_with(&from))
        {
            let Some(key) = Space::LOG.key_of(row) else { continue };
            let Some(bytes) = self.value(Space::LOG, key) else { continue };
            let used = keys::from_cbor::<OnceValue>(&bytes, String::new);
            if used.is_ok_and(|used| used.global_seq <= kept) {
                rows.push((key.to_vec(), Some(bytes)));
            }
        }
        let count = rows.len() as u64;
        for some in rows.chunks(BATCH) {
            into.log.append_with(&Batch::default(), some.to_vec())?;
        }
        Ok(count)
    }

    /// The value of a row, put together from its pieces.
    fn value(&self, space: Space, key: &[u8]) -> Option<Vec<u8>> {
        let row = self.read(self.rows.get(&space.row(key))?)?;
        match stored(&row)? {
            Stored::Whole(value) => Some(value.to_vec()),
            Stored::Cut(cut) => {
                let mut value = Vec::new();
                for piece in cut.keys(space) {
                    value.extend(self.read(self.rows.get(&piece)?)?);
                }
                cut.fits(key, &value).then_some(value)
            }
        }
    }

    fn read(&self, place: &Place) -> Option<Vec<u8>> {
        match place {
            Place::Held(bytes) => Some(bytes.clone()),
            Place::File { at, length } => {
                let bytes = self.segments.read_at(*at, *length);
                let bytes = bytes.inspect_err(|error| {
                    tracing::warn!(file = %self.path.display(), at, %error, "cannot be read");
                });
                bytes.ok().filter(|bytes| bytes.len() == *length)
            }
        }
    }
}

/// Reads messages in the order of sled's log and applies them.
struct Reader<'a> {
    store: &'a Path,
    segments: &'a Segments,
    /// What the keys of a page begin with.
    pages: HashMap<u64, Vec<u8>>,
    rows: BTreeMap<Vec<u8>, Place>,
    unreadable: Vec<(u64, u64)>,
}

impl<'a> Reader<'a> {
    fn new(store: &'a Path, segments: &'a Segments) -> Self {
        Self {
            store,
            segments,
            pages: HashMap::new(),
            rows: BTreeMap::new(),
            unreadable: Vec::new(),
        }
    }

    fn read(&mut self, progress: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
        let mut ordered = BTreeSet::new();
        for number in 0..self.segments.count() {
            let bytes = self.segments.read(number)?;
            if let Some(lsn) = place_in_log(&bytes) {
                ordered.insert((lsn, number));
            }
        }
        let end = self.end(&ordered)?;
        let all = self.segments.count() * SEGMENT_BYTES;
        let last = ordered.iter().next_back().copied();
        for (done, (lsn, number)) in ordered.into_iter().enumerate() {
            if !self.segment(lsn, number, last == Some((lsn, number)), end)? {
                break;
            }
            progress((done as u64 + 1) * SEGMENT_BYTES, all);
        }
        Ok(())
    }

    /// Where the last readable message ends in the log.
    fn end(&self, ordered: &BTreeSet<(u64, u64)>) -> io::Result<u64> {
        for (lsn, number) in ordered.iter().rev() {
            let bytes = self.segments.read(*number)?;
            let mut walk = Walk::new(&bytes, *lsn);
            let mut end = None;
            loop {
                for (at, message) in walk.by_ref() {
                    end = Some(lsn + (at + message.length) as u64);
                }
                if walk.whole || walk.resume().is_none() {
                    break;
                }
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
        Ok(0)
    }

    /// Reads one segment; tells whether the log goes on after it.
    fn segment(&mut self, lsn: u64, number: u64, is_last: bool, end: u64) -> io::Result<bool> {
        let bytes = self.segments.read(number)?;
        let begin = number * SEGMENT_BYTES;
        let mut walk = Walk::new(&bytes, lsn);
        loop {
            for (at, message) in walk.by_ref() {
                if message.kind == Kind::Manifest {
                    let belongs_to = message.body.try_into().map_or(0, u64::from_le_bytes);
                    if belongs_to >= end {
                        // The batch was being written when the power went.
                        return Ok(false);
                    }
                }
                self.apply(&bytes, begin, at, &message);
            }
            if walk.whole {
                return Ok(true);
            }
            let torn = walk.at();
            let skipped = walk.resume();
            match skipped {
                Some(skipped) => self.unreadable.push((begin + torn as u64, skipped as u64)),
                None => {
                    let newer = raw::message(&bytes, torn)
                        .is_some_and(|newer| newer.segment > lsn / SEGMENT_BYTES);
                    if !is_last && !newer && !raw::is_filling(&bytes, torn, lsn) {
                        let rest = bytes.len().saturating_sub(torn) as u64;
                        self.unreadable.push((begin + torn as u64, rest));
                    }
                    return Ok(true);
                }
            }
        }
    }

    fn apply(&mut self, segment: &[u8], begin: u64, at: usize, message: &Message<'_>) {
        let held;
        let body = if message.elsewhere {
            match raw::read_elsewhere(self.store, message.body) {
                Some(content) => {
                    held = content;
                    held.as_slice()
                }
                None => {
                    self.unreadable.push((begin + at as u64, message.length as u64));
                    return;
                }
            }
        } else {
            message.body
        };
        let place = |value: &[u8]| {
            if message.elsewhere {
                return Place::Held(value.to_vec());
            }
            // The value lies within the segment.
            let offset = (value.as_ptr() as usize).saturating_sub(segment.as_ptr() as usize);
            Place::File { at: begin + offset as u64, length: value.len() }
        };
        match message.kind {
            Kind::Free => {
                self.pages.remove(&message.page);
            }
            Kind::Node => {
                let Some(node) = raw::node(body).filter(|node| node.is_leaf) else {
                    self.pages.remove(&message.page);
                    return;
                };
                self.pages.insert(message.page, node.prefix.to_vec());
                let rows: BTreeMap<Vec<u8>, Place> = node
                    .rows
                    .iter()
                    .map(|(key, value)| ([node.prefix, key].concat(), place(value)))
                    .collect();
                self.replace(&node, rows);
            }
            Kind::Link => {
                let Some(prefix) = self.pages.get(&message.page) else { return };
                match raw::change(body) {
                    Some(Change::Set(key, value)) => {
                        let key = [prefix.as_slice(), key].concat();
                        if is_wanted(&key) {
                            self.rows.insert(key, place(value));
                        }
                    }
                    Some(Change::Removed(key)) => {
                        self.rows.remove(&[prefix.as_slice(), key].concat());
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// A page holds these rows and no others between its bounds.
    fn replace(&mut self, node: &raw::Node<'_>, rows: BTreeMap<Vec<u8>, Place>) {
        let space = rows
            .keys()
            .next()
            .and_then(|key| Space::of(key))
            .or_else(|| Space::of(node.low))
            .or_else(|| Space::of(node.high));
        let Some(space) = space else { return };
        let (first, beyond) = space.bounds();
        let low = node.low.max(&[first]).to_vec();
        let high = match node.high {
            [] => vec![beyond],
            high => high.min(&[beyond]).to_vec(),
        };
        if low < high {
            let gone: Vec<Vec<u8>> = self
                .rows
                .range(low..high)
                .map(|(key, _)| key)
                .filter(|key| !rows.contains_key(*key))
                .cloned()
                .collect();
            for key in gone {
                self.rows.remove(&key);
            }
        }
        self.rows.extend(rows.into_iter().filter(|(key, _)| is_wanted(key)));
    }
}

/// Where a segment stands in sled's log: by its header, else by its first readable message.
fn place_in_log(bytes: &[u8]) -> Option<u64> {
    if let Some(header) = raw::header(bytes) {
        return Some(header.lsn);
    }
    let found = (raw::SEGMENT_HEADER..bytes.len()).find_map(|at| raw::message(bytes, at));
    found.and_then(|message| message.segment.checked_mul(SEGMENT_BYTES))
}

/// Whether a row is needed to build the store anew, and has a key of the right form. A change of
/// a page whose newest version is unreadable can get a key that is cut short.
fn is_wanted(row: &[u8]) -> bool {
    let Some(space) = Space::of(row) else { return false };
    if space == Space::LEDGERS {
        return row.len() < MAX_ROW_BYTES;
    }
    if space != Space::LOG {
        return false;
    }
    match space.key_of(row) {
        Some([keys::ENTRY, rest @ ..]) => rest.len() == 8,
        Some([keys::BODY | keys::ONCE, rest @ ..]) => rest.len() == 32,
        Some(key @ [keys::LENGTH, ..]) => keys::stream_of_length(key).is_some(),
        Some(_) => false,
        // Pieces; not the list of what has pieces.
        None => row.len() == 19,
    }
}
