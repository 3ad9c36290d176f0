#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use fedsx_kernel::Problem;
use fedsx_kernel::kernel::KeySource;
use serde_json::json;

use super::DiscoveryOptions;
use crate::testing::{Answer, Node, actor_at, document, status};

const BOB: &str = "http://b.example/u/bob";

fn fetches(node: &Node) -> usize {
    node.net.hits().len()
}

#[tokio::test(start_paused = true)]
async fn one_flight_for_all_who_ask() {
    let node = Node::new().await;
    let asked = (0..20).map(|_| node.discovery.actor(BOB));
    let documents = futures::future::join_all(asked).await;
    assert!(documents.into_iter().all(|document| document.unwrap()["id"] == BOB));
    assert_eq!(fetches(&node), 1);
    assert!(node.net.hits()[0].headers.contains_key("signature"));
    node.discovery.actor(BOB).await.unwrap();
    assert_eq!(fetches(&node), 1);
    assert_eq!(node.kernel.log().head(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_document_is_recorded_once() {
    let node = Node::new().await;
    node.discovery.refresh(BOB).await.unwrap();
    node.discovery.refresh(BOB).await.unwrap();
    assert_eq!((fetches(&node), node.kernel.log().head()), (2, 1));
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    node.discovery.actor(BOB).await.unwrap();
    assert_eq!((fetches(&node), node.kernel.log().head()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn failures_are_remembered_shortly() {
    let node = Node::new().await;
    let id = "http://b.example/actor";
    node.net.serve("b.example", |_| status(404));
    for _ in 0..3 {
        let refusal = node.discovery.actor(id).await.unwrap_err();
        assert_eq!(refusal.problem, Problem::UnknownKey);
    }
    assert_eq!(fetches(&node), 1);
    node.net.set_down("c.example", true);
    let refusal = node.discovery.actor("http://c.example/actor").await.unwrap_err();
    assert_eq!(refusal.problem, Problem::UpstreamFailed);
}

#[tokio::test(start_paused = true)]
async fn a_known_document_serves_while_the_origin_is_away() {
    let node = Node::new().await;
    node.discovery.actor(BOB).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    node.net.set_down("b.example", true);
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    assert_eq!(node.discovery.actor(BOB).await.unwrap()["id"], BOB);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_refused() {
    let id = "http://b.example/actor";
    let fits = json!({"id": id, "type": "Robot", "inbox": "http://b.example/actor/inbox"});
    let with = |name: &str, value: serde_json::Value| {
        let mut changed = fits.clone();
        changed[name] = value;
        changed
    };
    let node = Node::new().await;
    for (n, bad) in [
        with("id", "http://b.example/other".into()),
        with("id", "http://c.example/actor".into()),
        with("inbox", json!(null)),
        with("inbox", "ftp://b.example".into()),
        with("type", json!(null)),
        json!([1]),
    ]
    .into_iter()
    .enumerate()
    {
        let host = format!("h{n}.example");
        let bad: serde_json::Value =
            serde_json::from_str(&bad.to_string().replace("//b.example", &format!("//{host}")))
                .unwrap();
        node.net.serve(&host, move |_| document(&bad));
        let asked = format!("http://{host}/actor");
        let refusal = node.discovery.actor(&asked).await.unwrap_err();
        assert_eq!(refusal.problem, Problem::UnknownKey, "{n}");
    }
    node.net.serve("b.example", move |_| document(&fits));
    node.discovery.actor(id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn redirects_to_another_address_are_refused() {
    let node = Node::new().await;
    let moved = actor_at("b.example", "bob");
    node.net.serve("b.example", move |hit| match hit.path.as_str() {
        "/old" => Answer { headers: vec![("location", "/u2/bob".into())], ..status(302) },
        _ => document(&moved),
    });
    assert!(node.discovery.actor("http://b.example/old").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_slow_origin_is_not_waited_for() {
    let node = Node::new().await;
    node.net.serve("b.example", |_| Answer { delay: Duration::from_secs(60), ..status(200) });
    let began = tokio::time::Instant::now();
    let refusal = node.discovery.actor("http://b.example/actor").await.unwrap_err();
    assert_eq!(refusal.problem, Problem::UpstreamFailed);
    assert!(began.elapsed() < Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn accounts_are_resolved_and_remembered() {
    let node = Node::new().await;
    node.net.serve("b.example", |hit| {
        if hit.path.contains("nobody") {
            return status(404);
        }
        let jrd = json!({"subject": "acct:bob@b.example:80", "links": [
            {"rel": "self", "type": "application/activity+json", "href": BOB}
        ]});
        let kind = ("content-type", "application/jrd+json".to_owned());
        Answer { headers: vec![kind], body: jrd.to_string(), ..status(200) }
    });
    let account = "bob@b.example:80".parse().unwrap();
    // Without a certificate https fails, and with a port plain http is tried.
    assert_eq!(node.discovery.resolve(&account).await.unwrap(), BOB);
    let asked = fetches(&node);
    assert_eq!(node.discovery.resolve(&account).await.unwrap(), BOB);
    assert_eq!(fetches(&node), asked);
    let nobody = "nobody@b.example:80".parse().unwrap();
    let refusal = node.discovery.resolve(&nobody).await.unwrap_err();
    assert_eq!(refusal.problem, Problem::UnknownActor);
    let alice = "alice@here.example".parse().unwrap();
    assert_eq!(node.discovery.resolve(&alice).await.unwrap(), crate::testing::ALICE);
}

#[tokio::test(start_paused = true)]
async fn an_activity_is_fetched_from_where_its_id_says() {
    let node = Node::new().await;
    node.net.serve("b.example", |_| document(&json!({"id": "http://b.example/1", "type": "Note"})));
    assert!(node.discovery.activity("http://b.example/1").await.is_ok());
    let refusal = node.discovery.activity("http://b.example/2").await.unwrap_err();
    assert_eq!(refusal.problem, Problem::WrongOrigin);
    let spent = super::budgeted(1, async {
        node.discovery.activity("http://b.example/1").await.unwrap();
        node.discovery.activity("http://b.example/1").await
    });
    assert!(spent.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn servers_say_how_long_their_answers_hold() {
    let node = Node::new().await;
    for (host, control, held_s, stale_s) in [
        ("short.example", Some("max-age=600"), 550, 620),
        ("never.example", Some("no-store"), 290, 320),
        ("ever.example", Some("max-age=99999999"), 23 * 3600, 25 * 3600),
        ("silent.example", None, 23 * 3600, 25 * 3600),
    ] {
        let id = format!("http://{host}/actor");
        let actor = json!({ "id": id, "type": "Person", "inbox": format!("{id}/inbox") });
        node.net.serve(host, move |_| {
            let mut answer = document(&actor);
            answer.headers.extend(control.map(|value| ("cache-control", value.to_owned())));
            answer
        });
        let before = fetches(&node);
        node.discovery.actor(&id).await.unwrap();
        tokio::time::sleep(Duration::from_secs(held_s)).await;
        node.discovery.actor(&id).await.unwrap();
        assert_eq!(fetches(&node), before + 1, "{host} after {held_s} s");
        tokio::time::sleep(Duration::from_secs(stale_s - held_s)).await;
        node.discovery.actor(&id).await.unwrap();
        assert_eq!(fetches(&node), before + 2, "{host} after {stale_s} s");
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_causes_few_fetches_and_spoils_nothing() {
    let node = Node::new().await;
    let id = "http://b.example/endless";
    let keys = "http://b.example/keys";
    node.net.serve("b.example", move |hit| match hit.path.as_str() {
        "/endless" => document(&json!({
            "id": id, "type": "Person", "inbox": "http://b.example/inbox", "keys": keys,
        })),
        _ => document(&json!({ "id": keys, "orderedItems": [], "next": keys })),
    });
    super::budgeted(4, node.discovery.refresh(id)).await.unwrap();
    assert_eq!(fetches(&node), 4, "pages count");
    let spent = super::budgeted(0, node.discovery.actor(BOB)).await.unwrap_err();
    assert_eq!(spent.problem, Problem::TooManyRequests);
    // Who asks next is not told of a failure that was none of the actor's.
    assert!(super::budgeted(9, node.discovery.refresh("http://c.example/u/bob")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn actor_documents_have_a_size() {
    let node = Node::new().await;
    let most = DiscoveryOptions::default().max_document_bytes;
    node.net.serve("b.example", |hit| {
        let bytes: usize = hit.path.trim_start_matches('/').parse().unwrap();
        let mut actor = actor_at("b.example", "bob");
        actor["id"] = json!(format!("http://b.example{}", hit.path));
        actor["summary"] = json!("");
        actor["summary"] = json!("x".repeat(bytes - actor.to_string().len()));
        document(&actor)
    });
    let actor =
        async |bytes: usize| node.discovery.actor(&format!("http://b.example/{bytes}")).await;
    assert!(actor(most).await.unwrap()["summary"].is_string());
    let refusal = actor(most + 1).await.unwrap_err();
    assert_eq!(refusal.problem, Problem::UnknownKey);
    assert!(refusal.to_string().contains(&format!("larger than {most} bytes")), "{refusal}");
}
