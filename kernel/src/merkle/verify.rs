use thiserror::Error;

use super::hash::TreeHash;

/// A proof does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidProof {
    /// No proof can exist for such positions and sizes.
    #[error("there is no proof for such sizes")]
    Sizes,
    /// The proof has too few or too many hashes.
    #[error("the proof has a wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// A position in the tree while a proof is followed upwards: where the path is, and where the
/// last node of its level is.
struct Climb {
    at: u64,
    last: u64,
}

impl Climb {
    /// Whether the next hash of the proof stands on the left.
    fn joins_left(&self) -> bool {
        self.at & 1 == 1 || self.at == self.last
    }

    /// Moves up after a hash was joined. On the right edge levels without a sibling are skipped.
    fn up(&mut self) {
        if self.joins_left() {
            while self.at & 1 == 0 && self.at != 0 {
                self.at >>= 1;
                self.last >>= 1;
            }
        }
        self.at >>= 1;
        self.last >>= 1;
    }
}

/// Checks that a leaf stands at `index` in the tree with this size and root (RFC 9162, section
/// 2.1.3.2).
pub fn verify_inclusion(
    leaf: &TreeHash,
    index: u64,
    size: u64,
    proof: &[TreeHash],
    root: &TreeHash,
) -> Result<(), InvalidProof> {
    if index >= size {
        return Err(InvalidProof::Sizes);
    }
    let mut climb = Climb { at: index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in proof {
        if climb.last == 0 {
            return Err(InvalidProof::Length);
        }
        hash = if climb.joins_left() {
            TreeHash::node(sibling, &hash)
        } else {
            TreeHash::node(&hash, sibling)
        };
        climb.up();
    }
    match (climb.last == 0, hash == *root) {
        (false, _) => Err(InvalidProof::Length),
        (true, false) => Err(InvalidProof::Root),
        (true, true) => Ok(()),
    }
}

/// Checks that the tree with the old size and root is the beginning of the one with the new size
/// and root (RFC 9162, section 2.1.4.2). Sizes are above 0; every tree begins with the empty one.
pub fn verify_consistency(
    (old_size, old_root): (u64, &TreeHash),
    (new_size, new_root): (u64, &TreeHash),
    proof: &[TreeHash],
) -> Result<(), InvalidProof> {
    if old_size == 0 || old_size > new_size {
        return Err(InvalidProof::Sizes);
    }
    if old_size == new_size {
        return match (proof.is_empty(), old_root == new_root) {
            (false, _) => Err(InvalidProof::Length),
            (true, false) => Err(InvalidProof::Root),
            (true, true) => Ok(()),
        };
    }
    // Where the old tree is one full subtree, its root is where the path begins.
    let (start, rest) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(InvalidProof::Length)?
    };
    let full = (old_size - 1).trailing_ones();
    let mut climb = Climb { at: (old_size - 1) >> full, last: (new_size - 1) >> full };
    let (mut old, mut new) = (*start, *start);
    for sibling in rest {
        if climb.last == 0 {
            return Err(InvalidProof::Length);
        }
        if climb.joins_left() {
            old = TreeHash::node(sibling, &old);
            new = TreeHash::node(sibling, &new);
        } else {
            new = TreeHash::node(&new, sibling);
        }
        climb.up();
    }
    match (climb.last == 0, old == *old_root && new == *new_root) {
        (false, _) => Err(InvalidProof::Length),
        (true, false) => Err(InvalidProof::Root),
        (true, true) => Ok(()),
    }
}
