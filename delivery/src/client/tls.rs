//! TLS towards peers: ring, the platform's trusted certificates, the injected clock.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fedsx_kernel::runtime::Clock;
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{self, ClientConfig};

use super::dial::BoxedStream;
use super::error::ClientError;

/// Certificates are judged at the time that the injected clock shows.
struct ClockTime(Arc<dyn Clock>);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let now_ms = u64::try_from(self.0.now_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(now_ms)))
    }
}

/// Makes TLS connections. The trusted certificates are loaded for the first one.
pub(super) struct Tls {
    clock: Arc<dyn Clock>,
    connector: OnceLock<Result<TlsConnector, String>>,
}

impl Tls {
    /// TLS that trusts what the platform trusts.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, connector: OnceLock::new() }
    }

    /// TLS that asks this verifier.
    #[cfg(test)]
    pub(super) fn with_verifier(
        clock: Arc<dyn Clock>,
        verifier: Arc<dyn ServerCertVerifier>,
    ) -> Self {
        let connector = OnceLock::from(connector(Arc::clone(&clock), verifier));
        Self { clock, connector }
    }

    /// The handshake with `host` (a name, or an address literal without brackets).
    pub(super) async fn handshake(
        &self,
        host: &str,
        stream: BoxedStream,
    ) -> Result<BoxedStream, ClientError> {
        // Reading the certificate store blocks for some milliseconds, once per process.
        let connector = self
            .connector
            .get_or_init(|| platform_connector(Arc::clone(&self.clock)))
            .as_ref()
            .map_err(|reason| ClientError::NoTrustRoots(reason.clone()))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ClientError::InvalidUrl {
            url: host.to_owned(),
            reason: "no certificate can be valid for this host",
        })?;
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(ClientError::from_handshake(host, &error)),
        }
    }
}

fn platform_connector(clock: Arc<dyn Clock>) -> Result<TlsConnector, String> {
    let verifier =
        Verifier::new(Arc::new(ring::default_provider())).map_err(|error| error.to_string())?;
    connector(clock, Arc::new(verifier))
}

/// The provider is named here, because a process-wide default may be missing or another one.
fn connector(
    clock: Arc<dyn Clock>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<TlsConnector, String> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
        .with_safe_default_protocol_versions()
        .map_err(|error: rustls::Error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
