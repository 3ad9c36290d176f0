//! Merkle trees: published vectors, properties over honest and forged proofs, tiles and what is
//! kept of them. Where the data comes from stands in `data/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod notes;
mod proofs;
mod stored;
mod tiles;

use std::convert::Infallible;
use std::path::PathBuf;

use fedsx_kernel::merkle::TreeHash;
use fedsx_kernel::merkle::node::{self, Node, Nodes};
use serde_json::Value;

fn data(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/merkle").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn hash(value: &Value) -> TreeHash {
    TreeHash::new(hex::decode(value.as_str().unwrap()).unwrap().try_into().unwrap())
}

fn hashes(value: &Value) -> Vec<TreeHash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

/// Full subtrees straight from the leaves.
struct Leaves(Vec<TreeHash>);

impl Leaves {
    fn numbered(count: usize) -> Self {
        Self((0..count).map(|n| TreeHash::leaf(&n.to_be_bytes())).collect())
    }

    fn root(&mut self, size: u64) -> TreeHash {
        node::root(self, size).unwrap()
    }
}

impl Nodes for Leaves {
    type Error = Infallible;

    fn node(&mut self, node: Node) -> Result<TreeHash, Infallible> {
        let (from, to) = (node.index << node.level, (node.index + 1) << node.level);
        Ok(TreeHash::over(&self.0[from as usize..to as usize]))
    }
}
