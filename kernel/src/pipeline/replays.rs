//! The signatures of requests that were taken in a short while ago.

use std::time::Duration;

use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// How many signatures are remembered at most, the newest ones.
const MOST: u64 = 1_000_000;

/// Remembers signatures for a while; how long is judged by the time that the caller gives.
pub(crate) struct Replays {
    seen: Cache<[u8; 32], i64>,
    window_ms: i64,
}

impl Replays {
    /// Remembers signatures for `window`.
    pub(crate) fn new(window: Duration) -> Self {
        Self::remembering(MOST, window)
    }

    fn remembering(most: u64, window: Duration) -> Self {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        // The cache's own clock only frees memory; whether a signature counts is decided here.
        let seen = Cache::builder().max_capacity(most).time_to_live(window);
        // By default a full cache would keep what it has, and each new request could be repeated.
        let seen = seen.eviction_policy(EvictionPolicy::lru()).build();
        Self { seen, window_ms }
    }

    /// Whether this signature was not seen within the window; it is remembered from now on.
    pub(crate) fn first(&self, key: [u8; 32], now_ms: i64) -> bool {
        let mut first = true;
        self.seen.entry(key).and_compute_with(|held| {
            first = held.is_none_or(|held| {
                // After a clock was set back, what lies ahead is remembered all the same.
                now_ms.saturating_sub(held.into_value()) >= self.window_ms
            });
            if first { Op::Put(now_ms) } else { Op::Nop }
        });
        first
    }

    /// Forgets a signature: the same request may be made again.
    pub(crate) fn forget(&self, key: &[u8; 32]) {
        self.seen.invalidate(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_counts_once_within_the_window_of_the_given_clock() {
        let replays = Replays::new(Duration::from_millis(100));
        assert!(replays.first([1; 32], 1000));
        assert!(!replays.first([1; 32], 1099));
        assert!(!replays.first([1; 32], 900), "a clock that was set back");
        assert!(replays.first([2; 32], 1099));
        replays.forget(&[2; 32]);
        assert!(replays.first([2; 32], 1099));
        let long = Replays::new(Duration::from_secs(3600));
        assert!(long.first([1; 32], 0));
        assert!(long.first([1; 32], 3_600_000), "virtual hours pass faster than real ones");
    }

    #[test]
    fn beyond_the_limit_the_oldest_signatures_are_forgotten() {
        let window = Duration::from_secs(3600);
        assert_eq!(Replays::new(window).seen.policy().max_capacity(), Some(MOST));
        let replays = Replays::remembering(3, window);
        let first = |signature: u8| {
            let first = replays.first([signature; 32], 0);
            replays.seen.run_pending_tasks();
            first
        };
        assert!([1, 2, 3].into_iter().all(first), "each of them came for the first time");
        assert!(!first(1) && !first(2) && !first(3), "as many as there is room for");
        assert!(first(4));
        assert!(!first(4) && !first(3) && !first(2), "the newest are remembered");
        assert!(first(1), "the oldest is not");
    }
}
