//! Live streams: what they tell, how they go on after a break, and when they cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use fedsx_kernel::log::{Log, MemoryStorage, Record};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::state::State;
use fedsx_projections::{
    Change, Changes, Context, Fold, FoldError, News, Projections, QueryError, Scope, Subscription,
    Visibility,
};
use serde_json::json;

const WAIT: Duration = Duration::from_secs(10);

/// Three rows for each record, and one that changes with all of them.
struct Rows(u32);

impl Fold for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }
    fn version(&self) -> u32 {
        self.0
    }
    fn scope(&self) -> Scope {
        Scope::EachCid
    }
    fn visibility(&self) -> Visibility {
        Visibility::Public
    }
    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let seq = record.entry.global_seq;
        for part in 0..3 {
            state.put(&format!("{seq:05}\n{part}"), json!(seq));
        }
        state.put("~note", json!(seq));
        state.put("same", json!("always"));
        state.put("last", json!(seq));
        if seq > 1 {
            state.remove(&format!("{:05}\n2", seq - 1));
        }
        Ok(())
    }
}

async fn open(storage: &MemoryStorage, log: &Log, version: u32) -> Projections {
    let folds: Vec<Arc<dyn Fold>> = vec![Arc::new(Rows(version))];
    let opened =
        Projections::open(table(storage), log.clone(), Runtime::system(), context(), folds).await;
    opened.unwrap()
}

async fn grow(log: &Log, projections: &Projections, upto: u64) {
    while log.head() < upto {
        let seq = usize::try_from(log.head()).unwrap();
        append(log, &(say(0, seq, json!({"type": "Any"})), false)).await;
    }
    projections.wait("rows", log.head(), WAIT).await.unwrap();
}

fn since(position: u64) -> Subscription {
    Subscription { since: Some(position), ..Subscription::default() }
}

/// Everything that a stream tells without waiting.
async fn drain(stream: &mut Changes) -> Vec<Change> {
    let mut all = Vec::new();
    while let Some(news) = stream.news().await.unwrap() {
        match news {
            News::Changes(changes) => all.extend(changes),
            News::Reset(at) => panic!("a reset at {at}"),
        }
    }
    all
}

async fn resets(stream: &mut Changes) -> u64 {
    match stream.news().await.unwrap() {
        Some(News::Reset(at)) => at,
        other => panic!("no reset: {other:?}"),
    }
}

fn text(change: &Change) -> String {
    let what = if change.value.is_some() { "" } else { " gone" };
    let last = if change.is_last { "!" } else { "" };
    format!("{}{last} {}{what}", change.global_seq, change.key.join("/"))
}

#[tokio::test]
async fn a_stream_tells_what_changed_and_goes_on_after_a_break() {
    let (storage, log) = open_log();
    let projections = open(&storage, &log, 1).await;
    grow(&log, &projections, 2).await;
    let mut live = projections.changes("rows", Subscription::default()).unwrap();
    assert!(drain(&mut live).await.is_empty(), "what was before is not told");
    assert_eq!(live.position(), 2);
    grow(&log, &projections, 3).await;
    assert!(live.changed().await);
    let told: Vec<_> = drain(&mut live).await.iter().map(text).collect();
    let expected = ["3 00002/2 gone", "3 00003/0", "3 00003/1", "3 00003/2", "3! last"];
    assert_eq!(told, expected, "notes and what stayed the same are not told");
    assert_eq!(live.position(), 3);

    // Positions are told in order; a row that changes more than once is told once.
    grow(&log, &projections, 6).await;
    let told = drain(&mut projections.changes("rows", since(3)).unwrap()).await;
    assert_eq!(told.iter().filter(|change| change.key == ["last"]).count(), 1);
    assert!(told.is_sorted_by_key(|change| change.global_seq));
    assert_eq!(told.iter().filter(|change| change.is_last).count(), 3);
    assert!(told.iter().all(|change| change.global_seq > 3));
    let below = Subscription { key_prefix: Some(vec!["00005".into()]), ..since(0) };
    let told = drain(&mut projections.changes("rows", below).unwrap()).await;
    assert!(!told.is_empty() && told.iter().all(|change| change.key[0] == "00005"));

    // The same after a restart, in pages, each position ending once.
    projections.shutdown().await;
    assert!(!live.changed().await, "streams end with the projections");
    let projections = open(&storage, &log, 1).await;
    grow(&log, &projections, 400).await;
    let told = drain(&mut projections.changes("rows", since(100)).unwrap()).await;
    let ends: Vec<_> = told.iter().filter(|change| change.is_last).collect();
    let mut positions: Vec<u64> = told.iter().map(|change| change.global_seq).collect();
    positions.dedup();
    assert_eq!((positions[0], positions.len()), (101, 300));
    assert!(ends.len() <= 300);
    for end in ends {
        let mut after = told.iter().filter(|change| change.global_seq == end.global_seq);
        assert_eq!(after.next_back().unwrap(), end, "nothing of a position follows its end");
    }
    projections.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_is_reset() {
    let (storage, log) = open_log();
    let projections = open(&storage, &log, 1).await;
    grow(&log, &projections, 3_000).await;
    // 3,000 records change 5 rows each, and the last 10,000 changes are kept.
    let mut old = projections.changes("rows", since(500)).unwrap();
    assert_eq!(resets(&mut old).await, 3_000);
    assert!(drain(&mut old).await.is_empty(), "it goes on from there");
    assert_eq!(drain(&mut projections.changes("rows", since(2_999)).unwrap()).await.len(), 5);
    let mut ahead = projections.changes("rows", since(4_000)).unwrap();
    assert_eq!(resets(&mut ahead).await, 3_000, "the log was longer when this client read it");

    // A rebuild: whoever read what was served before reads anew.
    let mut live = projections.changes("rows", Subscription::default()).unwrap();
    assert!(drain(&mut live).await.is_empty());
    projections.rebuild("rows").await.unwrap();
    while projections.rebuilt("rows").unwrap().is_none() {
        assert!(live.changed().await);
    }
    assert_eq!(resets(&mut live).await, 3_000);
    assert!(projections.rebuilt("rows").unwrap().unwrap().is_same());
    resets(&mut projections.changes("rows", since(2_999)).unwrap()).await;
    grow(&log, &projections, 3_001).await;
    assert_eq!(drain(&mut live).await.len(), 5);
    projections.shutdown().await;

    // So is one of another version.
    let projections = open(&storage, &log, 2).await;
    grow(&log, &projections, 3_002).await;
    while projections.info("rows").unwrap().version != 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    resets(&mut projections.changes("rows", since(3_000)).unwrap()).await;
    projections.shutdown().await;
}

#[tokio::test]
async fn streams_are_bounded() {
    let (storage, log) = open_log();
    let projections = open(&storage, &log, 1).await;
    let of = |client: &str| {
        let clients = client.split_whitespace().map(str::to_owned).collect();
        projections.changes("rows", Subscription { clients, ..Subscription::default() })
    };
    let mut held: Vec<_> = (0..32).map(|_| of("one").unwrap()).collect();
    assert!(matches!(of("one"), Err(QueryError::Busy(_))), "streams of one client");
    assert!(matches!(of("two one"), Err(QueryError::Busy(_))), "under another name, too");
    held.pop();
    held.push(of("one").unwrap());
    let mut others = 0;
    while let Ok(stream) = of(&format!("client-{}", others / 32)) {
        held.push(stream);
        others += 1;
    }
    assert_eq!(held.len(), 256);
    drop(held);
    assert!(of("one").is_ok());
    projections.end_streams();
    assert!(of("one").is_err(), "none are opened any more");
    projections.shutdown().await;
}
