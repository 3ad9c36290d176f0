#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
//! Sending over virtual time: a day of retries takes milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::ledger::StatusKind;
use crate::service::Options;
use crate::testing::{ALICE, Answer, Node, status};

const BOB: &str = "http://b.example/u/bob";
const HOUR: Duration = Duration::from_secs(3600);

fn no_jitter() -> Options {
    Options { jitter: 0.0, ..Options::default() }
}

async fn node() -> Node {
    let node = Node::new().await;
    node.restart(no_jitter()).await
}

/// Bob is known before his server goes.
async fn loses_bob(node: &Node) {
    node.discovery.actor(BOB).await.unwrap();
    // Kept connections are closed by then.
    tokio::time::sleep(Duration::from_secs(10)).await;
    node.net.set_down("b.example", true);
}

async fn kind(node: &Node, cid: &fedsx_kernel::Cid) -> StatusKind {
    node.delivery.status(cid).await.unwrap()[0].status
}

#[tokio::test(start_paused = true)]
async fn a_delivery_arrives_signed() {
    let node = node().await;
    let cid = node.says("Note", "1", &[BOB]).await;
    node.delivery.wait_idle().await;
    let posts = node.net.posts("b.example");
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].path, "/u/bob/inbox");
    assert_eq!(posts[0].headers["content-type"], "application/activity+json");
    assert!(posts[0].headers.contains_key("signature-input"));
    assert!(posts[0].body.contains(&cid.to_string()));
    assert_eq!(kind(&node, &cid).await, StatusKind::Delivered);
    assert!(node.delivery.dead_letters(None, 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shared_inbox_gets_one_post() {
    let node = node().await;
    let to =
        [BOB, "http://b.example/u/ben", "http://c.example/u/lone1", "http://c.example/u/lone2"];
    node.says("Note", "1", &to).await;
    node.delivery.wait_idle().await;
    let paths = |host| node.net.posts(host).into_iter().map(|p| p.path).collect::<Vec<_>>();
    assert_eq!(paths("b.example"), ["/inbox"]);
    assert_eq!(paths("c.example"), ["/u/lone1/inbox", "/u/lone2/inbox"]);
}

#[tokio::test(start_paused = true)]
async fn an_activity_that_faults_is_retried_on_schedule_then_parked() {
    let node = node().await;
    node.net.serve("b.example", |_| status(500));
    let cid = node.says("Note", "1", &[BOB]).await;
    node.delivery.wait_idle().await;
    tokio::time::sleep(40 * HOUR).await;
    node.delivery.wait_idle().await;
    let times: Vec<_> = node.net.posts("b.example").iter().map(|p| p.at_ms / 1000).collect();
    assert_eq!(times, [0, 30, 330, 2130, 23730, 110_130]);
    assert_eq!(kind(&node, &cid).await, StatusKind::Parked);
    let letters = node.delivery.dead_letters(None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].timeline.len(), 6);
    assert_eq!(letters[0].timeline[0].status, Some(500));

    node.net.serve("b.example", |_| status(202));
    node.delivery.replay(&letters[0].id).await.unwrap();
    node.delivery.wait_idle().await;
    assert_eq!(kind(&node, &cid).await, StatusKind::Delivered);
    assert!(node.delivery.dead_letters(None, 10).await.unwrap().is_empty());
    assert!(node.delivery.replay(&letters[0].id).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_given_up_probed_daily_and_resumed_in_order() {
    let node = node().await;
    loses_bob(&node).await;
    let mut cids = Vec::new();
    for n in 0..3 {
        cids.push(node.says("Note", &n.to_string(), &[BOB]).await);
    }
    node.delivery.wait_idle().await;
    tokio::time::sleep(31 * HOUR).await;
    let letters = node.delivery.dead_letters(None, 10).await.unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let span = letters[0].span.clone().unwrap();
    assert_eq!((span.count, letters[0].id.as_str()), (3, "http://b.example#*"));
    assert!(node.delivery.peers(None, 10).await.unwrap()[0].down_since_ms.is_some());
    cids.push(node.says("Note", "later", &[BOB]).await);
    node.delivery.wait_idle().await;

    node.net.set_down("b.example", false);
    tokio::time::sleep(25 * HOUR).await;
    node.delivery.wait_idle().await;
    for cid in &cids {
        assert_eq!(kind(&node, cid).await, StatusKind::Delivered);
    }
    assert!(node.delivery.dead_letters(None, 10).await.unwrap().is_empty());
    assert_eq!(node.delivery.peers(None, 10).await.unwrap()[0].down_since_ms, None);
}

#[tokio::test(start_paused = true)]
async fn contact_makes_a_dead_peer_probed() {
    let node = node().await;
    loses_bob(&node).await;
    let cid = node.says("Note", "1", &[BOB]).await;
    node.delivery.wait_idle().await;
    tokio::time::sleep(32 * HOUR).await;
    node.net.set_down("b.example", false);
    node.delivery.contact("http://b.example");
    node.delivery.wait_idle().await;
    assert_eq!(kind(&node, &cid).await, StatusKind::Delivered);
}

#[tokio::test(start_paused = true)]
async fn what_waits_too_long_is_parked() {
    let options = Options { max_age: 60 * HOUR, ..no_jitter() };
    let node = Node::new().await.restart(options).await;
    loses_bob(&node).await;
    let cid = node.says("Note", "1", &[BOB]).await;
    node.delivery.wait_idle().await;
    tokio::time::sleep(100 * HOUR).await;
    assert_eq!(kind(&node, &cid).await, StatusKind::Parked);
    let letters = node.delivery.dead_letters(None, 10).await.unwrap();
    assert_eq!((letters.len(), letters[0].cid), (1, Some(cid)));
    assert!(letters[0].timeline.len() > 5);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_with_the_schedule() {
    let node = node().await;
    node.net.serve("b.example", |_| status(500));
    let cid = node.says("Note", "1", &[BOB]).await;
    node.delivery.wait_idle().await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(node.net.posts("b.example").len(), 2);
    let node = node.restart(no_jitter()).await;
    node.net.serve("b.example", |_| status(202));
    tokio::time::sleep(Duration::from_secs(280)).await;
    assert_eq!(node.net.posts("b.example").len(), 2);
    tokio::time::sleep(Duration::from_secs(20)).await;
    node.delivery.wait_idle().await;
    assert_eq!(node.net.posts("b.example").len(), 3);
    assert_eq!(node.delivery.status(&cid).await.unwrap()[0].attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let node = node().await;
    let first = AtomicBool::new(true);
    node.net.serve("b.example", move |_| match first.swap(false, Ordering::SeqCst) {
        true => Answer { headers: vec![("retry-after", "100".into())], ..status(429) },
        false => status(202),
    });
    node.says("Note", "1", &[BOB]).await;
    node.delivery.wait_idle().await;
    tokio::time::sleep(HOUR).await;
    let times: Vec<_> = node.net.posts("b.example").iter().map(|p| p.at_ms / 1000).collect();
    assert_eq!(times, [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_parked_at_once() {
    for (code, body, expected) in [
        (410, "", StatusKind::Parked),
        (404, "", StatusKind::Parked),
        (422, "", StatusKind::Parked),
        (422, r#"{"type":"https://b.example/errors/replayed-request"}"#, StatusKind::Delivered),
    ] {
        let node = node().await;
        node.net.serve("b.example", move |_| Answer { body: body.to_owned(), ..status(code) });
        let cid = node.says("Note", "1", &[BOB]).await;
        node.delivery.wait_idle().await;
        assert_eq!(kind(&node, &cid).await, expected, "{code}");
        assert_eq!(node.net.posts("b.example").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_objection_to_the_signature_is_met_once() {
    let node = node().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    node.net.serve("b.example", move |_| {
        status(if count.fetch_add(1, Ordering::SeqCst) == 0 { 401 } else { 202 })
    });
    node.says("Note", "1", &[BOB]).await;
    node.says("Note", "2", &[BOB]).await;
    node.delivery.wait_idle().await;
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert!(node.delivery.peers(None, 10).await.unwrap()[0].scheme.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_activity_stops_no_others() {
    let node = node().await;
    node.net
        .serve("b.example", |hit| status(if hit.object().ends_with("poison") { 500 } else { 202 }));
    let poison = node.says("Note", "poison", &[BOB]).await;
    let mut others = Vec::new();
    for n in 0..20 {
        others.push(node.says("Note", &n.to_string(), &[BOB]).await);
    }
    node.delivery.wait_idle().await;
    tokio::time::sleep(HOUR).await;
    node.delivery.wait_idle().await;
    for cid in &others {
        assert_eq!(kind(&node, cid).await, StatusKind::Delivered);
    }
    assert_eq!(kind(&node, &poison).await, StatusKind::Queued);
    tokio::time::sleep(40 * HOUR).await;
    node.delivery.wait_idle().await;
    assert_eq!(kind(&node, &poison).await, StatusKind::Parked);
}

#[tokio::test(start_paused = true)]
async fn parallel_failures_of_a_peer_count_once() {
    let node = node().await;
    node.net.serve("b.example", |_| status(429));
    for n in 0..10 {
        node.says("Note", &n.to_string(), &[BOB]).await;
    }
    node.delivery.wait_idle().await;
    let peers = node.delivery.peers(None, 10).await.unwrap();
    assert_eq!((peers[0].failures, peers[0].queued), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn one_subject_is_sent_in_order() {
    let node = node().await;
    node.net.serve("b.example", |hit| {
        let slow = hit.body.contains("\"Like\"");
        let delay = if slow { Duration::from_secs(5) } else { Duration::ZERO };
        Answer { delay, ..status(202) }
    });
    node.says("Like", "1", &[BOB]).await;
    node.says("Undo", "1", &[BOB]).await;
    node.says("Note", "2", &[BOB]).await;
    node.delivery.wait_idle().await;
    let posts = node.net.posts("b.example");
    let at = |kind: &str| posts.iter().find(|p| p.body.contains(kind)).unwrap().at_ms;
    assert!(at("\"Undo\"") >= at("\"Like\"") + 5000);
    assert!(at("\"Note\"") < at("\"Undo\""));
}

/// The peer that keeps a shared inbox finds the followers by its own graph, which lacks one whose
/// Accept is still on its way.
#[tokio::test(start_paused = true)]
async fn posts_to_followers_come_after_the_answers_that_made_them_such() {
    let node = node().await;
    node.net.serve("b.example", |hit| {
        let slow = hit.body.contains("\"Accept\"");
        let delay = if slow { Duration::from_secs(5) } else { Duration::ZERO };
        Answer { delay, ..status(202) }
    });
    let follow = |by: &str| json!({"id": format!("{by}#follow"), "type": "Follow", "actor": by, "object": ALICE});
    for by in ["http://b.example/u/fay", "http://b.example/u/flo"] {
        node.receives(follow(by)).await;
        let accept = json!({"type": "Accept", "actor": ALICE, "to": [by], "object": follow(by)});
        node.appends(accept).await;
    }
    node.says("Direct", "1", &["http://b.example/u/fay"]).await;
    node.says("Note", "2", &["https://www.w3.org/ns/activitystreams#Public"]).await;
    node.says("Second", "3", &["https://www.w3.org/ns/activitystreams#Public"]).await;
    node.delivery.wait_idle().await;
    let posts = node.net.posts("b.example");
    let at = |kind: &str| posts.iter().find(|post| post.body.contains(kind)).unwrap().at_ms;
    assert!(at("\"Direct\"") < 5000, "what names its recipients waits for nobody");
    assert!(at("\"Note\"") >= 5000);
    assert!(at("\"Second\"") < 10_000, "posts do not wait for each other");
}

#[tokio::test(start_paused = true)]
async fn peers_do_not_wait_for_each_other() {
    let node = node().await;
    node.net.serve("slow.example", |_| Answer { delay: Duration::from_secs(9), ..status(202) });
    let mut to = vec!["http://slow.example/u/a".to_owned()];
    to.extend((0..20).map(|n| format!("http://p{n}.example/u/a")));
    let to: Vec<_> = to.iter().map(String::as_str).collect();
    node.says("Note", "1", &to).await;
    node.delivery.wait_idle().await;
    let posts = node.net.hits().into_iter().filter(|hit| hit.method == "POST");
    let posts: Vec<_> = posts.collect();
    assert_eq!(posts.len(), 21);
    assert!(posts.iter().all(|post| post.at_ms < 1000));
}

#[tokio::test(start_paused = true)]
async fn a_queue_longer_than_the_window_drains() {
    let options = Options { window: 4, sends_per_peer: 2, ..no_jitter() };
    let node = Node::new().await.restart(options).await;
    for n in 0..30 {
        node.says("Note", &n.to_string(), &[BOB]).await;
    }
    node.delivery.wait_idle().await;
    assert_eq!(node.net.posts("b.example").len(), 30);
    let page = node.delivery.state(None, 20).await.unwrap();
    let rest = node.delivery.state(page.next.as_deref(), 20).await.unwrap();
    assert_eq!((page.rows.len(), rest.rows.len(), rest.next), (20, 10, None));
}

#[tokio::test(start_paused = true)]
async fn hidden_recipients_are_not_told() {
    let node = node().await;
    node.appends(json!({
        "type": "Note", "actor": ALICE, "to": [BOB], "bto": ["http://x.example/u/x"],
        "object": {"id": "http://here.example/objects/1", "bcc": ["http://x.example/u/x"]}
    }))
    .await;
    node.delivery.wait_idle().await;
    assert!(!node.net.posts("b.example")[0].body.contains("x.example"));
}

/// Whatever waits, waits for as long as it was to, over a restart as well.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_delays_nothing() {
    for restarts in [false, true] {
        let mut node = node().await;
        node.net.serve("b.example", |_| status(500));
        node.net.serve("c.example", |_| status(429));
        node.says("Note", "1", &[BOB]).await;
        node.says("Note", "2", &["http://c.example/u/carl"]).await;
        node.delivery.wait_idle().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        if restarts {
            // The clock of one that starts is what the network's is, and an hour more.
            node.clock.jump_ms(3_600_000);
            tokio::time::sleep(Duration::from_secs(30)).await;
            node.delivery.wait_idle().await;
            node = node.restart(no_jitter()).await;
        } else {
            node.clock.jump_ms(-3_600_000);
        }
        tokio::time::sleep(Duration::from_secs(700)).await;
        node.delivery.wait_idle().await;
        for host in ["b.example", "c.example"] {
            let posts = node.net.posts(host);
            let times: Vec<_> = posts.iter().map(|post| post.at_ms / 1000).collect();
            let expected: &[u64] = if restarts { &[0, 30, 340] } else { &[0, 30, 330] };
            assert_eq!(times, expected, "{host}, restarts: {restarts}");
        }
    }
}
