//! For how long an answer is taken for current (RFC 9111, sections 4.2 and 5.2).

use std::time::Duration;

use hyper::header::{AGE, CACHE_CONTROL, HeaderMap};

/// The lifetimes that we allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Where the answer does not say.
    pub usual: Duration,
    /// However short the answer wants it: nobody makes us ask all the time.
    pub least: Duration,
    /// However long the answer wants it: nobody makes us believe it forever.
    pub most: Duration,
}

impl Bounds {
    /// The lifetime that an answer asks for, brought within the bounds.
    pub fn lifetime(&self, headers: &HeaderMap) -> Duration {
        let asked = asked(headers).unwrap_or(self.usual);
        asked.min(self.most).max(self.least)
    }
}

fn asked(headers: &HeaderMap) -> Option<Duration> {
    let mut max_age_s: Option<u64> = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(Duration::ZERO),
                "max-age" => {
                    // What is no number counts as stale (section 4.2.1).
                    let stated = argument.trim().trim_matches('"').parse().unwrap_or(0);
                    max_age_s = Some(max_age_s.map_or(stated, |held| held.min(stated)));
                }
                _ => {}
            }
        }
    }
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()).and_then(|age| age.parse().ok());
    max_age_s.map(|max_age_s| Duration::from_secs(max_age_s.saturating_sub(age.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lifetimes_stay_within_bounds() {
        let bounds = Bounds {
            usual: Duration::from_secs(3600),
            least: Duration::from_secs(300),
            most: Duration::from_secs(86400),
        };
        for (control, age, expected_s) in [
            (None, None, 3600),
            (Some("max-age=600"), None, 600),
            (Some("public, MAX-AGE=\"700\" , must-revalidate"), None, 700),
            (Some("max-age=1000"), Some("400"), 600),
            (Some("max-age=1000"), Some("99999"), 300),
            (Some("max-age=0"), None, 300),
            (Some("no-store"), None, 300),
            (Some("max-age=9999, no-cache"), None, 300),
            (Some("max-age=999999999999999999999999"), None, 300),
            (Some("max-age=31536000"), None, 86400),
            (Some("max-age=-5"), None, 300),
            (Some("private"), None, 3600),
            (Some("max-age=9000, max-age=800"), None, 800),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(control) = control {
                headers.insert(CACHE_CONTROL, control.parse().unwrap());
            }
            if let Some(age) = age {
                headers.insert(AGE, age.parse().unwrap());
            }
            assert_eq!(bounds.lifetime(&headers).as_secs(), expected_s, "{control:?} {age:?}");
        }
    }
}
