//! Seeded randomness: the same seed makes the same choices. What the operating system and the
//! network make of them is not repeated.

use std::time::Duration;

use fedsx_kernel::runtime::{Random, SeededRandom};

pub struct Dice(SeededRandom);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    /// Other dice, which do not depend on how often these are thrown from now on.
    pub fn fork(&self) -> Self {
        Self::new(self.next())
    }

    pub fn next(&self) -> u64 {
        let random: &dyn Random = &self.0;
        u64::from_be_bytes(random.bytes())
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    pub fn index(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.index(from.len()))
    }

    pub fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn millis(&self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms.saturating_sub(from_ms)))
    }
}
