//! HTTP signatures: the sender signs a request, the receiver finds out which key it claims and
//! then verifies it.
//!
//! Two schemes are spoken: draft-cavage-http-signatures-12, which every Fediverse server knows,
//! and RFC 9421. Reading ([`claim`]) and verifying ([`Claim::verify`]) are two steps, because the
//! key has to be looked up in between. Nothing here does any input or output.
//!
//! What is covered is judged strictly: method, target, time and, where there is a body, its
//! digest. The target is compared with the address of *this* instance, so that a request signed
//! for another server cannot be presented here.

mod ask;
mod cavage;
mod digest;
mod error;
mod fields;
mod rfc9421;
mod target;
#[cfg(test)]
mod tests;
mod window;

use fedsx_kernel::keys::{Algorithm, PublicKey, SecretKey};
use fedsx_kernel::metrics;
use fedsx_kernel::runtime::Random;
use hyper::http::header::{AUTHORIZATION, DATE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::{Method, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use ask::{ACCEPT_SIGNATURE, Ask, OURS as ACCEPT_SIGNATURE_HERE};
pub use digest::BodyDigest;
pub use error::{SignError, SignatureError};
pub use window::Windows;

pub(crate) use cavage::Parameters;
use target::Target;

/// The longest signature header, all its lines joined, in bytes.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;
/// The most components that a signature may cover.
pub const MAX_COMPONENTS: usize = 32;
/// The longest key id, in bytes.
pub const MAX_KEY_ID_BYTES: usize = fedsx_kernel::address::MAX_URL_BYTES;
/// The longest signature: that of an RSA key of 8192 bits, in bytes.
pub const MAX_SIGNATURE_BYTES: usize = 1024;

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// What a signature made here covers beside the usual where a request has it.
const ALSO_COVERED: [&str; 1] = ["collection-synchronization"];

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// draft-cavage-http-signatures-12.
    Cavage,
    /// HTTP Message Signatures, RFC 9421.
    Rfc9421,
}

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The key's id, a URL that the receiver can resolve.
    pub key_id: &'a str,
    /// The private key.
    pub key: &'a SecretKey,
}

/// A request that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct RequestToSign<'a> {
    /// The method.
    pub method: &'a Method,
    /// The absolute address.
    pub uri: &'a Uri,
    /// The digest of the body, which is sent and covered; `None` for requests without one.
    pub digest: Option<&'a BodyDigest>,
    /// The time of this attempt; whole seconds are sent.
    pub now: Timestamp,
    /// What makes this attempt unique (RFC 9421 `nonce`), in visible ASCII. draft-cavage has no
    /// room for one, so two such requests of one second are byte for byte the same.
    pub nonce: &'a str,
}

/// Signs a request: sets `Date`, the digest of the body and the signature fields, and removes
/// those that an attempt with the other scheme left behind.
///
/// The caller has set `Host` before; draft-cavage covers it.
pub fn sign(
    scheme: Scheme,
    request: &RequestToSign<'_>,
    signer: &Signer<'_>,
    headers: &mut HeaderMap,
    random: &dyn Random,
) -> Result<(), SignError> {
    sign_asked(scheme, request, signer, headers, random, None)
}

/// As [`sign`], as the receiver asked for it. draft-cavage knows no such asking.
pub fn sign_asked(
    scheme: Scheme,
    request: &RequestToSign<'_>,
    signer: &Signer<'_>,
    headers: &mut HeaderMap,
    random: &dyn Random,
    ask: Option<&Ask>,
) -> Result<(), SignError> {
    let target =
        Target::of(request.uri).ok_or_else(|| SignError::NotAbsolute(request.uri.to_string()))?;
    if signer.key_id.is_empty() || signer.key_id.len() > MAX_KEY_ID_BYTES {
        return Err(SignError::Unquotable("key id"));
    }
    for stale in [SIGNATURE, SIGNATURE_INPUT, DIGEST, CONTENT_DIGEST] {
        headers.remove(stale);
    }
    headers.insert(DATE, HeaderValue::try_from(fields::format_date(request.now)?)?);
    match scheme {
        Scheme::Cavage => cavage::sign(request, &target, signer, headers, random),
        Scheme::Rfc9421 => rfc9421::sign(request, &target, signer, headers, random, ask),
    }
}

/// A request as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The method.
    pub method: &'a Method,
    /// The absolute address: this instance's base followed by path and query as they came.
    pub target_uri: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The whole body, empty where there is none.
    pub body: &'a [u8],
}

/// What a request's signature claims, before anyone verified it.
///
/// Digest, coverage and times were checked; what is left is the signature itself, for which
/// [`Claim::verify`] needs the key named by `key_id`.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The scheme.
    pub scheme: Scheme,
    /// The id of the key, as the sender wrote it.
    pub key_id: String,
    /// The algorithm, where the sender named one that fixes it.
    pub algorithm: Option<Algorithm>,
    /// When the signature was made, by its own account (`created`, else `Date`), in seconds since
    /// 1970.
    pub created: i64,
    /// When the sender wants it to expire, in seconds since 1970.
    pub expires: Option<i64>,
    /// The last second since 1970 at which [`claim`] takes this signature: so long it has to be
    /// remembered against replays.
    pub acceptable_until: i64,
    /// The same for the same signature, whatever key id or header spelling comes with it. Remember
    /// it only after [`Claim::verify`], or a forger could spoil a request that is still to come.
    pub replay_key: [u8; 32],
    base: String,
    signature: Vec<u8>,
}

impl Claim {
    /// Verifies the signature with the key that [`Claim::key_id`] names.
    pub fn verify(&self, key: &PublicKey) -> Result<(), SignatureError> {
        let verdict = self.check(key);
        let scheme = match self.scheme {
            Scheme::Rfc9421 => "rfc9421",
            Scheme::Cavage => "draft-cavage",
        };
        let outcome = if verdict.is_ok() { "valid" } else { "invalid" };
        metrics::SIGNATURES.count(1, &[scheme, outcome]);
        verdict
    }

    fn check(&self, key: &PublicKey) -> Result<(), SignatureError> {
        if let Some(claimed) = self.algorithm
            && claimed != key.algorithm()
        {
            return Err(SignatureError::AlgorithmMismatch { claimed, key: key.algorithm() });
        }
        key.verify(self.base.as_bytes(), &self.signature).map_err(|_| SignatureError::BadSignature)
    }
}

/// Reads the signature of a request and checks everything that needs no key, with the default
/// [`Windows`]. `None` when the request bears no signature.
pub fn claim(received: &Received<'_>, now: Timestamp) -> Result<Option<Claim>, SignatureError> {
    claim_within(received, now, &Windows::default())
}

/// As [`claim`], with other time windows.
pub fn claim_within(
    received: &Received<'_>,
    now: Timestamp,
    windows: &Windows,
) -> Result<Option<Claim>, SignatureError> {
    let now_s = now.as_second();
    if let Some(input) = fields::bounded(received.headers, &SIGNATURE_INPUT)? {
        let signature = fields::bounded(received.headers, &SIGNATURE)?
            .ok_or_else(|| SignatureError::malformed("Signature-Input comes without Signature"))?;
        return rfc9421::claim(&input, &signature, received, now_s, windows).map(Some);
    }
    if let Some(parameters) = fields::bounded(received.headers, &SIGNATURE)? {
        return cavage::claim(&parameters, received, now_s, windows).map(Some);
    }
    match authorization(received.headers)? {
        Some(parameters) => cavage::claim(&parameters, received, now_s, windows).map(Some),
        None => Ok(None),
    }
}

/// The parameters of `Authorization: Signature ...`; `None` for other kinds, such as `Bearer`.
fn authorization(headers: &HeaderMap) -> Result<Option<String>, SignatureError> {
    const PREFIX: &str = "signature ";
    let is_ours = |value: &HeaderValue| {
        let start = value.as_bytes().get(..PREFIX.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX.as_bytes()))
    };
    if !headers.get_all(AUTHORIZATION).iter().any(is_ours) {
        return Ok(None);
    }
    if headers.get_all(AUTHORIZATION).iter().count() > 1 {
        return Err(SignatureError::malformed("there is more than one Authorization"));
    }
    let value = fields::bounded(headers, &AUTHORIZATION)?;
    Ok(value.and_then(|value| value.get(PREFIX.len()..).map(str::to_owned)))
}

/// Identifies a signature for replay protection.
fn replay_key(signature: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"fedsx http signature\n");
    hash.update(signature);
    hash.finalize().into()
}

/// Refuses key ids that nobody could resolve.
fn checked_key_id(key_id: &str) -> Result<String, SignatureError> {
    if key_id.is_empty() || key_id.len() > MAX_KEY_ID_BYTES {
        return Err(SignatureError::malformed("the key id is empty or too long"));
    }
    Ok(key_id.to_owned())
}

/// Refuses signatures that no key makes.
fn checked_signature(signature: Vec<u8>) -> Result<Vec<u8>, SignatureError> {
    if signature.is_empty() || signature.len() > MAX_SIGNATURE_BYTES {
        return Err(SignatureError::malformed("the signature is empty or too long"));
    }
    Ok(signature)
}
