//! Damaged files: nothing that was acknowledged is lost without being told.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::disk_faults::{uncompressed, verifies};
use crate::support::files::copy;
use crate::support::node::{Ended, Spec, command, run_to_end, verify};
use crate::support::verbs::{Published, note};
use crate::support::{Peer, Sign};

fn recover(from: &Path, to: &Path) -> (Ended, Value) {
    let mut recover = command();
    recover.arg("recover").arg("--json").arg("--data").arg(from).arg("--out").arg(to);
    let ended = run_to_end(recover);
    let report = serde_json::from_str(&ended.stdout).unwrap_or(Value::Null);
    (ended, report)
}

/// An instance with something of everything, over two starts; what alice published.
fn lived_in() -> (tempfile::TempDir, Vec<Value>) {
    let mut node = uncompressed().start();
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    node.create("alice");
    node.create("bob");
    node.follow("bob", &node.actor("alice"));
    let token = json!({ "actor": "alice", "scopes": ["read"] });
    node.admin().post("/admin/tokens", &token).expect(201, "a token that is kept");
    mallory.follows(&node, "alice");
    for n in 0..12 {
        let length = if n % 4 == 0 { 9000 } else { 60 };
        node.note("alice", &format!("note {n} {}", "y".repeat(length)));
        let delivery = mallory.note(&format!("reply {n}"), &[&node.actor("alice")]);
        mallory
            .deliver(&node, "/actors/alice/inbox", &delivery, Sign::Bare)
            .expect(202, "a delivery");
        if n == 6 {
            node.settled_head();
            node.restart();
        }
    }
    node.settled_head();
    let outbox = node.outbox("alice");
    (node.into_data(), outbox)
}

/// A small generator: the places differ, and a failing round can be repeated.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 20
}

/// A bit flips or the file ends early, anywhere: `fedsx verify` says where, or nothing that counts
/// is hit; `fedsx recover` saves a log that verifies.
#[test]
fn damage_is_reported_and_what_is_good_is_saved() {
    let (data, _) = lived_in();
    let mut state = 5;
    let mut reported = 0;
    for round in 0..9 {
        let damaged = tempfile::tempdir().expect("a directory");
        copy(data.path(), damaged.path());
        let path = damaged.path().join("store/db");
        let mut bytes = fs::read(&path).expect("the database");
        let at = usize::try_from(next(&mut state) % bytes.len() as u64).expect("a place");
        let what = if round % 3 == 0 {
            bytes.truncate(at);
            "cut"
        } else {
            bytes[at] ^= 1 << (next(&mut state) % 8);
            "flipped"
        };
        fs::write(&path, bytes).expect("written");
        let untouched = tempfile::tempdir().expect("a directory");
        copy(damaged.path(), untouched.path());

        let case = format!("round {round}: {what} at {at}");
        let ended = verify(damaged.path());
        assert!(!ended.all().contains("panicked"), "{case}: {}", ended.all());
        match ended.code {
            Some(0) => {}
            Some(1) => {
                reported += 1;
                let said = &ended.stderr;
                assert!(said.contains("fedsx recover"), "{case}: {}", ended.all());
                let place = said.contains("byte") || said.contains("entry");
                assert!(place, "{case}: it says where: {}", ended.all());
            }
            other => panic!("{case}: exit {other:?}: {}", ended.all()),
        }
        let place = tempfile::tempdir().expect("a directory");
        let out = place.path().join("out");
        let (ended, report) = recover(untouched.path(), &out);
        assert!(matches!(ended.code, Some(0 | 1)), "{case}: {}", ended.all());
        assert!(!ended.all().contains("panicked"), "{case}: {}", ended.all());
        assert!(report["entries"].is_u64(), "{case}: {}", ended.all());
        let ended = verify(&out);
        assert_eq!(ended.code, Some(0), "{case}: what was recovered: {}", ended.all());
    }
    assert!(reported >= 2, "damage shows: {reported}");
}

/// What a cut-back log leaves goes on under a new epoch, with its keys and tokens.
#[test]
fn a_recovered_instance_goes_on() {
    const STEP: usize = 48 * 1024;
    let (data, outbox) = lived_in();
    let path = data.path().join("store/db");
    let whole = fs::read(&path).expect("the database");
    let place = tempfile::tempdir().expect("a directory");
    let out = place.path().join("out");
    // Cut off more and more, until entries are missing.
    let (report, before) = (1..)
        .map(|steps| whole.len().saturating_sub(steps * STEP))
        .take_while(|left| *left > 0)
        .find_map(|left| {
            fs::write(&path, &whole[..left]).expect("written");
            let (ended, report) = recover(data.path(), &out);
            assert!(matches!(ended.code, Some(0 | 1)), "{}", ended.all());
            if report["first_damage"].is_object() {
                assert_eq!(ended.code, Some(1), "something is missing: {}", ended.all());
                return Some((report, left));
            }
            fs::remove_dir_all(&out).expect("removed");
            None
        })
        .expect("a cut that loses entries");
    assert!(report["first_damage"]["global_seq"].as_u64().is_some_and(|seq| seq > 1), "{report}");
    let streams = report["streams"].as_array().expect("streams");
    let short = |one: &Value| one["kept"].as_u64() < one["of"].as_u64();
    let beyond = report["noted"].as_u64() > report["entries"].as_u64();
    assert!(beyond || streams.iter().any(short), "{report}");
    assert!(report["private_keys"].as_u64().is_some_and(|keys| keys > 0), "{report}");
    assert!(report["tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{report}");
    let epoch = report["epoch"].as_u64().expect("an epoch");
    assert!(epoch > 0, "{report}");

    let base = fs::read_to_string(data.path().join("base")).expect("the base");
    let mut serve = command();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--allow-http", "--base-url", base.trim()]);
    serve.arg("--data").arg(data.path());
    let ended = run_to_end(serve);
    assert_eq!(ended.code, Some(2), "a damaged log is not served: {}", ended.all());
    assert!(ended.stderr.contains("fedsx recover --data"), "{}", ended.all());
    // Where nothing but the last entries is gone, only the head file tells, after the opening.
    if !ended.stderr.contains("it was cut back") {
        let now = fs::metadata(&path).expect("the database").len();
        assert_eq!(now, before as u64, "it is left as it is");
    }
    let (again, _) = recover(data.path(), &out);
    assert_eq!(again.code, Some(2), "nothing is overwritten: {}", again.all());

    let recovered = tempfile::tempdir().expect("a directory");
    copy(&out, recovered.path());
    let mut spec = Spec::default();
    spec.args.extend(["--base-url".into(), base.trim().into()]);
    let node = spec.start_in(recovered);
    let kept = node.total("alice", "outbox");
    let shown = node.outbox("alice");
    assert_eq!(outbox.get(..shown.len()), Some(&shown[..]), "a beginning of what it was: {report}");
    assert!(!shown.is_empty(), "{report}");
    let client = node.as_actor("alice");
    let answer = client.post("/activity", &note("after the damage")).expect(201, "a publish");
    let published = Published::of(&answer.json());
    assert_eq!(published.seq, kept);
    let path = published.id.strip_prefix(base.trim()).expect("an id of the instance");
    let activity = client.get(path).expect(200, "the activity").json();
    assert_eq!(activity["epoch"].as_u64(), Some(epoch), "{activity}");
    verifies(node.into_data().path());
}
