//! The connector under the connection pool: dial, then TLS where the scheme asks for it.

use std::sync::Arc;
use std::time::Duration;

use hyper::http::uri::Scheme;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::dial::{BoxedStream, Dial};
use super::error::{ClientError, ConnectFailure};
use super::pool::Host;
use super::tls::Tls;

/// Opens connections for the pool.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) tls: Arc<Tls>,
    pub(super) connect_timeout: Duration,
}

impl Connector {
    pub(super) async fn open(&self, to: &Host) -> Result<TokioIo<BoxedStream>, ClientError> {
        let host = to.authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let https = to.scheme == Scheme::HTTPS;
        let port = to.authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        let opened = timeout(self.connect_timeout, async {
            let dialled = self.dial.dial(host, port).await;
            let stream = dialled.map_err(|error| ClientError::from_dial(host, &error))?;
            if https { self.tls.handshake(host, stream).await } else { Ok(stream) }
        });
        let stream = opened.await.unwrap_or_else(|_| {
            Err(ClientError::Connect {
                host: host.to_owned(),
                kind: ConnectFailure::Timeout,
                reason: format!("not connected within {} ms", self.connect_timeout.as_millis()),
            })
        })?;
        Ok(TokioIo::new(stream))
    }
}
