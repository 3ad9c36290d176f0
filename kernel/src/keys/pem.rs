//! The textual encoding of keys (RFC 7468), read leniently as to line lengths.
//!
//! Servers of the Fediverse wrap the base64 at different widths or not at all, and some send
//! `\r\n`; a strict reader would refuse their actors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::KeyError;

/// The longest PEM text that is read, in bytes; a key of 8192 bits takes about 1500.
pub(super) const MAX_PEM_BYTES: usize = 8 * 1024;
/// Characters of base64 on a line (RFC 7468, section 2).
const LINE: usize = 64;

/// The label and the DER bytes of the first block in a text.
pub(super) fn decode(text: &str) -> Result<(&str, Vec<u8>), KeyError> {
    if text.len() > MAX_PEM_BYTES {
        return Err(KeyError::Malformed("the PEM text is too long"));
    }
    let (_, from_label) =
        text.split_once("-----BEGIN ").ok_or(KeyError::Malformed("no PEM block"))?;
    let (label, from_body) =
        from_label.split_once("-----").ok_or(KeyError::Malformed("no PEM label"))?;
    let (body, from_end) =
        from_body.split_once("-----END ").ok_or(KeyError::Malformed("no end of the PEM block"))?;
    if from_end.split_once("-----").is_none_or(|(end, _)| end != label) {
        return Err(KeyError::Malformed("the PEM block ends with another label"));
    }
    let base64: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let der = STANDARD
        .decode(base64)
        .map_err(|_| KeyError::Malformed("the PEM block does not hold base64"))?;
    Ok((label, der))
}

/// A block with lines of 64 characters that end in `\n`.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, c) in STANDARD.encode(der).chars().enumerate() {
        if index > 0 && index.is_multiple_of(LINE) {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
