//! Servers that mean no good, met on first contact: a delivery whose author lives at one is refused in
//! time, and the instance goes on as if nothing had been.

mod server;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::problem_slug;
use crate::support::node::{self, Spec};
use crate::support::peer::{self, rsa, signed_by, unique};
use crate::support::{PATIENCE, Peer, Sign, at_once, eventually};

/// How long fetching an actor may take here.
const FETCH_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long one request may take here.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Servers that are met at a time.
const AT_ONCE: usize = 6;
/// What a busy machine may add.
const MARGIN: Duration = Duration::from_secs(10);

#[test]
fn first_contact_with_hostile_servers_ends_in_time() {
    let mut spec = Spec::default();
    let limits =
        ["--fetch-timeout", "1500ms", "--request-timeout", "1s", "--requests-per-second", "0"];
    spec.args.extend(limits.map(str::to_owned));
    let node = spec.start();
    node.create("alice");
    let (alice, inbox) = (node.actor("alice"), "/actors/alice/inbox");
    let (total, head) = (node.total("alice", "inbox"), node.settled_head());
    let cases = server::all();
    let kept = cases.iter().filter(|case| case.kept).count() as u64;
    let meet = |case: &server::Server| {
        let running = case.start();
        let scheme = if case.https { "https" } else { "http" };
        let actor = format!("{scheme}://{}/actors/x", running.addr);
        let activity = json!({
            "id": format!("{scheme}://{}/{:032x}", running.addr, unique()),
            "type": "Frobnicate",
            "actor": actor,
            "to": [alice],
        });
        let body = activity.to_string().into_bytes();
        let url = format!("{}{inbox}", node.base);
        let scheme = fedsx_delivery::signature::Scheme::Cavage;
        let headers = signed_by(&url, &body, scheme, &format!("{actor}#main-key"), rsa());
        let began = Instant::now();
        let answer = peer::send(node.client(), inbox, &headers, body);
        let took = began.elapsed();
        let mut wrong = Vec::new();
        let problem = serde_json::from_slice(&answer.body).unwrap_or_default();
        let slug = problem_slug(&problem);
        // Where the machine is so busy that the time ends first, that is the reason.
        let expected = slug == case.problem
            || case.problems.iter().any(|other| other == slug)
            || (slug == "upstream-failed" && took >= REQUEST_TIMEOUT && !case.kept);
        if !expected {
            wrong.push(format!("{}: {} {}", case.server, answer.status, answer.text()));
        }
        if took > FETCH_TIMEOUT + MARGIN {
            wrong.push(format!("{}: it took {took:?}", case.server));
        }
        // What is given up is really given up; a whole answer may keep its connection a while.
        if !case.fails.contains("answer") {
            eventually(PATIENCE, &format!("{}: the connection ends", case.server), || {
                (running.open() == 0).then_some(())
            });
        }
        let heads = running.heads();
        if heads.len() > case.most.unwrap_or(5) {
            wrong.push(format!("{}: {} requests", case.server, heads.len()));
        }
        if heads.iter().any(|head| head.to_ascii_lowercase().contains("\r\ncookie")) {
            wrong.push(format!("{}: a cookie was sent back", case.server));
        }
        wrong
    };
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong: Vec<String> = at_once(AT_ONCE, |_| {
        let mut wrong = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            wrong.extend(meet(case));
        }
        wrong
    })
    .concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    assert_eq!(node.total("alice", "inbox"), total, "nothing is in the inbox");
    assert_eq!(node.settled_head(), head + kept, "only documents that fit are in the log");
    eventually(PATIENCE, "the instance is ready", || {
        (node.client().get("/readyz").status == 200).then_some(())
    });
    let honest = Peer::start();
    let trent = honest.actor("trent");
    let hello = trent.note("hello", &[&alice]);
    trent.deliver(&node, inbox, &hello, Sign::Ed25519).expect(202, "an honest server");
    let verified = node::verify(node.into_data().path());
    assert_eq!(verified.code, Some(0), "{}", verified.all());
}
