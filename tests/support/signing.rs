//! Requests that some key signed.

use axum::http::{HeaderMap, Method, Uri, header};
use fedsx_delivery::signature::{self, BodyDigest, RequestToSign, Scheme, Signer};
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::runtime::OsRandom;
use jiff::Timestamp;

use super::ACTIVITY_JSON;
use super::client::{Answer, Client};
use super::foreign::unique;
use super::node::Node;

/// A key that signs requests, of any size.
pub enum SigningKey<'a> {
    /// One that every server here takes.
    Usual(&'a SecretKey),
    /// An RSA key that is too small to be taken.
    Small(&'a rsa::RsaPrivateKey),
}

impl SigningKey<'_> {
    /// The signature over a message, with SHA-256 for RSA.
    pub fn sign(&self, message: &[u8], random: &dyn fedsx_kernel::runtime::Random) -> Vec<u8> {
        match self {
            Self::Usual(key) => key.sign(message, random).expect("a signature"),
            Self::Small(key) => {
                let scheme = rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha256>();
                let digest = rsa::sha2::Digest::finalize(
                    <rsa::sha2::Sha256 as rsa::sha2::Digest>::new_with_prefix(message),
                );
                key.sign(scheme, &digest).expect("a signature")
            }
        }
    }

    /// Its name in RFC 9421.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Usual(key) => key.algorithm().name(),
            Self::Small(_) => "rsa-v1_5-sha256",
        }
    }
}

/// Fetches from a node, the request signed by some key.
pub fn fetch_signed(
    node: &Node,
    path: &str,
    accept: &str,
    scheme: Scheme,
    (key_id, key): (&str, &SecretKey),
) -> Answer {
    let headers =
        headers_signed(&Method::GET, &format!("{}{path}", node.base), None, scheme, key_id, key);
    let mut list = vec![("accept", accept)];
    for (name, value) in headers.iter().filter(|(name, _)| *name != header::HOST) {
        list.push((name.as_str(), value.to_str().expect("text")));
    }
    node.client().send("GET", path, &list, None)
}

/// The headers of a request that some key signed.
pub fn signed_by(
    url: &str,
    body: &[u8],
    scheme: Scheme,
    key_id: &str,
    key: &SecretKey,
) -> HeaderMap {
    headers_signed(&Method::POST, url, Some(body), scheme, key_id, key)
}

fn headers_signed(
    method: &Method,
    url: &str,
    body: Option<&[u8]>,
    scheme: Scheme,
    key_id: &str,
    key: &SecretKey,
) -> HeaderMap {
    let uri: Uri = url.parse().expect("a URL");
    let mut headers = HeaderMap::new();
    let authority = uri.authority().expect("a host").as_str();
    headers.insert(header::HOST, authority.parse().expect("a host"));
    let nonce = format!("{:032x}", unique());
    let digest = body.map(BodyDigest::of);
    let (digest, now) = (digest.as_ref(), Timestamp::now());
    let request = RequestToSign { method, uri: &uri, digest, now, nonce: &nonce };
    let signer = Signer { key_id, key };
    signature::sign(scheme, &request, &signer, &mut headers, &OsRandom).expect("a signature");
    headers
}

/// Posts a delivery with these headers, byte for byte.
pub fn send(client: &Client, path: &str, headers: &HeaderMap, body: Vec<u8>) -> Answer {
    let mut list = vec![("content-type", ACTIVITY_JSON)];
    for (name, value) in headers {
        if name != header::HOST {
            list.push((name.as_str(), value.to_str().expect("text")));
        }
    }
    client.send("POST", path, &list, Some(body))
}
