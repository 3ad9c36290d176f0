//! What is kept of a tree beside the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedsx_kernel::Cid;
use fedsx_kernel::activity::Body;
use fedsx_kernel::log::{Batch, Entry, LogStore, MemoryStorage, Meta, Storage, StoreError, Stream};
use fedsx_kernel::merkle::node;
use fedsx_kernel::merkle::{CheckedTree, Tree, TreeChecks, TreeError, TreeHash, durable_size};

use crate::Leaves;

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
