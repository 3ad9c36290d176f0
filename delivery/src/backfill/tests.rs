#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fedsx_kernel::log::Stream;
use serde_json::{Value, json};

use crate::testing::{ALICE, Hit, Node, document, status};

const BOB: &str = "http://b.example/u/bob";
const COUNT: i64 = 25;
const PAGE: i64 = 10;

/// Bob's `n`-th activity, published `COUNT - n` minutes before the Accept.
fn note(n: i64) -> Value {
    let at = jiff::Timestamp::from_second(1_790_000_000 - (COUNT - n) * 60).unwrap();
    json!({
        "id": format!("http://b.example/notes/{n}"), "type": "Create", "actor": BOB,
        "published": at.to_string(), "object": {"id": format!("http://b.example/o/{n}"), "type": "Note"}
    })
}

fn parameter(hit: &Hit, name: &str) -> Option<i64> {
    let url = url::Url::parse(&format!("http://b.example{}", hit.path)).unwrap();
    let value = url.query_pairs().find(|(key, _)| key == name)?.1.into_owned();
    Some(value.parse().unwrap_or(0))
}

/// An outbox, newest first from `max` down, or oldest first from `since` on.
fn outbox(hit: &Hit) -> Value {
    let link = |query: String| format!("http://b.example/outbox?{query}");
    let limit = parameter(hit, "limit").unwrap_or(PAGE).min(PAGE);
    if let Some(since) = parameter(hit, "since") {
        let last = (since + limit).min(COUNT);
        let items: Vec<_> = (since + 1..=last).map(note).collect();
        let next = (last < COUNT).then(|| link(format!("since={last}&limit={limit}")));
        return json!({"type": "OrderedCollectionPage", "orderedItems": items, "next": next});
    }
    let max = parameter(hit, "max").unwrap_or(COUNT);
    let items: Vec<_> = (1..=max).rev().take(limit as usize).map(note).collect();
    let next = (max > limit).then(|| link(format!("max={}&limit={limit}", max - limit)));
    json!({"type": "OrderedCollectionPage", "orderedItems": items, "next": next})
}

async fn follows(node: &Node, backfill: Value) {
    let cid = node
        .appends(json!({
            "type": "Follow", "actor": ALICE, "to": [BOB], "object": BOB, "backfill": backfill
        }))
        .await;
    let follow = node.kernel.log().activity(&cid).unwrap().unwrap().to_value();
    node.receives(json!({
        "id": "http://b.example/accept", "type": "Accept", "actor": BOB, "object": follow
    }))
    .await;
}

/// Numbers of the notes in Alice's inbox, in order; all of them backfilled.
fn received(node: &Node) -> Vec<i64> {
    let inbox = Stream::Inbox("alice".parse().unwrap());
    let records = node.kernel.log().stream(&inbox, 0, 100).unwrap();
    let notes = records.iter().filter(|record| record.activity.kind() == "Create");
    notes
        .map(|record| {
            assert!(record.entry.meta.backfilled);
            record.activity.id().rsplit_once('/').unwrap().1.parse().unwrap()
        })
        .collect()
}

async fn check(backfill: Value, expected: impl Iterator<Item = i64>) {
    let node = Node::new().await;
    node.net.serve("b.example", |hit| match hit.method.as_str() {
        "GET" => document(&outbox(hit)),
        _ => status(202),
    });
    follows(&node, backfill).await;
    node.delivery.wait_idle().await;
    assert_eq!(received(&node), expected.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn modes() {
    check(json!({"mode": "none"}), 0..0).await;
    check(json!({"mode": "full"}), 1..26).await;
    check(json!({"mode": "last-N", "limit": 3}), 23..26).await;
    check(json!({"mode": "last-N", "limit": 13}), 13..26).await;
    check(json!({"mode": "last-N", "limit": 1000}), 1..26).await;
    check(json!({"mode": "whatever"}), 0..0).await;
}

#[tokio::test(start_paused = true)]
async fn the_latest_minutes() {
    let node = Node::new().await;
    node.net.serve("b.example", |hit| match hit.method.as_str() {
        "GET" => document(&outbox(hit)),
        _ => status(202),
    });
    let job = super::Job::new(
        BOB.to_owned(),
        "alice".parse().unwrap(),
        super::Wish::Since(12 * 60_000),
        1_790_000_000_000,
    );
    node.delivery.backfills().begin(job);
    node.delivery.wait_idle().await;
    assert_eq!(received(&node), (13..26).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_failed_page_is_gone_on_with_after_a_restart() {
    let node = Node::new().await;
    let broken = Arc::new(AtomicBool::new(true));
    let switch = broken.clone();
    node.net.serve("b.example", move |hit| match hit.method.as_str() {
        "GET" if switch.load(Ordering::SeqCst) && parameter(hit, "since") == Some(10) => {
            status(503)
        }
        "GET" => document(&outbox(hit)),
        _ => status(202),
    });
    follows(&node, json!({"mode": "full"})).await;
    node.delivery.wait_idle().await;
    assert_eq!(received(&node), (1..11).collect::<Vec<_>>());
    broken.store(false, Ordering::SeqCst);
    let before = node.net.hits().len();
    let node = node.restart(crate::service::Options::default()).await;
    node.delivery.wait_idle().await;
    assert_eq!(received(&node), (1..26).collect::<Vec<_>>());
    let again = node.net.hits().split_off(before);
    assert!(again.iter().all(|hit| parameter(hit, "since") != Some(0)));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let ledger = crate::ledger::Ledger::new(node.storage.ledgers());
    assert!(ledger.jobs::<super::Job>().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_others_said_is_left_out() {
    let node = Node::new().await;
    node.net.serve("b.example", |hit| match hit.method.as_str() {
        "GET" => {
            let mut foreign = note(1);
            foreign["actor"] = "http://b.example/u/eve".into();
            let items = json!([note(3), foreign, 7, note(2)]);
            document(&json!({"type": "OrderedCollection", "orderedItems": items}))
        }
        _ => status(202),
    });
    follows(&node, json!({"mode": "last-N", "limit": 10})).await;
    node.delivery.wait_idle().await;
    assert_eq!(received(&node), [2, 3]);
}
