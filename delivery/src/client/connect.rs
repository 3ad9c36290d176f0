//! The connector under the connection pool: dial, then TLS where the scheme asks for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tower::Service;

use super::dial::{BoxedStream, Dial};
use super::error::{ClientError, ConnectFailure};
use super::tls::Tls;

/// Opens connections for the pool.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) tls: Arc<Tls>,
    pub(super) connect_timeout: Duration,
}

impl Connector {
    async fn open(self, uri: Uri) -> Result<TokioIo<Link>, ClientError> {
        let invalid = |reason| ClientError::InvalidUrl { url: uri.to_string(), reason };
        let host = uri.host().ok_or_else(|| invalid("it has no host"))?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
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
        Ok(TokioIo::new(Link(stream)))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = ClientError;
    type Future = BoxFuture<'static, Result<Self::Response, ClientError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().open(uri))
    }
}

/// A connection as the pool wants it.
pub(super) struct Link(BoxedStream);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
