#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use crate::ledger::StatusKind;
use crate::testing::{Answer, Node, status};

const BOB: &str = "http://b.example/u/bob";

#[tokio::test(start_paused = true)]
async fn letters_are_listed_in_pages_replayed_and_dropped() {
    let node = Node::new().await;
    node.net.serve("b.example", |_| status(403));
    let mut cids = Vec::new();
    for n in 0..5 {
        cids.push(node.says("Note", &n.to_string(), &[BOB]).await);
    }
    node.delivery.wait_idle().await;
    let first = node.delivery.dead_letters(None, 3).await.unwrap();
    let rest = node.delivery.dead_letters(Some(&first[2].id), 10).await.unwrap();
    assert_eq!((first.len(), rest.len()), (3, 2));
    node.delivery.drop_letter(&first[0].id).await.unwrap();
    assert_eq!(node.delivery.status(&cids[0]).await.unwrap()[0].status, StatusKind::Parked);

    let head = node.kernel.log().head();
    node.net.serve("b.example", |_| status(202));
    assert_eq!(node.delivery.replay_peer("http://b.example").await.unwrap(), 4);
    assert_eq!(node.kernel.log().head(), head + 1);
    node.delivery.wait_idle().await;
    assert!(node.delivery.dead_letters(None, 10).await.unwrap().is_empty());
    for cid in &cids[1..] {
        assert_eq!(node.delivery.status(cid).await.unwrap()[0].status, StatusKind::Delivered);
    }
    for bad in ["", "x", "http://b.example#", "http://b.example#*", "http://b.example#7"] {
        assert!(node.delivery.replay(bad).await.is_err(), "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_for_what_is_under_way() {
    let node = Node::new().await;
    let delay = Duration::from_secs(3);
    node.net.serve("b.example", move |_| Answer { delay, ..status(202) });
    let cid = node.says("Note", "1", &[BOB]).await;
    node.delivery.caught_up().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(node.delivery.quiesce(Duration::from_secs(30)).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.delivery.status(&cid).await.unwrap()[0].status, StatusKind::Delivered);
    let later = node.says("Note", "2", &[BOB]).await;
    node.delivery.wait_idle().await;
    assert_eq!(node.delivery.status(&later).await.unwrap()[0].status, StatusKind::Queued);
}
