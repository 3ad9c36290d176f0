//! sled's file, read without sled.
//!
//! The file is a row of segments of 512 KiB. A segment begins with a checksum, its place in the
//! logical log (lsn) and how far that log was stable then; messages follow, each with a checksum
//! over itself, the number of the segment that it was written for, and the page that it changes.
//! Segments are used again, so their order in the file is not that of the log, and what follows
//! the last message of a segment may be old. sled 0.34 is the last release of this format.
//!
//! Opening a damaged file with sled is not harmless: sled takes the first message that it cannot
//! read for the end of the log, and writes zeros over what follows.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of a segment.
pub(super) const SEGMENT: usize = 512 * 1024;
/// Bytes of the header of a segment.
pub(super) const SEGMENT_HEADER: usize = 20;
/// No message begins so near to the end of a segment, in bytes.
const RED_ZONE: usize = 32;
/// Longest body of a message that points to a file of its own, in bytes.
const POINTER: usize = 8;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Where the segment stands in the log; a multiple of [`SEGMENT`].
    pub(super) lsn: u64,
    /// How far the log was stable when the segment was begun; -1 for not at all.
    pub(super) stable: i64,
}

/// Kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Written for nothing.
    Canceled,
    /// Nothing follows in this segment.
    Cap,
    /// What follows belongs together up to a position.
    Manifest,
    /// A page is free.
    Free,
    /// Counters and the list of trees.
    Other,
    /// A whole page.
    Node,
    /// A change of a page.
    Link,
}

/// A message whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    /// The number of the segment that it was written for: its lsn by [`SEGMENT`].
    pub(super) segment: u64,
    /// The page.
    pub(super) page: u64,
    /// The content, or a pointer to a file of its own.
    pub(super) body: &'a [u8],
    /// Whether the content is in a file of its own.
    pub(super) elsewhere: bool,
    /// Bytes with its header.
    pub(super) length: usize,
}

/// A change of a row, as a message holds it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    /// A value was set; the key lacks what the keys of the page begin with.
    Set(&'a [u8], &'a [u8]),
    /// A key was removed.
    Removed(&'a [u8]),
    /// Something about the shape of the tree.
    Shape,
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// sled's numbers of variable length.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let first = u64::from(*take(bytes, 1)?.first()?);
    match first {
        0..=240 => Some(first),
        241..=248 => Some(240 + 256 * (first - 241) + u64::from(*take(bytes, 1)?.first()?)),
        249 => {
            let rest: [u8; 2] = take(bytes, 2)?.try_into().ok()?;
            Some(2288 + u64::from(u16::from_be_bytes(rest)))
        }
        _ => {
            let count = usize::try_from(first - 247).ok()?;
            let mut number = [0; 8];
            number.get_mut(..count)?.copy_from_slice(take(bytes, count)?);
            Some(u64::from_le_bytes(number))
        }
    }
}

fn sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    take(bytes, length)
}

/// Reads the header of a segment; `None` where its checksum does not hold.
pub(super) fn header(segment: &[u8]) -> Option<Header> {
    let mut bytes = segment.get(..SEGMENT_HEADER)?;
    let sum = u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?) ^ u32::MAX;
    if crc32fast::hash(bytes) != sum {
        return None;
    }
    let lsn = i64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?) ^ i64::MAX;
    let stable = i64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?) ^ i64::MAX;
    let lsn = u64::try_from(lsn).ok().filter(|lsn| lsn % SEGMENT as u64 == 0)?;
    Some(Header { lsn, stable })
}

/// Reads the message at a place in a segment; `None` where there is none with a right checksum.
pub(super) fn message(segment: &[u8], at: usize) -> Option<Message<'_>> {
    if at + RED_ZONE > SEGMENT {
        return None;
    }
    let all = segment.get(at..)?;
    let mut rest = all;
    let sum = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?) ^ u32::MAX;
    let kind = *take(&mut rest, 1)?.first()?;
    let (kind, elsewhere) = match kind {
        1 => (Kind::Canceled, false),
        2 => (Kind::Cap, false),
        3 => (Kind::Manifest, false),
        4 => (Kind::Free, false),
        5 | 6 => (Kind::Other, false),
        7 => (Kind::Other, true),
        8 => (Kind::Node, false),
        9 => (Kind::Node, true),
        10 => (Kind::Link, false),
        11 => (Kind::Link, true),
        _ => return None,
    };
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let number = varint(&mut rest)?;
    let page = varint(&mut rest)?;
    let head = all.get(4..all.len() - rest.len())?;
    if length > SEGMENT - at {
        return None;
    }
    let body = take(&mut rest, length)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(head);
    if hasher.finalize() != sum {
        return None;
    }
    Some(Message { kind, segment: number, page, body, elsewhere, length: all.len() - rest.len() })
}

/// The messages of a segment, one after the other, from a place on.
pub(super) struct Walk<'a> {
    segment: &'a [u8],
    number: u64,
    at: usize,
    /// Whether the segment was read to its end.
    pub(super) whole: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(segment: &'a [u8], lsn: u64) -> Self {
        Self { segment, number: lsn / SEGMENT as u64, at: SEGMENT_HEADER, whole: false }
    }

    /// Where the next message would begin: at the end, the first place that cannot be read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes to the next message that can be read, and tells how many bytes are skipped.
    pub(super) fn resume(&mut self) -> Option<usize> {
        let from = self.at;
        let number = self.number;
        self.at = search(self.segment, from, |found| found.segment == number)?;
        Some(self.at - from)
    }
}

/// The next place from which a message can be read that is wanted.
pub(super) fn search(
    segment: &[u8],
    from: usize,
    wanted: impl Fn(&Message<'_>) -> bool,
) -> Option<usize> {
    // The kind is the fifth byte of a message.
    let kinds = segment.get(from.checked_add(4)?..)?.iter().enumerate();
    kinds
        .filter(|(_, kind)| (1..=11).contains(*kind))
        .map(|(skipped, _)| from + skipped)
        .find(|at| message(segment, *at).is_some_and(|found| wanted(&found)))
}

impl<'a> Iterator for Walk<'a> {
    /// The place and the message.
    type Item = (usize, Message<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.whole {
            return None;
        }
        let at = self.at;
        if at + RED_ZONE > SEGMENT {
            self.whole = true;
            return None;
        }
        let found = message(self.segment, at).filter(|found| found.segment == self.number)?;
        self.whole = found.kind == Kind::Cap;
        self.at = at + found.length;
        Some((at, found))
    }
}

/// Whether a message that cannot be read is only what fills a segment up.
pub(super) fn is_filling(segment: &[u8], at: usize, lsn: u64) -> bool {
    let filling = || {
        let mut rest = segment.get(at + 4..)?;
        let cap = *take(&mut rest, 1)?.first()? == 2;
        varint(&mut rest)?;
        Some(cap && varint(&mut rest)? == lsn / SEGMENT as u64 && varint(&mut rest)? == u64::MAX)
    };
    filling().unwrap_or(false)
}

/// Reads a change of a page.
pub(super) fn change(body: &[u8]) -> Option<Change<'_>> {
    let mut rest = body;
    match *take(&mut rest, 1)?.first()? {
        0 => Some(Change::Set(sized(&mut rest)?, sized(&mut rest)?)),
        1 => Some(Change::Removed(sized(&mut rest)?)),
        2..=4 => Some(Change::Shape),
        _ => None,
    }
}

/// A page of a tree.
pub(super) struct Node<'a> {
    /// What all its keys begin with.
    pub(super) prefix: &'a [u8],
    /// Its first possible key.
    pub(super) low: &'a [u8],
    /// The first key beyond it; empty for the last page.
    pub(super) high: &'a [u8],
    /// Its rows, without the prefix of their keys; none for a page that points to others.
    pub(super) rows: Vec<(&'a [u8], &'a [u8])>,
    /// Whether it holds rows.
    pub(super) is_leaf: bool,
}

/// Reads a page.
pub(super) fn node(body: &[u8]) -> Option<Node<'_>> {
    let mut rest = body;
    // The next page, and what a merge under way needs.
    varint(&mut rest)?;
    varint(&mut rest)?;
    take(&mut rest, 1)?;
    let prefix_length = usize::from(*take(&mut rest, 1)?.first()?);
    let low = sized(&mut rest)?;
    let high = sized(&mut rest)?;
    let prefix = low.get(..prefix_length)?;
    let is_leaf = *take(&mut rest, 1)?.first()? == 0;
    let count = usize::try_from(varint(&mut rest)?).ok()?;
    let mut rows = Vec::new();
    if is_leaf {
        let keys: Vec<&[u8]> = (0..count).map(|_| sized(&mut rest)).collect::<Option<_>>()?;
        for key in keys {
            rows.push((key, sized(&mut rest)?));
        }
    }
    Some(Node { prefix, low, high, rows, is_leaf })
}

/// Where a message that is elsewhere has its content.
pub(super) fn elsewhere(store: &Path, body: &[u8]) -> Option<PathBuf> {
    let id = i64::from_le_bytes(body.get(..POINTER)?.try_into().ok()?);
    Some(store.join("blobs").join(id.to_string()))
}

/// Reads a content of its own, where its checksum holds.
pub(super) fn read_elsewhere(store: &Path, body: &[u8]) -> Option<Vec<u8>> {
    let file = std::fs::read(elsewhere(store, body)?).ok()?;
    let (sum, rest) = file.split_at_checked(4)?;
    let sum = u32::from_le_bytes(sum.try_into().ok()?);
    (crc32fast::hash(rest) == sum).then(|| rest.get(1..).map(<[u8]>::to_vec))?
}

/// The database file, read segment by segment.
pub(super) struct Segments {
    file: File,
    count: u64,
}

impl Segments {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let count = file.metadata()?.len().div_ceil(SEGMENT as u64);
        Ok(Self { file, count })
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The bytes of a segment; the last one may be shorter.
    pub(super) fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        self.read_at(number * SEGMENT as u64, SEGMENT)
    }

    /// The header of a segment; `None` where its checksum does not hold.
    pub(super) fn header(&self, number: u64) -> io::Result<Option<Header>> {
        Ok(header(&self.read_at(number * SEGMENT as u64, SEGMENT_HEADER)?))
    }

    /// Up to `count` bytes from a place on.
    pub(super) fn read_at(&self, at: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match read_at(&self.file, rest, at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}

/// Writes all of it at a place.
pub(super) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, at);
    #[cfg(windows)]
    {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            written += std::os::windows::fs::FileExt::seek_write(file, rest, at + written as u64)?;
        }
        Ok(())
    }
}
