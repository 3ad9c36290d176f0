//! Erasure: what an author deleted can be taken out of the log, and everything else still holds.

use std::path::Path;

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::{Ended, Node, Spec, command, run_to_end, verify};
use crate::support::verbs::{Published, items};
use crate::support::{PATIENCE, PUBLIC, eventually};

/// Texts that stand nowhere else.
const FIRST: &str = "quuxly-first-version-8f1c";
const SECOND: &str = "quuxly-second-version-77ab";
const COPY: &str = "quuxly-copied-by-bob-13de";
const QUUXLY: &str = "quuxly";

fn fedsx(args: &[&str]) -> Ended {
    let mut command = command();
    command.args(args);
    run_to_end(command)
}

#[track_caller]
fn succeeds(args: &[&str]) -> Ended {
    let ended = fedsx(args);
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.all());
    ended
}

/// Compares the actor's Merkle log with what was kept of it before.
#[track_caller]
fn log_grew(node: &Node, name: &str, kept: &Path) {
    let kept = kept.to_str().expect("a path");
    succeeds(&["log", "check", "--url", &node.actor(name), "--state", kept]);
}

fn erase(node: &Node, object: &str) -> Value {
    let answer = node.admin().post("/admin/erase", &json!({ "object": object, "why": "a test" }));
    answer.expect(200, "it is erased").json()
}

/// Waits until everything that was erased is gone from the projections.
fn rebuilt(node: &Node) {
    eventually(PATIENCE, "projections without what was erased", || {
        let listing = node.admin().get("/projections").expect(200, "the projections").json();
        let all = listing["projections"].as_array().expect("projections").clone();
        let busy = |one: &Value| one.get("rebuilding").is_some() || one["caught_up"] != true;
        (!all.iter().any(busy)).then_some(())
    });
}

/// Whether an object shows as a tombstone in the projection of an instance.
fn entombed(node: &Node, object: &str) {
    eventually(PATIENCE, "the tombstone", || {
        let rows = node.projection("objects", &format!("?key={}", encoded(object)));
        rows.iter().any(|row| row["value"]["type"] == "Tombstone").then_some(())
    });
}

/// Checks that no answer of an instance holds anything of the erased texts.
#[track_caller]
fn tells_nothing(node: &Node, name: &str, cids: &[&str]) {
    let mut paths = vec![
        format!("/actors/{name}/outbox?since=&limit=100"),
        format!("/actors/{name}/outbox?page=true"),
        format!("/actors/{name}/inbox?page=true&limit=100"),
        format!("/projections/objects?limit=1000&at={}", node.head()),
        "/admin/dead-letter".into(),
    ];
    for projection in ["objects", "feed", "announces", "actor-state", "define-registry"] {
        paths.push(format!("/projections/{projection}?limit=1000"));
    }
    paths.extend(cids.iter().map(|cid| format!("/activities/{cid}")));
    for path in paths {
        for client in [node.client().clone(), node.as_actor(name), node.admin()] {
            let answer = client.get(&path);
            assert!(!answer.text().contains(QUUXLY), "{path} tells {}", answer.text());
            let full = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!full.contains(QUUXLY), "{path} tells it");
        }
    }
}

/// Two instances: bob follows alice, and copies what she writes.
struct Story {
    a: Node,
    b: Node,
    note: Published,
    update: Published,
    copy: Published,
}

const ONCE: [(&str, &str); 1] = [("idempotency-key", "the only one")];

fn create() -> Value {
    json!({ "type": "Create", "object": { "type": "Note", "content": FIRST, "summary": FIRST } })
}

/// What is stored can be looked for in the files.
fn uncompressed() -> Spec {
    let mut spec = Spec::default();
    spec.args.extend(["--store-compression".into(), "false".into()]);
    spec
}

fn story() -> Story {
    let (a, b) = (uncompressed().start(), uncompressed().start());
    for name in ["alice", "carol"] {
        a.create(name);
    }
    b.create("bob");
    b.follow("bob", &a.actor("alice"));
    a.follow("carol", &a.actor("alice"));
    let posted = a.as_actor("alice").post_with("/activity", &create(), &ONCE);
    let note = Published::of(&posted.expect(201, "the Note").json());
    let update = json!({
        "type": "Update", "object": { "id": note.object(), "content": SECOND },
    });
    let update = a.publish("alice", &update);
    b.receives("bob", &note.id);
    b.receives("bob", &update.id);
    b.publish("bob", &json!({ "type": "Announce", "object": note.cid }));
    let copy = json!({
        "type": "Announce", "to": [PUBLIC, a.actor("alice")],
        "object": {
            "id": note.object(), "type": "Note", "content": COPY,
            "attributedTo": a.actor("alice"),
        },
    });
    let copy = b.publish("bob", &copy);
    a.receives("alice", &copy.id);
    let reply = json!({
        "type": "Create", "to": [PUBLIC, a.actor("alice")],
        "object": { "type": "Note", "content": "I beg to differ", "inReplyTo": note.object() },
    });
    let reply = b.publish("bob", &reply);
    a.receives("alice", &reply.id);
    Story { a, b, note, update, copy }
}

#[test]
fn an_erased_note_is_gone_and_all_else_holds() {
    let Story { mut a, mut b, note, update, copy } = story();
    let kept = tempfile::tempdir().expect("a directory");
    let kept = kept.path().join("alice.checkpoint");
    log_grew(&a, "alice", &kept);
    let object = note.object().to_owned();
    let stated = a.client().get(&note.id).expect(200, "the Create").json();
    let salt = stated["salt"].as_str().expect("a salt").to_owned();

    let ask = |client: &crate::support::Client, what: &str| {
        client.post("/admin/erase", &json!({ "object": what }))
    };
    ask(&a.as_actor("alice"), &object).refused(403, "insufficient-scope", "without admin");
    let refused = ask(&a.admin(), &object);
    let problem = refused.refused(409, "not-deleted", "before it is deleted");
    assert_eq!(problem["object"], object.as_str());
    let none = format!("{}/objects/00000000000000000000000000000000", a.base);
    ask(&a.admin(), &none).refused(404, "not-found", "what was never here");
    let cid =
        a.outbox("alice")[0]["id"].as_str().expect("an id").rsplit('/').next().map(str::to_owned);
    let refused = ask(&a.admin(), &cid.expect("a CID"));
    refused.refused(400, "invalid-parameter", "the CID of what makes an actor");

    let deleted = a.publish("alice", &json!({ "type": "Delete", "object": object }));
    b.receives("bob", &deleted.id);
    entombed(&b, &object);
    let at = a.head();
    let erased = erase(&a, &note.cid);
    assert_eq!(erased["object"], object.as_str());
    let mut cids = vec![note.cid.as_str(), &update.cid, &copy.cid];
    let mut gone: Vec<&str> =
        erased["erased"].as_array().expect("CIDs").iter().filter_map(Value::as_str).collect();
    cids.sort_unstable();
    gone.sort_unstable();
    assert_eq!(gone, cids, "both versions, and bob's copy that alice received");
    assert_eq!(erase(&a, &object)["erased"], json!([]), "nothing is left to erase");

    rebuilt(&a);
    tells_nothing(&a, "alice", &cids);
    tells_nothing(&a, "carol", &cids);
    let past = a.admin().get(&format!("/projections/objects?at={at}&limit=1000"));
    assert!(!past.expect(200, "past state").text().contains(QUUXLY));
    let problem = a.client().get(&note.id).refused(410, "erased", "the Create");
    assert_eq!((&problem["cid"], &problem["object"]), (&json!(note.cid), &json!(object)));
    let tombstone = a.client().get(&object).expect(410, "the object").json();
    assert_eq!(
        (&tombstone["type"], &tombstone["formerType"]),
        (&json!("Tombstone"), &json!("Note"))
    );
    let page = a.client().get("/actors/alice/outbox?since=&limit=100").json();
    assert_eq!(
        page["withheld"],
        json!([[0, 1, update.seq]]),
        "the two Accepts are not for everyone, both versions of the Note are gone"
    );
    assert!(items(&page).iter().any(|one| one["id"] == deleted.id), "the Delete stays");
    let inbox = a.inbox("carol");
    let left = inbox.iter().find(|one| one["id"] == note.id).expect("a place in the inbox");
    assert_eq!(
        (&left["object"]["type"], &left["object"]["id"]),
        (&json!("Tombstone"), &json!(object))
    );
    assert_eq!((left.get("salt"), left.get("proof")), (None, None), "nothing vouches for a guess");
    let again = a.as_actor("alice").post_with("/activity", &create(), &ONCE);
    assert_eq!(again.expect(200, "the request is known").json()["cid"], note.cid.as_str());
    let like = json!({ "type": "Endorse", "object": note.cid, "kind": "like" });
    let refused = a.as_actor("carol").post("/activity", &like);
    refused.refused(410, "erased", "it cannot be spoken of by its CID any more");
    log_grew(&a, "alice", &kept);

    // The other instance holds it until it is erased there as well.
    let held = b.client().get(&format!("/activities/{}", note.cid)).expect(200, "bob's copy");
    assert!(held.text().contains(FIRST));
    let erased = erase(&b, &object);
    assert_eq!(erased["erased"].as_array().map(Vec::len), Some(3), "{erased}");
    rebuilt(&b);
    tells_nothing(&b, "bob", &cids);
    b.client().get(&format!("/activities/{}", note.cid)).refused(410, "erased", "over there");
    entombed(&b, &object);

    for node in [&mut a, &mut b] {
        node.restart();
        rebuilt(node);
    }
    tells_nothing(&a, "alice", &cids);
    tells_nothing(&b, "bob", &cids);
    log_grew(&a, "alice", &kept);

    // Not a byte is left in the files after they were written anew.
    for node in [&mut a, &mut b] {
        let data = node.data().to_owned();
        let in_use = fedsx(&["compact", "--data", data.to_str().expect("a path")]);
        assert_eq!(in_use.code, Some(2), "{}", in_use.all());
        node.stop();
        compacted(&data, &[QUUXLY, &salt]);
        node.restart();
        rebuilt(node);
        assert!(!holds(&data, QUUXLY.as_bytes()), "nor after the next start");
    }
    tells_nothing(&a, "alice", &cids);
    tells_nothing(&b, "bob", &cids);
    let again = a.as_actor("alice").post_with("/activity", &create(), &ONCE);
    assert_eq!(again.expect(200, "the request is still known").json()["cid"], note.cid.as_str());
    log_grew(&a, "alice", &kept);
    let base = a.base.clone();
    archived(a.into_data().path(), &base);
    let data = b.into_data();
    let ended = verify(data.path());
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.stdout.contains("3 erased"), "{}", ended.stdout);
}

/// Whether these bytes stand in any file below a directory.
fn holds(directory: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(directory).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        memchr::memmem::find(&bytes, needle).is_some()
    })
}

#[track_caller]
fn compacted(data: &Path, gone: &[&str]) {
    let directory = data.to_str().expect("a path");
    let ended = succeeds(&["compact", "--data", directory, "--json"]);
    let told: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert!(told["rows"].as_u64() > Some(0) && told["projections"].as_u64() > Some(5), "{told}");
    for needle in gone {
        assert!(!holds(data, needle.as_bytes()), "{needle} is left in the files");
    }
    let ended = verify(data);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.stdout.contains("3 erased"), "{}", ended.stdout);
}

/// An actor with erased statements leaves and comes back.
fn archived(data: &Path, base: &str) {
    let kept = tempfile::tempdir().expect("a directory");
    let (file, fresh) = (kept.path().join("alice.car"), kept.path().join("fresh"));
    let text = |path: &Path| path.to_str().expect("a path").to_owned();
    let (data, file, fresh) = (text(data), text(&file), text(&fresh));
    succeeds(&["export", "--data", &data, "--actor", "alice", "--out", &file, "--with-inbox"]);
    let ended = succeeds(&["verify", &file]);
    assert!(ended.stdout.contains("2 erased"), "{}", ended.stdout);
    let ended = succeeds(&["import", "--data", &fresh, &file]);
    assert!(ended.stdout.contains("a stub was appended"), "{base}: {}", ended.stdout);
    let ended = verify(Path::new(&fresh));
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.stdout.contains("2 erased"), "{}", ended.stdout);
}

#[test]
fn a_delete_can_ask_for_it() {
    let mut a = Spec::default();
    let b = {
        let mut spec = Spec::default();
        spec.args.push("--erase-on-delete".into());
        spec.start()
    };
    for name in ["--requests-per-second", "--actor-requests-per-second"] {
        a.args.extend([name.into(), "0".into()]);
    }
    let a = a.start();
    a.create("alice");
    b.create("bob");
    b.follow("bob", &a.actor("alice"));
    let (kept, gone) = (a.note("alice", "quuxly kept"), a.note("alice", "quuxly gone"));
    b.receives("bob", &gone.id);
    let delete = |note: &Published, more: Value| {
        let mut request = json!({ "type": "Delete", "object": note.object() });
        request["erase"] = more;
        request
    };
    let refused = a.as_actor("alice").post("/activity", &delete(&gone, json!("yes")));
    refused.refused(422, "invalid-activity", "a wish that is none");
    let plain = a.publish("alice", &delete(&kept, json!(false)));
    let wish = a.publish("alice", &delete(&gone, json!(true)));
    let stated = a.client().get(&wish.id).expect(200, "the Delete").json();
    assert_eq!(stated["erase"], true, "peers are told");
    eventually(PATIENCE, "it is erased", || (a.client().get(&gone.id).status == 410).then_some(()));
    assert_eq!(a.client().get(&kept.id).status, 200, "who did not ask keeps it");
    let stated = a.client().get(&plain.id).expect(200, "the other Delete").json();
    assert_eq!(stated.get("erase"), None);
    // The other instance erases whatever is deleted.
    for note in [&kept, &gone] {
        eventually(PATIENCE, "it is erased at bob's", || {
            let answer = b.client().get(&format!("/activities/{}", note.cid));
            (answer.status == 410).then_some(())
        });
    }
    // A copy that comes late is not taken in.
    rebuilt(&b);
    for node in [a, b] {
        let ended = verify(node.into_data().path());
        assert_eq!(ended.code, Some(0), "{}", ended.all());
    }
}
