//! A name for each request: in the answer, in problem documents and in every line that is logged
//! meanwhile, so that a person's report leads to what happened.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use fedsx_kernel::runtime::Random;
use tokio::task::futures::TaskLocalFuture;
use tracing::instrument::Instrumented;
use tracing::{Instrument as _, Level, Span};

use crate::app::App;
use crate::limits::ClientAddress;

/// The field that names a request.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
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

    fn next(&self) -> HeaderValue {
        // SplitMix64: each step can be undone, so that no name comes twice.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut text = [0; 16];
        // As long as twice the number, and in digits that a header may have.
        let _ = hex::encode_to_slice((z ^ (z >> 31)).to_be_bytes(), &mut text);
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// The name of a request. A trusted proxy, or one on this machine, may have given it one; what
/// others say is not taken.
pub(crate) fn of(app: &App, client: ClientAddress, headers: &HeaderMap) -> HeaderValue {
    let given = client.is_near.then(|| given(headers)).flatten();
    given.unwrap_or_else(|| app.names.next())
}

/// Answers a request under its name.
pub(crate) fn named(
    name: HeaderValue,
    answering: impl Future<Output = Response>,
) -> impl Future<Output = Response> {
    let span = span(&name);
    CURRENT.scope(name, answering).instrument(span)
}

/// Takes the name of the request that is being answered along, to where its answer is worked on.
pub(crate) fn carried<F: Future>(answering: F) -> Instrumented<TaskLocalFuture<HeaderValue, F>> {
    let name = CURRENT.try_with(HeaderValue::clone).unwrap_or(HeaderValue::from_static("0"));
    CURRENT.scope(name, answering).in_current_span()
}

/// Does something for a request, under its name, that is done at once. Of that only lines of the level
/// `debug` are written: where nobody wants them, nothing is made that would name them.
pub(crate) fn briefly<T>(name: &HeaderValue, work: impl FnOnce() -> T) -> T {
    let span = if tracing::enabled!(Level::DEBUG) { span(name) } else { Span::none() };
    CURRENT.sync_scope(name.clone(), || span.in_scope(work))
}

fn span(name: &HeaderValue) -> Span {
    // Of the highest level, so that no filter takes it from the lines inside.
    tracing::error_span!("request", id = name.to_str().unwrap_or_default())
}

fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let given = headers.get(X_REQUEST_ID)?;
    let id = given.to_str().ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = (1..=MAX_BYTES).contains(&id.len()) && id.chars().all(is_plain);
    fits.then(|| given.clone())
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
        assert_eq!(given("a-1_b.C"), Some(HeaderValue::from_static("a-1_b.C")));
        for bad in ["", "a b", "a\"b", "a=b", &"x".repeat(65)] {
            assert_eq!(given(bad), None, "{bad}");
        }
    }
}
