//! Digests of the body: `Digest` (RFC 3230) for draft-cavage, `Content-Digest` (RFC 9530) for
//! RFC 9421.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use sha2::{Digest as _, Sha256, Sha512};

use super::SignatureError;

/// The most entries of a digest header that are looked at.
const MAX_ENTRIES: usize = 8;

/// Base64 as the older scheme finds it in the wild: with or without padding.
const PERMISSIVE: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// SHA-256 of a body as base64, which is what both headers say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyDigest(String);

impl BodyDigest {
    /// That of these bytes.
    pub fn of(body: &[u8]) -> Self {
        Self(STANDARD.encode(Sha256::digest(body)))
    }

    /// The value of `Digest`, in exactly the spelling that servers compare as text.
    pub(super) fn digest(&self) -> String {
        format!("SHA-256={}", self.0)
    }

    /// The value of `Content-Digest`.
    pub(super) fn content_digest(&self) -> String {
        format!("sha-256=:{}:", self.0)
    }
}

/// Decodes base64 with or without padding.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    PERMISSIVE.decode(text).ok()
}

/// Checks the value of `Digest`: every entry of a known algorithm must match, and there must be
/// one.
pub(super) fn check_digest(value: &str, body: &[u8]) -> Result<(), SignatureError> {
    let mut known = false;
    for (index, entry) in value.split(',').enumerate() {
        if index >= MAX_ENTRIES {
            return Err(SignatureError::malformed("Digest has too many entries"));
        }
        let (name, encoded) = entry
            .trim()
            .split_once('=')
            .ok_or_else(|| SignatureError::malformed("Digest is not algorithm=value"))?;
        if let Some(expected) = hash(name, body) {
            known = true;
            if decode_base64(encoded.trim()).is_none_or(|found| found != expected) {
                return Err(SignatureError::DigestMismatch);
            }
        }
    }
    if known { Ok(()) } else { Err(SignatureError::UnsupportedDigest) }
}

/// Checks the value of `Content-Digest` by the same rule (RFC 9530 section 2).
pub(super) fn check_content_digest(value: &str, body: &[u8]) -> Result<(), SignatureError> {
    let entries: Dictionary = Parser::new(value)
        .parse()
        .map_err(|_| SignatureError::malformed("Content-Digest is not a dictionary"))?;
    if entries.len() > MAX_ENTRIES {
        return Err(SignatureError::malformed("Content-Digest has too many entries"));
    }
    let mut known = false;
    for (name, entry) in &entries {
        let Some(expected) = hash(name.as_str(), body) else { continue };
        known = true;
        match entry {
            ListEntry::Item(item) => match &item.bare_item {
                BareItem::ByteSequence(found) if *found == expected => {}
                BareItem::ByteSequence(_) => return Err(SignatureError::DigestMismatch),
                _ => return Err(SignatureError::malformed("Content-Digest holds no bytes")),
            },
            ListEntry::InnerList(_) => {
                return Err(SignatureError::malformed("Content-Digest holds a list"));
            }
        }
    }
    if known { Ok(()) } else { Err(SignatureError::UnsupportedDigest) }
}

/// Hashes the body by an algorithm's name; `None` for one that is unknown or broken.
fn hash(name: &str, body: &[u8]) -> Option<Vec<u8>> {
    match name.trim().to_ascii_lowercase().as_str() {
        "sha-256" => Some(Sha256::digest(body).to_vec()),
        "sha-512" => Some(Sha512::digest(body).to_vec()),
        _ => None,
    }
}
