//! Request bodies: media type, size, time.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use fedsx_kernel::refusal::{Problem, Refusal};
use http_body_util::{BodyExt as _, Limited};

use crate::app::App;

/// Media types in which activities are taken.
const TAKEN: [&str; 3] = ["application/activity+json", "application/ld+json", "application/json"];

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
    let most = app.parts.options.max_body_bytes;
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
        collected = Limited::new(body, most).collect() => match collected {
            Ok(collected) => Ok(collected.to_bytes().to_vec()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Err(error) => Err(Refusal::new(Problem::MalformedJson, format!("the body broke off: {error}"))),
        },
        () = slow => Err(Refusal::new(Problem::RequestTimeout, "the body did not arrive in time")),
    }
}
