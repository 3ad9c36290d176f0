//! Bad input to every route: the right status, a problem document, and nothing appended.

use serde_json::{Value, json};

use crate::support::node::{Node, Spec};
use crate::support::verbs::note;
use crate::support::{ACTIVITY_JSON, Answer, Peer, Sign, secret};

/// What must not move when something is refused.
#[derive(Debug, PartialEq)]
struct Counts {
    head: u64,
    outbox: u64,
    inboxes: [u64; 2],
}

fn counts(node: &Node) -> Counts {
    Counts {
        head: node.settled_head(),
        outbox: node.total("alice", "outbox"),
        inboxes: ["alice", "bob"].map(|name| node.total(name, "inbox")),
    }
}

fn nested(levels: usize) -> Vec<u8> {
    let deep = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    format!(r#"{{"type":"Create","object":{{"type":"Note","content":"x","deep":{deep}}}}}"#)
        .into_bytes()
}

const TWO_MIB: usize = 2 * 1024 * 1024;

fn two_mib() -> Vec<u8> {
    note(&"x".repeat(TWO_MIB)).to_string().into_bytes()
}

/// Every route that takes a body, with bodies that nobody can read.
#[test]
fn unreadable_bodies() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let before = counts(&node);
    let alice = node.as_actor("alice");
    for path in ["/activity", "/actors/alice/outbox", "/actors/alice/inbox", "/inbox"] {
        let post = |body: &[u8]| {
            alice.send("POST", path, &[("content-type", ACTIVITY_JSON)], Some(body.to_vec()))
        };
        for (case, body) in [
            ("no body", &b""[..]),
            ("no JSON", b"{"),
            ("rubbish after it", br#"{"type":"Note"} x"#),
            ("not UTF-8", b"{\"type\":\"\xff\"}"),
            ("a member twice", br#"{"type":"Note","type":"Create"}"#),
            ("a number beyond I-JSON", br#"{"type":"Create","n":9007199254740993}"#),
        ] {
            post(body).refused(400, "malformed-json", &format!("{path}: {case}"));
        }
        post(&nested(100)).refused(400, "malformed-json", &format!("{path}: 100 levels"));
        let answer = post(&nested(100_000));
        answer.refused(400, "malformed-json", &format!("{path}: 100000 levels"));
        for body in [&b"[]"[..], b"\"text\"", b"7", b"null"] {
            let answer = post(body);
            answer.refused(422, "invalid-activity", &format!("{path}: no object"));
        }
        let answer = alice.post_large(path, &[("content-type", ACTIVITY_JSON)], &two_mib());
        answer.refused(413, "too-large", &format!("{path}: 2 MiB"));
        let answer = alice.post_chunked(path, &[("content-type", ACTIVITY_JSON)], &two_mib());
        answer.refused(413, "too-large", &format!("{path}: 2 MiB in chunks"));
        for kind in ["text/plain", "application/x-www-form-urlencoded", "image/png", "nonsense"] {
            let body = note("x").to_string().into_bytes();
            let answer = alice.send("POST", path, &[("content-type", kind)], Some(body));
            answer.refused(415, "unsupported-media-type", &format!("{path}: {kind}"));
        }
    }
    assert_eq!(counts(&node), before, "unreadable bodies append nothing");
}

/// Every route that needs a token: without, with a wrong one, with one that may not.
#[test]
fn tokens_that_do_not_fit() {
    let spec = Spec::default().token(&format!("alice={}:read", "alice-reads-only"));
    let node = spec.start();
    node.create("alice");
    node.create("bob");
    let before = counts(&node);
    let body = note("x").to_string().into_bytes();
    let letter = "/admin/dead-letter/http%3A%2F%2Flocalhost%231";
    let routes: &[(&str, &str, bool)] = &[
        ("POST", "/activity", false),
        ("POST", "/actors/alice/outbox", false),
        ("GET", "/actors/alice/inbox", false),
        ("GET", "/projections/feed?key=alice", false),
        ("GET", "/projections/delivery-state", true),
        ("GET", "/admin/dead-letter", true),
        ("POST", "/admin/dead-letter/replay?peer=http://localhost", true),
        ("POST", &format!("{letter}/replay"), true),
        ("DELETE", letter, true),
        ("GET", "/admin/peers", true),
        ("GET", "/admin/tokens", true),
        ("GET", "/admin/projections", true),
        ("GET", "/admin/delivery/x", true),
    ];
    let send = |client: &crate::support::Client, method: &str, path: &str| -> Answer {
        let body = (method == "POST").then(|| body.clone());
        client.send(method, path, &[("content-type", ACTIVITY_JSON)], body)
    };
    for (method, path, admin) in routes {
        let case = format!("{method} {path}");
        let answer = send(node.client(), method, path);
        answer.refused(401, "invalid-token", &format!("{case} without a token"));
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("Bearer"), "{case}: WWW-Authenticate: {challenge:?}");
        let wrong = node.client().with_secret("a-wrong-secret-0123");
        send(&wrong, method, path).refused(401, "invalid-token", &format!("{case}, unknown token"));
        let almost = node.client().with_secret(&secret("alice")[1..]);
        send(&almost, method, path).refused(401, "invalid-token", &format!("{case}, part of one"));
        if *admin {
            let answer = send(&node.as_actor("alice"), method, path);
            answer.refused(403, "insufficient-scope", &format!("{case} without the scope admin"));
        }
    }
    for scheme in ["Basic YWxpY2U6eA==", "Bearer", "Bearer a b", "bearer"] {
        let headers = [("authorization", scheme), ("content-type", ACTIVITY_JSON)];
        let answer = node.client().send("POST", "/activity", &headers, Some(body.clone()));
        answer.refused(401, "invalid-token", scheme);
    }
    let reader = node.client().with_secret("alice-reads-only");
    for path in ["/activity", "/actors/alice/outbox"] {
        let answer = send(&reader, "POST", path);
        answer.refused(403, "insufficient-scope", &format!("{path} with a token that reads"));
    }
    assert_eq!(counts(&node), before, "wrong tokens append nothing");
}

#[test]
fn requests_that_make_no_activity() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let before = counts(&node);
    let (alice, bob) = (node.actor("alice"), node.actor("bob"));
    let nowhere = format!("{}/objects/{}", node.base, "0".repeat(32));
    let table: &[(&str, Value, u16, &str)] = &[
        ("no type", json!({ "object": "x" }), 422, "invalid-activity"),
        ("a type that is a number", json!({ "type": 7 }), 422, "invalid-activity"),
        ("an unknown verb", json!({ "type": "Frobnicate" }), 422, "unknown-activity-type"),
        (
            "an unknown object type",
            json!({ "type": "Create", "object": { "type": "Gizmo" } }),
            422,
            "unknown-object-type",
        ),
        ("Create without an object", json!({ "type": "Create" }), 422, "invalid-activity"),
        ("Create of a text", json!({ "type": "Create", "object": "x" }), 422, "invalid-activity"),
        (
            "a Note for another author",
            json!({ "type": "Create", "object": { "type": "Note", "content": "x", "attributedTo": bob } }),
            403,
            "not-authorised",
        ),
        (
            "another actor's name on it",
            json!({ "type": "Create", "actor": bob, "object": { "type": "Note", "content": "x" } }),
            403,
            "not-authorised",
        ),
        (
            "a second actor",
            json!({ "type": "Create", "object": { "type": "Person" } }),
            409,
            "actor-exists",
        ),
        ("following oneself", json!({ "type": "Follow", "object": alice }), 422, "self-follow"),
        (
            "Update of nothing",
            json!({ "type": "Update", "object": { "id": nowhere, "content": "x" } }),
            422,
            "unknown-reference",
        ),
        (
            "Update of another actor",
            json!({ "type": "Update", "object": { "id": bob, "name": "x" } }),
            403,
            "not-authorised",
        ),
        (
            "Delete of nothing",
            json!({ "type": "Delete", "object": nowhere }),
            422,
            "unknown-reference",
        ),
        (
            "Delete of another actor",
            json!({ "type": "Delete", "object": bob }),
            403,
            "not-authorised",
        ),
        ("Undo of nothing", json!({ "type": "Undo", "object": nowhere }), 422, "unknown-reference"),
        (
            "Accept of nothing",
            json!({ "type": "Accept", "object": nowhere }),
            422,
            "unknown-reference",
        ),
        (
            "a wrong shape",
            json!({ "type": "Create", "object": { "type": "Note", "content": [] } }),
            422,
            "schema-violation",
        ),
    ];
    for (case, request, status, slug) in table {
        let answer = node.as_actor("alice").post("/activity", request);
        answer.refused(*status, slug, case);
    }
    let absent = node.as_actor("carol").post("/activity", &note("x"));
    absent.refused(404, "unknown-actor", "an actor that is not there");
    assert_eq!(counts(&node), before, "what is refused is not appended");
}

/// An audience that cannot be read must not become the usual, public one.
#[test]
fn an_audience_is_never_widened() {
    let node = Node::start();
    node.create("alice");
    let object = json!({ "type": "Note", "content": "not for everyone" });
    for to in [json!([7]), json!([{ "name": "no id" }]), json!({ "name": "no id" }), json!(7)] {
        let request = json!({ "type": "Create", "to": to, "object": object });
        let answer = node.as_actor("alice").post("/activity", &request);
        answer.refused(422, "invalid-activity", &format!("to: {to}"));
    }
    assert_eq!(node.total("alice", "outbox"), 1, "nothing was appended");
}

/// Who names an empty audience names nobody, and not everybody.
#[test]
fn an_empty_audience_is_nobody() {
    let node = Node::start();
    node.create("alice");
    let object = json!({ "type": "Note", "content": "for nobody" });
    let published = node.publish("alice", &json!({ "type": "Create", "to": [], "object": object }));
    node.client().get(&published.id).refused(404, "not-found", "a stranger");
    node.as_actor("alice").get(&published.id).expect(200, "the author");
}

/// A client that addresses the object alone does not mean the public.
#[test]
fn the_audience_of_the_object_counts() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let bob = node.actor("bob");
    let object = json!({ "type": "Note", "content": "for bob", "to": [bob] });
    let published = node.publish("alice", &json!({ "type": "Create", "object": object }));
    node.client().get(&published.id).refused(404, "not-found", "a stranger");
    node.client().get(published.object()).refused(404, "not-found", "a stranger");
    node.receives("bob", &published.id);
}

/// Changing or deleting a private object concerns those who have it, and nobody else.
#[test]
fn changes_keep_the_audience_of_their_object() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let object = json!({ "type": "Note", "content": "between us" });
    let request = json!({ "type": "Create", "to": [node.actor("bob")], "object": object });
    let created = node.publish("alice", &request);
    let change = json!({ "id": created.object(), "content": "still between us" });
    let updated = node.publish("alice", &json!({ "type": "Update", "object": change }));
    node.client().get(&updated.id).refused(404, "not-found", "a stranger reads the Update");
    node.client().get(created.object()).refused(404, "not-found", "a stranger reads the object");
    let objects = node.projection("objects", &format!("?min_seq={}", updated.global_seq));
    assert!(!json!(objects).to_string().contains("between us"), "nor in a projection: {objects:?}");
    node.receives("bob", &updated.id);
    let request = json!({ "type": "Delete", "object": created.object() });
    let deleted = node.publish("alice", &request);
    node.receives("bob", &deleted.id);
}

#[test]
fn queries_that_make_no_sense() {
    let node = Node::start();
    node.create("alice");
    let client = node.client();
    client.get("/projections/nothing").refused(404, "not-found", "an unknown projection");
    for path in [
        "/projections/objects?limit=x",
        "/projections/objects?order=sideways",
        "/projections/objects?min_seq=-1",
        "/projections/objects?min_seq=x",
        "/projections/objects?wait_ms=x&min_seq=1",
        "/actors/alice/outbox?page=-1",
        "/actors/alice/outbox?since=x",
        "/actors/alice/outbox?after=x",
    ] {
        client.get(path).refused(400, "invalid-parameter", path);
    }
    let far = client.get("/projections/objects?min_seq=99999999&wait_ms=50");
    far.refused(503, "not-caught-up", "a position that was not reached");
    assert!(!far.header("retry-after").is_empty(), "503 says when to come again");
    let answer = node.admin().get("/admin/delivery/x");
    answer.refused(400, "invalid-parameter", "/admin/delivery of no CID");
    for path in ["/activities/x", "/objects/x", "/objects/zz%2F..%2F", "/problems/nothing"] {
        let answer = client.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {} {}", answer.status, answer.text());
    }
    for path in ["/", "/actors", "/actors/", "/admin", "/inbox/x", "/.well-known/nothing"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    let page = client.get("/problems/unknown-actor").expect(200, "each problem has a page");
    assert!(page.text().to_lowercase().contains("actor"), "{}", page.text());
    for (method, path) in [
        ("GET", "/activity"),
        ("GET", "/inbox"),
        ("POST", "/projections"),
        ("POST", "/actors/alice"),
        ("DELETE", "/actors/alice/outbox"),
        ("PUT", "/.well-known/webfinger"),
        ("POST", "/readyz"),
    ] {
        let answer = client.send(method, path, &[], None);
        answer.refused(405, "method-not-allowed", &format!("{method} {path}"));
    }
}

/// Hostile and repeated deliveries, told apart and without effect.
#[test]
fn deliveries_that_repeat_or_lie() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let (alice, bob) = (node.actor("alice"), node.actor("bob"));
    let inbox = "/actors/alice/inbox";

    let object = mallory.note_object("version 1");
    let create = mallory.activity("Create", object.clone(), &[&alice]);
    let mut version = object.clone();
    version["content"] = json!("version 2");
    let old = mallory.activity("Update", version.clone(), &[&alice]);
    version["content"] = json!("version 3");
    let new = mallory.activity("Update", version, &[&alice]);
    for activity in [&create, &old, &new] {
        mallory.deliver(&node, inbox, activity, Sign::Bare).expect(202, "in order");
    }
    let before = counts(&node);

    let mut tampered = mallory.note("x", &[&alice]);
    tampered["object"]["content"] = json!("y");
    for path in [inbox, "/inbox"] {
        let refused = mallory.deliver(&node, path, &tampered, Sign::Bare);
        refused.refused(401, "invalid-signature", &format!("{path}: tampered"));
        let unsigned = mallory.plain("Create", mallory.note_object("x"), &[&alice]);
        let refused = mallory.deliver(&node, path, &unsigned, Sign::Bare);
        refused.refused(401, "invalid-signature", &format!("{path}: unsigned"));
    }
    let refused = mallory.deliver(&node, "/actors/nobody/inbox", &old, Sign::Bare);
    refused.refused(404, "unknown-actor", "an inbox of nobody");
    let content = mallory.content("Create", json!(7), json!({ "to": [alice] }));
    let odd = mallory.sealed(content);
    let refused = mallory.deliver(&node, inbox, &odd, Sign::Bare);
    refused.refused(422, "schema-violation", "a Create of a number");
    let mut nameless = mallory.plain("Create", mallory.note_object("x"), &[&alice]);
    nameless.as_object_mut().expect("members").remove("actor");
    let refused = mallory.deliver(&node, inbox, &nameless, Sign::Rsa);
    refused.refused(422, "invalid-activity", "an activity without an actor");
    let mut garbled = mallory.signed_headers(
        &format!("{}{inbox}", node.base),
        create.to_string().as_bytes(),
        Sign::Ed25519,
    );
    garbled.insert("signature", "sig1=:AAAA".parse().expect("a value"));
    let body = create.to_string().into_bytes();
    let refused = crate::support::peer::send(node.client(), inbox, &garbled, body);
    refused.refused(401, "invalid-signature", "a Signature header that cannot be read");
    mallory.deliver(&node, inbox, &old, Sign::Bare).expect(200, "an old Update pushed again");
    assert_eq!(counts(&node), before, "lies and repeats append nothing");
    let shown = node.client().get(&format!("/activities/{}", "x"));
    assert_ne!(shown.status, 500);
    let state = node.projection("objects", "").into_iter().map(|item| item.to_string());
    let state: Vec<_> = state.filter(|item| item.contains("version")).collect();
    assert!(state.iter().all(|item| item.contains("version 3")), "{state:?}");

    let both = mallory.note("for both", &[&alice, &bob]);
    let body = both.to_string().into_bytes();
    let headers = mallory.signed_headers(&format!("{}{inbox}", node.base), &body, Sign::Rsa);
    let send = || crate::support::peer::send(node.client(), inbox, &headers, body.clone());
    send().expect(202, "the first of two inboxes");
    let after_first = counts(&node);
    send().refused(422, "replayed-request", "the same signature again");
    assert_eq!(counts(&node), after_first, "a replay appends nothing");
    let second = mallory.deliver(&node, "/actors/bob/inbox", &both, Sign::Rsa);
    second.expect(202, "the second of two inboxes");
    for name in ["alice", "bob"] {
        let id = both["id"].as_str().expect("an id");
        assert!(node.inbox(name).iter().any(|one| one["id"] == id), "{name} has it");
    }
    let doomed = mallory.note_object("never to be seen");
    let tombstone = json!({ "type": "Tombstone", "id": doomed["id"] });
    let delete = mallory.activity("Delete", tombstone, &[&alice]);
    let create = mallory.activity("Create", doomed, &[&alice]);
    for (case, activity) in [("a Delete before its Create", &delete), ("its Create", &create)] {
        let status = mallory.deliver(&node, inbox, activity, Sign::Bare).status;
        assert!(matches!(status, 200 | 202), "{case}: {status}");
    }
    let head = node.settled_head();
    let objects = node.projection("objects", &format!("?min_seq={head}"));
    let seen = objects.iter().any(|item| item.to_string().contains("never to be seen"));
    assert!(!seen, "a Delete wins even when it comes first: {objects:?}");
}
