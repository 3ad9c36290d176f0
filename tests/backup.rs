//! Backups of running and stopped instances, restoring them, and numbers given out twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{Ended, Node, Signal, command, run_to_end, verify};
use crate::support::{PATIENCE, Peer, Sign, eventually, secret};

pub fn fedsx(args: &[&str]) -> Ended {
    let mut command = command();
    command.args(args);
    run_to_end(command)
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[track_caller]
pub fn counts(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[track_caller]
pub fn refuses(ended: &Ended, wanted: &str) {
    assert_eq!(ended.code, Some(2), "{wanted}: {}", ended.all());
    assert!(ended.stderr.contains(wanted), "{wanted:?} is said: {}", ended.all());
}

/// `fedsx backup` of a running node.
pub fn backup(node: &Node, directory: &Path, more: &[&str]) -> Ended {
    let secret = secret("operator");
    let mut args =
        vec!["backup", "--json", "--url", &node.base, "--token", &secret, text(directory)];
    args.extend(more);
    fedsx(&args)
}

/// Takes the data of a stopped node away and leaves an empty directory in its place.
pub fn take_data(node: &Node) -> TempDir {
    let taken = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(node.data()).expect("the data").filter_map(Result::ok) {
        fs::rename(entry.path(), taken.path().join(entry.file_name())).expect("moved");
    }
    taken
}

/// The whole outbox of an actor, page by page.
pub fn whole_outbox(node: &Node, name: &str) -> Vec<Value> {
    let (mut all, mut since) = (Vec::<Value>::new(), String::new());
    loop {
        let path = format!("/actors/{name}/outbox?since={since}&limit=100");
        let page = node.as_actor(name).get(&path).expect(200, "the outbox").json();
        let items = page["orderedItems"].as_array().expect("items").clone();
        let Some(last) = items.last() else { return all };
        let id = last["id"].as_str().expect("an id");
        id.rsplit('/').next().expect("a CID").clone_into(&mut since);
        all.extend(items);
    }
}

/// The CIDs of an outbox by the number that their author gave them.
fn by_number(outbox: &[Value]) -> BTreeMap<(u64, u64), String> {
    let number = |one: &Value, name: &str| one[name].as_u64().expect("a number");
    let place = |one: &Value| (number(one, "epoch"), number(one, "seq"));
    outbox.iter().map(|one| (place(one), one["id"].to_string())).collect()
}

#[test]
fn a_backup_under_load_is_one_moment_and_a_restore_gives_no_number_out_twice() {
    let (mut node, watcher) = (Node::start(), Node::start());
    let names = ["alice", "carol", "dave"];
    for name in names {
        node.create(name);
    }
    watcher.create("bob");
    watcher.follow("bob", &node.actor("alice"));
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("backup");

    let (stop, shared) = (AtomicBool::new(false), &node);
    let (before, during) = std::thread::scope(|scope| {
        let publishers: Vec<_> = names
            .iter()
            .map(|name| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        shared.note(name, &format!("{name} {count}"));
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        eventually(PATIENCE, "some are published before", || (shared.head() > 60).then_some(()));
        let before = shared.head();
        let made = counts(&backup(shared, &directory, &["--with-master-key"]));
        let after = shared.head();
        let at = made["global_seq"].as_u64().expect("a position");
        assert!((before..=after).contains(&at), "{at} lies between {before} and {after}");
        // What comes now is lost with the original.
        eventually(PATIENCE, "some are published after", || {
            (shared.head() > at + 30).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        let published: Vec<usize> =
            publishers.into_iter().map(|thread| thread.join().expect("a publisher")).collect();
        (at, published)
    });
    assert!(during.iter().all(|count| *count > 0), "everybody published: {during:?}");
    let lost = node.note("alice", "seen by bob, and not in the backup");
    watcher.receives("bob", &lost.id);
    let numbers = by_number(&whole_outbox(&node, "alice"));
    let status = node.admin().get("/admin/backup").expect(200, "the latest backup").json();
    assert_eq!(status["state"], "done", "{status}");
    assert_eq!(status["global_seq"], before, "{status}");
    node.stop();
    assert_eq!(verify(node.data()).code, Some(0), "the original");

    let ended = verify(&directory);
    assert_eq!(ended.code, Some(0), "a backup can be verified as it is: {}", ended.all());
    let original = take_data(&node);
    refuses(&serve(&directory, &node), "fedsx restore");
    let restore = ["restore", "--json", "--from", text(&directory), "--data", text(node.data())];
    let restored = counts(&fedsx(&restore));
    assert_eq!(restored["entries"], before, "{restored}");
    assert_eq!(restored["base"], node.base, "{restored}");
    let epoch = restored["epoch"].as_u64().expect("an epoch");
    assert!(epoch > 0, "it rises: {restored}");
    refuses(&fedsx(&restore), "holds something");
    assert_eq!(verify(node.data()).code, Some(0), "the restored directory");

    node.restart();
    let held = by_number(&whole_outbox(&node, "alice"));
    assert!(held.len() < numbers.len(), "some were lost");
    assert!(held.iter().all(|(place, id)| numbers.get(place) == Some(id)), "a prefix of it");
    for name in names {
        node.note(name, "after the restore");
    }
    let fresh = node.note("alice", "for those who saw what was lost");
    assert_eq!(fresh.seq, held.len() as u64 + 1, "the outbox goes on without a hole");
    let now = whole_outbox(&node, "alice");
    let newest = now.last().expect("the newest");
    assert_eq!((&newest["id"], &newest["epoch"]), (&json!(fresh.id), &json!(epoch)));
    let again = by_number(&now);
    let twice = again.iter().filter(|(place, id)| numbers.get(place).is_some_and(|n| n != *id));
    assert_eq!(twice.count(), 0, "no number stands for two statements");

    watcher.receives("bob", &fresh.id);
    let listing = watcher.admin().get("/admin/equivocations").expect(200, "the list").json();
    assert_eq!((&listing["total"], &listing["items"]), (&json!(0), &json!([])), "{listing}");
    node.restart();
    let later = node.note("alice", "after another start");
    let outbox = whole_outbox(&node, "alice");
    assert_eq!(outbox.last().expect("the newest")["epoch"], epoch, "the epoch is durable");
    watcher.receives("bob", &later.id);
    node.stop();
    let ended = verify(node.data());
    assert_eq!(ended.code, Some(0), "what runs on a restore: {}", ended.all());

    // A second restore of the same backup is another life again.
    let second = place.path().join("second");
    eventually(PATIENCE, "the clock shows another second", || {
        let _ = fs::remove_dir_all(&second);
        let ended =
            fedsx(&["restore", "--json", "--from", text(&directory), "--data", text(&second)]);
        (counts(&ended)["epoch"].as_u64() > Some(epoch)).then_some(())
    });
    drop((original, watcher));
}

/// A rotation after the backup is lost with it: the old key signs again, and who saw the new one
/// asks the origin.
#[test]
fn a_lost_rotation_does_not_silence_the_actor() {
    let (mut node, watcher) = (Node::start(), Node::start());
    node.create("alice");
    watcher.create("bob");
    watcher.follow("bob", &node.actor("alice"));
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("backup");
    counts(&backup(&node, &directory, &["--with-master-key"]));
    let rotation = json!({
        "type": "Update",
        "object": "alice",
        "patch": { "add_publicKey": { "generate": true }, "supersede": {} },
    });
    let rotation = node.publish("alice", &rotation);
    let lost = node.note("alice", "by the key that is lost");
    for id in [&rotation.id, &lost.id] {
        watcher.receives("bob", id);
    }
    node.stop();
    let original = take_data(&node);
    let data = node.data().to_owned();
    counts(&fedsx(&["restore", "--json", "--from", text(&directory), "--data", text(&data)]));
    node.restart();
    let note = node.note("alice", "by the old key");
    watcher.receives("bob", &note.id);
    let again = node.note("alice", "and again");
    watcher.receives("bob", &again.id);
    let ended = verify(watcher.into_data().path());
    assert_eq!(ended.code, Some(0), "what the watcher has of both lives: {}", ended.all());
    drop(original);
}

/// `fedsx serve` that is expected to end by itself.
fn serve(data: &Path, node: &Node) -> Ended {
    serve_with(data, node, &[])
}

fn serve_with(data: &Path, node: &Node, more: &[&str]) -> Ended {
    let listen = format!("127.0.0.1:{}", node.port());
    let mut args = vec!["serve", "--data", text(data), "--listen", &listen, "--allow-http"];
    args.extend(["--base-url", &node.base]);
    args.extend(more);
    fedsx(&args)
}

#[test]
fn offline_backups_and_the_master_key() {
    let mut node = Node::start();
    node.create("alice");
    node.note("alice", "one");
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name);
    let offline = |out: &Path, more: &[&str]| {
        let mut args = vec!["backup", "--json", "--data", text(node.data()), "--out", text(out)];
        args.extend(more);
        fedsx(&args)
    };
    refuses(&offline(&at("a"), &[]), "in use");
    assert!(!at("a").exists() && !at("a.partial").exists(), "nothing is left of it");
    node.signal(Signal::TERM);
    let made = eventually(PATIENCE, "the instance gives its data free", || {
        let ended = offline(&at("a"), &[]);
        (ended.code == Some(0)).then_some(ended)
    });
    let head = counts(&made)["global_seq"].as_u64().expect("a position");
    assert!(head > 2, "{}", made.all());
    refuses(&offline(&at("a"), &[]), "holds something");
    refuses(&offline(&node.data().join("inside"), &[]), "outside of the data directory");
    assert!(!at("a").join("master.key").exists(), "the master key stays where it is");
    counts(&offline(&at("b"), &["--with-master-key"]));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for (path, mask) in [(at("a"), 0o077), (at("b").join("master.key"), 0o177)] {
            let mode = fs::metadata(&path).expect("it is there").permissions().mode();
            assert_eq!(mode & mask, 0, "{} is for its owner alone: {mode:o}", path.display());
        }
    }
    assert_eq!(verify(&at("a")).code, Some(0), "the backup");
    refuses(
        &fedsx(&["restore", "--from", text(&at("x")), "--data", text(&at("y"))]),
        "not a backup",
    );

    // Without the master key nothing starts, rather than to go on with another key.
    let from = at("a");
    let restored = at("restored");
    let ended = fedsx(&["restore", "--from", text(&from), "--data", text(&restored)]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.stdout.contains("master key is missing"), "{}", ended.all());
    refuses(&serve(&restored, &node), "sealed with it");
    assert!(!restored.join("master.key").exists(), "no other key is made");

    let original = take_data(&node);
    let key = original.path().join("master.key");
    let ended = fedsx(&[
        "restore",
        "--json",
        "--from",
        text(&from),
        "--data",
        text(node.data()),
        "--master-key",
        text(&key),
    ]);
    let restored = counts(&ended);
    assert_eq!((&restored["entries"], &restored["master_key"]), (&json!(head), &json!(true)));
    let epoch = restored["epoch"].as_u64().expect("an epoch");
    refuses(&serve_with(node.data(), &node, &["--epoch", "1"]), "an epoch only rises");
    eventually(PATIENCE, "the old instance has ended", || {
        std::net::TcpListener::bind(("127.0.0.1", node.port())).ok().map(drop)
    });
    node.restart();
    let note = node.note("alice", "two");
    let newest = whole_outbox(&node, "alice").pop().expect("the newest");
    assert_eq!((&newest["id"], &newest["epoch"]), (&json!(note.id), &json!(epoch)));
}

#[test]
fn only_operators_back_up_and_only_to_new_places() {
    let node = Node::start();
    let place = tempfile::tempdir().expect("a directory");
    let ask = |client: &crate::support::Client, directory: &str| {
        client.post("/admin/backup", &json!({ "directory": directory }))
    };
    let target = place.path().join("backup");
    let path = text(&target);
    ask(node.client(), path).refused(401, "invalid-token", "a stranger");
    ask(&node.as_actor("alice"), path).refused(403, "insufficient-scope", "a token to publish");
    let admin = node.admin();
    admin.get("/admin/backup").refused(404, "not-found", "none was made");
    node.client().get("/admin/equivocations").refused(401, "invalid-token", "a stranger");
    ask(&admin, "relative").refused(400, "invalid-parameter", "a relative path");
    let inside = node.data().join("backup");
    ask(&admin, text(&inside)).refused(400, "invalid-parameter", "inside of the data");
    let nowhere = place.path().join("a/b/c");
    ask(&admin, text(&nowhere)).refused(400, "invalid-parameter", "a parent that is missing");
    let filled = tempfile::tempdir().expect("a directory");
    fs::write(filled.path().join("something"), "else").expect("a file");
    ask(&admin, text(filled.path())).refused(400, "invalid-parameter", "a directory with files");
    let odd = admin.post("/admin/backup", &json!({ "directory": path, "more": 1 }));
    odd.refused(400, "invalid-parameter", "an unknown member");
    assert_eq!(fs::read_dir(place.path()).expect("the place").count(), 0, "nothing was made");

    let ended = backup(&node, filled.path(), &[]);
    refuses(&ended, "holds something");
    let alice = secret("alice");
    let ended = fedsx(&["backup", "--url", &node.base, "--token", &alice, path]);
    refuses(&ended, "lacks the scope admin");
    refuses(&fedsx(&["backup", "--url", &node.base, path]), "--token");
    counts(&backup(&node, &target, &[]));
    assert!(target.join("backup.json").exists() && !target.join("master.key").exists());
}

#[test]
fn two_statements_under_one_number_are_kept_and_reported() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let (alice, mallory) = (node.actor("alice"), peer.actor("mallory"));
    let numbered = |seq: u64| {
        let note = mallory.note_object(&format!("number {seq}"));
        mallory.sealed(mallory.content("Create", note, json!({ "to": [alice], "seq": seq })))
    };
    let deliver = |activity: &Value| {
        mallory.deliver(&node, "/actors/alice/inbox", activity, Sign::Bare).expect(202, "taken");
        node.receives("alice", activity["id"].as_str().expect("an id"));
    };
    let (first, other, third) = (numbered(7), numbered(7), numbered(7));
    assert_ne!(first["id"], other["id"]);
    deliver(&first);
    deliver(&numbered(8));
    let list = |query: &str| {
        let path = format!("/admin/equivocations{query}");
        node.admin().get(&path).expect(200, "the list").json()
    };
    assert_eq!(list("")["total"], 0, "different numbers are no equivocation");
    deliver(&other);
    let cid = |activity: &Value| {
        let id = activity["id"].as_str().expect("an id");
        id.rsplit('/').next().expect("a CID").to_owned()
    };
    let listing = list("");
    let items = listing["items"].as_array().expect("items");
    let [item] = items.as_slice() else { panic!("one item: {listing}") };
    assert_eq!(item["actor"], mallory.id, "{item}");
    assert_eq!((&item["epoch"], &item["seq"]), (&json!(0), &json!(7)), "{item}");
    assert_eq!((&item["first"], &item["other"]), (&json!(cid(&first)), &json!(cid(&other))));

    deliver(&third);
    let page = list("?limit=1");
    let next = page["next"].as_str().expect("another page").replace(' ', "%20");
    let rest = list(&format!("?after={next}"));
    assert_eq!((&page["total"], rest["items"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    assert_ne!(page["items"][0]["other"], rest["items"][0]["other"], "both are listed");
    let metrics = node.client().get("/metrics").expect(200, "the metrics");
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("fedsx_equivocations_total 2"), "{metrics}");
    let data = node.into_data();
    let ended = verify(data.path());
    assert_eq!(ended.code, Some(0), "both stand in the log: {}", ended.all());
}
