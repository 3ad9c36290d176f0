//! Records that were set aside.

use serde_json::json;

use super::{digest, projection};
use crate::support::Client;
use crate::support::node::{Node, verify};

#[test]
fn what_cannot_be_digested_is_decided_about() {
    let mut node = Node::start();
    node.create("alice");
    // The schema takes an object without an id; what announces it says nothing about anything.
    let odd = json!({ "type": "Announce", "object": { "type": "Note", "content": "no id" } });
    let (first, second) = (node.publish("alice", &odd), node.publish("alice", &odd));
    let after = node.publish("alice", &json!({ "type": "Announce", "object": first.id }));
    let items = node.projection("announces", &format!("?min_seq={}", after.global_seq));
    assert_eq!(items.len(), 2, "the projection goes on: {items:?}");
    let waiting = |node: &Node| {
        let listing = node.client().get("/projections").expect(200, "the projections").json();
        let all = listing["projections"].as_array().expect("projections").clone();
        let one = all.into_iter().find(|one| one["name"] == "announces").expect("announces");
        one["set_aside"].clone()
    };
    assert_eq!(waiting(&node), 2);
    let admin = node.admin();
    let list = |admin: &Client| {
        let path = "/admin/projections/announces/set-aside";
        admin.get(path).expect(200, "set aside").json()["items"].clone()
    };
    let items = list(&admin);
    assert_eq!(items[0]["global_seq"], first.global_seq);
    assert_eq!((&items[0]["status"], &items[0]["cid"]), (&json!("waiting"), &json!(first.cid)));
    assert!(!items[0]["reason"].as_str().expect("a reason").is_empty());

    let place = format!("/admin/projections/announces/set-aside/{}", first.global_seq);
    let wish = |decision: &str| json!({ "decision": decision, "why": "it names nothing" });
    for (case, client, path, body, status, slug) in [
        ("no token", node.client().clone(), &place, wish("skip"), 401, "invalid-token"),
        ("no scope", node.as_actor("alice"), &place, wish("skip"), 403, "insufficient-scope"),
        ("no decision", admin.clone(), &place, wish("perhaps"), 400, "invalid-parameter"),
        (
            "too much",
            admin.clone(),
            &place,
            json!({ "decision": "skip", "why": "x".repeat(501) }),
            400,
            "invalid-parameter",
        ),
        (
            "another record",
            admin.clone(),
            &place.replace(&first.global_seq.to_string(), "1"),
            wish("skip"),
            404,
            "not-found",
        ),
        (
            "another projection",
            admin.clone(),
            &place.replace("announces", "none"),
            wish("skip"),
            404,
            "not-found",
        ),
    ] {
        client.post(path, &body).refused(status, slug, case);
    }
    let forged = json!({
        "type": "DecideSetAside",
        "object": { "type": "SetAsideRecord", "projection": "announces", "global_seq": first.global_seq, "cid": first.cid },
        "decision": "skip",
    });
    let refused = node.as_actor("alice").post("/activity", &forged);
    refused.refused(422, "schema-violation", "only the instance decides");
    assert_eq!(waiting(&node), 2, "nothing of that decided anything");

    // A retry fails as the first time did, and that is noted.
    let retried = admin.post(&place, &wish("retry")).expect(201, "a retry").json();
    assert_eq!(
        (&retried["item"]["status"], &retried["item"]["failed_retries"]),
        (&json!("waiting"), &json!(1))
    );
    let skipped = admin.post(&place, &wish("skip")).expect(201, "a skip").json();
    let item = &skipped["item"];
    assert_eq!(
        (&item["status"], &item["decided"]["why"]),
        (&json!("skipped"), &json!("it names nothing"))
    );
    assert_eq!(
        (&item["decided"]["cid"], &item["decided"]["global_seq"]),
        (&skipped["cid"], &skipped["global_seq"])
    );
    assert_eq!(waiting(&node), 1);
    // The decision is an activity of the instance actor, for nobody else to read.
    let id = skipped["id"].as_str().expect("an id");
    assert!(id.starts_with(&node.base));
    assert_eq!(node.client().get(id).status, 404);
    let outbox = node.client().get("/actors/instance/outbox?since=&limit=100").text();
    assert!(!outbox.contains("it names nothing"), "{outbox}");

    // The same by the command line.
    let seq = second.global_seq.to_string();
    let (code, text) = projection(&node, &["set-aside", "announces"]);
    assert!(code == Some(0) && text.contains(&seq) && text.contains("1 wait"), "{text}");
    let (code, text) = projection(&node, &["set-aside", "announces", &seq, "--retry"]);
    assert!(code == Some(1) && text.contains("waiting"), "{text}");
    let (code, text) =
        projection(&node, &["set-aside", "announces", &seq, "--skip", "--why", "neither"]);
    assert!(code == Some(0) && text.contains("skipped"), "{text}");
    let (code, text) = projection(&node, &["set-aside", "announces", "1", "--skip"]);
    assert!(code == Some(2) && text.contains("404"), "{text}");
    let (code, text) = projection(&node, &["set-aside", "announces", "--skip"]);
    assert_eq!(code, Some(2), "{text}");
    assert_eq!(waiting(&node), 0);

    let (before, digest) = (list(&admin), digest(&node, "announces"));
    node.restart();
    assert_eq!(list(&node.admin()), before, "decisions survive a restart");
    assert_eq!(self::digest(&node, "announces"), digest);
    let (code, text) = projection(&node, &["rebuild", "announces"]);
    assert!(code == Some(0) && text.contains("the same as before"), "{text}");
    assert_eq!(list(&node.admin()), before, "and are part of a rebuild");
    assert_eq!(self::digest(&node, "announces"), digest);
    node.stop();
    let checked = verify(node.data());
    assert_eq!(checked.code, Some(0), "{}", checked.all());
}
