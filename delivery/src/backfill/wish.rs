//! What a Follow asks for: `backfill: {mode, limit | duration}`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// How much history is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// The newest so many activities.
    Last(u64),
    /// What was published so many milliseconds before the Accept, or later.
    Since(i64),
    /// Everything.
    Full,
}

/// Why a `backfill` member cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WishError {
    /// Not an object with a known `mode`.
    #[error("mode is none, last-N, last-T or full")]
    Mode,
    /// `last-N` without a whole number `limit`.
    #[error("last-N has a whole number as limit")]
    Limit,
    /// `last-T` without a `duration` in seconds or as ISO 8601 has it.
    #[error("last-T has a duration in seconds, or such as PT1H")]
    Duration,
}

impl Wish {
    /// Reads the member; `None` where nothing is wanted.
    ///
    /// # Errors
    /// Where the mode is not known or what it needs is missing.
    pub fn parse(asked: &Value) -> Result<Option<Self>, WishError> {
        match asked.get("mode").or(Some(asked)).and_then(Value::as_str) {
            Some("none") => Ok(None),
            Some("full") => Ok(Some(Self::Full)),
            Some("last-N" | "last-n") => {
                let limit = asked.get("limit").and_then(Value::as_u64).ok_or(WishError::Limit)?;
                Ok((limit > 0).then_some(Self::Last(limit)))
            }
            Some("last-T" | "last-t") => {
                let ms = asked.get("duration").and_then(duration_ms).ok_or(WishError::Duration)?;
                Ok((ms > 0).then_some(Self::Since(ms)))
            }
            _ => Err(WishError::Mode),
        }
    }
}

fn duration_ms(value: &Value) -> Option<i64> {
    if let Some(seconds) = value.as_u64() {
        return i64::try_from(seconds).ok()?.checked_mul(1000);
    }
    let text = value.as_str()?;
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(i64::from(seconds) * 1000);
    }
    let span: jiff::Span = text.parse().ok()?;
    // Calendar units have no fixed length; a day is taken for 24 hours, a month for 30 days.
    let days = i64::from(span.get_days())
        .checked_add(i64::from(span.get_weeks()) * 7)?
        .checked_add(i64::from(span.get_months()) * 30)?
        .checked_add(i64::from(span.get_years()) * 365)?;
    let hours = i64::from(span.get_hours()).checked_add(days.checked_mul(24)?)?;
    let seconds = hours
        .checked_mul(3600)?
        .checked_add(span.get_minutes().checked_mul(60)?)?
        .checked_add(span.get_seconds())?;
    seconds.checked_mul(1000)?.checked_add(span.get_milliseconds())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wishes() {
        let hour = 3_600_000;
        for (asked, expected) in [
            (json!({"mode": "none"}), Ok(None)),
            (json!("full"), Ok(Some(Wish::Full))),
            (json!({"mode": "full"}), Ok(Some(Wish::Full))),
            (json!({"mode": "last-N", "limit": 5}), Ok(Some(Wish::Last(5)))),
            (json!({"mode": "last-N", "limit": 0}), Ok(None)),
            (json!({"mode": "last-N"}), Err(WishError::Limit)),
            (json!({"mode": "last-N", "limit": -1}), Err(WishError::Limit)),
            (json!({"mode": "last-T", "duration": 3600}), Ok(Some(Wish::Since(hour)))),
            (json!({"mode": "last-T", "duration": "3600"}), Ok(Some(Wish::Since(hour)))),
            (json!({"mode": "last-T", "duration": "PT1H"}), Ok(Some(Wish::Since(hour)))),
            (json!({"mode": "last-T", "duration": "P2D"}), Ok(Some(Wish::Since(48 * hour)))),
            (json!({"mode": "last-T", "duration": "soon"}), Err(WishError::Duration)),
            (json!({"mode": "all"}), Err(WishError::Mode)),
            (json!(7), Err(WishError::Mode)),
        ] {
            assert_eq!(Wish::parse(&asked), expected, "{asked}");
        }
    }
}
