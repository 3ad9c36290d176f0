//! Schemes, addresses, connections and certificates.

use std::io;

use fedsx_kernel::runtime::{Clock, ManualClock};
use futures::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;

/// Leads every host to one address, or fails.
struct To(Result<SocketAddr, Failure>);

type Failure = fn() -> io::Error;

impl Dial for To {
    fn dial<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<BoxedStream>> {
        Box::pin(async move {
            match &self.0 {
                Ok(addr) => Ok(Box::new(TcpStream::connect(addr).await?) as BoxedStream),
                Err(failure) => Err(failure()),
            }
        })
    }
}

#[tokio::test]
async fn plain_http_and_private_addresses_need_permission() {
    let addr = answering(|_| ok("secret")).await;
    let url = format!("http://{addr}/");
    let failure = client(ClientOptions::default()).get(&url, "*/*", None).await.unwrap_err();
    assert!(matches!(failure, ClientError::SchemeRefused { .. }), "{failure}");
    assert_eq!(failure.class(), FailureClass::RefusedHere);

    let port = addr.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "169.254.169.254",
    ] {
        let options = ClientOptions { allow_private_network: false, ..local() };
        let url = format!("http://{host}:{port}/");
        let failure = client(options).get(&url, "*/*", None).await.unwrap_err();
        assert!(matches!(failure, ClientError::AddressRefused { .. }), "{host}: {failure}");
        assert_eq!(failure.class(), FailureClass::RefusedHere);
    }
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    /// The outside leads to our server, everything else goes through the usual checks.
    struct Outside(SocketAddr);
    impl Dial for Outside {
        fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxedStream>> {
            Box::pin(async move {
                if host == "outside.example" {
                    return Ok(Box::new(TcpStream::connect(self.0).await?) as BoxedStream);
                }
                TcpDial { allow_private_network: false }.dial(host, port).await
            })
        }
    }
    let inside = answering(|_| ok("secret")).await;
    let outside = answering(move |_| redirect(&format!("http://{inside}/"))).await;
    let options = ClientOptions { allow_private_network: false, ..local() };
    let client = Client::new(options, Arc::new(Outside(outside)), Arc::new(SystemClock));
    let failure = client.get("http://outside.example/", "*/*", None).await.unwrap_err();
    assert!(matches!(failure, ClientError::AddressRefused { .. }), "{failure}");
}

#[tokio::test]
async fn failures_to_connect_are_told_apart() {
    let addr = closed_port().await;
    let failure = client(local()).get(&format!("http://{addr}/"), "*/*", None).await.unwrap_err();
    assert!(
        matches!(failure, ClientError::Connect { kind: ConnectFailure::Refused, .. }),
        "{failure}"
    );
    assert_eq!(failure.class(), FailureClass::PeerDown);

    let cases: [(Failure, &str); 4] = [
        (|| io::ErrorKind::HostUnreachable.into(), "unreachable"),
        (|| io::ErrorKind::TimedOut.into(), "timed out"),
        (|| io::Error::other("odd"), "odd"),
        (
            || ClientError::Dns { host: "a".to_owned(), reason: "gone".to_owned() }.into_io(),
            "a cannot be resolved: gone",
        ),
    ];
    for (failure, expected) in cases {
        let dial = Arc::new(To(Err(failure)));
        let client = Client::new(local(), dial, Arc::new(SystemClock));
        let failure = client.get("http://peer.example/", "*/*", None).await.unwrap_err();
        assert!(failure.to_string().contains(expected), "{failure}");
        assert_eq!(failure.class(), FailureClass::PeerDown);
    }
}

#[tokio::test]
async fn connecting_has_its_own_time_limit() {
    struct Never;
    impl Dial for Never {
        fn dial<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<BoxedStream>> {
            Box::pin(std::future::pending())
        }
    }
    let options = ClientOptions { connect_timeout: Duration::from_millis(50), ..local() };
    let client = Client::new(options, Arc::new(Never), Arc::new(SystemClock));
    let failure = client.get("http://peer.example/", "*/*", None).await.unwrap_err();
    assert!(
        matches!(failure, ClientError::Connect { kind: ConnectFailure::Timeout, .. }),
        "{failure}"
    );
}

/// A certificate authority, and a server at `peer.example` until 2030 with its certificate.
async fn tls_server() -> (CertificateDer<'static>, SocketAddr) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap().der().clone();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["peer.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    let cert = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let addr = serve(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            while let Some(head) = read_head(&mut stream).await {
                let down = head.starts_with("GET /down ");
                let answer = if down { redirect("http://peer.example/") } else { ok("hello") };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (ca_cert, addr)
}

fn trusting(root: &CertificateDer<'static>, addr: SocketAddr, clock: Arc<dyn Clock>) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
    let tls = Tls::with_verifier(clock, verifier.build().unwrap());
    Client::assemble(ClientOptions::default(), Arc::new(To(Ok(addr))), tls)
}

#[tokio::test]
async fn certificates_are_checked_at_the_time_of_the_clock() {
    let (root, addr) = tls_server().await;
    let at = |text: &str| {
        let time: jiff::Timestamp = text.parse().unwrap();
        Arc::new(ManualClock::new(time.as_millisecond()))
    };
    let now = at("2025-01-01T00:00:00Z");
    let client = trusting(&root, addr, now);
    let answer = client.get("https://peer.example/", "*/*", None).await.expect("an answer");
    assert_eq!(answer.body, "hello");

    let too_late = trusting(&root, addr, at("2031-01-01T00:00:00Z"));
    for (client, url) in [
        (&client, "https://other.example/"),
        (&client, "https://127.0.0.1/"),
        (&too_late, "https://peer.example/"),
    ] {
        let failure = client.get(url, "*/*", None).await.unwrap_err();
        assert!(matches!(failure, ClientError::Tls { .. }), "{url}: {failure}");
        assert_eq!(failure.class(), FailureClass::Certificate);
    }
}

#[tokio::test]
async fn an_unknown_authority_is_a_bad_certificate() {
    let (_, addr) = tls_server().await;
    let dial = Arc::new(To(Ok(addr)));
    let client = Client::new(ClientOptions::default(), dial, Arc::new(SystemClock));
    let failure = client.get("https://peer.example/", "*/*", None).await.unwrap_err();
    // A machine without trusted certificates says so instead.
    assert!(matches!(failure, ClientError::Tls { .. } | ClientError::NoTrustRoots(_)), "{failure}");
}

#[tokio::test]
async fn plain_text_is_no_tls_and_a_downgrade_is_refused() {
    let (root, addr) = tls_server().await;
    let plain = serve(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let client = trusting(&root, plain, Arc::new(SystemClock));
    let failure = client.get("https://peer.example/", "*/*", None).await.unwrap_err();
    assert!(matches!(failure, ClientError::Connect { kind: ConnectFailure::Tls, .. }), "{failure}");
    assert_eq!(failure.class(), FailureClass::PeerDown);

    let client = trusting(&root, addr, Arc::new(SystemClock));
    let failure = client.get("https://peer.example/down", "*/*", None).await.unwrap_err();
    assert!(matches!(failure, ClientError::RedirectRefused { .. }), "{failure}");
    assert!(failure.to_string().contains("--allow-http"), "{failure}");
}
