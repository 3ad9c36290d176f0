//! Requests per second of one client or actor.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::Clock as RateClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

/// Keys that are held at most. Beyond, those are forgotten whose share is whole again, and all where
/// these are few.
const MAX_KEYS: usize = 100_000;
/// A share holds so many seconds' worth of requests: pages fetch much at once, then nothing.
pub(crate) const BURST_S: u32 = 10;

/// Requests per second, by key.
pub(crate) struct Rates<K: Hash + Eq + Clone> {
    clock: NodeClock,
    limiter: RwLock<Option<Arc<Limiter<K>>>>,
    per_second: AtomicU32,
    most: usize,
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
        let (limiter, per_second) = (RwLock::new(None), AtomicU32::new(per_second));
        let rates = Self { clock, limiter, per_second, most: MAX_KEYS };
        rates.renew();
        rates
    }

    /// Takes another limit from now on; what was used up is forgotten.
    pub(crate) fn set(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
        self.renew();
    }

    fn limiter(&self) -> Option<Arc<Limiter<K>>> {
        self.limiter.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is any limit.
    pub(crate) fn limits(&self) -> bool {
        self.per_second.load(Ordering::Relaxed) > 0
    }

    /// Forgets everybody.
    fn renew(&self) {
        let per_second = self.per_second.load(Ordering::Relaxed);
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
        if !self.limits() {
            return Ok(());
        }
        let Some(mut limiter) = self.limiter() else { return Ok(()) };
        if limiter.len() >= self.most {
            limiter.retain_recent();
            // To look through them with each request would take longer than to answer it.
            if limiter.len() > self.most / 2 {
                self.renew();
                limiter = self.limiter().unwrap_or(limiter);
            }
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

    #[tokio::test(start_paused = true)]
    async fn memory_of_shares_is_bounded() {
        let mut rates = Rates::new(1);
        assert_eq!(rates.most, MAX_KEYS);
        rates.most = 10;
        let held = || rates.limiter().unwrap().len();
        while rates.check(&0).is_ok() {}
        for key in 1..10 {
            rates.check(&key).unwrap();
        }
        assert_eq!(held(), 10, "as many as there is room for");
        tokio::time::advance(Duration::from_secs(5)).await;
        rates.check(&10).unwrap();
        assert_eq!(held(), 2, "who asked once has a whole share again, and is forgotten");
        while rates.check(&0).is_ok() {}
        for key in 11..19 {
            rates.check(&key).unwrap();
        }
        assert_eq!(held(), 10);
        rates.check(&0).unwrap();
        assert_eq!(held(), 1, "where most asked just now, all are forgotten");
    }
}
