//! The worked example in `genesis/examples/link-board`: an application of definitions alone, over
//! two instances, by the commands that its page teaches.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::{Node, command, run_to_end, secret, verify};
use crate::support::{PATIENCE, eventually};

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("genesis/examples/link-board");
    let entries = std::fs::read_dir(&directory).expect("the example");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    assert_eq!(files.len(), 4, "{files:?}");
    files
}

fn define(what: &str) -> Command {
    let mut command = command();
    command.args(["define", what]).args(files());
    command
}

/// A row of the board.
fn row(node: &Node, id: &str) -> Value {
    // The projection itself comes with its definition, a moment later.
    let answer = node.client().get(&format!("/projections/link-board?key={}", encoded(id)));
    if answer.status == 200 { answer.json()["items"][0]["value"].clone() } else { Value::Null }
}

#[test]
fn a_link_board_of_definitions_alone() {
    let ended = run_to_end(define("check"));
    assert_eq!(ended.code, Some(0), "{}", ended.all());

    let (a, b) = (Node::start(), Node::start());
    for name in ["operator", "alice", "carol"] {
        a.create(name);
    }
    for name in ["operator", "bob"] {
        b.create(name);
    }
    for followed in ["operator", "alice"] {
        b.follow("bob", &a.actor(followed));
    }
    a.follow("alice", &b.actor("bob"));
    let mut publish = define("publish");
    publish.args(["--url", &format!("http://localhost:{}", a.port())]);
    publish.args(["--token", &secret("operator")]);
    let ended = run_to_end(publish);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let cids: Vec<String> = ended
        .stdout
        .lines()
        .map(|line| line.split_whitespace().next().expect("a CID").to_owned())
        .collect();
    assert_eq!(cids.len(), 5, "{}", ended.stdout);

    let bookmark = |name: &str| json!({ "type": "Create", "object": { "type": "Bookmark", "href": "https://x.example", "name": name } });
    let link = a.publish("alice", &bookmark("A fine page"));
    let loud = a.as_actor("alice").post("/activity", &bookmark("LOOK AT THIS"));
    loud.refused(422, "schema-violation", "against the house rules");
    let vote = json!({ "type": "Vote", "object": link.object() });
    let voted = a.publish("carol", &vote);
    let again = a.publish("carol", &vote);
    let held = eventually(PATIENCE, "the vote counts", || {
        Some(row(&a, link.object())).filter(|row| row["score"] == 1)
    });
    assert_eq!((&held["name"], &held["hidden"]), (&json!("A fine page"), &json!(false)));
    b.receives("bob", &link.id);
    assert!(voted.global_seq < again.global_seq);

    // On B nothing of it runs until it is adopted; then all of it does, from the beginning.
    let refused = b.as_actor("bob").post("/activity", &vote);
    refused.refused(422, "unknown-activity-type", "before B adopted it");
    for cid in &cids {
        eventually(PATIENCE, "the definition is offered to B", || {
            (b.client().get(&format!("/types/{cid}")).status == 200).then_some(())
        });
        // Bob received it publicly, so that the operator knows of it.
        b.publish("operator", &json!({ "type": "Add", "object": cid }));
    }
    eventually(PATIENCE, "B folds what came before", || {
        Some(row(&b, link.object())).filter(|row| row["name"] == "A fine page")
    });
    let vote = b.publish("bob", &vote);
    a.receives("alice", &vote.id);
    eventually(PATIENCE, "the vote of B counts on A", || {
        (row(&a, link.object())["score"] == 2).then_some(())
    });
    let report = json!({ "type": "Report", "object": link.object(), "summary": "Out of date." });
    a.publish("carol", &report);
    let short = json!({ "type": "Report", "object": link.object(), "summary": "x" });
    let refused = b.as_actor("bob").post("/activity", &short);
    let problem = refused.refused(422, "schema-violation", "a report without a reason");
    assert_eq!(problem["violations"][0]["path"], "/summary");
    let second = b.publish("bob", &report);
    a.receives("alice", &second.id);
    eventually(PATIENCE, "two reports hide it", || {
        (row(&a, link.object())["hidden"] == true).then_some(())
    });

    // Without publishing, a stricter definition can be tried on what the log holds.
    let data = a.into_data();
    let stricter = data.path().join("stricter.json");
    let validator = json!({
        "type": "DefineValidator", "name": "long-titles", "validates": { "object": "Bookmark" },
        "schema": { "properties": { "name": { "minLength": 20 } } },
    });
    std::fs::write(&stricter, validator.to_string()).expect("written");
    let mut check = command();
    check.args(["define", "check", "--json", "--data"]).arg(data.path()).arg(&stricter);
    check.arg(files().last().expect("the board"));
    let ended = run_to_end(check);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let findings: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(findings[0]["refused"], 1, "{findings}");
    assert!(findings[0]["refusals"][0].as_str().expect("a reason").contains("/object/name"));
    assert_eq!(findings[1]["folded"]["rows"], 1, "{findings}");
    std::fs::write(&stricter, json!({ "type": "DefineActivity", "name": "Create" }).to_string())
        .expect("written");
    let mut check = command();
    check.args(["define", "check"]).arg(&stricter);
    assert_eq!(run_to_end(check).code, Some(1), "what genesis defines is not free");
    for data in [data, b.into_data()] {
        let ended = verify(data.path());
        assert_eq!(ended.code, Some(0), "{}", ended.all());
    }
}
