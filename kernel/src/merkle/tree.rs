use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use thiserror::Error;

use super::frontier::Frontier;
use super::hash::TreeHash;
use super::kept::{Coverage, Kept, PAGE};
use super::node::{self, Node, Nodes};
use super::tile::{Level, TILE_WIDTH, TileAddress};
use crate::cid::Cid;
use crate::log::{LogStore, StoreError, Stream, Table};
use crate::refusal::{Problem, Refusal};

/// Tiles of level 0 that are written in one batch, 8 KiB each.
const TILES_AT_ONCE: u64 = 32;
/// Leaves below a tile of level 0.
const LEAVES: u64 = TILE_WIDTH as u64;

/// Why something of a tree could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The store failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Full tiles are still being computed; what was done is kept, so ask again.
    #[error("the tree is computed up to leaf {covered} of {size}")]
    NotCaughtUp {
        /// Leaves in kept tiles.
        covered: u64,
        /// Leaves in the log.
        size: u64,
    },
    /// A tile that should be kept is not there; [`Tree::forget`] helps.
    #[error("tile {index} of level {level} is not kept")]
    Lost {
        /// Its level.
        level: u8,
        /// Its index.
        index: u64,
    },
    /// The tree has no such leaf, tile or size.
    #[error("{0}")]
    Absent(String),
    /// No tree can have that.
    #[error("{0}")]
    Impossible(String),
}

impl From<TreeError> for Refusal {
    fn from(error: TreeError) -> Self {
        let problem = match error {
            TreeError::Store(error) => return error.into(),
            TreeError::NotCaughtUp { .. } => Problem::NotCaughtUp,
            TreeError::Lost { .. } => Problem::Internal,
            TreeError::Absent(_) => Problem::NotFound,
            TreeError::Impossible(_) => Problem::InvalidParameter,
        };
        Refusal::new(problem, error.to_string())
    }
}

/// How many entries of a stream stand at or below a position of the log. With the last durable
/// position this is the size of a tree that no power cut can take back.
pub fn durable_size(
    log: &dyn LogStore,
    stream: &Stream,
    global_seq: u64,
) -> Result<u64, StoreError> {
    let mut size = log.stream_len(stream)?;
    while size > 0 {
        let from = size.saturating_sub(PAGE as u64);
        let newest = log.read_stream(stream, from, PAGE)?;
        let held = newest.iter().take_while(|entry| entry.global_seq <= global_seq).count() as u64;
        if held > 0 {
            return Ok(from + held);
        }
        size = from;
    }
    Ok(0)
}

/// The tree of one outbox over the stored log. All methods block.
///
/// Leaves come from the log. Hashes of full tiles never change, so they are kept in the ledgers
/// and read from there; for the right edge at most 255 leaves are hashed. Where the log does not
/// have the last covered leaf at its place (it was restored or cut back), what is kept belongs to
/// another history and is thrown away. [`TreeChecks`](super::TreeChecks) compares every hash.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    log: &'a dyn LogStore,
    table: &'a dyn Table,
    stream: &'a Stream,
    kept: Kept<'a>,
}

impl<'a> Tree<'a> {
    /// The tree of a stream, with its tiles in a table of ledgers.
    pub fn new(log: &'a dyn LogStore, table: &'a dyn Table, stream: &'a Stream) -> Self {
        Self { log, table, stream, kept: Kept::new(table, stream) }
    }

    /// How many leaves the kept tiles cover; `None` where they belong to another history.
    pub fn covered(&self) -> Result<Option<u64>, StoreError> {
        let Some(coverage) = self.kept.coverage()? else { return Ok(Some(0)) };
        let Some(position) = coverage.leaves().checked_sub(1) else { return Ok(None) };
        let held = self.log.read_stream(self.stream, position, 1)?.pop();
        Ok(held.is_some_and(|entry| entry.cid == coverage.last).then_some(coverage.leaves()))
    }

    /// Throws away what is kept.
    pub fn forget(&self) -> Result<(), StoreError> {
        self.kept.forget()
    }

    /// The edge of the tree where the kept tiles end.
    fn edge(&self, covered: u64) -> Result<Frontier, TreeError> {
        let mut levels = vec![Vec::new()];
        let mut hashes = covered / LEAVES;
        for level in 1u8.. {
            if hashes == 0 {
                break;
            }
            let width = usize::try_from(hashes % LEAVES).unwrap_or(0);
            hashes /= LEAVES;
            let mut row = Vec::new();
            if width > 0 {
                row = self.kept.tile(level, hashes)?.unwrap_or_default();
                if row.len() < width {
                    return Err(TreeError::Lost { level, index: hashes });
                }
                row.truncate(width);
            }
            levels.push(row);
        }
        let damaged = || self.kept.damaged("its edge", "it does not fit the coverage");
        Ok(Frontier::resume(covered, levels).ok_or_else(damaged)?)
    }

    /// Computes and keeps the tiles that are full in a tree of this size, at most so many of level
    /// 0; gives how many leaves are covered then. Only one caller at a time may do this.
    pub fn catch_up(&self, size: u64, most: u64) -> Result<u64, TreeError> {
        let mut covered = match self.covered()? {
            Some(covered) => covered,
            None => {
                tracing::warn!(stream = %self.stream, "the kept tree is of another history");
                self.forget()?;
                0
            }
        };
        let goal = (size / LEAVES).min((covered / LEAVES).saturating_add(most)) * LEAVES;
        if covered >= goal {
            return Ok(covered);
        }
        let mut edge = self.edge(covered)?;
        while covered < goal {
            covered = goal.min(covered + TILES_AT_ONCE * LEAVES);
            self.extend(&mut edge, covered)?;
        }
        Ok(covered)
    }

    /// Keeps what a tree of this size, a multiple of 256, has beyond the edge.
    fn extend(&self, edge: &mut Frontier, until: u64) -> Result<(), StoreError> {
        let (mut writes, mut last) = (Vec::new(), None);
        while edge.size() < until {
            for cid in self.cids(edge.size(), TILE_WIDTH)? {
                last = Some(cid);
                for tile in edge.push(TreeHash::leaf(&cid.to_bytes())) {
                    writes.push(self.kept.keep_tile(tile.level, tile.index, &tile.hashes));
                }
            }
        }
        for (level, hashes) in edge.partials().filter(|(_, hashes)| !hashes.is_empty()) {
            let index = until.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
            writes.push(self.kept.keep_tile(level, index, hashes));
        }
        if let Some(last) = last {
            writes.push(self.kept.keep_coverage(Coverage { tiles: until / LEAVES, last }));
        }
        self.table.apply(writes)
    }

    /// The CIDs at so many positions from one on, all of which the log must have.
    fn cids(&self, from: u64, count: u16) -> Result<Vec<Cid>, StoreError> {
        let entries = self.log.read_stream(self.stream, from, count.into())?;
        let dense = (from..).zip(&entries).all(|(position, entry)| entry.stream_seq == position);
        if dense && entries.len() == usize::from(count) {
            return Ok(entries.into_iter().map(|entry| entry.cid).collect());
        }
        let reason = format!("the log lacks some of the {count} entries from there on");
        Err(self.kept.damaged(&format!("leaf {from}"), reason))
    }

    /// The first hashes of a tile; the log must have the leaves below them.
    fn hashes(&self, level: u8, index: u64, width: u16) -> Result<Vec<TreeHash>, TreeError> {
        let mut kept = self.kept.tile(level, index)?.unwrap_or_default();
        if kept.len() >= usize::from(width) {
            kept.truncate(width.into());
            return Ok(kept);
        }
        if level > 0 {
            return Err(TreeError::Lost { level, index });
        }
        let cids = self.cids(index.saturating_mul(LEAVES), width)?;
        Ok(cids.iter().map(|cid| TreeHash::leaf(&cid.to_bytes())).collect())
    }

    /// The bytes of a tile (C2SP tlog-tiles) in the tree of this size: hashes, or the binary CIDs,
    /// each after its length. Like roots and proofs it needs full tiles to be kept, see
    /// [`Self::catch_up`].
    pub fn tile(&self, address: TileAddress, size: u64) -> Result<Vec<u8>, TreeError> {
        if !address.exists_at(size) {
            return Err(TreeError::Absent(format!("{address} is not in a tree of {size} leaves")));
        }
        if let Level::Hashes(level) = address.level {
            let hashes = self.hashes(level, address.index, address.width)?;
            return Ok(TreeHash::concatenate(&hashes));
        }
        let mut bundle = Vec::new();
        for cid in self.cids(address.index.saturating_mul(LEAVES), address.width)? {
            let data = cid.to_bytes();
            let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
            bundle.extend_from_slice(&length.to_be_bytes());
            bundle.extend_from_slice(&data);
        }
        Ok(bundle)
    }

    /// The root over the first `size` leaves, which the log must have.
    pub fn root(&self, size: u64) -> Result<TreeHash, TreeError> {
        node::root(&mut self.nodes(size), size)
    }

    /// The proof that leaf `index` is in the tree of the first `size`.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<TreeHash>, TreeError> {
        node::inclusion(&mut self.nodes(size), index, size)?.ok_or_else(|| {
            TreeError::Absent(format!("leaf {index} is not in a tree of {size} leaves"))
        })
    }

    /// The proof that the first `old` leaves are the beginning of the first `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<TreeHash>, TreeError> {
        node::consistency(&mut self.nodes(new), old, new)?.ok_or_else(|| {
            TreeError::Impossible(format!("no tree grows from {old} to {new} leaves"))
        })
    }

    fn nodes(&self, size: u64) -> TileNodes<'a> {
        TileNodes { tree: *self, size, read: HashMap::new() }
    }
}

/// Full subtrees out of tiles, each tile read once.
struct TileNodes<'a> {
    tree: Tree<'a>,
    size: u64,
    read: HashMap<(u8, u64), Vec<TreeHash>>,
}

impl Nodes for TileNodes<'_> {
    type Error = TreeError;

    fn node(&mut self, node: Node) -> Result<TreeHash, TreeError> {
        let (level, height) = (node.level / 8, node.level % 8);
        let first = node.index << height;
        let index = first / LEAVES;
        let row = match self.read.entry((level, index)) {
            Slot::Occupied(row) => row.into_mut(),
            Slot::Vacant(place) => {
                let width = TileAddress::width_at(Level::Hashes(level), index, self.size);
                place.insert(self.tree.hashes(level, index, width)?)
            }
        };
        let start = usize::try_from(first % LEAVES).unwrap_or(usize::MAX);
        let subtrees = row.get(start..).and_then(|row| row.get(..1 << height));
        subtrees.map(TreeHash::over).ok_or(TreeError::Lost { level, index })
    }
}
