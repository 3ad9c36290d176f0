//! Limits that hold before a request is looked at. plans/limits.md lists all of them.
//!
//! In this order: the size of the request's head, the rate of its address, the rate of the actor
//! whose token it bears; then its body is read ([`crate::body::gather`]); then it needs a place
//! ([`admit`]). So a refused client has read its answer, and a slow one takes no place.

mod address;
mod controller;
mod load;
mod rates;
mod tally;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fedsx_kernel::metrics::HTTP_SHED;
use fedsx_kernel::refusal::{Problem, Refusal};

pub(crate) use self::address::{ClientAddress, is_trusted, network_of};
pub(crate) use self::load::Load;
use self::load::{Lane, Shed};
pub(crate) use self::rates::{BURST_S, Rates};
pub(crate) use self::tally::{Counted, Tally};
use crate::app::App;
use crate::caller;
use crate::problem::Rejection;

/// The longest path and query, in bytes.
const MAX_URI_BYTES: usize = 8 * 1024;
/// The longest names and values of header fields together, in bytes.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Refuses what is too large before its body, or comes too often.
pub(crate) async fn of_head(State(app): State<App>, request: Request, next: Next) -> Response {
    match head(&app, &request) {
        Ok(()) => next.run(request).await,
        Err((limit, rejection)) => refused(limit, rejection),
    }
}

fn head(app: &App, request: &Request) -> Result<(), (&'static str, Rejection)> {
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    if path.len() > MAX_URI_BYTES {
        let detail = format!("path and query have at most {MAX_URI_BYTES} bytes");
        return Err(("uri", Refusal::new(Problem::UriTooLong, detail).into()));
    }
    let fields = request.headers().iter();
    let bytes: usize = fields.map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_HEADER_BYTES {
        let detail = format!("header fields have at most {MAX_HEADER_BYTES} bytes together");
        return Err(("headers", Refusal::new(Problem::HeadersTooLarge, detail).into()));
    }
    if matches!(request.uri().path(), "/livez" | "/readyz") {
        return Ok(());
    }
    let too_often = |who: &str, seconds: u64| {
        let refusal = Refusal::new(Problem::TooManyRequests, format!("{who} asks too often"));
        Rejection::after(refusal, seconds)
    };
    if let Some(client) = request.extensions().get::<ClientAddress>() {
        let checked = app.rates.check(&client.network());
        checked.map_err(|seconds| ("client-rate", too_often("this client", seconds)))?;
    }
    if let Some(actor) = caller::charged(app, request.headers()) {
        let checked = app.actor_rates.check(&actor);
        checked.map_err(|seconds| {
            ("actor-rate", too_often(&format!("the holder of tokens of {actor}"), seconds))
        })?;
    }
    Ok(())
}

/// Gives a request a place, or refuses it at once.
pub(crate) async fn admit(State(app): State<App>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<ClientAddress>().copied();
    let counted = match client.map(|client| app.under_way.enter(client.network())) {
        Some(None) => {
            let detail = "this client has too many requests under way";
            let refusal = Refusal::new(Problem::TooManyRequests, detail);
            return refused("concurrent", Rejection::after(refusal, 1));
        }
        counted => counted.flatten(),
    };
    let place = match app.load.admit(Lane::of(request.uri().path())) {
        Ok(place) => place,
        Err(Shed::Full) => {
            let refusal = Refusal::new(Problem::Busy, "too many requests are under way");
            return refused("in-flight", refusal.into());
        }
        Err(Shed::Behind { retry_after_s }) => {
            let refusal = Refusal::new(Problem::Busy, "the instance is behind with its work");
            return refused("behind", Rejection::after(refusal, retry_after_s));
        }
    };
    let response = next.run(request).await;
    drop((place, counted));
    response
}

/// Counts a refusal by the limit that it is for.
pub(crate) fn refused(limit: &'static str, rejection: Rejection) -> Response {
    HTTP_SHED.count(1, &[limit]);
    rejection.into_response()
}
