//! How TCP connections come about: the seam between the client and the network.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{ClientError, is_public};

/// How many addresses of one host are tried.
const MAX_ADDRESSES: usize = 6;
/// How long one address may take while another is left to try.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// What a connection must be able to do.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A connection of any kind.
pub type BoxedStream = Box<dyn Stream>;

/// Resolves a host and connects to it. A simulator supplies its own.
pub trait Dial: Send + Sync + 'static {
    /// A connection to the host: a name, or an address literal (IPv6 without brackets).
    ///
    /// Errors keep their meaning where they are a [`ClientError`] wrapped by
    /// [`ClientError::into_io`]; of all others the kind is looked at. The caller limits the time.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxedStream>>;
}

/// Dials over the operating system's resolver and TCP.
///
/// Addresses are checked after resolution and exactly those that passed are dialled, so that
/// a name cannot change its address between check and use (DNS rebinding).
#[derive(Clone, Copy, Debug)]
pub struct TcpDial {
    /// Whether addresses that are not on the public Internet may be dialled (development).
    pub allow_private_network: bool,
}

impl TcpDial {
    /// The addresses to try, in order: those allowed, families taking turns (after RFC 8305,
    /// section 4), so that a dead address family costs one attempt.
    fn choose(
        self,
        host: &str,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, ClientError> {
        let mut refused = None;
        let mut allowed = Vec::new();
        for addr in found {
            if self.allow_private_network || is_public(addr.ip()) {
                allowed.push(addr);
            } else {
                refused.get_or_insert(addr.ip());
            }
        }
        let Some(first) = allowed.first() else {
            let host = host.to_owned();
            return Err(match refused {
                Some(addr) => ClientError::AddressRefused { host, addr },
                None => ClientError::Dns { host, reason: "the name has no address".to_owned() },
            });
        };
        let leading_v6 = first.is_ipv6();
        let (leading, others): (Vec<_>, Vec<_>) =
            allowed.into_iter().partition(|addr| addr.is_ipv6() == leading_v6);
        let mut others = others.into_iter();
        let mut order = Vec::new();
        for addr in leading {
            order.push(addr);
            order.extend(others.next());
        }
        order.extend(others);
        order.truncate(MAX_ADDRESSES);
        Ok(order)
    }

    async fn connect(self, host: &str, port: u16) -> io::Result<BoxedStream> {
        let found = lookup_host((host, port)).await.map_err(|e| {
            ClientError::Dns { host: host.to_owned(), reason: e.to_string() }.into_io()
        })?;
        let addrs = self.choose(host, found).map_err(ClientError::into_io)?;
        let last = addrs.len().saturating_sub(1);
        let mut failure = io::Error::from(io::ErrorKind::TimedOut);
        for (index, addr) in addrs.into_iter().enumerate() {
            let attempt = TcpStream::connect(addr);
            let outcome = if index == last {
                attempt.await
            } else {
                timeout(ATTEMPT_TIMEOUT, attempt)
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            };
            match outcome {
                Ok(stream) => {
                    // Requests are written in one piece; waiting for more only delays them.
                    stream.set_nodelay(true)?;
                    return Ok(Box::new(stream));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

impl Dial for TcpDial {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxedStream>> {
        Box::pin(self.connect(host, port))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn choose(allow_private_network: bool, found: &[&str]) -> Result<Vec<String>, ClientError> {
        let found: Vec<SocketAddr> = found.iter().map(|a| a.parse().expect("address")).collect();
        let order = TcpDial { allow_private_network }.choose("host.example", found.into_iter())?;
        Ok(order.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn private_addresses_are_left_out() {
        let mixed = ["10.0.0.1:443", "9.9.9.9:443", "[::1]:443"];
        assert_eq!(choose(false, &mixed).unwrap(), ["9.9.9.9:443"]);
        let refused = choose(false, &["10.0.0.1:443", "[::1]:443"]).unwrap_err();
        assert!(matches!(&refused, ClientError::AddressRefused { addr, .. }
            if addr.to_string() == "10.0.0.1"));
        assert!(refused.to_string().contains("--allow-private-network"));
        assert_eq!(choose(true, &["10.0.0.1:443"]).unwrap(), ["10.0.0.1:443"]);
        assert!(matches!(choose(true, &[]), Err(ClientError::Dns { .. })));
    }

    #[test]
    fn families_take_turns() {
        let found = ["[2a00::1]:1", "[2a00::2]:1", "[2a00::3]:1", "9.9.9.9:1", "9.9.9.8:1"];
        assert_eq!(
            choose(false, &found).unwrap(),
            ["[2a00::1]:1", "9.9.9.9:1", "[2a00::2]:1", "9.9.9.8:1", "[2a00::3]:1"]
        );
        let many: Vec<String> = (1..20).map(|n| format!("9.9.9.{n}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(choose(false, &many).unwrap().len(), MAX_ADDRESSES);
    }
}
