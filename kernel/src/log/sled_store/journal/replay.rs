//! Reading journals: at a start, and for saving what is good.
//!
//! A file may end in frames that were not synced; after a power cut any of their blocks may be
//! missing. Each frame says how much was durable when it was written. So a place that cannot be
//! read is damage where a later frame says that it was durable, and else the end of what can have
//! been acknowledged, as far as the file tells: `head.json` shows the rest.

use std::fs;
use std::io;
use std::path::Path;

use super::frame::{self, HEADER, Read};
use super::{generations, path};
use crate::log::sled_store::inspect::Damage;
use crate::log::store::TableWrite;

/// A journal as it was read.
pub(in crate::log::sled_store) struct Found {
    pub(in crate::log::sled_store) generation: u64,
    bytes: Vec<u8>,
    /// Whether its header holds.
    begun: bool,
    frames: Vec<Place>,
    /// Places that cannot be read: first byte and number of bytes.
    broken: Vec<(u64, u64)>,
}

/// Where a frame stands.
struct Place {
    at: usize,
    number: u64,
    synced: u64,
    end: u64,
}

/// Where a journal goes on.
pub(in crate::log::sled_store) struct End {
    pub(in crate::log::sled_store) generation: u64,
    pub(in crate::log::sled_store) bytes: u64,
    pub(in crate::log::sled_store) frames: u64,
}

/// Reads the journals beside a database, in order.
pub(in crate::log::sled_store) fn read(store: &Path) -> io::Result<Vec<Found>> {
    if !store.exists() {
        return Ok(Vec::new());
    }
    let all = generations(store)?;
    all.into_iter().map(|one| Ok(Found::new(one, fs::read(path(store, one))?))).collect()
}

impl Found {
    fn new(generation: u64, bytes: Vec<u8>) -> Self {
        let begun = bytes.get(..HEADER) == Some(&frame::header(generation));
        let mut found =
            Self { generation, bytes: Vec::new(), begun, frames: Vec::new(), broken: Vec::new() };
        if !begun {
            found.broken.push((0, HEADER.min(bytes.len()) as u64));
        }
        let mut at = HEADER;
        while at < bytes.len() {
            let least = found.frames.last().map_or(0, |last| last.number + 1);
            let here = next(generation, &bytes, at, least);
            let begin = here.as_ref().map_or(bytes.len(), |place| place.at);
            if begin > at {
                found.broken.push((at as u64, (begin - at) as u64));
            }
            let Some(place) = here else { break };
            at = usize::try_from(place.end).unwrap_or(usize::MAX);
            found.frames.push(place);
        }
        found.bytes = bytes;
        found
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How much was durable for certain, in bytes.
    fn durable(&self) -> u64 {
        self.frames.iter().map(|place| place.synced).max().unwrap_or(0)
    }

    fn first_broken(&self) -> Option<u64> {
        self.broken.first().map(|(at, _)| *at)
    }

    /// Where what is whole of it ends.
    pub(in crate::log::sled_store) fn end(&self) -> End {
        let bytes = self.first_broken().unwrap_or(self.bytes.len() as u64);
        let frames = self.frames.iter().filter(|place| place.end <= bytes).count();
        End { generation: self.generation, bytes, frames: frames as u64 }
    }

    /// The file's name, as places are told.
    pub(in crate::log::sled_store) fn name(&self) -> String {
        format!("store/journal.{}", self.generation)
    }

    /// Places that cannot be read: first byte and number of bytes.
    pub(in crate::log::sled_store) fn broken(&self) -> &[(u64, u64)] {
        &self.broken
    }

    /// The first place that cannot be read, as damage.
    pub(in crate::log::sled_store) fn torn(&self) -> Option<Damage> {
        Some(self.damage(self.first_broken()?, "it is not what was written"))
    }

    fn damage(&self, at: u64, reason: &str) -> Damage {
        Damage { place: format!("{} at byte {at}", self.name()), reason: reason.into() }
    }

    /// What every frame that can be read writes, in order. Frames after a place that cannot be
    /// read count only where they are `all` wanted.
    pub(in crate::log::sled_store) fn writes(
        &self,
        all: bool,
    ) -> impl Iterator<Item = Result<Vec<TableWrite>, Damage>> {
        let end = if all { u64::MAX } else { self.end().bytes };
        self.frames.iter().filter(move |place| place.end <= end).map(|place| {
            let bytes = self.bytes.get(place.at..).unwrap_or_default();
            let writes = match frame::read(self.generation, bytes) {
                Read::Whole(frame) => frame.writes(),
                _ => None,
            };
            writes.ok_or_else(|| self.damage(place.at as u64, "a frame has no known form"))
        })
    }
}

/// The next frame from a place on whose number is at least this.
fn next(generation: u64, bytes: &[u8], from: usize, least: u64) -> Option<Place> {
    let mut at = from;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match frame::read(generation, rest) {
            Read::Whole(frame) if frame.number >= least => {
                let end = (at + frame.length) as u64;
                return Some(Place { at, number: frame.number, synced: frame.synced, end });
            }
            // What stands in the content is no frame, whatever it looks like.
            Read::Spoiled(length) if length <= rest.len() => at += length,
            _ => at += 1,
        }
    }
    None
}

/// Looks for damage in journals, before anything is changed.
pub(in crate::log::sled_store) fn inspect(journals: &[Found]) -> Option<Damage> {
    for (index, one) in journals.iter().enumerate() {
        let later = journals.get(index + 1..).unwrap_or_default();
        let Some(broken) = one.first_broken() else { continue };
        // The next one was begun when all of this one was durable.
        let ended = later.iter().any(|later| !later.is_empty());
        let unbegun = !one.begun && !one.is_empty();
        if ended || unbegun || broken < one.durable() {
            return one.torn();
        }
    }
    None
}

/// Which of these are to be read again over a database that has everything up to a generation; the
/// last one is written to from there on. Where there is none, a new one is begun.
///
/// # Errors
/// Where a journal is missing.
pub(in crate::log::sled_store) fn open_ones(
    journals: &[Found],
    flushed: Option<u64>,
) -> Result<Vec<&Found>, Damage> {
    let first = flushed.unwrap_or(0) + 1;
    let mut open: Vec<&Found> =
        journals.iter().filter(|journal| journal.generation >= first).collect();
    // One that was being made when the power went.
    if open.last().is_some_and(|last| !last.begun && last.is_empty()) {
        open.pop();
    }
    let gap = (first..).zip(&open).find(|(expected, found)| found.generation != *expected);
    if let Some((missing, found)) = gap {
        return Err(found.damage(0, &missing_one(missing)));
    }
    match open.first() {
        // One stands beside a database from its first flush on.
        None if flushed.is_some() => {
            Err(Damage { place: "store".into(), reason: format!("journal.{first} is missing") })
        }
        _ => Ok(open),
    }
}

fn missing_one(generation: u64) -> String {
    format!("journal.{generation} is missing, or the database is not what it was: it was cut back")
}
