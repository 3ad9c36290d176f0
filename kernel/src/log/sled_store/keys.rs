//! Keys and values of the log's tree; see the table in the module's description.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cid::Cid;
use crate::log::entry::Stream;
use crate::log::store::StoreError;

pub(super) const ENTRY: u8 = b'e';
pub(super) const BODY: u8 = b'd';
pub(super) const BODY_BY_HASH: u8 = b'b';
pub(super) const ONCE: u8 = b'o';
pub(super) const STREAM: u8 = b's';
const FIRST: u8 = b'f';
const FOREIGN_ID: u8 = b'i';
const HASHED: u8 = b'h';
/// What keys under hashes begin with, without the epoch.
pub(super) const HASHED_BEFORE: [u8; 2] = [FIRST, FOREIGN_ID];

fn tagged(tag: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![tag];
    for part in rest {
        key.extend_from_slice(part);
    }
    key
}

pub(super) fn entry(global_seq: u64) -> Vec<u8> {
    tagged(ENTRY, &[&global_seq.to_be_bytes()])
}

pub(super) fn in_stream(stream: &Stream, stream_seq: u64) -> Vec<u8> {
    tagged(STREAM, &[stream.to_string().as_bytes(), &[0], &stream_seq.to_be_bytes()])
}

/// The end of the keys of a stream's entries.
pub(super) fn stream_end(stream: &Stream) -> Vec<u8> {
    tagged(STREAM, &[stream.to_string().as_bytes(), &[1]])
}

/// The beginning and the end of the keys of all entries of all streams.
pub(super) fn all_streams() -> (Vec<u8>, Vec<u8>) {
    (vec![STREAM], vec![STREAM + 1])
}

/// Stream and position that a key stands for.
pub(super) fn place_of(key: &[u8]) -> Option<(Stream, u64)> {
    let (stream, seq) = key.strip_prefix(&[STREAM])?.split_last_chunk::<8>()?;
    let stream = std::str::from_utf8(stream.strip_suffix(&[0])?).ok()?;
    Some((stream.parse().ok()?, u64::from_be_bytes(*seq)))
}

pub(super) fn position(stream: &Stream, cid: &Cid) -> Vec<u8> {
    tagged(b'u', &[stream.to_string().as_bytes(), &[0], cid.digest()])
}

pub(super) fn first(cid: &Cid) -> Vec<u8> {
    tagged(FIRST, &[cid.digest()])
}

/// A key under a hash, in its epoch.
pub(super) fn hashed(epoch: u32, key: &[u8]) -> Vec<u8> {
    tagged(HASHED, &[&epoch.to_be_bytes(), key])
}

/// The beginning of the keys of an epoch.
pub(super) fn epoch(epoch: u32) -> Vec<u8> {
    hashed(epoch, &[])
}

/// The end of the keys of all epochs.
pub(super) fn epochs_end() -> Vec<u8> {
    vec![HASHED + 1]
}

/// The epoch of a key.
pub(super) fn epoch_of(key: &[u8]) -> Option<u32> {
    key.strip_prefix(&[HASHED])?.first_chunk().copied().map(u32::from_be_bytes)
}

/// The filter of an epoch.
pub(super) fn filter(epoch: u32) -> Vec<u8> {
    tagged(b'g', &[&epoch.to_be_bytes()])
}

/// The body whose first entry is this one.
pub(super) fn body(first: u64) -> Vec<u8> {
    tagged(BODY, &[&first.to_be_bytes()])
}

/// Where format 1 kept a body.
pub(super) fn body_by_hash(cid: &Cid) -> Vec<u8> {
    tagged(BODY_BY_HASH, &[cid.digest()])
}

pub(super) fn foreign_id(id: &str) -> Vec<u8> {
    tagged(FOREIGN_ID, &[blake3::hash(id.as_bytes()).as_bytes()])
}

pub(super) fn once(key: &str) -> Vec<u8> {
    tagged(ONCE, &[blake3::hash(key.as_bytes()).as_bytes()])
}

pub(super) fn to_cbor<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|e| StoreError::Io(e.to_string()))?;
    Ok(bytes)
}

pub(super) fn from_cbor<T: DeserializeOwned>(
    bytes: &[u8],
    place: impl FnOnce() -> String,
) -> Result<T, StoreError> {
    ciborium::from_reader(bytes)
        .map_err(|e| StoreError::Damaged { place: place(), reason: e.to_string() })
}

pub(super) fn number(bytes: &[u8], place: impl FnOnce() -> String) -> Result<u64, StoreError> {
    <[u8; 8]>::try_from(bytes)
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::Damaged { place: place(), reason: "not a position".into() })
}

/// A key as a place for a person to read.
pub(super) fn shown(key: &[u8]) -> String {
    format!("the key {}", key.escape_ascii())
}
