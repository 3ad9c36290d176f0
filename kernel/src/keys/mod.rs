//! Keys: key material, an author's key history, and private keys at rest.
//!
//! Ed25519 signs activities and, where the peer takes it, HTTP requests; RSA signs HTTP requests
//! toward servers that know nothing else. The libraries behind them are named only in the private
//! modules `secret`, `public` and `rsa_key`.

mod history;
mod parsed;
mod pem;
mod public;
mod reseal;
mod ring;
mod rsa_key;
mod secret;
mod vault;

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use history::{HistoryError, Key, KeyHistory, MAX_KEYS, Material, Purpose};
pub(crate) use parsed::ParsedKeys;
pub use public::PublicKey;
pub use reseal::{Resealed, check as check_master_key, reseal};
pub use ring::{FreshKeys, KeyMaker, KeyRing, RingError};
pub use secret::SecretKey;
pub use vault::{MasterKey, Vault, VaultError};

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032, section 5.1).
    #[serde(rename = "ed25519")]
    Ed25519,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2).
    #[serde(rename = "rsa-v1_5-sha256")]
    RsaV15Sha256,
}

impl Algorithm {
    /// The name in the registry of HTTP signature algorithms (RFC 9421, section 6.2.2).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::RsaV15Sha256 => "rsa-v1_5-sha256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a key cannot be read or used, or a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text or bytes are not a key of the expected form.
    #[error("not a key: {0}")]
    Malformed(&'static str),
    /// A key of an algorithm that is not known here.
    #[error("unsupported key: {0}")]
    Unsupported(&'static str),
    /// An RSA modulus outside of what is accepted.
    #[error("an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, not {0}")]
    Size(usize),
    /// An Ed25519 point of small order: one signature fits every message.
    #[error("a weak Ed25519 key")]
    Weak,
    /// The key could not be made.
    #[error("the key could not be made: {0}")]
    Generate(String),
    /// The message could not be signed.
    #[error("signing failed: {0}")]
    Sign(String),
    /// The signature was not made with this key over this message.
    #[error("the signature does not hold")]
    InvalidSignature,
}

/// The smallest RSA modulus that is accepted, in bits.
pub const MIN_RSA_BITS: usize = 2048;
/// The largest RSA modulus that is accepted, in bits: what bounds the cost of a verification.
pub const MAX_RSA_BITS: usize = 8192;

#[cfg(test)]
mod tests;
