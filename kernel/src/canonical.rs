//! The two canonical encodings of a document.
//!
//! DAG-CBOR (IPLD) is what is hashed and stored; JCS (RFC 8785) is what Data Integrity
//! proofs sign.

use serde_json::Value;
use thiserror::Error;

use crate::json;

/// Why a document has no canonical encoding, or bytes are not one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// The encoder refused the value.
    #[error("cannot be encoded: {0}")]
    Encode(String),
    /// The bytes are not DAG-CBOR of a JSON document.
    #[error("not DAG-CBOR: {0}")]
    Decode(String),
    /// The bytes decode, but are not the canonical encoding of what they decode to.
    #[error("not the canonical encoding of its content")]
    NotCanonical,
}

/// The canonical DAG-CBOR of a document in normal form ([`json::normalise`]).
pub fn to_dag_cbor(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    serde_ipld_dagcbor::to_vec(value).map_err(|e| CanonicalError::Encode(e.to_string()))
}

/// Decodes canonical DAG-CBOR; anything that would not encode to the same bytes is refused.
pub fn from_dag_cbor(bytes: &[u8]) -> Result<Value, CanonicalError> {
    let value: Value =
        serde_ipld_dagcbor::from_slice(bytes).map_err(|e| CanonicalError::Decode(e.to_string()))?;
    let value = json::normalise(value).map_err(|e| CanonicalError::Decode(e.to_string()))?;
    if to_dag_cbor(&value)? == bytes { Ok(value) } else { Err(CanonicalError::NotCanonical) }
}

/// Decodes a block whose hash shows that it is what [`to_dag_cbor`] once gave. Whether the bytes
/// are canonical is not checked again; for bytes from outside use [`from_dag_cbor`].
pub fn decode_own(block: &[u8]) -> Result<Value, CanonicalError> {
    serde_ipld_dagcbor::from_slice(block).map_err(|e| CanonicalError::Decode(e.to_string()))
}

/// The JSON Canonicalization Scheme form (RFC 8785) of a document.
pub fn to_jcs(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    serde_json_canonicalizer::to_vec(value).map_err(|e| CanonicalError::Encode(e.to_string()))
}
