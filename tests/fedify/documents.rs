//! What is fetched: actors, objects, collections, accounts, and whether all of it survives being
//! read as JSON-LD.

use serde_json::{Value, json};

use super::{RFC_9421, start};
use crate::support::matrix::Shows;
use crate::support::node::Node;
use crate::support::program::Program;
use crate::support::verbs::ids;
use crate::support::{PATIENCE, PUBLIC, eventually};

#[test]
fn actors_and_objects_are_read() {
    let Some(fedify) = start(RFC_9421) else { return };
    let mut shows = Shows::of("F12", "Fedify");
    let node = Node::start();
    node.create("alice");
    let (alice, ada) = (node.actor("alice"), fedify.actor("ada"));
    let look = |url: &str| fedify.tell("/lookup", &json!({ "as": "ada", "url": url }));

    let found = look(&alice);
    assert_eq!(found["type"], "Person", "{found}");
    assert_eq!(found["found"]["preferredUsername"], "alice");
    assert_eq!(found["key"], true, "the RSA key: {found}");
    assert_eq!(found["found"]["assertionMethod"][0]["type"], "Multikey", "{found}");
    shows.out("actor document");
    let note = node.note("alice", "<p>to be read</p>");
    let found = look(note.object());
    assert_eq!(found["type"], "Note", "{found}");
    assert_eq!(found["found"]["content"], "<p>to be read</p>", "{found}");
    let found = look(&note.id);
    assert_eq!(found["type"], "Create", "{found}");
    shows.out("object by its id");

    // Fedify asks accounts by https only; the actor's URL it asks as it is.
    let jrd = &fedify.tell("/webfinger", &json!({ "resource": alice }))["jrd"];
    let links = jrd["links"].as_array().expect("links");
    assert!(
        links.iter().any(|link| link["rel"] == "self" && link["href"] == alice.as_str()),
        "{jrd}"
    );
    shows.out("WebFinger by URL");
    let info = node.client().get("/nodeinfo/2.1").expect(200, "NodeInfo").json();
    let software = &fedify.tell("/nodeinfo", &json!({ "document": info }))["software"];
    assert_eq!(software["name"], "fedsx", "{info}");
    shows.out("NodeInfo");

    let host = fedify.base.trim_start_matches("http://");
    let account = format!("/.well-known/webfinger?resource=acct:ada@{host}");
    let jrd = node.as_actor("alice").get(&account).expect(200, "an account there").json();
    assert!(jrd.to_string().contains(&ada), "{jrd}");
    shows.back("WebFinger by account");
    node.follow("alice", &ada);
    let known =
        eventually(PATIENCE, "the actor is known", || super::row(&node, "peer-actors", &[&ada]));
    assert!(known.to_string().contains("ada"), "{known}");
    shows.back("actor document");
}

/// Expansion that throws where a term stands in no context; gives what would be lost.
fn lost(fedify: &Program, document: &Value) -> Option<Value> {
    let answer = fedify.tell("/expand", &json!({ "document": document }));
    answer.get("lost").cloned()
}

/// Nothing that an instance serves is lost on a reader that takes it as JSON-LD.
#[test]
fn nothing_is_lost_by_expansion() {
    let Some(fedify) = start(RFC_9421) else { return };
    let mut shows = Shows::of("F13", "Fedify");
    let node = Node::start();
    node.create("alice");
    let sample = json!({ "@context": "https://www.w3.org/ns/activitystreams", "nowhere": 1 });
    assert!(lost(&fedify, &sample).is_some(), "the check sees what is lost");
    let note = node.publish(
        "alice",
        &json!({ "type": "Create", "object": {
        "type": "Note", "content": "<p>hello</p>", "summary": "a warning", "sensitive": true,
        "tag": [{ "type": "Hashtag", "name": "#fish", "href": "https://example.org/fish" }],
        "attachment": [{
            "type": "Image", "url": "https://example.org/fish.png", "mediaType": "image/png",
            "name": "a fish",
        }],
    } }),
    );
    let object = json!(note.object());
    let like = node.publish("alice", &json!({ "type": "Like", "object": object }));
    node.publish("alice", &json!({ "type": "Undo", "object": like.id }));
    node.publish("alice", &json!({ "type": "Announce", "object": object }));
    node.publish(
        "alice",
        &json!({ "type": "Update", "object": { "id": object, "content": "new" } }),
    );
    let rotation = json!({
        "type": "Update", "object": "alice",
        "patch": { "add_publicKey": { "generate": true }, "supersede": {} },
    });
    node.publish("alice", &rotation);
    let backfill = json!({ "mode": "last-N", "limit": 2 });
    let follow = json!({ "type": "Follow", "object": fedify.actor("ada"), "backfill": backfill });
    node.publish("alice", &follow);

    let mut failed = Vec::new();
    for activity in super::own_outbox(&node, "alice") {
        if let Some(lost) = lost(&fedify, &activity) {
            failed.push(format!("{}: {lost}", activity["type"]));
        }
    }
    for path in [
        "/actors/alice",
        "/actors/alice/outbox",
        "/actors/alice/outbox?page=true",
        "/actors/alice/outbox?since=&limit=3",
        "/actors/alice/followers",
        "/actors/alice/followers?page=true",
        "/actors/alice/following?page=true",
        "/actors/alice/keys",
        "/actors/instance",
        note.object(),
        &note.id,
    ] {
        let document = node.client().get(path).expect(200, path).json();
        if let Some(lost) = lost(&fedify, &document) {
            failed.push(format!("{path}: {lost}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    shows.out("JSON-LD expansion");
}

#[test]
fn collections_are_read() {
    let Some(fedify) = start(RFC_9421) else { return };
    let mut shows = Shows::of("F14", "Fedify");
    let node = Node::start();
    node.create("alice");
    let (alice, ada) = (node.actor("alice"), fedify.actor("ada"));
    for name in ["ada", "bert"] {
        let follow = fedify.activity(name, "Follow", &json!(alice), &[]);
        fedify.send(name, &[&alice], false, &follow);
        node.lists("alice", "followers", &fedify.actor(name));
    }
    let traverse = |url: String| fedify.tell("/traverse", &json!({ "as": "ada", "url": url }));
    let found = traverse(format!("{alice}/followers"));
    assert_eq!(found["total"], 2, "{found}");
    let mut listed = ids(&found["items"]);
    listed.sort();
    assert_eq!(listed, [ada.clone(), fedify.actor("bert")], "{found}");
    shows.out("followers");

    // More than one page of the outbox.
    let notes: Vec<_> = (0..25).map(|i| node.note("alice", &format!("note {i}"))).collect();
    let found = traverse(format!("{alice}/outbox"));
    let listed = ids(&found["items"]);
    let mut wanted: Vec<_> = notes.iter().map(|note| note.id.clone()).collect();
    wanted.reverse();
    let seen: Vec<_> = listed.iter().filter(|id| wanted.contains(id)).cloned().collect();
    assert_eq!(seen, wanted, "each once, newest first, over all pages");
    shows.out("outbox");

    // And Fedify's pages of three.
    let creates: Vec<_> = (0..7)
        .map(|minute| {
            let published = format!("2026-11-01T10:0{minute}:00Z");
            let note = fedify.note("ada", &json!({ "published": published }));
            let mut create = fedify.activity("ada", "Create", &note, &[PUBLIC]);
            create["published"] = json!(published);
            create
        })
        .collect();
    let mut newest_first = creates.clone();
    newest_first.reverse();
    fedify.tell("/outbox", &json!({ "as": "ada", "activities": newest_first }));
    let history = json!({ "mode": "last-N", "limit": 5 });
    let follow = json!({ "type": "Follow", "object": ada, "backfill": history });
    node.publish("alice", &follow);
    let wanted = ids(&json!(&creates[2..]));
    let arrived = eventually(PATIENCE, "five of seven", || {
        let mut held = ids(&json!(node.inbox("alice")));
        held.reverse();
        held.retain(|id| creates.iter().any(|create| create["id"] == id.as_str()));
        (held.len() >= 5).then_some(held)
    });
    assert_eq!(arrived, wanted, "the newest five, oldest first");
    shows.back("outbox");
}
