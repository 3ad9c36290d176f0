//! Merkle trees: published vectors, properties over honest and forged proofs, tiles and what is
//! kept of them. Where the data comes from stands in `data/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use fedsx_kernel::Cid;
use fedsx_kernel::activity::Body;
use fedsx_kernel::keys::{Algorithm, SecretKey};
use fedsx_kernel::log::{Batch, Entry, LogStore, MemoryStorage, Meta, Storage, StoreError, Stream};
use fedsx_kernel::merkle::node::{self, Node, Nodes, compact_range};
use fedsx_kernel::merkle::note::{Note, NoteError, VerifierKey};
use fedsx_kernel::merkle::{
    CheckedTree, Checkpoint, CheckpointError, Frontier, InvalidProof, Level, TileAddress, Tree,
    TreeChecks, TreeError, TreeHash, durable_size, origin_of_log, verify_consistency,
    verify_inclusion,
};
use fedsx_kernel::runtime::SeededRandom;
use proptest::prelude::*;
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

#[test]
fn tile_addresses() {
    let address = |level, index, width| TileAddress { level, index, width };
    for (text, expected) in [
        ("tile/0/000", address(Level::Hashes(0), 0, 256)),
        ("tile/4/x001/x234/067", address(Level::Hashes(4), 1_234_067, 256)),
        ("tile/63/999.p/1", address(Level::Hashes(63), 999, 1)),
        ("tile/entries/x001/000.p/255", address(Level::Entries, 1000, 255)),
    ] {
        assert_eq!(text.parse::<TileAddress>().unwrap(), expected, "{text}");
        assert_eq!(expected.to_string(), text);
    }
    for bad in [
        "",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001",
        "tile/0/x001/x001",
        "tile/0/-01",
        "tile/0/+01",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1.p/1",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(bad.parse::<TileAddress>().is_err(), "{bad}");
    }
    assert!("tile/0/x018/x446/x744/x073/x709/x551/615".parse::<TileAddress>().is_ok(), "2^64 - 1");
}

/// The example of C2SP tlog-tiles: which tiles a tree of 70,000 leaves has.
#[test]
fn tiles_of_a_tree() {
    let width = |level, index| TileAddress::width_at(Level::Hashes(level), index, 70_000);
    assert_eq!((width(0, 272), width(0, 273), width(0, 274)), (256, 112, 0));
    assert_eq!((width(1, 0), width(1, 1), width(1, 2)), (256, 17, 0));
    assert_eq!((width(2, 0), width(2, 1), width(3, 0), width(63, 0)), (1, 0, 0, 0));
    assert_eq!(TileAddress::width_at(Level::Hashes(1), 0, 256), 1);
    assert_eq!(TileAddress::width_at(Level::Hashes(0), u64::MAX, u64::MAX), 0);
    assert_eq!(TileAddress::width_at(Level::Entries, 273, 70_000), 112);
}

#[test]
fn published_note() {
    let vector = data("note.json");
    let text = |name: &str| vector[name].as_str().unwrap();
    let vkey: VerifierKey = text("vkey").parse().unwrap();
    assert_eq!(vkey.to_string(), text("vkey"));
    assert_eq!(vkey.name(), "PeterNeumann");
    let note: Note = text("note").parse().unwrap();
    assert_eq!(note.text(), text("text"));
    assert_eq!(note.to_string(), text("note"));
    assert_eq!(note.verify(std::slice::from_ref(&vkey)).unwrap(), &vkey);
    let seed = hex::decode(text("seed")).unwrap();
    let secret = SecretKey::from_secret_bytes(Algorithm::Ed25519, &seed).unwrap();
    let signed = Note::sign(text("text"), "PeterNeumann", &secret, &SeededRandom::new(1)).unwrap();
    assert_eq!(signed.to_string(), text("note"), "the same note, byte for byte");

    // Other keys with the same name, or this key under another name, have not signed.
    let other = SecretKey::generate_ed25519(&SeededRandom::new(2));
    let stranger = VerifierKey::new("PeterNeumann", other.public()).unwrap();
    let renamed = VerifierKey::new("PeterNeuman", secret.public()).unwrap();
    let refused = [stranger.clone(), renamed];
    assert!(matches!(note.verify(&refused), Err(NoteError::UnknownSigner)));
    // Signatures by unknown keys are left aside.
    let by_other = Note::sign(text("text"), "PeterNeumann", &other, &SeededRandom::new(1)).unwrap();
    let line = by_other.to_string().lines().last().unwrap().to_owned();
    let both: Note = format!("{}{line}\n", text("note")).parse().unwrap();
    assert_eq!(both.verify(std::slice::from_ref(&vkey)).unwrap(), &vkey);
    assert_eq!(both.verify(&[stranger, vkey.clone()]).unwrap(), &vkey, "the first that signed");
    let changed: Note = text("note").replace("answer", "Answer").parse().unwrap();
    assert!(matches!(changed.verify(&[vkey]), Err(NoteError::InvalidSignature(_))));
}

#[test]
fn malformed_notes_and_keys() {
    let vector = data("note.json");
    let (note, vkey) = (vector["note"].as_str().unwrap(), vector["vkey"].as_str().unwrap());
    let line = note.lines().last().unwrap();
    let sixteen = format!("text\n\n{}", format!("{line}\n").repeat(16));
    assert!(sixteen.parse::<Note>().is_ok(), "sixteen signatures must be taken");
    for (bad, why) in [
        (String::new(), "nothing"),
        (note.trim_end().to_owned(), "no newline at the end"),
        (note.replace("\n\n", "\n"), "no empty line"),
        ("text\n\n".to_owned(), "no signature"),
        (note.replace('\u{2014}', "-"), "a hyphen"),
        (note.replace("Peter", "Peter "), "a space in the name"),
        (note.replace("Peter", "Peter+"), "a plus in the name"),
        (note.replace("\u{2014} PeterNeumann", "\u{2014} "), "no name"),
        (note.replace("nAM=", "nA!="), "no base64"),
        (format!("text\n\n{line}x\n"), "too much base64"),
        ("text\n\n\u{2014} a AAAAAA==\n".to_owned(), "no signature after the key ID"),
        (note.replace("If", "I\tf"), "a control character"),
        (format!("text\n\n{}", format!("{line}\n").repeat(65)), "too many signatures"),
        (format!("{}\n{note}", "x".repeat(65536)), "too long"),
    ] {
        assert!(bad.parse::<Note>().is_err(), "{why}");
    }
    for bad in [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
    for cut in 0..vkey.len() {
        assert!(vkey[..cut].parse::<VerifierKey>().is_err(), "{}", &vkey[..cut]);
    }
}

#[test]
fn checkpoints() {
    let key = SecretKey::generate_ed25519(&SeededRandom::new(7));
    let random = SeededRandom::new(8);
    let origin = origin_of_log("http://localhost:9999/actors/alice/log").to_owned();
    assert_eq!(origin, "localhost:9999/actors/alice/log");
    assert_eq!(origin_of_log("https://example.org/actors/a/log/"), "example.org/actors/a/log");
    let root = TreeHash::empty();
    let checkpoint = Checkpoint { origin: origin.clone(), size: 0, root, extensions: vec![] };
    let text = "localhost:9999/actors/alice/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    assert_eq!(checkpoint.to_string(), text);
    let note: Note = checkpoint.sign(&key, &random).unwrap().to_string().parse().unwrap();
    let keys = [VerifierKey::new(&origin, key.public()).unwrap()];
    assert_eq!(Checkpoint::open(&note, &keys).unwrap().0, checkpoint);

    let extended = format!("{text}more\n");
    assert_eq!(extended.parse::<Checkpoint>().unwrap().extensions, ["more"]);
    assert_eq!(extended.parse::<Checkpoint>().unwrap().to_string(), extended);
    let other = Checkpoint { origin: "example.org/other".into(), ..checkpoint };
    let foreign = Note::sign(&other.to_string(), &origin, &key, &random).unwrap();
    let refused = Checkpoint::open(&foreign, &keys);
    assert!(matches!(refused, Err(CheckpointError::OtherOrigin { .. })), "{refused:?}");
    for (bad, why) in [
        (text.replace("\n0\n", "\n00\n"), "zeros before the size"),
        (text.replace("\n0\n", "\n+1\n"), "a sign before the size"),
        (text.replace("\n0\n", "\n18446744073709551616\n"), "a size beyond 64 bits"),
        (text.replace("\n0\n", "\n\n"), "no size"),
        (text.replace("47DE", "47D"), "no hash"),
        (text.replace("FU=", "FX="), "base64 that is not canonical"),
        (text.replace("localhost:9999/actors/alice/log", ""), "no origin"),
        (text.trim_end().to_owned(), "no newline"),
        (format!("{text}\nmore\n"), "an empty line"),
        ("a\n1\n".to_owned(), "two lines"),
    ] {
        assert!(bad.parse::<Checkpoint>().is_err(), "{why}");
    }
}

/// A log with one outbox, and other entries between.
struct Outbox {
    storage: MemoryStorage,
    stream: Stream,
    cids: Vec<Cid>,
}

impl Outbox {
    fn with(count: usize, kind: &str) -> Self {
        let stream = Stream::Outbox("alice".parse().unwrap());
        let mut outbox = Self { storage: MemoryStorage::default(), stream, cids: Vec::new() };
        outbox.grow(count, kind);
        outbox
    }

    fn grow(&mut self, count: usize, kind: &str) {
        let log = self.storage.log();
        let mut batch = Batch::default();
        let (head, local) = (log.head().unwrap(), log.stream_len(&Stream::Local).unwrap());
        for n in 0..count as u64 {
            let seq = self.cids.len() as u64;
            let block = format!("{kind} {seq}").into_bytes();
            let cid = Cid::of_block(&block);
            let entry = |stream: Stream, stream_seq, global_seq, first| Entry {
                global_seq,
                stream,
                stream_seq,
                cid,
                first,
                meta: Meta::default(),
            };
            batch.entries.push(entry(Stream::Local, local + n, head + 2 * n + 1, true));
            batch.entries.push(entry(self.stream.clone(), seq, head + 2 * n + 2, false));
            batch.bodies.push((
                cid,
                Body { block, certifies_itself: false, proof: None, erased: None },
                None,
            ));
            self.cids.push(cid);
        }
        log.append(&batch).unwrap();
    }

    fn leaves(&self) -> Leaves {
        Leaves(self.cids.iter().map(|cid| TreeHash::leaf(&cid.to_bytes())).collect())
    }

    fn tree<T>(&self, read: impl FnOnce(Tree<'_>) -> T) -> T {
        let (log, table) = (self.storage.log(), self.storage.ledgers());
        read(Tree::new(log.as_ref(), table.as_ref(), &self.stream))
    }

    /// What `fedsx verify` does.
    fn check(&self) -> Result<BTreeMap<Stream, CheckedTree>, StoreError> {
        let (log, table) = (self.storage.log(), self.storage.ledgers());
        let mut checks = TreeChecks::new(table.as_ref());
        for entry in log.read(0, usize::MAX)? {
            checks.entry(&entry)?;
        }
        checks.finish()
    }
}

#[test]
fn a_stored_tree_gives_the_roots_and_proofs_of_its_leaves() {
    let mut outbox = Outbox::with(255, "first");
    for (more, size) in [(0, 255), (1, 256), (1, 257), (600, 857), (70_000 - 857, 70_000)] {
        outbox.grow(more, "first");
        let mut leaves = outbox.leaves();
        let covered = outbox.tree(|tree| tree.catch_up(size, u64::MAX)).unwrap();
        assert_eq!(covered, size / 256 * 256, "the full tiles of {size} leaves are kept");
        assert_eq!(outbox.tree(|tree| tree.root(size)).unwrap(), leaves.root(size), "{size}");
        for older in [1, 2, 3, 200, 255, 256, 257, 512, 800, 65_535, 65_536, 65_537, 69_999] {
            if older > size {
                continue;
            }
            assert_eq!(outbox.tree(|tree| tree.root(older)).unwrap(), leaves.root(older));
            let proof = outbox.tree(|tree| tree.consistency(older, size)).unwrap();
            assert_eq!(Some(proof), node::consistency(&mut leaves, older, size).unwrap());
            let proof = outbox.tree(|tree| tree.inclusion(older - 1, size)).unwrap();
            assert_eq!(Some(proof), node::inclusion(&mut leaves, older - 1, size).unwrap());
        }
        let tree = &outbox.check().unwrap()[&outbox.stream];
        assert_eq!((tree.size, tree.root), (size, leaves.root(size)));
    }
    // 273 + 1 full tiles, and the partial ones of levels 1 and 2.
    assert_eq!(outbox.check().unwrap()[&outbox.stream].tiles, 276);

    for (address, bytes) in [
        ("tile/0/272", 8192),
        ("tile/0/273.p/112", 112 * 32),
        ("tile/0/273.p/5", 5 * 32),
        ("tile/1/000", 8192),
        ("tile/1/001.p/17", 17 * 32),
        ("tile/2/000.p/1", 32),
        ("tile/entries/000", 256 * 38),
        ("tile/entries/273.p/112", 112 * 38),
    ] {
        let tile = outbox.tree(|tree| tree.tile(address.parse().unwrap(), 70_000)).unwrap();
        assert_eq!(tile.len(), bytes, "{address}");
    }
    for absent in ["tile/0/273", "tile/0/273.p/113", "tile/0/274.p/1", "tile/3/000.p/1"] {
        let tile = outbox.tree(|tree| tree.tile(absent.parse().unwrap(), 70_000));
        assert!(matches!(tile, Err(TreeError::Absent(_))), "{absent}");
    }
}

#[test]
fn catching_up_goes_on_where_it_stopped() {
    let outbox = Outbox::with(256 * 100 + 7, "first");
    let size = outbox.cids.len() as u64;
    let (mut covered, mut steps) = (0, 0);
    while covered < 256 * 100 {
        let next = outbox.tree(|tree| tree.catch_up(size, 33)).unwrap();
        assert_eq!(next, (covered + 33 * 256).min(256 * 100));
        assert!(outbox.check().is_ok(), "what is kept is right after {next} leaves");
        (covered, steps) = (next, steps + 1);
    }
    assert_eq!(steps, 4);
    assert_eq!(outbox.tree(|tree| tree.root(size)).unwrap(), outbox.leaves().root(size));
}

#[test]
fn damage_and_another_history_are_found() {
    let mut outbox = Outbox::with(256 * 258, "first");
    let size = outbox.cids.len() as u64;
    outbox.tree(|tree| tree.catch_up(size, u64::MAX)).unwrap();
    let table = outbox.storage.ledgers();
    let kept = table.scan(b"merkle\0", None, 1000).unwrap();
    assert_eq!(kept.len(), 258 + 2 + 1 + 1, "tiles of levels 0, 1 and 2, and the coverage");
    let (first, last) = (&kept[0], &kept[258]);
    for (key, value) in [first, last].into_iter().chain(&kept[259..]) {
        for damage in [
            None,
            Some({
                let mut v = value.clone();
                v[9] ^= 1;
                v
            }),
            Some(vec![1; 7]),
        ] {
            table.apply(vec![(key.clone(), damage)]).unwrap();
            let found = outbox.check();
            assert!(found.is_err(), "damage of {}", String::from_utf8_lossy(key));
            table.apply(vec![(key.clone(), Some(value.clone()))]).unwrap();
        }
    }
    assert!(outbox.check().is_ok());
    let stray = [b"merkle\0outbox/alice\0t\0".as_slice(), &400u64.to_be_bytes()].concat();
    for key in [stray, b"merkle\0outbox/bob\0t\0aaaaaaaa".to_vec(), b"merkle\0x".to_vec()] {
        table.apply(vec![(key.clone(), Some(vec![0; 8192]))]).unwrap();
        assert!(outbox.check().is_err(), "{key:?}");
        table.apply(vec![(key, None)]).unwrap();
    }

    // A lost tile is noticed, and computed again after forgetting.
    let level_1 = [b"merkle\0outbox/alice\0t\x01".as_slice(), &1u64.to_be_bytes()].concat();
    table.apply(vec![(level_1, None)]).unwrap();
    let lost = outbox.tree(|tree| tree.root(size));
    assert!(matches!(lost, Err(TreeError::Lost { level: 1, index: 1 })), "{lost:?}");
    outbox.tree(|tree| tree.forget()).unwrap();
    assert!(table.scan(b"merkle\0", None, 1).unwrap().is_empty());
    outbox.tree(|tree| tree.catch_up(size, u64::MAX)).unwrap();
    assert_eq!(table.scan(b"merkle\0", None, 1000).unwrap(), kept, "the same tiles again");

    // The tiles come to stand beside a log with another history.
    let ledgers = std::mem::take(&mut outbox.storage).ledgers();
    let other = Outbox::with(256 * 2 + 1, "second");
    let beside = |size: u64| {
        let log = other.storage.log();
        let tree = Tree::new(log.as_ref(), ledgers.as_ref(), &other.stream);
        (tree.covered().unwrap(), tree.catch_up(size, u64::MAX).unwrap(), tree.root(size).unwrap())
    };
    let root = other.leaves().root(513);
    assert_eq!(beside(513), (None, 512, root), "tiles of another history are not used");
    assert_eq!(ledgers.scan(b"merkle\0", None, 1000).unwrap().len(), 2 + 1 + 1, "nor kept");
}

/// A tree must not cover what a power cut can take back.
#[test]
fn trees_end_with_what_is_durable() {
    let outbox = Outbox::with(700, "first");
    let log: Arc<dyn LogStore> = outbox.storage.log();
    // Entry n of the outbox is at 2n + 2.
    for (head, size) in [(0, 0), (1, 0), (2, 1), (3, 1), (1399, 699), (1400, 700), (9999, 700)] {
        assert_eq!(durable_size(log.as_ref(), &outbox.stream, head).unwrap(), size, "at {head}");
    }
    let nobody = Stream::Outbox("bob".parse().unwrap());
    assert_eq!(durable_size(log.as_ref(), &nobody, 1400).unwrap(), 0);
}
