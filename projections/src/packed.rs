//! Values as they are stored: canonical CBOR, in which a CID is 32 bytes instead of a text.
//!
//! Many rows are little more than a CID. Bytes stand for nothing else, since JSON has none.

use fedsx_kernel::Cid;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};
use std::fmt;

/// How long the text form of a CID is.
const CID_TEXT_BYTES: usize = 59;

pub(crate) fn encode(value: &Value) -> Result<Vec<u8>, String> {
    serde_ipld_dagcbor::to_vec(&Packed(value)).map_err(|e| e.to_string())
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let Unpacked(value) = serde_ipld_dagcbor::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok(value)
}

/// Whether these bytes may be of an older version, which stored CIDs as texts: where they are not,
/// they are what [`encode`] gives. Says yes now and then for others.
pub(crate) fn may_be_older(bytes: &[u8]) -> bool {
    // The head of a text of so many bytes (RFC 8949, section 3.1).
    const CID_TEXT: [u8; 2] = [0x78, 59];
    const { assert!(CID_TEXT_BYTES == 59) };
    bytes.windows(CID_TEXT.len()).any(|head| head == CID_TEXT)
}

struct Packed<'a>(&'a Value);

impl Serialize for Packed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if text.len() == CID_TEXT_BYTES => match text.parse::<Cid>() {
                Ok(cid) => serializer.serialize_bytes(cid.digest()),
                Err(_) => serializer.serialize_str(text),
            },
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Packed(item))?;
                }
                list.end()
            }
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, &Packed(value))?;
                }
                map.end()
            }
            other => other.serialize(serializer),
        }
    }
}

struct Unpacked(Value);

impl<'de> Deserialize<'de> for Unpacked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a packed value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E: serde::de::Error>(self, value: &[u8]) -> Result<Value, E> {
        Cid::from_digest(value).map(|cid| cid.to_string().into()).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unpacked(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Unpacked(value))) = members.next_entry::<String, _>()? {
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands there twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn values_round_trip() {
        let cid = Cid::of_block(b"x").to_string();
        let value = json!({
            "a": [null, true, -7, 1u64 << 52, 0.5, "text", "", [], {}],
            "cid": cid, "like a cid": format!("c{}", cid.get(1..).unwrap()),
            "upper": cid.to_uppercase(), "key": { cid.clone(): 1 },
        });
        assert_eq!(decode(&encode(&value).unwrap()).unwrap(), value);
        assert_eq!(encode(&cid.into()).unwrap().len(), 34);
    }

    #[test]
    fn rows_of_older_versions_are_read() {
        let cid = Cid::of_block(b"x").to_string();
        let value = json!({ "cid": cid, "n": 1 });
        let older = serde_ipld_dagcbor::to_vec(&value).unwrap();
        assert_eq!(decode(&older).unwrap(), value);
        assert!(may_be_older(&older) && !may_be_older(&encode(&value).unwrap()));
        for odd in [&b""[..], b"\xff", b"\x41\x00", &older[1..]] {
            assert!(decode(odd).is_err(), "{odd:?}");
        }
    }
}
