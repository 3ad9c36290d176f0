//! Content negotiation (RFC 9110, section 12).

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use fedsx_kernel::refusal::{Problem, Refusal};
use serde_json::Value;

/// What we can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// ActivityStreams as JSON.
    Activity,
    /// The canonical block.
    DagCbor,
    /// A page for people.
    Html,
}

pub(crate) const ACTIVITY_JSON: &str = "application/activity+json";
pub(crate) const DAG_CBOR: &str = "application/vnd.ipld.dag-cbor";

impl Form {
    fn matches(self, range: &str) -> bool {
        let types: &[&str] = match self {
            Self::Activity => &[ACTIVITY_JSON, "application/ld+json", "application/json"],
            Self::DagCbor => &[DAG_CBOR, "application/cbor"],
            Self::Html => &["text/html", "application/xhtml+xml"],
        };
        types.contains(&range)
    }
}

/// The form that the client likes best among those offered, the first offered when it does not
/// care.
pub(crate) fn choose(headers: &HeaderMap, offered: &[Form]) -> Result<Form, Refusal> {
    let refuse = || Refusal::new(Problem::NotAcceptable, "see the Accept header of the request");
    let first = offered.first().copied().ok_or_else(refuse)?;
    let mut best: Option<(u32, usize, Form)> = None;
    let mut any = false;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',').take(32) {
            any = true;
            let mut parts = range.split(';');
            let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
            let quality = parts
                .filter_map(|part| part.trim().strip_prefix("q="))
                .find_map(|q| q.trim().parse::<f32>().ok())
                .map_or(1000, |q| {
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                    let thousandths = (q.clamp(0.0, 1.0) * 1000.0) as u32;
                    thousandths
                });
            if quality == 0 {
                continue;
            }
            for (place, form) in offered.iter().enumerate() {
                let fits = name == "*/*"
                    || name == "application/*" && *form != Form::Html
                    || form.matches(&name);
                let specific = usize::from(form.matches(&name));
                let rank =
                    (quality + u32::try_from(specific).unwrap_or(0), offered.len() - place, *form);
                if fits && best.is_none_or(|held| (held.0, held.1) < (rank.0, rank.1)) {
                    best = Some(rank);
                }
            }
        }
    }
    match best {
        Some((_, _, form)) => Ok(form),
        None if !any => Ok(first),
        None => Err(refuse()),
    }
}

/// A JSON answer with its media type.
pub(crate) fn json(status: StatusCode, media_type: &'static str, value: &Value) -> Response {
    bytes(status, media_type, value.to_string().into_bytes())
}

/// An answer of bytes with their media type.
pub(crate) fn bytes(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    // What is served depends on who asks and how.
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Authorization, Signature"));
    response
}

/// ActivityStreams as JSON that was written before.
pub(crate) fn written(json: Bytes) -> Response {
    bytes(StatusCode::OK, ACTIVITY_JSON, json)
}

/// ActivityStreams as JSON.
pub(crate) fn activity(value: &Value) -> Response {
    json(StatusCode::OK, ACTIVITY_JSON, value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        }
        choose(&headers, &[Form::Activity, Form::DagCbor, Form::Html]).ok()
    }

    #[test]
    fn the_table() {
        for (accept, form) in [
            ("", Some(Form::Activity)),
            ("*/*", Some(Form::Activity)),
            ("application/activity+json", Some(Form::Activity)),
            (
                "application/ld+json; profile=\"https://www.w3.org/ns/activitystreams\"",
                Some(Form::Activity),
            ),
            ("application/json", Some(Form::Activity)),
            ("application/vnd.ipld.dag-cbor", Some(Form::DagCbor)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(Form::Html)),
            ("text/html;q=0.5, application/activity+json;q=0.9", Some(Form::Activity)),
            ("image/png", None),
            ("text/html;q=0", None),
        ] {
            assert_eq!(chosen(accept), form, "{accept}");
        }
    }
}
