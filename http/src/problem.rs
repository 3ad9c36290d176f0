//! Problem documents (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fedsx_delivery::signature::{ACCEPT_SIGNATURE, ACCEPT_SIGNATURE_HERE};
use fedsx_kernel::metrics;
use fedsx_kernel::refusal::{Problem, RETRY_AFTER, Refusal};
use serde_json::{Map, Value};

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
        let text = document(problem, status, detail, members);
        let mut response = (status, text).into_response();
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

/// The text of a document. One without members of its own is written straight away: that is what
/// is said most often while there is no time for it.
fn document(
    problem: Problem,
    status: StatusCode,
    detail: String,
    members: Vec<(&'static str, Value)>,
) -> String {
    let id = request_id::current();
    if members.is_empty() {
        let (slug, title, status) = (problem.slug(), problem.title(), status.as_u16());
        let mut text = format!("{{\"detail\":{}", Value::from(detail));
        if let Some(id) = id {
            text.push_str(&format!(",\"requestId\":\"{id}\""));
        }
        text.push_str(&format!(
            ",\"status\":{status},\"title\":\"{title}\",\"type\":\"/problems/{slug}\"}}"
        ));
        return text;
    }
    let mut document = Map::new();
    document.insert("type".into(), format!("/problems/{}", problem.slug()).into());
    document.insert("title".into(), problem.title().into());
    document.insert("status".into(), status.as_u16().into());
    document.insert("detail".into(), detail.into());
    document.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
    document.extend(id.map(|id| ("requestId".to_owned(), id.into())));
    Value::Object(document).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_is_cut() {
        let refusal = Refusal::new(Problem::InvalidParameter, "ä".repeat(MAX_DETAIL_CHARS + 1));
        let response = Rejection::from(refusal).into_response();
        let size = axum::body::HttpBody::size_hint(response.body()).exact();
        assert!(size.is_some_and(|size| (2000..2300).contains(&size)), "{size:?}");
    }

    #[test]
    fn what_is_written_straight_away_is_the_same_document() {
        for problem in Problem::ALL {
            let of = |members: Vec<(&'static str, Value)>| {
                let detail = "a \"quote\"\n".to_owned();
                let text = document(*problem, status(*problem), detail, members);
                serde_json::from_str::<Map<String, Value>>(&text).unwrap_or_default()
            };
            let (plain, mut mapped) = (of(Vec::new()), of(vec![("more", Value::Null)]));
            mapped.remove("more");
            assert_eq!((plain.len(), &plain), (4, &mapped), "{}", problem.slug());
        }
    }

    #[test]
    fn every_problem_but_the_internal_one_has_a_status_of_its_own() {
        for problem in Problem::ALL {
            let internal = status(*problem) == StatusCode::INTERNAL_SERVER_ERROR;
            assert_eq!(internal, *problem == Problem::Internal, "{}", problem.slug());
        }
    }
}
