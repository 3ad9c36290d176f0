use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// A connection that was accepted.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// A connection and the address of its client, to come.
pub type Accepting<'a> =
    Pin<Box<dyn Future<Output = io::Result<(Box<dyn Connection>, SocketAddr)>> + Send + 'a>>;

/// Where connections come from; a simulator supplies its own.
pub trait Listener: Send + 'static {
    /// Waits for the next connection.
    fn accept(&mut self) -> Accepting<'_>;

    /// The address that it listens at.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Connections over TCP.
pub struct TcpAcceptor(pub TcpListener);

impl Listener for TcpAcceptor {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async {
            let (stream, address) = self.0.accept().await?;
            // Answers are small and complete; waiting to fill a packet only delays them.
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Box<dyn Connection>, address))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
