#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::*;
use crate::testing::{BASE, Node, document};

const BOB: &str = "http://b.example/u/bob";

async fn reading(serve: impl Fn(&str) -> Value + Send + Sync + 'static) -> (Node, Synchronizer) {
    let node = Node::new().await;
    node.net.serve("b.example", move |hit| document(&serve(&hit.path)));
    let (kernel, discovery) = (node.kernel.clone(), node.discovery.clone());
    let synchronizer =
        Synchronizer::new(kernel, discovery, node.client.clone(), &Options::default());
    (node, synchronizer)
}

/// A collection that is read like its pages: `/<last>/<number>`, from 0.
fn page(path: &str) -> Value {
    let mut numbers = path.trim_start_matches('/').split('/').map(|one| one.parse().unwrap());
    let (last, number): (usize, usize) = (numbers.next().unwrap(), numbers.next().unwrap());
    let next = format!("http://b.example/{last}/{}", number + 1);
    match number {
        0 => json!({ "type": "OrderedCollection", "first": next }),
        _ if number == last => json!({ "orderedItems": [format!("{BASE}/actors/alice")] }),
        _ => json!({ "orderedItems": [], "next": next }),
    }
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_up_to_so_many_pages() {
    let (node, synchronizer) = reading(page).await;
    let within = format!("http://b.example/{}/0", MAX_PAGES - 1);
    let listed = synchronizer.listed(BOB, &within).await.unwrap();
    assert_eq!(listed, BTreeSet::from([format!("{BASE}/actors/alice")]));
    let before = node.net.hits().len();
    let more = format!("http://b.example/{MAX_PAGES}/0");
    let refusal = synchronizer.listed(BOB, &more).await.unwrap_err();
    assert_eq!(refusal.problem, Problem::UpstreamFailed);
    assert!(refusal.to_string().contains("too many pages"), "{refusal}");
    assert_eq!(node.net.hits().len(), before + MAX_PAGES, "the rest is not asked for");
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_up_to_so_many_followers() {
    let list = |path: &str| {
        let count: usize = path.trim_start_matches('/').parse().unwrap();
        let items: Vec<_> = (0..count).map(|n| format!("{BASE}/actors/a{n}")).collect();
        json!({ "type": "OrderedCollection", "orderedItems": items })
    };
    let (_node, synchronizer) = reading(list).await;
    let within = format!("http://b.example/{MAX_FOLLOWERS}");
    assert_eq!(synchronizer.listed(BOB, &within).await.unwrap().len(), MAX_FOLLOWERS);
    let more = format!("http://b.example/{}", MAX_FOLLOWERS + 1);
    let refusal = synchronizer.listed(BOB, &more).await.unwrap_err();
    assert_eq!(refusal.problem, Problem::UpstreamFailed);
    assert!(refusal.to_string().contains("too long"), "{refusal}");
}
