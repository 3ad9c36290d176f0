//! `eddsa-jcs-2022` (W3C Data Integrity EdDSA Cryptosuites 1.0, section 3.3): Ed25519 over
//! SHA-256 of the JCS form of the proof without its value, then SHA-256 of the JCS form of the
//! document without its proof.

use jiff::Timestamp;
use multibase::Base;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::suites::Suite;
use super::{ProofError, SignOptions};
use crate::canonical::{self, CanonicalError, Without};
use crate::keys::{Algorithm, KeyError, PublicKey, SecretKey};
use crate::runtime::Random;

const NAME: &str = "eddsa-jcs-2022";
/// The longest `proofValue` that is read, in bytes: 64 bytes in base58btc take at most 89.
const MAX_PROOF_VALUE_BYTES: usize = 96;

pub(super) struct EddsaJcs2022;

pub(super) fn sign(
    document: &Map<String, Value>,
    key: &SecretKey,
    options: &SignOptions<'_>,
    random: &dyn Random,
) -> Result<Value, ProofError> {
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(ProofError::WrongKey(key.algorithm()));
    }
    let mut proof = Map::new();
    if let Some(context) = document.get("@context") {
        proof.insert("@context".into(), context.clone());
    }
    let text = |text: &str| Value::String(text.to_owned());
    proof.insert("type".into(), text("DataIntegrityProof"));
    proof.insert("cryptosuite".into(), text(NAME));
    proof.insert("verificationMethod".into(), text(options.verification_method));
    proof.insert("proofPurpose".into(), text("assertionMethod"));
    proof.insert("created".into(), Value::String(whole_seconds(options.created).to_string()));
    let document = Without::new(document, &["proof"]);
    let message = [hash(Without::new(&proof, &[]))?, hash(document)?].concat();
    let signature = key.sign(&message, random)?;
    let value = multibase::encode(Base::Base58Btc, signature);
    proof.insert("proofValue".into(), Value::String(value));
    Ok(Value::Object(proof))
}

impl Suite for EddsaJcs2022 {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Two ways of signing are in use. The specification signs the proof as it is sent and puts its
    /// `@context`, where it has one, in place of the document's, which must begin with it. Fedify
    /// up to 2.3.6 signs the proof with the document's `@context` in it and sends it without.
    ///
    /// So the second way is tried only where the proof has no `@context`: one that was sent must
    /// be the one that was signed, or it could be changed at will.
    fn verify(
        &self,
        document: &Map<String, Value>,
        proof: &Map<String, Value>,
        key: &PublicKey,
    ) -> Result<(), ProofError> {
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(ProofError::WrongKey(key.algorithm()));
        }
        let signature = signature_of(proof)?;
        let options = Without::new(proof, &["proofValue"]);
        let unproved = Without::new(document, &["proof"]);
        let own = document.get("@context");
        if let Some(sent) = proof.get("@context") {
            if !items(own).starts_with(items(Some(sent))) {
                return Err(ProofError::Context);
            }
            if own == Some(sent) {
                return check(options, unproved, key, &signature);
            }
            let document = with_context(document, "proof", sent);
            return check(options, Without::new(&document, &[]), key, &signature);
        }
        match (check(options, unproved, key, &signature), own) {
            (Err(ProofError::Invalid), Some(own)) => {
                let options = with_context(proof, "proofValue", own);
                check(Without::new(&options, &[]), unproved, key, &signature)
            }
            (verdict, _) => verdict,
        }
    }
}

fn check(
    options: Without<'_>,
    document: Without<'_>,
    key: &PublicKey,
    signature: &[u8],
) -> Result<(), ProofError> {
    key.verify(&[hash(options)?, hash(document)?].concat(), signature).map_err(|e| match e {
        KeyError::InvalidSignature => ProofError::Invalid,
        other => ProofError::Key(other),
    })
}

fn hash(members: Without<'_>) -> Result<[u8; 32], CanonicalError> {
    Ok(Sha256::digest(canonical::members_to_jcs(members)?).into())
}

fn signature_of(proof: &Map<String, Value>) -> Result<Vec<u8>, ProofError> {
    let fail = || ProofError::Member("proofValue", "must be 64 bytes in base58btc with a z before");
    let text = proof.get("proofValue").and_then(Value::as_str).ok_or_else(fail)?;
    if text.len() > MAX_PROOF_VALUE_BYTES {
        return Err(fail());
    }
    match multibase::decode(text) {
        Ok((Base::Base58Btc, bytes)) if bytes.len() == 64 => Ok(bytes),
        _ => Err(fail()),
    }
}

fn items(context: Option<&Value>) -> &[Value] {
    match context {
        None => &[],
        Some(Value::Array(items)) => items,
        Some(one) => std::slice::from_ref(one),
    }
}

/// Members without one of them, and with another context.
fn with_context(
    members: &Map<String, Value>,
    without: &str,
    context: &Value,
) -> Map<String, Value> {
    let mut members = members.clone();
    members.remove(without);
    members.insert("@context".into(), context.clone());
    members
}

/// Verifiers disagree on how fractions of a second are written, so none are.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
