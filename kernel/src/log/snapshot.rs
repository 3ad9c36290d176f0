//! A copy of a store as it stands at one moment, made while writing goes on.
//!
//! All writes go through [`Tracked::apply`]. While a copy is made, a write first keeps the values
//! that it replaces, for the keys that were not copied yet; the copy puts them in the place of
//! what it reads. Trees are copied in key order, so what was passed needs no more keeping.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Deref};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use thiserror::Error;

use super::head::HeadError;
use super::sled_store::OpenError;
use super::sled_store::layers::Layers;
use super::sled_store::rows::Space;
use super::store::{Pairs, StoreError, TableWrite};

/// Most bytes of replaced values and their keys that are kept; beyond, the copy fails.
const MAX_KEPT_BYTES: usize = 256 * 1024 * 1024;
/// What a kept value costs beside its bytes, about, in bytes.
const KEPT_OVERHEAD_BYTES: usize = 96;
/// Most keys in one page of a copy.
const PAGE_KEYS: usize = 2000;
/// A page ends when it has this many bytes.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How far a copy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Keys copied so far.
    pub keys: u64,
    /// Keys that are expected in all, about.
    pub expected: u64,
}

/// What a copy asks after each page: whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(Copied) -> ControlFlow<()>;

/// Why no copy was made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The provider cannot do it.
    #[error("this kind of storage cannot be backed up")]
    Unsupported,
    /// One copy at a time.
    #[error("another backup is being made")]
    Busy,
    /// Whoever asked for it stopped it.
    #[error("the backup was stopped")]
    Stopped,
    /// The kept values would not fit into memory.
    #[error(
        "more than {} MiB were written while the backup was being made; try again when it is \
         calmer", MAX_KEPT_BYTES / 1024 / 1024
    )]
    TooMuchChange,
    /// The target holds something.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// The target could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The head of the copy could not be noted.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Reading the source or writing the target failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What every write to a store passes.
#[derive(Default)]
pub(super) struct Gate(RwLock<Option<Mutex<Capture>>>);

/// What is kept while a copy is made.
#[derive(Default)]
struct Capture {
    log: Kept,
    ledgers: Kept,
    bytes: usize,
    too_much: bool,
    /// Why it cannot be gone on with.
    failed: Option<String>,
}

/// The replaced values of one tree, and how far it was copied.
#[derive(Default)]
struct Kept {
    copied_to: Option<Vec<u8>>,
    done: bool,
    values: BTreeMap<Vec<u8>, Option<sled::IVec>>,
}

impl Capture {
    fn kept(&mut self, space: Space) -> Option<&mut Kept> {
        match space {
            Space::LOG => Some(&mut self.log),
            Space::LEDGERS => Some(&mut self.ledgers),
            // Projections are rebuilt from the log, never copied.
            _ => None,
        }
    }

    fn check(&self) -> Result<(), BackupError> {
        match &self.failed {
            Some(why) => Err(StoreError::Io(why.clone()).into()),
            None if self.too_much => Err(BackupError::TooMuchChange),
            None => Ok(()),
        }
    }

    /// Keeps what these writes replace. Runs before they are applied.
    fn keep(&mut self, tree: &Tracked, writes: &[TableWrite]) -> sled::Result<()> {
        if self.too_much || self.failed.is_some() {
            return Ok(());
        }
        let mut more = 0;
        let Some(kept) = self.kept(tree.space) else { return Ok(()) };
        for (key, _) in writes {
            let passed = kept.done || kept.copied_to.as_ref().is_some_and(|last| key <= last);
            if !passed && !kept.values.contains_key(key) {
                let value = tree.get(key)?;
                more += weight(key, value.as_ref());
                kept.values.insert(key.clone(), value);
            }
        }
        self.bytes += more;
        if self.bytes > MAX_KEPT_BYTES {
            *self = Self { too_much: true, ..Self::default() };
        }
        Ok(())
    }
}

fn weight(key: &[u8], value: Option<&sled::IVec>) -> usize {
    key.len() + value.map_or(0, |value| value.len()) + KEPT_OVERHEAD_BYTES
}

/// A tree whose writes pass the gate. Readers use the tree itself; nothing writes to it directly.
pub(super) struct Tracked {
    layers: Layers,
    space: Space,
    gate: Arc<Gate>,
}

impl Deref for Tracked {
    type Target = Layers;

    fn deref(&self) -> &Layers {
        &self.layers
    }
}

impl Tracked {
    pub(super) fn new(tree: sled::Tree, space: Space, gate: Arc<Gate>) -> Self {
        Self { layers: Layers::new(tree), space, gate }
    }

    /// What its keys begin with.
    pub(super) fn space(&self) -> Space {
        self.space
    }

    /// Takes all writes into memory. A later write to a key wins over an earlier one. Who sees one
    /// of them sees what `shown` did, too.
    pub(super) fn apply(&self, writes: Vec<TableWrite>, shown: impl FnOnce()) {
        // The guard is held until the writes are applied, so that a copy begins between batches.
        let gate = self.gate.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut kept = gate.as_ref().map(lock);
        if let Some(capture) = &mut kept
            && let Err(error) = capture.keep(self, &writes)
        {
            tracing::error!(%error, "what is replaced cannot be read; the backup fails");
            **capture = Capture { failed: Some(error.to_string()), ..Capture::default() };
        }
        self.layers.put(writes, shown);
    }
}

fn lock(capture: &Mutex<Capture>) -> MutexGuard<'_, Capture> {
    capture.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A copy that is being made; ends the keeping when it is dropped.
pub(super) struct Snapshot<'a>(&'a Gate);

impl Gate {
    /// Fixes the moment that the copy shows: no write is under way at it.
    pub(super) fn begin(&self) -> Result<Snapshot<'_>, BackupError> {
        let mut gate = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if gate.is_some() {
            return Err(BackupError::Busy);
        }
        *gate = Some(Mutex::default());
        Ok(Snapshot(self))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Snapshot<'_> {
    /// The next page of a tree, which may be empty; `None` after the last one.
    pub(super) fn page(&self, tree: &Tracked) -> Result<Option<Pairs>, BackupError> {
        let Some(after) = self.position(tree.space)? else { return Ok(None) };
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.into()));
        let (mut pairs, mut bytes, mut last) = (BTreeMap::new(), 0, None);
        for item in tree.range(from, Bound::Unbounded) {
            let (key, value) = item.map_err(|e| StoreError::Io(e.to_string()))?;
            bytes += key.len() + value.len();
            pairs.insert(key.to_vec(), value.to_vec());
            if pairs.len() >= PAGE_KEYS || bytes >= PAGE_BYTES {
                last = Some(key.to_vec());
                break;
            }
        }
        let gate = self.0.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut capture = gate.as_ref().map(lock).ok_or(BackupError::Stopped)?;
        capture.check()?;
        let Some(kept) = capture.kept(tree.space) else { return Ok(None) };
        let later = match &last {
            Some(last) => kept.values.split_off(last),
            None => BTreeMap::new(),
        };
        let mut replaced = std::mem::replace(&mut kept.values, later);
        if let Some(last) = &last
            && let Some(value) = kept.values.remove(last)
        {
            replaced.insert(last.clone(), value);
        }
        kept.done = last.is_none();
        kept.copied_to = last;
        for (key, value) in replaced {
            let freed = weight(&key, value.as_ref());
            capture.bytes = capture.bytes.saturating_sub(freed);
            match value {
                Some(value) => pairs.insert(key, value.to_vec()),
                None => pairs.remove(&key),
            };
        }
        Ok(Some(pairs.into_iter().collect()))
    }

    /// Where the next page of a tree begins; `None` once it was copied.
    fn position(&self, space: Space) -> Result<Option<Option<Vec<u8>>>, BackupError> {
        let gate = self.0.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut capture = gate.as_ref().map(lock).ok_or(BackupError::Stopped)?;
        capture.check()?;
        let kept = capture.kept(space);
        Ok(kept.filter(|kept| !kept.done).map(|kept| kept.copied_to.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    struct Fixture {
        _db: sled::Db,
        gate: Arc<Gate>,
        trees: [Tracked; 2],
    }

    fn fixture() -> Fixture {
        let db = sled::Config::new().temporary(true).open().expect("sled");
        let gate = Arc::new(Gate::default());
        let tree =
            |name, space| Tracked::new(db.open_tree(name).expect("a tree"), space, gate.clone());
        let trees = [tree("log", Space::LOG), tree("ledgers", Space::LEDGERS)];
        Fixture { _db: db, gate, trees }
    }

    fn content(tree: &Tracked) -> Model {
        tree.iter().map(|item| item.expect("read")).map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
    }

    /// What is in memory goes into the tree.
    fn move_down(tree: &Tracked) {
        tree.freeze();
        for (key, value) in tree.frozen().expect("frozen").iter() {
            match value {
                Some(value) => tree.tree().insert(key, value).expect("written"),
                None => tree.tree().remove(key).expect("written"),
            };
        }
        tree.thaw();
    }

    fn key(n: u16) -> Vec<u8> {
        n.to_be_bytes().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever is written between the pages, the copy shows the moment at which it began.
        #[test]
        fn a_copy_shows_one_moment(
            before in proptest::collection::vec((0u16..6000, 0u8..255), 0..6000),
            between in proptest::collection::vec(
                proptest::collection::vec((0usize..2, 0u16..6000, proptest::option::of(0u8..255)), 0..400),
                1..8,
            ),
        ) {
            let fixture = fixture();
            for tree in &fixture.trees {
                let writes = before.iter().map(|(k, v)| (key(*k), Some(vec![*v]))).collect();
                tree.apply(writes, || ());
            }
            let expected: Vec<Model> = fixture.trees.iter().map(content).collect();
            let snapshot = fixture.gate.begin().expect("begun");
            prop_assert!(matches!(fixture.gate.begin(), Err(BackupError::Busy)));
            let mut later = between.into_iter();
            for (tree, expected) in fixture.trees.iter().zip(&expected) {
                let mut copied = Model::new();
                loop {
                    for (place, k, v) in later.next().into_iter().flatten() {
                        let write = (key(k), v.map(|v| vec![v, v]));
                        fixture.trees[place].apply(vec![write], || ());
                    }
                    move_down(&fixture.trees[0]);
                    let Some(page) = snapshot.page(tree).expect("a page") else { break };
                    for (key, value) in page {
                        prop_assert!(copied.insert(key, value).is_none(), "copied twice");
                    }
                }
                prop_assert_eq!(&copied, expected);
            }
            drop(snapshot);
            prop_assert!(fixture.gate.begin().is_ok(), "a copy ends the keeping");
        }
    }

    #[test]
    fn writers_in_other_threads_do_not_show() {
        let fixture = fixture();
        let writes = |round: u8| (0..9000).map(|n| (key(n), Some(vec![round; 40]))).collect();
        fixture.trees[0].apply(writes(0), || ());
        let snapshot = fixture.gate.begin().expect("begun");
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut round = 1;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    fixture.trees[0].apply(writes(round), || ());
                    move_down(&fixture.trees[0]);
                    round = round % 200 + 1;
                }
            });
            let mut copied = Model::new();
            while let Some(page) = snapshot.page(&fixture.trees[0]).expect("a page") {
                copied.extend(page);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(copied.len(), 9000);
            assert!(copied.values().all(|value| value == &vec![0; 40]), "a later write shows");
        });
    }
}
