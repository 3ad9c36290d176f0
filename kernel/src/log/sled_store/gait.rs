//! How fast rows are moved into sled.
//!
//! Moving takes a core as long as it lasts, and there is one move for each time that memory fills. Done
//! in one go it takes that core from those who write meanwhile, and their latencies show it. So it goes
//! on as memory fills, and is done when that is full by [`DONE`]; it does not wait where nobody
//! writes, nor where somebody waits for it ([`Turn::hurried`]).

use std::sync::PoisonError;
use std::time::Duration;

use super::core::{Core, Turn};

/// How full memory is again when everything is moved, of what it holds.
const DONE: f64 = 0.75;
/// How much is moved at once at the beginning, of all.
const LEAD: f64 = 0.05;
/// How long one waits before one looks again.
const PAUSE: Duration = Duration::from_millis(20);
/// Nobody writes where nothing came for so many pauses.
const QUIET: u32 = 3;

/// How far one move is.
pub(super) struct Gait {
    total: u64,
    moved: u64,
    /// Commits when nobody wrote any more.
    quiet_at: Option<u64>,
}

impl Gait {
    /// A move of so many bytes.
    pub(super) fn new(total: u64) -> Self {
        Self { total, moved: 0, quiet_at: None }
    }

    /// Notes that so many bytes more are moved, and waits until the next are to be.
    pub(super) fn moved(&mut self, core: &Core, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
        let mut turn = core.turn();
        let mut commits = turn.commits;
        let mut pauses = 0;
        while self.waits(&turn, core.memory_bytes) && core.check().is_ok() {
            if pauses >= QUIET {
                self.quiet_at = Some(commits);
                return;
            }
            let waited = core.shared.work.wait_timeout(turn, PAUSE);
            turn = waited.unwrap_or_else(PoisonError::into_inner).0;
            pauses = if turn.commits == commits { pauses + 1 } else { 0 };
            commits = turn.commits;
        }
    }

    fn waits(&self, turn: &Turn, memory_bytes: u64) -> bool {
        !turn.closed
            && turn.hurried == 0
            && self.quiet_at != Some(turn.commits)
            && is_ahead((self.moved, self.total), (turn.bytes, memory_bytes))
    }
}

/// Whether more is moved than has to be by now: `moved` and `filled` are a part and its whole.
fn is_ahead(moved: (u64, u64), filled: (u64, u64)) -> bool {
    part(moved) > LEAD + part(filled) / DONE
}

#[allow(clippy::cast_precision_loss, reason = "a part of what fits into memory")]
fn part((some, all): (u64, u64)) -> f64 {
    some as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_keeps_up_with_what_fills_memory() {
        // At the beginning a little is moved at once, and then as much as came.
        assert!(!is_ahead((4, 100), (0, 100)));
        assert!(is_ahead((10, 100), (0, 100)));
        assert!(!is_ahead((10, 100), (10, 100)));
        assert!(is_ahead((60, 100), (20, 100)));
        // It is done before memory is full, however much there is to move.
        assert!((0..=100).all(|moved| !is_ahead((moved, 100), (75, 100))));
        assert!(!is_ahead((0, 0), (0, 0)) && !is_ahead((u64::MAX, u64::MAX), (u64::MAX, 100)));
    }
}
