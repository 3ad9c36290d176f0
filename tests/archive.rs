//! Leaving with everything: export, verification without a database, import, foreign readers.

mod story;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{Ended, Node, command, run_to_end, verify};
use crate::support::verbs::kinds;
use crate::support::{PUBLIC, Peer, Sign, holds_for, npm};
use story::Story;

/// Runs the program to its end.
fn fedsx(args: &[&str]) -> Ended {
    let mut command = command();
    command.args(args);
    run_to_end(command)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn export(data: &Path, actor: &str, out: &Path, more: &[&str]) -> Ended {
    let mut args = vec!["export", "--data", text(data), "--actor", actor, "--out", text(out)];
    args.extend(more);
    fedsx(&args)
}

fn import(data: &Path, file: &Path) -> Ended {
    fedsx(&["import", "--json", "--data", text(data), text(file)])
}

/// What `fedsx verify FILE` found; the file must be good.
#[track_caller]
fn checked(file: &Path) -> Value {
    let ended = fedsx(&["verify", "--json", text(file)]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[track_caller]
fn exits(ended: &Ended, code: i32, wanted: &str) {
    assert_eq!(ended.code, Some(code), "{wanted}: {}", ended.all());
    assert!(ended.stderr.contains(wanted), "{wanted:?} is said: {}", ended.all());
    assert!(!ended.all().contains("panicked"), "{}", ended.all());
}

#[track_caller]
fn counts(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// Takes the data of a stopped node away and leaves an empty directory in its place.
fn take_data(node: &Node) -> TempDir {
    let taken = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(node.data()).expect("the data").filter_map(Result::ok) {
        fs::rename(entry.path(), taken.path().join(entry.file_name())).expect("moved");
    }
    taken
}

/// Everything that an outbox can hold, and an inbox with and without proofs.
fn busy_life(node: &Node, peer: &Peer) {
    node.create("alice");
    node.create("bob");
    node.follow("bob", &node.actor("alice"));
    let (alice, bob) = (node.actor("alice"), node.actor("bob"));
    let mallory = peer.actor("mallory");
    mallory.follows(node, "alice");
    let note = node.note("alice", "first words");
    let direct = json!({ "type": "Note", "content": "for bob", "to": [bob] });
    node.publish("alice", &json!({ "type": "Create", "object": direct, "to": [bob] }));
    let secret = json!({ "type": "Note", "content": "for bob, unseen" });
    node.publish("alice", &json!({ "type": "Create", "object": secret, "bcc": [bob] }));
    let change = json!({ "id": note.object(), "content": "changed words" });
    node.publish("alice", &json!({ "type": "Update", "object": change }));
    let rotation = json!({
        "type": "Update",
        "object": "alice",
        "patch": { "add_publicKey": { "generate": true }, "supersede": {} },
    });
    node.publish("alice", &rotation);
    node.note("alice", "by the second key");
    node.publish("alice", &rotation);
    node.publish("alice", &json!({ "type": "Update", "object": { "id": alice, "summary": "s" } }));
    node.publish("alice", &json!({ "type": "Delete", "object": note.object() }));
    for (activity, sign) in [
        (mallory.note("with a proof", &[&alice]), Sign::Bare),
        (mallory.plain("Create", mallory.note_object("attested"), &[&alice, PUBLIC]), Sign::Rsa),
        (mallory.activity("Frobnicate", json!({ "type": "Gizmo" }), &[&alice]), Sign::Bare),
    ] {
        mallory.deliver(node, "/actors/alice/inbox", &activity, sign).expect(202, "a delivery");
    }
    node.note("alice", "last words");
}

#[test]
fn an_actor_leaves_with_everything_and_comes_back() {
    let (mut node, peer) = (Node::start(), Peer::start());
    busy_life(&node, &peer);
    node.settled_head();
    let seen = (node.outbox("alice"), node.keys("alice"), node.inbox("alice"));
    let document = node.client().get("/actors/alice").expect(200, "the document").json();
    let total = node.total("alice", "outbox");
    let last = seen.0.last().expect("a Note")["id"].as_str().expect("an id").to_owned();
    peer.receives(&last);

    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("alice.car");
    exits(&export(node.data(), "alice", &file, &[]), 2, "in use");
    assert!(!file.exists(), "nothing is left of a failed export");
    node.stop();
    let ended = export(node.data(), "alice", &file, &["--with-inbox", "--json"]);
    let exported = counts(&ended);
    assert_eq!(exported["outbox"], total);
    assert_eq!(exported["signed"], true, "{exported}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&file).expect("the file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "it holds private statements");
    }
    exits(&export(node.data(), "alice", &file, &[]), 2, "exists already");
    exits(&export(node.data(), "nobody", &place.path().join("x"), &[]), 2, "no actor nobody");

    let found = checked(&file);
    assert_eq!(found["root"], exported["root"]);
    assert_eq!(found["actor"], node.actor("alice"));
    assert_eq!((&found["outbox"], &found["verified"]), (&json!(total), &json!(total)));
    assert_eq!(found["keys"], seen.1.len(), "every key that the actor ever had");
    let signs = |key: &&Value| key["publicKeyMultibase"].is_string() && key["revoked"].is_null();
    let current = seen.1.iter().rfind(signs);
    assert_eq!(found["signed_by"], current.expect("a current key")["id"]);
    assert_eq!(found["inbox"], seen.2.len());
    assert_eq!(found["inbox_attested"], 1, "the one without a proof: {found}");
    assert_eq!(found["unreferenced"], 0);

    // Into a directory of which nothing was there before.
    let original = take_data(&node);
    let ended = fedsx(&["import", "--data", text(node.data()), text(&file)]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    for wanted in ["private keys", "fedsx restore", "cannot publish"] {
        assert!(ended.stdout.contains(wanted), "{wanted:?} is said: {}", ended.all());
    }
    let ended = verify(node.data());
    assert_eq!(ended.code, Some(0), "the imported log: {}", ended.all());
    let again = counts(&import(node.data(), &file));
    assert_eq!(again["appended"], 0, "nothing is doubled: {again}");
    assert_eq!(again["inbox"], 0, "{again}");
    assert_eq!(again["held"], total, "{again}");
    assert_eq!(verify(node.data()).code, Some(0), "after the second import");
    let second = place.path().join("again.car");
    let ended = counts(&export(node.data(), "alice", &second, &["--json"]));
    assert_eq!(ended["signed"], false, "the private key is elsewhere");
    let same = checked(&second);
    for member in ["outbox", "verified", "keys", "checkpoint_root", "checkpoint_size"] {
        assert_eq!(same[member], found[member], "{member} of an export of an import");
    }
    assert_eq!(same["signed_by"], Value::Null);

    // What was imported is served as before, and is no news.
    let posted = peer.posted().len();
    node.restart();
    assert_eq!(node.outbox("alice"), seen.0, "the outbox as strangers see it");
    assert_eq!(node.keys("alice"), seen.1, "the key history");
    let held = node.client().get("/actors/alice").expect(200, "the document").json();
    assert_eq!(held, document, "the actor document");
    let inbox = node.inbox("alice");
    let foreign = |all: &[Value]| {
        let by = |one: &&Value| !one["actor"].as_str().unwrap_or_default().starts_with(&node.base);
        let mut ids: Vec<_> = all.iter().filter(by).map(|one| one["id"].to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(foreign(&inbox), foreign(&seen.2), "what came from elsewhere: {:?}", kinds(&inbox));
    let refused = node.as_actor("alice").post("/activity", &crate::support::verbs::note("no"));
    refused.refused(409, "private-key-missing", "an imported actor publishes");
    node.create("carol");
    node.note("carol", "the instance works");
    holds_for(std::time::Duration::from_millis(500), "history is not delivered again", || {
        peer.posted().len() == posted
    });
    node.stop();
    assert_eq!(verify(node.data()).code, Some(0), "after a run on imported data");
    drop(original);
}

#[test]
fn archives_go_on_where_the_log_ends_and_never_fork_it() {
    let mut node = Node::start();
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| -> PathBuf { place.path().join(name) };
    node.create("alice");
    node.note("alice", "one");
    node.stop();
    counts(&export(node.data(), "alice", &at("short.car"), &["--json"]));
    node.restart();
    node.note("alice", "two");
    node.note("alice", "three");
    node.stop();
    counts(&export(node.data(), "alice", &at("long.car"), &["--json"]));
    counts(&export(node.data(), "instance", &at("instance.car"), &["--json"]));

    let target = at("data");
    assert_eq!(counts(&import(&target, &at("short.car")))["appended"], 2);
    let longer = counts(&import(&target, &at("long.car")));
    assert_eq!((&longer["held"], &longer["appended"]), (&json!(2), &json!(2)));
    let shorter = counts(&import(&target, &at("short.car")));
    assert_eq!((&shorter["held"], &shorter["appended"]), (&json!(2), &json!(0)));
    let full = counts(&import(node.data(), &at("long.car")));
    assert_eq!((&full["held"], &full["appended"]), (&json!(4), &json!(0)), "the original itself");
    assert_eq!(full["keys_missing"], json!([]), "where the keys are, none is missing");
    exits(&import(&target, &at("instance.car")), 2, "restore a backup");

    // Another alice under the same address: two histories of one actor.
    let first = take_data(&node);
    node.restart();
    node.create("alice");
    node.note("alice", "of another life");
    node.stop();
    counts(&export(node.data(), "alice", &at("other.car"), &["--json"]));
    exits(&import(&target, &at("other.car")), 1, "parts from the archive at 0");
    exits(&import(first.path(), &at("other.car")), 1, "parts from the archive at 0");
    let ended = verify(&target);
    assert_eq!(ended.code, Some(0), "a refused import leaves the log alone: {}", ended.all());

    let mut elsewhere = Node::start();
    elsewhere.create("alice");
    elsewhere.stop();
    exits(&import(elsewhere.data(), &at("long.car")), 2, "only into its own instance");
    let filled = at("filled");
    fs::create_dir(&filled).expect("a directory");
    fs::write(filled.join("something"), "else").expect("a file");
    exits(&import(&filled, &at("long.car")), 2, "not empty");
    exits(&import(&target, &at("absent.car")), 2, "absent.car");
    exits(&fedsx(&["verify", text(&at("absent.car"))]), 2, "absent.car");
    assert_eq!(fedsx(&["verify"]).code, Some(2), "neither a file nor a directory");
}

#[test]
fn what_a_deleted_actor_said_can_be_kept() {
    let mut node = Node::start();
    node.create("alice");
    node.note("alice", "last words");
    node.publish("alice", &json!({ "type": "Delete", "object": node.actor("alice") }));
    node.settled_head();
    node.stop();
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("alice.car");
    let exported = counts(&export(node.data(), "alice", &file, &["--json"]));
    assert_eq!(exported["signed"], false, "its private keys were destroyed: {exported}");
    let found = checked(&file);
    assert_eq!((&found["verified"], &found["signed_by"]), (&json!(3), &Value::Null), "{found}");
    let target = place.path().join("data");
    assert_eq!(counts(&import(&target, &file))["appended"], 3);
    assert_eq!(verify(&target).code, Some(0), "the imported log");
    let _data = take_data(&node);
    counts(&import(node.data(), &file));
    node.restart();
    node.client().get("/actors/alice").refused(410, "actor-gone", "it stays deleted");
}

/// Histories that nobody could have made with fedsx, each wrong in one way.
#[test]
fn what_the_file_says_is_not_believed() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("story.car");
    let good = |story: &Story| {
        let _ = fs::remove_file(&file);
        story.write(&file, |_, _| ());
        checked(&file)
    };
    let told = || {
        let mut story = Story::begin();
        story.note("one");
        story.rotate();
        story.note("two");
        story
    };
    let found = good(&told());
    assert_eq!((&found["verified"], &found["keys"]), (&json!(4), &json!(2)), "{found}");
    assert_eq!(found["signed_by"], told_key(&found), "{found}");
    let mut restored = told();
    restored.epoch = 1_790_000_000;
    restored.note("after a restore");
    assert_eq!(good(&restored)["verified"], 5, "the epoch may rise");

    let bad = |case: &str, story: &Story, wanted: &str| {
        let _ = fs::remove_file(&file);
        story.write(&file, |_, _| ());
        let ended = fedsx(&["verify", text(&file)]);
        exits(&ended, 1, wanted);
        assert!(ended.stderr.contains("verification failed"), "{case}: {}", ended.all());
        let data = place.path().join("data");
        exits(&import(&data, &file), 1, "nothing was imported");
        assert!(!data.exists(), "{case}: nothing is made of it");
    };
    let mut story = told();
    story.note_by("late", 0);
    bad("a superseded key", &story, "outbox 4");
    let mut story = told();
    story.seq += 1;
    story.note("a hole");
    bad("a hole", &story, "its seq is 5");
    let mut story = told();
    story.seq -= 1;
    story.note("again");
    bad("a number given out twice", &story, "its seq is 3");
    let mut story = restored.clone();
    story.epoch = 0;
    story.note("back");
    bad("an epoch that falls", &story, "its epoch 0 is below");
    let mut story = told();
    story.activities.remove(0);
    bad("no Create", &story, "outbox 0");
    let mut story = told();
    story.rotate_by_stranger();
    bad("a rotation by a key that it adds itself", &story, "outbox 4");
    let mut story = told();
    story.note_of("https://archive.example/actors/mallory");
    bad("a statement of somebody else", &story, "it is by");
    let mut story = told();
    story.activities[1]["object"]["content"] = json!("other words");
    bad("changed words under the old proof", &story, "outbox 1");
    let mut story = told();
    story.activities[1].as_object_mut().expect("an object").remove("proof");
    bad("no proof", &story, "it has no proof");
}

fn told_key(found: &Value) -> Value {
    // The second of the two keys signs what comes after the rotation.
    found["signed_by"].as_str().filter(|id| id.contains("#z6Mk")).expect("a Multikey").into()
}

/// Archives whose blocks are all sound, but whose listing is not.
#[test]
fn a_listing_that_does_not_fit_is_refused() {
    use fedsx::archive::{Chunk, Root, format};
    type Change = Box<dyn Fn(&mut Root, &mut Vec<Chunk>)>;
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("story.car");
    let mut story = Story::begin();
    for n in 0..5 {
        story.note(&format!("note {n}"));
    }
    story.rotate();
    let first = story.activities[0]["object"].clone();
    let cases: Vec<(&str, Change)> = vec![
        ("its seq is", Box::new(|_, chunks| chunks[0].links.swap(2, 3))),
        ("the root says", Box::new(|root, _| root.streams.outbox.length += 1)),
        (
            "not over this outbox",
            // The rotation at the end is left out, and everything beside the tree fits to that.
            Box::new(move |root, chunks| {
                let link = chunks[0].links.pop().flatten().expect("a link");
                chunks[0].proofs.remove(&format::target(&link).expect("a CID"));
                chunks[0].meta.pop();
                root.streams.outbox.length -= 1;
                root.keys.truncate(1);
                (root.keys[0].valid_until, root.keys[0].revoked) = (None, None);
                root.document = first.clone();
            }),
        ),
        ("is not listed", Box::new(|root, _| drop(root.keys.pop()))),
        ("does not state the key", Box::new(|root, _| root.keys.push(root.keys[0].clone()))),
        ("differs", Box::new(|root, _| root.keys[0].valid_until = None)),
        ("the document", Box::new(|root, _| root.document["name"] = json!("Mallory"))),
        ("the checkpoint", Box::new(|root, _| root.checkpoint.size -= 1)),
        ("the checkpoint", Box::new(|root, _| root.checkpoint.origin.push('x'))),
        (
            "signed checkpoint",
            Box::new(|root, _| {
                let note = root.checkpoint.note.take().expect("a note");
                root.checkpoint.note = Some(note.replacen("7\n", "8\n", 1));
            }),
        ),
        ("no actor of", Box::new(|root, _| root.base = "https://other.example".into())),
        ("it is by", Box::new(|root, _| root.actor.push('x'))),
        ("has version 2", Box::new(|root, _| root.version = 2)),
        ("not of an archive", Box::new(|root, _| root.format = "something".into())),
        ("belongs to", Box::new(|_, chunks| chunks[0].stream = "inbox".into())),
        ("it begins at", Box::new(|_, chunks| chunks[0].from = 1)),
        ("neither a link nor a stub", Box::new(|_, chunks| chunks[0].links[2] = None)),
        ("differ in number", Box::new(|_, chunks| drop(chunks[0].meta.pop()))),
        ("it has no proof", Box::new(|_, chunks| drop(chunks[0].proofs.pop_first()))),
    ];
    for (wanted, change) in cases {
        let _ = fs::remove_file(&file);
        story.write(&file, change);
        let ended = fedsx(&["verify", text(&file)]);
        exits(&ended, 1, wanted);
    }

    let _ = fs::remove_file(&file);
    story.write_without(&file, 3);
    exits(&fedsx(&["verify", text(&file)]), 1, "is missing");
    let _ = fs::remove_file(&file);
    story.write(&file, |_, _| ());
    let whole = fs::read(&file).expect("the file");
    checked(&file);
    let half = whole.len() / 2;
    fs::write(&file, &whole[..half]).expect("written");
    exits(&fedsx(&["verify", text(&file)]), 1, "verification failed");
    let mut flipped = whole.clone();
    flipped[half] ^= 4;
    fs::write(&file, flipped).expect("written");
    exits(&fedsx(&["verify", text(&file)]), 1, "the block at byte");
    fs::write(&file, b"not a CAR file at all").expect("written");
    exits(&fedsx(&["verify", text(&file)]), 1, "verification failed");
}

#[test]
fn ipld_tools_of_others_read_it() {
    let libraries = match npm::installed("ipld") {
        Ok(place) => place,
        Err(reason) => {
            eprintln!("SKIPPED: no IPLD tool of another author has read an archive: {reason}");
            return;
        }
    };
    let read = |file: &Path| -> Value {
        let mut node = std::process::Command::new("node");
        node.arg(libraries.join("read_car.mjs")).arg(file);
        let output = node.output().expect("node runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let agrees = |file: &Path| {
        let (ours, theirs) = (checked(file), read(file));
        for member in ["root", "actor", "blocks", "outbox", "inbox", "keys", "checkpoint_size"] {
            assert_eq!(ours[member], theirs[member], "{member}: {ours} {theirs}");
        }
        assert_eq!(theirs["reached"], ours["blocks"], "every block is linked: {theirs}");
        assert_eq!(theirs["format"], "fedsx-archive");
        theirs
    };

    let (mut node, peer) = (Node::start(), Peer::start());
    busy_life(&node, &peer);
    node.settled_head();
    let outbox: Vec<Value> = node.outbox("alice");
    node.stop();
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("alice.car");
    counts(&export(node.data(), "alice", &file, &["--with-inbox", "--json"]));
    let found = agrees(&file);
    assert!(found["outbox"].as_u64() >= Some(outbox.len() as u64), "{found}");
    let kinds: BTreeMap<String, u64> =
        serde_json::from_value(found["kinds"].clone()).expect("counts");
    for kind in ["Create", "Update", "Delete", "Accept", "Follow", "Frobnicate"] {
        assert!(kinds.contains_key(kind), "{kind}: {kinds:?}");
    }

    // More than one chunk.
    let mut story = Story::begin();
    for n in 0..2300 {
        story.note(&format!("note {n}"));
    }
    let file = place.path().join("story.car");
    story.write(&file, |_, _| ());
    let found = agrees(&file);
    assert!(found["chunks"].as_u64() >= Some(3), "{found}");
    assert_eq!(found["proofs"], 2301, "{found}");
}
