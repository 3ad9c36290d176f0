//! Why a request failed, and what that says about the peer.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use thiserror::Error;
use tokio_rustls::rustls;

/// Why a signer gave no signature.
pub type SignError = Box<dyn StdError + Send + Sync>;

/// Why a request failed.
///
/// Cloneable, so that callers who share one flight can share its failure.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is not one that we request.
    #[error("{url:?} cannot be requested: {reason}")]
    InvalidUrl {
        /// The URL, shortened and without credentials.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The URL is plain http and this instance does not allow that.
    #[error("{url} is not https (plain http needs --allow-http)")]
    SchemeRefused {
        /// The URL.
        url: String,
    },
    /// The host has no address on the public Internet.
    #[error(
        "{host} is at {addr}, which is not a public address (it needs --allow-private-network)"
    )]
    AddressRefused {
        /// The host as the URL names it.
        host: String,
        /// The first of its addresses that was refused.
        addr: IpAddr,
    },
    /// This instance has nothing to do with the host, or with the actor at that address.
    #[error("{host} is not asked: {reason}")]
    Blocked {
        /// The host as the URL names it.
        host: String,
        /// What the gate said.
        reason: String,
    },
    /// The host name has no address, or the resolver failed.
    #[error("{host} cannot be resolved: {reason}")]
    Dns {
        /// The host as the URL names it.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No connection to the host came about.
    #[error("no connection to {host}: {kind}: {reason}")]
    Connect {
        /// The host as the URL names it.
        host: String,
        /// In which way it failed.
        kind: ConnectFailure,
        /// What the operating system or the TLS library said.
        reason: String,
    },
    /// The host's certificate is not valid for it.
    #[error("the certificate of {host} is bad: {reason}")]
    Tls {
        /// The host as the URL names it.
        host: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// This machine has no certificate authorities to trust, so that https is impossible.
    #[error("no https request is possible, since no trusted certificates were found here: {0}")]
    NoTrustRoots(String),
    /// The answer was not complete in time.
    #[error("no complete answer within {} ms", after.as_millis())]
    Timeout {
        /// The time that the request was given.
        after: Duration,
        /// The status, where the answer had begun.
        status: Option<StatusCode>,
    },
    /// The connection ended before the answer was complete.
    #[error("the connection ended before the answer was complete: {reason}")]
    Interrupted {
        /// What happened to the connection.
        reason: String,
        /// The status, where the answer had begun.
        status: Option<StatusCode>,
    },
    /// The body of the answer is larger than the limit.
    #[error("the body of the answer is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
        /// The status of the answer.
        status: StatusCode,
    },
    /// The header section of the answer is larger than the limit, or has too many fields.
    #[error("the header section of the answer is too large")]
    HeadersTooLarge,
    /// More redirects than the limit.
    #[error("more than {limit} redirects, the last one to {url}")]
    TooManyRedirects {
        /// How many are followed.
        limit: usize,
        /// Where the last one led.
        url: String,
    },
    /// A redirect leads to where we do not go.
    #[error("the redirect to {to:?} is not followed: {reason}")]
    RedirectRefused {
        /// The value of the Location field, shortened.
        to: String,
        /// Why not.
        reason: String,
    },
    /// The answer is not HTTP as we speak it.
    #[error("the answer is not usable: {0}")]
    Protocol(String),
    /// The request from outside that asks for this one may cause no more of them.
    #[error("this request asks for too many fetches")]
    BudgetSpent,
    /// The request itself could not be built from what the caller gave.
    #[error("the request is not valid: {0}")]
    InvalidRequest(String),
    /// The signer failed.
    #[error("the request could not be signed: {0}")]
    Sign(#[source] Arc<dyn StdError + Send + Sync>),
}

/// In which way a connection failed to come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The port is closed.
    Refused,
    /// Nobody answered in time.
    Timeout,
    /// There is no route to the host.
    Unreachable,
    /// TCP connected, but TLS failed for a reason other than the certificate.
    Tls,
    /// Anything else.
    Other,
}

impl std::fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Timeout => "timed out",
            Self::Unreachable => "unreachable",
            Self::Tls => "TLS handshake failed",
            Self::Other => "failed",
        })
    }
}

/// What a failure says, for whoever decides about the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// The peer cannot be reached or does not finish: back off the peer.
    PeerDown,
    /// The peer's certificate is bad: only its operator can help, park at once.
    Certificate,
    /// This instance refuses the URL, scheme or address: park at once.
    RefusedHere,
    /// The peer answered with something unusable.
    BadAnswer,
    /// Something is wrong on our side; it says nothing about the peer.
    Local,
}

impl ClientError {
    /// What this failure says about the peer and the next attempt.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Interrupted { .. } => FailureClass::PeerDown,
            Self::Tls { .. } => FailureClass::Certificate,
            Self::InvalidUrl { .. }
            | Self::SchemeRefused { .. }
            | Self::AddressRefused { .. }
            | Self::Blocked { .. } => FailureClass::RefusedHere,
            Self::BodyTooLarge { .. }
            | Self::HeadersTooLarge
            | Self::TooManyRedirects { .. }
            | Self::RedirectRefused { .. }
            | Self::Protocol(_) => FailureClass::BadAnswer,
            Self::NoTrustRoots(_) | Self::BudgetSpent | Self::InvalidRequest(_) | Self::Sign(_) => {
                FailureClass::Local
            }
        }
    }

    /// The status that the peer had answered with before the rest of its answer failed.
    ///
    /// A delivery that was answered with 202 is delivered, whatever became of the body.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Timeout { status, .. } | Self::Interrupted { status, .. } => *status,
            Self::BodyTooLarge { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Wraps the error so that it passes through [`Dial`](super::Dial) unharmed.
    pub fn into_io(self) -> io::Error {
        let kind = match self {
            Self::AddressRefused { .. } => io::ErrorKind::PermissionDenied,
            Self::Dns { .. } => io::ErrorKind::NotFound,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }

    /// What an error of a [`Dial`](super::Dial) means.
    pub(super) fn from_dial(host: &str, error: &io::Error) -> Self {
        if let Some(own) = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            return own.clone();
        }
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
            io::ErrorKind::TimedOut => ConnectFailure::Timeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                ConnectFailure::Unreachable
            }
            _ => ConnectFailure::Other,
        };
        Self::Connect { host: host.to_owned(), kind, reason: error.to_string() }
    }

    /// What an error of the TLS handshake means.
    pub(super) fn from_handshake(host: &str, error: &io::Error) -> Self {
        let host = host.to_owned();
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(
                rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::UnsupportedNameType,
            ) => Self::Tls { host, reason: error.to_string() },
            Some(_) => Self::Connect { host, kind: ConnectFailure::Tls, reason: error.to_string() },
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Connect { host, kind: ConnectFailure::Tls, reason: error.to_string() }
            }
            None => Self::from_dial(&host, error),
        }
    }

    /// What an error of the connection pool or of an exchange means; `status` where the answer
    /// had begun.
    pub(super) fn from_exchange(
        error: &(dyn StdError + 'static),
        status: Option<StatusCode>,
    ) -> Self {
        let mut next = Some(error);
        let mut reason = error.to_string();
        while let Some(cause) = next {
            if let Some(own) = cause.downcast_ref::<Self>() {
                return own.clone();
            }
            if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
                return Self::from_hyper(hyper, status);
            }
            reason = cause.to_string();
            next = cause.source();
        }
        Self::Interrupted { reason, status }
    }

    fn from_hyper(error: &hyper::Error, status: Option<StatusCode>) -> Self {
        let reason = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        if error.is_parse_too_large() {
            Self::HeadersTooLarge
        } else if error.is_parse() {
            Self::Protocol(reason)
        } else if error.is_user() {
            Self::InvalidRequest(reason)
        } else if error.source().is_some_and(|source| {
            // hyper hides its own type for a malformed chunk, but not the kind of the error.
            source.downcast_ref::<io::Error>().is_some_and(|io| {
                matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
            })
        }) {
            Self::Protocol(reason)
        } else {
            Self::Interrupted { reason, status }
        }
    }
}
