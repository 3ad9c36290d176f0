//! The bytes of a journal.
//!
//! | header of the file | |
//! |---|---|
//! | 8 bytes | `fedsxjnl` |
//! | 4 | version of this layout |
//! | 8 | generation |
//! | 4 | CRC-32 of these |
//!
//! | frame | |
//! |---|---|
//! | 4 bytes | CRC-32 of the generation and the rest of this header |
//! | 4 | length of the content |
//! | 4 | CRC-32 of the content |
//! | 8 | number of the frame, from 0 |
//! | 8 | how many bytes of the file were durable when it was written |
//! | the rest | writes: length of the key (4), length of the value (4, all ones where the key is removed), key, value |
//!
//! Numbers are little-endian.

use crate::log::store::TableWrite;

/// Bytes of the header of the file.
pub(super) const HEADER: usize = 24;
const MAGIC: &[u8; 8] = b"fedsxjnl";
const VERSION: u32 = 1;
/// Bytes of the header of a frame.
const FRAME_HEADER: usize = 28;
/// The length of a value that is none.
const REMOVED: u32 = u32::MAX;

/// A frame whose checksums hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) number: u64,
    /// How many bytes of the file were durable when it was written.
    pub(super) synced: u64,
    /// Its length with its header, in bytes.
    pub(super) length: usize,
    content: &'a [u8],
}

/// What stands at a place.
pub(super) enum Read<'a> {
    Whole(Frame<'a>),
    /// The header holds, but not the content, which ends after so many bytes.
    Spoiled(usize),
    Nothing,
}

/// The header of a journal.
pub(super) fn header(generation: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(generation.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// A frame with these writes; `None` where they are too many for one.
pub(super) fn encode(
    generation: u64,
    number: u64,
    synced: u64,
    writes: &[TableWrite],
) -> Option<Vec<u8>> {
    let mut bytes = vec![0; FRAME_HEADER];
    for (key, value) in writes {
        let length = match value {
            Some(value) => u32::try_from(value.len()).ok().filter(|length| *length != REMOVED)?,
            None => REMOVED,
        };
        bytes.extend(u32::try_from(key.len()).ok()?.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    let (head, content) = bytes.split_at_mut_checked(FRAME_HEADER)?;
    let mut rest = u32::try_from(content.len()).ok()?.to_le_bytes().to_vec();
    rest.extend(crc32fast::hash(content).to_le_bytes());
    rest.extend(number.to_le_bytes());
    rest.extend(synced.to_le_bytes());
    head.get_mut(..4)?.copy_from_slice(&sum(generation, &rest).to_le_bytes());
    head.get_mut(4..)?.copy_from_slice(&rest);
    Some(bytes)
}

fn sum(generation: u64, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// Reads what stands at the beginning of these bytes.
pub(super) fn read(generation: u64, bytes: &[u8]) -> Read<'_> {
    let frame = || {
        let (head, rest) = bytes.split_at_checked(FRAME_HEADER)?;
        if sum(generation, head.get(4..)?) != u32_at(head, 0)? {
            return None;
        }
        let length = usize::try_from(u32_at(head, 4)?).ok()?;
        let (number, synced) = (u64_at(head, 12)?, u64_at(head, 20)?);
        let end = FRAME_HEADER.checked_add(length)?;
        let content = rest.get(..length);
        let whole = content.filter(|content| u32_at(head, 8) == Some(crc32fast::hash(content)));
        Some(match whole {
            Some(content) => Read::Whole(Frame { number, synced, length: end, content }),
            None => Read::Spoiled(end),
        })
    };
    frame().unwrap_or(Read::Nothing)
}

impl Frame<'_> {
    /// The writes; `None` where they are not what a frame holds.
    pub(super) fn writes(&self) -> Option<Vec<TableWrite>> {
        let mut rest = self.content;
        let mut writes = Vec::new();
        while !rest.is_empty() {
            let (key, value) = (u32_at(rest, 0)?, u32_at(rest, 4)?);
            rest = rest.get(8..)?;
            let (own, after) = rest.split_at_checked(usize::try_from(key).ok()?)?;
            rest = after;
            let value = match value {
                REMOVED => None,
                length => {
                    let (own, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                    rest = after;
                    Some(own.to_vec())
                }
            };
            writes.push((own.to_vec(), value));
        }
        Some(writes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..most)
    }

    proptest! {
        #[test]
        fn frames_round_trip(
            writes in proptest::collection::vec((bytes(9), proptest::option::of(bytes(40))), 0..9),
            number: u64,
            synced: u64,
            flipped: usize,
        ) {
            let mut encoded = encode(7, number, synced, &writes).unwrap();
            match read(7, &encoded) {
                Read::Whole(frame) => {
                    prop_assert_eq!((frame.number, frame.synced), (number, synced));
                    prop_assert_eq!(frame.length, encoded.len());
                    prop_assert_eq!(frame.writes(), Some(writes));
                }
                _ => prop_assert!(false, "it is whole"),
            }
            prop_assert!(matches!(read(8, &encoded), Read::Nothing), "of another generation");
            let at = flipped % (encoded.len() * 8);
            encoded[at / 8] ^= 1 << (at % 8);
            prop_assert!(!matches!(read(7, &encoded), Read::Whole(_)));
        }

        #[test]
        fn other_bytes_are_no_frames(bytes in bytes(200)) {
            prop_assert!(!matches!(read(0, &bytes), Read::Whole(_)));
        }
    }
}
