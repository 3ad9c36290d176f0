//! Data Integrity proofs on activities (W3C Verifiable Credential Data Integrity 1.0, FEP-8b32).
//!
//! We sign with `eddsa-jcs-2022`. Proofs are verified through a registry of suites by name.
//! Whether the key belongs to the author and was valid then is for the caller to find out
//! ([`crate::keys::KeyHistory`]); this module answers whether key, proof and document fit.

mod eddsa_jcs_2022;
mod head;
mod suites;

use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::canonical::CanonicalError;
use crate::keys::{Algorithm, KeyError, SecretKey};
use crate::runtime::Random;

pub use head::{MAX_PROOFS, ProofHead, head};
pub use suites::{Suite, Suites};

/// What a proof says besides the signature.
#[derive(Clone, Copy, Debug)]
pub struct SignOptions<'a> {
    /// The id of the signing key.
    pub verification_method: &'a str,
    /// When the proof is made; written in whole seconds.
    pub created: Timestamp,
}

/// Why a document cannot be signed, or its proof does not hold.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no Data Integrity proof.
    #[error("the document has no Data Integrity proof")]
    Missing,
    /// A member of the proof is missing or of the wrong kind.
    #[error("proof: {0} {1}")]
    Member(&'static str, &'static str),
    /// More proofs on one document than are looked at.
    #[error("a document has at most {MAX_PROOFS} proofs")]
    TooMany,
    /// The suite is not in the registry.
    #[error("the cryptosuite {0:?} is not known here")]
    UnknownSuite(String),
    /// The suite works with keys of another algorithm.
    #[error("the cryptosuite does not work with a key of {0}")]
    WrongKey(Algorithm),
    /// The proof's `@context` is not what the document's begins with.
    #[error("the document's @context does not begin with that of the proof")]
    Context,
    /// The signature was not made with this key over this document.
    #[error("the proof does not hold: the document or the proof was changed, or the key differs")]
    Invalid,
    /// The document has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The key failed to sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Makes an `eddsa-jcs-2022` proof for a document, to be put into its `proof` member.
///
/// A `proof` that the document has is not covered. The document's `@context` is copied into the
/// proof unchanged, since verifiers differ in whether they take it from there or put it there.
pub fn sign(
    document: &Map<String, Value>,
    key: &SecretKey,
    options: &SignOptions<'_>,
    random: &dyn Random,
) -> Result<Value, ProofError> {
    eddsa_jcs_2022::sign(document, key, options, random)
}

#[cfg(test)]
mod tests;
