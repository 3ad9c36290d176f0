use std::time::Duration;

use super::SignatureError;

/// How far a signature's time may lie from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// How old a signature may be: 12 hours by default, as long as known servers retry with one.
    pub past: Duration,
    /// How far it may lie ahead: 1 hour by default, for clocks that are set to the wrong zone.
    pub skew: Duration,
}

impl Default for Windows {
    fn default() -> Self {
        Self { past: Duration::from_secs(12 * 3600), skew: Duration::from_secs(3600) }
    }
}

impl Windows {
    /// Checks one time at which a signature was made; all times in seconds since 1970. Returns the
    /// last second at which it is acceptable.
    pub(super) fn check_created(&self, created: i64, now_s: i64) -> Result<i64, SignatureError> {
        let limit_s = seconds(self.past);
        let age_s = now_s.saturating_sub(created);
        if age_s > limit_s {
            return Err(SignatureError::TooOld { age_s, limit_s });
        }
        let ahead_s = created.saturating_sub(now_s);
        if ahead_s > seconds(self.skew) {
            return Err(SignatureError::FromTheFuture { ahead_s });
        }
        Ok(created.saturating_add(limit_s))
    }

    /// Checks when a signature was made and when it expires. The sender's `expires` holds to the
    /// second (draft-cavage section 2.1.5: not to be processed after).
    pub(super) fn check(
        &self,
        created: i64,
        expires: Option<i64>,
        now_s: i64,
    ) -> Result<i64, SignatureError> {
        let until = self.check_created(created, now_s)?;
        match expires {
            Some(expires) if expires < now_s => {
                Err(SignatureError::Expired { ago_s: now_s.saturating_sub(expires) })
            }
            Some(expires) => Ok(until.min(expires)),
            None => Ok(until),
        }
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
