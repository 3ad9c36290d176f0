//! The certificate with which the instance is served under its base URL.

use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fedsx_kernel::Base;
use fedsx_kernel::runtime::{Clock as _, SystemClock};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::Verifier;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Findings, Outcome};

/// How many days before its end somebody should look: what renews certificates does so earlier.
const WARN_DAYS: i64 = 21;
const DAY_S: i64 = 24 * 3600;
/// How long connecting, and each step of the handshake, may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Says until when the certificate is valid; nothing where the base URL is plain http.
pub(super) fn expiry(base: &Base, findings: &mut Findings) {
    const CHECK: &str = "certificate";
    let Some(authority) = base.as_str().strip_prefix("https://") else { return };
    match not_after_s(authority) {
        Ok(until) => {
            let days = (until - SystemClock.now().as_second()).div_euclid(DAY_S);
            let what = format!("that of {authority} is valid for {days} more days");
            if days < WARN_DAYS {
                let advice = "see why it was not renewed, and renew it";
                findings.add(CHECK, Outcome::Warn, what, advice);
            } else {
                findings.ok(CHECK, what);
            }
        }
        Err(error) => {
            let what = format!("{authority}: {error:#}");
            findings.add(
                CHECK,
                Outcome::Fail,
                what,
                "see the certificate of the proxy, and renew it",
            );
        }
    }
}

/// When the certificate ends, in seconds since 1970. It is judged as peers judge it: what does not
/// hold is an error, with the reason.
fn not_after_s(authority: &str) -> Result<i64> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => (host, port.parse()?),
        _ => (authority, 443u16),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new(Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    let connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = StreamOwned::new(connection, connect(host, port)?);
    stream.flush().context("the handshake")?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).context("the handshake")?;
    }
    let chain = stream.conn.peer_certificates().unwrap_or_default();
    let Some(own) = chain.first() else { bail!("no certificate was shown") };
    let (_, own) = X509Certificate::from_der(own).context("the certificate cannot be read")?;
    Ok(own.validity().not_after.timestamp())
}

fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last).context("no connection")
}
