//! The service over Merkle trees: catching up in steps, several requests at once, lost tiles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use fedsx_kernel::activity::Body;
use fedsx_kernel::keys::KeyHistory;
use fedsx_kernel::log::{
    Batch, Entry, Log, LogOptions, MemoryStorage, Meta, Record, Storage, Stream,
};
use fedsx_kernel::merkle::{Frontier, TreeError, TreeHash, Trees, verify_consistency};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::{Direction, Hosted, Judgement, KeyWish, Prepared, Preparing, Rules};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::state::{State, StateError, StateView};
use fedsx_kernel::{Activity, ActorName, Cid};
use serde_json::{Map, Value};

/// Nothing is published here, so that nothing is ever judged.
struct NoRules;

fn refused<T>() -> Result<T, Refusal> {
    Err(Refusal::new(Problem::Internal, "nothing is published here"))
}

impl Rules for NoRules {
    fn keys_wanted(
        &self,
        _: &dyn StateView,
        _: &str,
        _: &Map<String, Value>,
    ) -> Result<Vec<KeyWish>, Refusal> {
        refused()
    }

    fn prepare(&self, _: &Preparing<'_>, _: Map<String, Value>) -> Result<Prepared, Refusal> {
        refused()
    }

    fn judge(&self, _: &dyn StateView, _: &Activity, _: Direction) -> Result<Judgement, Refusal> {
        refused()
    }

    fn confirm(
        &self,
        _: &dyn StateView,
        _: &Activity,
        _: Direction,
        _: &Judgement,
    ) -> Result<Judgement, Refusal> {
        refused()
    }

    fn fold(&self, _: &mut dyn State, _: &Record) -> Result<(), StateError> {
        Ok(())
    }

    fn recipients(
        &self,
        _: &dyn StateView,
        _: &Activity,
        _: &[String],
    ) -> Result<Vec<ActorName>, StateError> {
        Ok(Vec::new())
    }

    fn keys(&self, _: &dyn StateView, _: &str) -> Result<Option<KeyHistory>, StateError> {
        Ok(None)
    }

    fn hosted(&self, _: &dyn StateView, _: &ActorName) -> Result<Hosted, StateError> {
        Ok(Hosted::Absent)
    }

    fn sender(&self, _: &dyn StateView, _: &str, _: Option<&str>) -> Result<(), Refusal> {
        refused()
    }

    fn ignorable(&self, _: &dyn StateView, _: &Activity) -> Result<bool, StateError> {
        Ok(false)
    }

    fn subjects<'a>(&self, _: &'a Activity) -> Vec<&'a str> {
        Vec::new()
    }
}

fn stream() -> Stream {
    Stream::Outbox("alice".parse().unwrap())
}

/// Appends entries behind the back of the writer; gives their leaves.
fn append(storage: &MemoryStorage, count: u64) -> Vec<TreeHash> {
    let log = storage.log();
    let (head, from) = (log.head().unwrap(), log.stream_len(&stream()).unwrap());
    let (mut batch, mut leaves) = (Batch::default(), Vec::new());
    for n in 0..count {
        let block = format!("entry {}", from + n).into_bytes();
        let cid = Cid::of_block(&block);
        leaves.push(TreeHash::leaf(&cid.to_bytes()));
        batch.bodies.push((
            cid,
            Body { block, certifies_itself: false, proof: None, erased: None },
            None,
        ));
        batch.entries.push(Entry {
            global_seq: head + n + 1,
            stream: stream(),
            stream_seq: from + n,
            cid,
            first: true,
            meta: Meta::default(),
        });
    }
    log.append(&batch).unwrap();
    leaves
}

fn root(leaves: &[TreeHash]) -> TreeHash {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

fn open(storage: &Arc<MemoryStorage>) -> Trees {
    let runtime = Runtime::system();
    let log =
        Log::open(storage.clone(), Arc::new(NoRules), runtime.clone(), &LogOptions::default());
    Trees::new(log.unwrap(), storage.ledgers(), runtime)
}

#[tokio::test]
async fn a_large_tree_is_computed_in_steps() {
    let storage = Arc::new(MemoryStorage::default());
    let leaves = append(&storage, 40_000);
    let trees = open(&storage);
    let entries = trees.tile(stream(), "tile/entries/156.p/64".parse().unwrap()).await.unwrap();
    assert_eq!(entries.len(), 64 * 38, "entries need no tiles");
    for step in [16_384, 32_768] {
        match trees.head(stream()).await {
            Err(TreeError::NotCaughtUp { covered, size }) => {
                assert_eq!((covered, size), (step, 40_000));
            }
            other => panic!("{other:?}"),
        }
    }
    let head = trees.head(stream()).await.unwrap();
    assert_eq!((head.size, head.root), (40_000, root(&leaves)));
    let proof = trees.consistency(stream(), 20_001, None).await.unwrap();
    assert_eq!(proof.from_root, root(&leaves[..20_001]));
    verify_consistency((20_001, &proof.from_root), (40_000, &head.root), &proof.hashes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_ask_at_once() {
    let storage = Arc::new(MemoryStorage::default());
    let leaves = append(&storage, 3_000);
    let (trees, expected) = (open(&storage), root(&leaves));
    let asked: Vec<_> = (0..32)
        .map(|_| {
            let trees = trees.clone();
            tokio::spawn(async move { trees.head(stream()).await })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap().root, expected);
    }
}

#[tokio::test]
async fn what_is_not_durable_is_not_covered() {
    let storage = Arc::new(MemoryStorage::default());
    let mut leaves = append(&storage, 300);
    let trees = open(&storage);
    // The writer has not said of these that they are synced, though readers see them.
    leaves.extend(append(&storage, 300));
    let head = trees.head(stream()).await.unwrap();
    assert_eq!((head.size, head.root), (300, root(&leaves[..300])));
    let beyond = trees.tile(stream(), "tile/0/001".parse().unwrap()).await;
    assert!(matches!(beyond, Err(TreeError::Absent(_))), "{beyond:?}");
    let beyond = trees.tile(stream(), "tile/entries/001.p/45".parse().unwrap()).await;
    assert!(matches!(beyond, Err(TreeError::Absent(_))), "{beyond:?}");
    let head = open(&storage).head(stream()).await.unwrap();
    assert_eq!((head.size, head.root), (600, root(&leaves)), "after a restart they are");
}

#[tokio::test]
async fn a_lost_tile_is_computed_again() {
    let storage = Arc::new(MemoryStorage::default());
    let leaves = append(&storage, 600);
    let trees = open(&storage);
    let head = trees.head(stream()).await.unwrap();
    let lost = [b"merkle\0outbox/alice\0t\x01".as_slice(), &0u64.to_be_bytes()].concat();
    storage.ledgers().apply(vec![(lost, None)]).unwrap();
    let refused = trees.head(stream()).await;
    assert!(matches!(refused, Err(TreeError::NotCaughtUp { .. })), "{refused:?}");
    assert_eq!(trees.head(stream()).await.unwrap(), head);
    assert_eq!(head.root, root(&leaves));
    let nobody = trees.head(Stream::Outbox("bob".parse().unwrap())).await.unwrap();
    assert_eq!((nobody.size, nobody.root), (0, TreeHash::empty()));
}
