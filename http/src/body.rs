//! Request bodies: media type, size, time.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fedsx_kernel::refusal::{Problem, Refusal};
use http_body_util::{BodyExt as _, Limited};

use crate::app::App;
use crate::problem::Rejection;

/// Media types in which activities are taken.
const TAKEN: [&str; 3] = ["application/activity+json", "application/ld+json", "application/json"];

/// The media type of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// Reads a body that is an activity.
pub(crate) async fn activity(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<u8>, Refusal> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let name = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !TAKEN.iter().any(|taken| name.eq_ignore_ascii_case(taken)) {
        return Err(Refusal::new(
            Problem::UnsupportedMediaType,
            format!("send {}", TAKEN.join(" or ")),
        ));
    }
    collect(app, headers, body, app.parts.options.max_body_bytes).await
}

/// The largest form, in bytes.
const MAX_FORM_BYTES: usize = 8 * 1024;

/// Reads a small form: names and values, decoded, in order; at most 16.
pub(crate) async fn form(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<(String, String)>, Refusal> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let name = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !name.eq_ignore_ascii_case(FORM) {
        return Err(Refusal::new(Problem::UnsupportedMediaType, format!("send {FORM}")));
    }
    let bytes = collect(app, headers, body, MAX_FORM_BYTES).await?;
    Ok(url::form_urlencoded::parse(&bytes)
        .take(16)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect())
}

async fn collect(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    most: usize,
) -> Result<Vec<u8>, Refusal> {
    let too_large = || Refusal::new(Problem::TooLarge, format!("a body has at most {most} bytes"));
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let slow = app.kernel().runtime().clock.sleep(app.parts.options.body_timeout);
    tokio::select! {
        biased;
        collected = Limited::new(body, most).collect() => match collected {
            Ok(collected) => Ok(collected.to_bytes().to_vec()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Err(error) => Err(Refusal::new(Problem::MalformedJson, format!("the body broke off: {error}"))),
        },
        () = slow => Err(Refusal::new(Problem::RequestTimeout, "the body did not arrive in time")),
    }
}

/// Bodies up to this size are read before a handler runs, in bytes.
const SMALL_BYTES: usize = 64 * 1024;

/// Reads what a request to an operating route asks for.
pub(crate) fn wish<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let value = fedsx_kernel::json::parse(bytes)
        .map_err(|e| Refusal::new(Problem::MalformedJson, e.to_string()))?;
    serde_json::from_value(value)
        .map_err(|e| Refusal::new(Problem::InvalidParameter, e.to_string()))
}

/// Reads a small body before the handler decides. A handler that refuses without reading would
/// else make the connection close while the client still writes, who then never sees the answer.
pub(crate) async fn settle(State(app): State<App>, request: Request, next: Next) -> Response {
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    if !length.is_some_and(|length| (1..=SMALL_BYTES).contains(&length)) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let slow = app.kernel().runtime().clock.sleep(app.parts.options.body_timeout);
    let collected = tokio::select! {
        biased;
        collected = Limited::new(body, SMALL_BYTES).collect() => collected,
        () = slow => {
            let refusal = Refusal::new(Problem::RequestTimeout, "the body did not arrive in time");
            return Rejection::from(refusal).into_response();
        }
    };
    match collected {
        Ok(collected) => {
            next.run(Request::from_parts(parts, Body::from(collected.to_bytes()))).await
        }
        Err(error) => {
            let detail = format!("the body broke off: {error}");
            Rejection::from(Refusal::new(Problem::MalformedJson, detail)).into_response()
        }
    }
}
