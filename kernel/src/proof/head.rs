use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{ProofError, Suites};
use crate::address::MAX_URL_BYTES;

/// The most proofs on one document that are looked at.
pub const MAX_PROOFS: usize = 16;
/// The longest suite name that is read, in bytes.
const MAX_SUITE_BYTES: usize = 64;

/// What a proof says of itself, before anything is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofHead {
    /// The id of the key.
    pub verification_method: String,
    /// The name of the suite.
    pub cryptosuite: String,
    /// When the proof was made, as the signer says.
    pub created: Option<Timestamp>,
    /// When the signer no longer stands by the proof; the caller, who has a clock, checks it.
    pub expires: Option<Timestamp>,
}

/// The head of the proof that [`Suites::verify`] of the standard registry would check; see
/// [`Suites::head`].
pub fn head(document: &Map<String, Value>) -> Result<Option<ProofHead>, ProofError> {
    Suites::standard().head(document)
}

impl ProofHead {
    /// Reads the members of a proof that every suite shares (Data Integrity, section 2.1).
    pub(super) fn of(proof: &Map<String, Value>) -> Result<Self, ProofError> {
        let verification_method = text(proof, "verificationMethod", MAX_URL_BYTES)?;
        let cryptosuite = text(proof, "cryptosuite", MAX_SUITE_BYTES)?;
        // Only statements of the author count; a proof made for logging in or to delegate is none.
        if text(proof, "proofPurpose", MAX_URL_BYTES)? != "assertionMethod" {
            return Err(ProofError::Member("proofPurpose", "must be assertionMethod"));
        }
        Ok(Self {
            verification_method: verification_method.to_owned(),
            cryptosuite: cryptosuite.to_owned(),
            created: time(proof, "created")?,
            expires: time(proof, "expires")?,
        })
    }
}

/// The proof that counts: the first Data Integrity proof of a known suite, else the first
/// Data Integrity proof. Proofs of other types are passed over.
pub(super) fn select<'a>(
    document: &'a Map<String, Value>,
    suites: &Suites,
) -> Result<Option<&'a Map<String, Value>>, ProofError> {
    let proofs = match document.get("proof") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(proofs)) => proofs.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if proofs.len() > MAX_PROOFS {
        return Err(ProofError::TooMany);
    }
    let mut first = None;
    for proof in proofs {
        let Value::Object(proof) = proof else {
            return Err(ProofError::Member("proof", "must be an object"));
        };
        if proof.get("type").and_then(Value::as_str) != Some("DataIntegrityProof") {
            continue;
        }
        let suite = proof.get("cryptosuite").and_then(Value::as_str);
        if suite.is_some_and(|name| suites.knows(name)) {
            return Ok(Some(proof));
        }
        first = first.or(Some(proof));
    }
    Ok(first)
}

fn text<'a>(
    proof: &'a Map<String, Value>,
    name: &'static str,
    limit: usize,
) -> Result<&'a str, ProofError> {
    let text = proof
        .get(name)
        .and_then(Value::as_str)
        .ok_or(ProofError::Member(name, "must be a string"))?;
    if text.len() > limit { Err(ProofError::Member(name, "is too long")) } else { Ok(text) }
}

fn time(proof: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, ProofError> {
    let Some(value) = proof.get(name) else { return Ok(None) };
    let time = value.as_str().and_then(|text| text.parse().ok());
    time.map(Some).ok_or(ProofError::Member(name, "must be an RFC 3339 time"))
}
