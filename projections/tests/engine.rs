//! The engine: batches, restarts, versions, set-aside records and waiting.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::*;
use fedsx_kernel::log::{Log, Record, StoreError, Table, TableWrite};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::state::{State, get_as};
use fedsx_projections::{
    Context, Fold, FoldError, Projections, Query, QueryError, Reader, Scope, Visibility, builtin,
    rebuild_digest, stored_digest,
};
use proptest::prelude::*;
use serde_json::json;

const WAIT: Duration = Duration::from_secs(10);

/// Counts records; folding one twice or not at all shows. The step is the version.
struct Counter(u32);

impl Fold for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }
    fn version(&self) -> u32 {
        self.0
    }
    fn scope(&self) -> Scope {
        Scope::EachEntry
    }
    fn visibility(&self) -> Visibility {
        Visibility::Public
    }
    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let held: u64 = get_as(state, "count")?.unwrap_or(0);
        state.put("count", json!(held + u64::from(self.0)));
        if record.activity.kind() == "Odd" {
            return Err(FoldError::Undigestible("odd".into()));
        }
        Ok(())
    }
}

async fn open(table: Arc<dyn Table>, log: &Log, folds: Vec<Arc<dyn Fold>>) -> Projections {
    Projections::open(table, log.clone(), Runtime::system(), context(), folds).await.unwrap()
}

async fn settled(projections: &Projections, log: &Log) {
    for info in projections.list() {
        projections.wait(&info.name, log.head(), WAIT).await.unwrap();
    }
}

fn notes(from: usize, to: usize) -> Vec<Said> {
    (from..to)
        .map(|n| (say(2, n, json!({"type": "Create", "object": note(2, n, "hello")})), false))
        .collect()
}

fn count(projections: &Projections) -> u64 {
    get_as(&*projections.view("counter").unwrap(), "count").unwrap().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn incremental_is_like_rebuilt(
        ops in ops(),
        cuts in prop::collection::vec((any::<bool>(), any::<bool>()), 30),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2).enable_all().build().unwrap();
        let result: Result<(), TestCaseError> = runtime.block_on(async {
            let (storage, log) = open_log();
            let mut projections = open(table(&storage), &log, builtin()).await;
            for (said, (wait, reopen)) in build(&ops).iter().zip(cuts) {
                append(&log, said).await;
                if wait {
                    settled(&projections, &log).await;
                }
                if reopen {
                    projections.shutdown().await;
                    projections = open(table(&storage), &log, builtin()).await;
                }
            }
            settled(&projections, &log).await;
            prop_assert!(projections.caught_up());
            for fold in builtin() {
                let rebuilt = rebuild_digest(&log, &*fold, &context()).unwrap();
                let running = projections.digest(fold.name()).await.unwrap();
                prop_assert_eq!(&running, &rebuilt, "{}", fold.name());
                let aside = projections.set_aside(fold.name(), None).unwrap();
                prop_assert_eq!(aside.len() as u64, rebuilt.set_aside);
            }
            projections.shutdown().await;
            for fold in builtin() {
                let rebuilt = rebuild_digest(&log, &*fold, &context()).unwrap();
                prop_assert_eq!(stored_digest(&table(&storage), &*fold).unwrap(), rebuilt);
            }
            Ok(())
        });
        result?;
    }
}

#[tokio::test]
async fn a_restart_goes_on_from_the_checkpoint() {
    let (storage, log) = open_log();
    for said in notes(0, 700) {
        append(&log, &said).await;
    }
    let projections = open(table(&storage), &log, vec![Arc::new(Counter(1))]).await;
    settled(&projections, &log).await;
    // Each note stands in two inboxes.
    assert_eq!(count(&projections), 1400);
    projections.shutdown().await;
    append(&log, &notes(700, 701)[0]).await;
    let projections = open(table(&storage), &log, vec![Arc::new(Counter(1))]).await;
    settled(&projections, &log).await;
    assert_eq!(count(&projections), 1402);
    projections.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_digested_is_set_aside() {
    let (storage, log) = open_log();
    let projections = open(table(&storage), &log, vec![Arc::new(Counter(1))]).await;
    append(&log, &notes(0, 1)[0]).await;
    let at = append(&log, &(say(0, 9, json!({"type": "Odd"})), false)).await;
    append(&log, &notes(1, 2)[0]).await;
    settled(&projections, &log).await;
    assert_eq!(count(&projections), 4, "the state stays as it was before the odd record");
    let aside = projections.set_aside("counter", None).unwrap();
    assert_eq!(aside.len(), 1);
    assert_eq!((aside[0].global_seq, aside[0].reason.as_str()), (at, "odd"));
    assert_eq!(projections.info("counter").unwrap().set_aside, 1);
    assert!(projections.set_aside("counter", Some(at)).unwrap().is_empty());
    projections.shutdown().await;
}

#[tokio::test]
async fn readers_wait_for_their_own_writes() {
    let (storage, log) = open_log();
    let projections = open(table(&storage), &log, vec![Arc::new(Counter(1))]).await;
    let at = append(&log, &notes(0, 1)[0]).await;
    assert!(projections.wait("counter", at, WAIT).await.unwrap() >= at);
    let late = projections.wait("counter", at + 1, Duration::from_millis(20)).await.unwrap_err();
    assert!(
        matches!(late, QueryError::NotCaughtUp { reached, wanted } if reached == at && wanted == at + 1)
    );
    assert!(matches!(projections.info("none"), Err(QueryError::Unknown(_))));
    projections.shutdown().await;
}

#[tokio::test]
async fn a_new_version_replaces_the_old_one() {
    let (storage, log) = open_log();
    for said in notes(0, 5) {
        append(&log, &said).await;
    }
    let projections = open(table(&storage), &log, vec![Arc::new(Counter(1))]).await;
    settled(&projections, &log).await;
    projections.shutdown().await;
    let projections = open(table(&storage), &log, vec![Arc::new(Counter(2))]).await;
    let at = append(&log, &notes(5, 6)[0]).await;
    projections.wait("counter", at, WAIT).await.unwrap();
    assert_eq!(count(&projections), 24);
    let page = projections.query("counter", &Query::default(), &Reader::Anyone).unwrap();
    assert_eq!((page.version, page.global_seq, page.items.len()), (2, at, 1));
    projections.shutdown().await;
    assert!(table(&storage).scan(b"counter\0v1\0", None, 1).unwrap().is_empty());
}

/// A version that does not serve what an earlier one left.
struct Strict;

impl Fold for Strict {
    fn name(&self) -> &'static str {
        "counter"
    }
    fn version(&self) -> u32 {
        2
    }
    fn scope(&self) -> Scope {
        Scope::EachEntry
    }
    fn visibility(&self) -> Visibility {
        Visibility::Public
    }
    fn serves(&self, older: u32) -> bool {
        older >= 2
    }
    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        state.put("last", json!(record.entry.global_seq));
        Ok(())
    }
}

#[tokio::test]
async fn an_older_version_is_served_only_where_it_may_be() {
    let (storage, log) = open_log();
    for said in notes(0, 5) {
        append(&log, &said).await;
    }
    let projections = open(table(&storage), &log, vec![Arc::new(Counter(1))]).await;
    settled(&projections, &log).await;
    projections.shutdown().await;
    let projections = open(table(&storage), &log, vec![Arc::new(Strict)]).await;
    assert_eq!(projections.info("counter").unwrap().version, 2);
    let seen = projections.query("counter", &Query::default(), &Reader::Anyone).unwrap();
    assert!(seen.items.iter().all(|item| item.key == ["last"]), "{seen:?}");
    settled(&projections, &log).await;
    projections.shutdown().await;
}

#[tokio::test]
async fn a_table_ahead_of_its_log_is_rebuilt() {
    let (storage, log) = open_log();
    for said in notes(0, 9) {
        append(&log, &said).await;
    }
    let projections = open(table(&storage), &log, vec![Arc::new(Counter(1))]).await;
    settled(&projections, &log).await;
    projections.shutdown().await;
    // Another log in place of the first: once shorter, once as long but of other content.
    for others in [notes(20, 23), notes(30, 39)] {
        let (_, other) = open_log();
        for said in &others {
            append(&other, said).await;
        }
        let projections = open(table(&storage), &other, vec![Arc::new(Counter(1))]).await;
        settled(&projections, &other).await;
        let rebuilt = rebuild_digest(&other, &Counter(1), &context()).unwrap();
        assert_eq!(projections.digest("counter").await.unwrap(), rebuilt);
        assert_eq!(count(&projections), 2 * others.len() as u64);
        projections.shutdown().await;
    }
}

/// A table whose next writes fail.
struct Flaky(Arc<dyn Table>, AtomicU32);

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

impl Table for Flaky {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Pairs, StoreError> {
        self.0.scan(prefix, after, limit)
    }
    fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        self.0.scan_back(prefix, before, limit)
    }
    fn apply(&self, writes: Vec<TableWrite>) -> Result<(), StoreError> {
        let fails = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if fails.is_ok() {
            return Err(StoreError::Full("no room".into()));
        }
        self.0.apply(writes)
    }
}

#[tokio::test]
async fn a_storage_failure_halts_and_is_retried() {
    let (storage, log) = open_log();
    let flaky = Arc::new(Flaky(table(&storage), AtomicU32::new(0)));
    let projections = open(flaky.clone(), &log, vec![Arc::new(Counter(1))]).await;
    flaky.1.store(2, Ordering::SeqCst);
    let at = append(&log, &notes(0, 1)[0]).await;
    projections.wait("counter", at, WAIT).await.unwrap();
    assert_eq!(count(&projections), 2);
    assert!(projections.set_aside("counter", None).unwrap().is_empty());
    projections.shutdown().await;
}

#[tokio::test]
async fn names_are_checked() {
    let (storage, log) = open_log();
    let folds: Vec<Arc<dyn Fold>> = vec![Arc::new(Counter(1)), Arc::new(Counter(2))];
    let opened = Projections::open(table(&storage), log, Runtime::system(), context(), folds).await;
    assert!(opened.is_err());
}
