//! A name for each request: in the answer, in problem documents and in every line that is logged
//! meanwhile, so that a person's report leads to what happened.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use fedsx_kernel::runtime::Random;
use tracing::Instrument as _;

use crate::app::App;
use crate::limits::ClientAddress;

/// The field that names a request.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that is taken from a proxy, in bytes.
const MAX_BYTES: usize = 64;

tokio::task_local! {
    static CURRENT: HeaderValue;
}

/// The name of the request that is being answered.
pub(crate) fn current() -> Option<String> {
    CURRENT.try_with(|name| name.to_str().ok().map(str::to_owned)).ok().flatten()
}

/// Names that nobody asked for. They are no secrets: a number that is counted up from a random
/// one, mixed so that they look as different as they are.
pub(crate) struct Names(AtomicU64);

impl Names {
    pub(crate) fn new(random: &dyn Random) -> Self {
        Self(AtomicU64::new(u64::from_be_bytes(random.bytes())))
    }

    fn next(&self) -> String {
        // SplitMix64: each step can be undone, so that no name comes twice.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hex::encode((z ^ (z >> 31)).to_be_bytes())
    }
}

/// The name of a request. A trusted proxy, or one on this machine, may have given it one; what
/// others say is not taken.
pub(crate) fn of(app: &App, client: ClientAddress, headers: &HeaderMap) -> String {
    let given = client.is_near.then(|| given(headers)).flatten();
    given.unwrap_or_else(|| app.names.next())
}

/// Answers a request under its name.
pub(crate) async fn named(id: String, answering: impl Future<Output = Response>) -> Response {
    // Of the highest level, so that no filter takes it from the lines inside.
    let span = tracing::error_span!("request", id);
    let Ok(name) = HeaderValue::try_from(id) else { return answering.instrument(span).await };
    let mut response = CURRENT.scope(name.clone(), answering).instrument(span).await;
    response.headers_mut().insert(X_REQUEST_ID, name);
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
    fn names_differ() {
        let names = Names::new(&fedsx_kernel::runtime::SeededRandom::new(7));
        let made: std::collections::HashSet<_> = (0..1000).map(|_| names.next()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|name| name.len() == 16), "{made:?}");
    }

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
