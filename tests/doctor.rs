//! What `fedsx doctor` says: each check, and what to do.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::node::{Node, command, run_to_end};
use crate::support::{PATIENCE, Peer, eventually, secret};

/// The findings, with these variables.
fn doctor(node: &Node, variables: &[(&str, &str)], args: &[&str]) -> Value {
    let mut command = command();
    command.env("FEDSX_PROFILES", "/nonexistent/profiles.toml").envs(variables.iter().copied());
    command.args(["doctor", "--json", "--url", &node.base, "--token", &secret("operator")]);
    command.args(args);
    let ended = run_to_end(command);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.all()))
}

#[track_caller]
fn finding(said: &Value, check: &str) -> (String, String) {
    let findings = said["findings"].as_array().expect("findings");
    let found = findings.iter().find(|one| one["check"] == check);
    let found = found.unwrap_or_else(|| panic!("{check} in {said}"));
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    (text("outcome"), format!("{}; {}", text("what"), text("advice")))
}

#[test]
fn variables_count_like_for_serve() {
    let node = Node::start();
    let data = node.data().display().to_string();
    let variables = |base: &'static str| {
        [
            ("FEDSX_DATA", data.clone()),
            ("FEDSX_BASE_URL", base.to_owned()),
            ("FEDSX_ALLOW_HTTP", "true".into()),
        ]
    };
    let elsewhere = variables("http://elsewhere.localhost");
    let elsewhere: Vec<_> = elsewhere.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let said = doctor(&node, &elsewhere, &[]);
    assert_eq!(finding(&said, "configuration").0, "ok", "{said}");
    assert_eq!(finding(&said, "data").0, "fail", "another base than that of the data: {said}");
    let said = doctor(&node, &[("FEDSX_DATA", &data), ("FEDSX_EPOCH", "many")], &[]);
    assert_eq!(finding(&said, "configuration").0, "fail", "{said}");
    assert_eq!(finding(&doctor(&node, &[], &[]), "configuration").0, "skip");
}

#[test]
fn a_copied_directory_and_an_interrupted_change_of_keys_are_told() {
    let node = Node::start();
    let base = node.base.clone();
    let data = node.into_data();
    let copy = tempfile::tempdir().expect("a directory");
    for name in ["base", "format", "place", "master.key"] {
        fs::copy(data.path().join(name), copy.path().join(name)).expect("copied");
    }
    fs::copy(data.path().join("master.key"), copy.path().join("master.key.next")).expect("copied");
    let other = Node::start();
    let place = copy.path().display().to_string();
    let variables =
        [("FEDSX_DATA", place.as_str()), ("FEDSX_BASE_URL", &base), ("FEDSX_ALLOW_HTTP", "true")];
    let said = doctor(&other, &variables, &[]);
    let (outcome, what) = finding(&said, "copy");
    assert!(outcome == "fail" && what.contains("--epoch"), "{said}");
    assert!(said.to_string().contains("rotate-master"), "{said}");
    assert_eq!(finding(&said, "equivocations").0, "ok", "{said}");
}

/// Serves TLS on a port of its own with a certificate that ends after so many days; gives the port
/// and the certificate of who issued it.
fn tls_for(days: u64) -> (u16, String) {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
        .expect("an issuer");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
    params.not_before = (now - day).into();
    params.not_after = (now + day * u32::try_from(days).expect("few") + day / 2).into();
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .expect("a configuration");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = StreamOwned::new(connection, stream);
            // The handshake is all that is looked at.
            let _ = stream.conn.complete_io(&mut stream.sock);
        }
    });
    let issuer: &rcgen::Certificate = issuer.as_ref();
    let body = base64::engine::general_purpose::STANDARD.encode(issuer.der());
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let pem =
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    (port, pem)
}

#[test]
fn a_certificate_that_ends_soon_is_told() {
    let node = Node::start();
    let place = tempfile::tempdir().expect("a directory");
    let roots = place.path().join("roots.pem");
    let data = node.data().display().to_string();
    for (days, wanted) in [(60, "ok"), (20, "warn")] {
        let (port, issuer) = tls_for(days);
        fs::write(&roots, issuer).expect("written");
        let (base, roots) = (format!("https://localhost:{port}"), roots.display().to_string());
        let variables =
            [("FEDSX_DATA", data.as_str()), ("FEDSX_BASE_URL", &base), ("SSL_CERT_FILE", &roots)];
        let said = doctor(&node, &variables, &[]);
        let (outcome, what) = finding(&said, "certificate");
        assert_eq!(outcome, wanted, "{said}");
        assert!(what.contains(&format!("{days} more days")), "{what}");
    }
    // Who issued it is not known: peers would refuse it.
    let (port, _) = tls_for(60);
    let base = format!("https://localhost:{port}");
    let said = doctor(&node, &[("FEDSX_DATA", &data), ("FEDSX_BASE_URL", &base)], &[]);
    assert_eq!(finding(&said, "certificate").0, "fail", "{said}");
}

/// This machine is measured against the middle one of its peers, as one of them may be wrong itself.
#[test]
fn clocks_of_peers_tell_when_the_own_is_wrong() {
    const CHECK: &str = "peer clocks";
    let node = Node::start();
    node.create("alice");
    assert_eq!(finding(&doctor(&node, &[], &[]), CHECK).0, "skip", "there are no peers");
    let peers: Vec<_> = (0..3).map(|_| Peer::start()).collect();
    for peer in &peers {
        let note = json!({ "type": "Note", "content": "what time is it?" });
        let request = json!({ "type": "Create", "to": [peer.actor("bob").id], "object": note });
        peer.receives(&node.publish("alice", &request).id);
    }
    for (ahead_s, wanted, advice) in [
        ([0, 0, 0], "ok", ""),
        ([-7200, 0, 0], "ok", ""),
        ([0, 20, 30], "warn", "NTP"),
        ([0, -40, -7200], "warn", "NTP"),
        ([7200, 0, 3600], "fail", "set the clock"),
        ([-3600, -3600, 0], "fail", "set the clock"),
    ] {
        for (peer, seconds) in peers.iter().zip(ahead_s) {
            peer.clock_ahead(seconds);
        }
        // On a machine that is busy, an answer may be read long after it was dated.
        let what = eventually(PATIENCE, &format!("{ahead_s:?} is {wanted}"), || {
            let (outcome, what) = finding(&doctor(&node, &[], &[]), CHECK);
            (outcome == wanted).then_some(what)
        });
        assert!(what.contains("of 3 peers") && what.contains(advice), "{ahead_s:?}: {what}");
    }
    let asked = |peer: &Peer| peer.fetched("/.well-known/nodeinfo");
    assert!(peers.iter().all(|peer| asked(peer) >= 6), "each of them, each time");
}
