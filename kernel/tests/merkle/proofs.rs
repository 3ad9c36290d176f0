//! Hashes, roots and proofs: published vectors, and properties over honest and forged proofs.

use fedsx_kernel::merkle::node::{self, compact_range};
use fedsx_kernel::merkle::note::{Note, VerifierKey};
use fedsx_kernel::merkle::{
    Checkpoint, Frontier, InvalidProof, Level, TileAddress, TreeHash, verify_consistency,
    verify_inclusion,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{Leaves, data, hashes};

#[test]
fn hashes_of_leaves_and_nodes() {
    let empty = TreeHash::empty();
    assert_eq!(empty.to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert_eq!(empty.to_string().parse::<TreeHash>().unwrap(), empty);
    assert!("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFX=".parse::<TreeHash>().is_err());
    assert!("AAAA".parse::<TreeHash>().is_err());
    // A leaf of two hashes is not the node over them.
    let (a, b) = (TreeHash::leaf(b"a"), TreeHash::leaf(b"b"));
    let both = TreeHash::concatenate(&[a, b]);
    assert_ne!(TreeHash::leaf(&both), TreeHash::node(&a, &b));
    assert_eq!(TreeHash::sequence(&both), Some(vec![a, b]));
    assert_eq!(TreeHash::sequence(&both[1..]), None);
}

#[test]
fn rfc6962_roots() {
    let vectors = data("rfc6962.json");
    let roots = hashes(&vectors["roots"]);
    assert_eq!(roots.len(), 9);
    let mut leaves = Leaves(Vec::new());
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root(), roots[0]);
    for (leaf, root) in vectors["leaves"].as_array().unwrap().iter().zip(&roots[1..]) {
        let leaf = TreeHash::leaf(&hex::decode(leaf.as_str().unwrap()).unwrap());
        leaves.0.push(leaf);
        frontier.push(leaf);
        let size = leaves.0.len() as u64;
        assert_eq!(leaves.root(size), *root, "root of {size}");
        assert_eq!(TreeHash::over(&leaves.0), *root, "root of {size} level by level");
        assert_eq!(frontier.root(), *root, "root of {size} from its edge");
    }
}

#[test]
fn rfc6962_proofs() {
    let vectors = data("rfc6962.json");
    let roots = hashes(&vectors["roots"]);
    let leaves = vectors["leaves"].as_array().unwrap().iter();
    let leaves = leaves.map(|leaf| TreeHash::leaf(&hex::decode(leaf.as_str().unwrap()).unwrap()));
    let mut leaves = Leaves(leaves.collect());
    let number = |value: &Value| value.as_u64().unwrap();
    let (mut inclusions, mut consistencies) = (0, 0);
    for vector in vectors["inclusion"].as_array().unwrap() {
        let (index, size) = (number(&vector["leaf_index"]), number(&vector["size"]));
        let expected = hashes(&vector["hashes"]);
        let proof = node::inclusion(&mut leaves, index, size).unwrap();
        assert_eq!(proof.as_deref(), Some(expected.as_slice()), "leaf {index} of {size}");
        let (leaf, root) = (leaves.0[index as usize], roots[size as usize]);
        verify_inclusion(&leaf, index, size, &expected, &root).unwrap();
        inclusions += 1;
    }
    for vector in vectors["consistency"].as_array().unwrap() {
        let (from, to) = (number(&vector["from"]), number(&vector["to"]));
        let expected = hashes(&vector["hashes"]);
        let proof = node::consistency(&mut leaves, from, to).unwrap();
        assert_eq!(proof.as_deref(), Some(expected.as_slice()), "{from} to {to}");
        let (old, new) = (roots[from as usize], roots[to as usize]);
        verify_consistency((from, &old), (to, &new), &expected).unwrap();
        consistencies += 1;
    }
    assert_eq!((inclusions, consistencies), (36, 36), "every pair up to 8 leaves");
    assert_eq!(node::inclusion(&mut leaves, 8, 8).unwrap(), None);
    for (from, to) in [(0, 0), (0, 8), (8, 7)] {
        assert_eq!(node::consistency(&mut leaves, from, to).unwrap(), None, "{from} to {to}");
    }
}

#[test]
fn impossible_sizes_have_no_valid_proof() {
    let (a, b) = (TreeHash::leaf(b"a"), TreeHash::leaf(b"b"));
    for (index, size) in [(0, 0), (1, 1), (u64::MAX, 1), (u64::MAX, u64::MAX)] {
        let refused = verify_inclusion(&a, index, size, &[], &a);
        assert_eq!(refused, Err(InvalidProof::Sizes), "{index} of {size}");
    }
    assert_eq!(verify_inclusion(&a, 0, 1, &[], &b), Err(InvalidProof::Root));
    assert_eq!(verify_inclusion(&a, 0, 1, &[b], &a), Err(InvalidProof::Length));
    assert_eq!(verify_inclusion(&a, 0, u64::MAX, &[b; 80], &a), Err(InvalidProof::Length));
    for (from, to) in [(0, 0), (0, 1), (2, 1), (u64::MAX, 0)] {
        let refused = verify_consistency((from, &a), (to, &a), &[]);
        assert_eq!(refused, Err(InvalidProof::Sizes), "{from} to {to}");
    }
    assert_eq!(verify_consistency((1, &a), (1, &a), &[]), Ok(()));
    assert_eq!(verify_consistency((1, &a), (1, &a), &[a]), Err(InvalidProof::Length));
    assert_eq!(verify_consistency((1, &a), (1, &b), &[]), Err(InvalidProof::Root));
    assert_eq!(verify_consistency((1, &a), (2, &b), &[]), Err(InvalidProof::Length));
    assert_eq!(verify_consistency((3, &a), (7, &b), &[]), Err(InvalidProof::Length));
    let huge = verify_consistency((u64::MAX - 1, &a), (u64::MAX, &b), &[a; 80]);
    assert_eq!(huge, Err(InvalidProof::Length));
}

fn flipped(mut hashes: Vec<TreeHash>, place: usize, bit: usize) -> Vec<TreeHash> {
    let mut bytes = *hashes[place].as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    hashes[place] = TreeHash::new(bytes);
    hashes
}

/// Every way in which a list of hashes is changed a little.
fn mutations(proof: &[TreeHash], place: usize, bit: usize, other: TreeHash) -> Vec<Vec<TreeHash>> {
    let mut all = vec![
        [proof, &[other]].concat(),
        [&[other], proof].concat(),
        [proof, &[TreeHash::empty()]].concat(),
    ];
    if proof.is_empty() {
        return all;
    }
    let place = place % proof.len();
    all.push(flipped(proof.to_vec(), place, bit));
    let mut without = proof.to_vec();
    without.remove(place);
    all.push(without);
    all.push(proof[1..].to_vec());
    all.push(proof[..proof.len() - 1].to_vec());
    let mut turned = proof.to_vec();
    turned.rotate_left(1);
    all.push(turned);
    all.retain(|mutated| mutated != proof);
    all
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn honest_inclusion_verifies_and_nothing_else(
        size in 1u64..=600, at in any::<prop::sample::Index>(), place in 0usize..64, bit in 0usize..256,
    ) {
        let mut leaves = Leaves::numbered(600);
        let index = at.index(size as usize) as u64;
        let (leaf, root) = (leaves.0[index as usize], leaves.root(size));
        let proof = node::inclusion(&mut leaves, index, size).unwrap().unwrap();
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
        for mutated in mutations(&proof, place, bit, leaf) {
            prop_assert!(verify_inclusion(&leaf, index, size, &mutated, &root).is_err());
        }
        for other in [index ^ 1, index ^ 2, index + 1, index.wrapping_sub(1), index * 2 + 2] {
            prop_assert!(verify_inclusion(&leaf, other, size, &proof, &root).is_err());
        }
        // The size is bound by the root: an earlier or later tree has another one.
        for other in [size - 1, size + 1] {
            let other_root = leaves.root(other.min(600));
            if other_root != root {
                prop_assert!(verify_inclusion(&leaf, index, other, &proof, &other_root).is_err());
            }
        }
        let wrong = flipped(vec![leaf, root], 0, bit);
        prop_assert!(verify_inclusion(&wrong[0], index, size, &proof, &root).is_err());
        let wrong = flipped(vec![leaf, root], 1, bit);
        prop_assert!(verify_inclusion(&leaf, index, size, &proof, &wrong[1]).is_err());
    }

    #[test]
    fn honest_consistency_verifies_and_nothing_else(
        new in 1u64..=600, at in any::<prop::sample::Index>(), place in 0usize..64, bit in 0usize..256,
    ) {
        let mut leaves = Leaves::numbered(600);
        let old = at.index(new as usize) as u64 + 1;
        let (old_root, new_root) = (leaves.root(old), leaves.root(new));
        let proof = node::consistency(&mut leaves, old, new).unwrap().unwrap();
        let verify = |old: u64, old_root: &TreeHash, new_root: &TreeHash, proof: &[TreeHash]| {
            verify_consistency((old, old_root), (new, new_root), proof)
        };
        prop_assert_eq!(verify(old, &old_root, &new_root, &proof), Ok(()));
        for mutated in mutations(&proof, place, bit, old_root) {
            prop_assert!(verify(old, &old_root, &new_root, &mutated).is_err());
        }
        let wrong = flipped(vec![old_root, new_root], 0, bit);
        prop_assert!(verify(old, &wrong[0], &new_root, &proof).is_err());
        let wrong = flipped(vec![old_root, new_root], 1, bit);
        prop_assert!(verify(old, &old_root, &wrong[1], &proof).is_err());
        if old != new {
            prop_assert!(verify(old, &new_root, &old_root, &proof).is_err());
        }
        // A history in which one earlier leaf is another.
        let changed = place as u64 % old;
        leaves.0[changed as usize] = TreeHash::leaf(b"rewritten");
        let rewritten = leaves.root(new);
        let forged = node::consistency(&mut leaves, old, new).unwrap().unwrap();
        prop_assert!(verify(old, &old_root, &rewritten, &forged).is_err());
        prop_assert!(verify(old, &old_root, &rewritten, &proof).is_err());
    }

    #[test]
    fn compact_ranges_cover_every_leaf_once(size in 0u64..u64::MAX) {
        let mut at = 0;
        let mut level = 64;
        for node in compact_range(0, size) {
            prop_assert!(node.level < level, "ever smaller");
            level = node.level;
            prop_assert_eq!(node.index << node.level, at);
            at += 1 << node.level;
        }
        prop_assert_eq!(at, size);
    }

    #[test]
    fn tile_addresses_read_as_they_are_written(
        level in prop::option::of(0u8..=63), index in any::<u64>(), width in 1u16..=256,
    ) {
        let level = level.map_or(Level::Entries, Level::Hashes);
        let address = TileAddress { level, index, width };
        prop_assert_eq!(address.to_string().parse::<TileAddress>().unwrap(), address);
    }

    #[test]
    fn no_text_panics(text in "(tile/)?[0-9ex/p.]{0,30}", note in "[a\n\u{2014} +0A=]{0,60}") {
        let _ = text.parse::<TileAddress>();
        let _ = note.parse::<Note>();
        let _ = note.parse::<Checkpoint>();
        let _ = note.parse::<VerifierKey>();
    }
}
