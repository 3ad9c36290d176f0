//! Deliveries while much is under way: they are worked on aside, and answered as ever.

use std::net::TcpStream;

use serde_json::Value;

use super::{begin, connect, metric, with};
use crate::support::client::Answer;
use crate::support::node::Node;
use crate::support::verbs::items;
use crate::support::{ACTIVITY_JSON, PATIENCE, Peer, Sign, eventually};

const INBOX: &str = "/actors/alice/inbox";

/// So many requests that wait for what will not be.
fn wait(node: &Node, count: usize) -> Vec<TcpStream> {
    let token = format!("authorization: Bearer {}", node.as_actor("alice").secret());
    let under_way = || metric(node, "fedsx_http_requests_in_flight");
    let idle = under_way();
    let path = "/projections/feed?key=alice&min_seq=9999999&wait_ms=30000";
    let mut waiting = Vec::new();
    for _ in 0..count {
        let mut stream = connect(node);
        begin(&mut stream, "GET", path, &[&token]);
        waiting.push(stream);
    }
    #[allow(clippy::cast_precision_loss)]
    let most = idle + count as f64;
    eventually(PATIENCE, "they wait", || (under_way() >= most).then_some(()));
    waiting
}

/// A delivery under a name.
fn post(node: &Node, name: &str, body: &str) -> Answer {
    let headers = [("content-type", ACTIVITY_JSON), ("x-request-id", name)];
    let answer = node.client().send("POST", INBOX, &headers, Some(body.into()));
    assert_eq!(answer.header("x-request-id"), name);
    assert!(!answer.header("date").is_empty());
    answer
}

#[test]
fn deliveries_are_answered_as_ever_where_much_is_under_way() {
    let node = with(&[
        ("requests-in-flight", "32"),
        ("requests-per-second", "0"),
        ("concurrent-per-address", "0"),
        // A machine that is busy with something else refuses none of these few.
        ("queueing-delay", "1h"),
    ]);
    node.create("alice");
    let peer = Peer::start();
    let to = [&*node.actor("alice")];
    // Beyond a sixteenth of those that may be under way there is much to do.
    let _waiting = wait(&node, 3);

    // Each of these has its keys fetched first.
    let authors: Vec<_> = (0..4).map(|number| peer.actor(&format!("trent{number}"))).collect();
    std::thread::scope(|scope| {
        for author in &authors {
            let (node, to) = (&node, &to);
            scope.spawn(move || {
                for number in 0..10 {
                    let said = author.note(&format!("{number}"), to);
                    let sign = if number % 2 == 0 { Sign::Bare } else { Sign::Ed25519 };
                    author.deliver(node, INBOX, &said, sign).expect(202, "a delivery");
                    author.deliver(node, INBOX, &said, sign).expect(200, "the same again");
                }
            });
        }
    });
    let held = items(&node.as_actor("alice").get(&format!("{INBOX}?page=true&limit=100")).json());
    assert_eq!(held.len(), 40, "each once");

    // What is refused inside is refused under its name.
    let is_refused = |name: &str, body: &str, status: u16, slug: &str| {
        let problem = post(&node, name, body).refused(status, slug, name);
        assert_eq!(problem["requestId"], *name, "{problem}");
    };
    is_refused("no-json", "{\"type\":", 400, "malformed-json");
    let mut forged = authors[0].note("as it was said", &to);
    forged["object"]["content"] = Value::from("as it was not said");
    is_refused("forged", &forged.to_string(), 401, "invalid-signature");
}
