//! The JSON Canonicalization Scheme (RFC 8785), straight to bytes. Every proof is over two of these, so
//! nothing is copied on the way; tests hold this to what a general encoder gives.

use std::cmp::Ordering;
use std::io::Write as _;

use serde_json::{Number, Value};

use super::CanonicalError;

pub(super) fn write(value: &Value, text: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => text.extend_from_slice(b"null"),
        Value::Bool(true) => text.extend_from_slice(b"true"),
        Value::Bool(false) => text.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, text)?,
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write(item, text)?;
            }
            text.push(b']');
        }
        Value::Object(members) => write_members(members.iter().collect(), text)?,
    }
    Ok(())
}

/// Names are in the order of their UTF-16 code units (section 3.2.3).
pub(super) fn write_members(
    mut members: Vec<(&String, &Value)>,
    text: &mut Vec<u8>,
) -> Result<(), CanonicalError> {
    members.sort_unstable_by(|(a, _), (b, _)| by_code_units(a, b));
    text.push(b'{');
    for (index, (name, member)) in members.into_iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        write_string(name, text);
        text.push(b':');
        write(member, text)?;
    }
    text.push(b'}');
    Ok(())
}

fn by_code_units(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// Numbers are written as ECMAScript does (section 3.2.2.3), for which all of them are floats.
fn write_number(number: &Number, text: &mut Vec<u8>) -> Result<(), CanonicalError> {
    let fail = || CanonicalError::Encode(format!("the number {number}"));
    let float = number.as_f64().filter(|float| float.is_finite()).ok_or_else(fail)?;
    match number.as_i64() {
        Some(whole) if whole.unsigned_abs() <= crate::json::MAX_SAFE_INTEGER.unsigned_abs() => {
            write!(text, "{whole}").map_err(|_| fail())
        }
        _ => {
            text.extend_from_slice(ryu_js::Buffer::new().format_finite(float).as_bytes());
            Ok(())
        }
    }
}

/// Section 3.2.2.2: only what must be escaped is.
fn write_string(string: &str, text: &mut Vec<u8>) {
    text.push(b'"');
    // What is between two characters that are escaped is copied as it is.
    let mut rest = string.as_bytes();
    while let Some(at) = rest.iter().position(|&c| c < 0x20 || c == b'"' || c == b'\\') {
        let (plain, from) = rest.split_at(at);
        text.extend_from_slice(plain);
        if let Some((&odd, after)) = from.split_first() {
            escape(odd, text);
            rest = after;
        }
    }
    text.extend_from_slice(rest);
    text.push(b'"');
}

fn escape(odd: u8, text: &mut Vec<u8>) {
    let short = match odd {
        b'"' | b'\\' => odd,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            text.extend_from_slice(b"\\u00");
            text.extend_from_slice(&[digit(odd >> 4), digit(odd & 15)]);
            return;
        }
    };
    text.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The general encoder of the other test never sees control characters and rare numbers.
    #[test]
    fn odd_characters_and_numbers() {
        let every: String = (0..0x80_u8).map(char::from).collect();
        let value = json!({
            every.clone(): [every, "\u{2028}\u{e9}\u{1f600}"],
            "\u{fb33}": 1e21, "\u{1f600}": [-0.0, 1e-7, 5e-324, 9_007_199_254_740_993_u64, -3],
        });
        let mut text = Vec::new();
        assert!(write(&value, &mut text).is_ok());
        let other = serde_json_canonicalizer::to_vec(&value);
        assert_eq!(Some(text), other.ok());
    }
}
