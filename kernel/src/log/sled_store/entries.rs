//! Entries as values of rows.
//!
//! A value begins with [`BEGINS`] and the position, so that it is known without its key; what
//! follows is CBOR: an array of stream, position in it, hash of the body, whether it comes first,
//! and the rest. Format 1 had a map with names, which is still read.

use serde::{Deserialize, Serialize};

use super::keys;
use super::rows::{Stored, stored};
use crate::cid::{Cid, CidError};
use crate::log::entry::{Entry, Meta, Stream};
use crate::log::store::StoreError;

/// How the value of an entry begins; no text and no CBOR does.
const BEGINS: &[u8] = b"\xffe2";
/// How it began in format 1: a map of six, and the name of the first member.
const BEGAN: &[u8] = b"\xa6jglobal_seq";

/// What follows the position.
#[derive(Serialize, Deserialize)]
struct Content(Stream, u64, #[serde(with = "serde_bytes")] Vec<u8>, bool, i64, Rest);

/// What few entries have; hashes as bytes.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Rest {
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(rename = "v", skip_serializing_if = "Option::is_none")]
    verified_by: Option<String>,
    #[serde(rename = "j", with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    judged_by: Option<Vec<u8>>,
    #[serde(rename = "b", skip_serializing_if = "std::ops::Not::not")]
    backfilled: bool,
    #[serde(rename = "h", skip_serializing_if = "Vec::is_empty")]
    hidden: Vec<String>,
    #[serde(rename = "c", with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    cause: Option<Vec<u8>>,
}

/// The value of an entry.
pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>, StoreError> {
    let Entry { global_seq, stream, stream_seq, cid, first, meta } = entry;
    let Meta { received_ms, origin, verified_by, judged_by, backfilled, hidden, cause } = meta;
    let digest = |cid: &Cid| cid.digest().to_vec();
    let rest = Rest {
        origin: origin.clone(),
        verified_by: verified_by.clone(),
        judged_by: judged_by.as_ref().map(digest),
        backfilled: *backfilled,
        hidden: hidden.clone(),
        cause: cause.as_ref().map(digest),
    };
    let content = Content(stream.clone(), *stream_seq, digest(cid), *first, *received_ms, rest);
    let mut value = [BEGINS, &global_seq.to_be_bytes()].concat();
    value.extend(keys::to_cbor(&content)?);
    Ok(value)
}

/// The entry at a position.
pub(super) fn decode(global_seq: u64, value: &[u8]) -> Result<Entry, StoreError> {
    let place = || format!("entry {global_seq}");
    let entry = match position(value) {
        Some((found, content)) => {
            let wrong = |e: CidError| StoreError::Damaged { place: place(), reason: e.to_string() };
            let cid = |digest: Vec<u8>| Cid::from_digest(&digest).map_err(wrong);
            let Content(stream, stream_seq, digest, first, received_ms, rest) =
                keys::from_cbor(content, place)?;
            let meta = Meta {
                received_ms,
                origin: rest.origin,
                verified_by: rest.verified_by,
                judged_by: rest.judged_by.map(cid).transpose()?,
                backfilled: rest.backfilled,
                hidden: rest.hidden,
                cause: rest.cause.map(cid).transpose()?,
            };
            Entry { global_seq: found, stream, stream_seq, cid: cid(digest)?, first, meta }
        }
        None => keys::from_cbor(value, place)?,
    };
    if entry.global_seq != global_seq {
        return Err(StoreError::Damaged {
            place: place(),
            reason: format!("it says that it is entry {}", entry.global_seq),
        });
    }
    Ok(entry)
}

fn position(value: &[u8]) -> Option<(u64, &[u8])> {
    let (position, content) = value.strip_prefix(BEGINS)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*position), content))
}

/// The position of an entry from its value as it stands in a row; `None` for other values.
pub(super) fn seq_of(row: &[u8]) -> Option<u64> {
    let Stored::Whole(value) = stored(row)? else { return None };
    if let Some((position, _)) = position(&value) {
        return Some(position);
    }
    value.starts_with(BEGAN).then_some(())?;
    let entry: Entry = ciborium::from_reader(&*value).ok()?;
    Some(entry.global_seq)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn entries() -> [Entry; 2] {
        let plain = Entry {
            global_seq: 70_000,
            stream: Stream::Local,
            stream_seq: 3,
            cid: Cid::of_block(b"x"),
            first: true,
            meta: Meta::default(),
        };
        let full = Entry {
            global_seq: u64::MAX,
            stream: Stream::Inbox("alice".parse().unwrap()),
            stream_seq: u64::MAX,
            cid: Cid::of_block(b"y"),
            first: false,
            meta: Meta {
                received_ms: -5,
                origin: Some("https://there.example".into()),
                verified_by: Some("proof:key".into()),
                judged_by: Some(Cid::of_block(b"z")),
                backfilled: true,
                hidden: vec!["https://there.example/actors/a".into(), String::new()],
                cause: Some(Cid::of_block(b"w")),
            },
        };
        [plain, full]
    }

    #[test]
    fn both_formats_are_read() {
        for entry in entries() {
            for value in [encode(&entry).unwrap(), keys::to_cbor(&entry).unwrap()] {
                assert_eq!(decode(entry.global_seq, &value).unwrap(), entry);
                assert!(decode(7, &value).is_err());
                assert!(decode(entry.global_seq, value.get(..value.len() - 1).unwrap()).is_err());
            }
        }
    }

    #[test]
    fn entries_are_known_by_their_first_bytes() {
        for entry in entries() {
            for value in [encode(&entry).unwrap(), keys::to_cbor(&entry).unwrap()] {
                let row = [&[0], value.as_slice()].concat();
                assert_eq!(seq_of(&row), Some(entry.global_seq));
                assert_eq!(seq_of(&value), None);
            }
        }
    }
}
