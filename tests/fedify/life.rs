//! What people do: following, writing, answering, sharing, changing, and the end of each.

use serde_json::{Value, json};

use super::{CAVAGE, RFC_9421, newest, row, start};
use crate::support::matrix::Shows;
use crate::support::node::{Node, verify};
use crate::support::program::Program;
use crate::support::verbs::kinds;
use crate::support::{PATIENCE, PUBLIC, eventually};

/// Both sides of one story.
struct Story {
    peer: Program,
    node: Node,
    alice: String,
    ada: String,
    shows: Shows,
}

impl Story {
    fn begin(knock: &str, mark: &'static str) -> Option<Self> {
        let peer = start(knock)?;
        let node = Node::start();
        node.create("alice");
        let (alice, ada) = (node.actor("alice"), peer.actor("ada"));
        Some(Self { peer, node, alice, ada, shows: Shows::of(mark, "Fedify") })
    }

    /// ada says something to alice, whose inbox must have it; gives its id.
    #[track_caller]
    fn ada(&self, shared: bool, activity: &Value) -> String {
        let id = self.peer.send("ada", &[&self.alice], shared, activity);
        self.node.receives("alice", &id);
        id
    }

    /// alice publishes something that Fedify must take; gives what it wrote down.
    #[track_caller]
    fn alice(&self, request: &Value) -> (String, Value) {
        let published = self.node.publish("alice", request);
        (published.id.clone(), self.peer.receives(&published.id))
    }

    fn counts(&self, what: &str, projection: &str, member: &str, object: &str, wanted: u64) {
        eventually(PATIENCE, what, || {
            let counts = row(&self.node, projection, &[object]).unwrap_or_default();
            (counts[member].as_u64().unwrap_or(0) == wanted).then_some(())
        });
    }

    /// Follow and Accept from here, then from there; gives both Follows.
    fn follow_each_other(&mut self) -> (String, Value) {
        let follow = self.node.follow("alice", &self.ada);
        assert_eq!(self.peer.receives(&follow.id)["recipient"], "ada");
        assert_eq!(self.node.pending("alice"), Vec::<String>::new());
        self.shows.out("Follow");
        self.shows.back("Accept");

        let activity = self.peer.activity("ada", "Follow", &json!(self.alice), &[]);
        self.ada(false, &activity);
        self.node.lists("alice", "followers", &self.ada);
        let accept = eventually(PATIENCE, "an Accept", || {
            let outbox = super::own_outbox(&self.node, "alice");
            kinds(&outbox).contains(&"Accept").then(|| newest(&self.node, "alice", "Accept"))
        });
        let accept = self.peer.receives(&accept);
        assert_eq!(accept["activity"]["object"]["id"], activity["id"], "the Follow is embedded");
        self.shows.back("Follow");
        self.shows.out("Accept");
        (follow.id, activity)
    }

    /// What ada does with a Note of alice.
    fn is_heard(&mut self) -> String {
        let hello = self.node.note("alice", "<p>hello</p>");
        let got = self.peer.receives(&hello.id);
        assert_eq!(got["activity"]["object"]["content"], "<p>hello</p>");
        assert_eq!(got["recipient"], Value::Null, "through the shared inbox");
        self.shows.out("Create of a Note");
        let object = json!(hello.object());
        let like = self.peer.activity("ada", "Like", &object, &[]);
        let share = self.peer.activity("ada", "Announce", &object, &[PUBLIC]);
        self.ada(true, &like);
        self.ada(true, &share);
        self.counts("the Like counts", "endorsements", "like", hello.object(), 1);
        self.counts("the Announce counts", "announces", "count", hello.object(), 1);
        let undo = self.peer.activity("ada", "Undo", &like, &[]);
        self.ada(true, &undo);
        // Some name what they undo by its id alone.
        let undo = self.peer.activity("ada", "Undo", &share["id"], &[PUBLIC]);
        self.ada(true, &undo);
        self.counts("the Like is gone", "endorsements", "like", hello.object(), 0);
        self.counts("the Announce is gone", "announces", "count", hello.object(), 0);
        for feature in ["Like", "Announce", "Undo of a Like", "Undo of an Announce"] {
            self.shows.back(feature);
        }
        hello.object().to_owned()
    }

    /// A Note of ada, and what alice does with it.
    fn hears(&mut self, hello: &str) {
        let mention = json!({
            "inReplyTo": hello,
            "tag": [{ "type": "Mention", "href": self.alice, "name": "@alice" }],
        });
        let first = self.peer.note("ada", &mention);
        let id = first["id"].as_str().expect("an id").to_owned();
        let create = self.peer.activity("ada", "Create", &first, &[PUBLIC]);
        let create = self.ada(false, &create);
        let held = self.node.receives("alice", &create);
        assert_eq!(held["object"]["inReplyTo"], hello);
        assert_eq!(held["object"]["tag"]["href"], self.alice.as_str(), "{held}");
        self.shows.back("Create of a Note");
        self.shows.back("reply with a mention");
        let mut changed = first.clone();
        changed["content"] = json!("<p>changed</p>");
        changed["updated"] = json!("2026-11-01T11:00:00Z");
        let update = self.peer.activity("ada", "Update", &changed, &[PUBLIC]);
        self.ada(true, &update);
        eventually(PATIENCE, "the newest version", || {
            let object = row(&self.node, "objects", &[&id])?;
            object.to_string().contains("<p>changed</p>").then_some(())
        });
        self.shows.back("Update of a Note");

        for kind in ["Like", "Announce"] {
            let (done, got) = self.alice(&json!({ "type": kind, "object": id }));
            assert_eq!(got["type"], kind, "{got}");
            assert_eq!(got["activity"]["object"], id.as_str(), "{got}");
            let (_, got) = self.alice(&json!({ "type": "Undo", "object": done }));
            assert_eq!(got["type"], "Undo", "{got}");
            assert_eq!(got["activity"]["object"]["type"], kind, "what is undone is embedded");
        }
        for feature in ["Like", "Announce", "Undo of a Like", "Undo of an Announce"] {
            self.shows.out(feature);
        }
        let reply = json!({ "type": "Create", "object": {
            "type": "Note", "content": "<p>and back</p>", "inReplyTo": id,
            "tag": [{ "type": "Mention", "href": self.ada, "name": "@ada" }],
        } });
        let reply = self.node.publish("alice", &reply);
        let got = self.peer.receives(&reply.id);
        assert_eq!(got["activity"]["object"]["inReplyTo"], id.as_str());
        assert_eq!(got["activity"]["object"]["tag"]["href"], self.ada.as_str(), "{got}");
        self.shows.out("reply with a mention");
        let update = json!({ "id": reply.object(), "type": "Note", "content": "<p>better</p>" });
        let (_, got) = self.alice(&json!({ "type": "Update", "object": update }));
        assert_eq!(got["activity"]["object"]["content"], "<p>better</p>");
        self.shows.out("Update of a Note");
        let (_, got) = self.alice(&json!({ "type": "Delete", "object": reply.object() }));
        assert_eq!(got["activity"]["object"]["type"], "Tombstone");
        self.shows.out("Delete");

        let delete = self.peer.activity("ada", "Delete", &json!(id), &[PUBLIC]);
        self.ada(true, &delete);
        eventually(PATIENCE, "a tombstone", || {
            (row(&self.node, "objects", &[&id])?["deleted"] == true).then_some(())
        });
        self.shows.back("Delete");
    }

    fn part(&mut self, follow: &str, followed_by: &Value) {
        let (_, got) = self.alice(&json!({ "type": "Undo", "object": follow }));
        assert_eq!(got["activity"]["object"]["type"], "Follow", "{got}");
        assert_eq!(self.node.listed("alice", "following"), Vec::<String>::new());
        self.shows.out("Undo of a Follow");
        let undo = self.peer.activity("ada", "Undo", followed_by, &[]);
        self.ada(false, &undo);
        eventually(PATIENCE, "ada follows no more", || {
            self.node.listed("alice", "followers").is_empty().then_some(())
        });
        self.shows.back("Undo of a Follow");
    }

    /// The scheme of all that Fedify sent, and whether each was taken at the first knock.
    fn sent_by(&mut self, scheme: &str, feature: &str) {
        let posts: Vec<_> =
            self.peer.list("/sent").into_iter().filter(|one| one["method"] == "POST").collect();
        assert!(posts.iter().all(|one| one["scheme"] == scheme), "{posts:?}");
        assert!(posts.iter().all(|one| one["status"] == 202), "{posts:?}");
        self.shows.back(feature);
    }
}

/// The whole story in both directions, by the scheme that Fedify tries first.
fn lives_together(knock: &str, mark: &'static str) {
    let Some(mut story) = Story::begin(knock, mark) else { return };
    let (follow, followed_by) = story.follow_each_other();
    let hello = story.is_heard();
    story.hears(&hello);
    story.part(&follow, &followed_by);
    match knock {
        RFC_9421 => story.sent_by("rfc9421", "signature: RFC 9421, RSA"),
        _ => story.sent_by("cavage", "signature: draft-cavage, RSA"),
    }
    story.node.stop();
    let ended = verify(story.node.data());
    assert_eq!(ended.code, Some(0), "{}", ended.all());
}

#[test]
fn both_directions_by_rfc_9421() {
    lives_together(RFC_9421, "F1");
}

#[test]
fn both_directions_by_draft_cavage() {
    lives_together(CAVAGE, "F2");
}

/// Who is not wanted: a Follow refused and a follower put out, in both directions; and a Block.
#[test]
fn refusing_and_blocking() {
    let Some(mut story) = Story::begin(RFC_9421, "F3") else { return };
    story.peer.tell("/manual", &json!({ "as": "ada" }));
    let (alice, ada) = (story.alice.clone(), story.ada.clone());

    // ada refuses alice.
    let follow = story.node.publish("alice", &json!({ "type": "Follow", "object": ada }));
    let got = story.peer.receives(&follow.id);
    let reject = story.peer.activity("ada", "Reject", &got["activity"], &[&alice]);
    assert_eq!(story.node.pending("alice"), std::slice::from_ref(&ada));
    story.ada(false, &reject);
    eventually(PATIENCE, "nothing is open", || {
        story.node.pending("alice").is_empty().then_some(())
    });
    assert_eq!(story.node.listed("alice", "following"), Vec::<String>::new());
    story.shows.back("Reject");

    // ada follows, and alice puts her out.
    let activity = story.peer.activity("ada", "Follow", &json!(alice), &[]);
    let id = story.ada(false, &activity);
    story.node.lists("alice", "followers", &ada);
    let (_, got) = story.alice(&json!({ "type": "Reject", "object": id }));
    assert_eq!(got["activity"]["object"]["id"], id.as_str(), "{got}");
    assert_eq!(story.node.listed("alice", "followers"), Vec::<String>::new());
    story.shows.out("Reject");

    // Both follow again; then ada blocks alice, who no longer follows nor is followed.
    let follow = story.node.publish("alice", &json!({ "type": "Follow", "object": ada }));
    let got = story.peer.receives(&follow.id);
    let accept = story.peer.activity("ada", "Accept", &got["activity"], &[&alice]);
    story.ada(false, &accept);
    story.node.lists("alice", "following", &ada);
    let again = story.peer.activity("ada", "Follow", &json!(alice), &[]);
    story.ada(false, &again);
    story.node.lists("alice", "followers", &ada);
    let block = story.peer.activity("ada", "Block", &json!(alice), &[&alice]);
    story.ada(false, &block);
    eventually(PATIENCE, "the Block ends both directions", || {
        let listed = |name: &str| story.node.listed("alice", name);
        (listed("following").is_empty() && listed("followers").is_empty()).then_some(())
    });
    let undo = story.peer.activity("ada", "Undo", &block, &[&alice]);
    story.ada(false, &undo);
    story.shows.back("Block");
    story.shows.back("Undo of a Block");

    // alice blocks ada: what ada sees is the end of her Follow, not the Block.
    let again = story.peer.activity("ada", "Follow", &json!(alice), &[]);
    let again = story.ada(false, &again);
    story.node.lists("alice", "followers", &ada);
    let block = story.node.publish("alice", &json!({ "type": "Block", "object": ada }));
    let reject = eventually(PATIENCE, "the Follow is rejected", || {
        let all = story.peer.list("/received");
        let of = |one: &&Value| one["activity"]["object"]["id"] == again.as_str();
        all.iter().filter(|one| one["type"] == "Reject").find(of).cloned()
    });
    assert_eq!(reject["actor"], alice.as_str());
    let refused = story.peer.activity("ada", "Follow", &json!(alice), &[]);
    let command = json!({ "as": "ada", "how": "nothing", "spec": RFC_9421,
        "inbox": format!("{alice}/inbox"), "activity": refused });
    assert_eq!(story.peer.tell("/forge", &command)["status"], 403, "who is blocked is not heard");
    let undo = story.node.publish("alice", &json!({ "type": "Undo", "object": block.id }));
    let follow = story.peer.activity("ada", "Follow", &json!(alice), &[]);
    story.ada(false, &follow);
    story.node.lists("alice", "followers", &ada);
    for silent in [block.id, undo.id] {
        assert_eq!(story.peer.taken(&silent), Vec::<Value>::new(), "nobody is told of a Block");
    }
    story.shows.out("Block");
    story.shows.out("Undo of a Block");
}

/// Several followers on one host get one request, in both directions.
#[test]
fn one_request_for_all_of_a_host() {
    let Some(mut story) = Story::begin(RFC_9421, "F4") else { return };
    let alice = story.alice.clone();
    for name in ["ada", "bert"] {
        let follow = story.peer.activity(name, "Follow", &json!(alice), &[]);
        story.peer.send(name, &[&alice], false, &follow);
        story.node.lists("alice", "followers", &story.peer.actor(name));
    }
    let posts = |path: &str| {
        let all = story.peer.list("/requests");
        all.iter().filter(|one| one["method"] == "POST" && one["path"] == path).count()
    };
    let before = posts("/inbox");
    let notes: Vec<_> =
        (0..3).map(|i| story.node.note("alice", &format!("to both, {i}"))).collect();
    for note in &notes {
        story.peer.receives(&note.id);
    }
    eventually(PATIENCE, "nothing waits", || {
        let state = story.node.admin().get("/admin/peers").expect(200, "peers").json();
        let entry =
            state["items"].as_array()?.iter().find(|one| one["peer"] == *story.peer.base)?;
        (entry["queued"] == 0).then_some(())
    });
    assert_eq!(posts("/inbox") - before, 3, "one request for each Note");
    for note in &notes {
        assert_eq!(story.peer.taken(&note.id).len(), 1, "{}", note.id);
    }
    story.shows.out("shared inbox");

    story.node.create("bob");
    let bob = story.node.actor("bob");
    let create =
        story.peer.activity("ada", "Create", &story.peer.note("ada", &json!({})), &[PUBLIC]);
    for name in ["alice", "bob"] {
        story.node.follow(name, &story.ada);
    }
    let id = story.peer.send("ada", &[&alice, &bob], true, &create);
    for name in ["alice", "bob"] {
        story.node.receives(name, &id);
    }
    let sent = story.peer.list("/sent");
    let shared = format!("{}/inbox", story.node.base);
    assert_eq!(sent.iter().filter(|one| one["url"] == shared).count(), 1, "{sent:?}");
    story.shows.back("shared inbox");
}

/// Objects of other types than a Note.
#[test]
fn articles_and_questions() {
    let Some(mut story) = Story::begin(RFC_9421, "F5") else { return };
    let follow = story.peer.activity("ada", "Follow", &json!(story.alice), &[]);
    story.ada(false, &follow);
    story.node.lists("alice", "followers", &story.ada);
    story.node.follow("alice", &story.ada);

    let article = json!({
        "type": "Article", "id": format!("{}/notes/article", story.peer.base),
        "attributedTo": story.ada, "name": "On engines", "to": [PUBLIC],
        "summary": "What they may do", "content": "<h2>Notes</h2><p>at length</p>",
        "published": "2026-11-01T10:00:00Z",
    });
    let question = json!({
        "type": "Question", "id": format!("{}/notes/question", story.peer.base),
        "attributedTo": story.ada, "content": "<p>Which?</p>", "to": [PUBLIC],
        "published": "2026-11-01T10:00:00Z", "endTime": "2026-12-01T10:00:00Z", "votersCount": 3,
        "oneOf": [
            { "type": "Note", "name": "this", "replies": { "type": "Collection", "totalItems": 2 } },
            { "type": "Note", "name": "that", "replies": { "type": "Collection", "totalItems": 1 } },
        ],
    });
    for (object, feature) in [(article, "Create of an Article"), (question, "Create of a Question")]
    {
        let mut create = story.peer.activity("ada", "Create", &object, &[PUBLIC]);
        create["@context"] = json!([
            "https://www.w3.org/ns/activitystreams",
            { "votersCount": "http://joinmastodon.org/ns#votersCount" },
        ]);
        let id = story.ada(true, &create);
        let held = story.node.receives("alice", &id);
        for member in ["type", "name", "content", "summary", "endTime", "votersCount"] {
            if let Some(value) = object.get(member) {
                assert_eq!(held["object"][member], *value, "{member} in {held}");
            }
        }
        if let Some(choices) = object.get("oneOf") {
            assert_eq!(held["object"]["oneOf"], *choices, "the choices are kept");
        }
        let object_id = object["id"].as_str().expect("an id");
        eventually(PATIENCE, "it is an object here", || row(&story.node, "objects", &[object_id]));
        eventually(PATIENCE, "and stands in the feed", || {
            let feed = story.node.as_actor("alice").get("/projections/feed?limit=100");
            feed.expect(200, "the feed").text_whole().contains(&id).then_some(())
        });
        story.shows.back(feature);
    }
    let article = json!({
        "type": "Article", "name": "Back", "summary": "in short", "content": "<p>at length</p>",
    });
    let (_, got) = story.alice(&json!({ "type": "Create", "object": article }));
    assert_eq!(got["activity"]["object"]["type"], "Article", "{got}");
    assert_eq!(got["activity"]["object"]["name"], "Back", "{got}");
    story.shows.out("Create of an Article");
}

/// Who moves says so, and the new account agrees: to an actor of Fedify, from either side.
#[test]
fn moves_are_followed() {
    let Some(mut story) = Story::begin(RFC_9421, "F15") else { return };
    let (alice, ada, bert) = (story.alice.clone(), story.ada.clone(), story.peer.actor("bert"));
    story.node.follow("alice", &ada);
    let mut moved = story.peer.activity("ada", "Move", &json!(ada), &[&alice]);
    moved["target"] = json!(bert);
    story.peer.tell("/alias", &json!({ "as": "bert", "of": ada }));
    story.ada(false, &moved);
    eventually(PATIENCE, "alice follows bert, and ada no more", || {
        (story.node.listed("alice", "following") == std::slice::from_ref(&bert)).then_some(())
    });
    story.shows.back("Move");

    let follow = story.peer.activity("ada", "Follow", &json!(alice), &[]);
    story.ada(false, &follow);
    story.node.lists("alice", "followers", &ada);
    story.peer.tell("/alias", &json!({ "as": "bert", "of": alice }));
    let (_, got) = story.alice(&json!({ "type": "Move", "target": bert }));
    assert_eq!(got["type"], "Move", "{got}");
    assert_eq!(got["activity"]["object"], alice.as_str(), "{got}");
    assert_eq!(got["activity"]["target"], bert.as_str(), "{got}");
    let found = story.peer.tell("/lookup", &json!({ "as": "ada", "url": alice }));
    assert_eq!(found["found"]["movedTo"], bert.as_str(), "{found}");
    story.shows.out("Move");
}
