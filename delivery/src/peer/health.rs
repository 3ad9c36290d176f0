//! How a peer is doing: when it is left alone, and whose fault a failure is.

use std::collections::BTreeSet;
use std::time::Duration;

use fedsx_kernel::runtime::Random;

use super::schedule::{after, pause};
use super::verdict::Verdict;
use super::wall::due_ms;
use crate::ledger::PeerMemory;
use crate::service::Options;

/// What is remembered, and what is only known while the actor lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    pub memory: PeerMemory,
    /// Rises with each failure that counts. Sends that began before such a failure belong to the
    /// same window and do not count again.
    pub generation: u64,
    /// Items that failed since the last success.
    pub failed: BTreeSet<u64>,
    /// Those of them whose failure was counted against the item.
    pub counted: BTreeSet<u64>,
}

impl Health {
    /// What was stored, by a clock that shows `now_ms`.
    pub fn new(mut memory: PeerMemory, now_ms: i64) -> Self {
        memory.until_ms = memory.until_ms.map(|until| due_ms(until, memory.pause_ms, now_ms));
        Self { memory, ..Self::default() }
    }

    /// The clock was set back by so much.
    pub fn set_back(&mut self, back_ms: i64) {
        let until_ms = &mut self.memory.until_ms;
        *until_ms = until_ms.map(|until| until.saturating_sub(back_ms));
    }

    /// Whether the peer is left alone at this time.
    pub fn rests(&self, now_ms: i64) -> bool {
        self.memory.until_ms.is_some_and(|until| until > now_ms)
    }

    /// Whether it is not known to be well, so that it is only probed.
    pub fn is_doubtful(&self) -> bool {
        self.memory.failures > 0
    }

    /// Whether a failure counts against the peer. One that may be the activity's own fault only
    /// does where another activity failed as well.
    pub fn blames_peer(&self, seq: u64, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::PeerFailed { .. } => true,
            Verdict::Faulted => self.failed.iter().any(|other| *other != seq),
            _ => false,
        }
    }

    /// The peer answered as it should.
    pub fn answered(&mut self) {
        let schemes = std::mem::take(&mut self.memory.schemes);
        self.memory = PeerMemory { schemes, ..PeerMemory::default() };
        self.failed.clear();
        self.counted.clear();
    }

    /// A failure of the peer, of a send that began in `generation`.
    pub fn peer_failed(
        &mut self,
        generation: u64,
        retry_after: Option<Duration>,
        now_ms: i64,
        options: &Options,
        random: &dyn Random,
    ) {
        if generation != self.generation {
            return;
        }
        self.generation = self.generation.saturating_add(1);
        self.memory.failures = self.memory.failures.saturating_add(1);
        let scheduled = pause(options, self.memory.failures, random);
        if scheduled.is_none() {
            self.memory.down_since_ms.get_or_insert(now_ms);
        }
        let pause = retry_after.or(scheduled).unwrap_or(options.probe_every);
        self.memory.until_ms = Some(after(now_ms, pause));
        self.memory.pause_ms = Some(after(0, pause));
    }
}

#[cfg(test)]
mod tests {
    use fedsx_kernel::runtime::SeededRandom;

    use super::*;
    use crate::ledger::Signing;

    const FAILED: Verdict = Verdict::PeerFailed { retry_after: None };

    fn fail(health: &mut Health, generation: u64, retry_after: Option<Duration>) {
        let random = SeededRandom::new(7);
        health.peer_failed(generation, retry_after, 0, &Options::default(), &random);
    }

    #[test]
    fn parallel_failures_count_once() {
        let mut health = Health::default();
        for _ in 0..10 {
            fail(&mut health, 0, None);
        }
        assert_eq!(health.memory.failures, 1);
        assert!(health.rests(20_000) && !health.rests(40_000));
        health.answered();
        assert!(!health.rests(0) && !health.is_doubtful());
    }

    #[test]
    fn the_schedule_ends_in_a_daily_probe() {
        let mut health = Health::default();
        for generation in 0..5 {
            fail(&mut health, generation, None);
        }
        assert_eq!(health.memory.down_since_ms, None);
        fail(&mut health, 5, None);
        assert_eq!(health.memory.down_since_ms, Some(0));
        assert_eq!(health.memory.until_ms, Some(24 * 3600 * 1000));
    }

    #[test]
    fn the_peer_says_for_how_long() {
        let mut health = Health::default();
        fail(&mut health, 0, Some(Duration::from_secs(90)));
        assert_eq!(health.memory.until_ms, Some(90_000));
    }

    #[test]
    fn a_fault_needs_a_second_witness() {
        let mut health = Health::default();
        assert!(health.blames_peer(1, &FAILED));
        assert!(!health.blames_peer(1, &Verdict::Faulted));
        health.failed.insert(1);
        assert!(!health.blames_peer(1, &Verdict::Faulted));
        assert!(health.blames_peer(2, &Verdict::Faulted));
        assert!(!health.blames_peer(2, &Verdict::LocalFailure));
    }

    #[test]
    fn the_way_of_signing_is_kept() {
        let mut health = Health::default();
        health.memory.schemes.took = Some(Signing::Rfc9421);
        fail(&mut health, 0, None);
        health.answered();
        assert_eq!(health.memory.schemes.took, Some(Signing::Rfc9421));
    }
}
