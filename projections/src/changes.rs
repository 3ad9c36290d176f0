//! Which rows changed at which position: what live streams replay.
//!
//! Written in the batch of the state that changed, for the served build only; bounded; no part of
//! the digest. An entry tells which row changed, not how: a stream shows the row as it is when it
//! is sent. An entry also tells whether anyone could see the row before, and whether what anyone
//! sees is the same after, so that a stream neither hides that a row is gone nor shows that
//! something private happened to it.
//!
//! The changes of a commit stand together in packs, one row each: a CBOR array of position, number,
//! flags and key of each change, at the place of the last one. Packs are dropped whole.

use fedsx_kernel::log::{StoreError, Table, TableWrite};
use fedsx_kernel::state::parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fold::Fold;
use crate::layout::{self, Layout};
use crate::reader::public_part;

/// How many changes are kept at least.
pub(crate) const KEPT: u64 = 10_000;
/// So many more are kept until they are dropped together: where the oldest one stands is found by
/// going over all that were dropped shortly before.
const SLACK: u64 = 1000;
/// Most changes of a pack.
const PACK: usize = 256;
/// How many bytes a pack has, about: no more than the store keeps in one row.
const PACK_BYTES: usize = 5000;
/// What a change takes in a pack beside its key, about.
const CHANGE_BYTES: usize = 16;
/// Packs that are read in one step.
const PAGE: usize = 4;

/// How far the kept changes reach back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reach {
    /// Every change after this position is kept.
    pub(crate) floor: u64,
    /// Who read before this position may have read another build.
    pub(crate) start: u64,
    /// How many are kept.
    pub(crate) count: u64,
    /// Nothing is kept of what changed before this position.
    #[serde(default)]
    pub(crate) oldest: u64,
}

impl Reach {
    pub(crate) fn read(table: &dyn Table, layout: &Layout) -> Result<Self, StoreError> {
        let key = layout.reach();
        let found = table.get(&key)?.map(|bytes| layout::decode_as(&key, &bytes)).transpose()?;
        Ok(found.unwrap_or_default())
    }

    pub(crate) fn put(&self, layout: &Layout) -> Result<TableWrite, StoreError> {
        let key = layout.reach();
        let value = layout::encode_as(&key, self)?;
        Ok((key, Some(value)))
    }
}

/// A change that was kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) global_seq: u64,
    /// Among those of the position.
    pub(crate) number: u32,
    /// Key of the state.
    pub(crate) key: String,
    /// Whether anyone could see the row before.
    pub(crate) was_public: bool,
    /// Whether anyone sees the same after as before.
    pub(crate) same_to_anyone: bool,
}

impl Change {
    /// The change of a row; `None` where it stayed as it was.
    pub(crate) fn of(
        fold: &dyn Fold,
        (global_seq, number): (u64, u32),
        key: &str,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Option<Self> {
        if before == after {
            return None;
        }
        let row = parts(key);
        let view = |value: Option<&Value>| value.and_then(|value| public_part(fold, &row, value));
        let (before, after) = (view(before), view(after));
        Some(Self {
            global_seq,
            number,
            key: key.to_owned(),
            was_public: before.is_some(),
            same_to_anyone: before == after,
        })
    }

    /// A change of which only its owner may know.
    pub(crate) fn unseen((global_seq, number): (u64, u32), key: &str) -> Self {
        let key = key.to_owned();
        Self { global_seq, number, key, was_public: false, same_to_anyone: true }
    }

    fn flags(&self) -> u8 {
        u8::from(self.was_public) | u8::from(self.same_to_anyone) << 1
    }
}

/// The row of changes that follow each other; there is at least one.
fn pack(layout: &Layout, changes: &[Change]) -> Result<Option<TableWrite>, StoreError> {
    let Some(last) = changes.last() else { return Ok(None) };
    let key = place(layout, (last.global_seq, last.number));
    let stored: Vec<(u64, u32, u8, &str)> = changes
        .iter()
        .map(|change| (change.global_seq, change.number, change.flags(), change.key.as_str()))
        .collect();
    let value = serde_ipld_dagcbor::to_vec(&stored);
    let value = value.map_err(|e| StoreError::Io(format!("changes cannot be kept: {e}")))?;
    Ok(Some((key, Some(value))))
}

fn unpack(layout: &Layout, value: &[u8]) -> Result<Vec<Change>, StoreError> {
    let changes: Vec<(u64, u32, u8, String)> =
        serde_ipld_dagcbor::from_slice(value).map_err(|e| StoreError::Damaged {
            place: format!("changes at {:?}", String::from_utf8_lossy(&layout.changes())),
            reason: e.to_string(),
        })?;
    let one = |(global_seq, number, flags, key)| Change {
        global_seq,
        number,
        key,
        was_public: flags & 1 != 0,
        same_to_anyone: flags & 2 != 0,
    };
    Ok(changes.into_iter().map(one).collect())
}

/// How many of these changes, from the first one on, make a pack.
fn fitting(changes: &[Change]) -> usize {
    let mut bytes = 0;
    let fits = |change: &&Change| {
        bytes += change.key.len() + CHANGE_BYTES;
        bytes <= PACK_BYTES
    };
    changes.iter().take(PACK).take_while(fits).count().max(1)
}

fn place(layout: &Layout, (global_seq, number): (u64, u32)) -> Vec<u8> {
    let mut key = layout.changes();
    key.extend_from_slice(&global_seq.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Up to `limit` changes after a place.
pub(crate) fn read(
    table: &dyn Table,
    layout: &Layout,
    after: (u64, u32),
    limit: usize,
) -> Result<Vec<Change>, StoreError> {
    let (mut changes, mut from) = (Vec::new(), place(layout, after));
    while changes.len() < limit {
        let packs = table.scan(&layout.changes(), Some(&from), PAGE)?;
        let Some((last, _)) = packs.last() else { break };
        from = last.clone();
        for (_, value) in &packs {
            let held = unpack(layout, value)?.into_iter();
            changes.extend(held.filter(|change| (change.global_seq, change.number) > after));
        }
    }
    changes.truncate(limit);
    Ok(changes)
}

/// Removes the changes that older versions kept, a row for each: up to where the build stands
/// nothing is kept then.
pub(crate) fn renew(table: &dyn Table, layout: &Layout, reached: u64) -> Result<(), StoreError> {
    if !layout.has_old_changes(table)? {
        return Ok(());
    }
    let start = Reach::read(table, layout)?.start;
    table.apply(vec![Reach { floor: reached, start, ..Reach::default() }.put(layout)?])?;
    layout.wipe_old_changes(table)
}

/// Collects the changes of a batch.
pub(crate) struct Collector {
    /// As it is stored.
    held: Reach,
    reach: Reach,
    /// Positions up to this one are so old that their changes would soon be dropped.
    old: u64,
    new: Vec<Change>,
}

impl Collector {
    pub(crate) fn new(table: &dyn Table, layout: &Layout, head: u64) -> Result<Self, StoreError> {
        let reach = Reach::read(table, layout)?;
        Ok(Self { held: reach.clone(), reach, old: head.saturating_sub(KEPT), new: Vec::new() })
    }

    /// Whether the changes of a position are kept.
    pub(crate) fn wants(&mut self, global_seq: u64) -> bool {
        if global_seq <= self.old {
            self.reach.floor = self.reach.floor.max(global_seq);
            return false;
        }
        true
    }

    pub(crate) fn add(&mut self, change: Change) {
        self.new.push(change);
    }

    pub(crate) fn extend(&mut self, changes: impl IntoIterator<Item = Change>) {
        self.new.extend(changes);
    }

    /// The writes that keep the new changes, and drop the oldest packs once there are many more than
    /// are to be kept.
    pub(crate) fn finish(
        mut self,
        table: &dyn Table,
        layout: &Layout,
    ) -> Result<Vec<TableWrite>, StoreError> {
        let mut writes = Vec::new();
        let total = self.reach.count.saturating_add(self.new.len() as u64);
        if total > KEPT + SLACK {
            let beyond = self.drop_held(total - KEPT, table, layout, &mut writes)?;
            if self.reach.count == 0 {
                let beyond = usize::try_from(beyond).unwrap_or(usize::MAX).min(self.new.len());
                for dropped in self.new.drain(..beyond) {
                    self.reach.floor = self.reach.floor.max(dropped.global_seq);
                }
            }
        }
        let mut rest = self.new.as_slice();
        while !rest.is_empty() {
            let (first, others) = rest.split_at(fitting(rest));
            writes.extend(pack(layout, first)?);
            rest = others;
        }
        self.reach.count = self.reach.count.saturating_add(self.new.len() as u64);
        if self.reach != self.held {
            writes.push(self.reach.put(layout)?);
        }
        Ok(writes)
    }

    /// Drops packs of at most so many changes together; gives how many more were to be dropped.
    fn drop_held(
        &mut self,
        mut beyond: u64,
        table: &dyn Table,
        layout: &Layout,
        writes: &mut Vec<TableWrite>,
    ) -> Result<u64, StoreError> {
        let mut from = place(layout, (self.reach.oldest.saturating_sub(1), u32::MAX));
        loop {
            let packs = table.scan(&layout.changes(), Some(&from), PAGE)?;
            let Some((last, _)) = packs.last() else {
                self.reach.count = 0;
                return Ok(beyond);
            };
            from = last.clone();
            for (key, value) in packs {
                let changes = unpack(layout, &value)?;
                let (count, last) = (changes.len() as u64, changes.last());
                if count > beyond {
                    return Ok(beyond);
                }
                beyond -= count;
                self.reach.count = self.reach.count.saturating_sub(count);
                if let Some(last) = last {
                    self.reach.floor = self.reach.floor.max(last.global_seq);
                    self.reach.oldest = last.global_seq;
                }
                writes.push((key, None));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use fedsx_kernel::log::{MemoryStorage, Storage as _};

    use super::*;
    use crate::layout::Build;

    fn change(global_seq: u64, number: u32) -> Change {
        Change {
            global_seq,
            number,
            key: format!("row {global_seq}"),
            was_public: number == 1,
            same_to_anyone: number == 2,
        }
    }

    #[test]
    fn the_newest_changes_are_kept() {
        let table = MemoryStorage::default().projections();
        let layout = Layout::new("some", Build::first(1));
        let write = |positions: std::ops::RangeInclusive<u64>, head: u64| {
            let mut collector = Collector::new(&*table, &layout, head).unwrap();
            for seq in positions {
                if collector.wants(seq) {
                    collector.add(change(seq, 0));
                    collector.add(change(seq, 1));
                }
            }
            table.apply(collector.finish(&*table, &layout).unwrap()).unwrap();
            let reach = Reach::read(&*table, &layout).unwrap();
            // What is counted is what is there, and it begins where it says.
            let held = read(&*table, &layout, (0, 0), 100_000).unwrap();
            assert_eq!(held.len() as u64, reach.count);
            assert!(held.is_sorted_by_key(|change| (change.global_seq, change.number)));
            assert!(held.iter().all(|change| change.global_seq >= reach.oldest));
            // Of what came after the floor nothing is missing.
            let first = held.first().unwrap().global_seq;
            assert!(first <= reach.floor + 1, "{first} {}", reach.floor);
            (reach.floor, reach.count)
        };
        assert_eq!(write(1..=100, 100), (0, 200));
        assert_eq!(
            read(&*table, &layout, (99, 0), 3).unwrap(),
            [change(99, 1), change(100, 0), change(100, 1)]
        );
        assert_eq!(read(&*table, &layout, (99, 0), 2).unwrap().len(), 2);
        assert_eq!(read(&*table, &layout, (100, 1), 2).unwrap(), []);
        // A few more than are promised are kept for a while.
        assert_eq!(write(101..=5_500, 5_500), (0, KEPT + SLACK));
        // What is dropped are whole packs, the first of 200 and others of at most 256.
        let (floor, count) = write(5_501..=5_501, 5_501);
        assert!((KEPT..KEPT + PACK as u64).contains(&count), "{count}");
        assert!((300..=501).contains(&floor), "{floor}");
        // A batch larger than all that is kept, and one far behind the end of the log.
        assert_eq!(write(5_502..=20_000, 20_000), (15_000, KEPT));
        assert_eq!(write(20_001..=20_100, 40_000), (20_100, KEPT));
        // What is dropped after that begins with the oldest, not with what was left out.
        assert_eq!(write(40_001..=46_000, 46_000), (41_000, KEPT));
    }

    #[test]
    fn packs_are_bounded_by_what_a_row_holds() {
        let layout = Layout::new("some", Build::first(1));
        let long = |number| Change { key: "x".repeat(900), ..change(1, number) };
        let changes: Vec<Change> = (0..12).map(long).collect();
        assert_eq!(fitting(&changes), 5);
        let (_, value) = pack(&layout, &changes[..5]).unwrap().unwrap();
        assert!(value.as_ref().unwrap().len() <= PACK_BYTES);
        assert_eq!(unpack(&layout, &value.unwrap()).unwrap(), changes[..5]);
        let huge = Change { key: "x".repeat(2 * PACK_BYTES), ..change(1, 0) };
        assert_eq!(fitting(&[huge, change(1, 1)]), 1);
        assert!(unpack(&layout, b"\x00old").is_err());
    }

    #[test]
    fn what_older_versions_kept_is_removed_and_nobody_goes_on_from_it() {
        let table = MemoryStorage::default().projections();
        let layout = Layout::new("some", Build::first(1));
        let old = |seq: u64| [b"some\0v1\0h".as_slice(), &seq.to_be_bytes(), &[0; 4]].concat();
        let rows = (1..=2_500).map(|seq| (old(seq), Some(b"\x01row".to_vec())));
        table.apply(rows.collect()).unwrap();
        let reach = Reach { floor: 3, start: 7, count: 2_500, oldest: 4 };
        table.apply(vec![reach.put(&layout).unwrap()]).unwrap();
        renew(&*table, &layout, 2_500).unwrap();
        let renewed = Reach { floor: 2_500, start: 7, count: 0, oldest: 0 };
        assert_eq!(Reach::read(&*table, &layout).unwrap(), renewed);
        assert_eq!(table.scan(b"some", None, 10).unwrap().len(), 1, "the reach alone");
        // From then on nothing is taken away.
        let mut collector = Collector::new(&*table, &layout, 2_600).unwrap();
        collector.add(change(2_501, 0));
        table.apply(collector.finish(&*table, &layout).unwrap()).unwrap();
        renew(&*table, &layout, 2_501).unwrap();
        assert_eq!(read(&*table, &layout, (2_500, 0), 9).unwrap(), [change(2_501, 0)]);
    }
}
