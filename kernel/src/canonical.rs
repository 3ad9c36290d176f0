//! The two canonical encodings of a document.
//!
//! DAG-CBOR (IPLD) is what is hashed and stored; JCS (RFC 8785) is what Data Integrity
//! proofs sign.

mod jcs;

use serde_json::{Map, Number, Value};
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

/// Some of the members of an object.
#[derive(Clone, Copy, Debug)]
pub struct Without<'a> {
    members: &'a Map<String, Value>,
    names: &'a [&'a str],
}

impl<'a> Without<'a> {
    /// All members but those with these names.
    pub fn new(members: &'a Map<String, Value>, names: &'a [&'a str]) -> Self {
        Self { members, names }
    }

    fn kept(self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.members.iter().filter(move |(name, _)| !self.names.contains(&name.as_str()))
    }
}

/// The canonical DAG-CBOR of a document in normal form ([`json::normalise`]).
pub fn to_dag_cbor(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut block = Vec::with_capacity(512);
    encode(value, &mut block)?;
    Ok(block)
}

/// The same for some of the members of an object.
pub fn members_to_dag_cbor(members: Without<'_>) -> Result<Vec<u8>, CanonicalError> {
    let mut block = Vec::with_capacity(1024);
    encode_members(members.kept().collect(), &mut block)?;
    Ok(block)
}

/// Writes one value. Every activity is encoded several times and every row of the admission state
/// once, so this goes straight to the bytes, without the tree of buffers that a serialiser for any
/// type needs to sort its keys. A test holds it to what that one gives.
fn encode(value: &Value, block: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => block.push(0xf6),
        Value::Bool(false) => block.push(0xf4),
        Value::Bool(true) => block.push(0xf5),
        Value::Number(number) => encode_number(number, block)?,
        Value::String(text) => encode_text(text, block),
        Value::Array(items) => {
            head(4, items.len() as u64, block);
            for item in items {
                encode(item, block)?;
            }
        }
        Value::Object(members) => encode_members(members.iter().collect(), block)?,
    }
    Ok(())
}

/// Keys are in the order of their encoding: by length, then by bytes.
fn encode_members(
    mut members: Vec<(&String, &Value)>,
    block: &mut Vec<u8>,
) -> Result<(), CanonicalError> {
    members.sort_unstable_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    head(5, members.len() as u64, block);
    for (name, member) in members {
        encode_text(name, block);
        encode(member, block)?;
    }
    Ok(())
}

fn encode_text(text: &str, block: &mut Vec<u8>) {
    head(3, text.len() as u64, block);
    block.extend_from_slice(text.as_bytes());
}

fn encode_number(number: &Number, block: &mut Vec<u8>) -> Result<(), CanonicalError> {
    if let Some(whole) = number.as_u64() {
        head(0, whole, block);
    } else if let Some(negative) = number.as_i64() {
        // CBOR counts negative numbers from -1.
        head(1, negative.unsigned_abs().saturating_sub(1), block);
    } else {
        let float = number.as_f64().filter(|float| float.is_finite());
        let float = float.ok_or_else(|| CanonicalError::Encode(format!("the number {number}")))?;
        block.push(0xfb);
        // There is one zero.
        block.extend_from_slice(&(float + 0.0).to_be_bytes());
    }
    Ok(())
}

/// The first bytes of a value (RFC 8949, section 3): its major type and a number, as short as can
/// be.
fn head(major: u8, number: u64, block: &mut Vec<u8>) {
    let major = major << 5;
    if let Ok(short) = u8::try_from(number) {
        if short < 24 {
            block.push(major | short);
        } else {
            block.extend_from_slice(&[major | 24, short]);
        }
    } else if let Ok(short) = u16::try_from(number) {
        block.push(major | 25);
        block.extend_from_slice(&short.to_be_bytes());
    } else if let Ok(short) = u32::try_from(number) {
        block.push(major | 26);
        block.extend_from_slice(&short.to_be_bytes());
    } else {
        block.push(major | 27);
        block.extend_from_slice(&number.to_be_bytes());
    }
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
    let mut text = Vec::with_capacity(512);
    jcs::write(value, &mut text)?;
    Ok(text)
}

/// The same for some of the members of an object.
pub fn members_to_jcs(members: Without<'_>) -> Result<Vec<u8>, CanonicalError> {
    let mut text = Vec::with_capacity(1024);
    jcs::write_members(members.kept().collect(), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-300i64..300).prop_map(Value::from),
            any::<f64>().prop_map(|f| Number::from_f64(f).map_or(Value::Null, Value::Number)),
            "\\PC{0,40}".prop_map(Value::from),
            "[a-z]{250,270}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 30, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..30).prop_map(Value::from),
                proptest::collection::btree_map("[a-c\u{e9}\u{1f600}]{0,4}", inner, 0..30)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Another author's encoder gives the same bytes.
        #[test]
        fn encodings_are_those_of_a_general_encoder(value in documents()) {
            prop_assert_eq!(to_dag_cbor(&value).unwrap(), serde_ipld_dagcbor::to_vec(&value).unwrap());
        }

        /// And so does one for JCS.
        #[test]
        fn jcs_is_that_of_a_general_encoder(value in documents()) {
            prop_assert_eq!(
                String::from_utf8(to_jcs(&value).unwrap()).unwrap(),
                serde_json_canonicalizer::to_string(&value).unwrap()
            );
        }
    }

    #[test]
    fn members_are_left_out() {
        let Value::Object(members) = json!({ "b": 1, "proof": {}, "aa": [2], "id": "x" }) else {
            panic!("an object")
        };
        let (some, whole) =
            (Without::new(&members, &["proof", "id"]), json!({ "b": 1, "aa": [2] }));
        assert_eq!(members_to_dag_cbor(some).unwrap(), to_dag_cbor(&whole).unwrap());
        assert_eq!(members_to_jcs(some).unwrap(), to_jcs(&whole).unwrap());
    }
}
