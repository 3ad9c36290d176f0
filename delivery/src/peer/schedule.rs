//! How long to wait before the next attempt.

use std::time::Duration;

use fedsx_kernel::runtime::Random;
use hyper::header::{HeaderMap, RETRY_AFTER};
use jiff::Timestamp;

use crate::service::Options;

/// The pause after the `failures`-th failure in a row (from 1), with jitter; `None` when the
/// schedule is over.
pub(super) fn pause(options: &Options, failures: u32, random: &dyn Random) -> Option<Duration> {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    options.schedule.get(index).map(|pause| jittered(*pause, options.jitter, random))
}

/// The duration, shorter or longer by up to the fraction `jitter`.
pub(crate) fn jittered(pause: Duration, jitter: f64, random: &dyn Random) -> Duration {
    let factor = 1.0 + jitter.clamp(0.0, 1.0) * (2.0 * random.fraction() - 1.0);
    pause.mul_f64(factor.max(0.0))
}

/// What Retry-After (RFC 9110, section 10.2.3) asks for, within bounds.
pub(super) fn retry_after(
    headers: &HeaderMap,
    now: Timestamp,
    (least, most): (Duration, Duration),
) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
            let ms = until.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
            Duration::from_millis(u64::try_from(ms).unwrap_or(0))
        }
    };
    Some(asked.min(most).max(least))
}

/// A time that lies this much after `now_ms`.
pub(super) fn after(now_ms: i64, pause: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use fedsx_kernel::runtime::SeededRandom;

    use super::*;

    #[test]
    fn the_schedule_ends() {
        let (options, random) = (Options::default(), SeededRandom::new(1));
        let seconds = [30.0, 300.0, 1800.0, 21600.0, 86400.0];
        for (failures, expected) in (1u32..).zip(seconds) {
            let pause = pause(&options, failures, &random).unwrap().as_secs_f64();
            assert!((pause - expected).abs() <= expected * 0.1, "{pause} for {expected}");
        }
        assert_eq!(pause(&options, 6, &random), None);
    }

    #[test]
    fn retry_after_forms() {
        let now: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
        let bounds = Options::default().retry_after;
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now, bounds).map(|d| d.as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("0"), Some(1));
        assert_eq!(read("99999999"), Some(86400));
        assert_eq!(read("Sat, 21 Nov 2026 03:01:00 GMT"), Some(60));
        assert_eq!(read("Sat, 21 Nov 2020 03:01:00 GMT"), Some(1));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-5"), None);
    }
}
