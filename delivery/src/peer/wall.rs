//! A wall clock that is set back. What waits for its time goes by the wall clock, since that outlives a restart;
//! without this, whatever waits would wait longer by as much.

use std::time::Duration;

use tokio::time::Instant;

/// Corrections smaller than this are left to be, in milliseconds.
const SLACK_MS: i64 = 1000;

/// What the clock showed when it was looked at last.
pub(super) struct Wall {
    shown_ms: i64,
    at: Instant,
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Wall {
    pub fn new(now_ms: i64) -> Self {
        Self { shown_ms: now_ms, at: Instant::now() }
    }

    /// By how many milliseconds the clock was set back since it was looked at last; it shows `now_ms`.
    pub fn set_back_ms(&mut self, now_ms: i64) -> i64 {
        let expected_ms = self.shown_ms.saturating_add(ms(self.at.elapsed()));
        *self = Self::new(now_ms);
        let back_ms = expected_ms.saturating_sub(now_ms);
        if back_ms < SLACK_MS { 0 } else { back_ms }
    }
}

/// When something is due that was stored with how long it was to wait. Where more is left than that, the
/// clock was set back while nobody looked.
pub(super) fn due_ms(stored_ms: i64, pause_ms: Option<i64>, now_ms: i64) -> i64 {
    pause_ms.map_or(stored_ms, |pause_ms| stored_ms.min(now_ms.saturating_add(pause_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_set_back_is_told_once() {
        let mut wall = Wall::new(10_000_000);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(wall.set_back_ms(10_030_000), 0);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(wall.set_back_ms(6_460_000), 3_600_000);
        assert_eq!(wall.set_back_ms(6_460_000), 0);
        assert_eq!(wall.set_back_ms(6_459_500), 0, "a small correction");
        assert_eq!(wall.set_back_ms(9_000_000), 0, "it was set forward");
    }

    #[test]
    fn nothing_waits_for_longer_than_it_was_to() {
        assert_eq!(due_ms(130, Some(30), 110), 130);
        assert_eq!(due_ms(130, Some(30), 50), 80);
        assert_eq!(due_ms(130, None, 50), 130);
    }
}
