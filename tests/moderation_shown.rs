//! Moderation: what is shown of the blocked, the silenced, the suspended, and of rejected media.

use serde_json::{Value, json};

use crate::operator::As;
use crate::support::node::Node;
use crate::support::{ACTIVITY_JSON, PATIENCE, PUBLIC, Peer, Sign, eventually};

/// The feed of an actor, newest first, once the projection has come to the end of the log.
fn feed(node: &Node, name: &str) -> Vec<Value> {
    let path = format!("/projections/feed?order=desc&min_seq={}", node.head());
    let page = node.as_actor(name).get(&path).expect(200, "the feed").json();
    page["items"].as_array().expect("items").iter().map(|item| item["value"].clone()).collect()
}

/// The rows of a public projection as anyone, or an actor, sees them.
fn rows(node: &Node, reader: Option<&str>, path: &str) -> String {
    let client = reader.map_or(node.client().clone(), |name| node.as_actor(name));
    let path = format!("/projections/{path}{}min_seq={}", separator(path), node.head());
    client.get(&path).expect(200, &path).text_whole()
}

fn separator(path: &str) -> char {
    if path.contains('?') { '&' } else { '?' }
}

struct Scene {
    node: Node,
    peer: Peer,
    loud: crate::support::peer::Foreign,
    note: Value,
}

/// Alice follows Loud, Bob does not; Loud tells both something with a picture.
fn scene() -> Scene {
    let node = Node::start();
    for name in ["alice", "bob"] {
        node.create(name);
    }
    let peer = Peer::start();
    let loud = peer.actor("loud");
    let follow = node.publish("alice", &json!({ "type": "Follow", "object": loud.id }));
    let sent = peer.receives(&follow.id).body;
    let alice = node.actor("alice");
    let accept = loud.activity("Accept", sent, &[&alice]);
    loud.deliver(&node, "/actors/alice/inbox", &accept, Sign::Bare).expect(202, "an Accept");
    node.lists("alice", "following", &loud.id);
    let mut object = loud.note_object("LOUD words");
    object["tag"] = json!([{ "type": "Hashtag", "name": "#noise" }]);
    object["attachment"] = json!([{
        "type": "Image", "mediaType": "image/png", "url": "https://pics.example/loud.png",
    }]);
    let to = [PUBLIC, alice.as_str(), &node.actor("bob")];
    let note = loud.activity("Create", object, &to);
    loud.deliver(&node, "/inbox", &note, Sign::Bare).expect(202, "a Note");
    Scene { node, peer, loud, note }
}

/// Who is silenced is shown to those who follow; follows stay.
#[test]
fn the_silenced_are_shown_to_those_who_follow_them() {
    let Scene { node, peer, loud, note } = scene();
    let id = note["id"].as_str().expect("an id").to_owned();
    let object = note["object"]["id"].as_str().expect("an id").to_owned();
    let has = |name: &str| feed(&node, name).iter().any(|item| item["id"] == id.as_str());
    assert!(has("alice") && has("bob"), "nothing is decided yet");
    assert!(rows(&node, None, "objects").contains("LOUD words"));
    assert!(rows(&node, None, "hashtags?key=noise").contains(&object));
    let operator = As::operator(&node);
    for subject in [loud.id.clone(), format!("127.0.0.1:{}", peer.port())] {
        operator.works(&["moderation", "silence", &subject]);
        assert!(has("alice"), "Alice follows: {subject}");
        assert!(!has("bob"), "Bob does not: {subject}");
        assert!(!rows(&node, None, "objects").contains("LOUD words"), "a public listing");
        assert!(!rows(&node, None, "hashtags?key=noise").contains(&object), "a public listing");
        assert!(!rows(&node, Some("bob"), "objects").contains("LOUD words"), "of Bob's, too");
        assert!(rows(&node, Some("alice"), "objects").contains("LOUD words"), "Alice follows");
        let inboxes = |name: &str| node.inbox(name).iter().any(|one| one["id"] == id.as_str());
        assert!(inboxes("alice") && !inboxes("bob"), "what came is listed likewise");
        assert!(rows(&node, None, "actor-state").contains(&loud.id), "who that is, is no secret");
        assert!(node.listed("alice", "following").contains(&loud.id), "follows stay");
        let more = loud.note("more", &[PUBLIC, &node.actor("alice")]);
        loud.deliver(&node, "/inbox", &more, Sign::Bare).expect(202, "it is taken as before");
        // Those who operate the instance see what they decide about.
        assert!(
            node.projection("objects", "").iter().any(|row| row["value"]["latest"].is_object())
        );
        operator.works(&["moderation", "undo", &subject]);
        assert!(has("bob") && rows(&node, None, "objects").contains("LOUD words"), "lifted");
    }
}

/// Of whom media are rejected, words are shown and no pictures.
#[test]
fn rejected_media_are_not_shown() {
    let Scene { node, loud, note, .. } = scene();
    let operator = As::operator(&node);
    let picture = "pics.example/loud.png";
    let carol = Peer::start();
    let carol = carol.actor("carol");
    let announce =
        carol.activity("Announce", note["object"]["id"].clone(), &[PUBLIC, &node.actor("bob")]);
    carol.deliver(&node, "/inbox", &announce, Sign::Bare).expect(202, "an Announce");
    let shown = || {
        let feed = feed(&node, "bob");
        assert_eq!(feed.len(), 2, "{feed:?}");
        (json!(feed).to_string(), rows(&node, None, "objects"))
    };
    let (feed, objects) = shown();
    assert_eq!((feed.matches(picture).count(), objects.contains(picture)), (2, true), "{feed}");
    operator.works(&["moderation", "reject-media", &loud.id]);
    let (feed, objects) = shown();
    assert!(feed.matches("LOUD words").count() == 2 && objects.contains("LOUD words"), "{feed}");
    assert!(!feed.contains(picture) && !objects.contains(picture), "{feed} {objects}");
    operator.works(&["moderation", "undo", &loud.id]);
    let (feed, objects) = shown();
    assert!(feed.contains(picture) && objects.contains(picture));
}

/// Of whom is blocked nothing is shown, for as long as that lasts, whoever passes it on.
#[test]
fn the_blocked_are_shown_to_nobody() {
    let Scene { node, loud, note, .. } = scene();
    let operator = As::operator(&node);
    let cid = crate::support::verbs::sealed(&note).cid().to_string();
    let path = format!("/activities/{cid}");
    let id = note["id"].as_str().expect("an id");
    let shown = || {
        let in_feed = |name: &str| feed(&node, name).iter().any(|item| item["id"] == id);
        let in_inbox = node.inbox("alice").iter().any(|one| one["id"] == id);
        let by_itself = node.client().get(&path).status == 200;
        let listed = rows(&node, Some("alice"), "objects").contains("LOUD words");
        let known = rows(&node, None, "peer-actors").contains(&loud.id);
        [in_feed("alice"), in_feed("bob"), in_inbox, by_itself, listed, known]
    };
    assert_eq!(shown(), [true; 6]);
    operator.works(&["moderation", "block", &loud.id]);
    assert_eq!(shown(), [false; 6]);
    let share = json!({ "type": "Announce", "object": cid });
    let answer = node.as_actor("bob").post("/activity", &share);
    answer.refused(422, "unknown-reference", "what nobody is shown nobody passes on");
    operator.works(&["moderation", "undo", &loud.id]);
    assert_eq!(shown(), [true; 6], "as it was");
}

/// A suspended actor says nothing, receives nothing, and is served as suspended; then it is back.
#[test]
fn an_actor_of_the_instance_is_suspended_and_comes_back() {
    let (a, b) = (Node::start(), Node::start());
    a.create("alice");
    a.create("carol");
    b.create("bob");
    a.follow("alice", &b.actor("bob"));
    b.follow("bob", &a.actor("alice"));
    a.follow("carol", &b.actor("bob"));
    let before = a.note("alice", "before");
    b.receives("bob", &before.id);
    let keys = a.keys("alice");
    // Something of hers waits on its way while B is away.
    let operator = As::operator(&a);
    let secret = crate::support::secret("alice");
    let alice = As { node: &a, secret };
    let suspended = operator.json(&["actor", "suspend", "alice", "--reason", "ads"]);
    assert_eq!((&suspended["action"], &suspended["reason"]), (&json!("suspend"), &json!("ads")));
    let listed = operator.json(&["actor", "list"]);
    let state = |listed: &Value| {
        let found = listed.as_array().expect("a list").iter().find(|one| one["actor"] == "alice");
        found.expect("alice")["state"].clone()
    };
    assert_eq!(state(&listed), "suspended");
    // She says nothing, by whatever route.
    let head = a.settled_head();
    alice.fails(&["publish", "--note", "x"], "actor-suspended");
    let bare = json!({ "type": "Note", "content": "x" });
    a.as_actor("alice").post("/actors/alice/outbox", &bare).refused(403, "actor-suspended", "");
    let rotation = json!({ "type": "Update", "object": "alice", "patch": { "add_publicKey": { "generate": true }, "supersede": {} } });
    a.as_actor("alice").post("/activity", &rotation).refused(403, "actor-suspended", "a rotation");
    // She receives nothing; others do.
    let peer = Peer::start();
    let dan = peer.actor("dan");
    let direct = dan.note("hi", &[&a.actor("alice")]);
    let answer = dan.deliver(&a, "/actors/alice/inbox", &direct, Sign::Bare);
    answer.refused(403, "actor-suspended", "her inbox");
    assert_eq!(a.head(), head, "nothing was appended");
    let meanwhile = b.note("bob", "meanwhile");
    a.receives("carol", &meanwhile.id);
    // She is served as suspended.
    let document = a.client().get("/actors/alice").expect(200, "her keys").json();
    assert_eq!(document["suspended"], true, "{document}");
    assert!(document.get("name").is_none() && document["publicKey"].is_object(), "{document}");
    for path in ["outbox", "outbox?page=true", "followers", "featured"] {
        let path = format!("/actors/alice/{path}");
        a.client().get(&path).refused(403, "actor-suspended", &path);
    }
    let local = |id: &str| id.trim_start_matches(&a.base).to_owned();
    for path in [local(&before.id), local(before.object())] {
        a.client().get(&path).refused(404, "not-found", &path);
        dan.fetch(&a, &path, ACTIVITY_JSON).refused(404, "not-found", &path);
        a.as_actor("alice").get(&path).expect(200, "her own");
    }
    assert!(!rows(&a, None, "objects").contains(before.object()));
    assert!(!rows(&a, None, "actor-state").contains(&a.actor("alice")));
    assert!(!a.inbox("alice").iter().any(|one| one["id"] == meanwhile.id.as_str()));
    assert_eq!(a.keys("alice"), keys, "her keys are untouched");
    // And back.
    operator.works(&["actor", "unsuspend", "alice", "--reason", "a mistake"]);
    operator.fails(&["actor", "unsuspend", "alice"], "not-found");
    let after = a.note("alice", "after");
    b.receives("bob", &after.id);
    let again = b.note("bob", "again");
    a.receives("alice", &again.id);
    assert!(rows(&a, None, "objects").contains(before.object()));
    assert_eq!(a.client().get("/actors/alice").json()["name"], "alice");
    operator.fails(&["actor", "suspend", "nobody"], "unknown-actor");
    operator.fails(&["actor", "suspend", "instance"], "are suspended, others are blocked");
}

/// What is under way of a suspended actor waits for the end of the suspension.
#[test]
fn deliveries_of_the_suspended_wait() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    peer.actor("fay").follows(&node, "alice");
    peer.answer_with(503);
    let note = node.note("alice", "on its way");
    eventually(PATIENCE, "it is tried", || (!peer.posts_of(&note.id).is_empty()).then_some(()));
    let operator = As::operator(&node);
    operator.works(&["actor", "suspend", "alice"]);
    peer.answer_with(202);
    // Whatever else goes to that peer goes on.
    node.create("bob");
    let other = node.publish(
        "bob",
        &json!({ "type": "Follow", "object": format!("{}/actors/fay", peer.base) }),
    );
    operator.works(&["dead-letter", "replay", "--peer", &peer.base]);
    peer.receives(&other.id);
    assert!(peer.posts_of(&note.id).iter().all(|post| post.status == 503), "nothing of hers");
    operator.works(&["actor", "unsuspend", "alice"]);
    peer.receives(&note.id);
}
