//! Collections of objects and actors: replies, likes, shares, what is pinned and liked; reactions.

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::Node;
use crate::support::{Client, PATIENCE, PUBLIC, Peer, Sign, eventually};

/// `totalItems` of a collection and the items of its first page.
fn read(client: &Client, url: &str) -> (u64, Vec<String>) {
    let collection = client.get(url).expect(200, url).json();
    assert_eq!(collection["id"], url, "{collection}");
    let total = collection["totalItems"].as_u64().expect("totalItems");
    let items = match collection["orderedItems"].as_array() {
        Some(items) => items.clone(),
        None => {
            let first = collection["first"].as_str().expect("a first page");
            let page = client.get(first).expect(200, first).json();
            assert_eq!((&page["type"], &page["partOf"]), (&json!("CollectionPage"), &json!(url)));
            page["items"].as_array().expect("items").clone()
        }
    };
    let mut items: Vec<_> = items.iter().map(|id| id.as_str().expect("an id").to_owned()).collect();
    items.sort();
    (total, items)
}

/// Waits until a collection has these items for a reader, and as many as it says.
#[track_caller]
fn holds(client: &Client, url: &str, items: &[&str], case: &str) {
    let mut expected: Vec<_> = items.iter().map(|id| (*id).to_owned()).collect();
    expected.sort();
    let mut last = None;
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(PATIENCE, case, || {
            let found = read(client, url);
            let fits = found == (items.len() as u64, expected.clone());
            last = Some(found);
            fits.then_some(())
        });
    }));
    assert!(found.is_ok(), "{case}: {last:?}, not {expected:?}");
}

#[test]
fn objects_name_what_was_said_of_them() {
    let node = Node::start();
    let peer = Peer::start();
    let dan = peer.actor("dan");
    for name in ["alice", "bob", "carol"] {
        node.create(name);
    }
    let note = node.note("alice", "say something");
    let object = node.client().get(note.object()).expect(200, "the Note").json();
    let named = |what: &str| object[what].as_str().expect("an address").to_owned();
    let (likes, shares, replies) = (named("likes"), named("shares"), named("replies"));
    let (anyone, alice, bob, carol) =
        (node.client(), node.as_actor("alice"), node.as_actor("bob"), node.as_actor("carol"));
    holds(anyone, &likes, &[], "nothing yet");

    // Likes: for everyone, and for the author alone.
    let public = json!({ "type": "Like", "object": note.object(), "to": [PUBLIC] });
    let public = node.publish("carol", &public);
    let quiet = json!({ "type": "Like", "object": note.object(), "to": ["alice"] });
    let quiet = node.publish("bob", &quiet);
    holds(anyone, &likes, &[&public.id], "a quiet Like is not told");
    holds(&carol, &likes, &[&public.id], "to another actor neither");
    holds(&alice, &likes, &[&public.id, &quiet.id], "to whom it was sent");
    holds(&bob, &likes, &[&public.id, &quiet.id], "to who said it");
    node.publish("carol", &json!({ "type": "Undo", "object": public.id }));
    holds(anyone, &likes, &[], "an Undo takes it back");

    // Shares, from elsewhere.
    let announce = dan.activity("Announce", json!(note.object()), &[PUBLIC, &node.actor("alice")]);
    dan.deliver(&node, "/inbox", &announce, Sign::Bare).expect(202, "an Announce");
    holds(anyone, &shares, &[announce["id"].as_str().expect("an id")], "a share");

    // Replies: from here by CID, from elsewhere by address, and in private.
    let here = json!({ "type": "Note", "content": "here", "inReplyTo": note.cid });
    let here = node.publish("bob", &here);
    let stated = node.client().get(&here.id).expect(200, "the reply").json();
    assert_eq!(stated["object"]["inReplyTo"], note.object(), "a CID becomes an address");
    assert!(
        stated["cc"].to_string().contains(&node.actor("alice")),
        "its author is told: {stated}"
    );
    let mut answer = dan.note_object("there");
    answer["inReplyTo"] = json!(note.object());
    let there = answer["id"].as_str().expect("an id").to_owned();
    let create = dan.activity("Create", answer, &[PUBLIC, &node.actor("alice")]);
    dan.deliver(&node, "/inbox", &create, Sign::Bare).expect(202, "a reply");
    let private = json!({ "type": "Create", "to": ["alice"],
        "object": { "type": "Note", "content": "between us", "inReplyTo": note.object() } });
    let private = node.publish("bob", &private);
    holds(anyone, &replies, &[here.object(), &there], "what everyone may read");
    holds(&carol, &replies, &[here.object(), &there], "and carol");
    holds(&alice, &replies, &[here.object(), &there, private.object()], "alice has all");
    let projection = carol.get(&format!("/projections/replies?key={}", encoded(note.object())));
    assert!(!projection.text_whole().contains(private.object()), "{}", projection.text());
    let gone = dan.activity("Delete", json!({ "id": there, "type": "Tombstone" }), &[PUBLIC]);
    dan.deliver(&node, "/actors/alice/inbox", &gone, Sign::Bare).expect(202, "a Delete");
    holds(anyone, &replies, &[here.object()], "a reply that was deleted");

    // Of who deletes itself nothing counts.
    let dan_likes = dan.activity("Like", json!(note.object()), &[PUBLIC]);
    dan.deliver(&node, "/inbox", &dan_likes, Sign::Bare).expect(202, "a Like");
    holds(anyone, &likes, &[dan_likes["id"].as_str().expect("an id")], "a Like from elsewhere");
    let farewell = dan.activity("Delete", json!(dan.id), &[PUBLIC]);
    dan.deliver(&node, "/inbox", &farewell, Sign::Bare).expect(202, "its Delete");
    holds(anyone, &likes, &[], "its Like");
    holds(anyone, &shares, &[], "its share");

    // What is not for everyone has collections for its readers alone.
    let secret =
        json!({ "type": "Create", "to": ["bob"], "object": { "type": "Note", "content": "psst" } });
    let secret = node.publish("alice", &secret);
    let url = format!("{}/likes", secret.object());
    holds(&bob, &url, &[], "a reader");
    carol.get(&url).refused(404, "not-found", "not a reader");
    anyone.get(&format!("{}/nothing", note.object())).refused(
        404,
        "not-found",
        "no such collection",
    );

    node.publish("alice", &json!({ "type": "Delete", "object": note.object() }));
    for url in [&likes, &shares, &replies] {
        let answer = anyone.get(url).expect(410, "of what was deleted").json();
        assert_eq!(answer["type"], "Tombstone");
    }
}

#[test]
fn reactions_are_counted_by_emoji() {
    let node = Node::start();
    let peer = Peer::start();
    let (dan, eve) = (peer.actor("dan"), peer.actor("eve"));
    node.create("alice");
    let note = node.note("alice", "react");
    let alice = node.actor("alice");
    let react = |by: &crate::support::peer::Foreign, kind: &str, emoji: &str, to: &[&str]| {
        let more = json!({ "content": emoji, "to": to });
        let said = by.sealed(by.content(kind, json!(note.object()), more));
        by.deliver(&node, "/actors/alice/inbox", &said, Sign::Bare).expect(202, emoji);
        said
    };
    let rows = |client: &Client| {
        let path = format!("/projections/reactions?key={}", encoded(note.object()));
        let page = client.get(&path).expect(200, "reactions").json();
        let mut counts = serde_json::Map::new();
        for row in page["items"].as_array().expect("items") {
            if let [_, emoji] = row["key"].as_array().expect("a key").as_slice() {
                counts.insert(
                    emoji.as_str().expect("an emoji").into(),
                    row["value"]["count"].clone(),
                );
            }
        }
        Value::Object(counts)
    };
    react(&dan, "EmojiReact", "🔥", &[PUBLIC, &alice]);
    let like = react(&eve, "Like", "🔥", &[PUBLIC, &alice]);
    react(&eve, "EmojiReact", ":blobcat:", &[&alice]);
    eventually(PATIENCE, "two of one emoji, and nothing private", || {
        (rows(node.client()) == json!({ "🔥": 2 })).then_some(())
    });
    let undo = eve.activity("Undo", like, &[PUBLIC, &alice]);
    eve.deliver(&node, "/actors/alice/inbox", &undo, Sign::Bare).expect(202, "an Undo");
    eventually(PATIENCE, "one is left", || {
        (rows(node.client()) == json!({ "🔥": 1 })).then_some(())
    });
    let own =
        json!({ "type": "EmojiReact", "object": note.object(), "content": "🦀", "to": [PUBLIC] });
    node.publish("alice", &own);
    eventually(PATIENCE, "our own", || (rows(node.client())["🦀"] == 1).then_some(()));
}

#[test]
fn actors_pin_and_like() {
    let node = Node::start();
    let peer = Peer::start();
    let dan = peer.actor("dan");
    for name in ["alice", "bob"] {
        node.create(name);
    }
    let document = node.client().get("/actors/alice").json();
    let featured = document["featured"].as_str().expect("featured").to_owned();
    let liked = document["liked"].as_str().expect("liked").to_owned();
    let anyone = node.client();
    let (first, second) = (node.note("alice", "first"), node.note("alice", "second"));
    let secret =
        json!({ "type": "Create", "to": ["bob"], "object": { "type": "Note", "content": "psst" } });
    let secret = node.publish("alice", &secret);
    for (object, target) in [
        (first.object(), "featured"),
        (second.object(), featured.as_str()),
        (secret.object(), "featured"),
    ] {
        let add = json!({ "type": "Add", "object": object, "target": target, "to": [PUBLIC] });
        let add = node.publish("alice", &add);
        let stated = anyone.get(&add.id).expect(200, "an Add").json();
        assert_eq!(stated["target"], featured, "other servers read the address");
    }
    holds(anyone, &featured, &[first.object(), second.object()], "what is for everyone");
    holds(
        &node.as_actor("bob"),
        &featured,
        &[first.object(), second.object(), secret.object()],
        "a reader",
    );
    let answer = anyone.get(&featured).json();
    assert_eq!(answer["type"], "OrderedCollection");
    assert_eq!(answer["orderedItems"][0], second.object(), "the newest pin first");
    let remove = json!({ "type": "Remove", "object": first.object(), "target": "featured" });
    node.publish("alice", &remove);
    holds(anyone, &featured, &[second.object()], "what was taken out");
    node.publish("alice", &json!({ "type": "Delete", "object": second.object() }));
    holds(anyone, &featured, &[], "what was deleted");
    let other = node.note("bob", "bob's");
    for (case, object, target) in [
        ("another's Note", other.object(), "featured"),
        ("another's collection", first.object(), &*format!("{}/featured", node.actor("bob"))),
        ("what was deleted", second.object(), "featured"),
    ] {
        let add = json!({ "type": "Add", "object": object, "target": target });
        node.as_actor("alice").post("/activity", &add).refused(403, "not-authorised", case);
    }

    let like =
        node.publish("alice", &json!({ "type": "Like", "object": other.object(), "to": [PUBLIC] }));
    holds(anyone, &liked, &[other.object()], "what she likes");
    node.publish("alice", &json!({ "type": "Undo", "object": like.id }));
    holds(anyone, &liked, &[], "and does not any more");
    let quiet = json!({ "type": "Like", "object": other.object(), "to": ["bob"] });
    node.publish("alice", &quiet);
    holds(&node.as_actor("alice"), &liked, &[other.object()], "her own view");
    holds(anyone, &liked, &[], "nobody else's");

    // Pins of others are known as well; nobody pins for somebody else.
    let more =
        json!({ "to": [PUBLIC, node.actor("alice")], "target": format!("{}/featured", dan.id) });
    let pin = dan.sealed(dan.content("Add", json!(format!("{}/notes/1", dan.base)), more));
    dan.deliver(&node, "/actors/alice/inbox", &pin, Sign::Bare).expect(202, "a pin elsewhere");
    let more = json!({ "to": [PUBLIC, node.actor("alice")], "target": featured });
    let forged = dan.sealed(dan.content("Add", json!(first.object()), more));
    dan.deliver(&node, "/actors/alice/inbox", &forged, Sign::Bare).expect(202, "kept");
    eventually(PATIENCE, "a row for the pin", || {
        let rows = node.projection("collections", &format!("?key={}", encoded(&dan.id)));
        rows.iter().any(|row| row["key"].as_array().is_some_and(|key| key.len() == 3)).then_some(())
    });
    node.settled_head();
    holds(anyone, &featured, &[], "a forged pin does nothing");
}

/// Objects of every type that other servers send are taken and kept as they are.
#[test]
fn objects_of_many_types_are_read() {
    let node = Node::start();
    let peer = Peer::start();
    let dan = peer.actor("dan");
    node.create("alice");
    for kind in
        ["Article", "Image", "Document", "Question", "Video", "Audio", "Page", "Event", "Gizmo"]
    {
        let mut object = dan.note_object("<p>x</p>");
        object["type"] = json!(kind);
        object["name"] = json!(format!("a {kind}"));
        object["toot:unknown"] = json!({ "nested": [1, 2.5, null, "x"] });
        if kind == "Question" {
            object["oneOf"] = json!([{ "type": "Note", "name": "yes", "replies": { "type": "Collection", "totalItems": 3 } }]);
            object["endTime"] = json!("2027-01-01T00:00:00Z");
        }
        let id = object["id"].as_str().expect("an id").to_owned();
        let create = dan.activity("Create", object.clone(), &[PUBLIC, &node.actor("alice")]);
        dan.deliver(&node, "/actors/alice/inbox", &create, Sign::Bare).expect(202, kind);
        let kept = node.receives("alice", create["id"].as_str().expect("an id"));
        assert_eq!(kept["object"], object, "{kind} is kept as it came");
        eventually(PATIENCE, &format!("{kind} in objects"), || {
            let rows = node.projection("objects", &format!("?key={}", encoded(&id)));
            rows.iter().any(|row| row["value"]["type"] == kind).then_some(())
        });
    }
    for kind in ["Group", "Service", "Application", "Organization"] {
        let other = peer.actor(&kind.to_lowercase());
        let mut document = other.document();
        document["type"] = json!(kind);
        peer.serve(&format!("/actors/{}", other.name), document);
        let note = other.note("hello", &[PUBLIC, &node.actor("alice")]);
        other.deliver(&node, "/actors/alice/inbox", &note, Sign::Bare).expect(202, kind);
        eventually(PATIENCE, &format!("the {kind} in actor-state"), || {
            let rows = node.projection("actor-state", &format!("?key={}", encoded(&other.id)));
            rows.iter().any(|row| row["value"]["type"] == kind).then_some(())
        });
    }
}
