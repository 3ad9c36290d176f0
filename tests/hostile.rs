//! Deliveries by servers that mean no good: each case of `tests/hostile/*.json` is sent to one
//! instance over a socket and must be answered as the file says.
//!
//! What is refused appends nothing. What is kept, because it is a true statement of its author
//! that happens to mean nothing here, changes nothing of anybody else.

mod case;
mod scene;
mod signing;

use std::collections::BTreeMap;

use case::{Case, Effect};
use scene::Scene;
use serde_json::Value;

use crate::support::client::problem_slug;
use crate::support::node;

/// The fewest cases that the corpus may hold: losing a file must not go unnoticed.
const FEWEST: usize = 400;

/// What the instance holds: the end of its log, and what nobody else may change.
struct Held {
    head: u64,
    facts: BTreeMap<String, Value>,
}

impl Held {
    fn by(scene: &Scene) -> Self {
        let head = scene.node.head();
        Self { head, facts: scene.facts(head) }
    }

    /// What differs from what was held before.
    fn differences(&self, before: &Self, may_change: &[String]) -> Vec<String> {
        let changed = before.facts.iter().filter(|(name, fact)| {
            self.facts.get(*name) != Some(*fact) && !may_change.contains(name)
        });
        changed
            .map(|(name, fact)| format!("{name} changed from {fact} to {:?}", self.facts.get(name)))
            .collect()
    }
}

/// Sends one case; says what is not as it should be.
fn run(scene: &mut Scene, case: &Case, held: &mut Held) -> Result<(), String> {
    let answer = scene.send(case);
    let mut wrong = Vec::new();
    if answer.status != case.status {
        wrong.push(format!("status {} in place of {}", answer.status, case.status));
    }
    let problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    let slug = if answer.status >= 400 { problem_slug(&problem) } else { "" };
    if slug != case.slug.as_deref().unwrap_or_default() {
        wrong.push(format!("problem {slug:?} in place of {:?}", case.slug));
    }
    let head = scene.node.head();
    match case.effect {
        Effect::Nothing if head != held.head => {
            wrong.push(format!("the log went from {} to {head}", held.head));
        }
        Effect::Kept if head == held.head => wrong.push("it was not kept".to_owned()),
        _ => {}
    }
    if head != held.head {
        let now = Held::by(scene);
        wrong.extend(now.differences(held, &case.may_change));
        *held = now;
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}; {}", wrong.join("; "), answer.text())) }
}

#[test]
fn hostile_deliveries_are_answered_as_they_should_be() {
    let mut scene = Scene::set();
    let cases = case::all();
    assert!(cases.len() >= FEWEST, "{} cases", cases.len());
    let mut failures = Vec::new();
    let mut held = Held::by(&scene);
    for (file, case) in &cases {
        if let Err(wrong) = run(&mut scene, case, &mut held) {
            failures.push(format!("{file}: {}: {wrong}", case.case));
        }
    }
    // What the instance does by itself, such as an Accept, comes a moment later.
    scene.node.settled_head();
    let in_the_end = Held::by(&scene).differences(&held, &["outbox of alice".to_owned()]);
    failures.extend(in_the_end);
    assert!(
        failures.is_empty(),
        "{} of {} cases:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );

    let alice = scene.node.actor("alice");
    let hello = scene.actor("trent").note("still there?", &[&alice]);
    let sent = scene.actor("trent").deliver(
        &scene.node,
        "/actors/alice/inbox",
        &hello,
        crate::support::Sign::Ed25519,
    );
    sent.expect(202, "the instance still takes honest deliveries");
    scene.node.note("alice", "still writing");
    let data = scene.into_data();
    let verified = node::verify(data.path());
    assert_eq!(verified.code, Some(0), "{}", verified.all());
}
