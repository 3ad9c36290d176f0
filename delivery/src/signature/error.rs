use fedsx_kernel::keys::{Algorithm, KeyError};
use hyper::http::header::InvalidHeaderValue;
use thiserror::Error;

use super::{MAX_COMPONENTS, MAX_HEADER_BYTES};

/// The most characters of a sender's text that a message repeats.
const SHOWN_CHARS: usize = 64;

/// Why a request could not be signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// The address has no scheme or host, or bears credentials.
    #[error("{0:?} is not an absolute http or https address without credentials")]
    NotAbsolute(String),
    /// `Host` was not set before signing.
    #[error("the Host header must be set before a request is signed")]
    NoHost,
    /// A text cannot stand inside a quoted string of visible ASCII.
    #[error("the {0} is empty, too long or holds characters that cannot be quoted in a header")]
    Unquotable(&'static str),
    /// The time lies outside what `Date` can say.
    #[error("the time cannot be written as an HTTP date: {0}")]
    Time(#[from] jiff::Error),
    /// A value does not fit into a header.
    #[error("a signature header cannot be written: {0}")]
    Header(#[from] InvalidHeaderValue),
    /// The key did not sign.
    #[error("the key could not sign: {0}")]
    Key(#[from] KeyError),
}

/// Why a request's signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The headers are not what the scheme prescribes.
    #[error("the signature headers are malformed: {0}")]
    Malformed(String),
    /// A header is longer than [`MAX_HEADER_BYTES`].
    #[error("the {0} header is longer than {MAX_HEADER_BYTES} bytes")]
    TooLong(String),
    /// More than [`MAX_COMPONENTS`] are covered.
    #[error("the signature covers more than {MAX_COMPONENTS} components")]
    TooManyComponents,
    /// A parameter that is needed is not there.
    #[error("the signature has no {0} parameter")]
    MissingParameter(&'static str),
    /// Something that must be signed is not.
    #[error("the signature does not cover {0}")]
    MissingComponent(&'static str),
    /// A covered header is not part of the request.
    #[error("the signature covers {0:?}, which the request does not have")]
    AbsentField(String),
    /// A component, or a parameter of one, that is not understood here.
    #[error("the signature covers {0}, which is not supported here")]
    UnsupportedComponent(String),
    /// An algorithm that is not known here.
    #[error("the signature algorithm {0:?} is not supported; use rsa-v1_5-sha256 or ed25519")]
    UnsupportedAlgorithm(String),
    /// The digest uses none of the known algorithms.
    #[error("the digest has neither sha-256 nor sha-512")]
    UnsupportedDigest,
    /// The body is not the one that was signed.
    #[error("the digest does not match the body")]
    DigestMismatch,
    /// The request was signed for another server.
    #[error("the Host header says {found:?}, but this server is {expected:?}")]
    WrongHost {
        /// What the request says.
        found: String,
        /// Who we are.
        expected: String,
    },
    /// The signature is older than the window.
    #[error("the signature was made {age_s} seconds ago, which is more than {limit_s}")]
    TooOld {
        /// Its age, in seconds.
        age_s: i64,
        /// The highest age, in seconds.
        limit_s: i64,
    },
    /// The sender's own limit passed.
    #[error("the signature expired {ago_s} seconds ago")]
    Expired {
        /// How long ago, in seconds.
        ago_s: i64,
    },
    /// The sender's clock is ahead, or ours behind.
    #[error("the signature lies {ahead_s} seconds in the future; check the clocks")]
    FromTheFuture {
        /// How far, in seconds.
        ahead_s: i64,
    },
    /// The named algorithm is not the key's.
    #[error("the signature says {claimed}, but the key is for {key}")]
    AlgorithmMismatch {
        /// What the signature's parameters say.
        claimed: Algorithm,
        /// What the key is for.
        key: Algorithm,
    },
    /// The signature was not made by this key over this request.
    #[error("the signature does not match the request and the key")]
    BadSignature,
}

impl SignatureError {
    /// A malformed signature, in our own words.
    pub(super) fn malformed(what: &str) -> Self {
        Self::Malformed(what.to_owned())
    }
}

/// The beginning of a sender's text, fit for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}
