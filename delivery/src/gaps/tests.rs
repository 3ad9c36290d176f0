#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedsx_kernel::Activity;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::log::{Append, Meta, Place, Stream};
use fedsx_kernel::proof::{self, SignOptions};
use fedsx_kernel::runtime::SeededRandom;
use serde_json::{Value, json};

use crate::service::Options;
use crate::testing::{ALICE, Answer, BASE, Hit, Node, document, status};

const BOB: &str = "http://b.example/bob";
const KEY: &str = "http://b.example/bob#key";
const MINUTES: Duration = Duration::from_secs(7 * 60);

fn key() -> SecretKey {
    SecretKey::generate_ed25519(&SeededRandom::new(77))
}

/// What Bob said at a position, signed by him.
fn said(seq: u64, kind: &str, object: Value) -> Activity {
    let content = json!({
        "type": kind, "actor": BOB, "epoch": 0, "seq": seq, "object": object,
        "published": "2026-01-01T00:00:00Z"
    });
    let activity = Activity::seal(content.as_object().unwrap().clone()).unwrap();
    let created = "2026-01-01T00:00:00Z".parse().unwrap();
    let options = SignOptions { verification_method: KEY, created };
    let random = SeededRandom::new(3);
    let proof = proof::sign(activity.document(), &key(), &options, &random).unwrap();
    activity.with_proof(proof)
}

fn note(seq: u64) -> Activity {
    said(seq, "Create", json!({"id": format!("http://b.example/o/{seq}"), "type": "Note"}))
}

/// Bob's outbox, as his origin serves it.
#[derive(Default)]
struct Outbox {
    length: u64,
    /// Positions that only some may see.
    withheld: BTreeMap<u64, &'static [&'static str]>,
    /// The status of pages from this position on.
    broken: Option<(u64, u16)>,
}

type Shared = Arc<Mutex<Outbox>>;

fn parameter(hit: &Hit, name: &str) -> Option<u64> {
    let url = url::Url::parse(&format!("http://b.example{}", hit.path)).unwrap();
    let value = url.query_pairs().find(|(key, _)| key == name)?.1.into_owned();
    value.parse().ok()
}

fn reader(hit: &Hit) -> String {
    let fields =
        format!("{:?} {:?}", hit.headers.get("signature"), hit.headers.get("signature-input"));
    let names = ["alice", "dave"];
    names.iter().find(|name| fields.contains(&format!("/{name}#"))).unwrap_or(&"").to_string()
}

fn answer(outbox: &Outbox, hit: &Hit) -> Answer {
    match hit.path.as_str() {
        "/bob" => document(&json!({
            "id": BOB, "type": "Person", "inbox": format!("{BOB}/inbox"),
            "outbox": "http://b.example/outbox",
            "assertionMethod": [{"id": KEY, "type": "Multikey", "controller": BOB,
                "publicKeyMultibase": key().public().to_multibase().unwrap()}],
        })),
        "/outbox" => document(&json!({"type": "OrderedCollection", "totalItems": outbox.length})),
        path if path.starts_with("/outbox?") => {
            let from = parameter(hit, "from").unwrap();
            if let Some((_, code)) = outbox.broken.filter(|(at, _)| from >= *at) {
                return status(code);
            }
            let to = (from + parameter(hit, "limit").unwrap()).min(outbox.length);
            let (mut items, mut withheld) = (Vec::new(), Vec::new());
            for seq in from..to {
                let shown = outbox.withheld.get(&seq).is_none_or(|to| to.contains(&&*reader(hit)));
                if shown {
                    items.push(note(seq).to_value());
                } else {
                    withheld.push([0, seq, seq]);
                }
            }
            document(&json!({
                "type": "OrderedCollectionPage", "orderedItems": items, "withheld": withheld
            }))
        }
        _ => status(404),
    }
}

/// A node whose Alice follows Bob, who accepted at position 0.
async fn following(options: Options) -> (Node, Shared) {
    let node = Node::new().await.restart(options).await;
    let outbox = Shared::default();
    let shared = outbox.clone();
    node.net.serve("b.example", move |hit| match hit.method.as_str() {
        "GET" => answer(&shared.lock().unwrap(), hit),
        _ => status(202),
    });
    let follow = json!({"type": "Follow", "actor": ALICE, "to": [BOB], "object": BOB});
    let cid = node.appends(follow).await;
    let follow = node.kernel.log().activity(&cid).unwrap().unwrap().to_value();
    arrives(&node, said(0, "Accept", follow)).await;
    node.delivery.wait_idle().await;
    (node, outbox)
}

async fn arrives(node: &Node, activity: Activity) {
    let append = Append {
        activity: Arc::new(activity),
        place: Place::Inboxes(vec!["alice".parse().unwrap()]),
        meta: Meta::default(),
        once: None,
        guard: None,
    };
    node.kernel.log().append(append).await.unwrap();
}

/// Positions of Bob's that are in an inbox, in the order of arrival.
fn held(node: &Node, name: &str) -> Vec<u64> {
    let inbox = Stream::Inbox(name.parse().unwrap());
    let records = node.kernel.log().stream(&inbox, 0, 1000).unwrap();
    let bobs = records.iter().filter(|record| record.activity.actor() == BOB);
    bobs.map(|record| record.activity.position().unwrap().1).collect()
}

/// The first positions of the pages that were asked for.
fn pages(node: &Node) -> Vec<u64> {
    node.net.hits().iter().filter_map(|hit| parameter(hit, "from")).collect()
}

async fn later(node: &Node) {
    node.delivery.wait_idle().await;
    tokio::time::sleep(MINUTES).await;
    node.delivery.wait_idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_hole_is_fetched_once() {
    let (node, outbox) = following(Options::default()).await;
    outbox.lock().unwrap().length = 8;
    for seq in [1, 5, 6, 7] {
        arrives(&node, note(seq)).await;
    }
    node.delivery.wait_idle().await;
    assert_eq!((held(&node, "alice"), pages(&node)), (vec![0, 1, 5, 6, 7], vec![]), "not at once");
    later(&node).await;
    assert_eq!(held(&node, "alice"), [0, 1, 5, 6, 7, 2, 3, 4]);
    assert_eq!(pages(&node), [2]);
    let records = node.kernel.log().stream(&Stream::Inbox("alice".parse().unwrap()), 5, 9).unwrap();
    assert!(records.iter().all(|record| !record.entry.meta.backfilled), "late, but no history");
    outbox.lock().unwrap().length = 9;
    arrives(&node, note(8)).await;
    later(&node).await;
    assert_eq!(pages(&node), [2], "nothing is asked for twice");
    assert!(
        node.net.hits().iter().any(|hit| hit.path.contains("outbox") && reader(hit) == "alice")
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_only_late_is_not_fetched() {
    let (node, outbox) = following(Options::default()).await;
    outbox.lock().unwrap().length = 4;
    for seq in [3, 1, 2] {
        arrives(&node, note(seq)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    later(&node).await;
    assert_eq!((held(&node, "alice"), pages(&node)), (vec![0, 3, 1, 2], vec![]));
}

#[tokio::test(start_paused = true)]
async fn withheld_positions_end_it_and_are_remembered() {
    let (node, outbox) = following(Options::default()).await;
    {
        let mut outbox = outbox.lock().unwrap();
        outbox.length = 7;
        outbox.withheld = (1..6).filter(|seq| *seq != 3).map(|seq| (seq, &[][..])).collect();
    }
    arrives(&node, note(6)).await;
    later(&node).await;
    assert_eq!((held(&node, "alice"), pages(&node)), (vec![0, 6, 3], vec![1]));
    let node = node.restart(Options::default()).await;
    later(&node).await;
    outbox.lock().unwrap().length = 9;
    arrives(&node, note(8)).await;
    later(&node).await;
    assert_eq!((held(&node, "alice"), pages(&node)), (vec![0, 6, 3, 8, 7], vec![1, 7]));
}

#[tokio::test(start_paused = true)]
async fn a_huge_number_is_bounded_by_what_the_origin_says() {
    let (node, outbox) = following(Options::default()).await;
    outbox.lock().unwrap().length = 3;
    arrives(&node, note(1)).await;
    arrives(&node, note(1 << 52)).await;
    later(&node).await;
    assert_eq!((held(&node, "alice"), pages(&node)), (vec![0, 1, 1 << 52, 2], vec![2]));
    // It does not hide what is lost later, and is not asked about again.
    let node = node.restart(Options::default()).await;
    outbox.lock().unwrap().length = 6;
    arrives(&node, note(3)).await;
    arrives(&node, note(5)).await;
    later(&node).await;
    assert_eq!(held(&node, "alice")[4..], [3, 5, 4]);
    assert_eq!(pages(&node), [2, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_long_hole_is_fetched_in_bounded_runs_and_resumed() {
    let options = Options { heal_pages: 2, jitter: 0.0, ..Options::default() };
    let (node, outbox) = following(options.clone()).await;
    outbox.lock().unwrap().length = 251;
    arrives(&node, note(250)).await;
    later(&node).await;
    assert_eq!(pages(&node), [1, 51], "no more in one run");
    let node = node.restart(options).await;
    later(&node).await;
    assert_eq!(pages(&node), [1, 51, 101, 151], "goes on where it was");
    later(&node).await;
    let mut all = held(&node, "alice");
    all.sort_unstable();
    assert_eq!(all, (0..251).collect::<Vec<_>>());
    assert_eq!(pages(&node).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_positions_are_fetched() {
    let options = Options { heal_range: 10, ..Options::default() };
    let (node, outbox) = following(options).await;
    outbox.lock().unwrap().length = 101;
    arrives(&node, note(100)).await;
    later(&node).await;
    assert_eq!(held(&node, "alice")[2..], (91..100).collect::<Vec<_>>());
    arrives(&node, note(101)).await;
    later(&node).await;
    assert_eq!(pages(&node), [91]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_and_refusals_are_not() {
    let (node, outbox) = following(Options::default()).await;
    outbox.lock().unwrap().length = 4;
    outbox.lock().unwrap().broken = Some((0, 503));
    arrives(&node, note(3)).await;
    later(&node).await;
    assert_eq!(held(&node, "alice"), [0, 3]);
    outbox.lock().unwrap().broken = None;
    later(&node).await;
    assert_eq!(held(&node, "alice"), [0, 3, 1, 2]);
    {
        let mut outbox = outbox.lock().unwrap();
        (outbox.length, outbox.broken) = (7, Some((4, 403)));
    }
    arrives(&node, note(6)).await;
    later(&node).await;
    let asked = pages(&node);
    outbox.lock().unwrap().broken = None;
    let node = node.restart(Options::default()).await;
    later(&node).await;
    assert_eq!((held(&node, "alice").len(), pages(&node)), (5, asked));
}

#[tokio::test(start_paused = true)]
async fn other_followers_are_asked_for_what_is_withheld_from_one() {
    let (node, outbox) = following(Options::default()).await;
    {
        let mut outbox = outbox.lock().unwrap();
        outbox.length = 6;
        outbox.withheld.insert(2, &["dave"]);
        outbox.withheld.insert(4, &[]);
    }
    let dave = format!("{BASE}/actors/dave");
    let follow = json!({"type": "Follow", "actor": dave, "object": BOB, "seq": 0});
    let follow = Activity::seal(follow.as_object().unwrap().clone()).unwrap();
    let append = Append {
        activity: Arc::new(follow.clone()),
        place: Place::Outbox("dave".parse().unwrap(), 0),
        meta: Meta::default(),
        once: None,
        guard: None,
    };
    node.kernel.log().append(append).await.unwrap();
    arrives(&node, said(1, "Accept", follow.to_value())).await;
    arrives(&node, note(5)).await;
    later(&node).await;
    assert_eq!((held(&node, "alice"), held(&node, "dave")), (vec![0, 1, 5, 3], vec![2]));
    assert_eq!(pages(&node), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_for_an_author_that_nobody_follows() {
    let (node, outbox) = following(Options::default()).await;
    outbox.lock().unwrap().length = 4;
    let ledger = crate::ledger::Ledger::new(node.storage.ledgers());
    assert_eq!(ledger.watched(None, 9).unwrap(), [BOB]);
    let follow = node.kernel.log().stream(&Stream::Outbox("alice".parse().unwrap()), 0, 1).unwrap();
    let follow = follow[0].activity.to_value();
    node.appends(json!({"type": "Undo", "actor": ALICE, "to": [BOB], "object": follow})).await;
    arrives(&node, note(3)).await;
    later(&node).await;
    assert!(pages(&node).is_empty());
    assert!(ledger.watched(None, 9).unwrap().is_empty());
}
