use super::hash::TreeHash;
use super::tile::TILE_WIDTH;

/// The right edge of a tree that grows leaf by leaf: for each level of tiles, the hashes of the
/// tile that is not full yet. Takes at most 8 KiB for each level.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    size: u64,
    levels: Vec<Vec<TreeHash>>,
}

/// A tile that became full, which never changes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    /// Its level.
    pub level: u8,
    /// Its index within the level.
    pub index: u64,
    /// Its 256 hashes.
    pub hashes: Vec<TreeHash>,
}

impl Frontier {
    /// The edge of an empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a tree with this many leaves, from the hashes of its partial tiles (level 0
    /// first); `None` where these are not as many as the size asks for.
    pub fn resume(size: u64, mut levels: Vec<Vec<TreeHash>>) -> Option<Self> {
        while levels.last().is_some_and(Vec::is_empty) {
            levels.pop();
        }
        let mut rest = size;
        for hashes in &levels {
            if rest % u64::from(TILE_WIDTH) != hashes.len() as u64 {
                return None;
            }
            rest /= u64::from(TILE_WIDTH);
        }
        (rest == 0).then_some(Self { size, levels })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the partial tile at a level.
    pub fn partial(&self, level: u8) -> &[TreeHash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The levels that have tiles, with the hashes of the partial tile of each.
    pub fn partials(&self) -> impl Iterator<Item = (u8, &[TreeHash])> {
        (0u8..).zip(self.levels.iter().map(Vec::as_slice))
    }

    /// Adds a leaf; gives the tiles that are full now, lowest first.
    pub fn push(&mut self, leaf: TreeHash) -> Vec<FullTile> {
        self.size = self.size.saturating_add(1);
        let (mut full, mut rest, mut hash) = (Vec::new(), self.size, leaf);
        for level in 0u8.. {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::new());
            }
            let Some(row) = self.levels.get_mut(usize::from(level)) else { break };
            row.push(hash);
            if row.len() < usize::from(TILE_WIDTH) {
                break;
            }
            let hashes = std::mem::take(row);
            rest /= u64::from(TILE_WIDTH);
            hash = TreeHash::over(&hashes);
            full.push(FullTile { level, index: rest.saturating_sub(1), hashes });
        }
        full
    }

    /// The root over all leaves.
    pub fn root(&self) -> TreeHash {
        let mut right: Option<TreeHash> = None;
        for hashes in &self.levels {
            // What the levels below add up to is the last, smaller subtree of this one.
            let row: Vec<_> = hashes.iter().copied().chain(right).collect();
            if !row.is_empty() {
                right = Some(TreeHash::over(&row));
            }
        }
        right.unwrap_or_else(TreeHash::empty)
    }
}
