//! The tiles of a tree that are kept in the ledgers.
//!
//! | key | value |
//! |---|---|
//! | `merkle\0` stream `\0t` level index | the hashes of a tile: 256 on level 0, those so far above |
//! | `merkle\0` stream `\0c` | how many tiles of level 0 are kept, and the CID of their last leaf |
//!
//! Level is one byte, numbers are 8 bytes, big-endian. Tiles and the coverage that counts them are
//! written in one batch. What is kept can be lost at any time: it is computed again.

use super::hash::TreeHash;
use super::tile::TILE_WIDTH;
use crate::cid::Cid;
use crate::log::{StoreError, Stream, Table, TableWrite};

/// What every key of trees starts with.
pub(super) const ROOT: &[u8] = b"merkle\0";
/// Entries that are read at once when keys are listed.
pub(super) const PAGE: usize = 256;

/// How far tiles are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coverage {
    /// Full tiles of level 0.
    pub tiles: u64,
    /// The last leaf in them.
    pub last: Cid,
}

impl Coverage {
    /// How many leaves these are.
    pub(super) fn leaves(self) -> u64 {
        self.tiles.saturating_mul(TILE_WIDTH.into())
    }
}

/// What is kept of one tree.
#[derive(Clone, Copy)]
pub(super) struct Kept<'a> {
    table: &'a dyn Table,
    stream: &'a Stream,
}

impl<'a> Kept<'a> {
    pub(super) fn new(table: &'a dyn Table, stream: &'a Stream) -> Self {
        Self { table, stream }
    }

    fn prefix(&self) -> Vec<u8> {
        [ROOT, self.stream.to_string().as_bytes(), b"\0"].concat()
    }

    fn tile_key(&self, level: u8, index: u64) -> Vec<u8> {
        [self.prefix().as_slice(), &[b't', level], &index.to_be_bytes()].concat()
    }

    fn coverage_key(&self) -> Vec<u8> {
        [self.prefix().as_slice(), b"c"].concat()
    }

    /// How far tiles are kept; `None` where none are.
    pub(super) fn coverage(&self) -> Result<Option<Coverage>, StoreError> {
        let Some(value) = self.table.get(&self.coverage_key())? else { return Ok(None) };
        let read = || {
            let (tiles, last) = value.split_first_chunk::<8>()?;
            let last = Cid::from_bytes(last).ok()?;
            Some(Coverage { tiles: u64::from_be_bytes(*tiles), last })
        };
        read().map(Some).ok_or_else(|| self.damaged("its coverage", "it cannot be read"))
    }

    /// The hashes of a tile; `None` where it is not kept.
    pub(super) fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<TreeHash>>, StoreError> {
        let Some(value) = self.table.get(&self.tile_key(level, index))? else { return Ok(None) };
        let hashes = TreeHash::sequence(&value).filter(|held| held.len() <= TILE_WIDTH.into());
        let place = || format!("tile {index} of level {level}");
        hashes.map(Some).ok_or_else(|| self.damaged(&place(), "it has a wrong length"))
    }

    /// The write that keeps a tile.
    pub(super) fn keep_tile(&self, level: u8, index: u64, hashes: &[TreeHash]) -> TableWrite {
        (self.tile_key(level, index), Some(TreeHash::concatenate(hashes)))
    }

    /// The write that notes how far tiles are kept.
    pub(super) fn keep_coverage(&self, coverage: Coverage) -> TableWrite {
        let value = [coverage.tiles.to_be_bytes().as_slice(), &coverage.last.to_bytes()].concat();
        (self.coverage_key(), Some(value))
    }

    /// Throws everything away, the coverage first.
    pub(super) fn forget(&self) -> Result<(), StoreError> {
        self.table.apply(vec![(self.coverage_key(), None)])?;
        self.table.remove_all(&self.prefix())?;
        Ok(())
    }

    pub(super) fn damaged(&self, what: &str, reason: impl Into<String>) -> StoreError {
        let place = format!("the tree of {}, {what}", self.stream);
        StoreError::Damaged { place, reason: reason.into() }
    }
}
