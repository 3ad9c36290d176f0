//! Reading the database file without sled, message by message.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;

use super::{Place, SEGMENT_BYTES};
use crate::log::sled_store::keys;
use crate::log::sled_store::raw::{self, Change, Kind, Message, Segments, Walk};
use crate::log::sled_store::rows::{MAX_ROW_BYTES, Space};

/// Reads messages in the order of sled's log and applies them.
pub(super) struct Reader<'a> {
    store: &'a Path,
    segments: &'a Segments,
    /// What the keys of a page begin with.
    pages: HashMap<u64, Vec<u8>>,
    /// Keys as they stand in the file.
    pub(super) rows: BTreeMap<Vec<u8>, Place>,
    pub(super) unreadable: Vec<(u64, u64)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(store: &'a Path, segments: &'a Segments) -> Self {
        Self {
            store,
            segments,
            pages: HashMap::new(),
            rows: BTreeMap::new(),
            unreadable: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, progress: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
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
pub(super) fn is_wanted(row: &[u8]) -> bool {
    let Some(space) = Space::of(row) else { return false };
    if space == Space::LEDGERS {
        return row.len() < MAX_ROW_BYTES;
    }
    if space != Space::LOG {
        return false;
    }
    match space.key_of(row) {
        Some([keys::ENTRY | keys::BODY, rest @ ..]) => rest.len() == 8,
        Some([keys::BODY_BY_HASH | keys::ONCE, rest @ ..]) => rest.len() == 32,
        Some(key @ [keys::STREAM, ..]) => keys::place_of(key).is_some(),
        Some(_) => false,
        // Pieces; not the list of what has pieces.
        None => row.len() == 19,
    }
}
