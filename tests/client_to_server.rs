//! Client to server, by ActivityPub sections 3 and 6; plans/client_to_server.md says which part
//! shows which rule.

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::Node;
use crate::support::{ACTIVITY_JSON, Answer, Client, PATIENCE, PUBLIC, Peer, eventually};

const PROFILED: &str = "application/ld+json; profile=\"https://www.w3.org/ns/activitystreams\"";
const OUTBOX: &str = "/actors/alice/outbox";

fn node() -> Node {
    let node = Node::start();
    for name in ["alice", "bob"] {
        node.create(name);
    }
    node
}

/// Posts to the outbox; gives the activity as it stands at its Location.
fn post(client: &Client, request: &Value) -> Value {
    let answer = client.post_with(OUTBOX, request, &[("content-type", PROFILED)]);
    let answer = answer.expect(201, &request.to_string());
    let location = answer.header("location").to_owned();
    assert_eq!(answer.json()["id"], location.as_str(), "Location is the new id");
    client.get(&location).expect(200, "the new activity").json()
}

#[test]
fn the_outbox_takes_activities_and_bare_objects() {
    let node = node();
    let (alice, bob) = (node.as_actor("alice"), node.actor("bob"));
    let me = node.actor("alice");
    let bare = json!({
        "id": "https://elsewhere.example/mine", "type": "Note", "content": "bare",
        "to": [PUBLIC], "cc": ["bob"], "bto": ["carol"],
    });
    let create = post(&alice, &bare);
    assert_eq!((&create["type"], &create["actor"]), (&json!("Create"), &json!(me)), "6.2.1");
    assert_eq!(create["object"]["attributedTo"], me, "6.2: the actor is copied");
    assert_eq!((&create["to"], &create["cc"]), (&json!([PUBLIC]), &json!([bob])), "6.2.1");
    assert_eq!(create["object"]["to"], create["to"], "6.2: both name the same");
    assert!(
        !create["object"]["id"].as_str().expect("an id").contains("elsewhere"),
        "6: ids are ours"
    );
    assert!(!create.to_string().contains("carol"), "6: bto is taken out");

    let whole = json!({
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": "https://elsewhere.example/activity", "type": "Create", "to": [bob],
        "object": { "type": "Note", "content": "whole", "cc": [PUBLIC] },
    });
    let create = post(&alice, &whole);
    assert!(create["id"].as_str().expect("an id").starts_with(&node.base), "6: the id is replaced");
    assert_eq!(create["cc"], json!([PUBLIC]), "6.2: recipients of the object are the activity's");
    let foreign =
        json!({ "type": "Create", "actor": bob, "object": { "type": "Note", "content": "x" } });
    alice.post(OUTBOX, &foreign).refused(403, "not-authorised", "another's name");
    let credited = json!({ "type": "Note", "content": "x", "attributedTo": bob });
    alice.post(OUTBOX, &credited).refused(403, "not-authorised", "another's object");

    for (case, client, status, slug) in [
        ("no token", node.client().clone(), 401, "invalid-token"),
        ("another's token", node.as_actor("bob"), 403, "insufficient-scope"),
    ] {
        client.post(OUTBOX, &bare).refused(status, slug, case);
    }
    let text = alice.post_with(OUTBOX, &bare, &[("content-type", "text/plain")]);
    text.refused(415, "unsupported-media-type", "a text");
    for kind in [PROFILED, ACTIVITY_JSON, "application/json"] {
        alice.post_with(OUTBOX, &bare, &[("content-type", kind)]).expect(201, kind);
    }
}

#[test]
fn what_is_read_is_filtered_by_who_reads() {
    let node = node();
    let alice = node.as_actor("alice");
    let open = post(&alice, &json!({ "type": "Note", "content": "open", "to": [PUBLIC] }));
    let closed = post(&alice, &json!({ "type": "Note", "content": "closed", "to": ["bob"] }));
    let read = |client: &Client| {
        let page = client.get(&format!("{OUTBOX}?page=true")).expect(200, "a page").json();
        assert_eq!(page["type"], "OrderedCollectionPage");
        page["orderedItems"].to_string()
    };
    let id = |activity: &Value| activity["id"].as_str().expect("an id").to_owned();
    assert!(
        read(node.client()).contains(&id(&open)) && !read(node.client()).contains(&id(&closed))
    );
    assert!(read(&alice).contains(&id(&closed)), "5.1: the owner reads all");
    assert!(read(&node.as_actor("bob")).contains(&id(&closed)), "and who is addressed");
    let page = alice.get(&format!("{OUTBOX}?page=true")).json();
    assert_eq!(page["orderedItems"][0]["id"], closed["id"], "5: newest first");

    let inbox = "/actors/alice/inbox";
    let collection = alice.get(inbox).expect(200, "5.2: the owner's inbox").json();
    assert_eq!(collection["type"], "OrderedCollection");
    node.client().get(inbox).refused(401, "invalid-token", "5.2: nobody else's");
    node.as_actor("bob").get(inbox).refused(403, "insufficient-scope", "nor bob's");

    for (accept, kind) in
        [(PROFILED, ACTIVITY_JSON), (ACTIVITY_JSON, ACTIVITY_JSON), ("text/html", "text/html")]
    {
        let answer = node.client().get_as(open["object"]["id"].as_str().expect("an id"), accept);
        assert_eq!(answer.expect(200, accept).media_type(), kind, "3.2: {accept}");
    }
    node.client().get_as(&id(&open), "image/png").refused(406, "not-acceptable", "an image");
}

#[test]
fn verbs_have_their_side_effects() {
    let node = node();
    let alice = node.as_actor("alice");
    let note =
        post(&alice, &json!({ "type": "Note", "content": "one", "summary": "s", "to": [PUBLIC] }));
    let id = note["object"]["id"].as_str().expect("an id").to_owned();

    let change = json!({ "type": "Update", "object": { "id": id, "type": "Note", "content": "two", "summary": null } });
    let update = post(&alice, &change);
    assert_eq!(update["object"]["attributedTo"], node.actor("alice"), "6.3: sent whole");
    let object = node.client().get(&id).expect(200, "the Note").json();
    assert_eq!(
        (&object["content"], object.get("summary")),
        (&json!("two"), None),
        "6.3: partial, null removes"
    );
    assert_eq!(object["published"], note["object"]["published"], "the rest stays");
    node.as_actor("bob").post("/activity", &change).refused(
        403,
        "not-authorised",
        "another's Update",
    );

    let like = post(&alice, &json!({ "type": "Like", "object": id, "to": [PUBLIC] }));
    eventually(PATIENCE, "6.8: the liked collection", || {
        let page = node.client().get("/actors/alice/liked?page=true").expect(200, "liked").json();
        (page["items"] == json!([id])).then_some(())
    });
    post(&alice, &json!({ "type": "Undo", "object": like["id"] }));
    eventually(PATIENCE, "6.10: an Undo", || {
        let liked = node.client().get("/actors/alice/liked").expect(200, "liked").json();
        (liked["totalItems"] == 0).then_some(())
    });
    post(&alice, &json!({ "type": "Follow", "object": node.actor("bob") }));
    node.lists("alice", "following", &node.actor("bob"));
    let add = json!({ "type": "Add", "object": id, "target": "featured", "to": [PUBLIC] });
    post(&alice, &add);
    eventually(PATIENCE, "6.6: an Add", || {
        let featured = node.client().get("/actors/alice/featured").expect(200, "featured").json();
        (featured["orderedItems"] == json!([id])).then_some(())
    });
    let block = post(&alice, &json!({ "type": "Block", "object": node.actor("bob") }));
    assert!(
        node.inbox("bob").iter().all(|one| one["id"] != block["id"]),
        "6.9: a Block is not told"
    );

    let delete = post(&alice, &json!({ "type": "Delete", "object": id }));
    assert_eq!(delete["object"]["type"], "Tombstone", "6.4");
    let gone = node.client().get(&id).expect(410, "6.4").json();
    assert_eq!((&gone["type"], &gone["formerType"]), (&json!("Tombstone"), &json!("Note")));
    assert!(gone["deleted"].is_string());
}

/// Asks the proxy for an address.
fn proxied(client: &Client, url: &str) -> Answer {
    let form = format!("id={}", encoded(url));
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    client.send("POST", "/proxy", &headers, Some(form.into_bytes()))
}

#[test]
fn the_proxy_fetches_for_clients() {
    let node = node();
    let (peer, banned) = (Peer::start(), Peer::start());
    let alice = node.as_actor("alice");
    let endpoints = node.client().get("/actors/alice").json()["endpoints"].clone();
    assert_eq!(endpoints["proxyUrl"], format!("{}/proxy", node.base));
    assert!(endpoints.get("uploadMedia").is_none(), "nobody is sent to what is not there");

    let url = format!("{}/notes/1", peer.base);
    let note = json!({ "id": url, "type": "Note", "content": "x", "unknown": [1] });
    peer.serve("/notes/1", note.clone());
    peer.demand_signatures();
    let answer = proxied(&alice, &url).expect(200, "an object elsewhere");
    assert_eq!((answer.media_type(), answer.json()), (ACTIVITY_JSON, note), "as it is served");
    let signature = peer.fetched_with("/notes/1");
    let signed = format!("{:?}", signature);
    assert!(signed.contains("/actors/alice#"), "signed as the actor: {signed}");

    peer.serve("/notes/2", json!({ "id": url, "type": "Note" }));
    banned.serve("/notes/1", json!({ "id": format!("{}/notes/1", banned.base), "type": "Note" }));
    let block = json!({ "type": "Block", "object": banned.base });
    alice.post("/activity", &block).expect(201, "a Block of an origin");
    let blocked_actor = peer.actor("mallory");
    node.publish("alice", &json!({ "type": "Block", "object": blocked_actor.id }));
    for (case, url, status, slug) in [
        ("not there", format!("{}/notes/3", peer.base), 404, "not-found"),
        ("under another id", format!("{}/notes/2", peer.base), 502, "upstream-failed"),
        ("nobody listens", "http://127.0.0.1:9/x".to_owned(), 502, "upstream-failed"),
        ("no address", "acct:bob@example.org".to_owned(), 400, "invalid-parameter"),
        ("nothing", String::new(), 400, "invalid-parameter"),
        ("a file", "file:///etc/passwd".to_owned(), 400, "invalid-parameter"),
        ("whom alice blocks", blocked_actor.id.clone(), 403, "blocked"),
    ] {
        proxied(&alice, &url).refused(status, slug, case);
    }
    proxied(node.client(), &url).refused(401, "invalid-token", "without a token");
    let json = alice.post("/proxy", &json!({ "id": url }));
    json.refused(415, "unsupported-media-type", "a form is wanted");
    let here = proxied(&alice, &node.actor("bob"));
    assert_eq!((here.status, here.header("location")), (303, node.actor("bob").as_str()));

    alice.post("/media", &json!({})).refused(501, "not-implemented", "uploads");
    node.client().get("/problems/not-implemented").expect(200, "its page");
}
