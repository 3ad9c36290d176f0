use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A Merkle tree hash (RFC 9162, section 2.1.1) with SHA-256. As text it is standard base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreeHash([u8; 32]);

/// Why a text is not a tree hash.
#[derive(Debug, Error)]
#[error("not 32 bytes in base64")]
pub struct HashError;

impl TreeHash {
    /// Bytes of a hash.
    pub const BYTES: usize = 32;

    /// A hash from its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The root of a tree without leaves.
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// The hash of a leaf with this data.
    pub fn leaf(data: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(data).finalize().into())
    }

    /// The hash of a node over two subtrees.
    pub fn node(left: &Self, right: &Self) -> Self {
        Self(
            Sha256::new()
                .chain_update([1])
                .chain_update(left.0)
                .chain_update(right.0)
                .finalize()
                .into(),
        )
    }

    /// The root over subtrees of one height from left to right, of which only the last may be
    /// smaller than the others. Pairs are joined level by level and an odd last one moves up as
    /// it is, which is the same as splitting at the largest power of two.
    pub fn over(subtrees: &[Self]) -> Self {
        let mut row = subtrees.to_vec();
        while row.len() > 1 {
            row = row
                .chunks(2)
                .filter_map(|pair| match pair {
                    [left, right] => Some(Self::node(left, right)),
                    [last] => Some(*last),
                    _ => None,
                })
                .collect();
        }
        row.first().copied().unwrap_or_else(Self::empty)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Hashes that stand one after the other; `None` where the length does not fit.
    pub fn sequence(bytes: &[u8]) -> Option<Vec<Self>> {
        let (hashes, rest) = bytes.as_chunks::<{ Self::BYTES }>();
        rest.is_empty().then(|| hashes.iter().map(|hash| Self(*hash)).collect())
    }

    /// The same the other way around.
    pub fn concatenate(hashes: &[Self]) -> Vec<u8> {
        hashes.iter().flat_map(|hash| hash.0).collect()
    }
}

impl FromStr for TreeHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let bytes = STANDARD.decode(text).map_err(|_| HashError)?;
        bytes.try_into().map(Self).map_err(|_| HashError)
    }
}

impl TryFrom<String> for TreeHash {
    type Error = HashError;

    fn try_from(text: String) -> Result<Self, HashError> {
        text.parse()
    }
}

impl From<TreeHash> for String {
    fn from(hash: TreeHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeHash({self})")
    }
}
