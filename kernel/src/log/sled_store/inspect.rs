//! A look at the database file before sled opens it.
//!
//! sled takes the first message that it cannot read for the end of the log, which after a crash is
//! right, and destroys what follows. Where the file is damaged that would destroy good entries.
//! So whatever sled is going to read again at its start is read here first, in the way in which
//! sled reads it, and a place that cannot be read is let pass only where a crash leaves such a one:
//! at the end of the log, behind everything that was noted as durable.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::keys;
use super::raw::{self, Change, Kind, Message, SEGMENT, Segments, Walk};
use super::rows::{Stored, stored};
use crate::log::entry::Entry;

/// A place in the store that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where.
    pub(super) place: String,
    /// What is wrong.
    pub(super) reason: String,
}

impl Damage {
    fn at(byte: u64, reason: impl Into<String>) -> Self {
        Self { place: format!("store/db at byte {byte}"), reason: reason.into() }
    }
}

const SEGMENT_BYTES: u64 = SEGMENT as u64;

/// Looks at the file for what sled would take for the end of the log and is not. `noted` is the
/// last entry that was noted as durable.
pub(super) fn inspect(store: &Path, noted: u64) -> io::Result<Option<Damage>> {
    let segments = match Segments::open(&store.join("db")) {
        Ok(segments) => segments,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let snapshot = snapshot(store)?;
    Inspection::new(segments, snapshot, noted)?.run()
}

/// What sled noted of itself at its last start.
#[derive(Clone, Copy, Debug, Default)]
struct Snapshot {
    /// It reads the log again from here.
    lsn: u64,
    /// Whether a segment was in use then.
    active: bool,
}

fn snapshot(store: &Path) -> io::Result<Snapshot> {
    let mut newest: Option<(u64, std::path::PathBuf)> = None;
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let lsn = name.strip_prefix("snap.").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        if let Some(lsn) = lsn
            && newest.as_ref().is_none_or(|(held, _)| *held < lsn)
        {
            newest = Some((lsn, path));
        }
    }
    let Some((lsn, path)) = newest else { return Ok(Snapshot::default()) };
    // After eight bytes for the lsn comes the place of the segment in use, 0 for none.
    let bytes = fs::read(path)?;
    Ok(Snapshot { lsn, active: bytes.get(8).is_some_and(|first| *first != 0) })
}

struct Inspection {
    segments: Segments,
    snapshot: Snapshot,
    noted: u64,
    /// Segments that are read again, by their place in the log.
    ordered: BTreeMap<u64, u64>,
    /// Segments whose header does not hold.
    headless: Vec<u64>,
    /// From here on, a crash may have left anything.
    tail: u64,
}

fn floor(lsn: u64) -> u64 {
    lsn / SEGMENT_BYTES * SEGMENT_BYTES
}

impl Inspection {
    fn new(segments: Segments, snapshot: Snapshot, noted: u64) -> io::Result<Self> {
        let from = floor(snapshot.lsn);
        let (mut ordered, mut headless, mut stable) = (BTreeMap::new(), Vec::new(), from);
        for number in 0..segments.count() {
            match segments.header(number)? {
                Some(header) if header.lsn >= from => {
                    stable = stable.max(u64::try_from(header.stable).unwrap_or(0));
                    ordered.insert(header.lsn, number);
                }
                Some(_) => {}
                None => headless.push(number),
            }
        }
        let tail = floor(stable);
        Ok(Self { segments, snapshot, noted, ordered, headless, tail })
    }

    fn run(&self) -> io::Result<Option<Damage>> {
        if let Some(damage) = self.missing_segments()? {
            return Ok(Some(damage));
        }
        for (lsn, number) in self.ordered.range(..self.tail) {
            if let Some(damage) = self.settled(*lsn, *number)? {
                return Ok(Some(damage));
            }
        }
        self.end()
    }

    /// Segments that are there without a header, and segments that are not there.
    fn missing_segments(&self) -> io::Result<Option<Damage>> {
        let from = floor(self.snapshot.lsn);
        for number in &self.headless {
            let bytes = self.segments.read(*number)?;
            let at = number * SEGMENT_BYTES;
            let Some(first) = raw::message(&bytes, raw::SEGMENT_HEADER) else {
                // Zeros are what sled leaves of a segment that it does not need.
                continue;
            };
            let lsn = first.segment.saturating_mul(SEGMENT_BYTES);
            let lost = lsn >= from && !self.ordered.contains_key(&lsn);
            if lost && (lsn < self.tail || self.has_durable(&bytes, lsn, 0)) {
                return Ok(Some(Damage::at(at, "the header of a segment cannot be read")));
            }
        }
        let end = self.segments.count() * SEGMENT_BYTES;
        if self.ordered.is_empty() && self.snapshot.active {
            return Ok(Some(Damage::at(end, "the file ends before what was written")));
        }
        let lacks_tail = !self.ordered.is_empty() && !self.ordered.contains_key(&self.tail);
        if lacks_tail && self.tail > 0 && self.ordered.keys().any(|lsn| *lsn > self.tail) {
            return Ok(Some(Damage::at(end, "a segment that was written is missing")));
        }
        Ok(None)
    }

    /// A segment that was durable long ago: all of it can be read, or a newer one lies over it.
    fn settled(&self, lsn: u64, number: u64) -> io::Result<Option<Damage>> {
        let bytes = self.segments.read(number)?;
        let mut walk = Walk::new(&bytes, lsn);
        while walk.next().is_some() {}
        if walk.whole || raw::is_filling(&bytes, walk.at(), lsn) {
            return Ok(None);
        }
        let at = walk.at();
        let newer = raw::message(&bytes, at);
        if newer.is_some_and(|newer| newer.segment > lsn / SEGMENT_BYTES) {
            return Ok(None);
        }
        Ok(Some(Damage::at(number * SEGMENT_BYTES + at as u64, "a record cannot be read")))
    }

    /// The end of the log, as sled will find it.
    fn end(&self) -> io::Result<Option<Damage>> {
        let mut expected = self.tail;
        let mut cut: Option<(u64, usize, u64)> = None;
        while let Some(number) = self.ordered.get(&expected) {
            let bytes = self.segments.read(*number)?;
            let mut walk = Walk::new(&bytes, expected);
            while walk.next().is_some() {}
            if !walk.whole {
                cut = Some((*number, walk.at(), expected));
                break;
            }
            expected += SEGMENT_BYTES;
        }
        let (place, lsn) = match cut {
            Some((number, at, lsn)) => (number * SEGMENT_BYTES + at as u64, lsn + at as u64),
            None => (self.segments.count() * SEGMENT_BYTES, expected),
        };
        // The last message of a segment may end before the segment does.
        if cut.is_some() && lsn < self.snapshot.lsn {
            return Ok(Some(Damage::at(place, "a record that was durable cannot be read")));
        }
        for (begin, number) in self.ordered.range(floor(lsn)..) {
            let skip = match cut {
                Some((_, at, torn)) if torn == *begin => at + 1,
                _ => 0,
            };
            if cut.is_none() && *begin < expected {
                continue;
            }
            if self.has_durable(&self.segments.read(*number)?, *begin, skip) {
                let reason = "a record cannot be read, and entries that were durable follow it";
                return Ok(Some(Damage::at(place, reason)));
            }
        }
        Ok(None)
    }

    /// Whether a segment holds, from a place on, an entry of the log that was noted as durable.
    fn has_durable(&self, bytes: &[u8], lsn: u64, from: usize) -> bool {
        let mut at = from.max(raw::SEGMENT_HEADER);
        while at < bytes.len() {
            let found =
                raw::message(bytes, at).filter(|message| message.segment == lsn / SEGMENT_BYTES);
            let Some(message) = found else {
                at += 1;
                continue;
            };
            if added(&message).is_some_and(|seq| seq <= self.noted) {
                return true;
            }
            at += message.length;
        }
        false
    }
}

/// The entry that a message added to the log. Whole pages do not count: they are written again,
/// with old entries in them.
fn added(message: &Message<'_>) -> Option<u64> {
    if message.kind != Kind::Link {
        return None;
    }
    let Some(Change::Set(_, value)) = raw::change(message.body) else { return None };
    let Some(Stored::Whole(value)) = stored(value) else { return None };
    Some(keys::from_cbor::<Entry>(value, String::new).ok()?.global_seq)
}
