//! Requests per second of one client or actor.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::Clock as RateClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

/// Keys that are held before those are dropped whose share is whole again.
const MAX_KEYS: usize = 100_000;
/// A share holds so many seconds' worth of requests: pages fetch much at once, then nothing.
pub(crate) const BURST_S: u32 = 10;

/// Requests per second, by key.
pub(crate) struct Rates<K: Hash + Eq + Clone> {
    clock: NodeClock,
    limiter: RwLock<Option<Arc<Limiter<K>>>>,
}

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, NodeClock, NoOpMiddleware<Duration>>;

/// Time as the limiter wants it: since the start. A wall clock that is set back would refuse every
/// client until it has caught up.
#[derive(Clone)]
struct NodeClock(tokio::time::Instant);

impl RateClock for NodeClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl<K: Hash + Eq + Clone> Rates<K> {
    /// `per_second` 0 means no limit.
    pub(crate) fn new(per_second: u32) -> Self {
        let clock = NodeClock(tokio::time::Instant::now());
        let rates = Self { clock, limiter: RwLock::new(None) };
        rates.set(per_second);
        rates
    }

    /// Takes another limit from now on; what was used up is forgotten.
    pub(crate) fn set(&self, per_second: u32) {
        let quota = NonZeroU32::new(per_second).map(|per_second| {
            let burst = per_second.saturating_mul(NonZeroU32::new(BURST_S).unwrap_or(per_second));
            Quota::per_second(per_second).allow_burst(burst)
        });
        let limiter =
            quota.map(|quota| Arc::new(RateLimiter::dashmap_with_clock(quota, self.clock.clone())));
        *self.limiter.write().unwrap_or_else(PoisonError::into_inner) = limiter;
    }

    /// Seconds to wait where it was asked too often.
    pub(crate) fn check(&self, key: &K) -> Result<(), u64> {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(limiter) = limiter else { return Ok(()) };
        if limiter.len() > MAX_KEYS {
            limiter.retain_recent();
        }
        limiter
            .check_key(key)
            .map_err(|not_until| not_until.wait_time_from(limiter.clock().now()).as_secs() + 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_share_is_used_up_by_its_owner_alone() {
        let rates = Rates::new(1);
        let taken = (0..100).filter(|_| rates.check(&"alice").is_ok()).count();
        assert!((10..15).contains(&taken), "{taken}");
        assert!((1..=2).contains(&rates.check(&"alice").unwrap_err()));
        rates.check(&"bob").unwrap();
        rates.set(0);
        assert!((0..100).all(|_| rates.check(&"alice").is_ok()), "0 is no limit");
    }
}
