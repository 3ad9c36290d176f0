//! Rows in memory over a tree of sled.
//!
//! What is written goes into the active table. When that is large enough it is frozen, a new one is
//! active, and the frozen one is written to the tree, after which it is dropped. Readers look into
//! the active table, the frozen one, and the tree, in this order. A row that leaves memory stands in
//! the tree before; so whoever looks at the tables first and at the tree then misses nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sled::IVec;

use crate::log::store::TableWrite;

/// Rows that are read in the first page of a range; each page is twice as long as the one before.
const FIRST_PAGE: usize = 4;
/// Most rows of a page.
const MAX_PAGE: usize = 256;

/// Keys, each with its value or `None` where it was removed.
pub(in crate::log) type Written = BTreeMap<IVec, Option<IVec>>;

/// A key and its value.
pub(in crate::log) type Row = (IVec, IVec);

/// A tree with the tables above it.
pub(in crate::log) struct Layers {
    tree: sled::Tree,
    memory: RwLock<Memory>,
}

#[derive(Default)]
struct Memory {
    active: Written,
    frozen: Option<Arc<Written>>,
}

/// The direction of a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Rising,
    Falling,
}

impl Layers {
    pub(in crate::log) fn new(tree: sled::Tree) -> Self {
        Self { tree, memory: RwLock::default() }
    }

    /// The tree below.
    pub(in crate::log) fn tree(&self) -> &sled::Tree {
        &self.tree
    }

    fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value at a key.
    pub(in crate::log) fn get(&self, key: &[u8]) -> sled::Result<Option<IVec>> {
        {
            let memory = self.read();
            let frozen = || memory.frozen.as_ref().and_then(|frozen| frozen.get(key));
            if let Some(value) = memory.active.get(key).or_else(frozen) {
                return Ok(value.clone());
            }
        }
        self.tree.get(key)
    }

    /// The rows between two keys, in rising order.
    pub(in crate::log) fn range(&self, from: Bound<IVec>, to: Bound<IVec>) -> Range<'_> {
        Range::new(self, from, to, Order::Rising)
    }

    /// The same in falling order.
    pub(in crate::log) fn range_back(&self, from: Bound<IVec>, to: Bound<IVec>) -> Range<'_> {
        Range::new(self, from, to, Order::Falling)
    }

    /// All rows, in rising order.
    #[cfg(test)]
    pub(in crate::log) fn iter(&self) -> Range<'_> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// Takes writes into the active table, all at once for readers of single keys; a later write
    /// to a key wins. Who sees one of them sees what `shown` did, too.
    pub(in crate::log) fn put(&self, writes: Vec<TableWrite>, shown: impl FnOnce()) {
        let mut memory = self.write();
        for (key, value) in writes {
            memory.active.insert(IVec::from(key), value.map(IVec::from));
        }
        shown();
    }

    /// Begins a new active table. There must be no frozen one.
    pub(in crate::log) fn freeze(&self) {
        let mut memory = self.write();
        let active = std::mem::take(&mut memory.active);
        memory.frozen = Some(Arc::new(active));
    }

    /// What is to be written to the tree.
    pub(in crate::log) fn frozen(&self) -> Option<Arc<Written>> {
        self.read().frozen.clone()
    }

    /// Drops the frozen table, whose rows are in the tree.
    pub(in crate::log) fn thaw(&self) {
        self.write().frozen = None;
    }
}

/// Rows in key order. Each page is read anew, so that what is written meanwhile may show or not.
pub(in crate::log) struct Range<'a> {
    layers: &'a Layers,
    from: Bound<IVec>,
    to: Bound<IVec>,
    order: Order,
    page: std::vec::IntoIter<Row>,
    length: usize,
    ended: bool,
}

/// Whether nothing lies between.
fn is_empty(from: &Bound<IVec>, to: &Bound<IVec>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
    }
}

fn bound(bound: &Bound<IVec>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &**key)
}

impl<'a> Range<'a> {
    fn new(layers: &'a Layers, from: Bound<IVec>, to: Bound<IVec>, order: Order) -> Self {
        let ended = is_empty(&from, &to);
        Self { layers, from, to, order, page: Vec::new().into_iter(), length: FIRST_PAGE, ended }
    }

    /// Up to so many items from the end at which the range is read, and whether that were all.
    fn some<T>(&self, items: impl DoubleEndedIterator<Item = T>) -> (Vec<T>, bool) {
        let taken: Vec<T> = match self.order {
            Order::Rising => items.take(self.length).collect(),
            Order::Falling => items.rev().take(self.length).collect(),
        };
        let all = taken.len() < self.length;
        (taken, all)
    }

    fn is_before(&self, key: &IVec, other: &IVec) -> bool {
        match self.order {
            Order::Rising => key < other,
            Order::Falling => key > other,
        }
    }

    fn fill(&mut self) -> sled::Result<()> {
        let bounds = (bound(&self.from), bound(&self.to));
        // Up to where all that was read is complete; `None` for the end of the range.
        let mut complete: Option<IVec> = None;
        let mut shorten = |last: Option<&IVec>, all: bool| {
            let Some(last) = last.filter(|_| !all) else { return };
            if complete.as_ref().is_none_or(|complete| self.is_before(last, complete)) {
                complete = Some(last.clone());
            }
        };
        let mut rows = Written::new();
        {
            let memory = self.layers.read();
            let tables = [memory.frozen.as_deref(), Some(&memory.active)];
            for table in tables.into_iter().flatten().filter(|table| !table.is_empty()) {
                let (some, all) = self.some(table.range::<[u8], _>(bounds));
                shorten(some.last().map(|(key, _)| *key), all);
                rows.extend(some.into_iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        let (below, all) = self.some(self.layers.tree.range::<&[u8], _>(bounds));
        let below = below.into_iter().collect::<sled::Result<Vec<Row>>>()?;
        shorten(below.last().map(|(key, _)| key), all);
        let page: Vec<Row> = if rows.is_empty() {
            below
        } else {
            for (key, value) in below {
                rows.entry(key).or_insert(Some(value));
            }
            let beyond = |key: &IVec| {
                complete.as_ref().is_some_and(|complete| self.is_before(complete, key))
            };
            let held = rows.into_iter().filter(|(key, _)| !beyond(key));
            let held = held.filter_map(|(key, value)| Some((key, value?)));
            match self.order {
                Order::Rising => held.collect(),
                Order::Falling => held.rev().collect(),
            }
        };
        self.page = page.into_iter();
        self.length = (self.length * 2).min(MAX_PAGE);
        match (complete, self.order) {
            (None, _) => self.ended = true,
            (Some(last), Order::Rising) => self.from = Bound::Excluded(last),
            (Some(last), Order::Falling) => self.to = Bound::Excluded(last),
        }
        self.ended = self.ended || is_empty(&self.from, &self.to);
        Ok(())
    }
}

impl Iterator for Range<'_> {
    type Item = sled::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(Ok(row));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    #[derive(Clone, Debug)]
    enum Step {
        Put(Vec<(u16, Option<u8>)>),
        Freeze,
        Flush,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let writes =
            proptest::collection::vec((0u16..400, proptest::option::of(any::<u8>())), 0..60);
        let step = prop_oneof![6 => writes.prop_map(Step::Put), 1 => Just(Step::Freeze), 2 => Just(Step::Flush)];
        proptest::collection::vec(step, 0..16)
    }

    fn read(rows: Range<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        rows.map(|row| row.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever of it is in memory, the rows are those that were written.
        #[test]
        fn layers_read_as_one(steps in steps(), from in 0u16..420, to in 0u16..420) {
            let db = sled::Config::new().temporary(true).open().unwrap();
            let layers = Layers::new(db.open_tree("rows").unwrap());
            let mut model = Model::new();
            for step in steps {
                match step {
                    Step::Put(writes) => {
                        let writes = writes.into_iter().map(|(key, value)| {
                            (key.to_be_bytes().to_vec(), value.map(|value| vec![value]))
                        });
                        for (key, value) in writes.clone() {
                            match value {
                                Some(value) => model.insert(key, value),
                                None => model.remove(&key),
                            };
                        }
                        layers.put(writes.collect(), || ());
                    }
                    Step::Freeze if layers.frozen().is_none() => layers.freeze(),
                    Step::Freeze => {}
                    Step::Flush => {
                        for (key, value) in layers.frozen().iter().flat_map(|rows| rows.iter()) {
                            match value {
                                Some(value) => layers.tree().insert(key, value).unwrap(),
                                None => layers.tree().remove(key).unwrap(),
                            };
                        }
                        layers.thaw();
                    }
                }
            }
            let all: Vec<_> = model.clone().into_iter().collect();
            prop_assert_eq!(read(layers.iter()), all.clone());
            let mut back = read(layers.range_back(Bound::Unbounded, Bound::Unbounded));
            back.reverse();
            prop_assert_eq!(back, all);
            let [from, to] = [from, to].map(|key| key.to_be_bytes().to_vec());
            let some = |excluded: bool| -> Vec<_> {
                let within = |key: &Vec<u8>| *key < to && (*key > from || !excluded && *key == from);
                model.clone().into_iter().filter(|(key, _)| within(key)).collect()
            };
            let end = Bound::Excluded(IVec::from(to.clone()));
            let start = IVec::from(from.clone());
            prop_assert_eq!(read(layers.range(Bound::Included(start.clone()), end.clone())), some(false));
            let mut back = read(layers.range_back(Bound::Excluded(start), end));
            back.reverse();
            prop_assert_eq!(back, some(true));
            for key in 0u16..420 {
                let key = key.to_be_bytes().to_vec();
                let value = layers.get(&key).unwrap().map(|value| value.to_vec());
                prop_assert_eq!(value.as_ref(), model.get(&key));
            }
        }
    }

    /// Rows that move from memory into the tree are seen by those who read meanwhile.
    #[test]
    fn readers_miss_nothing_while_rows_move() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let layers = Layers::new(db.open_tree("rows").unwrap());
        let key = |n: u32| n.to_be_bytes().to_vec();
        layers.put((0..600).map(|n| (key(n), Some(vec![0]))).collect(), || ());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..60u32 {
                    layers.put(
                        (0..600).map(|n| (key(n), Some(round.to_be_bytes().to_vec()))).collect(),
                        || (),
                    );
                    layers.freeze();
                    for (key, value) in layers.frozen().unwrap().iter() {
                        layers.tree().insert(key, value.clone().unwrap()).unwrap();
                    }
                    layers.thaw();
                }
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(layers.iter().count(), 600);
                assert_eq!(layers.range_back(Bound::Unbounded, Bound::Unbounded).count(), 600);
                assert!(layers.get(&key(7)).unwrap().is_some());
            }
        });
    }
}
