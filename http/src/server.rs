use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::Request;
use fedsx_kernel::metrics;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt as _;

use crate::app::App;
use crate::limits::ClientAddress;
use crate::listener::{Connection, Listener};
use crate::routes;

/// Pause after a failed accept, such as too many open files.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

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
    router: Router,
}

impl Server {
    /// A server for these handlers' state.
    pub fn new(app: App) -> Self {
        let router = routes::router(app.clone());
        Self { app, router }
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
        let most = self.app.parts.options.connections;
        let mut stop = self.after_notice(stop);
        let connections = Arc::new(Semaphore::new(most));
        loop {
            let permit = tokio::select! {
                biased;
                () = told(&mut stop) => break,
                permit = connections.clone().acquire_owned() => permit,
            };
            // The semaphore is never closed.
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                biased;
                () = told(&mut stop) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => self.serve(stream, address, permit, stop.clone()),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        // A live stream would go on for long, and hold up the end.
        self.app.parts.projections.end_streams();
        let all = u32::try_from(most).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            _ = connections.acquire_many(all) => Ok(true),
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

    fn serve(
        &self,
        stream: Box<dyn Connection>,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
        mut stop: watch::Receiver<bool>,
    ) {
        let router = self.router.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ClientAddress(address));
            router.clone().oneshot(request)
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.app.parts.options.header_timeout)
            .max_headers(100)
            .max_buf_size(64 * 1024);
        tokio::spawn(async move {
            let _open = metrics::HTTP_CONNECTIONS.raise(&[]);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
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
            drop(permit);
        });
    }
}

/// Waits until the node is told to stop; a node that is gone has been.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
