//! Step 12: the thirteen steps of the proof point, on two instances.

use serde_json::json;

use crate::support::node::{Node, verify};
use crate::support::verbs::{proven, signer};
use crate::support::{PATIENCE, eventually};

#[test]
fn two_instances_federate() {
    // 0. Two instances, and a third one where a follower of alice lives.
    let (mut a, mut b, c) = (Node::start(), Node::start(), Node::start());
    // 1. alice@A, bob@B, carol@C.
    a.create("alice");
    b.create("bob");
    c.create("carol");
    let (alice, bob) = (a.actor("alice"), b.actor("bob"));
    // 2. alice finds bob by his account.
    let account = format!("acct:bob@{}", b.base.trim_start_matches("http://"));
    let path = format!("/.well-known/webfinger?resource={account}");
    let jrd = a.as_actor("alice").get(&path).expect(200, "step 2: webfinger").json();
    assert!(jrd["links"].to_string().contains(&bob), "step 2: the actor's URL: {jrd}");
    // 3. alice follows bob.
    a.publish("alice", &json!({ "type": "Follow", "object": bob }));
    // 4. It is pending, or was accepted already.
    let either = [a.pending("alice"), a.listed("alice", "following")].concat();
    assert!(either.contains(&bob), "step 4: pending or following: {either:?}");
    // 5. bob accepts by himself.
    a.lists("alice", "following", &bob);
    assert!(a.pending("alice").is_empty(), "step 5: nothing is pending");
    b.lists("bob", "followers", &alice);
    c.follow("carol", &alice);
    // 6. and 7. bob publishes a Note, which lands in alice's inbox.
    let note = b.note("bob", "hi");
    let got = a.receives("alice", &note.id);
    assert_eq!((&got["type"], &got["object"]["type"]), (&json!("Create"), &json!("Note")));
    // 8. alice's feed shows it.
    // An inbox shows an entry a moment before the head of the log is told.
    eventually(PATIENCE, "step 8: the Note in the feed", || {
        let feed = a.as_actor("alice").get("/projections/feed").expect(200, "step 8: the feed");
        feed.text().contains(&note.id).then_some(())
    });
    // 9. bob rotates his key.
    let patch = json!({ "add_publicKey": { "generate": true }, "supersede": {} });
    let rotated = b.publish("bob", &json!({ "type": "Update", "object": "bob", "patch": patch }));
    a.receives("alice", &rotated.id);
    let newer = b.note("bob", "by the new key");
    let newer = a.receives("alice", &newer.id);
    // 10. The older Note still verifies, by the older key.
    let keys = b.keys("bob");
    let kept = a.receives("alice", &note.id);
    assert!(proven(&kept, signer(&kept, &keys)), "step 10: the old Note by the old key");
    assert!(proven(&newer, signer(&newer, &keys)), "step 10: the new Note by the new key");
    assert_ne!(kept["proof"]["verificationMethod"], newer["proof"]["verificationMethod"]);
    // 11. alice announces bob's Note.
    let announce = a.publish("alice", &json!({ "type": "Announce", "object": note.cid }));
    // 12. It is in her outbox and reaches her follower.
    let outbox = a.outbox("alice");
    assert!(outbox.iter().any(|one| one["id"] == announce.id), "step 12: in the outbox");
    c.receives("carol", &announce.id);
    // 13. Everything survives a restart, and goes on.
    a.restart();
    b.restart();
    assert_eq!(a.listed("alice", "following"), [bob], "step 13: alice still follows");
    assert_eq!(b.listed("bob", "followers"), [alice], "step 13: bob is still followed");
    let last = b.note("bob", "after the restart");
    a.receives("alice", &last.id);
    for (name, node) in [("A", a), ("B", b), ("C", c)] {
        let ended = verify(node.into_data().path());
        assert_eq!(ended.code, Some(0), "fedsx verify on {name}: {}", ended.all());
    }
}
