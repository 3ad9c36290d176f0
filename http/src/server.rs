use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::response::IntoResponse as _;
use fedsx_kernel::metrics;
use fedsx_kernel::refusal::{Problem, Refusal};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use crate::app::App;
use crate::front::Front;
use crate::head_timer::HeadTimer;
use crate::limits::{Counted, Refused, Tally, is_trusted, network_of};
use crate::listener::{Connection, Listener};
use crate::problem::Rejection;

/// Pause after a failed accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are told at a time that there is no room; others beyond are closed.
const TURNED_AWAY: usize = 64;
/// How long telling that may take.
const TURNING_AWAY: Duration = Duration::from_secs(2);
/// The most header fields of a request.
const MAX_HEADERS: usize = 100;
/// The largest head of a request, in bytes; beyond, the library answers 431 by itself.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Why the server ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The listener has no address.
    #[error("the listener failed: {0}")]
    Listener(#[from] io::Error),
}

/// The server of a node.
pub struct Server {
    app: App,
    front: Arc<Front>,
    connections: Arc<Semaphore>,
    of_address: Tally,
    turned_away: Arc<Semaphore>,
}

/// The place of a connection, until it is dropped.
struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_address: Option<Counted>,
    _open: metrics::Raised,
}

/// Why there is no room for a connection.
#[derive(Clone, Copy)]
enum NoRoom {
    AtAll,
    ForAddress,
}

impl NoRoom {
    fn rejection(self) -> Rejection {
        let (problem, detail) = match self {
            Self::AtAll => (Problem::Busy, "too many connections are open"),
            Self::ForAddress => (Problem::TooManyRequests, "this client has too many connections"),
        };
        Rejection::after(Refusal::new(problem, detail), 1)
    }
}

impl Server {
    /// A server for these handlers' state.
    pub fn new(app: App) -> Self {
        let front = Arc::new(Front::new(app.clone()));
        let options = &app.parts.options;
        Self {
            front,
            connections: Arc::new(Semaphore::new(options.connections)),
            of_address: Tally::new(options.concurrent_per_address),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
            app,
        }
    }

    /// Serves until `stop` turns true, then lets requests under way end; `Ok(true)` where all
    /// of them did in time.
    ///
    /// The accept loop is our own, because hyper's timer for slow request headers must be set.
    pub async fn run(
        self,
        mut listener: Box<dyn Listener>,
        stop: watch::Receiver<bool>,
    ) -> Result<bool, ServerError> {
        let clock = self.app.kernel().runtime().clock.clone();
        let mut stop = self.after_notice(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = told(&mut stop) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => match self.place(address) {
                    Ok(place) => self.serve(stream, address, place, stop.clone()),
                    Err(reason) => self.turn_away(stream, reason),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        // A live stream would go on for long, and hold up the end.
        self.app.parts.projections.end_streams();
        let all = u32::try_from(self.app.parts.options.connections).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            _ = self.connections.acquire_many(all) => Ok(true),
            () = clock.sleep(self.app.parts.options.drain) => Ok(false),
        }
    }

    /// Turns true some while after `stop` does: until then whoever asks is told that the node goes,
    /// so that balancers send requests elsewhere before none is taken any more.
    fn after_notice(&self, mut stop: watch::Receiver<bool>) -> watch::Receiver<bool> {
        let (sender, later) = watch::channel(false);
        let (draining, notice) = (self.app.draining.clone(), self.app.parts.options.notice);
        let clock = self.app.kernel().runtime().clock.clone();
        tokio::spawn(async move {
            told(&mut stop).await;
            draining.store(true, Ordering::Relaxed);
            if !notice.is_zero() {
                clock.sleep(notice).await;
            }
            sender.send_replace(true);
            // As long as somebody listens, the channel stays open.
            sender.closed().await;
        });
        later
    }

    fn place(&self, address: SocketAddr) -> Result<Place, NoRoom> {
        let of_all = self.connections.clone().try_acquire_owned().map_err(|_| NoRoom::AtAll)?;
        // Those of a proxy are many clients'.
        let trusted = is_trusted(address.ip(), &self.app.parts.options.trusted_proxies);
        let counted = || self.of_address.enter(network_of(address.ip())).ok_or(NoRoom::ForAddress);
        let of_address = (!trusted).then(counted).transpose()?;
        let open = metrics::HTTP_CONNECTIONS.raise(&[]);
        Ok(Place { _of_all: of_all, _of_address: of_address, _open: open })
    }

    /// Tells a client that there is no room for it, and closes the connection.
    fn turn_away(&self, stream: Box<dyn Connection>, reason: NoRoom) {
        let Ok(permit) = self.turned_away.clone().try_acquire_owned() else { return };
        let service = service_fn(move |_: hyper::Request<Incoming>| {
            let refused = Refused::by("connections", reason.rejection());
            ready(Ok::<_, Infallible>(refused.into_response()))
        });
        let clock = self.app.kernel().runtime().clock.clone();
        tokio::spawn(async move {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.keep_alive(false).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
            let told = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                biased;
                // Whether it read its answer is the client's business.
                _ = told => {}
                () = clock.sleep(TURNING_AWAY) => {}
            }
            drop(permit);
        });
    }

    fn serve(
        &self,
        stream: Box<dyn Connection>,
        address: SocketAddr,
        place: Place,
        mut stop: watch::Receiver<bool>,
    ) {
        let front = self.front.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let front = front.clone();
            async move { Ok::<_, Infallible>(front.answer(address.ip(), request).await) }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.app.parts.options.response_timeout));
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(HeadTimer::default())
            .header_read_timeout(self.app.parts.options.header_timeout)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            // Answers are short: to copy them behind their heads costs less than to tell of two parts.
            .writev(false);
        tokio::spawn(async move {
            let connection = builder.serve_connection(TokioIo::new(Box::pin(stream)), service);
            tokio::pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = told(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, client = %address, "a connection ended early");
            }
            drop(place);
        });
    }
}

/// Waits until the node is told to stop; a node that is gone has been.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
