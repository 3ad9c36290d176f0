#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use fedsx_kernel::log::{Entry, Meta};
use serde_json::json;

use super::*;
use crate::testing::{ALICE, Answer, Node, document};

const BOB: &str = "http://b.example/u/bob";
const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

/// Bob announces a Note to Alice.
fn announce(node: &Node, note: usize) -> Record {
    let content = json!({ "type": "Announce", "id": format!("http://b.example/announces/{note}"),
        "actor": BOB, "object": format!("http://c.example/notes/{note}") });
    let activity = Arc::new(Activity::from_document(content).unwrap());
    let received_ms = node.kernel.runtime().clock.now_ms();
    let meta = Meta { received_ms, ..Meta::default() };
    let stream = Stream::Inbox("alice".parse().unwrap());
    let cid = *activity.cid();
    let entry = Entry { global_seq: 1, stream, stream_seq: 0, cid, first: true, meta };
    Record { entry, activity }
}

#[tokio::test(start_paused = true)]
async fn so_many_announces_wait() {
    let node = Node::new().await;
    node.appends(json!({ "type": "Follow", "actor": ALICE, "object": BOB })).await;
    let follow = json!({ "type": "Follow", "actor": ALICE, "object": BOB });
    node.receives(json!({ "type": "Accept", "id": "http://b.example/accepts/1", "actor": BOB,
        "object": follow }))
        .await;
    node.net.serve("c.example", |hit| {
        let note = json!({ "type": "Note", "id": format!("http://c.example{}", hit.path),
            "attributedTo": "http://c.example/u/cy", "to": PUBLIC });
        Answer { delay: Duration::from_secs(1), ..document(&note) }
    });
    let announced = Announced::new(node.kernel.clone(), node.discovery.clone());
    let head = node.kernel.log().head();
    let come = async |count: u64| {
        let mut watch = node.kernel.log().watch();
        let come = watch.wait_for(|now| *now >= head + count);
        let come = tokio::time::timeout(Duration::from_secs(600), come).await;
        assert!(come.is_ok_and(|come| come.is_ok()), "{count} are fetched");
    };
    for note in 0..=MAX_WAITING {
        announced.act(&announce(&node, note)).await.unwrap();
    }
    come(MAX_WAITING as u64).await;
    let asked = |note: usize| {
        let path = format!("/notes/{note}");
        node.net.hits().iter().filter(|hit| hit.path == path).count()
    };
    assert!((0..MAX_WAITING).all(|note| asked(note) == 1));
    assert_eq!(asked(MAX_WAITING), 0, "one more was left alone");
    // There is room again.
    announced.act(&announce(&node, MAX_WAITING)).await.unwrap();
    come(MAX_WAITING as u64 + 1).await;
    assert_eq!(asked(MAX_WAITING), 1);
}
