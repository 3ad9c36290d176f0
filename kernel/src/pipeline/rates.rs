//! How much is taken of one peer: deliveries here, and signed reads where they are answered.
//!
//! Only what a peer verifiably sent counts against it, so that nobody can use up the share of
//! another by claiming to be it. While its share is used up, what claims to come from it is
//! refused before anything is verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::refusal::{Problem, Refusal};

/// Peers that are remembered, those that were heard of last; the share of a forgotten one is whole
/// again.
const PEERS: u64 = 100_000;
const SECOND_US: i64 = 1_000_000;

/// The generic cell rate algorithm, by origin: a peer's next request is due at a time that each
/// request moves on, and that may lie ahead by as much as a burst is worth.
pub struct Rates {
    due_us: Cache<String, Arc<AtomicI64>>,
    /// A wall clock that is set back would refuse everybody until it has caught up.
    start: Instant,
    interval_us: i64,
    burst_us: i64,
    /// What a peer is told whose share is used up.
    told: &'static str,
}

impl Rates {
    /// So many a second, and `burst` at once; `per_second` 0 means no limit. A peer whose share is
    /// used up is `told` so.
    pub fn new(per_second: u32, burst: u32, told: &'static str) -> Self {
        Self::remembering(PEERS, per_second, burst, told)
    }

    fn remembering(peers: u64, per_second: u32, burst: u32, told: &'static str) -> Self {
        let interval_us = if per_second == 0 { 0 } else { SECOND_US / i64::from(per_second) };
        let burst_us = interval_us.saturating_mul(i64::from(burst.max(1)));
        // By default those would be kept that were seen most often, and who is new, never.
        let due_us = Cache::builder().max_capacity(peers).eviction_policy(EvictionPolicy::lru());
        Self { due_us: due_us.build(), start: Instant::now(), interval_us, burst_us, told }
    }

    /// Nothing is counted.
    ///
    /// # Errors
    /// `too-many-requests` with the seconds to wait where the peer's share is used up.
    pub fn check(&self, peer: &str) -> Result<(), Refusal> {
        let due_us = self.due_us.get(peer).map_or(0, |due| due.load(Ordering::Relaxed));
        self.judge(due_us.saturating_add(self.interval_us))
    }

    /// Counts one request of the peer.
    ///
    /// # Errors
    /// `too-many-requests` with the seconds to wait where the peer's share is used up; then it
    /// does not count.
    pub fn take(&self, peer: &str) -> Result<(), Refusal> {
        if self.interval_us == 0 {
            return Ok(());
        }
        let now_us = self.now_us();
        let due = self.due_us.get_with_by_ref(peer, || Arc::new(AtomicI64::new(now_us)));
        let mut held_us = due.load(Ordering::Relaxed);
        loop {
            let next_us = held_us.max(now_us).saturating_add(self.interval_us);
            self.judge(next_us)?;
            match due.compare_exchange(held_us, next_us, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other_us) => held_us = other_us,
            }
        }
    }

    fn judge(&self, next_us: i64) -> Result<(), Refusal> {
        let over_us = next_us.saturating_sub(self.now_us()).saturating_sub(self.burst_us);
        if self.interval_us == 0 || over_us <= 0 {
            return Ok(());
        }
        let refusal = Refusal::new(Problem::TooManyRequests, self.told);
        Err(refusal.retry_after_s(over_us.saturating_add(SECOND_US - 1) / SECOND_US))
    }

    fn now_us(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_share_is_used_up_by_its_peer_alone() {
        let rates = Rates::new(1, 3, "too often");
        for _ in 0..3 {
            rates.check("https://a.example").unwrap();
            rates.take("https://a.example").unwrap();
        }
        for refused in [rates.check("https://a.example"), rates.take("https://a.example")] {
            let refusal = refused.unwrap_err();
            assert_eq!(refusal.problem, Problem::TooManyRequests);
            assert!(refusal.members.contains(&("retryAfter", 1.into())), "{refusal:?}");
        }
        rates.check("https://b.example").unwrap();
        rates.take("https://b.example").unwrap();
    }

    #[test]
    fn who_was_not_heard_of_longest_is_forgotten() {
        assert_eq!(Rates::new(1, 1, "too often").due_us.policy().max_capacity(), Some(PEERS));
        let rates = Rates::remembering(3, 1, 1, "too often");
        let name = |peer: u32| format!("https://{peer}.example");
        let deliver = |peer: u32| {
            let taken = rates.take(&name(peer));
            rates.due_us.run_pending_tasks();
            taken
        };
        let remembered = || {
            let known = |peer: &u32| rates.due_us.contains_key(&name(*peer));
            (0..5).filter(known).collect::<Vec<_>>()
        };
        for peer in 0..3 {
            deliver(peer).unwrap();
        }
        assert_eq!(remembered(), [0, 1, 2], "as many as there is room for");
        deliver(3).unwrap();
        assert_eq!(remembered(), [1, 2, 3], "the newest is remembered");
        deliver(0).unwrap();
        assert_eq!(remembered(), [0, 2, 3], "whose share was whole again");
    }

    #[test]
    fn claims_count_for_nothing_and_no_limit_is_none() {
        let rates = Rates::new(1, 1, "too often");
        for _ in 0..100 {
            rates.check("https://a.example").unwrap();
        }
        let unlimited = Rates::new(0, 0, "too often");
        for _ in 0..1000 {
            unlimited.take("https://a.example").unwrap();
            unlimited.check("https://a.example").unwrap();
        }
    }
}
