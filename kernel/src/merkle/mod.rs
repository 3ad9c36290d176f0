//! Merkle trees over outboxes: proofs that an actor's history only ever grew.
//!
//! Each outbox is a log in the sense of RFC 6962 (and RFC 9162, section 2.1): leaf *n* is the
//! binary CID of the entry at position *n*, hashed with SHA-256. The root over the first *n*
//! leaves, signed by the actor, is a [`Checkpoint`]; with two checkpoints and a consistency proof
//! anybody can tell that the older history is the beginning of the newer one.
//!
//! - [`TreeHash`]: hashing of leaves and nodes.
//! - [`node`]: full subtrees, and roots and proofs made of them; [`verify_inclusion`] and
//!   [`verify_consistency`] check proofs.
//! - [`Frontier`]: the right edge of a tree that grows leaf by leaf.
//! - [`TileAddress`]: C2SP tlog-tiles. [`note`]: C2SP signed-note. [`Checkpoint`]: C2SP
//!   tlog-checkpoint.
//! - [`Tree`]: the tree of one outbox over the stored log, its full tiles kept in the ledgers;
//!   [`Trees`] is the service over that, [`TreeChecks`] recomputes everything.
//!
//! Leaves cover every entry, also those that only some may read. A CID tells nothing about what
//! it names: the hashed block holds 128 random bits of salt, so that nobody can try short texts.
//! What the tree does tell is how many activities the actor published. Erasing a body keeps the
//! CID of its entry, and with it every root and proof.

mod check;
mod checkpoint;
mod frontier;
mod hash;
mod kept;
pub mod node;
pub mod note;
mod service;
mod tile;
mod tree;
mod verify;

pub use check::{CheckedTree, TreeChecks};
pub use checkpoint::{Checkpoint, CheckpointError, origin_of_log};
pub use frontier::{Frontier, FullTile};
pub use hash::{HashError, TreeHash};
pub use service::{Consistency, Inclusion, TreeHead, Trees};
pub use tile::{Level, TILE_WIDTH, TileAddress, TileError};
pub use tree::{Tree, TreeError, durable_size};
pub use verify::{InvalidProof, verify_consistency, verify_inclusion};
