//! `fedsx verify` and `fedsx genesis`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::files::copy;
use crate::support::node::{Ended, Node, Spec, command, run_to_end, verify};
use crate::support::{Peer, Sign};

/// Every kind of entry: own, local recipients, foreign with and without proof, unknown, deleted.
fn mixed() -> tempfile::TempDir {
    let mut spec = Spec::default();
    // Texts are looked for in the files.
    spec.args.extend(["--store-compression".into(), "false".into()]);
    let mut node = spec.start();
    node.create("alice");
    node.create("bob");
    node.follow("alice", &node.actor("bob"));
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    mallory.follows(&node, "alice");
    let alice = node.actor("alice");
    for (activity, sign) in [
        (mallory.note("with a proof", &[&alice]), Sign::Bare),
        (mallory.plain("Create", mallory.note_object("attested"), &[&alice]), Sign::Rsa),
        (mallory.activity("Frobnicate", json!({ "type": "Gizmo" }), &[&alice]), Sign::Bare),
    ] {
        mallory.deliver(&node, "/actors/alice/inbox", &activity, sign).expect(202, "a delivery");
    }
    let note = node.note("bob", "to be changed and deleted");
    let change = json!({ "id": note.object(), "content": "changed words to look for" });
    node.publish("bob", &json!({ "type": "Update", "object": change }));
    node.publish("alice", &json!({ "type": "Endorse", "object": note.cid, "kind": "like" }));
    node.publish("alice", &json!({ "type": "Announce", "object": note.cid }));
    let patch = json!({ "add_publicKey": { "generate": true }, "supersede": {} });
    node.publish("bob", &json!({ "type": "Update", "object": "bob", "patch": patch }));
    node.publish("bob", &json!({ "type": "Delete", "object": note.object() }));
    node.restart();
    node.note("bob", "by the new key");
    node.into_data()
}

#[test]
fn a_healthy_log_verifies() {
    let data = mixed();
    let ended = verify(data.path());
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.stdout.chars().any(|c| c.is_ascii_digit()), "counts: {}", ended.all());
    let mut as_json = command();
    as_json.args(["verify", "--json", "--data"]).arg(data.path());
    let ended = run_to_end(as_json);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let counts: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    for count in ["entries", "activities", "verified", "attested", "local", "projections"] {
        assert!(counts[count].as_u64().is_some_and(|count| count > 0), "{count} in {counts}");
    }
    let again = verify(data.path());
    assert_eq!(again.code, Some(0), "verifying changes nothing: {}", again.all());

    let mut node = Node::start();
    node.create("alice");
    let busy = verify(node.data());
    assert!(busy.code.is_some_and(|code| code != 0), "a running instance: {}", busy.all());
    node.stop();
    let empty = tempfile::tempdir().expect("a directory");
    let ended = verify(empty.path());
    assert!(ended.code.is_some_and(|code| code != 0), "nothing there: {}", ended.all());
    assert_eq!(fs::read_dir(empty.path()).map(Iterator::count).unwrap_or(0), 0, "nothing is made");
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_damaged_log_does_not_verify() {
    let data = mixed();
    // One letter of a stored text is changed, wherever the store keeps it.
    let wanted: &[u8] = b"changed words to look for";
    let mut flipped = 0;
    for path in files(data.path()) {
        let mut bytes = fs::read(&path).expect("the file");
        let places: Vec<usize> = bytes
            .windows(wanted.len())
            .enumerate()
            .filter_map(|(place, window)| (window == wanted).then_some(place))
            .collect();
        for place in &places {
            bytes[*place] ^= 0x20;
        }
        if !places.is_empty() {
            flipped += places.len();
            fs::write(&path, bytes).expect("written");
        }
    }
    assert!(flipped > 0, "the text is found in the store");
    let ended = verify(data.path());
    assert_eq!(ended.code, Some(1), "after a byte was flipped: {}", ended.all());
    assert!(
        !ended.all().contains("panicked"),
        "it is reported, not stumbled over: {}",
        ended.all()
    );
    assert!(!ended.stderr.trim().is_empty(), "it says where: {}", ended.all());
}

fn genesis(args: &[&str], directory: Option<&Path>) -> Ended {
    let mut command = command();
    command.arg("genesis").args(args);
    if let Some(directory) = directory {
        command.arg("--genesis").arg(directory);
    }
    run_to_end(command)
}

#[test]
fn genesis_bundles_are_verified() {
    let ended = genesis(&["verify"], None);
    assert_eq!(ended.code, Some(0), "the built-in bundle: {}", ended.all());
    assert!(ended.stdout.contains("bafyr"), "prints the CID of the bundle: {}", ended.all());

    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("genesis");
    let directory = tempfile::tempdir().expect("a directory");
    for part in ["bundle", "runtime-verbs"] {
        copy(&source.join(part), &directory.path().join(part));
    }
    let copied = genesis(&["verify"], Some(directory.path()));
    assert_eq!(copied.code, Some(0), "a copy: {}", copied.all());
    assert_eq!(copied.stdout, ended.stdout, "has the same CID");
    let manifest = genesis(&["manifest"], Some(directory.path()));
    assert_eq!(manifest.code, Some(0), "{}", manifest.all());
    let printed: serde_json::Value = serde_json::from_str(&manifest.stdout).expect("JSON");
    let kept = fs::read(directory.path().join("bundle/manifest.json")).expect("the manifest");
    let kept: serde_json::Value = serde_json::from_slice(&kept).expect("JSON");
    assert_eq!(printed, kept, "the manifest of the files is the one beside them");

    let changed = ["bundle/activity-types/follow.json", "runtime-verbs/note.json"];
    for path in changed {
        let path = directory.path().join(path);
        let text = fs::read_to_string(&path).expect("a definition");
        fs::write(&path, text.replacen("summary\": \"", "summary\": \"Changed. ", 1))
            .expect("written");
    }
    let ended = genesis(&["verify"], Some(directory.path()));
    assert_eq!(ended.code, Some(1), "changed files: {}", ended.all());
    for path in changed {
        let name = path.rsplit('/').next().expect("a name");
        assert!(ended.all().contains(name), "{name} is named: {}", ended.all());
    }
    let data = tempfile::tempdir().expect("a directory");
    let mut serve = command();
    serve.arg("serve").arg("--data").arg(data.path()).arg("--genesis").arg(directory.path());
    serve.args(["--listen", "127.0.0.1:0", "--allow-http"]);
    let ended = run_to_end(serve);
    assert!(ended.code.is_some_and(|code| code != 0), "an instance refuses it: {}", ended.all());
    assert!(ended.stderr.contains("follow.json"), "and names the file: {}", ended.all());
    fs::remove_file(directory.path().join("bundle/activity-types/like.json")).expect("removed");
    let ended = genesis(&["verify"], Some(directory.path()));
    assert_eq!(ended.code, Some(1), "a missing file: {}", ended.all());
    assert!(ended.all().contains("like.json"), "is named, too: {}", ended.all());
}
