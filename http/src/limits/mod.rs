//! Limits that hold before a request is looked at. plans/limits.md lists all of them.
//!
//! In this order: the size of the request's head, the rate of its address, the rate of the actor
//! whose token it bears ([`head`]); whether it is of the share that is refused just now ([`shed`]);
//! then its body is read ([`crate::body::gather`]); then it needs a place ([`place`]). So a refusal
//! costs little, and a slow client takes no place.

mod address;
mod controller;
mod load;
mod rates;
mod tally;

use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use fedsx_kernel::metrics::HTTP_SHED;
use fedsx_kernel::refusal::{Problem, Refusal};
use tokio::sync::OwnedSemaphorePermit;

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
/// Routes that take deliveries.
const INBOXES: [&str; 2] = ["/actors/{name}/inbox", "/inbox"];
/// The longest names and values of header fields together, in bytes.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// A request that is refused by a limit.
pub(crate) struct Refused {
    limit: &'static str,
    rejection: Rejection,
}

impl Refused {
    pub(crate) fn by(limit: &'static str, rejection: impl Into<Rejection>) -> Self {
        Self { limit, rejection: rejection.into() }
    }
}

impl IntoResponse for Refused {
    /// Counts the refusal by the limit that it is for.
    fn into_response(self) -> Response {
        HTTP_SHED.count(1, &[self.limit]);
        self.rejection.into_response()
    }
}

/// Refuses what is too large before its body, or comes too often.
pub(crate) fn head(
    app: &App,
    client: ClientAddress,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Refused> {
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    if path.len() > MAX_URI_BYTES {
        let detail = format!("path and query have at most {MAX_URI_BYTES} bytes");
        return Err(Refused::by("uri", Refusal::new(Problem::UriTooLong, detail)));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_HEADER_BYTES {
        let detail = format!("header fields have at most {MAX_HEADER_BYTES} bytes together");
        return Err(Refused::by("headers", Refusal::new(Problem::HeadersTooLarge, detail)));
    }
    if matches!(uri.path(), "/livez" | "/readyz") {
        return Ok(());
    }
    let too_often = |who: &str, seconds: u64| {
        let refusal = Refusal::new(Problem::TooManyRequests, format!("{who} asks too often"));
        Rejection::after(refusal, seconds)
    };
    app.rates
        .check(&client.network())
        .map_err(|seconds| Refused::by("client-rate", too_often("this client", seconds)))?;
    if !app.actor_rates.limits() {
        return Ok(());
    }
    if let Some(actor) = caller::charged(app, headers) {
        app.actor_rates.check(&actor).map_err(|seconds| {
            let who = format!("the holder of tokens of {actor}");
            Refused::by("actor-rate", too_often(&who, seconds))
        })?;
    }
    Ok(())
}

/// Refuses at once what is of the share that is to be refused, and everything where as much is
/// under way as may be.
pub(crate) fn shed(
    app: &App,
    client: ClientAddress,
    path: &str,
    route: &str,
    method: &Method,
) -> Result<(), Refused> {
    let refused = match app.load.shed(Lane::of(path)) {
        Err(shed) => refused(shed),
        Ok(()) if is_delivery(route, method) && !app.load.takes_deliveries() => {
            let refusal = Refusal::new(Problem::Busy, "too many deliveries are under way");
            Refused::by("in-flight", refusal)
        }
        Ok(()) => return Ok(()),
    };
    // It is told the limit that it can do something about.
    if !app.under_way.has_room(client.network()) {
        return Err(too_many_of_client());
    }
    Err(refused)
}

/// Whether a request brings a delivery.
pub(crate) fn is_delivery(route: &str, method: &Method) -> bool {
    *method == Method::POST && INBOXES.contains(&route)
}

/// What a request holds while it is answered.
pub(crate) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_address: Counted,
}

/// Gives a request a place, or refuses it.
pub(crate) fn place(app: &App, client: ClientAddress, path: &str) -> Result<Place, Refused> {
    let counted = app.under_way.enter(client.network()).ok_or_else(too_many_of_client)?;
    let place = app.load.admit(Lane::of(path)).map_err(refused)?;
    Ok(Place { _of_all: place, _of_address: counted })
}

fn too_many_of_client() -> Refused {
    let refusal =
        Refusal::new(Problem::TooManyRequests, "this client has too many requests under way");
    Refused::by("concurrent", Rejection::after(refusal, 1))
}

fn refused(shed: Shed) -> Refused {
    match shed {
        Shed::Full => {
            let refusal = Refusal::new(Problem::Busy, "too many requests are under way");
            Refused::by("in-flight", refusal)
        }
        Shed::Behind { retry_after_s } => {
            let refusal = Refusal::new(Problem::Busy, "the instance is behind with its work");
            Refused::by("behind", Rejection::after(refusal, retry_after_s))
        }
    }
}
