//! The blocks of an archive beside the activities, all of them DAG-CBOR.
//!
//! Links are IPLD links (CBOR tag 42), so that any IPLD tool walks from the root to everything.

use std::collections::BTreeMap;

use fedsx_kernel::keys::Key;
use fedsx_kernel::log::Meta;
use fedsx_kernel::merkle::TreeHash;
use fedsx_kernel::{Cid, canonical};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// A link to a block.
pub type Link = ipld_core::cid::Cid;

/// What every archive says it is.
pub const FORMAT: &str = "fedsx-archive";
/// The version of archives that is written and read here.
pub const VERSION: u64 = 1;
/// Most links in one chunk.
pub const MAX_LINKS: usize = 1000;
/// A chunk ends early when it has about this many bytes: tools take blocks of 1 MiB.
pub const MAX_CHUNK_BYTES: usize = 900 * 1024;
/// Most chunks of one stream: the root stays below 1 MiB.
pub const MAX_CHUNKS: usize = 10_000;

/// The root block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u64,
    /// The program that wrote it.
    pub software: String,
    /// When it was written (RFC 3339).
    pub exported_at: String,
    /// The origin of the instance.
    pub base: String,
    /// The id of the actor.
    pub actor: String,
    /// The newest document of the actor; null after its deletion.
    pub document: Value,
    /// Every key that the actor ever had, with its interval.
    pub keys: Vec<Key>,
    /// The Merkle tree over the outbox.
    pub checkpoint: Checkpoint,
    /// What the actor published and received.
    pub streams: Streams,
}

/// The Merkle tree over the outbox, whose leaves are the binary CIDs (RFC 6962, section 2.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Which log (C2SP tlog-checkpoint).
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them, in base64.
    pub root: TreeHash,
    /// The same as a note that the actor signed (C2SP tlog-checkpoint); null where the private
    /// key was not there at the export.
    pub note: Option<String>,
}

/// The streams of an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    /// What the actor published.
    pub outbox: StreamList,
    /// What it received, where the archive has that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<StreamList>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamList {
    /// How many entries.
    pub length: u64,
    /// Links to the chunks, in order.
    pub chunks: Vec<Link>,
}

/// A piece of a stream: at most [`MAX_LINKS`] entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// `outbox` or `inbox`.
    pub stream: String,
    /// The position of its first entry.
    pub from: u64,
    /// Links to the activities, in order; null where the body was erased.
    pub links: Vec<Option<Link>>,
    /// What the instance knew of each entry beside the body.
    pub meta: Vec<Meta>,
    /// Proofs by CID, each as JSON text; an activity's identity does not cover its proof.
    pub proofs: BTreeMap<Cid, String>,
    /// What was erased, by position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<Erased>,
    /// In an inbox: the keys of authors that no earlier chunk has, as the instance knew them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authors: BTreeMap<String, Vec<Key>>,
}

/// What is left of an entry whose body was erased.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erased {
    /// Position in the stream.
    pub position: u64,
    /// The CID, which is the leaf of the Merkle tree.
    pub cid: Cid,
    /// The stub, as the log keeps it.
    pub stub: Value,
}

/// Why a block of an archive cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// It cannot be encoded.
    #[error("it cannot be encoded: {0}")]
    Encode(String),
    /// The bytes are something else.
    #[error("it is no such block: {0}")]
    Decode(String),
    /// The bytes are not what encoding their content gives.
    #[error("it is not in canonical form")]
    NotCanonical,
    /// A CID is not one of ours.
    #[error(transparent)]
    Cid(#[from] fedsx_kernel::cid::CidError),
}

/// The link to a block.
pub fn link(cid: &Cid) -> Result<Link, FormatError> {
    Link::try_from(cid.to_bytes()).map_err(|e| FormatError::Encode(e.to_string()))
}

/// The block that a link names.
pub fn target(link: &Link) -> Result<Cid, FormatError> {
    Ok(Cid::from_bytes(&link.to_bytes())?)
}

/// Encodes a block, and gives its CID.
pub fn encode<T: Serialize>(value: &T) -> Result<(Cid, Vec<u8>), FormatError> {
    let block =
        serde_ipld_dagcbor::to_vec(value).map_err(|e| FormatError::Encode(e.to_string()))?;
    Ok((Cid::of_block(&block), block))
}

/// Decodes a block; only what encodes to the same bytes is taken.
pub fn decode<T: Serialize + DeserializeOwned>(block: &[u8]) -> Result<T, FormatError> {
    let value: T =
        serde_ipld_dagcbor::from_slice(block).map_err(|e| FormatError::Decode(e.to_string()))?;
    let (_, same) = encode(&value)?;
    if same == block { Ok(value) } else { Err(FormatError::NotCanonical) }
}

/// Brings the numbers of a document into normal form, as a block holds them.
pub fn normal(value: Value) -> Result<Value, FormatError> {
    let block = canonical::to_dag_cbor(&value).map_err(|e| FormatError::Encode(e.to_string()))?;
    canonical::from_dag_cbor(&block).map_err(|e| FormatError::Decode(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_keep_their_links_and_their_form() {
        let cid = Cid::of(&json!({ "a": 1 })).expect("a CID");
        let chunk = Chunk {
            stream: "outbox".into(),
            from: 7,
            links: vec![Some(link(&cid).expect("a link")), None],
            meta: vec![Meta { received_ms: -1, ..Meta::default() }, Meta::default()],
            proofs: [(cid, "{}".to_owned())].into(),
            erased: vec![Erased { position: 8, cid, stub: json!({ "type": "Create" }) }],
            authors: BTreeMap::new(),
        };
        let (_, block) = encode(&chunk).expect("encoded");
        assert_eq!(decode::<Chunk>(&block).expect("decoded"), chunk);
        assert!(block.windows(2).any(|pair| pair == [0xd8, 42]), "a link has tag 42");
        assert_eq!(target(&link(&cid).expect("a link")).expect("a CID"), cid);

        let other = json!({ "stream": "outbox", "from": 0 });
        let other = canonical::to_dag_cbor(&other).expect("encoded");
        assert!(matches!(decode::<Chunk>(&other), Err(FormatError::Decode(_))));
        let mut loose = block.clone();
        loose.push(0);
        assert!(decode::<Chunk>(&loose).is_err(), "bytes behind the value");
        let sha2 = "bafyreigaknpexyvxt76zgkitavbwx6ejgfheup5oybpm77f3pxzrvwpfdi";
        let sha2: Link = sha2.parse().expect("a CID");
        assert!(target(&sha2).is_err(), "a CID of another hash");
    }
}
