//! Full subtrees of a tree, and the roots and proofs that are made of them.
//!
//! A hash of a full subtree never changes while the tree grows, so it can be kept. Everything
//! else (roots, the incomplete right side) is put together from at most 64 of them.

use super::hash::TreeHash;

/// A full subtree: the leaves from `index << level` up to, not including, `(index + 1) << level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its height; 0 is a leaf.
    pub level: u8,
    /// Its place among the subtrees of this height.
    pub index: u64,
}

/// Where the hashes of full subtrees come from.
pub trait Nodes {
    /// Why one could not be had.
    type Error;

    /// The hash of a full subtree.
    fn node(&mut self, node: Node) -> Result<TreeHash, Self::Error>;
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (n.saturating_sub(1)).ilog2()
}

/// The full subtrees of a range of leaves from left to right, ever smaller (a *compact range*).
/// `from` must be a multiple of the largest power of two within `to - from`.
pub fn compact_range(from: u64, to: u64) -> Vec<Node> {
    let (mut at, mut left) = (from, to.saturating_sub(from));
    let mut nodes = Vec::new();
    while left > 0 {
        let level = left.ilog2();
        #[allow(clippy::cast_possible_truncation, reason = "a logarithm of 64 bits is below 64")]
        nodes.push(Node { level: level as u8, index: at >> level });
        at = at.saturating_add(1 << level);
        left -= 1 << level;
    }
    nodes
}

/// The hash over a range of leaves as [`compact_range`] takes it.
fn over<N: Nodes>(nodes: &mut N, from: u64, to: u64) -> Result<TreeHash, N::Error> {
    let mut hash: Option<TreeHash> = None;
    for node in compact_range(from, to).into_iter().rev() {
        let left = nodes.node(node)?;
        hash = Some(hash.map_or(left, |right| TreeHash::node(&left, &right)));
    }
    Ok(hash.unwrap_or_else(TreeHash::empty))
}

/// The root over the first `size` leaves (RFC 9162, section 2.1.1).
pub fn root<N: Nodes>(nodes: &mut N, size: u64) -> Result<TreeHash, N::Error> {
    over(nodes, 0, size)
}

/// The proof that leaf `index` stands in the tree of the first `size` leaves (RFC 9162, section
/// 2.1.3.1), from the leaf upwards; `None` where `index` is not below `size`.
pub fn inclusion<N: Nodes>(
    nodes: &mut N,
    index: u64,
    size: u64,
) -> Result<Option<Vec<TreeHash>>, N::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(over(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(over(nodes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// The proof that the tree of the first `old` leaves is the beginning of that of the first `new`
/// (RFC 9162, section 2.1.4.1); `None` unless `0 < old <= new`.
pub fn consistency<N: Nodes>(
    nodes: &mut N,
    old: u64,
    new: u64,
) -> Result<Option<Vec<TreeHash>>, N::Error> {
    if old == 0 || old > new {
        return Ok(None);
    }
    let (mut from, mut to) = (0, new);
    let mut path = Vec::new();
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(over(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(over(nodes, from, middle)?);
            from = middle;
        }
    }
    // The verifier holds the old root; it only lacks the last part where that is not the whole.
    if from > 0 {
        path.push(over(nodes, from, to)?);
    }
    path.reverse();
    Ok(Some(path))
}
