//! Which rows changed at which position: what live streams replay.
//!
//! Written in the batch of the state that changed, for the served build only; bounded; no part of
//! the digest. An entry tells which row changed, not how: a stream shows the row as it is when it
//! is sent. An entry also tells whether anyone could see the row before, and whether what anyone
//! sees is the same after, so that a stream neither hides that a row is gone nor shows that
//! something private happened to it.

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

    fn stored(&self, layout: &Layout) -> TableWrite {
        let flags = u8::from(self.was_public) | u8::from(self.same_to_anyone) << 1;
        let value = [&[flags], self.key.as_bytes()].concat();
        (place(layout, self.global_seq, self.number), Some(value))
    }

    fn read(layout: &Layout, place: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged {
            place: format!("a change of {:?}", String::from_utf8_lossy(&layout.changes())),
            reason: "it cannot be read".into(),
        };
        let numbers = place.get(layout.changes().len()..).ok_or_else(damaged)?;
        let (global_seq, number) = numbers.split_first_chunk::<8>().ok_or_else(damaged)?;
        let number: [u8; 4] = number.try_into().map_err(|_| damaged())?;
        let (flags, key) = value.split_first().ok_or_else(damaged)?;
        Ok(Self {
            global_seq: u64::from_be_bytes(*global_seq),
            number: u32::from_be_bytes(number),
            key: String::from_utf8(key.to_vec()).map_err(|_| damaged())?,
            was_public: flags & 1 != 0,
            same_to_anyone: flags & 2 != 0,
        })
    }
}

fn place(layout: &Layout, global_seq: u64, number: u32) -> Vec<u8> {
    let mut key = layout.changes();
    key.extend_from_slice(&global_seq.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Up to `limit` changes after a place.
pub(crate) fn read(
    table: &dyn Table,
    layout: &Layout,
    (global_seq, number): (u64, u32),
    limit: usize,
) -> Result<Vec<Change>, StoreError> {
    let after = place(layout, global_seq, number);
    let found = table.scan(&layout.changes(), Some(&after), limit)?;
    found.iter().map(|(place, value)| Change::read(layout, place, value)).collect()
}

/// Collects the changes of a batch.
pub(crate) struct Collector {
    reach: Reach,
    /// Positions up to this one are so old that their changes would soon be dropped.
    old: u64,
    new: Vec<Change>,
}

impl Collector {
    pub(crate) fn new(table: &dyn Table, layout: &Layout, head: u64) -> Result<Self, StoreError> {
        let reach = Reach::read(table, layout)?;
        Ok(Self { reach, old: head.saturating_sub(KEPT), new: Vec::new() })
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

    /// The writes that keep the new changes and drop the oldest ones beyond the limit, once there
    /// are many.
    pub(crate) fn finish(
        mut self,
        table: &dyn Table,
        layout: &Layout,
    ) -> Result<Vec<TableWrite>, StoreError> {
        let mut writes = Vec::new();
        let total = self.reach.count.saturating_add(self.new.len() as u64);
        let beyond = if total > KEPT + SLACK { total - KEPT } else { 0 };
        let of_held = usize::try_from(beyond.min(self.reach.count)).unwrap_or(usize::MAX);
        if of_held > 0 {
            let before = self.reach.oldest.saturating_sub(1);
            for change in read(table, layout, (before, u32::MAX), of_held)? {
                self.reach.floor = self.reach.floor.max(change.global_seq);
                self.reach.oldest = change.global_seq;
                writes.push((place(layout, change.global_seq, change.number), None));
            }
        }
        let of_new = usize::try_from(beyond).unwrap_or(usize::MAX).saturating_sub(of_held);
        for dropped in self.new.drain(..of_new.min(self.new.len())) {
            self.reach.floor = self.reach.floor.max(dropped.global_seq);
        }
        writes.extend(self.new.iter().map(|change| change.stored(layout)));
        self.reach.count = total.saturating_sub(beyond);
        writes.push(self.reach.put(layout)?);
        Ok(writes)
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
            let held = table.scan(&layout.changes(), None, 100_000).unwrap();
            assert_eq!(held.len() as u64, reach.count);
            let oldest = read(&*table, &layout, (0, 0), 1).unwrap();
            assert!(oldest.iter().all(|change| change.global_seq >= reach.oldest));
            (reach.floor, reach.count)
        };
        assert_eq!(write(1..=100, 100), (0, 200));
        assert_eq!(
            read(&*table, &layout, (99, 0), 5).unwrap(),
            [change(99, 1), change(100, 0), change(100, 1)]
        );
        // A few more than are promised are kept for a while.
        assert_eq!(write(101..=5_500, 5_500), (0, KEPT + SLACK));
        assert_eq!(write(5_501..=5_501, 5_501), (501, KEPT));
        assert_eq!(read(&*table, &layout, (0, 0), 1).unwrap(), [change(502, 0)]);
        // A batch larger than all that is kept, and one far behind the end of the log.
        assert_eq!(write(5_502..=20_000, 20_000), (15_000, KEPT));
        assert_eq!(write(20_001..=20_100, 40_000), (20_100, KEPT));
        // What is dropped after that begins with the oldest, not with what was left out.
        assert_eq!(write(40_001..=46_000, 46_000), (41_000, KEPT));
    }
}
