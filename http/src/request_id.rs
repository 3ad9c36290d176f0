//! A name for each request: in the answer, in problem documents and in every line that is logged
//! meanwhile, so that a person's report leads to what happened.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::app::App;
use crate::limits::ClientAddress;

/// The field that names a request.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that is taken from a proxy, in bytes.
const MAX_BYTES: usize = 64;

tokio::task_local! {
    static CURRENT: String;
}

/// The name of the request that is being answered.
pub(crate) fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Names a request. A trusted proxy, or one on this machine, may have named it already; what others
/// say is not taken.
pub(crate) async fn name(State(app): State<App>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<ClientAddress>();
    let is_near = client.is_some_and(|client| client.is_near);
    let given = is_near.then(|| given(request.headers())).flatten();
    let id = given.unwrap_or_else(|| hex::encode(app.kernel().runtime().random.bytes::<8>()));
    // Of the highest level, so that no filter takes it from the lines inside.
    let span = tracing::error_span!("request", id);
    let mut response = CURRENT.scope(id.clone(), next.run(request)).instrument(span).await;
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

fn given(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = (1..=MAX_BYTES).contains(&id.len()) && id.chars().all(is_plain);
    fits.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_taken() {
        let given = |text: &str| {
            let value = HeaderValue::from_str(text).ok()?;
            given(&HeaderMap::from_iter([(X_REQUEST_ID, value)]))
        };
        assert_eq!(given("a-1_b.C").as_deref(), Some("a-1_b.C"));
        for bad in ["", "a b", "a\"b", "a=b", &"x".repeat(65)] {
            assert_eq!(given(bad), None, "{bad}");
        }
    }
}
