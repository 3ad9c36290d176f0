//! What people are shown of what others, and they themselves, write: made safe to show, while what
//! was signed stays as it was.

use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::verbs::sealed;
use crate::support::{ACTIVITY_JSON, PUBLIC, Peer, Sign};

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

/// Foreign content in the feed and in `objects` is sanitised; the inbox and the activity are as they
/// were signed.
#[test]
fn foreign_content() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    mallory.follows(&node, "alice");
    let mut object = mallory.note_object(HOSTILE);
    for (member, value) in [
        ("contentMap", json!({ "en": HOSTILE, "not a language": "x" })),
        ("name", json!("<b>name</b>\u{202e}")),
        ("summary", json!("<i onclick=x>cw</i>")),
        ("sensitive", json!(true)),
        (
            "tag",
            json!([
                { "type": "Mention", "href": node.actor("alice"), "name": "@alice" },
                { "type": "Hashtag", "href": "https://tags.example/Cow", "name": "#Cow" },
                { "type": "Hashtag", "href": "javascript:alert(1)", "name": "<b>#Cow2</b>" },
            ]),
        ),
        (
            "attachment",
            json!([{ "type": "Document", "mediaType": "image/png", "name": "a cow",
            "url": "https://pictures.example/1.png", "width": 10, "height": 20 }]),
        ),
        ("quoteUrl", json!("https://quotes.example/1")),
        ("recipe", json!({ "unknown": "<script>" })),
    ] {
        object[member] = value;
    }
    let create = mallory.activity("Create", object.clone(), &[PUBLIC, &node.actor("alice")]);
    mallory.deliver(&node, "/actors/alice/inbox", &create, Sign::Bare).expect(202, "a Create");
    let strange = json!({ "id": format!("{}/objects/cake", peer.base), "type": "Recipe",
        "attributedTo": mallory.id, "name": "Cake", "ingredient": ["<script>flour</script>"] });
    let cake = mallory.activity("Create", strange.clone(), &[&node.actor("alice")]);
    mallory.deliver(&node, "/actors/alice/inbox", &cake, Sign::Bare).expect(202, "a Recipe");

    let feed = node.as_actor("alice").get(&format!("/projections/feed?min_seq={}", node.head()));
    let feed = feed.expect(200, "the feed").json();
    let rows = feed["items"].as_array().expect("items");
    let of = |id: &Value| {
        let found = rows.iter().find(|row| row["value"]["id"] == *id);
        &found.unwrap_or_else(|| panic!("{id} in {feed}"))["value"]["object"]
    };
    let shown = of(&create["id"]);
    for (member, value) in [
        ("content", json!(SHOWN)),
        ("contentMap", json!({ "en": SHOWN })),
        ("name", json!("name")),
        ("summary", json!("<i>cw</i>")),
        ("sensitive", json!(true)),
        ("mentions", json!([{ "href": node.actor("alice"), "name": "@alice" }])),
        (
            "hashtags",
            json!([{ "href": "https://tags.example/Cow", "name": "#Cow" }, { "name": "#Cow2" }]),
        ),
        (
            "attachments",
            json!([{ "type": "Document", "mediaType": "image/png", "name": "a cow",
            "url": "https://pictures.example/1.png", "width": 10, "height": 20 }]),
        ),
        ("quote", json!("https://quotes.example/1")),
        ("unknown", Value::Null),
    ] {
        assert_eq!(shown[member], value, "{member} of {shown}");
    }
    let shown = of(&cake["id"]);
    assert_eq!(
        (&shown["type"], &shown["unknown"], &shown["name"]),
        (&json!("Recipe"), &json!(true), &json!("Cake"))
    );

    let id = object["id"].as_str().expect("an id");
    let rows = node.projection("objects", &format!("?key={}", crate::actor_lifecycle::encoded(id)));
    assert_eq!(rows[0]["value"]["latest"]["content"], SHOWN, "{rows:?}");
    assert_eq!(
        rows[0]["value"]["latest"]["recipe"], object["recipe"],
        "unknown members stay: {rows:?}"
    );

    // As it was signed, to the byte.
    let held = node.receives("alice", create["id"].as_str().expect("an id"));
    assert_eq!(held["object"], object);
    assert_eq!(held["proof"], create["proof"]);
    assert_eq!(sealed(&held).cid(), sealed(&create).cid());
    let cake_held = node.receives("alice", cake["id"].as_str().expect("an id"));
    assert_eq!(cake_held["object"], strange, "what is unknown is kept as it was");
}

/// What everyone may read is found by its hashtags, in the order of time, until it is deleted.
#[test]
fn posts_by_hashtag() {
    let node = Node::start();
    node.create("alice");
    let post = |content: &str, hashtag: &str, to: &[&str]| {
        let tag = json!([{ "type": "Hashtag", "name": hashtag, "href": "https://tags.example/x" }]);
        let note = json!({ "type": "Note", "content": content, "tag": tag });
        node.publish("alice", &json!({ "type": "Create", "object": note, "to": to }))
    };
    let first = post("first", "#Kühe", &[PUBLIC]);
    post("for bob", "#kühe", &[&node.actor("bob")]);
    post("a note of the fold?", "#~id", &[PUBLIC]);
    let last = post("last", "kühe", &[PUBLIC]);
    let listed = || {
        let path = format!("/projections/hashtags?key=k%C3%BChe&min_seq={}", node.head());
        let page = node.client().get(&path).expect(200, "anyone reads").json();
        let rows = page["items"].as_array().expect("items").clone();
        let is_post = |row: &&Value| row["value"]["undone"] == false;
        let object = |row: &Value| row["key"][2].as_str().expect("an object").to_owned();
        let mut objects: Vec<String> = rows.iter().filter(is_post).map(object).collect();
        // Times are whole seconds, so that two posts may stand in either order.
        objects.sort();
        let count = rows.iter().find_map(|row| row["value"]["count"].as_u64()).unwrap_or(0);
        (count, objects)
    };
    let mut both = vec![first.object().to_owned(), last.object().to_owned()];
    both.sort();
    assert_eq!(listed(), (2, both.clone()));
    let update = |hashtag: &str, to: &[&str]| {
        let tag = json!([{ "type": "Hashtag", "name": hashtag }]);
        let note = json!({ "id": last.object(), "type": "Note", "content": "new", "tag": tag });
        node.publish("alice", &json!({ "type": "Update", "object": note, "to": to }));
    };
    update("#Ziegen", &[PUBLIC]);
    assert_eq!(listed(), (1, vec![first.object().to_owned()]), "the newest version counts");
    update("#Kühe", &[&node.actor("bob")]);
    assert_eq!(listed(), (1, vec![first.object().to_owned()]), "which is not for everyone now");
    update("#Kühe", &[PUBLIC]);
    assert_eq!(listed(), (2, both));
    node.publish("alice", &json!({ "type": "Delete", "object": first.object() }));
    assert_eq!(listed(), (1, vec![last.object().to_owned()]));
}
