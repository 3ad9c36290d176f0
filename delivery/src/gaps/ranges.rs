//! Sets of positions, as ranges.

use serde::{Deserialize, Serialize};

/// Positions as ranges `[from, to]`, both ends included, in rising order; no two touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ranges(Vec<[u64; 2]>);

impl Ranges {
    pub fn all(&self) -> &[[u64; 2]] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn first(&self) -> Option<u64> {
        self.0.first().map(|[from, _]| *from)
    }

    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|[_, to]| *to)
    }

    pub fn contains(&self, position: u64) -> bool {
        let after = self.0.partition_point(|[_, to]| *to < position);
        self.0.get(after).is_some_and(|[from, _]| *from <= position)
    }

    /// Adds all positions from `from` to `to`.
    pub fn insert(&mut self, mut from: u64, mut to: u64) {
        if from > to {
            return;
        }
        let start = self.0.partition_point(|[_, end]| end.saturating_add(1) < from);
        let mut end = start;
        while let Some([next_from, next_to]) = self.0.get(end) {
            if *next_from > to.saturating_add(1) {
                break;
            }
            from = from.min(*next_from);
            to = to.max(*next_to);
            end += 1;
        }
        self.0.splice(start..end, [[from, to]]);
    }

    pub fn insert_all(&mut self, other: &Self) {
        for [from, to] in &other.0 {
            self.insert(*from, *to);
        }
    }

    pub fn remove(&mut self, position: u64) {
        let at = self.0.partition_point(|[_, to]| *to < position);
        if let Some([from, to]) = self.0.get(at).copied().filter(|[from, _]| *from <= position) {
            let before = (from < position).then(|| [from, position.saturating_sub(1)]);
            let after = (position < to).then(|| [position.saturating_add(1), to]);
            self.0.splice(at..=at, before.into_iter().chain(after));
        }
    }

    /// Takes out every position from `from` on.
    pub fn cut(&mut self, from: u64) {
        self.0.retain(|[start, _]| *start < from);
        if let Some([_, to]) = self.0.last_mut() {
            *to = (*to).min(from.saturating_sub(1));
        }
    }

    /// Keeps at most so many ranges: the lowest are joined, gaps between them included.
    pub fn join_lowest(&mut self, most: usize) {
        while self.0.len() > most.max(1) {
            let [from, _] = self.0.remove(0);
            if let Some(first) = self.0.first_mut() {
                first[0] = from;
            }
        }
    }

    /// What lies from `from` to `to` and is not in the set.
    pub fn missing(&self, from: u64, to: u64) -> Self {
        let (mut missing, mut next) = (Self::default(), from);
        for [start, end] in &self.0 {
            if *start > to {
                break;
            }
            if *end < next {
                continue;
            }
            if *start > next {
                missing.insert(next, start.saturating_sub(1));
            }
            if *end >= to {
                return missing;
            }
            next = end.saturating_add(1);
        }
        missing.insert(next, to);
        missing
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const END: u64 = 60;

    fn positions(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.all().iter().flat_map(|[from, to]| *from..=*to).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn ranges_are_sets(
            inserts in prop::collection::vec((0..END, 0..6u64), 0..20),
            cut in 0..END, from in 0..END, to in 0..END,
        ) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (from, length) in inserts {
                ranges.insert(from, from + length);
                model.extend(from..=from + length);
            }
            prop_assert_eq!(&positions(&ranges), &model);
            let apart = |pair: &[[u64; 2]]| pair[0][1] + 1 < pair[1][0];
            prop_assert!(ranges.all().windows(2).all(apart));
            prop_assert!((0..END).all(|at| ranges.contains(at) == model.contains(&at)));
            let missing: BTreeSet<u64> = (from..=to).filter(|at| !model.contains(at)).collect();
            prop_assert_eq!(positions(&ranges.missing(from, to)), missing);
            prop_assert_eq!(ranges.first(), model.first().copied());
            prop_assert_eq!(ranges.last(), model.last().copied());

            let mut joined = ranges.clone();
            joined.join_lowest(3);
            prop_assert!(joined.all().len() <= 3);
            prop_assert!(positions(&joined).is_superset(&model));
            prop_assert_eq!(joined.last(), ranges.last());

            let mut without = ranges.clone();
            without.remove(cut);
            let rest: BTreeSet<u64> = model.iter().copied().filter(|at| *at != cut).collect();
            prop_assert_eq!(positions(&without), rest);

            ranges.cut(cut);
            model.retain(|at| *at < cut);
            prop_assert_eq!(positions(&ranges), model);
        }
    }

    #[test]
    fn huge_positions() {
        let mut ranges = Ranges::default();
        ranges.insert(u64::MAX, u64::MAX);
        ranges.insert(3, 3);
        assert_eq!(ranges.missing(3, u64::MAX).all(), [[4, u64::MAX - 1]]);
        ranges.insert(0, u64::MAX);
        assert_eq!(ranges.all(), [[0, u64::MAX]]);
        assert!(ranges.missing(0, u64::MAX).is_empty());
    }
}
