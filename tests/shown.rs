//! What people are shown of what others, and they themselves, write: made safe to show, while what
//! was signed stays as it was.

use serde_json::json;

use crate::support::node::Node;
use crate::support::verbs::sealed;
use crate::support::{ACTIVITY_JSON, PUBLIC};

/// HTML with what must not reach a page, and what must.
const HOSTILE: &str = "<p>Hello <b onclick=\"alert(1)\">world</b><script>alert(1)</script>\
    <img src=\"x\" onerror=\"alert(1)\"><a href=\"javascript:alert(1)\">click</a></p>";
const SHOWN: &str = "<p>Hello <b>world</b><a rel=\"nofollow noopener noreferrer\">click</a></p>";

#[track_caller]
fn harmless(page: &str) {
    for part in ["<script", "onclick", "onerror", "javascript:", "<img"] {
        assert!(!page.contains(part), "{part} in {page}");
    }
}

/// Own content is published and signed as the client wrote it; the page of it is sanitised.
#[test]
fn pages_of_own_content() {
    let node = Node::start();
    node.publish(
        "alice",
        &json!({ "type": "Create", "object": { "type": "Person", "name": "<b>Alice</b>", "summary": HOSTILE } }),
    );
    let page = node.client().get_as("/actors/alice", "text/html").expect(200, "the actor's page");
    let text = page.text_whole();
    harmless(&text);
    assert!(text.contains(SHOWN) && text.contains("<h1>Alice</h1>"), "{text}");
    assert!(page.header("content-security-policy").contains("default-src 'none'"), "a policy");
    let document = node.client().get("/actors/alice").json();
    assert_eq!(document["summary"], HOSTILE, "the document is as it was published");

    let note = json!({ "type": "Note", "content": HOSTILE, "summary": "<i>careful</i>",
        "attachment": [{ "type": "Image", "url": "https://pictures.example/1.png", "name": "a \"cow\"" },
            { "type": "Image", "url": "javascript:alert(1)", "name": "no" }] });
    let published =
        node.publish("alice", &json!({ "type": "Create", "object": note, "to": [PUBLIC] }));
    let path = published.object().strip_prefix(&node.base).expect("of here").to_owned();
    let page = node.client().get_as(&path, "text/html").expect(200, "the object's page");
    let text = page.text_whole();
    harmless(&text);
    assert!(text.contains(SHOWN) && text.contains("<summary><i>careful</i></summary>"), "{text}");
    assert!(text.contains("https://pictures.example/1.png"), "{text}");
    // What was signed is what was written.
    for path in [&path, &format!("/activities/{}", published.cid)] {
        let served = node.client().get_as(path, ACTIVITY_JSON).expect(200, path).json();
        let content = served.get("content").unwrap_or(&served["object"]["content"]);
        assert_eq!(content, HOSTILE, "{path}");
    }
    let activity = node.client().get(&format!("/activities/{}", published.cid)).json();
    assert_eq!(sealed(&activity).cid().to_string(), published.cid);

    node.publish("alice", &json!({ "type": "Delete", "object": published.object() }));
    let gone = node.client().get_as(&path, "text/html");
    assert_eq!(gone.status, 410, "{}", gone.text());
    let secret = node.publish(
        "alice",
        &json!({ "type": "Create", "to": [node.actor("bob")],
        "object": { "type": "Note", "content": "for bob" } }),
    );
    let path = secret.object().strip_prefix(&node.base).expect("of here").to_owned();
    node.client().get_as(&path, "text/html").refused(
        404,
        "not-found",
        "a page for its audience only",
    );
}
