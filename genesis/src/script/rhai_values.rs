//! Between JSON and the values of rhai.
//!
//! Scripts count in whole numbers of 64 bits. A fractional number reaches them as text, in the
//! shortest decimal form that gives the same number (that of ECMAScript, which RFC 8785 uses).

use rhai::{Dynamic, Map};
use serde_json::{Number, Value};

use super::error::ScriptError;
use super::limits::{INPUT_TEXT_BYTES, OUTPUT_BYTES, OUTPUT_DEPTH, WORK_BYTES};

/// The largest whole number that JSON keeps everywhere (RFC 7493).
const MAX_INTEGER: i64 = 9_007_199_254_740_991;

/// A value as scripts see it.
pub(super) fn given(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(held) => Dynamic::from_bool(*held),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Dynamic::from_int(whole),
            None => decimal(number).into(),
        },
        Value::String(text) => cut(text, INPUT_TEXT_BYTES).into(),
        Value::Array(items) => Dynamic::from_array(items.iter().map(given).collect()),
        Value::Object(members) => Dynamic::from_map(
            members
                .iter()
                .map(|(name, value)| (cut(name, INPUT_TEXT_BYTES).into(), given(value)))
                .collect::<Map>(),
        ),
    }
}

fn decimal(number: &Number) -> String {
    // A number of JSON always has this form; the other one says the same in more digits.
    serde_json_canonicalizer::to_string(number).unwrap_or_else(|_| number.to_string())
}

/// The longest beginning of a text that has at most so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// What a script gave, as JSON.
pub(super) fn taken(value: &Dynamic) -> Result<Value, ScriptError> {
    let mut left = OUTPUT_BYTES;
    take(value, &mut left, 0)
}

fn take(value: &Dynamic, left: &mut usize, depth: usize) -> Result<Value, ScriptError> {
    let refuse = |reason: String| Err(ScriptError::Output(reason));
    if depth > OUTPUT_DEPTH {
        return refuse(format!("it is nested deeper than {OUTPUT_DEPTH}"));
    }
    let mut spend = |bytes: usize| match left.checked_sub(bytes.saturating_add(8)) {
        Some(rest) => {
            *left = rest;
            Ok(())
        }
        None => Err(ScriptError::Output(format!("it is larger than {OUTPUT_BYTES} bytes"))),
    };
    spend(0)?;
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(held) = value.as_bool() {
        return Ok(held.into());
    }
    if let Ok(number) = value.as_int() {
        if number.abs_diff(0) > MAX_INTEGER.unsigned_abs() {
            return refuse(format!("{number} is beyond what JSON keeps (2^53 - 1)"));
        }
        return Ok(number.into());
    }
    if let Ok(letter) = value.as_char() {
        return Ok(letter.to_string().into());
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        spend(text.len())?;
        return Ok(text.as_str().into());
    }
    if let Ok(items) = value.as_array_ref() {
        return items.iter().map(|item| take(item, left, depth + 1)).collect();
    }
    if let Ok(members) = value.as_map_ref() {
        let mut object = serde_json::Map::new();
        for (name, value) in members.iter() {
            *left = left.checked_sub(name.len()).unwrap_or_default();
            object.insert(name.to_string(), take(value, left, depth + 1)?);
        }
        return Ok(Value::Object(object));
    }
    refuse(format!("a value of the type {:?} is no JSON", value.type_name()))
}

/// What a value costs and holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    /// Values in it, itself included.
    pub(super) values: usize,
    /// Bytes of its texts and names.
    pub(super) bytes: usize,
}

impl Weight {
    /// Counts a value, and stops above a number of values: what is larger is too large anyway.
    pub(super) fn of(value: &Dynamic, stop: usize) -> Self {
        let mut weight = Self::default();
        weight.add(value, stop);
        weight
    }

    /// Units of work that reading the value costs.
    pub(super) fn work(self) -> u64 {
        (self.values + self.bytes / WORK_BYTES) as u64
    }

    fn add(&mut self, value: &Dynamic, stop: usize) {
        self.values += 1;
        if self.values > stop {
            return;
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            self.bytes += text.len();
        } else if let Ok(items) = value.as_array_ref() {
            items.iter().for_each(|item| self.add(item, stop));
        } else if let Ok(members) = value.as_map_ref() {
            for (name, value) in members.iter() {
                self.bytes += name.len();
                self.add(value, stop);
            }
        }
    }
}
