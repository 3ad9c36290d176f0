//! What an instance says of itself: `/metrics` against the one file of names, `/readyz`, request
//! ids.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use fedsx_http::ROUTES;
use fedsx_kernel::metrics::{ALL, Kind, Values};
use fedsx_kernel::refusal::Problem;
use serde_json::json;

use crate::support::exposition::{Exposition, Sample};
use crate::support::node::{Node, Signal, Spec};
use crate::support::{PATIENCE, Peer, eventually, secret};

fn scrape(node: &Node) -> Exposition {
    let answer = node.client().get("/metrics").expect(200, "the metrics");
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
    Exposition::parse(&answer.text_whole())
}

/// Whether a value of a label is one that the file of names allows.
fn is_allowed(values: Values, value: &str, projections: &BTreeSet<String>) -> bool {
    match values {
        Values::Of(listed) => listed.contains(&value),
        Values::Problems => Problem::ALL.iter().any(|problem| problem.slug() == value),
        Values::Routes => value == "none" || ROUTES.iter().any(|(path, _)| *path == value),
        Values::Statuses => value.len() == 3 && value.parse::<u16>().is_ok(),
        Values::Projections => value == "published" || projections.contains(value),
        Values::Version => value == env!("CARGO_PKG_VERSION"),
    }
}

/// A request with a method that no client library sends.
fn brew(node: &Node) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", node.port())).expect("it listens");
    let request = "BREW /inbox HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it takes the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Publishing, delivering, receiving, refusing: something of everything.
fn traffic(node: &Node, peer: &Peer) {
    let mallory = peer.actor("mallory");
    node.create("alice");
    mallory.follows(node, "alice");
    let note = node.note("alice", "for everybody");
    peer.receives(&note.id);
    peer.answer_with(500);
    node.note("alice", "for nobody yet");
    let unsigned = json!({ "id": "https://else.example/1", "type": "Like",
        "actor": "https://else.example/eve", "object": note.id });
    assert_eq!(node.client().post("/inbox", &unsigned).status, 401);
    assert_eq!(node.client().get("/actors/nobody").status, 404);
    assert_eq!(node.client().get("/what/ever/this-is").status, 404);
    assert!(brew(node).starts_with("HTTP/1.1 405"), "a method of its own making");
    let stranger = node.client().with_secret("not-a-token-of-this-instance");
    assert_eq!(stranger.get("/token").status, 401);
}

#[test]
fn metrics_are_those_of_the_one_file() {
    let (node, peer) = (Node::start(), Peer::start());
    traffic(&node, &peer);
    let page = eventually(PATIENCE, "a failed attempt is counted", || {
        let page = scrape(&node);
        let failed = page.sum("fedsx_delivery_attempts_total", &[("outcome", "retried")]);
        (failed >= 1.0).then_some(page)
    });

    let listed: BTreeSet<_> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
    let shown: BTreeSet<_> = page.families.keys().cloned().collect();
    assert_eq!(shown, listed, "what is served is what the file lists");
    let projections = node.client().get("/projections").expect(200, "the projections").json();
    let projections: BTreeSet<_> = projections["projections"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|info| info["name"].as_str().expect("a name").to_owned())
        .collect();
    for metric in ALL {
        let family = &page.families[metric.name];
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        assert_eq!(family.kind, kind, "{}", metric.name);
        assert_eq!(family.help, metric.help(), "{}", metric.name);
        assert!(!family.samples.is_empty(), "{} appears", metric.name);
        for Sample { labels, .. } in &family.samples {
            let own: BTreeMap<_, _> = labels.iter().filter(|(name, _)| *name != "le").collect();
            let names: Vec<_> = own.keys().map(|name| name.as_str()).collect();
            let mut declared: Vec<_> = metric.labels.iter().map(|label| label.name).collect();
            declared.sort_unstable();
            assert_eq!(names, declared, "{}", metric.name);
            for label in metric.labels {
                let value = &labels[label.name];
                assert!(
                    is_allowed(label.values, value, &projections),
                    "{} has {}={value:?}",
                    metric.name,
                    label.name
                );
            }
        }
    }

    let text = node.client().get("/metrics").expect(200, "again").text_whole();
    for outside in ["mallory", "alice", "else.example", &peer.base, "this-is", "BREW"] {
        assert!(!text.contains(outside), "{outside:?} is a label");
    }
    let counts: [(&str, &[(&str, &str)]); 12] = [
        ("fedsx_activities_published_total", &[]),
        ("fedsx_inbox_deliveries_total", &[("outcome", "accepted")]),
        ("fedsx_inbox_refusals_total", &[("problem", "invalid-signature")]),
        ("fedsx_http_problems_total", &[("problem", "method-not-allowed")]),
        ("fedsx_http_requests_total", &[("method", "other"), ("status", "405")]),
        ("fedsx_http_requests_total", &[("route", "none"), ("status", "404")]),
        ("fedsx_delivery_attempts_total", &[("outcome", "delivered")]),
        ("fedsx_delivery_queued", &[]),
        ("fedsx_delivery_peers", &[]),
        ("fedsx_client_requests_total", &[("purpose", "fetch"), ("outcome", "2xx")]),
        ("fedsx_tokens_presented_total", &[("outcome", "refused")]),
        ("process_resident_memory_bytes", &[]),
    ];
    for (name, labels) in counts {
        assert!(page.sum(name, labels) >= 1.0, "{name}{labels:?} counts");
    }
    let signed = page.sum("fedsx_signatures_verified_total", &[("outcome", "valid")]);
    assert!(signed >= 1.0, "signatures that held");
    assert!(page.sum("fedsx_log_sync_seconds_count", &[]) >= 1.0, "syncs are timed");
    assert_eq!(page.sum("fedsx_ready", &[]), 1.0);
}

#[test]
fn metrics_are_for_this_machine_and_for_operators() {
    let node = Node::start();
    // What comes through a proxy comes from elsewhere, whatever its address.
    let forwarded = [("x-forwarded-for", "203.0.113.7")];
    node.client().send("GET", "/metrics", &forwarded, None).refused(
        404,
        "not-found",
        "through a proxy",
    );
    let bearer = |name: &str| format!("Bearer {}", secret(name));
    let (alice, operator) = (bearer("alice"), bearer("operator"));
    let as_alice = [forwarded[0], ("authorization", alice.as_str())];
    node.client().send("GET", "/metrics", &as_alice, None).refused(
        404,
        "not-found",
        "without admin",
    );
    let as_operator = [forwarded[0], ("authorization", operator.as_str())];
    node.client().send("GET", "/metrics", &as_operator, None).expect(200, "with admin");
}

#[test]
fn readiness_tells_everybody_whether_and_operators_why() {
    let spec = Spec { args: vec!["--shutdown-notice".into(), "60".into()], ..Spec::default() };
    let node = spec.start();
    let ready = node.client().get("/readyz").expect(200, "ready").json();
    assert_eq!((&ready["ready"], &ready["reasons"]), (&json!(true), &json!([])));
    assert_eq!(ready["warnings"], json!([]));
    node.signal(Signal::TERM);
    let ready = eventually(PATIENCE, "it says that it goes", || {
        let answer = node.client().get("/readyz");
        (answer.status == 503).then(|| answer.json())
    });
    assert_eq!(ready["reasons"][0]["reason"], "draining", "{ready}");
    assert!(ready["reasons"][0]["advice"].is_string(), "{ready}");
    node.client().get("/livez").expect(200, "it lives, and answers meanwhile");
    assert_eq!(scrape(&node).sum("fedsx_not_ready", &[("reason", "draining")]), 1.0);
    let forwarded = [("x-forwarded-for", "203.0.113.7")];
    let outside =
        node.client().send("GET", "/readyz", &forwarded, None).expect(503, "not ready").json();
    assert_eq!(outside["reasons"], json!([{ "reason": "draining" }]), "no details");
    assert!(outside.get("warnings").is_none(), "{outside}");
}

#[test]
fn every_request_has_a_name() {
    let mut spec = Spec::default();
    spec.args.extend(["--log", "info,fedsx_http=debug", "--log-format", "json"].map(str::to_owned));
    let node = spec.start();
    node.create("alice");
    let named = [("x-request-id", "from-the-proxy.7")];
    let answer = node.client().send("GET", "/actors/nobody", &named, None);
    assert_eq!(answer.header("x-request-id"), "from-the-proxy.7");
    let problem = answer.refused(404, "unknown-actor", "nobody");
    assert_eq!(problem["requestId"], "from-the-proxy.7");
    let line = eventually(PATIENCE, "a line of the log has it", || {
        let log = node.log_tail();
        let line = log.lines().find(|line| line.contains("from-the-proxy.7"))?;
        Some(serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON"))
    });
    assert_eq!(line["span"]["id"], "from-the-proxy.7", "{line}");

    let own = node.client().get("/actors/alice");
    let name = own.header("x-request-id").to_owned();
    assert!(name.len() == 16 && name.chars().all(|c| c.is_ascii_hexdigit()), "{name:?}");
    for bad in ["two words", "a\"quote", &"x".repeat(65)] {
        let answer = node.client().send("GET", "/livez", &[("x-request-id", bad)], None);
        assert_ne!(answer.header("x-request-id"), bad);
    }
    node.as_actor("alice").get("/token").expect(200, "with a token");
    let log = node.log_tail();
    assert!(!log.contains(&secret("alice")), "no secret is logged");
}
