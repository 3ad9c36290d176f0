//! `/readyz` gives each reason that there is, over an instance whose surroundings fail on demand, and is
//! ready again once they do not.

use std::collections::BTreeSet;

use fedsx_http::Reason;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::exposition::Exposition;
use crate::support::inside::Inside;
use crate::support::touchy::{Fate, Writes};
use crate::support::verbs::note;
use crate::support::{PATIENCE, eventually};

const OUTSIDE: [(&str, &str); 1] = [("x-forwarded-for", "203.0.113.7")];

fn slugs(report: &Value) -> BTreeSet<&str> {
    let reasons = report["reasons"].as_array().expect("reasons");
    reasons.iter().map(|reason| reason["reason"].as_str().expect("a slug")).collect()
}

/// Waits until exactly these reasons are given, with what operators are told and strangers are not.
#[track_caller]
fn gives(inside: &Inside, expected: &[Reason]) -> Value {
    let expected: BTreeSet<_> = expected.iter().map(|reason| reason.slug()).collect();
    let report = eventually(PATIENCE, &format!("{expected:?} are given"), || {
        let answer = inside.client().get("/readyz");
        let report = answer.json();
        (answer.status == 503 && slugs(&report) == expected).then_some(report)
    });
    assert_eq!(report["ready"], false, "{report}");
    for reason in report["reasons"].as_array().expect("reasons") {
        assert!(reason["detail"].is_string() && reason["advice"].is_string(), "{reason}");
    }
    let outside = inside.client().send("GET", "/readyz", &OUTSIDE, None);
    let outside = outside.expect(503, "through a proxy").json();
    assert_eq!(slugs(&outside), expected);
    assert!(!outside.to_string().contains("detail"), "{outside}");
    let page = scrape(inside);
    assert_eq!(page.sum("fedsx_ready", &[]), 0.0);
    for reason in Reason::ALL {
        let holds = page.sum("fedsx_not_ready", &[("reason", reason.slug())]);
        assert_eq!(holds == 1.0, expected.contains(reason.slug()), "{reason:?}");
    }
    report
}

#[track_caller]
fn is_ready(inside: &Inside) -> Value {
    eventually(PATIENCE, "it is ready", || {
        let answer = inside.client().get("/readyz");
        (answer.status == 200).then(|| answer.json())
    })
}

fn scrape(inside: &Inside) -> Exposition {
    let page = inside.client().get("/metrics").expect(200, "the metrics").text_whole();
    Exposition::parse(&page)
}

fn details(report: &Value) -> String {
    let reasons = report["reasons"].as_array().expect("reasons");
    reasons.iter().filter_map(|reason| reason["detail"].as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_reason_is_given_while_it_holds() {
    let inside = Inside::start();
    inside.create("alice");
    is_ready(&inside);
    // An instance says this of itself before it is there: `http/src/starting.rs`.
    let mut given = vec![Reason::Starting];

    // What follows the log and does not get on; publishing goes on meanwhile.
    let followers = [
        (Writes::Projections, Reason::ProjectionBehind, ("projection", "actor-state")),
        (Writes::Delivery, Reason::DeliveryBehind, ("follower", "delivery")),
        (Writes::Reactions, Reason::ReactionsBehind, ("follower", "reactions")),
        (Writes::Triggers, Reason::TriggersBehind, ("follower", "triggers")),
    ];
    for (writes, reason, label) in followers {
        let name = format!("fedsx_{}_lag_entries", label.0);
        let lag = |of| scrape(&inside).sum(&name, &[(label.0, of)]);
        inside.storage.set(writes, Fate::Wait);
        let last = inside.publish("alice", &note("seen later")).global_seq;
        let report = gives(&inside, &[reason]);
        assert!(details(&report).contains(&format!(" of {last}")), "{report}");
        assert_eq!(lag(label.1), 1.0, "{reason:?} is measured");
        inside.storage.let_go();
        is_ready(&inside);
        assert_eq!(lag(label.1), 0.0, "{reason:?}");
        given.push(reason);
    }

    inside.storage.set(Writes::Projections, Fate::Fail);
    inside.publish("alice", &note("no projection can store this"));
    let report = gives(&inside, &[Reason::ProjectionHalted]);
    assert!(details(&report).contains("a fault of the test"), "{report}");
    let all = scrape(&inside);
    assert!(all.sum("fedsx_projections_halted", &[]) > 1.0);
    inside.storage.let_go();
    is_ready(&inside);
    given.push(Reason::ProjectionHalted);

    let warnings = |report: &Value| report["warnings"].clone();
    inside.storage.has_space(1000 * 1024, 1001 * 1024);
    let report = gives(&inside, &[Reason::DiskLow]);
    assert!(details(&report).contains("1000 KiB are free"), "{report}");
    given.push(Reason::DiskLow);
    inside.storage.has_space(2001 * 1024, 1001 * 1024);
    let report = is_ready(&inside);
    assert_eq!(report["warnings"][0]["warning"], "disk-filling", "{report}");
    inside.storage.has_space(2002 * 1024, 1001 * 1024);
    assert_eq!(warnings(&is_ready(&inside)), json!([]));

    let outside = |inside: &Inside| inside.client().send("GET", "/readyz", &OUTSIDE, None).json();
    inside.clock.stands_at(Timestamp::now() - SignedDuration::from_mins(6));
    let report = is_ready(&inside);
    assert_eq!(report["warnings"][0]["warning"], "clock-behind", "{report}");
    assert_eq!(warnings(&outside(&inside)), Value::Null);
    inside.clock.stands_at(Timestamp::now());
    assert_eq!(warnings(&is_ready(&inside)), json!([]));

    // What was not written by then is not known to be there: that lasts until a restart.
    inside.storage.set(Writes::Log, Fate::Fail);
    let publish = || inside.as_actor("alice").post("/activity", &note("lost"));
    publish().refused(503, "store-poisoned", "a failing write");
    inside.storage.let_go();
    publish().refused(503, "store-poisoned", "and all after it");
    let report = gives(&inside, &[Reason::StorePoisoned]);
    assert!(details(&report).contains("until a restart"), "{report}");
    assert_eq!(scrape(&inside).sum("fedsx_log_poisoned", &[]), 1.0);
    given.push(Reason::StorePoisoned);

    inside.stop();
    gives(&inside, &[Reason::Draining, Reason::StorePoisoned]);
    given.push(Reason::Draining);
    let all =
        |reasons: &[Reason]| reasons.iter().map(|reason| reason.slug()).collect::<BTreeSet<_>>();
    assert_eq!(all(&given), all(Reason::ALL), "each reason is reached");
}
