//! What holds for every request, whatever its route: its name, its date, its metrics, the limits.
//!
//! It stands before the router instead of being layers in it: each layer of a router costs a few
//! copies of everything below it for each request, and a refusal is to cost next to nothing.

use std::any::Any;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;

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
    pub(crate) async fn answer(
        &self,
        connection: IpAddr,
        request: hyper::Request<Incoming>,
    ) -> Response {
        let trusted = &self.app.parts.options.trusted_proxies;
        let client = ClientAddress::of(connection, request.headers(), trusted);
        let id = request_id::of(&self.app, client, request.headers());
        request_id::named(id, async {
            let measured = AssertUnwindSafe(self.measured(client, request)).catch_unwind();
            let mut response = measured.await.unwrap_or_else(|panic| panicked(&*panic));
            if let Some(date) = self.app.dates.at(self.app.kernel().runtime().clock.now()) {
                response.headers_mut().insert(header::DATE, date);
            }
            response
        })
        .await
    }

    async fn measured(&self, client: ClientAddress, request: hyper::Request<Incoming>) -> Response {
        let route = self.route(request.uri().path());
        let method = crate::metrics::method(request.method());
        let _in_flight = metrics::HTTP_IN_FLIGHT.raise(&[]);
        let timer = Timer::start();
        let response = match self.admitted(client, route, request).await {
            Ok(response) => response,
            Err(refused) => refused.into_response(),
        };
        let status = response.status();
        metrics::HTTP_REQUESTS.count(1, &[route, method, status.as_str()]);
        metrics::HTTP_SECONDS.record(timer.seconds(), &[route]);
        // The pattern, since an address may say whose business this is.
        tracing::debug!(method, route, status = status.as_u16(), "answered");
        response
    }

    /// The router's answer, where the request is within all limits.
    async fn admitted(
        &self,
        client: ClientAddress,
        route: &'static str,
        request: hyper::Request<Incoming>,
    ) -> Result<Response, Refused> {
        let app = &self.app;
        let (head, body) = request.into_parts();
        let early = limits::head(app, client, &head.uri, &head.headers)
            .and_then(|()| limits::shed(app, client, head.uri.path(), route, &head.method));
        if let Err(refused) = early {
            body::discard(app, &head.headers, body).await;
            return Err(refused);
        }
        let (bytes, _held) = body::gather(app, route, &head.headers, body).await?;
        let _place = limits::place(app, client, head.uri.path())?;
        let mut request = Request::from_parts(head, Body::from(bytes));
        request.extensions_mut().insert(client);
        match self.router.clone().call(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}

fn panicked(_: &(dyn Any + Send)) -> Response {
    Rejection::from(Refusal::new(Problem::Internal, "a handler panicked")).into_response()
}
