//! Documents in the shapes that well-known servers use, and malformed ones.

use serde_json::{Value, json};

const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

/// Name and document.
pub fn real() -> Vec<(&'static str, Value)> {
    let mut all = mastodon();
    all.extend(gotosocial());
    all.extend(lemmy());
    all.extend(others());
    all.extend(our_own());
    all
}

fn mastodon() -> Vec<(&'static str, Value)> {
    let alice = "https://mastodon.example/users/alice";
    let note = json!({
        "id": "https://mastodon.example/users/alice/statuses/1", "type": "Note",
        "summary": null, "inReplyTo": null, "published": "2026-01-02T03:04:05Z",
        "url": "https://mastodon.example/@alice/1", "attributedTo": alice,
        "to": [PUBLIC], "cc": ["https://mastodon.example/users/alice/followers"],
        "sensitive": false, "atomUri": "https://mastodon.example/users/alice/statuses/1",
        "inReplyToAtomUri": null, "conversation": "tag:mastodon.example,2026:objectId=1",
        "content": "<p>Hi <a href=\"https://b.example/@bob\">@bob</a></p>",
        "contentMap": {"en": "<p>Hi</p>"},
        "attachment": [{
            "type": "Document", "mediaType": "image/png", "url": "https://mastodon.example/1.png",
            "name": "a long text for those who cannot see it", "blurhash": "U", "width": 640,
            "focalPoint": [0.0, 0.5]
        }],
        "tag": [
            {"type": "Mention", "href": "https://b.example/users/bob", "name": "@bob@b.example"},
            {"type": "Hashtag", "href": "https://mastodon.example/tags/cats", "name": "#cats"},
            {"id": "https://mastodon.example/emojis/1", "type": "Emoji", "name": ":cat:",
             "updated": "2026-01-01T00:00:00Z",
             "icon": {"type": "Image", "mediaType": "image/png", "url": "https://m.example/c.png"}}
        ],
        "replies": {
            "id": "https://mastodon.example/users/alice/statuses/1/replies", "type": "Collection",
            "first": {"type": "CollectionPage", "items": []}
        },
        "likes": {"id": "https://mastodon.example/1/likes", "type": "Collection", "totalItems": 0}
    });
    let person = json!({
        "@context": ["https://www.w3.org/ns/activitystreams", "https://w3id.org/security/v1",
            {"toot": "http://joinmastodon.org/ns#"}],
        "id": alice, "type": "Person", "following": format!("{alice}/following"),
        "followers": format!("{alice}/followers"), "inbox": format!("{alice}/inbox"),
        "outbox": format!("{alice}/outbox"), "featured": format!("{alice}/collections/featured"),
        "preferredUsername": "alice", "name": "", "summary": "<p>Hello</p>",
        "url": "https://mastodon.example/@alice", "manuallyApprovesFollowers": false,
        "discoverable": true, "indexable": true, "published": "2020-01-01T00:00:00Z",
        "memorial": false,
        "publicKey": {"id": format!("{alice}#main-key"), "owner": alice,
            "publicKeyPem": "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"},
        "tag": [], "attachment": [{"type": "PropertyValue", "name": "Site", "value": "<a/>"}],
        "endpoints": {"sharedInbox": "https://mastodon.example/inbox"},
        "icon": {"type": "Image", "mediaType": "image/png", "url": "https://m.example/a.png"}
    });
    let question = json!({
        "id": "https://mastodon.example/users/alice/statuses/2", "type": "Question",
        "summary": null, "content": "<p>?</p>", "attributedTo": alice, "to": [PUBLIC],
        "endTime": "2026-02-01T00:00:00Z", "closed": "2026-02-01T00:00:00Z", "votersCount": 3,
        "oneOf": [{"type": "Note", "name": "a", "replies": {"type": "Collection", "totalItems": 1}}]
    });
    let activity = |kind: &str, object: Value| {
        json!({"@context": "https://www.w3.org/ns/activitystreams",
            "id": "https://mastodon.example/activities/1", "type": kind, "actor": alice,
            "object": object})
    };
    let mut create = activity("Create", note.clone());
    create["published"] = json!("2026-01-02T03:04:05Z");
    create["to"] = json!([PUBLIC]);
    create["cc"] = json!(["https://mastodon.example/users/alice/followers"]);
    create["signature"] = json!({"type": "RsaSignature2017", "signatureValue": "x"});
    let mut flag = activity("Flag", json!(["https://b.example/users/bob", "https://b.example/1"]));
    flag["content"] = json!("spam");
    let mut moved = activity("Move", json!(alice));
    moved["target"] = json!("https://b.example/users/alice");
    let mut add = activity("Add", json!("https://mastodon.example/users/alice/statuses/1"));
    add["target"] = json!("https://mastodon.example/users/alice/collections/featured");
    let follow = json!({"id": "https://b.example/1", "type": "Follow",
        "actor": "https://b.example/users/bob", "object": alice});
    vec![
        ("person", person.clone()),
        ("create", create),
        ("question", activity("Create", question)),
        (
            "vote",
            activity(
                "Create",
                json!({"id": "https://mastodon.example/1#vote", "type": "Note",
            "name": "a", "attributedTo": alice, "to": "https://b.example/users/bob",
            "inReplyTo": "https://b.example/1"}),
            ),
        ),
        ("update of a note", activity("Update", note)),
        ("update of the actor", activity("Update", person)),
        (
            "delete of a note",
            activity(
                "Delete",
                json!({"id": "https://mastodon.example/1",
            "type": "Tombstone", "atomUri": "https://mastodon.example/1"}),
            ),
        ),
        ("delete of the actor", activity("Delete", json!(alice))),
        ("follow", activity("Follow", json!("https://b.example/users/bob"))),
        ("follow of a relay", activity("Follow", json!(PUBLIC))),
        ("accept", activity("Accept", follow.clone())),
        ("reject", activity("Reject", follow)),
        ("like", activity("Like", json!("https://b.example/1"))),
        (
            "undo",
            activity(
                "Undo",
                json!({"id": "https://mastodon.example/1", "type": "Announce",
            "actor": alice, "object": "https://b.example/1", "to": [PUBLIC]}),
            ),
        ),
        ("block", activity("Block", json!("https://b.example/users/bob"))),
        ("announce", activity("Announce", json!("https://b.example/1"))),
        ("flag", flag),
        ("move", moved),
        ("add", add),
    ]
}

/// GoToSocial writes lists of one as the one thing.
fn gotosocial() -> Vec<(&'static str, Value)> {
    let actor = "https://gts.example/users/carol";
    vec![
        (
            "gotosocial create",
            json!({
                "@context": "https://www.w3.org/ns/activitystreams", "actor": actor,
                "cc": "https://gts.example/users/carol/followers", "to": PUBLIC,
                "id": "https://gts.example/users/carol/statuses/01#Create", "type": "Create",
                "published": "2026-01-02T03:04:05Z",
                "object": {
                    "attachment": {"type": "Document", "mediaType": "image/jpeg", "url": "https://x.example/1"},
                    "attributedTo": actor, "cc": "https://gts.example/users/carol/followers",
                    "content": "<p>one</p>", "contentMap": {"en": "<p>one</p>"},
                    "id": "https://gts.example/users/carol/statuses/01",
                    "interactionPolicy": {"canLike": {"always": [PUBLIC]}},
                    "replies": {"type": "Collection", "first": {"type": "CollectionPage"}},
                    "sensitive": false, "summary": "",
                    "tag": {"href": "https://b.example/users/bob", "name": "@bob@b.example", "type": "Mention"},
                    "to": PUBLIC, "type": "Note", "url": "https://gts.example/@carol/statuses/01"
                }
            }),
        ),
        (
            "gotosocial accept",
            json!({
                "@context": "https://www.w3.org/ns/activitystreams", "actor": actor,
                "id": "https://gts.example/users/carol/accepts/1", "to": "https://b.example/users/bob",
                "object": {"actor": "https://b.example/users/bob", "id": "https://b.example/f/1",
                    "object": actor, "to": actor, "type": "Follow"},
                "type": "Accept"
            }),
        ),
        (
            "gotosocial actor",
            json!({
                "id": actor, "type": "Person", "preferredUsername": "carol", "name": "Carol",
                "inbox": "https://gts.example/users/carol/inbox",
                "outbox": "https://gts.example/users/carol/outbox", "discoverable": false,
                "alsoKnownAs": ["https://b.example/users/carol"], "endpoints": {"sharedInbox": "https://gts.example/sharedInbox"},
                "icon": {"type": "Image", "url": "https://gts.example/i", "name": null},
                "attachment": {"type": "PropertyValue", "name": "a", "value": "b"},
                "publicKey": {"id": "https://gts.example/users/carol/main-key", "owner": actor,
                    "publicKeyPem": "-----BEGIN PUBLIC KEY-----"}, "tag": []
            }),
        ),
    ]
}

fn lemmy() -> Vec<(&'static str, Value)> {
    let page = json!({
        "type": "Page", "id": "https://lemmy.example/post/1", "attributedTo": "https://lemmy.example/u/dan",
        "to": ["https://lemmy.example/c/cats", PUBLIC], "cc": [],
        "audience": "https://lemmy.example/c/cats", "name": "A cat", "content": "<p>x</p>",
        "mediaType": "text/html", "source": {"content": "x", "mediaType": "text/markdown"},
        "attachment": [{"href": "https://x.example/1.png", "type": "Link"}],
        "image": {"type": "Image", "url": "https://x.example/1.png"}, "commentsEnabled": true,
        "sensitive": false, "language": {"identifier": "en", "name": "English"},
        "published": "2026-01-02T03:04:05.123456Z",
        "tag": [{"href": "https://lemmy.example/post/1", "name": "#cats", "type": "Hashtag"}]
    });
    let create = json!({
        "id": "https://lemmy.example/activities/create/1", "type": "Create",
        "actor": "https://lemmy.example/u/dan", "to": ["https://lemmy.example/c/cats", PUBLIC],
        "cc": ["https://lemmy.example/c/cats"], "audience": "https://lemmy.example/c/cats",
        "object": page
    });
    vec![
        (
            "lemmy announce of a create",
            json!({
                "@context": ["https://join-lemmy.org/context.json", "https://www.w3.org/ns/activitystreams"],
                "id": "https://lemmy.example/activities/announce/1", "type": "Announce",
                "actor": "https://lemmy.example/c/cats", "to": [PUBLIC],
                "cc": ["https://lemmy.example/c/cats/followers"], "object": create
            }),
        ),
        ("lemmy create", create),
        (
            "lemmy group",
            json!({
                "type": "Group", "id": "https://lemmy.example/c/cats", "preferredUsername": "cats",
                "name": "Cats", "summary": "<p>rules</p>".repeat(1_000), "sensitive": false,
                "source": {"content": "rules", "mediaType": "text/markdown"},
                "inbox": "https://lemmy.example/c/cats/inbox", "outbox": "https://lemmy.example/c/cats/outbox",
                "followers": "https://lemmy.example/c/cats/followers",
                "featured": "https://lemmy.example/c/cats/featured",
                "attributedTo": "https://lemmy.example/c/cats/moderators", "postingRestrictedToMods": false,
                "endpoints": {"sharedInbox": "https://lemmy.example/inbox"}, "language": [],
                "publicKey": {"id": "https://lemmy.example/c/cats#main-key",
                    "owner": "https://lemmy.example/c/cats", "publicKeyPem": "-----BEGIN PUBLIC KEY-----"}
            }),
        ),
        (
            "lemmy site",
            json!({
                "type": "Application", "id": "https://lemmy.example/", "name": "Lemmy",
                "inbox": "https://lemmy.example/inbox", "outbox": "https://lemmy.example/outbox",
                "publicKey": {"id": "https://lemmy.example/#main-key", "owner": "https://lemmy.example/",
                    "publicKeyPem": "-----BEGIN PUBLIC KEY-----"}
            }),
        ),
        (
            "lemmy report",
            json!({
                "id": "https://lemmy.example/activities/flag/1", "type": "Flag",
                "actor": "https://lemmy.example/u/dan", "to": ["https://lemmy.example/c/cats"],
                "object": "https://lemmy.example/post/1", "summary": "spam"
            }),
        ),
        (
            "lemmy block",
            json!({
                "id": "https://lemmy.example/activities/block/1", "type": "Block",
                "actor": "https://lemmy.example/u/dan", "to": [PUBLIC],
                "object": "https://lemmy.example/u/eve", "cc": ["https://lemmy.example/c/cats"],
                "target": "https://lemmy.example/c/cats", "removeData": true, "summary": "spam"
            }),
        ),
    ]
}

fn others() -> Vec<(&'static str, Value)> {
    vec![
        (
            "misskey reaction",
            json!({
                "type": "Like", "id": "https://misskey.example/likes/1",
                "actor": "https://misskey.example/users/9", "object": "https://b.example/1",
                "content": ":cat:", "_misskey_reaction": ":cat:",
                "tag": [{"id": "https://misskey.example/emojis/cat", "type": "Emoji", "name": ":cat:",
                    "icon": {"type": "Image", "url": "https://misskey.example/cat.png"}}]
            }),
        ),
        (
            "misskey quote without text",
            json!({
                "id": "https://misskey.example/notes/1/activity", "type": "Create",
                "actor": "https://misskey.example/users/9", "published": "2026-01-02T03:04:05.000Z",
                "to": [PUBLIC], "cc": ["https://misskey.example/users/9/followers"],
                "object": {"id": "https://misskey.example/notes/1", "type": "Note",
                    "attributedTo": "https://misskey.example/users/9", "summary": null, "content": null,
                    "_misskey_quote": "https://b.example/1", "quoteUrl": "https://b.example/1",
                    "attachment": [], "sensitive": false, "tag": []}
            }),
        ),
        (
            "misskey person",
            json!({
                "type": "Person", "id": "https://misskey.example/users/9",
                "inbox": "https://misskey.example/users/9/inbox", "preferredUsername": "nine",
                "name": null, "summary": null, "_misskey_summary": null, "icon": null, "image": null,
                "tag": [], "manuallyApprovesFollowers": false, "isCat": true, "backgroundUrl": null,
                "publicKey": {"id": "https://misskey.example/users/9#main-key", "type": "Key",
                    "owner": "https://misskey.example/users/9", "publicKeyPem": "-----BEGIN PUBLIC KEY-----"}
            }),
        ),
        (
            "akkoma reaction",
            json!({
                "id": "https://akkoma.example/activities/1", "type": "EmojiReact", "content": "🔥",
                "actor": "https://akkoma.example/users/frank", "object": "https://b.example/1",
                "context": "https://akkoma.example/contexts/1", "to": ["https://b.example/users/bob"],
                "cc": [PUBLIC], "tag": []
            }),
        ),
        (
            "akkoma note",
            json!({
                "id": "https://akkoma.example/activities/2", "type": "Create", "directMessage": false,
                "actor": "https://akkoma.example/users/frank", "context": "https://akkoma.example/contexts/1",
                "to": [PUBLIC], "cc": [], "published": "2026-01-02T03:04:05.123Z",
                "object": {"id": "https://akkoma.example/objects/2", "type": "Note", "actor":
                    "https://akkoma.example/users/frank", "attributedTo": "https://akkoma.example/users/frank",
                    "content": "x", "contentMap": {"en": "x"}, "source": {"content": "x", "mediaType": "text/plain"},
                    "emoji": {}, "likes": [], "like_count": 0, "attachment": [], "sensitive": null,
                    "tag": [{"type": "Hashtag", "href": "https://akkoma.example/tag/x", "name": "#x"}, "x"]}
            }),
        ),
        (
            "a bare undo",
            json!({
                "id": "https://mitra.example/activities/1", "type": "Undo",
                "actor": "https://mitra.example/users/g", "object": "https://mitra.example/activities/0"
            }),
        ),
        (
            "peertube video",
            json!({
                "id": "https://tube.example/w/1/activity", "type": "Create",
                "actor": "https://tube.example/accounts/h", "to": [PUBLIC], "cc": [],
                "object": {"id": "https://tube.example/w/1", "type": "Video", "name": "A film",
                    "duration": "PT10S", "uuid": "1", "content": "about", "mediaType": "text/markdown",
                    "attributedTo": [{"type": "Person", "id": "https://tube.example/accounts/h"}],
                    "url": [{"type": "Link", "mediaType": "text/html", "href": "https://tube.example/w/1"}],
                    "tag": [{"type": "Hashtag", "name": "film"}], "icon": [{"type": "Image", "url": "https://t.example/1"}]}
            }),
        ),
        (
            "an unknown verb",
            json!({
                "id": "https://x.example/1", "type": "QuoteRequest", "actor": "https://x.example/a",
                "object": "https://b.example/1", "instrument": "https://x.example/2"
            }),
        ),
    ]
}

/// As they are before they are sealed: without id and proof.
fn our_own() -> Vec<(&'static str, Value)> {
    let actor = "https://home.example/actors/ann";
    let activity = |kind: &str, object: Value| {
        json!({"@context": ["https://www.w3.org/ns/activitystreams", {"seq": "https://x.example/seq"}],
            "type": kind, "actor": actor, "published": "2026-01-02T03:04:05Z", "epoch": 0, "seq": 4,
            "salt": "AAAAAAAAAAAAAAAAAAAAAA", "to": [PUBLIC], "cc": [format!("{actor}/followers")],
            "object": object})
    };
    let mut endorse = activity("Endorse", json!("https://b.example/1"));
    endorse["kind"] = json!("share");
    let mut follow = activity("Follow", json!("https://b.example/users/bob"));
    follow["backfill"] = json!({"mode": "last-N", "limit": 100});
    let mut rotation = activity("Update", json!({"id": actor, "type": "Person"}));
    rotation["patch"] = json!({"add_publicKey": {"id": "k2", "publicKeyMultibase": "z6Mk"},
        "supersede": {"old": "k1", "new": "k2"}});
    vec![
        (
            "note",
            activity(
                "Create",
                json!({"id": "https://home.example/objects/1", "type": "Note",
            "content": "hi", "tags": ["cats"], "attributedTo": actor}),
            ),
        ),
        (
            "person",
            activity(
                "Create",
                json!({"id": actor, "type": "Person", "name": "ann",
            "preferredUsername": "ann", "assertionMethod": [{"type": "Multikey"}]}),
            ),
        ),
        ("endorse", endorse),
        ("follow with backfill", follow),
        ("key rotation", rotation),
        (
            "verb",
            activity(
                "DefineActivity",
                json!({"type": "DefineActivity", "name": "Pin",
            "schema": {"type": "object"}, "audience": ["Public"], "refersTo": "object"}),
            ),
        ),
        (
            "projection",
            activity(
                "DefineProjection",
                json!({"type": "DefineProjection",
            "name": "pin-state", "key": "object", "initial": {}, "fold": "this.n += 1"}),
            ),
        ),
        ("subscription", activity("DefineSubscription", json!({"name": "cats", "tag": "#cats"}))),
        (
            "trigger",
            activity(
                "DefineTrigger",
                json!({"name": "echo",
            "when": {"type": "Create", "guard": "true"}, "then": "#{type: \"TestEcho\"}"}),
            ),
        ),
        ("subtype", activity("SubtypeOf", json!({"name": "Pin", "of": "Like"}))),
    ]
}

/// What the error must contain, and a document that it is about.
pub fn malformed() -> Vec<(&'static str, Value)> {
    let activity = |kind: &str, object: Value| json!({"type": kind, "actor": "https://a.example/u", "object": object});
    let with = |mut document: Value, member: &str, value: Value| {
        document[member] = value;
        document
    };
    let create = |object: Value| activity("Create", object);
    let follow = || activity("Follow", json!("https://b.example/u"));
    let define = |kind: &str, object: Value| activity(kind, object);
    vec![
        ("envelope /actor", with(follow(), "actor", json!(7))),
        ("envelope /to/1", with(follow(), "to", json!(["https://b.example/u", 7]))),
        ("envelope /cc/0: \"id\" is a required", with(follow(), "cc", json!([{"type": "Person"}]))),
        ("envelope /seq", with(follow(), "seq", json!(-1))),
        ("envelope /published", with(follow(), "published", json!(1))),
        (
            "Create the document: \"object\" is a required",
            json!({"type": "Create", "actor": "https://a.example/u"}),
        ),
        ("Create /object", create(json!("hello"))),
        ("Create /object: \"type\" is a required", create(json!({"content": "hello"}))),
        ("Note the document: \"content\" is a required", create(json!({"type": "Note"}))),
        ("Note /content", create(json!({"type": "Note", "content": {"text": "x"}}))),
        ("Note /content", create(json!({"type": "Note", "content": null}))),
        ("Note /contentMap/en", create(json!({"type": "Note", "contentMap": {"en": 1}}))),
        ("Note /name", create(json!({"type": "Note", "name": "x".repeat(501)}))),
        ("Note /tag/0/href", create(json!({"type": "Note", "content": "x", "tag": [{"href": 1}]}))),
        (
            "Note /summary",
            create(json!({"type": "Note", "content": "x", "summary": "x".repeat(5_001)})),
        ),
        ("Note /attachment/0", create(json!({"type": "Note", "content": "x", "attachment": [1]}))),
        ("Person /preferredUsername", create(json!({"type": "Person", "preferredUsername": ""}))),
        ("Person /publicKey: \"publicKeyPem\"", create(json!({"type": "Person", "publicKey": {}}))),
        ("Question the document: \"oneOf\"", create(json!({"type": "Question", "content": "?"}))),
        ("Tombstone the document: \"id\"", activity("Delete", json!({"type": "Tombstone"}))),
        ("Delete /object: \"type\" is a required", activity("Delete", json!({}))),
        ("Follow /object", activity("Follow", json!("bob"))),
        ("Follow /object/id", activity("Follow", json!({"id": "bob"}))),
        ("Follow /object", activity("Follow", json!(["https://b.example/u"]))),
        ("Follow /backfill: \"mode\"", with(follow(), "backfill", json!({}))),
        ("Follow /backfill/mode", with(follow(), "backfill", json!({"mode": "some"}))),
        ("Follow /backfill: \"limit\"", with(follow(), "backfill", json!({"mode": "last-N"}))),
        (
            "Follow /backfill/limit",
            with(follow(), "backfill", json!({"mode": "last-N", "limit": 0})),
        ),
        ("Follow /backfill: \"duration\"", with(follow(), "backfill", json!({"mode": "last-T"}))),
        ("Undo /object", activity("Undo", json!(""))),
        ("Accept /object", activity("Accept", json!("x".repeat(2_049)))),
        ("Like the document: \"object\"", json!({"type": "Like", "actor": "https://a.example/u"})),
        (
            "EmojiReact the document: \"content\"",
            activity("EmojiReact", json!("https://b.example/1")),
        ),
        ("Move the document: \"target\"", activity("Move", json!("https://a.example/u"))),
        ("Flag /object", activity("Flag", json!([]))),
        ("Flag /object/1", activity("Flag", json!(["https://b.example/1", 2]))),
        ("Announce /object", activity("Announce", json!(null))),
        ("Endorse the document: \"kind\"", activity("Endorse", json!("https://b.example/1"))),
        (
            "Endorse /kind",
            with(activity("Endorse", json!("https://b.example/1")), "kind", json!("hate")),
        ),
        ("DefineActivity /object", define("DefineActivity", json!("https://b.example/1"))),
        ("DefineActivity /object: \"name\"", define("DefineActivity", json!({"schema": {}}))),
        ("DefineActivity /object/name", define("DefineActivity", json!({"name": "a b"}))),
        (
            "DefineActivity /object/type",
            define("DefineActivity", json!({"type": "DefineObject", "name": "a"})),
        ),
        (
            "DefineActivity /object/schema",
            define("DefineActivity", json!({"name": "a", "schema": "x"})),
        ),
        (
            "DefineActivity /object/audience/0",
            define("DefineActivity", json!({"name": "a", "audience": ["x"]})),
        ),
        ("DefineProjection /object: \"fold\"", define("DefineProjection", json!({"name": "a"}))),
        (
            "DefineTrigger /object/when: ",
            define("DefineTrigger", json!({"name": "a", "when": {}, "then": ""})),
        ),
        ("DefineValidator /object: \"schema\"", define("DefineValidator", json!({"name": "a"}))),
    ]
}
