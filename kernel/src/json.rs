//! Strict JSON in: what we accept from outside, and the one normal form we keep.
//!
//! RFC 8259 with the restrictions of I-JSON (RFC 7493): no duplicate member names, and
//! whole numbers only within ±(2^53-1). Depth and size are limited.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// The deepest nesting that is accepted.
pub const MAX_DEPTH: usize = 64;
/// The most arrays and objects that are accepted. Each takes far more memory than its text has bytes.
pub const MAX_CONTAINERS: usize = 8192;
/// The most values that are accepted, nested ones included.
pub const MAX_VALUES: usize = 65_536;
/// The largest document that is accepted, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The largest whole number that every JSON reader keeps exactly (RFC 7493, section 2.2).
pub const MAX_SAFE_INTEGER: i64 = 9_007_199_254_740_991;

/// Why a JSON document was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JsonError {
    /// More bytes than [`MAX_BYTES`].
    #[error("the document has {0} bytes; at most {MAX_BYTES} are taken")]
    TooLarge(usize),
    /// Not JSON, or JSON that breaks one of the restrictions.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// A number outside of what I-JSON allows.
    #[error("the number {0} is outside of ±(2^53-1)")]
    Number(String),
    /// More than [`MAX_DEPTH`] nested arrays and objects.
    #[error("more than {MAX_DEPTH} levels of nesting")]
    Depth,
}

/// Parses one document and brings its numbers into normal form.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    if bytes.len() > MAX_BYTES {
        return Err(JsonError::TooLarge(bytes.len()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let room = Room { containers: Cell::new(MAX_CONTAINERS), values: Cell::new(MAX_VALUES) };
    let value = Strict { depth: 0, room: &room }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Brings a value that was built in memory into the same normal form.
pub fn normalise(value: Value) -> Result<Value, JsonError> {
    if is_normal(&value) { Ok(value) } else { normalise_at(value, 0) }
}

/// Whether a value is in normal form, as nearly all are.
pub fn is_normal(value: &Value) -> bool {
    is_normal_at(value, 0)
}

fn is_normal_at(value: &Value, depth: usize) -> bool {
    depth <= MAX_DEPTH
        && match value {
            Value::Null | Value::Bool(_) | Value::String(_) => true,
            Value::Number(number) => normal_number(number).is_ok_and(|normal| normal == *number),
            Value::Array(items) => items.iter().all(|item| is_normal_at(item, depth + 1)),
            Value::Object(members) => {
                members.values().all(|member| is_normal_at(member, depth + 1))
            }
        }
}

fn normalise_at(value: Value, depth: usize) -> Result<Value, JsonError> {
    if depth > MAX_DEPTH {
        return Err(JsonError::Depth);
    }
    Ok(match value {
        Value::Number(number) => Value::Number(normal_number(&number)?),
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| normalise_at(item, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, member)| Ok((name, normalise_at(member, depth + 1)?)))
                .collect::<Result<_, JsonError>>()?,
        ),
        other => other,
    })
}

fn normal_number(number: &Number) -> Result<Number, JsonError> {
    let outside = || JsonError::Number(number.to_string());
    if let Some(whole) = number.as_i64() {
        return if whole.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs() {
            Ok(Number::from(whole))
        } else {
            Err(outside())
        };
    }
    if number.is_u64() {
        return Err(outside());
    }
    let float = number.as_f64().ok_or_else(outside)?;
    normal_float(float).ok_or_else(outside)
}

fn normal_float(float: f64) -> Option<Number> {
    if !float.is_finite() {
        return None;
    }
    if float.fract() != 0.0 {
        return Number::from_f64(float);
    }
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    if float.abs() <= MAX_SAFE_INTEGER as f64 { Some(Number::from(float as i64)) } else { None }
}

/// What a document may still have.
struct Room {
    containers: Cell<usize>,
    values: Cell<usize>,
}

impl Room {
    fn take<E: serde::de::Error>(left: &Cell<usize>, most: usize, what: &str) -> Result<(), E> {
        match left.get().checked_sub(1) {
            Some(rest) => left.set(rest),
            None => return Err(E::custom(format_args!("more than {most} {what}"))),
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Strict<'r> {
    depth: usize,
    room: &'r Room,
}

impl Strict<'_> {
    /// For one value inside of this one.
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("more than {MAX_DEPTH} levels of nesting")));
        }
        Room::take(&self.room.values, MAX_VALUES, "values")?;
        Ok(Self { depth: self.depth + 1, room: self.room })
    }

    fn container<E: serde::de::Error>(self) -> Result<(), E> {
        Room::take(&self.room.containers, MAX_CONTAINERS, "arrays and objects")
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        normal_number(&Number::from(value)).map(Value::Number).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        normal_number(&Number::from(value)).map(Value::Number).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        normal_float(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format_args!("the number {value} is outside of ±(2^53-1)")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.container()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.deeper()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.container()?;
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let member = access.next_value_seed(self.deeper()?)?;
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the member {name:?} stands twice")));
            }
            members.insert(name, member);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn numbers_are_normal() {
        let value = parse(b"[1, 1.0, -0.0, 1e2, 0.5, 9007199254740991]").expect("json");
        assert_eq!(value.to_string(), "[1,1,0,100,0.5,9007199254740991]");
    }

    #[test]
    fn restrictions_hold() {
        assert!(refused("9007199254740992").contains("2^53-1"));
        assert!(refused("1e300").contains("2^53-1"));
        assert!(refused("18446744073709551615").contains("2^53-1"));
        assert!(refused(r#"{"a":1,"a":2}"#).contains("twice"));
        assert!(refused(r#"{"a":1,"\u0061":2}"#).contains("twice"));
        refused("1e999");
        refused("NaN");
        refused(r#""\ud800""#);
        refused("[1] x");
        refused("");
    }

    #[test]
    fn what_is_normal_stays() {
        for value in [
            serde_json::json!({"a": [1, -7, 0.5, "x", null, true, {"b": 9_007_199_254_740_991u64}]}),
            serde_json::json!([]),
        ] {
            assert!(is_normal(&value));
            assert_eq!(normalise(value.clone()).expect("normal"), value);
        }
        for (odd, normal) in [(1.0, "1"), (-0.0, "0"), (1e2, "100")] {
            let odd = serde_json::json!({ "a": [odd] });
            assert!(!is_normal(&odd));
            let normal = format!("{{\"a\":[{normal}]}}");
            assert_eq!(normalise(odd).expect("normal").to_string(), normal);
        }
        for odd in [serde_json::json!(u64::MAX), serde_json::json!(1e300)] {
            assert!(!is_normal(&odd) && normalise(odd).is_err());
        }
        let mut deep = Value::Null;
        for _ in 0..=MAX_DEPTH {
            deep = Value::Array(vec![deep]);
        }
        assert!(!is_normal(&deep) && normalise(deep).is_err());
    }

    #[test]
    fn depth_is_limited() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(refused(&nested(MAX_DEPTH + 1)).contains("nesting"));
        refused(&nested(100_000));
    }

    #[test]
    fn width_is_limited() {
        let list = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
        assert!(parse(list("[]", MAX_CONTAINERS - 1).as_bytes()).is_ok());
        for item in ["[]", "{}"] {
            assert!(refused(&list(item, MAX_CONTAINERS)).contains("arrays and objects"));
        }
        assert!(parse(list("0", MAX_VALUES - 1).as_bytes()).is_ok());
        assert!(refused(&list("0", MAX_VALUES + 1)).contains("values"));
    }
}
