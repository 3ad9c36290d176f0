//! What holds for every request, whatever its route: its name, its date, its metrics, the limits.
//!
//! It stands before the router instead of being layers in it: each layer of a router costs a few
//! copies of everything below it for each request, and a refusal is to cost next to nothing.

use std::any::Any;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use fedsx_kernel::metrics::{self, Timer};
use fedsx_kernel::refusal::{Problem, Refusal};
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::header;
use tower::Service as _;

use crate::app::App;
use crate::limits::{self, ClientAddress, Refused};
use crate::problem::Rejection;
use crate::request_id::X_REQUEST_ID;
use crate::routes::ROUTES;
use crate::{body, request_id, routes};

/// The label of requests that no route fits.
const NO_ROUTE: &str = "none";

/// All routes, with what holds for each request.
pub(crate) struct Front {
    app: App,
    router: Router,
    /// The patterns of the routes, for what is counted and refused before the router is asked.
    patterns: matchit::Router<&'static str>,
}

impl Front {
    pub(crate) fn new(app: App) -> Self {
        let mut patterns = matchit::Router::new();
        for (path, _) in ROUTES {
            // The router below would not have taken a pattern that cannot be; a test asks for all.
            let _ = patterns.insert(*path, *path);
        }
        Self { router: routes::router(app.clone()), app, patterns }
    }

    /// The pattern of the route that a path leads to.
    fn route(&self, path: &str) -> &'static str {
        self.patterns.at(path).map_or(NO_ROUTE, |found| *found.value)
    }

    /// Answers a request that came over a connection from this address.
    ///
    /// What is refused before anything is done for it comes first, so that it costs next to
    /// nothing: whatever the other requests need is put aside as a whole, once it is known to be needed.
    pub(crate) async fn answer(
        &self,
        connection: IpAddr,
        request: hyper::Request<Incoming>,
    ) -> Response {
        let (app, timer) = (&self.app, Timer::start());
        let trusted = &app.parts.options.trusted_proxies;
        let client = ClientAddress::of(connection, request.headers(), trusted);
        let id = request_id::of(app, client, request.headers());
        let route = self.route(request.uri().path());
        let noted = Noted { route, method: crate::metrics::method(request.method()), timer };
        let _in_flight = metrics::HTTP_IN_FLIGHT.raise(&[]);
        let early = || {
            let (uri, headers) = (request.uri(), request.headers());
            limits::head(app, client, uri, headers)
                .and_then(|()| limits::shed(app, client, uri.path(), route, request.method()))
        };
        let early = catch_unwind(AssertUnwindSafe(|| request_id::briefly(&id, early)));
        let mut response = match early {
            Ok(Ok(())) => {
                let taken = request_id::named(id.clone(), self.taken(client, noted, request));
                Box::pin(taken).await
            }
            Err(panic) => request_id::briefly(&id, || noted.answered(panicked(&*panic))),
            Ok(Err(refused)) => {
                let (head, body) = request.into_parts();
                body::discard(app, &head.headers, body).await;
                request_id::briefly(&id, || noted.answered(refused.into_response()))
            }
        };
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, id);
        if let Some(date) = app.dates.at(app.kernel().runtime().clock.now()) {
            headers.insert(header::DATE, date);
        }
        response
    }

    /// Answers a request that was not refused at once.
    async fn taken(
        &self,
        client: ClientAddress,
        noted: Noted,
        request: hyper::Request<Incoming>,
    ) -> Response {
        let routed = AssertUnwindSafe(self.routed(client, noted.route, request)).catch_unwind();
        noted.answered(match routed.await {
            Ok(Ok(response)) => response,
            Ok(Err(refused)) => refused.into_response(),
            Err(panic) => panicked(&*panic),
        })
    }

    /// The router's answer, where there is room for the request.
    async fn routed(
        &self,
        client: ClientAddress,
        route: &'static str,
        request: hyper::Request<Incoming>,
    ) -> Result<Response, Refused> {
        let app = &self.app;
        let (head, body) = request.into_parts();
        let (bytes, _held) = body::gather(app, route, &head.headers, body).await?;
        let _place = limits::place(app, client, head.uri.path())?;
        let is_delivery = limits::is_delivery(route, &head.method);
        let mut request = Request::from_parts(head, Body::from(bytes));
        request.extensions_mut().insert(client);
        let answering = self.router.clone().call(request);
        let answered = match is_delivery {
            true => app.load.deliver(request_id::carried(answering)).await,
            false => Ok(answering.await),
        };
        match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(never)) => match never {},
            Err(failed) => {
                let refusal = Refusal::new(Problem::Internal, failed.to_string());
                Ok(Rejection::from(refusal).into_response())
            }
        }
    }
}

/// What is noted of each request.
#[derive(Clone, Copy)]
struct Noted {
    /// The pattern, since an address may say whose business this is.
    route: &'static str,
    method: &'static str,
    timer: Timer,
}

impl Noted {
    /// Notes how a request was answered.
    fn answered(self, response: Response) -> Response {
        let Self { route, method, timer } = self;
        let status = response.status();
        metrics::HTTP_REQUESTS.count(1, &[route, method, status.as_str()]);
        metrics::HTTP_SECONDS.record(timer.seconds(), &[route]);
        tracing::debug!(method, route, status = status.as_u16(), "answered");
        response
    }
}

fn panicked(_: &(dyn Any + Send)) -> Response {
    Rejection::from(Refusal::new(Problem::Internal, "a handler panicked")).into_response()
}
