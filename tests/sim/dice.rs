//! Chance, repeatable: every stream of it is named and comes from the seed.

use std::time::Duration;

use fedsx_kernel::runtime::{Random, SeededRandom};

/// One stream of chance.
pub struct Dice(SeededRandom);

impl Dice {
    /// The stream with this name. Other streams do not disturb it.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(SeededRandom::new(derive(seed, name)))
    }

    /// From 0 up to, not including, `n`.
    pub fn below(&self, n: usize) -> usize {
        let bits = u64::from_be_bytes((&self.0 as &dyn Random).bytes());
        usize::try_from(bits % n.max(1) as u64).unwrap()
    }

    /// From `low` to `high`, both included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(usize::try_from(high - low).unwrap() + 1) as u64
    }

    pub fn chance(&self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    pub fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        (!items.is_empty()).then(|| &items[self.below(items.len())])
    }

    pub fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    pub fn seconds(&self, low: u64, high: u64) -> Duration {
        self.millis(low * 1000, high * 1000)
    }
}

/// A seed of its own for a name.
pub fn derive(seed: u64, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_be_bytes());
    hasher.update(name.as_bytes());
    u64::from_be_bytes(hasher.finalize().as_bytes()[..8].try_into().unwrap())
}
