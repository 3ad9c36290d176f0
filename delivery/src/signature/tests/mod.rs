#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod coverage;
mod hostile;
mod oracle;
mod round_trip;
mod vectors;

use std::sync::OnceLock;

use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::runtime::SeededRandom;
use hyper::http::header::HOST;

use super::*;

const KEY_ID: &str = "https://alice.example/actors/alice#main-key";
const INBOX: &str = "https://bob.example/actors/bob/inbox?x=%C3%A4&y=1";
const BODY: &[u8] = br#"{"type":"Follow"}"#;
/// 2026-01-02T03:04:05Z.
const NOW_S: i64 = 1_767_323_045;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn random() -> SeededRandom {
    SeededRandom::new(7)
}

fn ed25519_key() -> SecretKey {
    SecretKey::generate_ed25519(&random())
}

/// One key for all tests, because making one is slow.
fn rsa_key() -> SecretKey {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    KEY.get_or_init(|| SecretKey::generate_rsa(&random()).unwrap()).clone()
}

/// A request that a test may spoil before it is received.
#[derive(Clone)]
struct Sent {
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Sent {
    fn signed(scheme: Scheme, key: &SecretKey, method: Method, uri: &str, body: &[u8]) -> Self {
        let parsed: Uri = uri.parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, parsed.authority().unwrap().as_str().parse().unwrap());
        let digest = (!body.is_empty()).then(|| BodyDigest::of(body));
        let request = RequestToSign {
            method: &method,
            uri: &parsed,
            digest: digest.as_ref(),
            now: at(NOW_S),
            nonce: "n1",
        };
        let signer = Signer { key_id: KEY_ID, key };
        sign(scheme, &request, &signer, &mut headers, &random()).unwrap();
        Self { method, uri: uri.to_owned(), headers, body: body.to_vec() }
    }

    fn post(scheme: Scheme, key: &SecretKey) -> Self {
        Self::signed(scheme, key, Method::POST, INBOX, BODY)
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    fn header(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }

    /// Replaces a piece of a header that must be there.
    fn edit(self, name: &'static str, from: &str, to: &str) -> Self {
        let before = self.header(name);
        assert!(before.contains(from), "{before}");
        self.set(name, &before.replacen(from, to, 1))
    }

    fn claim_at(&self, second: i64) -> Result<Option<Claim>, SignatureError> {
        let received = Received {
            method: &self.method,
            target_uri: &self.uri,
            headers: &self.headers,
            body: &self.body,
        };
        claim(&received, at(second))
    }

    fn claim(&self) -> Claim {
        self.claim_at(NOW_S).unwrap().unwrap()
    }

    /// What a receiver finds who holds the key.
    fn check(&self, key: &SecretKey) -> Result<(), SignatureError> {
        self.check_at(NOW_S, key)
    }

    fn check_at(&self, second: i64, key: &SecretKey) -> Result<(), SignatureError> {
        self.claim_at(second)?.expect("there is a signature").verify(&key.public())
    }
}
