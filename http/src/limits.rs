//! Limits that hold before a request is looked at: rate per client, requests under way.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fedsx_kernel::metrics;
use fedsx_kernel::refusal::{Problem, Refusal};
use governor::clock::Clock as RateClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::app::App;
use crate::problem::Rejection;

/// Requests per second and client.
pub(crate) struct Rates {
    clock: NodeClock,
    limiter: RwLock<Option<Arc<Limiter>>>,
}

type Limiter = RateLimiter<IpAddr, DashMapStateStore<IpAddr>, NodeClock, NoOpMiddleware<Duration>>;

/// Time as the limiter wants it: since the start. A wall clock that is set back would refuse every
/// client until it has caught up.
#[derive(Clone)]
struct NodeClock(tokio::time::Instant);

impl RateClock for NodeClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Rates {
    /// `per_second` 0 means no limit.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let clock = NodeClock(tokio::time::Instant::now());
        let rates = Self { clock, limiter: RwLock::new(None) };
        rates.set(per_second, burst);
        rates
    }

    /// Takes other limits from now on; what clients used up is forgotten.
    pub(crate) fn set(&self, per_second: u32, burst: u32) {
        let quota = NonZeroU32::new(per_second).map(|per_second| {
            Quota::per_second(per_second)
                .allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN))
        });
        let limiter =
            quota.map(|quota| Arc::new(RateLimiter::dashmap_with_clock(quota, self.clock.clone())));
        *self.limiter.write().unwrap_or_else(PoisonError::into_inner) = limiter;
    }

    /// Seconds to wait where the client asked too often.
    fn check(&self, client: IpAddr) -> Result<(), u64> {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(limiter) = limiter else { return Ok(()) };
        let client = network_of(client);
        if limiter.len() > 100_000 {
            limiter.retain_recent();
        }
        limiter
            .check_key(&client)
            .map_err(|not_until| not_until.wait_time_from(limiter.clock().now()).as_secs() + 1)
    }
}

/// The address that limits count by: an IPv6 client owns its whole /64.
fn network_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
            let mut parts = address.segments();
            if let Some(host) = parts.get_mut(4..) {
                host.fill(0);
            }
            IpAddr::V6(parts.into())
        }
        other => other.to_canonical(),
    }
}

/// A name of the client for limits.
pub(crate) fn client_of(address: ClientAddress) -> String {
    network_of(address.0.ip()).to_string()
}

/// The address of the client, as the accept loop saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub SocketAddr);

/// Refuses what is beyond the limits, at once.
pub(crate) async fn limit(State(app): State<App>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<ClientAddress>().map(|client| client.0.ip());
    if let Some(client) = client
        && let Err(seconds) = app.rates.check(client)
    {
        metrics::HTTP_SHED.count(1, &["client-rate"]);
        let refusal = Refusal::new(Problem::TooManyRequests, "this client asks too often");
        return Rejection::after(refusal, seconds).into_response();
    }
    let health = matches!(request.uri().path(), "/livez" | "/readyz");
    let Ok(_permit) = app.in_flight.clone().try_acquire_owned() else {
        if health {
            return next.run(request).await;
        }
        metrics::HTTP_SHED.count(1, &["in-flight"]);
        let refusal = Refusal::new(Problem::Busy, "too many requests are under way");
        return refusal_response(refusal);
    };
    next.run(request).await
}

fn refusal_response(refusal: Refusal) -> Response {
    Rejection::from(refusal).into_response()
}
