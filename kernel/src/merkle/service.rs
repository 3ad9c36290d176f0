use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Mutex, MutexGuard};

use super::hash::TreeHash;
use super::tile::{Level, TILE_WIDTH, TileAddress};
use super::tree::{Tree, TreeError, durable_size};
use crate::cid::Cid;
use crate::log::{Log, StoreError, Stream, Table};
use crate::runtime::Runtime;

/// Tiles of level 0 that one request computes at most: 16,384 leaves, which take about a second.
const TILES_PER_REQUEST: u64 = 64;
/// How long a request waits for others that compute tiles.
const PATIENCE: Duration = Duration::from_secs(2);

/// The trees of a node's outboxes; cheap to clone.
///
/// Trees cover what is durable and nothing else: a signed root must not be taken back by a power
/// cut. Missing tiles are computed when they are first needed, by one request at a time and so
/// many leaves each; beyond, the answer is [`TreeError::NotCaughtUp`] and the next request goes
/// on from there.
#[derive(Clone)]
pub struct Trees {
    inner: Arc<Inner>,
}

struct Inner {
    log: Log,
    ledgers: Arc<dyn Table>,
    runtime: Runtime,
    computing: Mutex<()>,
}

/// Size and root of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TreeHead {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
}

/// A proof that an activity stands in the tree of some size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inclusion {
    /// Its position in the outbox.
    pub leaf_index: u64,
    /// The size of the tree.
    pub size: u64,
    /// The root that the proof leads to.
    pub root: TreeHash,
    /// The proof (RFC 9162, section 2.1.3), from the leaf upwards.
    pub hashes: Vec<TreeHash>,
}

/// A proof that one tree is the beginning of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Consistency {
    /// The size of the older tree.
    pub from: u64,
    /// Its root.
    pub from_root: TreeHash,
    /// The size of the newer tree.
    pub to: u64,
    /// Its root.
    pub to_root: TreeHash,
    /// The proof (RFC 9162, section 2.1.4).
    pub hashes: Vec<TreeHash>,
}

impl Trees {
    /// Trees over a log, with their tiles in the ledgers.
    pub fn new(log: Log, ledgers: Arc<dyn Table>, runtime: Runtime) -> Self {
        Self { inner: Arc::new(Inner { log, ledgers, runtime, computing: Mutex::new(()) }) }
    }

    /// Size and root of the tree as it is now.
    pub async fn head(&self, stream: Stream) -> Result<TreeHead, TreeError> {
        self.read(stream, |tree, size| Ok(TreeHead { size, root: tree.root(size)? })).await
    }

    /// The bytes of a tile.
    pub async fn tile(&self, stream: Stream, address: TileAddress) -> Result<Vec<u8>, TreeError> {
        if address.level == Level::Entries {
            let size = self.size(&stream).await?;
            return self.with(stream, move |tree| tree.tile(address, size)).await;
        }
        self.read(stream, move |tree, size| tree.tile(address, size)).await
    }

    /// The proof that an activity is in the tree of some size, by default the newest.
    pub async fn inclusion(
        &self,
        stream: Stream,
        cid: Cid,
        size: Option<u64>,
    ) -> Result<Inclusion, TreeError> {
        let (log, of) = (self.inner.log.clone(), stream.clone());
        self.read(stream, move |tree, held| {
            let size = size.unwrap_or(held);
            reaches(size, held)?;
            let leaf_index = log
                .store()
                .position(&of, &cid)?
                .ok_or_else(|| TreeError::Absent(format!("{cid} is not in this outbox")))?;
            let hashes = tree.inclusion(leaf_index, size)?;
            Ok(Inclusion { leaf_index, size, root: tree.root(size)?, hashes })
        })
        .await
    }

    /// The proof that the tree of one size is the beginning of that of another, by default the
    /// newest.
    pub async fn consistency(
        &self,
        stream: Stream,
        from: u64,
        to: Option<u64>,
    ) -> Result<Consistency, TreeError> {
        self.read(stream, move |tree, held| {
            let to = to.unwrap_or(held);
            reaches(from, held)?;
            reaches(to, held)?;
            let hashes = tree.consistency(from, to)?;
            let (from_root, to_root) = (tree.root(from)?, tree.root(to)?);
            Ok(Consistency { from, from_root, to, to_root, hashes })
        })
        .await
    }

    /// Reads from a tree whose full tiles are kept; gives the reader the durable size too.
    async fn read<T: Send + 'static>(
        &self,
        stream: Stream,
        read: impl FnOnce(Tree<'_>, u64) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<T, TreeError> {
        let outcome = async {
            let size = self.ready(&stream).await?;
            self.with(stream.clone(), move |tree| read(tree, size)).await
        };
        let (level, index) = match outcome.await {
            Err(TreeError::Lost { level, index }) => (level, index),
            outcome => return outcome,
        };
        tracing::error!(%stream, level, index, "a tile was lost; the tree is computed anew");
        let size = self.size(&stream).await?;
        let _computing = self.computing(0, size).await?;
        self.with(stream, |tree| Ok(tree.forget()?)).await?;
        Err(TreeError::NotCaughtUp { covered: 0, size })
    }

    /// How many durable leaves there are.
    async fn size(&self, stream: &Stream) -> Result<u64, TreeError> {
        let head = self.inner.log.head();
        let (log, stream) = (self.inner.log.clone(), stream.clone());
        self.run(move || Ok(durable_size(log.store(), &stream, head)?)).await
    }

    /// How many durable leaves there are, once their full tiles are kept.
    async fn ready(&self, stream: &Stream) -> Result<u64, TreeError> {
        let size = self.size(stream).await?;
        let goal = size - size % u64::from(TILE_WIDTH);
        let covered = self.with(stream.clone(), |tree| Ok(tree.covered()?)).await?;
        if covered.is_some_and(|covered| covered >= goal) {
            return Ok(size);
        }
        let _computing = self.computing(covered.unwrap_or(0), size).await?;
        let step = move |tree: Tree<'_>| tree.catch_up(size, TILES_PER_REQUEST);
        let covered = self.with(stream.clone(), step).await?;
        if covered >= goal { Ok(size) } else { Err(TreeError::NotCaughtUp { covered, size }) }
    }

    /// Waits for whoever computes tiles now.
    async fn computing(&self, covered: u64, size: u64) -> Result<MutexGuard<'_, ()>, TreeError> {
        let wait = self.inner.runtime.clock.sleep(PATIENCE);
        tokio::select! {
            biased;
            guard = self.inner.computing.lock() => Ok(guard),
            () = wait => Err(TreeError::NotCaughtUp { covered, size }),
        }
    }

    async fn with<T: Send + 'static>(
        &self,
        stream: Stream,
        read: impl FnOnce(Tree<'_>) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<T, TreeError> {
        let inner = self.inner.clone();
        self.run(move || read(Tree::new(inner.log.store(), inner.ledgers.as_ref(), &stream))).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, TreeError> + Send + 'static,
    ) -> Result<T, TreeError> {
        let done = self.inner.runtime.run(work).await;
        done.map_err(|error| StoreError::Io(error.to_string()))?
    }
}

fn reaches(size: u64, held: u64) -> Result<(), TreeError> {
    match size {
        0 => Err(TreeError::Impossible("a tree without leaves has no proofs".into())),
        size if size > held => {
            Err(TreeError::Absent(format!("the log has {held} leaves, not {size}")))
        }
        _ => Ok(()),
    }
}
