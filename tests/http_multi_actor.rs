//! Step 4: every actor has its own addresses, and a token decides who publishes.

use fedsx_kernel::Cid;
use serde_json::json;

use crate::support::node::{Node, Spec};
use crate::support::verbs::{Published, ids, items, note, sealed};
use crate::support::{ACTIVITY_JSON, PATIENCE, at_once, eventually, secret};

#[test]
fn actors_answer_at_their_addresses() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let client = node.client();

    let document = client.get_as("/actors/alice", ACTIVITY_JSON).expect(200, "the document");
    assert_eq!(document.media_type(), ACTIVITY_JSON, "as activity+json");
    assert_eq!(document.json()["id"], node.actor("alice"), "the id is the address");
    let ld = "application/ld+json; profile=\"https://www.w3.org/ns/activitystreams\"";
    client.get_as("/actors/alice", ld).expect(200, "as ld+json with the profile");
    let page = client.get_as("/actors/alice", "text/html").expect(200, "for a browser");
    assert_eq!(page.media_type(), "text/html", "HTML for a browser");
    assert!(page.text().contains("alice"), "the page names the actor");
    let refused = client.get_as("/actors/alice", "image/png");
    refused.refused(406, "not-acceptable", "a type that cannot be served");

    for path in ["", "/outbox", "/followers", "/following", "/keys"] {
        let answer = client.get(&format!("/actors/unknown{path}"));
        answer.refused(404, "unknown-actor", &format!("/actors/unknown{path}"));
    }
    for name in ["Alice", "..%2Fbob", "%00"] {
        let answer = client.get(&format!("/actors/{name}"));
        assert_eq!(answer.status, 404, "an impossible name {name}: {}", answer.text());
    }
    client.get("/nothing/here").refused(404, "not-found", "no route");
    for (method, path) in [("DELETE", "/activity"), ("PUT", "/actors/alice"), ("PATCH", "/inbox")] {
        let answer = client.send(method, path, &[], None);
        answer.refused(405, "method-not-allowed", &format!("{method} {path}"));
        assert!(!answer.header("allow").is_empty(), "{method} {path}: Allow says what is");
    }

    for (collection, total) in [("outbox", 1), ("followers", 0), ("following", 0), ("keys", 2)] {
        let path = format!("/actors/alice/{collection}");
        let answer = client.get(&path).expect(200, collection).json();
        assert_eq!(answer["type"], "OrderedCollection", "{collection}");
        assert_eq!(answer["id"], node.actor("alice") + "/" + collection, "{collection}");
        assert_eq!(answer["totalItems"], total, "{collection}: {answer}");
    }
}

#[test]
fn the_token_decides_who_publishes() {
    let spec = Spec::default()
        .token(&format!("carol={}:read", "carol-reads-only"))
        .token(&format!("carol={}:publish", "carol-publishes-only"));
    let node = spec.start();
    node.create("alice");
    node.create("bob");
    node.create("carol");

    let by_alice = node.note("alice", "from alice");
    let by_bob = node.note("bob", "from bob");
    let (alices, bobs) = (node.outbox("alice"), node.outbox("bob"));
    assert_eq!(alices.last().expect("a note")["id"], by_alice.id, "alice's token, alice's outbox");
    assert_eq!(bobs.last().expect("a note")["id"], by_bob.id, "bob's token, bob's outbox");
    assert!(!ids(&json!(alices)).contains(&by_bob.id), "the outboxes are independent");

    let answer = node.client().post("/activity", &note("nobody"));
    answer.refused(401, "invalid-token", "no token");
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "401 says how");
    let answer = node.client().with_secret("not-a-token-at-all").post("/activity", &note("x"));
    answer.refused(401, "invalid-token", "an unknown token");
    let claimed = json!({ "type": "Create", "actor": node.actor("bob"), "object": { "type": "Note", "content": "x" } });
    let answer = node.as_actor("alice").post("/activity", &claimed);
    answer.refused(403, "not-authorised", "alice's token for bob's activity");
    let reader = node.client().with_secret("carol-reads-only");
    let refused = reader.post("/activity", &note("x"));
    let problem = refused.refused(403, "insufficient-scope", "a token that only reads");
    assert!(problem.get("failed_check").is_some(), "the problem names the check: {problem}");
    reader.get("/actors/carol/inbox").expect(200, "the same token reads its inbox");
    let writer = node.client().with_secret("carol-publishes-only");
    let refused = writer.get("/actors/carol/inbox");
    refused.refused(403, "insufficient-scope", "a token that only publishes");
    let refused = node.client().get("/actors/alice/inbox");
    refused.refused(401, "invalid-token", "the inbox without a token");
    let refused = node.as_actor("bob").get("/actors/alice/inbox");
    assert_eq!(refused.status, 403, "the inbox with another actor's token: {}", refused.text());
    let refused = node.as_actor("alice").get("/admin/peers");
    refused.refused(403, "insufficient-scope", "operating without the scope");
    let tokens = node.admin().get("/admin/tokens").expect(200, "the tokens");
    assert!(!tokens.text().contains(&secret("alice")), "no secret is ever shown");
}

#[test]
fn the_client_to_server_outbox_wraps_objects() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let bare = json!({ "type": "Note", "content": "bare", "to": [node.actor("bob")] });
    let answer = node.as_actor("alice").post("/actors/alice/outbox", &bare).expect(201, "bare");
    let published = Published::of(&answer.json());
    assert_eq!(answer.header("location"), published.id, "Location is the activity");
    let held = node.as_actor("bob").get(&published.id).expect(200, "the recipient reads it").json();
    assert_eq!(held["type"], "Create", "a bare object is wrapped");
    assert_eq!(held["to"], json!([node.actor("bob")]), "the audience is copied to the activity");
    assert_eq!(held["object"]["id"], published.object(), "the object got an id");
    let other = node.as_actor("bob").post("/actors/alice/outbox", &bare);
    assert_eq!(other.status, 403, "another actor's outbox: {}", other.text());
    let answer = node.client().post("/actors/alice/outbox", &bare);
    answer.refused(401, "invalid-token", "without a token");
    let answer = node.as_actor("alice").post("/actors/nobody/outbox", &bare);
    assert!(matches!(answer.status, 403 | 404), "no such actor: {}", answer.text());
}

#[test]
fn idempotency_keys_publish_once() {
    let mut node = Node::start();
    node.create("alice");
    let client = node.as_actor("alice");
    let key = [("idempotency-key", "once-1")];
    let first = client.post_with("/activity", &note("once"), &key).expect(201, "the first time");
    for round in ["repeated", "repeated after a restart"] {
        let again = client.post_with("/activity", &note("once"), &key).expect(200, round);
        assert_eq!(again.json(), first.json(), "{round}: the same answer");
        assert_eq!(again.header("location"), first.header("location"), "{round}");
        let other = client.post_with("/activity", &note("other"), &key);
        other.refused(409, "idempotency-conflict", round);
        assert_eq!(node.total("alice", "outbox"), 2, "{round}: one Note");
        node.restart();
    }
    let long = "k".repeat(256);
    let refused = client.post_with("/activity", &note("x"), &[("idempotency-key", &long)]);
    assert_eq!(refused.status, 400, "a key that is too long: {}", refused.text());
    assert_eq!(node.total("alice", "outbox"), 2, "nothing was appended");
}

/// Requests with one key that run into each other publish once, too.
#[test]
fn idempotency_keys_hold_in_a_race() {
    let node = Node::start();
    node.create("alice");
    let client = node.as_actor("alice");
    let answers = at_once(8, |_| {
        eventually(PATIENCE, "an answer that is final", || {
            let key = [("idempotency-key", "race")];
            let answer = client.post_with("/activity", &note("raced"), &key);
            if answer.status == 503 {
                answer.refused(503, "busy", "while the other request is under way");
                assert!(!answer.header("retry-after").is_empty(), "503 says when to come again");
                return None;
            }
            Some(answer)
        })
    });
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    let created = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!(created, 1, "one of them publishes: {statuses:?}");
    for answer in &answers {
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        assert_eq!(answer.json(), answers[0].json(), "all get the same answer");
    }
    assert_eq!(node.total("alice", "outbox"), 2, "one Note");
}

#[test]
fn outboxes_are_paged() {
    let node = Node::start();
    node.create("alice");
    let published: Vec<_> = (0..24).map(|i| node.note("alice", &format!("n{i}"))).collect();
    let client = node.client();
    let get = |path: &str| client.get(path).expect(200, path).json();

    let collection = get("/actors/alice/outbox");
    assert_eq!(collection["totalItems"], 25, "all entries count");
    let first = get(collection["first"].as_str().expect("first"));
    assert_eq!(items(&first).len(), 20, "a page has 20");
    assert_eq!(items(&first)[0]["id"], published[23].id, "newest first");
    assert_eq!(first["partOf"], collection["id"], "a page names its collection");
    let second = get(first["next"].as_str().expect("next"));
    assert_eq!(items(&second).len(), 5, "the rest");
    assert!(second.get("next").is_none(), "the last page has no next: {}", second["next"]);
    get(collection["last"].as_str().expect("last"));

    let newest = get("/actors/alice/outbox?limit=3");
    assert_eq!(ids(&newest["orderedItems"]), [23, 22, 21].map(|i: usize| published[i].id.clone()));
    let since = get(&format!("/actors/alice/outbox?since={}&limit=4", published[1].cid));
    let expected: Vec<_> = published[2..6].iter().map(|p| p.id.clone()).collect();
    assert_eq!(ids(&since["orderedItems"]), expected, "since a CID, ascending");
    let mut walked = Vec::new();
    let mut next = Some(client.url("/actors/alice/outbox?since=&limit=10"));
    while let Some(url) = next {
        let page = get(&url);
        walked.extend(ids(&page["orderedItems"]));
        next = page["next"].as_str().map(str::to_owned);
        assert!(walked.len() <= 25, "paging ends");
    }
    let all: Vec<_> = published.iter().map(|p| p.id.clone()).collect();
    assert_eq!(walked[1..], all, "walking by next gives every entry once, in order");

    for bad in ["page=x", "limit=x", "since=nonsense", "after=yesterday"] {
        let answer = client.get(&format!("/actors/alice/outbox?{bad}"));
        answer.refused(400, "invalid-parameter", bad);
    }
}

#[test]
fn activities_and_objects_are_served_to_their_audience() {
    let node = Node::start();
    for name in ["alice", "bob", "carol"] {
        node.create(name);
    }
    let public = node.note("alice", "for all");
    let path = format!("/activities/{}", public.cid);
    let served = node.client().get_as(&path, ACTIVITY_JSON).expect(200, "a public activity");
    assert_eq!(served.media_type(), ACTIVITY_JSON);
    assert_eq!(sealed(&served.json()).cid().to_string(), public.cid, "the CID can be recomputed");
    let cbor = "application/vnd.ipld.dag-cbor";
    let block = node.client().get_as(&path, cbor).expect(200, "as DAG-CBOR");
    assert_eq!(block.media_type(), cbor);
    assert_eq!(Cid::of_block(&block.body).to_string(), public.cid, "the block hashes to the CID");
    let object = node.client().get(public.object()).expect(200, "the public object").json();
    assert_eq!(object["content"], "for all");
    assert_eq!(object["attributedTo"], node.actor("alice"));
    let refused = node.client().get_as(&path, "image/png");
    refused.refused(406, "not-acceptable", "an activity as an image");

    let request = json!({
        "type": "Create",
        "to": [node.actor("bob")],
        "object": { "type": "Note", "content": "between us" },
    });
    let private = node.publish("alice", &request);
    for (url, what) in [(private.id.as_str(), "activity"), (private.object(), "object")] {
        node.client().get(url).refused(404, "not-found", &format!("a stranger: {what}"));
        node.as_actor("carol").get(url).refused(404, "not-found", &format!("carol: {what}"));
        node.as_actor("bob").get(url).expect(200, "the recipient");
        node.as_actor("alice").get(url).expect(200, "the author");
    }
    assert!(!ids(&json!(node.outbox("alice"))).contains(&private.id), "not in the public outbox");

    let hidden = json!({
        "type": "Create",
        "to": [node.actor("bob")],
        "bcc": [node.actor("carol")],
        "object": { "type": "Note", "content": "and carol", "bto": [node.actor("carol")] },
    });
    let hidden = node.publish("alice", &hidden);
    for name in ["bob", "carol"] {
        let got = node.receives(name, &hidden.id);
        for (part, place) in [(&got, "the activity"), (&got["object"], "the object")] {
            let shown = part.get("bcc").or(part.get("bto"));
            assert!(shown.is_none(), "{name} sees a hidden list in {place}: {got}");
        }
    }

    node.publish("alice", &json!({ "type": "Delete", "object": public.object() }));
    let gone = node.client().get_as(public.object(), ACTIVITY_JSON);
    assert_eq!(gone.status, 410, "a deleted object: {}", gone.text());
    assert_eq!(gone.json()["type"], "Tombstone", "leaves a Tombstone");
    let nothing = format!("/objects/{}", "0".repeat(32));
    node.client().get(&nothing).refused(404, "not-found", "an object that never was");
    let foreign = format!("/activities/{}", Cid::of_block(b"nothing"));
    node.client().get(&foreign).refused(404, "not-found", "an activity that never was");
    let answer = node.client().get("/activities/nonsense");
    assert!(matches!(answer.status, 400 | 404), "not a CID: {}", answer.text());
}
