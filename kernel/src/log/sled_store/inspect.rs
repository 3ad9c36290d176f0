//! A look at the database file before sled opens it.
//!
//! sled reads again what was written since its last start, and trusts that a crash leaves the
//! file torn at its end only. Two things it gets wrong. Where a record in the middle cannot be
//! read, it takes that for the end and writes zeros over what follows, or leaves the rest of the
//! segment out without a word. And after a power cut any of the blocks that were not synced may
//! be there or not; it may then put a part of a batch together with what came before it.
//!
//! So everything that sled is going to read is read here first. What was durable is known: batches
//! say which syncs were done before them ([`Mark`]), and the head file notes entries. Up to there
//! every record must be readable, else the file is damaged and stays as it is. Beyond, the log
//! ends at the first place that cannot be read; what follows that place was never acknowledged,
//! and is cut off before sled sees it.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use super::raw::{self, Change, Kind, Message, SEGMENT, Segments, Walk};
use super::rows::Mark;

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

/// What the look at the file gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// sled can open it.
    Sound,
    /// Something was written beyond a place that cannot be read, and was never durable.
    Torn(Cut),
    /// Something that was durable cannot be read.
    Damaged(Damage),
}

/// What has to go before sled opens the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// From a byte of the file on, so many bytes.
    zero: Vec<(u64, u64)>,
}

const SEGMENT_BYTES: u64 = SEGMENT as u64;

/// Most that is left without a sync, in bytes of sled's log: two times what is written between two
/// syncs, and more than that needs four segments to be used again.
const MAX_UNSYNCED: u64 = 8 * SEGMENT_BYTES;

fn floor(lsn: u64) -> u64 {
    lsn / SEGMENT_BYTES * SEGMENT_BYTES
}

/// Looks at the file. `noted` is the last entry that was noted as durable.
pub(super) fn inspect(store: &Path, noted: u64) -> io::Result<Finding> {
    let segments = match Segments::open(&store.join("db")) {
        Ok(segments) => segments,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Finding::Sound),
        Err(e) => return Err(e),
    };
    Inspection::new(&segments, snapshot(store)?, noted)?.run()
}

/// Writes zeros over what was never durable.
pub(super) fn cut(store: &Path, cut: &Cut) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(store.join("db"))?;
    for (at, count) in &cut.zero {
        let zeros = vec![0; usize::try_from(*count).unwrap_or(SEGMENT).min(SEGMENT)];
        raw::write_at(&file, &zeros, *at)?;
    }
    file.sync_all()
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

/// A place in a segment that cannot be read, and is not just the end of what was written to it.
struct Break {
    lsn: u64,
    number: u64,
    at: usize,
}

struct Inspection<'a> {
    segments: &'a Segments,
    snapshot: Snapshot,
    noted: u64,
    /// Segments that are read again, by their place in the log.
    ordered: BTreeMap<u64, u64>,
    /// Segments whose header does not hold, by the place that their first message names.
    headless: BTreeMap<u64, u64>,
    /// How far sled says that the log was stable.
    stable: u64,
    breaks: Vec<Break>,
    /// The end of the last message that can be read.
    end: u64,
    durable: Durable,
}

impl<'a> Inspection<'a> {
    fn new(segments: &'a Segments, snapshot: Snapshot, noted: u64) -> io::Result<Self> {
        let from = floor(snapshot.lsn);
        let mut new = Self {
            segments,
            snapshot,
            noted,
            ordered: BTreeMap::new(),
            headless: BTreeMap::new(),
            stable: from,
            breaks: Vec::new(),
            end: 0,
            durable: Durable::new(snapshot.lsn),
        };
        for number in 0..segments.count() {
            match segments.header(number)? {
                Some(header) if header.lsn >= from => {
                    new.stable = new.stable.max(u64::try_from(header.stable).unwrap_or(0));
                    new.ordered.insert(header.lsn, number);
                }
                Some(_) => {}
                None => {
                    let bytes = segments.read(number)?;
                    let first = raw::message(&bytes, raw::SEGMENT_HEADER);
                    let lsn = first.and_then(|first| first.segment.checked_mul(SEGMENT_BYTES));
                    if let Some(lsn) = lsn.filter(|lsn| *lsn >= from) {
                        new.headless.insert(lsn, number);
                    }
                }
            }
        }
        Ok(new)
    }

    fn run(mut self) -> io::Result<Finding> {
        let ordered: Vec<(u64, u64)> =
            self.ordered.iter().map(|(lsn, number)| (*lsn, *number)).collect();
        for (lsn, number) in &ordered {
            self.read(*lsn, *number)?;
        }
        let durable = self.durable.up_to(|from| self.unreadable(from))?;
        let file_end = self.segments.count() * SEGMENT_BYTES;
        if self.ordered.is_empty() && self.snapshot.active {
            let damage = Damage::at(file_end, "the file ends before what was written");
            return Ok(Finding::Damaged(damage));
        }
        if let Some((lsn, number)) = self.headless.first_key_value()
            && *lsn < durable
            && !self.ordered.contains_key(lsn)
        {
            let at = number * SEGMENT_BYTES;
            let damage = Damage::at(at, "the header of a segment cannot be read");
            return Ok(Finding::Damaged(damage));
        }
        for one in &self.breaks {
            if one.lsn < durable && !self.is_stale(one)? {
                let at = one.number * SEGMENT_BYTES + one.at as u64;
                return Ok(Finding::Damaged(Damage::at(at, "a record cannot be read")));
            }
        }
        let torn = self.torn(durable)?;
        if torn.unwrap_or(self.end) < durable {
            let damage = Damage::at(file_end, "records that were durable are missing");
            return Ok(Finding::Damaged(damage));
        }
        match torn {
            Some(torn) if self.end > torn || !self.headless.is_empty() => {
                Ok(Finding::Torn(self.cut(torn)))
            }
            _ => self.reachable(),
        }
    }

    /// Reads a segment, and what it tells about what was durable.
    fn read(&mut self, lsn: u64, number: u64) -> io::Result<()> {
        let bytes = self.segments.read(number)?;
        let own = lsn / SEGMENT_BYTES;
        let mut walk = Walk::new(&bytes, lsn);
        loop {
            for (at, message) in walk.by_ref() {
                let begin = lsn + at as u64;
                self.end = begin + message.length as u64;
                self.durable.message(begin, &message, self.noted);
            }
            if walk.whole {
                self.end = self.end.max(lsn + SEGMENT_BYTES);
                return Ok(());
            }
            let at = walk.at();
            // Where a free segment was being used again, newer messages lie over it.
            let newer = raw::search(&bytes, at, |newer| newer.segment > own).is_some();
            let goes_on = walk.resume().is_some();
            if newer || raw::is_filling(&bytes, at, lsn) {
                return Ok(());
            }
            self.breaks.push(Break { lsn: lsn + at as u64, number, at });
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// The first place from here on that cannot be read and is not old.
    fn unreadable(&self, from: u64) -> io::Result<Option<u64>> {
        let mut broken = None;
        for one in self.breaks.iter().filter(|one| one.lsn >= from) {
            if !self.is_stale(one)? {
                broken = Some(one.lsn);
                break;
            }
        }
        let mut missing = floor(from);
        while self.ordered.contains_key(&missing) {
            missing += SEGMENT_BYTES;
        }
        let missing = (missing < self.end).then_some(missing.max(from));
        Ok(broken.into_iter().chain(missing).min())
    }

    /// The first place beyond what was durable from which on the log cannot be read; the end of
    /// the log is one too.
    fn torn(&self, durable: u64) -> io::Result<Option<u64>> {
        let mut broken = None;
        for one in self.breaks.iter().filter(|one| one.lsn >= durable) {
            if one.lsn >= self.end || !self.is_stale(one)? {
                broken = Some(one.lsn);
                break;
            }
        }
        let lost = self.lost(durable);
        Ok(broken.into_iter().chain(lost).min())
    }

    /// The first segment that was never durable and is not there; the one after the last is none.
    fn lost(&self, durable: u64) -> Option<u64> {
        let recent = self.end.saturating_sub(durable) <= MAX_UNSYNCED;
        // sled uses a segment again once the copies of what was in it are stable, in a few hundred
        // milliseconds where the same rows are written over and over: before what is said to be
        // stable, a segment that is not there was used again. After that, all of them must be there.
        let mut expected = floor(durable.max(self.stable));
        if !recent || self.ordered.range(expected..).next().is_none() {
            return None;
        }
        if !self.ordered.contains_key(&expected) {
            expected += SEGMENT_BYTES;
        }
        while self.ordered.contains_key(&expected) {
            expected += SEGMENT_BYTES;
        }
        Some(expected)
    }

    /// Everything beyond a place.
    fn cut(&self, torn: u64) -> Cut {
        let mut cut = Cut::default();
        for (lsn, number) in self.ordered.range(floor(torn)..).chain(self.headless.range(torn..)) {
            let keep = torn.saturating_sub(*lsn).min(SEGMENT_BYTES);
            if keep < SEGMENT_BYTES {
                cut.zero.push((number * SEGMENT_BYTES + keep, SEGMENT_BYTES - keep));
            }
        }
        cut
    }

    /// sled looks for the end of the log from where it says that it was stable.
    fn reachable(&self) -> io::Result<Finding> {
        let tail = floor(self.stable);
        let missing =
            !self.ordered.contains_key(&tail) && self.ordered.range(tail..).next().is_some();
        if missing && tail > 0 {
            let at = self.segments.count() * SEGMENT_BYTES;
            return Ok(Finding::Damaged(Damage::at(at, "a segment that was written is missing")));
        }
        Ok(Finding::Sound)
    }

    /// Whether all that can still be read in a segment was written again later, elsewhere: sled
    /// uses a segment again only then.
    fn is_stale(&self, one: &Break) -> io::Result<bool> {
        let lsn = floor(one.lsn);
        let mut pages: HashSet<u64> = HashSet::new();
        each_message(&self.segments.read(one.number)?, lsn, |message| {
            pages.insert(message.page);
        });
        if pages.is_empty() {
            return Ok(false);
        }
        for (later, number) in self.ordered.range(lsn + 1..) {
            each_message(&self.segments.read(*number)?, *later, |message| {
                if message.kind != Kind::Link {
                    pages.remove(&message.page);
                }
            });
        }
        Ok(pages.is_empty())
    }
}

/// Goes through the messages of a segment that can be read and change a page.
fn each_message(bytes: &[u8], lsn: u64, mut each: impl FnMut(&Message<'_>)) {
    let mut walk = Walk::new(bytes, lsn);
    loop {
        for (_, message) in walk.by_ref() {
            if matches!(message.kind, Kind::Free | Kind::Other | Kind::Node | Kind::Link) {
                each(&message);
            }
        }
        if walk.whole || walk.resume().is_none() {
            break;
        }
    }
}

/// What the messages tell about how much was durable.
struct Durable {
    /// What sled had at its last start, and we synced then.
    at_start: u64,
    /// The newest batch: its first and last byte.
    batch: (u64, u64),
    /// The end of the batch before that.
    before: u64,
    /// Marks, each with the end of the batch before its own. sled also writes between batches.
    marks: Vec<(u64, Mark)>,
    /// The end of the batch with the newest entry that was noted as durable.
    noted: u64,
}

impl Durable {
    fn new(at_start: u64) -> Self {
        Self { at_start, batch: (0, 0), before: 0, marks: Vec::new(), noted: 0 }
    }

    /// Everything before this place in the log. `unreadable` gives the first place from another
    /// one on that cannot be read.
    fn up_to(&self, unreadable: impl Fn(u64) -> io::Result<Option<u64>>) -> io::Result<u64> {
        let least = self.at_start.max(self.noted);
        let done = self.marks.iter().map(|(_, mark)| mark.done).max().unwrap_or(0);
        // Whatever came before a sync was begun is durable once that was done.
        let open = self.marks.iter().position(|(_, mark)| mark.begun >= done);
        let Some((begin, open, older)) = open.and_then(|at| {
            let (older, rest) = self.marks.split_at_checked(at)?;
            let (begin, open) = rest.first()?;
            Some((*begin, open, older.last().map_or(self.at_start, |(begin, _)| *begin)))
        }) else {
            return Ok(least);
        };
        // The first mark since that sync was begun may be lost, and with it where that was: in a
        // batch that was being written meanwhile, and was not durable.
        let lost = open.earlier.is_some_and(|begun| begun >= done);
        let end = if lost { unreadable(older)?.map_or(begin, |at| at.min(begin)) } else { begin };
        Ok(end.max(least))
    }

    fn message(&mut self, begin: u64, message: &Message<'_>, noted: u64) {
        if message.kind == Kind::Manifest {
            let last = message.body.try_into().map_or(0, u64::from_le_bytes);
            self.before = self.batch.1 + 1;
            self.batch = (begin, last);
            return;
        }
        // Whole pages do not count: they are written again, with old rows in them.
        if message.kind != Kind::Link || begin < self.at_start {
            return;
        }
        let Some(Change::Set(_, value)) = raw::change(message.body) else { return };
        let within = begin > self.batch.0 && begin <= self.batch.1;
        if let Some(mark) = Mark::read(value) {
            // Where the beginning of its batch is not there, it came after the newest one.
            self.marks.push((if within { self.before } else { self.batch.1 + 1 }, mark));
        } else if super::entries::seq_of(value).is_some_and(|seq| seq <= noted) {
            let end = if within { self.batch.1 + 1 } else { begin + message.length as u64 };
            self.noted = self.noted.max(end);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn durable(marks: &[(u64, u64, u64, Option<u64>)]) -> Durable {
        let mut durable = Durable::new(0);
        durable.marks = marks
            .iter()
            .map(|&(begin, begun, done, earlier)| (begin, Mark { begun, done, earlier }))
            .collect();
        durable
    }

    #[test]
    fn what_came_before_a_sync_that_was_done_is_durable() {
        let nothing_broken = |_| Ok(None);
        let marks = durable(&[(100, 1, 0, Some(0)), (200, 1, 1, Some(1)), (300, 2, 1, Some(1))]);
        assert_eq!(marks.up_to(nothing_broken).unwrap(), 100, "sync 2 was not done");
        let marks = durable(&[(200, 1, 1, Some(1)), (300, 2, 1, Some(1)), (400, 2, 2, Some(2))]);
        assert_eq!(marks.up_to(nothing_broken).unwrap(), 300);
        assert_eq!(marks.up_to(|_| Ok(Some(250))).unwrap(), 300, "a place that counts is broken");
        let marks = durable(&[(200, 1, 1, Some(1)), (400, 2, 2, Some(1))]);
        assert_eq!(marks.up_to(|_| Ok(Some(250))).unwrap(), 400, "no batch came in between");
    }

    /// One of the segments since the last mark was used again already.
    #[test]
    fn what_is_not_there_of_what_was_stable_was_used_again() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("db"), vec![0; SEGMENT]).unwrap();
        let segments = Segments::open(&directory.path().join("db")).unwrap();
        let mut inspection = Inspection::new(&segments, Snapshot::default(), 0).unwrap();
        let at = |number: u64| number * SEGMENT_BYTES;
        inspection.ordered = [0, 1, 3, 4, 5].map(|number| (at(number), number)).into();
        inspection.end = at(6) - 1000;
        for (stable, lost) in [(0, 2), (at(2) - 1, 2), (at(3) + 5000, 6), (at(5) + 1, 6)] {
            inspection.stable = stable;
            assert_eq!(inspection.torn(at(1)).unwrap(), Some(at(lost)), "stable up to {stable}");
        }
    }

    /// Power went while a batch was written that began after the sync.
    #[test]
    fn a_lost_mark_hides_where_a_sync_began() {
        let marks = durable(&[(200, 1, 1, Some(1)), (400, 2, 2, Some(2))]);
        let broken = |from| Ok([150, 250, 500].into_iter().find(|at| *at >= from));
        assert_eq!(marks.up_to(broken).unwrap(), 250);
        let mut noted = durable(&[(200, 1, 1, Some(1)), (400, 2, 2, Some(2))]);
        noted.noted = 320;
        assert_eq!(noted.up_to(broken).unwrap(), 320, "an entry was noted as durable");
    }

    #[test]
    fn marks_are_read_as_they_were_written() {
        for earlier in [None, Some(0), Some(7)] {
            let mark = Mark { begun: 8, done: 7, earlier };
            assert_eq!(Mark::read(&mark.value()), Some(mark));
        }
        let value = Mark { begun: 8, done: 7, earlier: Some(7) }.value();
        assert_eq!(Mark::read(&value[..value.len() - 1]), None);
        assert_eq!(Mark::read(&[value, vec![0; 8]].concat()), None);
    }
}
