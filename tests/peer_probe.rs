//! `fedsx peer probe` asks a peer whether it is there, and tries what waits for it.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::operator::As;
use crate::support::node::{Node, Spec};
use crate::support::{PATIENCE, Peer, eventually};

/// What became of a delivery to a peer.
fn delivery(node: &Node, cid: &str, peer: &str) -> Value {
    let all = node.admin().get(&format!("/admin/delivery/{cid}")).expect(200, "deliveries").json();
    let items = all["items"].as_array().expect("items").clone();
    items.into_iter().find(|item| item["peer"] == peer).unwrap_or(Value::Null)
}

#[test]
fn a_peer_that_is_back_gets_what_waits_for_it_at_once() {
    // What failed is tried again by itself long after this test.
    let a = Spec::default().schedule("1h").start();
    let mut b = Node::start();
    a.create("alice");
    b.create("bob");
    b.follow("bob", &a.actor("alice"));
    a.lists("alice", "followers", &b.actor("bob"));
    let operator = As::operator(&a);
    let there = json!({ "peer": b.base, "reached": true, "status": 200, "error": null });
    assert_eq!(operator.json(&["peer", "probe", &b.base]), there);
    let said = operator.works(&["peer", "probe", &format!("{}/", b.base)]);
    assert_eq!(said.trim(), format!("{} answers with status 200", b.base));

    b.stop();
    let note = a.note("alice", "while B is away");
    let tried = || {
        let found = delivery(&a, &note.cid, &b.base);
        let attempts = found["timeline"].as_array().map_or(0, Vec::len);
        (attempts > 0).then_some((found["status"].clone(), attempts))
    };
    let before = eventually(PATIENCE, "it is tried", tried);
    assert_eq!(before, (json!("queued"), 1));
    let said = operator.fails_with(&["peer", "probe", &b.base]);
    assert!(said.contains(&format!("{} does not answer: ", b.base)), "{said}");
    let said = operator.fails_with(&["peer", "probe", &b.base, "--json"]);
    let (begin, end) = (said.find('{').expect("a document"), said.rfind('}').expect("its end"));
    let found: Value = serde_json::from_str(&said[begin..=end]).expect("one document");
    assert_eq!((&found["reached"], &found["status"]), (&json!(false), &Value::Null), "{found}");
    assert!(found["error"].as_str().is_some_and(|why| !why.is_empty()), "{found}");
    assert_eq!(tried(), Some(before), "who does not answer is sent nothing");

    b.restart();
    assert_eq!(operator.json(&["peer", "probe", &b.base]), there);
    b.receives("bob", &note.id);
}

#[test]
fn any_answer_counts_and_silence_ends() {
    let mut spec = Spec::default();
    spec.args.extend(["--request-timeout".into(), "500ms".into()]);
    let node = spec.start();
    let operator = As::operator(&node);
    let peer = Peer::start();
    let found = operator.json(&["peer", "probe", &peer.base]);
    assert_eq!((&found["reached"], &found["status"]), (&json!(true), &json!(404)), "{found}");
    // One that takes connections and says nothing.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = deaf.local_addr().expect("an address").port();
    let said = operator.fails_with(&["peer", "probe", &format!("http://127.0.0.1:{port}")]);
    assert!(said.contains("does not answer: "), "{said}");
    operator.fails(&["peer", "probe", "nobody"], "invalid-parameter");
}
