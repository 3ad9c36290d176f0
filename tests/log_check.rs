//! `fedsx log check`: a client tells whether the history of an actor only grew.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::files::copy;
use crate::support::node::{Ended, Node, command, run_to_end};

/// Runs `fedsx log check`.
fn check(url: &str, state: &Path, more: &[&str]) -> Ended {
    let mut check = command();
    check.args(["log", "check", "--url", url, "--state"]).arg(state).args(more);
    run_to_end(check)
}

#[test]
fn a_client_sees_whether_history_only_grew() {
    let mut node = Node::start();
    node.create("alice");
    node.note("alice", "first");
    let files = tempfile::tempdir().expect("a directory");
    let (state, url) = (files.path().join("alice.checkpoint"), node.actor("alice"));
    let ended = check(&url, &state, &[]);
    assert_eq!(ended.code, Some(0), "the first check: {}", ended.all());
    let kept = fs::read_to_string(&state).expect("the checkpoint is kept");
    let served = node.client().get("/actors/alice/log/checkpoint").text();
    assert_eq!(kept, served, "as it was signed");
    assert_eq!(check(&url, &state, &[]).code, Some(0), "nothing happened since");

    node.note("alice", "second");
    let patch = json!({ "add_publicKey": { "generate": true }, "supersede": {} });
    node.publish("alice", &json!({ "type": "Update", "object": "alice", "patch": patch }));
    let ended = check(&url, &state, &["--json"]);
    assert_eq!(ended.code, Some(0), "grown, and signed by another key: {}", ended.all());
    let result: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let sizes = (&result["previous"]["size"], &result["checkpoint"]["size"]);
    assert_eq!(sizes, (&json!(2), &json!(4)), "{result}");
    assert_eq!(result["consistent"], true, "{result}");
    let vkey = result["vkey"].as_str().expect("the key").to_owned();
    let pinned = check(&url, &state, &["--vkey", &vkey]);
    assert_eq!(pinned.code, Some(0), "with the key given: {}", pinned.all());

    // The operator puts the data back to here later on.
    node.stop();
    let earlier = files.path().join("earlier");
    copy(node.data(), &earlier);
    node.restart();
    node.note("alice", "to be forgotten");
    node.note("alice", "to be forgotten too");
    assert_eq!(check(&url, &state, &[]).code, Some(0), "six entries");
    let six = fs::read_to_string(&state).expect("the checkpoint");

    node.stop();
    for entry in fs::read_dir(node.data()).expect("the data") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("gone");
    }
    copy(&earlier, node.data());
    // Who rewrites history takes away what tells a copy from the original.
    fs::remove_file(node.data().join("place")).expect("gone");
    node.restart();
    let conflict = files.path().join("alice.checkpoint.conflict");
    for (notes, case) in [(0, "cut back"), (2, "as long again"), (3, "longer")] {
        while node.total("alice", "outbox") < 4 + notes {
            node.note("alice", "another history");
        }
        let ended = check(&url, &state, &["--json"]);
        assert_eq!(ended.code, Some(1), "{case}: {}", ended.all());
        assert!(ended.stderr.contains("HISTORY WAS REWRITTEN"), "{case}: {}", ended.all());
        let result: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!(result["consistent"], false, "{case}: {result}");
        assert_eq!(fs::read_to_string(&state).expect("kept"), six, "{case}: the old one stays");
        let served = node.client().get("/actors/alice/log/checkpoint").text();
        let evidence = fs::read_to_string(&conflict).expect("the new one is kept beside it");
        assert_eq!(evidence, served, "{case}");
    }

    // Other mistakes are told apart.
    let alias = url.replace("localhost", "127.0.0.1");
    let ended = check(&alias, &files.path().join("alias"), &[]);
    assert_eq!(ended.code, Some(2), "another name of the host: {}", ended.all());
    assert!(ended.stderr.contains("localhost"), "it names the right one: {}", ended.all());
    fs::write(&state, six.replace("\n6\n", "\n5\n")).expect("a write");
    let ended = check(&url, &state, &[]);
    assert_eq!(ended.code, Some(2), "a state that was changed: {}", ended.all());
    for (url, case) in [(node.actor("nobody"), "nobody"), ("localhost".into(), "no URL")] {
        let ended = check(&url, &files.path().join("none"), &[]);
        assert_eq!(ended.code, Some(2), "{case}: {}", ended.all());
    }
    let bob = node.create("bob");
    assert_eq!(bob.seq, 0);
    let ended = check(&node.actor("bob"), &files.path().join("bob"), &["--vkey", &vkey]);
    assert_eq!(ended.code, Some(2), "the key of another log: {}", ended.all());
}

/// A server that makes up a whole new history with new keys is found by the missing old key.
#[test]
fn a_client_sees_that_keys_were_replaced() {
    let mut node = Node::start();
    node.create("alice");
    let files = tempfile::tempdir().expect("a directory");
    let (state, url) = (files.path().join("state"), node.actor("alice"));
    assert_eq!(check(&url, &state, &[]).code, Some(0));
    node.stop();
    for entry in fs::read_dir(node.data()).expect("the data") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("gone");
    }
    node.restart();
    node.create("alice");
    node.note("alice", "as if nothing had been");
    let ended = check(&url, &state, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.all());
    assert!(ended.stderr.contains("key history"), "the reason: {}", ended.all());
}
