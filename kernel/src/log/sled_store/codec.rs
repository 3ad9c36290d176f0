//! Values made shorter: zstd with a dictionary of what rows often hold.
//!
//! Rows are short and much alike: contexts, proofs, member names, media types. What they have in
//! common stands in the dictionary, which belongs to the format of the data directory: changing
//! it needs a new form of rows. `scripts/make_dictionary.sh` says how it was made.
//!
//! | bytes | |
//! |---|---|
//! | 3 | length of the value, big-endian |
//! | the rest | a zstd frame (RFC 8878) without its magic number, checksum and content size |

use std::sync::{LazyLock, Mutex, PoisonError};

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::CParameter;

/// Shorter values gain nothing.
const MIN_BYTES: usize = 100;
/// Longer values are left as they are.
const MAX_BYTES: usize = 0xff_ffff;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Higher ones cost more time than they save space.
const LEVEL: i32 = 1;
/// Contexts that are kept for the next use.
const KEPT: usize = 8;

static DICTIONARY: &[u8] = include_bytes!("rows.dict");
static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));
static COMPRESSORS: Mutex<Vec<Compressor<'static>>> = Mutex::new(Vec::new());
static DECOMPRESSORS: Mutex<Vec<Decompressor<'static>>> = Mutex::new(Vec::new());

/// The short form of a value; `None` where there is none that is worth it.
pub(super) fn pack(value: &[u8]) -> Option<Vec<u8>> {
    if !(MIN_BYTES..=MAX_BYTES).contains(&value.len()) {
        return None;
    }
    let mut compressor = match taken(&COMPRESSORS) {
        Some(compressor) => compressor,
        None => compressor().ok()?,
    };
    let frame = compressor.compress(value).ok();
    keep(&COMPRESSORS, compressor);
    let content = frame.as_deref()?.strip_prefix(&MAGIC)?;
    // A little shorter is not worth the time to read it.
    if content.len() + content.len() / 8 + 3 >= value.len() {
        return None;
    }
    let length = u32::try_from(value.len()).ok()?.to_be_bytes();
    Some([length.get(1..)?, content].concat())
}

fn compressor() -> std::io::Result<Compressor<'static>> {
    let mut new = Compressor::with_prepared_dictionary(&ENCODER)?;
    for off in [
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ] {
        new.set_parameter(off)?;
    }
    Ok(new)
}

/// The value that a short form stands for; `None` where it is not one.
pub(super) fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, content) = bytes.split_first_chunk::<3>()?;
    let [high, middle, low] = length.map(usize::from);
    let length = high << 16 | middle << 8 | low;
    let mut decompressor = match taken(&DECOMPRESSORS) {
        Some(decompressor) => decompressor,
        None => Decompressor::with_prepared_dictionary(&DECODER).ok()?,
    };
    let frame = [&MAGIC, content].concat();
    let value = decompressor.decompress(&frame, length).ok();
    keep(&DECOMPRESSORS, decompressor);
    value.filter(|value| value.len() == length)
}

fn taken<T>(kept: &Mutex<Vec<T>>) -> Option<T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn keep<T>(kept: &Mutex<Vec<T>>, context: T) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < KEPT {
        kept.push(context);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_round_trip(value in proptest::collection::vec(0u8..12, 0..20_000)) {
            if let Some(packed) = pack(&value) {
                prop_assert!(packed.len() < value.len());
                prop_assert_eq!(unpack(&packed), Some(value));
            }
        }

        #[test]
        fn other_bytes_are_refused_or_something_else(bytes in proptest::collection::vec(0u8..255, 0..300)) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn what_is_short_or_random_stays() {
        assert_eq!(pack(&[7; MIN_BYTES - 1]), None);
        let mut random = vec![0; 4000];
        blake3::Hasher::new().finalize_xof().fill(&mut random);
        assert_eq!(pack(&random), None);
        assert!(pack(&[7; MIN_BYTES]).unwrap().len() < 40);
    }
}
