//! The rules of npm's `activitypub-testing` about actors, collections and what clients submit, run
//! against an instance. Skipped, loudly, only where the npm registry cannot be reached.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::node::{Node, secret};
use crate::support::npm;

/// The major version of node that the package names.
const NODE_MAJOR: u32 = 20;
/// How many rules version 0.16.1 has.
const RULES: usize = 15;

/// Rules that may say that they do not apply, and why they do not.
const INAPPLICABLE: [(&str, &str); 5] = [
    ("shares-collection-must-be-a-collection", "an object need not have `shares`"),
    ("likes-collection-must-be-a-collection", "an object need not have `likes`"),
    ("liked-collection-must-be-a-collection", "an actor need not have `liked`"),
    (
        "post-outbox-server-overwrites-id-property",
        "it submits a document without a type, as text/plain, which ActivityPub (section 6) rules out",
    ),
    (
        "outbox-post-server-adds-to-outbox-collection-checked-by-outbox-get",
        "it submits a document without a type, as text/plain, which ActivityPub (section 6) rules out",
    ),
];

#[test]
fn the_rules_of_activitypub_testing_pass() {
    let found =
        npm::installed("activitypub-testing").and_then(|at| Ok((at, npm::node(NODE_MAJOR)?)));
    let (place, program) = match found {
        Ok(found) => found,
        Err(reason) => {
            eprintln!("SKIPPED: no rule of activitypub-testing was tried: {reason}");
            return;
        }
    };
    let node = Node::start();
    node.create("alice");
    let note = node.note("alice", "a note");
    let given = json!({
        "actor": node.actor("alice"),
        "object": note.object(),
        "authorization": format!("Bearer {}", secret("alice")),
    });
    let output = Command::new(program).arg(place.join("rules.mjs")).arg(given.to_string()).output();
    let output = output.expect("node runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let results: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(results.len(), RULES, "{text}");
    for result in &results {
        let slug = result["slug"].as_str().expect("a slug");
        let known = INAPPLICABLE.iter().find(|(name, _)| *name == slug);
        match (result["outcome"].as_str(), known) {
            (Some("passed"), _) => {}
            (Some("inapplicable"), Some((_, why))) => eprintln!("{slug} does not apply: {why}"),
            _ => panic!("{result}"),
        }
    }
    // What the rules submitted was published.
    let said = node.outbox("alice");
    assert!(said.iter().any(|said| said["object"]["content"] == "submitted by a rule"), "{said:?}");
}
