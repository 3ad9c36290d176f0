//! What the outcome of an attempt means (DESIGN, section 7).

use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;

use super::schedule::retry_after;
use crate::client::{ClientError, FailureClass, Response};
use crate::service::Options;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The peer has it.
    Delivered,
    /// There is nobody to send it to.
    Skipped,
    /// There is nothing left to send.
    Erased,
    /// Trying again is of no use.
    Parked,
    /// The peer failed with this activity: perhaps because of the activity, perhaps not.
    Faulted,
    /// The peer cannot take anything now.
    PeerFailed {
        /// For how long, as it says.
        retry_after: Option<Duration>,
    },
    /// Something is wrong here.
    LocalFailure,
    /// The node shuts down; nothing was tried.
    Abandoned,
    /// Who operates the instance keeps it here for now; nothing was tried.
    Held,
}

impl Verdict {
    /// The name that metrics count it under; `None` where nothing was tried.
    pub fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Delivered => "delivered",
            Self::Skipped => "skipped",
            Self::Erased => "erased",
            Self::Parked => "parked",
            Self::Faulted => "retried",
            Self::PeerFailed { .. } => "peer-failed",
            Self::LocalFailure => "failed-here",
            Self::Abandoned | Self::Held => return None,
        })
    }
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub verdict: Verdict,
    pub status: Option<u16>,
    /// Why it was not delivered.
    pub reason: Option<String>,
}

impl Outcome {
    pub fn because(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, status: None, reason: Some(reason.into()) }
    }

    /// Something is wrong here.
    pub fn local(why: impl std::fmt::Display) -> Self {
        Self::because(Verdict::LocalFailure, why.to_string())
    }
}

/// The slug in the problem type of a request that was seen before.
const REPLAYED: &str = "replayed-request";
/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 300;

/// Judges the answer to a POST.
pub(super) fn of_answer(answer: &Response, now: Timestamp, options: &Options) -> Outcome {
    let status = answer.status.as_u16();
    let problem = problem_of(answer);
    let is_replay = problem.as_ref().is_some_and(|(kind, _)| kind.contains(REPLAYED));
    let wait = retry_after(&answer.headers, now, options.retry_after);
    let verdict = match status {
        200..=299 => Verdict::Delivered,
        422 if is_replay => Verdict::Delivered,
        429 => Verdict::PeerFailed { retry_after: wait },
        // It names its own reason for not taking anything.
        503 if wait.is_some() => Verdict::PeerFailed { retry_after: wait },
        408 | 425 | 500..=599 => Verdict::Faulted,
        _ => Verdict::Parked,
    };
    let reason = (verdict != Verdict::Delivered).then(|| match problem {
        Some((kind, detail)) => shorten(&format!("status {status}: {kind} {detail}")),
        None => format!("status {status}"),
    });
    Outcome { verdict, status: Some(status), reason }
}

/// Judges a request that got no whole answer.
pub(super) fn of_error(error: &ClientError) -> Outcome {
    let status = error.status();
    if status.is_some_and(|status| status.is_success()) {
        let status = status.map(|status| status.as_u16());
        return Outcome { verdict: Verdict::Delivered, status, reason: None };
    }
    let verdict = match error.class() {
        _ if matches!(error, ClientError::Blocked { .. }) => Verdict::Held,
        FailureClass::PeerDown => Verdict::PeerFailed { retry_after: None },
        FailureClass::Certificate | FailureClass::RefusedHere => Verdict::Parked,
        FailureClass::BadAnswer => Verdict::Faulted,
        FailureClass::Local => Verdict::LocalFailure,
    };
    let reason = Some(shorten(&error.to_string()));
    Outcome { verdict, status: status.map(|status| status.as_u16()), reason }
}

/// What an answer may say about the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// It refuses the request, perhaps because of the signature.
    Refused,
    /// It failed, as some servers do on signatures that they do not understand.
    Failed,
}

/// Whether another way of signing may do better. What a proxy says of a server that is away
/// has nothing to do with signatures.
pub(super) fn objection(status: StatusCode) -> Option<Objection> {
    match status.as_u16() {
        400 | 401 | 403 => Some(Objection::Refused),
        502..=504 => None,
        500..=599 => Some(Objection::Failed),
        _ => None,
    }
}

/// Type and detail of a problem document (RFC 9457).
fn problem_of(answer: &Response) -> Option<(String, String)> {
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let member = |name| problem.get(name).and_then(serde_json::Value::as_str);
    let kind = member("type")?.to_owned();
    Some((kind, member("detail").or(member("title")).unwrap_or_default().to_owned()))
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hyper::header::{HeaderMap, RETRY_AFTER};

    use super::*;

    fn check(status: u16, body: &str, wait: Option<&str>, expected: &Verdict) {
        let mut headers = HeaderMap::new();
        if let Some(wait) = wait {
            headers.insert(RETRY_AFTER, wait.parse().unwrap());
        }
        let answer = Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.to_owned().into(),
            final_url: String::new(),
        };
        let outcome = of_answer(&answer, Timestamp::UNIX_EPOCH, &Options::default());
        assert_eq!(&outcome.verdict, expected, "{status} {body}");
    }

    #[test]
    fn answers() {
        let wait =
            |seconds| Verdict::PeerFailed { retry_after: Some(Duration::from_secs(seconds)) };
        for status in [200, 201, 202, 204] {
            check(status, "", None, &Verdict::Delivered);
        }
        let replayed = r#"{"type": "https://x.example/errors/replayed-request"}"#;
        check(422, replayed, None, &Verdict::Delivered);
        check(422, r#"{"type": "schema-violation"}"#, None, &Verdict::Parked);
        check(400, replayed, None, &Verdict::Parked);
        for status in [301, 400, 401, 403, 404, 405, 410, 413] {
            check(status, "gone", None, &Verdict::Parked);
        }
        check(429, "", None, &Verdict::PeerFailed { retry_after: None });
        check(429, "", Some("7"), &wait(7));
        check(503, "", Some("9"), &wait(9));
        for status in [408, 500, 502, 503, 504] {
            check(status, "", None, &Verdict::Faulted);
        }
    }

    #[test]
    fn errors() {
        let url = String::from("http://a.example");
        let host = String::from("a.example");
        let reason = String::new();
        let refused = ClientError::SchemeRefused { url };
        assert_eq!(of_error(&refused).verdict, Verdict::Parked);
        let bad = ClientError::Tls { host: host.clone(), reason: reason.clone() };
        assert_eq!(of_error(&bad).verdict, Verdict::Parked);
        let dns = ClientError::Dns { host, reason: reason.clone() };
        assert_eq!(of_error(&dns).verdict, Verdict::PeerFailed { retry_after: None });
        let after = Duration::from_secs(10);
        let taken = ClientError::Timeout { after, status: Some(StatusCode::ACCEPTED) };
        assert_eq!(of_error(&taken).verdict, Verdict::Delivered);
        let broken = ClientError::Protocol(reason);
        assert_eq!(of_error(&broken).verdict, Verdict::Faulted);
    }
}
