//! Which of a followed author's statements have arrived.

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;

/// The most ranges that are kept of one author; beyond them its oldest holes are given up.
const MAX_RANGES: usize = 128;

/// Positions in an author's outbox whose activities arrived, from the first that was seen while
/// somebody here followed. Written by the index alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrivals {
    epoch: u64,
    ranges: Ranges,
}

impl Arrivals {
    /// An activity arrived; whether it leaves a hole right before itself.
    ///
    /// A higher epoch means that the author's instance was restored from a backup: what it says
    /// from this position on is new.
    pub fn note(&mut self, epoch: u64, seq: u64) -> bool {
        let begins = self.ranges.is_empty();
        if epoch < self.epoch || self.ranges.first().is_some_and(|floor| seq < floor) {
            return false;
        }
        if epoch > self.epoch {
            self.ranges.cut(seq);
            self.epoch = epoch;
        }
        let known = self.ranges.contains(seq);
        self.ranges.insert(seq, seq);
        self.ranges.join_lowest(MAX_RANGES);
        !begins && !known && seq.checked_sub(1).is_some_and(|before| !self.ranges.contains(before))
    }

    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(notes: &[(u64, u64, bool)]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for (epoch, seq, hole) in notes {
            assert_eq!(arrivals.note(*epoch, *seq), *hole, "{epoch} {seq}");
        }
        arrivals
    }

    #[test]
    fn holes_show_once() {
        let notes = [
            (0, 5, false),
            (0, 6, false),
            (0, 4, false),
            (0, 9, true),
            (0, 10, false),
            (0, 9, false),
            (0, 8, true),
            (0, 7, false),
        ];
        assert_eq!(noted(&notes).ranges().all(), [[5, 10]]);
    }

    #[test]
    fn a_restored_author_says_new_things_at_old_positions() {
        let notes = [(0, 5, false), (0, 6, false), (0, 7, false), (1, 6, false), (0, 7, false)];
        assert_eq!(noted(&notes).ranges().all(), [[5, 6]]);
        let notes = [(0, 5, false), (0, 9, true), (1, 8, true)];
        assert_eq!(noted(&notes).ranges().all(), [[5, 5], [8, 8]]);
    }

    #[test]
    fn a_far_ahead_claim_hides_no_later_hole() {
        let notes = [(0, 5, false), (0, 1 << 50, true), (0, 6, false), (0, 8, true)];
        noted(&notes);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut arrivals = Arrivals::default();
        for seq in 0..10_000 {
            arrivals.note(0, seq * 2);
        }
        assert_eq!(arrivals.ranges().all().len(), MAX_RANGES);
    }
}
