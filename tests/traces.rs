//! Traces: one goes from a publish here over the delivery to the inbox, the log and the projections
//! of another instance; both have to agree to that.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::collector::{Collector, Taken};
use crate::support::matrix::Matrix;
use crate::support::node::{Node, Spec};
use crate::support::{PATIENCE, Peer, Sign, eventually};

const SECRET_WORDS: &str = "nobody else reads this";

fn traced(collector: &Collector, more: &[&str]) -> Node {
    let mut spec = Spec::default();
    spec.args.extend(["--otlp-endpoint".to_owned(), collector.url.clone()]);
    spec.args.extend(more.iter().map(|arg| (*arg).to_owned()));
    spec.start()
}

/// Waits for a span.
fn span(collector: &Collector, what: &str, fits: impl Fn(&Taken) -> bool) -> Taken {
    eventually(PATIENCE, &format!("the span {what}"), || collector.spans().into_iter().find(&fits))
}

#[test]
fn one_trace_spans_both_instances() {
    let collector = Collector::start();
    let here = traced(&collector, &["--trace-to-peers"]);
    let there = traced(&collector, &["--trace-from-peers"]);
    here.create("alice");
    there.create("bob");
    let bob = there.actor("bob");
    let request = json!({ "type": "Create", "to": [bob],
        "object": { "type": "Note", "content": SECRET_WORDS, "to": [bob] } });
    let note = here.publish("alice", &request);
    there.receives("bob", &note.id);

    let about = |span: &Taken, node: &Node, name: &str| {
        span.instance == node.base && span.name == name && span.says("fedsx.cid", &note.cid)
    };
    let publish = span(&collector, "publish", |span| about(span, &here, "publish"));
    assert_eq!(publish.parent, "", "it begins here");
    let below = |name: &'static str, node: &Node, parent: &Taken| {
        let found = span(&collector, name, |span| about(span, node, name));
        assert_eq!(found.trace, publish.trace, "{found:?} is of the one trace");
        assert_eq!(found.parent, parent.id, "{found:?} is under {parent:?}");
        found
    };
    below("log.commit", &here, &publish);
    below("project", &here, &publish);
    let deliver = below("deliver", &here, &publish);
    assert!(deliver.says("fedsx.outcome", "delivered"), "{deliver:?}");
    assert!(deliver.says("fedsx.peer", &there.base), "{deliver:?}");
    let inbox = below("inbox", &there, &deliver);
    assert!(inbox.says("fedsx.outcome", "accepted"), "{inbox:?}");
    below("log.commit", &there, &inbox);
    below("project", &there, &inbox);
    let feed =
        |span: &Taken| about(span, &there, "project") && span.says("fedsx.projection", "feed");
    span(&collector, "of the feed", feed);
    assert!(!format!("{:?}", collector.spans()).contains(SECRET_WORDS), "no content in traces");
    let shown: BTreeSet<_> = collector.spans().into_iter().map(|span| span.name).collect();
    let page = Matrix::of("plans/observability.md");
    let (_, rows) = page.table("span");
    let listed: BTreeSet<_> = rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(shown, listed, "the page names every span");
}

#[test]
fn who_does_not_agree_takes_and_gives_no_trace() {
    let collector = Collector::start();
    let (node, peer) = (traced(&collector, &[]), Peer::start());
    let mallory = peer.actor("mallory");
    node.create("alice");
    mallory.follows(&node, "alice");
    let note = node.note("alice", "for everybody");
    let posted = peer.receives(&note.id);
    assert!(posted.headers.get("traceparent").is_none(), "the peer is not told");

    let answer = mallory.note("with a trace", &[&node.actor("alice")]);
    let body = answer.to_string().into_bytes();
    let mut headers = mallory.signed_headers(&format!("{}/inbox", node.base), &body, Sign::Ed25519);
    let theirs = "0af7651916cd43dd8448eb211c80319c";
    let named = format!("00-{theirs}-b7ad6b7169203331-01");
    headers.insert("traceparent", named.parse().expect("a value"));
    let sent = crate::support::peer::send(node.client(), "/inbox", &headers, body);
    assert_eq!(sent.status, 202, "{}", sent.text());
    let cid = sent.json()["cid"].as_str().expect("a CID").to_owned();
    let inbox = span(&collector, "inbox", |s| s.name == "inbox" && s.says("fedsx.cid", &cid));
    assert_ne!(inbox.trace, theirs, "the peer decides about nothing");
}

#[test]
fn a_collector_that_is_away_holds_nobody_up() {
    let mut node = {
        let mut spec = Spec::default();
        spec.args.extend(["--otlp-endpoint".into(), "http://127.0.0.1:1".into()]);
        spec.start()
    };
    node.create("alice");
    node.note("alice", "published all the same");
    eventually(PATIENCE, "the trouble is told", || {
        node.log_tail().contains("the collector takes no spans").then_some(())
    });
    node.stop();
}
