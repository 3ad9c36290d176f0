use std::collections::BTreeMap;

use serde::Serialize;

use super::frontier::Frontier;
use super::hash::TreeHash;
use super::kept::{Coverage, Kept, PAGE, ROOT};
use super::tile::{Level, TileAddress};
use crate::cid::Cid;
use crate::log::{Entry, StoreError, Stream, Table};

/// The trees of all outboxes, computed again entry by entry; what is kept of them is compared.
pub struct TreeChecks<'a> {
    table: &'a dyn Table,
    trees: BTreeMap<Stream, TreeCheck<'a>>,
}

impl<'a> TreeChecks<'a> {
    /// Begins before the first entry of the log.
    pub fn new(table: &'a dyn Table) -> Self {
        Self { table, trees: BTreeMap::new() }
    }

    /// Takes the next entry of the log; those of other streams than outboxes are left aside.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), StoreError> {
        if entry.stream.author().is_none() {
            return Ok(());
        }
        if let Some(tree) = self.trees.get_mut(&entry.stream) {
            return tree.push(&entry.cid);
        }
        let mut tree = TreeCheck::new(self.table, entry.stream.clone())?;
        tree.push(&entry.cid)?;
        self.trees.insert(entry.stream.clone(), tree);
        Ok(())
    }

    /// Ends after the last entry; gives the tree of each outbox.
    pub fn finish(self) -> Result<BTreeMap<Stream, CheckedTree>, StoreError> {
        let mut trees = BTreeMap::new();
        for (stream, tree) in self.trees {
            trees.insert(stream, tree.finish()?);
        }
        check_strays(self.table, &trees)?;
        Ok(trees)
    }
}

struct TreeCheck<'a> {
    table: &'a dyn Table,
    stream: Stream,
    coverage: Option<Coverage>,
    frontier: Frontier,
    compared: u64,
}

/// What was found of one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedTree {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
    /// Kept tiles, all of which are right.
    pub tiles: u64,
}

impl<'a> TreeCheck<'a> {
    fn new(table: &'a dyn Table, stream: Stream) -> Result<Self, StoreError> {
        let coverage = Kept::new(table, &stream).coverage()?;
        Ok(Self { table, stream, coverage, frontier: Frontier::new(), compared: 0 })
    }

    fn push(&mut self, cid: &Cid) -> Result<(), StoreError> {
        for full in self.frontier.push(TreeHash::leaf(&cid.to_bytes())) {
            self.compare(full.level, full.index, &full.hashes)?;
        }
        match self.coverage {
            Some(held) if held.leaves() == self.frontier.size() && held.last != *cid => {
                let reason = format!("it ends with {}, the log has {cid} there", held.last);
                Err(self.kept().damaged("its coverage", reason))
            }
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<CheckedTree, StoreError> {
        let size = self.frontier.size();
        if self.covered() > size {
            let reason = format!("it has {} leaves, the log {size}", self.covered());
            return Err(self.kept().damaged("its coverage", reason));
        }
        let partials: Vec<_> =
            self.frontier.partials().map(|(level, hashes)| (level, hashes.to_vec())).collect();
        for (level, hashes) in partials {
            let index = size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
            self.compare(level, index, &hashes)?;
        }
        Ok(CheckedTree { size, root: self.frontier.root(), tiles: self.compared })
    }

    fn kept(&self) -> Kept<'_> {
        Kept::new(self.table, &self.stream)
    }

    fn covered(&self) -> u64 {
        self.coverage.map_or(0, Coverage::leaves)
    }

    /// Compares a tile, as wide as it was when the coverage was noted.
    fn compare(&mut self, level: u8, index: u64, hashes: &[TreeHash]) -> Result<(), StoreError> {
        let width = TileAddress::width_at(Level::Hashes(level), index, self.covered());
        if width == 0 {
            return Ok(());
        }
        let place = format!("tile {index} of level {level}");
        let kept = self.kept().tile(level, index)?;
        let kept = kept.ok_or_else(|| self.kept().damaged(&place, "it is missing"))?;
        if hashes.get(..width.into()) != Some(kept.as_slice()) {
            return Err(self.kept().damaged(&place, "its hashes are not those of the log"));
        }
        self.compared += 1;
        Ok(())
    }
}

/// Refuses kept tiles that belong to none of the checked trees.
fn check_strays(
    table: &dyn Table,
    trees: &BTreeMap<Stream, CheckedTree>,
) -> Result<(), StoreError> {
    let mut found: BTreeMap<Stream, u64> = BTreeMap::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = table.scan(ROOT, after.as_deref(), PAGE)?;
        for (key, _) in &page {
            let (stream, tile) = read_key(key).ok_or_else(|| StoreError::Damaged {
                place: format!("the ledgers, {}", hex::encode(key)),
                reason: "it names no tree".into(),
            })?;
            *found.entry(stream).or_default() += u64::from(tile);
        }
        match page.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => break,
        }
    }
    for (stream, kept) in found {
        let checked = trees.get(&stream).map_or(0, |tree| tree.tiles);
        if kept != checked || !trees.contains_key(&stream) {
            let reason = format!("{kept} are kept, {checked} belong to the log");
            return Err(Kept::new(table, &stream).damaged("its tiles", reason));
        }
    }
    Ok(())
}

/// The stream that a key belongs to, and whether it is that of a tile.
fn read_key(key: &[u8]) -> Option<(Stream, bool)> {
    let rest = key.strip_prefix(ROOT)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (name, what) = rest.split_at_checked(end)?;
    let stream = std::str::from_utf8(name).ok()?.parse().ok()?;
    Some((stream, what.get(1) == Some(&b't')))
}
