//! What is answered before a node is there: opening a long log takes a while, and whoever asks is
//! better told so than left to wait.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use fedsx_kernel::refusal::{Problem, Refusal};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::listener::{Connection, Listener};
use crate::negotiate;
use crate::problem::Rejection;
use crate::readiness::Report;

/// Connections that are answered at the same time; beyond, they are closed.
const CONNECTIONS: usize = 64;
/// How long request headers may take to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers `/livez` and `/readyz` for a node that is being started, and everything else with 503.
pub struct Starting {
    stop: oneshot::Sender<()>,
    listening: JoinHandle<Box<dyn Listener>>,
}

impl Starting {
    /// Starts to answer.
    pub fn serve(mut listener: Box<dyn Listener>) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let listening = tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(CONNECTIONS));
            loop {
                let accepted = tokio::select! {
                    biased;
                    _ = &mut stopped => return listener,
                    accepted = listener.accept() => accepted,
                };
                match (accepted, places.clone().try_acquire_owned()) {
                    (Ok((stream, _)), Ok(place)) => drop(tokio::spawn(async move {
                        answer_on(stream).await;
                        drop(place);
                    })),
                    (Ok(_), Err(_)) => {}
                    (Err(error), _) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
        Self { stop, listening }
    }

    /// Ends that and gives the listener back; `None` where answering failed.
    pub async fn end(self) -> Option<Box<dyn Listener>> {
        // Who does not listen any more has ended.
        let _ = self.stop.send(());
        self.listening.await.ok()
    }
}

async fn answer_on(stream: Box<dyn Connection>) {
    let service = service_fn(|request: hyper::Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(request.uri().path()))
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn answer(path: &str) -> Response {
    match path {
        "/livez" => negotiate::json(StatusCode::OK, "application/json", &json!({ "live": true })),
        "/readyz" => {
            let report = Report::starting();
            negotiate::json(report.status(), "application/json", &report.answer(true))
        }
        _ => {
            let refusal = Refusal::new(Problem::Busy, "the instance is being started");
            Rejection::from(refusal).into_response()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::listener::TcpAcceptor;

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn who_asks_too_early_is_told_and_the_listener_goes_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let starting = Starting::serve(Box::new(TcpAcceptor(listener)));
        let address = {
            // The address is that of the listener which comes back.
            let listener = starting.end().await.unwrap();
            let address = listener.local_addr().unwrap();
            let starting = Starting::serve(listener);
            assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
            let ready = ask(address, "/readyz").await;
            assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
            assert!(
                ready.contains(r#""reason":"starting""#) && ready.contains("advice"),
                "{ready}"
            );
            let other = ask(address, "/actors/alice").await;
            assert!(
                other.starts_with("HTTP/1.1 503") && other.contains("/problems/busy"),
                "{other}"
            );
            assert!(other.contains("retry-after: 1"), "{other}");
            let mut listener = starting.end().await.unwrap();
            let late = tokio::spawn(async move { listener.accept().await.map(drop) });
            TcpStream::connect(address).await.unwrap();
            late.await.unwrap().unwrap();
            address
        };
        assert_ne!(address.port(), 0);
    }
}
