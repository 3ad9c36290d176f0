//! The Date of answers (RFC 9110, section 6.6.1), by the node's clock.
//!
//! hyper's own keeps the time that it told last while the clock stands behind that, so that nobody
//! would see a clock that was set back.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::app::App;

/// Says when the answer was made.
pub(crate) async fn date(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let now = app.kernel().runtime().clock.now();
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok();
    if let Some(date) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}
