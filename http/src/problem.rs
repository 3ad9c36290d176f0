//! Problem documents (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fedsx_delivery::signature::{ACCEPT_SIGNATURE, ACCEPT_SIGNATURE_HERE};
use fedsx_kernel::metrics;
use fedsx_kernel::refusal::{Problem, RETRY_AFTER, Refusal};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;

use crate::request_id;

/// Seconds after which a refusal for lack of room is worth another try.
const RETRY_S: u64 = 1;

/// The longest detail, in characters: it may quote what the client sent.
const MAX_DETAIL_CHARS: usize = 1000;

/// A refusal on its way out.
pub(crate) struct Rejection {
    refusal: Refusal,
    retry_after_s: Option<u64>,
}

impl Rejection {
    /// A refusal that may be tried again after some seconds.
    pub(crate) fn after(refusal: Refusal, seconds: u64) -> Self {
        Self { refusal, retry_after_s: Some(seconds) }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, retry_after_s: None }
    }
}

/// The status of a kind of refusal.
pub(crate) fn status(problem: Problem) -> StatusCode {
    match problem {
        Problem::MalformedJson | Problem::InvalidParameter => StatusCode::BAD_REQUEST,
        Problem::InvalidToken | Problem::InvalidSignature | Problem::UnknownKey => {
            StatusCode::UNAUTHORIZED
        }
        Problem::InsufficientScope
        | Problem::ActorSuspended
        | Problem::Blocked
        | Problem::WrongOrigin
        | Problem::NotAuthorised => StatusCode::FORBIDDEN,
        Problem::UnknownActor | Problem::NotFound => StatusCode::NOT_FOUND,
        Problem::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Problem::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Problem::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Problem::ActorExists
        | Problem::IdempotencyConflict
        | Problem::NotDeleted
        | Problem::PrivateKeyMissing
        | Problem::Conflict => StatusCode::CONFLICT,
        Problem::ActorGone | Problem::Erased => StatusCode::GONE,
        Problem::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Problem::UriTooLong => StatusCode::URI_TOO_LONG,
        Problem::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Problem::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Problem::InvalidActivity
        | Problem::UnknownActivityType
        | Problem::UnknownObjectType
        | Problem::SchemaViolation
        | Problem::ReplayedRequest
        | Problem::FromTheFuture
        | Problem::UnknownReference
        | Problem::SelfFollow => StatusCode::UNPROCESSABLE_ENTITY,
        Problem::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        Problem::UpstreamFailed | Problem::ForbiddenAddress => StatusCode::BAD_GATEWAY,
        Problem::Busy | Problem::NotCaughtUp | Problem::StorePoisoned => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Problem::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Problem::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let Refusal { problem, mut detail, members } = self.refusal;
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL_CHARS) {
            detail.truncate(end);
            detail.push('…');
        }
        let status = status(problem);
        metrics::PROBLEMS.count(1, &[problem.slug()]);
        let detail = if status == StatusCode::INTERNAL_SERVER_ERROR {
            // What failed inside is for the operator, not for the client.
            tracing::error!(problem = problem.slug(), detail, "a request failed here");
            "the server's log says more".to_owned()
        } else {
            tracing::debug!(problem = problem.slug(), detail, "a request was refused");
            detail
        };
        let stated = members.iter().rev().find(|(name, _)| *name == RETRY_AFTER);
        let stated = stated.and_then(|(_, value)| value.as_u64());
        let request_id = request_id::current();
        let document = Document { problem, status, detail, request_id, members };
        // All of it is text, numbers and JSON, which can be written.
        let text = serde_json::to_string(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let retry = self.retry_after_s.or(stated).or_else(|| {
            (status == StatusCode::SERVICE_UNAVAILABLE && problem != Problem::StorePoisoned)
                .then_some(RETRY_S)
        });
        if let Some(seconds) = retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if problem == Problem::InvalidToken {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(problem, Problem::InvalidSignature | Problem::UnknownKey) {
            headers.insert(ACCEPT_SIGNATURE, ACCEPT_SIGNATURE_HERE);
        }
        response
    }
}

/// A problem document (RFC 9457, section 3). It is written straight to text: most are when there is no time for
/// more.
struct Document {
    problem: Problem,
    status: StatusCode,
    detail: String,
    request_id: Option<String>,
    /// Of several with one name the last one counts.
    members: Vec<(&'static str, Value)>,
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("type", &format_args!("/problems/{}", self.problem.slug()))?;
        document.serialize_entry("title", self.problem.title())?;
        document.serialize_entry("status", &self.status.as_u16())?;
        document.serialize_entry("detail", &self.detail)?;
        if let Some(id) = &self.request_id {
            document.serialize_entry("requestId", id)?;
        }
        let mut rest = self.members.iter();
        while let Some((name, value)) = rest.next() {
            if !rest.clone().any(|(later, _)| later == name) {
                document.serialize_entry(name, value)?;
            }
        }
        document.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_detail_is_cut() {
        let refusal = Refusal::new(Problem::InvalidParameter, "ä".repeat(MAX_DETAIL_CHARS + 1));
        let response = Rejection::from(refusal).into_response();
        let size = axum::body::HttpBody::size_hint(response.body()).exact();
        assert!(size.is_some_and(|size| (2000..2300).contains(&size)), "{size:?}");
    }

    #[test]
    fn documents_have_all_members_once() {
        let document = Document {
            problem: Problem::Busy,
            status: StatusCode::SERVICE_UNAVAILABLE,
            detail: "a \"quote\"\n".to_owned(),
            request_id: Some("r".to_owned()),
            members: vec![("n", json!(1)), ("more", json!([null])), ("n", json!(2))],
        };
        let text = serde_json::to_string(&document).unwrap_or_default();
        assert_eq!(text.matches("\"n\"").count(), 1, "{text}");
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap_or_default(),
            json!({
                "type": "/problems/busy", "title": Problem::Busy.title(), "status": 503,
                "detail": "a \"quote\"\n", "requestId": "r", "n": 2, "more": [null],
            })
        );
    }

    #[test]
    fn every_problem_but_the_internal_one_has_a_status_of_its_own() {
        for problem in Problem::ALL {
            let internal = status(*problem) == StatusCode::INTERNAL_SERVER_ERROR;
            assert_eq!(internal, *problem == Problem::Internal, "{}", problem.slug());
        }
    }
}
