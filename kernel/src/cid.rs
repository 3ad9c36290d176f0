//! Content identifiers: CIDv1, dag-cbor, blake3-256.

use std::fmt;
use std::str::FromStr;

use multihash::Multihash;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::canonical::{self, CanonicalError};

/// Multicodec code of dag-cbor.
const DAG_CBOR: u64 = 0x71;
/// Multicodec code of blake3.
const BLAKE3: u64 = 0x1e;

/// The identity of a block: the hash of its canonical DAG-CBOR.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cid(cid::Cid);

/// Why a text or bytes are not one of our CIDs.
#[derive(Debug, Error)]
#[error("not a CIDv1 of dag-cbor and blake3-256: {0}")]
pub struct CidError(String);

impl Cid {
    /// The CID of a block of canonical DAG-CBOR.
    pub fn of_block(block: &[u8]) -> Self {
        let digest = blake3::hash(block);
        #[allow(clippy::expect_used, reason = "32 bytes always fit into a 64 byte multihash")]
        let hash = Multihash::<64>::wrap(BLAKE3, digest.as_bytes()).expect("32 bytes fit");
        Self(cid::Cid::new_v1(DAG_CBOR, hash))
    }

    /// The CID of a document.
    pub fn of(value: &Value) -> Result<Self, CanonicalError> {
        Ok(Self::of_block(&canonical::to_dag_cbor(value)?))
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// The 32 bytes of the blake3 hash.
    pub fn digest(&self) -> &[u8] {
        self.0.hash().digest()
    }

    /// Reads the binary form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        cid::Cid::try_from(bytes).map_err(|e| CidError(e.to_string())).and_then(Self::checked)
    }

    /// The CID with this blake3 hash, of 32 bytes.
    pub fn from_digest(digest: &[u8]) -> Result<Self, CidError> {
        let wrong = || CidError(format!("{} bytes are no blake3 hash", digest.len()));
        let hash = Multihash::<64>::wrap(BLAKE3, digest).map_err(|_| wrong())?;
        if digest.len() == 32 { Ok(Self(cid::Cid::new_v1(DAG_CBOR, hash))) } else { Err(wrong()) }
    }

    fn checked(cid: cid::Cid) -> Result<Self, CidError> {
        let ours = cid.version() == cid::Version::V1
            && cid.codec() == DAG_CBOR
            && cid.hash().code() == BLAKE3
            && cid.hash().size() == 32;
        if ours { Ok(Self(cid)) } else { Err(CidError(cid.to_string())) }
    }
}

impl FromStr for Cid {
    type Err = CidError;

    /// Reads the text form; only the canonical one (base32, lower case) is taken, so that one
    /// block has one name.
    fn from_str(text: &str) -> Result<Self, CidError> {
        let parsed = cid::Cid::try_from(text).map_err(|e| CidError(e.to_string()))?;
        let cid = Self::checked(parsed)?;
        if cid.to_string() == text { Ok(cid) } else { Err(CidError(text.to_owned())) }
    }
}

impl TryFrom<String> for Cid {
    type Error = CidError;

    fn try_from(text: String) -> Result<Self, CidError> {
        text.parse()
    }
}

impl From<Cid> for String {
    fn from(cid: Cid) -> Self {
        cid.to_string()
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({})", self.0)
    }
}
