//! Saving what can be read from a damaged store.
//!
//! The file is read without sled, message by message in the order of sled's log; a message counts
//! if its checksum holds. What stands in a page is what the newest readable version of the page
//! says, with the readable changes after it; so a page that cannot be read is replaced by an older
//! version where there is one. Entries are then taken over in the order of the log, up to the
//! first one that cannot be read whole, and every body is checked against its CID. What stands in
//! the journals is newer than what sled has.

mod reader;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use self::reader::Reader;
use super::SledStorage;
use super::journal::replay;
use super::opening::{self, OpenError};
use super::raw::{SEGMENT, Segments};
use super::rows::{Space, Stored, stored};
use super::{entries, keys};
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
    /// Read from a journal, or from a file of its own.
    Held(Vec<u8>),
}

/// What could be read of a damaged store.
pub struct Salvage {
    segments: Segments,
    path: PathBuf,
    noted: Option<Head>,
    /// Keys as they stand in the file.
    rows: BTreeMap<Vec<u8>, Place>,
    unreadable: Vec<Unreadable>,
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
    /// Places that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// A place in the files of a store that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The file, from the data directory on.
    pub file: String,
    /// The first byte.
    pub at: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {} cannot be read at byte {}", self.bytes, self.file, self.at)
    }
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
        let (mut rows, places) = (reader.rows, reader.unreadable);
        let unreadable = places.into_iter();
        let mut unreadable: Vec<Unreadable> = unreadable
            .map(|(at, bytes)| Unreadable { file: "store/db".into(), at, bytes })
            .collect();
        let journals = replay::read(&store).map_err(fail)?;
        for (index, journal) in journals.iter().enumerate() {
            let torn = journals.get(index + 1).is_none() && replay::inspect(&journals).is_none();
            let places = journal.broken().iter().filter(|_| !torn);
            unreadable.extend(places.map(|(at, bytes)| Unreadable {
                file: journal.name(),
                at: *at,
                bytes: *bytes,
            }));
            // A frame that was never acknowledged is as good as any other.
            for (key, value) in journal.writes(!torn).flatten().flatten() {
                match value {
                    Some(value) if reader::is_wanted(&key) => {
                        rows.insert(key, Place::Held(value));
                    }
                    Some(_) => {}
                    None => {
                        rows.remove(&key);
                    }
                }
            }
        }
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

    /// Places that cannot be read.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Whether a part in the middle of the files cannot be read.
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
            .value(Space::LOG, &keys::body(entry.global_seq))
            .or_else(|| self.value(Space::LOG, &keys::body_by_hash(&entry.cid)))
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
        let near = self.unreadable.first().map_or_else(String::new, |place| format!("; {place}"));
        FirstDamage {
            global_seq,
            stream: entry.map(|entry| format!("{} {}", entry.stream, entry.stream_seq)),
            reason: format!("{reason}{near}"),
        }
    }

    fn entry(&self, global_seq: u64) -> Option<Entry> {
        let bytes = self.value(Space::LOG, &keys::entry(global_seq))?;
        entries::decode(global_seq, &bytes).ok()
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
        let (from, to) = keys::all_streams();
        for (row, _) in self.rows.range(Space::LOG.row(&from)..Space::LOG.row(&to)) {
            if let Some((stream, place)) = Space::LOG.key_of(row).and_then(keys::place_of) {
                let known = of.entry(stream).or_default();
                *known = (*known).max(place.saturating_add(1));
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
            Stored::Whole(value) => Some(value.into_owned()),
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
