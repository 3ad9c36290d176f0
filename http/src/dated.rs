//! The Date of answers (RFC 9110, section 6.6.1), by the node's clock.
//!
//! hyper's own keeps the time that it told last while the clock stands behind that, so that nobody
//! would see a clock that was set back.

use std::sync::{Mutex, PoisonError};

use axum::http::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// The text of the second that was told last.
#[derive(Default)]
pub(crate) struct Dates(Mutex<Option<(i64, HeaderValue)>>);

impl Dates {
    /// A time as the field has it.
    pub(crate) fn at(&self, now: Timestamp) -> Option<HeaderValue> {
        let second = now.as_second();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = held.as_ref().filter(|(told, _)| *told == second) {
            return Some(text.clone());
        }
        let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok()?;
        let text = HeaderValue::try_from(text).ok()?;
        *held = Some((second, text.clone()));
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_date_follows_the_clock_both_ways() {
        let dates = Dates::default();
        for (second, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            let now = Timestamp::from_second(second).unwrap();
            assert_eq!(dates.at(now).unwrap(), text);
        }
    }
}
