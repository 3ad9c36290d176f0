#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use fedsx_kernel::log::{Append, Meta, Place};
use fedsx_kernel::{Activity, Cid};
use serde_json::{Value, json};

use super::{Folding, fold};
use crate::ledger::{Cursor, Ledger};
use crate::service::Options;
use crate::testing::{ALICE, BASE, Node};

const FAY: &str = "http://f.example/u/fay";
const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

fn folding(node: &Node) -> Folding {
    let ledger = Ledger::new(node.storage.ledgers());
    Folding { kernel: node.kernel.clone(), ledger, options: Arc::new(Options::default()) }
}

fn follow(by: &str) -> Value {
    json!({"id": format!("{by}#follow"), "type": "Follow", "actor": by, "object": ALICE})
}

/// Fay follows Alice and is accepted.
async fn befriend(node: &Node, by: &str) {
    node.receives(follow(by)).await;
    node.appends(json!({"type": "Accept", "actor": ALICE, "to": [by], "object": follow(by)})).await;
}

#[tokio::test(start_paused = true)]
async fn followers_are_those_of_that_position() {
    let node = Node::new().await;
    let early = node.says("Note", "1", &[PUBLIC]).await;
    befriend(&node, FAY).await;
    let later = node.says("Note", "2", &[PUBLIC]).await;
    let undo = json!({
        "id": format!("{FAY}#undo"), "type": "Undo", "actor": FAY, "object": follow(FAY)
    });
    node.receives(undo).await;
    let last = node.says("Note", "3", &[&format!("{ALICE}/followers")]).await;
    node.delivery.wait_idle().await;
    for (cid, peers) in [(early, 0), (later, 1), (last, 0)] {
        assert_eq!(node.delivery.status(&cid).await.unwrap().len(), peers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_farewell_reaches_the_followers() {
    let node = Node::new().await;
    befriend(&node, FAY).await;
    let delete = json!({"type": "Delete", "actor": ALICE, "to": [PUBLIC], "object": ALICE});
    let cid = node.appends(delete).await;
    node.delivery.wait_idle().await;
    assert_eq!(node.delivery.status(&cid).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_folded_twice() {
    let node = Node::new().await;
    node.net.set_down("b.example", true);
    node.says("Note", "1", &["http://b.example/u/bob"]).await;
    node.delivery.wait_idle().await;
    let folding = folding(&node);
    let before = folding.ledger.items("http://b.example", None, 10).unwrap();
    assert_eq!(before.len(), 1);
    let again = fold::batch(&folding).unwrap();
    assert_eq!((again.seq, again.peers.len()), (node.kernel.log().head(), 0));
    assert_eq!(folding.ledger.items("http://b.example", None, 10).unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_cut_back_is_folded_anew_but_not_sent_again() {
    let node = Node::new().await;
    befriend(&node, FAY).await;
    node.says("Note", "1", &[PUBLIC]).await;
    node.delivery.wait_idle().await;
    let folding = folding(&node);
    let head = node.kernel.log().head();
    let mut writes = crate::ledger::Writes::default();
    writes.cursor(&Cursor { seq: head + 5, queued_to: 0 }).unwrap();
    folding.ledger.apply(writes).unwrap();
    assert_eq!(fold::open(&folding.ledger, head).unwrap(), 0);
    while fold::batch(&folding).unwrap().seq < head {}
    assert!(folding.ledger.queued_peers(None, 10).unwrap().is_empty());
    let cursor = folding.ledger.cursor().unwrap();
    assert_eq!(cursor, Cursor { seq: head, queued_to: head });
}

#[tokio::test(start_paused = true)]
async fn many_recipients_are_kept_in_small_values() {
    let node = Node::new().await;
    let to: Vec<String> = (0..2000).map(|n| format!("http://m.example/u/lone{n:04}")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    node.net.set_down("m.example", true);
    node.says("Note", "1", &to).await;
    node.delivery.wait_idle().await;
    let ledger = Ledger::new(node.storage.ledgers());
    let (seq, item) = ledger.items("http://m.example", None, 1).unwrap().remove(0);
    assert_eq!(item.total, 2000);
    assert!(item.chunks >= 1);
    let mut found = item.recipients.len();
    for chunk in 0..item.chunks {
        found += ledger.chunk("http://m.example", seq, chunk).unwrap().len();
    }
    assert_eq!(found, 2000);
    let (_, value) = node.storage.ledgers().scan(b"delivery\0q", None, 1).unwrap().remove(0);
    assert!(value.len() < 64 * 1024);
}

#[tokio::test(start_paused = true)]
async fn local_recipients_and_backfilled_entries_are_not_queued() {
    let node = Node::new().await;
    let cid = node.says("Note", "1", &[&format!("{BASE}/actors/bob"), ALICE]).await;
    node.delivery.wait_idle().await;
    assert!(node.delivery.status(&cid).await.unwrap().is_empty());
    assert_eq!(node.delivery.cursor(), node.kernel.log().head());
}

const ZOE: &str = "http://z.example/u/zoe";

/// What Zoe says, as it came in at a time; a proof vouched for it, or nothing that travels.
async fn came_in(node: &Node, id: &str, mut content: Value, at_ms: i64, proven: bool) -> Cid {
    (content["id"], content["actor"]) = (json!(format!("{ZOE}/{id}")), json!(ZOE));
    let by = if proven { "proof:key" } else { "http-signature:key" };
    let append = Append {
        activity: Arc::new(Activity::from_document(content).unwrap()),
        place: Place::Inboxes(vec!["alice".parse().unwrap()]),
        meta: Meta { received_ms: at_ms, verified_by: Some(by.into()), ..Meta::default() },
        once: None,
        guard: None,
    };
    node.kernel.log().append(append).await.unwrap().cid
}

/// Alice with her document, a Note of hers, and Fay as a follower elsewhere who cannot be reached.
async fn with_a_note() -> (Node, String) {
    let node = Node::new().await;
    node.net.set_down("f.example", true);
    let followers = format!("{ALICE}/followers");
    let person = json!({"id": ALICE, "type": "Person", "followers": followers});
    node.appends(json!({"type": "Create", "actor": ALICE, "to": [PUBLIC], "object": person})).await;
    node.says("Create", "note", &[]).await;
    befriend(&node, FAY).await;
    (node, followers)
}

#[tokio::test(start_paused = true)]
async fn what_is_forwarded_is_queued_once_and_within_limits() {
    let (node, followers) = with_a_note().await;
    let note = format!("{BASE}/objects/note");
    let like = || json!({"type": "Like", "object": note, "to": [followers]});
    let plain = came_in(&node, "plain", like(), 1, false).await;
    let mut all = Vec::new();
    for n in 0..130 {
        all.push(came_in(&node, &format!("{n}"), like(), 1, true).await);
    }
    let undo = json!({"type": "Undo", "object": format!("{ZOE}/0"), "to": [PUBLIC]});
    let undo = came_in(&node, "undo", undo, 2, true).await;
    let other = json!({"type": "Undo", "object": format!("{ZOE}/129"), "to": [PUBLIC]});
    let other = came_in(&node, "other", other, 2, true).await;
    let later = came_in(&node, "later", like(), 3_600_001, true).await;
    node.delivery.wait_idle().await;
    let queued = |cid| {
        let node = &node;
        async move { node.delivery.status(cid).await.unwrap().len() }
    };
    for (n, cid) in all.iter().enumerate() {
        assert_eq!(queued(cid).await, usize::from(n < 120), "{n}");
    }
    assert_eq!(queued(&plain).await, 0, "nothing that others can check");
    assert_eq!(queued(&undo).await, 1, "an end follows what it ends");
    assert_eq!(queued(&other).await, 0, "and nothing else");
    assert_eq!(queued(&later).await, 1, "in the next hour");

    // Another inbox that has it later does not send it again.
    let folding = folding(&node);
    let items = || folding.ledger.items("http://f.example", None, 500).unwrap();
    let before = items();
    let again = Append {
        activity: node.kernel.log().activity(&later).unwrap().unwrap(),
        place: Place::Inboxes(vec!["dave".parse().unwrap()]),
        meta: Meta { verified_by: Some("proof:key".into()), ..Meta::default() },
        once: None,
        guard: None,
    };
    node.kernel.log().append(again).await.unwrap();
    node.delivery.wait_idle().await;
    assert_eq!(node.delivery.cursor(), node.kernel.log().head());
    assert_eq!(items().len(), before.len());
}
