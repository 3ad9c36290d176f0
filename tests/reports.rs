//! Reports (`Flag`): both directions, and to nobody but those who moderate.

use serde_json::{Value, json};

use crate::support::node::{Node, Spec};
use crate::support::{PATIENCE, PUBLIC, Peer, Sign, eventually, secret};

fn reports(node: &Node) -> Vec<Value> {
    let listed = node.admin().get("/admin/reports").expect(200, "the reports").json();
    listed["items"].as_array().expect("items").clone()
}

/// Nobody but who operates the instance is shown any of it.
fn is_kept_from(node: &Node, report: &str, names: &[&str]) {
    let word = "terrible";
    let path = report.strip_prefix(&node.base);
    let mut readers = vec![("anyone".to_owned(), node.client().clone())];
    readers.extend(names.iter().map(|name| ((*name).to_owned(), node.as_actor(name))));
    for (who, client) in readers {
        if let Some(path) = path {
            client.get(path).refused(404, "not-found", &who);
        }
        let mut pages = vec!["/projections/reports".to_owned(), "/projections/objects".to_owned()];
        for name in names {
            pages.push(format!("/actors/{name}/outbox?since=&limit=100"));
            pages.push(format!("/projections/feed?key={name}"));
            pages.push(format!("/actors/{name}/inbox?page=true&limit=100"));
        }
        for page in pages {
            let answer = client.get(&page);
            assert!(!answer.text_whole().contains(word), "{who} at {page}: {}", answer.text());
        }
        client.get("/admin/reports").refused(
            if who == "anyone" { 401 } else { 403 },
            if who == "anyone" { "invalid-token" } else { "insufficient-scope" },
            &who,
        );
    }
}

#[test]
fn a_report_from_elsewhere_is_for_those_who_moderate() {
    let node =
        Spec::default().token(&format!("instance={}:publish,read", secret("instance"))).start();
    let peer = Peer::start();
    let reporter = peer.actor("moderator");
    for name in ["alice", "bob"] {
        node.create(name);
    }
    let note = node.note("alice", "something");
    let alice = node.actor("alice");
    for (path, to) in [
        ("/actors/alice/inbox", vec![alice.as_str()]),
        ("/inbox", vec![]),
        // A hostile one, addressed to everyone.
        ("/inbox", vec![PUBLIC, alice.as_str()]),
    ] {
        let about = json!([alice, note.object()]);
        let more = json!({ "content": "terrible", "to": to });
        let flag = reporter.sealed(reporter.content("Flag", about, more));
        reporter.deliver(&node, path, &flag, Sign::Bare).expect(202, path);
        let id = flag["id"].as_str().expect("an id");
        let listed = eventually(PATIENCE, "the report is listed", || {
            reports(&node).into_iter().find(|report| report["id"] == id)
        });
        assert_eq!(listed["actor"], reporter.id);
        assert_eq!(listed["content"], "terrible");
        assert_eq!(listed["objects"], json!([alice, note.object()]));
        let cid = listed["cid"].as_str().expect("a CID");
        is_kept_from(&node, &format!("{}/activities/{cid}", node.base), &["alice", "bob"]);
    }
    let kept = node.inbox("instance");
    assert_eq!(kept.iter().filter(|one| one["type"] == "Flag").count(), 3, "{kept:?}");
    assert!(
        reporter.fetch(&node, "/projections/reports", "*/*").text_whole().contains("\"items\":[]")
    );

    let elsewhere = reporter.activity("Flag", json!([format!("{}/x", peer.base)]), &[&alice]);
    let answer = reporter.deliver(&node, "/actors/alice/inbox", &elsewhere, Sign::Bare);
    assert_eq!(answer.expect(202, "not about us").json()["outcome"], "ignored");
}

#[test]
fn a_report_of_ours_goes_to_the_instance_of_what_it_is_about() {
    let node = Node::start();
    let (peer, other) = (Peer::start(), Peer::start());
    let (mallory, bystander) = (peer.actor("mallory"), other.actor("bystander"));
    for name in ["alice", "bob"] {
        node.create(name);
    }
    bystander.follows(&node, "alice");
    let bad = mallory.note("spam", &[PUBLIC, &node.actor("alice")]);
    mallory.deliver(&node, "/actors/alice/inbox", &bad, Sign::Bare).expect(202, "a Note");
    let flag = node.publish(
        "alice",
        &json!({
            "type": "Flag",
            "object": [mallory.id, bad["object"]["id"]],
            "content": "terrible",
            "to": [PUBLIC, "bob", bystander.id],
        }),
    );
    let sent = peer.receives(&flag.id).body;
    assert_eq!(sent["object"], json!([mallory.id, bad["object"]["id"]]));
    assert_eq!(sent["content"], "terrible");
    assert!(sent.get("to").is_none() && sent.get("cc").is_none(), "it is for nobody else: {sent}");
    eventually(PATIENCE, "those who moderate here see it, too", || {
        reports(&node).iter().any(|report| report["id"] == flag.id).then_some(())
    });
    is_kept_from(&node, &flag.id, &["bob"]);
    node.as_actor("alice").get(&flag.id).expect(200, "her own report");
    let fetched = mallory.fetch(&node, flag.id.strip_prefix(&node.base).expect("ours"), "*/*");
    fetched.refused(404, "not-found", "who was reported");

    // Of what is reported here, nobody else is told.
    let note = node.note("bob", "hm");
    let here = node.publish(
        "alice",
        &json!({ "type": "Flag", "object": note.object(), "content": "terrible" }),
    );
    eventually(PATIENCE, "the report of a Note here", || {
        reports(&node).iter().any(|report| report["id"] == here.id).then_some(())
    });
    is_kept_from(&node, &here.id, &["bob"]);
    // A Note by its CID: its author is known.
    let by_cid = mallory.note("more spam", &[PUBLIC, &node.actor("alice")]);
    mallory.deliver(&node, "/actors/alice/inbox", &by_cid, Sign::Bare).expect(202, "a Note");
    let activity = fedsx_kernel::Activity::from_document(by_cid.clone()).expect("a Create");
    let third =
        node.publish("alice", &json!({ "type": "Flag", "object": activity.cid().to_string() }));
    let sent = peer.receives(&third.id).body;
    assert_eq!(sent["object"], by_cid["object"]["id"], "the CID became the Note's id");
    let refused =
        node.as_actor("alice").post("/activity", &json!({ "type": "Undo", "object": flag.id }));
    refused.refused(422, "invalid-activity", "a report stands");
    for empty in [json!({ "type": "Flag" }), json!({ "type": "Flag", "object": [] })] {
        node.as_actor("alice").post("/activity", &empty).refused(
            422,
            "invalid-activity",
            "nothing",
        );
    }
    assert!(other.posted().iter().all(|post| post.body["type"] != "Flag"), "a follower gets none");
    let seen = peer.posted();
    assert!(seen.iter().all(|post| post.body["id"] != here.id), "nor does another instance");
}
