//! Definitions: they take effect from their position on, are superseded, withdrawn, adopted.

use fedsx_kernel::Cid;
use serde_json::{Value, json};

use crate::support::node::{Node, verify};
use crate::support::verbs::Published;
use crate::support::{PATIENCE, PUBLIC, eventually};

/// The CID of a definition as it is published.
fn cid_of(kind: &str, object: &Value) -> String {
    let mut document = object.clone();
    document["type"] = kind.into();
    Cid::of(&document).expect("a definition").to_string()
}

#[track_caller]
fn define(node: &Node, kind: &str, object: &Value) -> Published {
    node.publish("operator", &json!({ "type": kind, "object": object }))
}

/// The row of a definition in `define-registry`.
fn row(node: &Node, kind: &str, name: &str, cid: &str, min_seq: u64) -> Value {
    let query = format!("?key={kind}&key={name}&limit=100&min_seq={min_seq}");
    let rows = node.projection("define-registry", &query);
    let row = rows.into_iter().find(|row| row["key"][2] == cid);
    row.map_or(Value::Null, |row| row["value"].clone())
}

fn status(node: &Node, kind: &str, name: &str, cid: &str, min_seq: u64) -> String {
    row(node, kind, name, cid, min_seq)["status"].as_str().unwrap_or("none").to_owned()
}

fn verb(summary: &str, required: &str) -> Value {
    json!({
        "name": "Pin", "summary": summary, "audience": ["Public"],
        "schema": { "type": "object", "required": [required] },
    })
}

#[test]
fn a_newer_definition_supersedes_from_its_position_on() {
    let mut node = Node::start();
    node.create("alice");
    node.create("operator");
    let (one, two) = (verb("One.", "path"), verb("Two.", "place"));
    let (cid_one, cid_two) = (cid_of("DefineActivity", &one), cid_of("DefineActivity", &two));
    let first = define(&node, "DefineActivity", &one);
    let by_path = json!({ "type": "Pin", "path": "/here" });
    let by_place = json!({ "type": "Pin", "place": "here" });
    let pin = |node: &Node, request: &Value| node.as_actor("alice").post("/activity", request);
    pin(&node, &by_path).expect(201, "by the first definition");
    pin(&node, &by_place).refused(422, "schema-violation", "by the first definition");
    let second = define(&node, "DefineActivity", &two);
    let problem = pin(&node, &by_path);
    let problem = problem.refused(422, "schema-violation", "by the second definition");
    assert_eq!(problem["definition"], cid_two, "the problem names the definition");
    assert_eq!(problem["violations"][0]["rule"], "/required", "and the rule: {problem}");
    pin(&node, &by_place).expect(201, "by the second definition");
    let status = |node: &Node, cid: &str, at: u64| status(node, "activity-types", "Pin", cid, at);
    assert_eq!(status(&node, &cid_one, second.global_seq), "superseded");
    assert_eq!(status(&node, &cid_two, second.global_seq), "local");
    let held = row(&node, "activity-types", "Pin", &cid_two, 0);
    assert_eq!((&held["version"], &held["since"]), (&json!(2), &json!(second.global_seq)));
    assert_eq!(
        (&held["origin"], &held["author"]),
        (&json!(second.id), &json!(node.actor("operator")))
    );

    // Both stay readable, unchanged, under their CIDs.
    for (cid, object) in [(&cid_one, &one), (&cid_two, &two)] {
        let path = format!("/types/{cid}");
        let served = node.client().get(&path).expect(200, "a definition");
        assert_eq!(served.json()["summary"], object["summary"]);
        assert_eq!(cid_of("DefineActivity", &served.json()), *cid);
        let block = node.client().get_as(&path, "application/vnd.ipld.dag-cbor");
        assert_eq!(Cid::of_block(&block.expect(200, "the block").body).to_string(), *cid);
    }
    let none = Cid::of_block(b"none");
    assert_eq!(node.client().get(&format!("/types/{none}")).status, 404);
    assert_eq!(node.client().get("/types/none").status, 404);

    // What is taken back leaves the one before; old activities stay judged by theirs.
    let undone = node.publish("operator", &json!({ "type": "Undo", "object": second.id }));
    assert_eq!(status(&node, &cid_two, undone.global_seq), "withdrawn");
    assert_eq!(status(&node, &cid_one, undone.global_seq), "local");
    pin(&node, &by_path).expect(201, "by the first definition again");
    node.restart();
    pin(&node, &by_place).refused(422, "schema-violation", "after a restart");
    let removed = node.publish("operator", &json!({ "type": "Remove", "object": first.cid }));
    assert_eq!(status(&node, &cid_one, removed.global_seq), "withdrawn");
    pin(&node, &by_path).refused(422, "unknown-activity-type", "after its removal");
    node.publish("operator", &json!({ "type": "Add", "object": cid_one }));
    pin(&node, &by_path).expect(201, "when it is added again");
    let data = node.into_data();
    let ended = verify(data.path());
    assert_eq!(ended.code, Some(0), "{}", ended.all());
}

#[test]
fn the_scope_define_is_needed_for_every_change() {
    let node = Node::start();
    node.create("alice");
    node.create("operator");
    let defined = define(&node, "DefineActivity", &verb("A verb.", "path"));
    let cid = cid_of("DefineActivity", &verb("A verb.", "path"));
    for request in [
        json!({ "type": "DefineActivity", "object": { "name": "Pan" } }),
        json!({ "type": "SubtypeOf", "object": { "name": "Article", "of": "Note" } }),
        json!({ "type": "Remove", "object": cid }),
        json!({ "type": "Remove", "object": defined.id }),
        json!({ "type": "Add", "object": cid }),
    ] {
        let refused = node.as_actor("alice").post("/activity", &request);
        let problem = refused.refused(403, "insufficient-scope", &request.to_string());
        assert_eq!(problem["failed_check"], "scope:define");
    }
    // Collections are another thing.
    let add = json!({ "type": "Add", "object": defined.id, "target": "https://x.example/c" });
    node.publish("alice", &add);
    for (case, kind, object) in [
        ("a genesis verb", "DefineActivity", json!({ "name": "Create" })),
        ("a genesis type", "DefineObject", json!({ "name": "Person" })),
    ] {
        let request = json!({ "type": kind, "object": object });
        let refused = node.as_actor("operator").post("/activity", &request);
        refused.refused(403, "not-authorised", case);
    }
    let create = node.projection("define-registry", "?key=activity-types&key=Create");
    let remove = json!({ "type": "Remove", "object": create[0]["value"]["cid"] });
    let refused = node.as_actor("operator").post("/activity", &remove);
    refused.refused(403, "not-authorised", "removing what genesis defines");
}

#[test]
fn subtypes_are_checked_by_their_supertypes_too() {
    let node = Node::start();
    node.create("alice");
    node.create("operator");
    let create = |object: Value| {
        node.as_actor("alice").post("/activity", &json!({ "type": "Create", "object": object }))
    };
    let task = json!({
        "name": "Task", "subtypeOf": "Note",
        "schema": { "type": "object", "properties": { "done": { "type": "boolean" } } },
    });
    define(&node, "DefineType", &task);
    create(json!({ "type": "Task", "content": "wash up", "done": false })).expect(201, "a Task");
    let problem = create(json!({ "type": "Task", "content": "wash up", "done": "no" }));
    let problem = problem.refused(422, "schema-violation", "not as a Task");
    assert_eq!(problem["violations"][0]["path"], "/object/done");
    let problem = create(json!({ "type": "Task", "content": 7 }));
    let problem = problem.refused(422, "schema-violation", "not as a Note");
    assert_eq!(problem["violations"][0]["path"], "/object/content");

    define(&node, "DefineObject", &json!({ "name": "Link2", "schema": { "required": ["href"] } }));
    create(json!({ "type": "Link2", "href": "https://x.example" })).expect(201, "a Link2");
    define(&node, "SubtypeOf", &json!({ "name": "Link2", "of": ["Task"] }));
    create(json!({ "type": "Link2", "href": "https://x.example" })).refused(
        422,
        "schema-violation",
        "no Note, which a Task is",
    );
    let whole = json!({ "type": "Link2", "href": "https://x.example", "content": "x" });
    create(whole).expect(201, "all of it");
    // What folds Notes folds what is also a Note, however far below, from the beginning.
    let notes = json!({
        "name": "note-count", "when": { "type": "Create", "object": "Note" },
        "initial": 0, "fold": "state += 1",
    });
    define(&node, "DefineProjection", &notes);
    let count = |after: &Published| {
        let rows = node.projection("note-count", &format!("?min_seq={}", after.global_seq));
        rows.first().map_or(Value::Null, |row| row["value"].clone())
    };
    assert_eq!(count(&node.note("alice", "plain")), 4, "a Note, a Task and both Link2");
    let page = json!({ "name": "Leaflet", "schema": {} });
    define(&node, "DefineObject", &page);
    create(json!({ "type": "Leaflet", "content": "x" })).expect(201, "a Leaflet");
    assert_eq!(count(&node.note("alice", "plain")), 5, "a Leaflet is no Note");
    let stated = define(&node, "SubtypeOf", &json!({ "name": "Leaflet", "of": "Note" }));
    // The older state is served until the newer one is built.
    eventually(PATIENCE, "until somebody says so", || (count(&stated) == 6).then_some(()));
    let published = node.projection("define-registry", "?key=subtypes&key=Link2");
    assert_eq!(published[0]["value"]["status"], "local");
    for (case, kind, object) in [
        ("a circle", "SubtypeOf", json!({ "name": "Note", "of": "Link2" })),
        ("itself", "SubtypeOf", json!({ "name": "Note", "of": "Note" })),
        ("an unknown type", "DefineType", json!({ "name": "X", "subtypeOf": "Nothing" })),
        ("no type", "SubtypeOf", json!({ "name": "Note" })),
    ] {
        let request = json!({ "type": kind, "object": object });
        let refused = node.as_actor("operator").post("/activity", &request);
        assert_eq!(refused.status, 422, "{case}: {}", refused.text());
    }
}

#[test]
fn validators_check_what_they_say() {
    let node = Node::start();
    node.create("alice");
    node.create("operator");
    let brief = json!({
        "name": "brief", "validates": { "object": "Note" },
        "schema": { "properties": { "content": { "maxLength": 20 } } },
    });
    let polite = json!({
        "name": "polite", "validates": { "activity": ["Follow", "Announce"] },
        "schema": { "required": ["summary"] },
    });
    let defined = define(&node, "DefineValidator", &brief);
    define(&node, "DefineValidator", &polite);
    let note = |text: &str| {
        let note = json!({ "type": "Create", "object": { "type": "Note", "content": text } });
        node.as_actor("alice").post("/activity", &note)
    };
    note("short").expect(201, "a short Note");
    let problem = note("much longer than it may be");
    let problem = problem.refused(422, "schema-violation", "a long Note");
    assert_eq!(problem["violations"][0]["path"], "/object/content");
    assert_eq!(problem["definition"], cid_of("DefineValidator", &brief));
    let follow = |more: Value| {
        let mut follow = json!({ "type": "Follow", "object": node.actor("operator") });
        follow.as_object_mut().expect("an object").extend(more.as_object().expect("more").clone());
        node.as_actor("alice").post("/activity", &follow)
    };
    follow(json!({})).refused(422, "schema-violation", "without a word");
    follow(json!({ "summary": "May I?" })).expect(201, "with a word");
    let barring = json!({ "name": "bar", "validates": { "activity": "Remove" }, "schema": false });
    let request = json!({ "type": "DefineValidator", "object": barring });
    let refused = node.as_actor("operator").post("/activity", &request);
    refused.refused(422, "schema-violation", "validators cannot bar the way back");
    // A guard decides what a schema cannot say.
    let calm = json!({
        "name": "calm", "validates": { "object": "Note" },
        "guard": "document.content != document.content.to_upper()",
    });
    define(&node, "DefineValidator", &calm);
    note("calm").expect(201, "a calm Note");
    let problem = note("SHOUTED").refused(422, "schema-violation", "a loud Note");
    assert_eq!(problem["violations"][0]["rule"], "/guard");
    let request = json!({
        "type": "DefineValidator",
        "object": { "name": "broken", "validates": { "object": "Note" }, "guard": "let x = ;" },
    });
    let refused = node.as_actor("operator").post("/activity", &request);
    refused.refused(422, "schema-violation", "a guard that is no script");
    let endless = json!({
        "name": "calm", "validates": { "object": "Note" }, "guard": "loop { }",
    });
    let endless = define(&node, "DefineValidator", &endless);
    note("calm").refused(422, "schema-violation", "a guard that does not end is stopped");
    node.publish("operator", &json!({ "type": "Remove", "object": endless.id }));
    note("calm").expect(201, "the guard before it");
    node.publish("operator", &json!({ "type": "Remove", "object": defined.id }));
    note("much longer than it may be").expect(201, "when the validator is gone");
}

#[test]
fn an_audience_is_expanded_when_it_is_addressed() {
    let node = Node::start();
    for name in ["alice", "bob", "carol", "operator"] {
        node.create(name);
    }
    define(
        &node,
        "DefineAudience",
        &json!({ "name": "pair", "ids": ["bob", node.actor("carol")] }),
    );
    define(
        &node,
        "DefineAudience",
        &json!({ "name": "crew", "ids": ["audience:pair", "Followers"] }),
    );
    let note = |to: &str, member: &str| json!({ "type": "Create", member: [to], "object": { "type": "Note", "content": "x" } });
    let published = node.publish("alice", &note("audience:crew", "to"));
    let stated = node.as_actor("bob").get(&published.id).expect(200, "for bob").json();
    let followers = format!("{}/followers", node.actor("alice"));
    assert_eq!(stated["to"], json!([node.actor("bob"), node.actor("carol"), followers]));
    node.receives("carol", &published.id);
    assert_eq!(node.client().get(&published.id).status, 404, "nobody else");
    let hidden = node.publish("alice", &note("audience:pair", "bto"));
    node.receives("carol", &hidden.id);
    let stated = node.as_actor("bob").get(&hidden.id).expect(200, "for bob").json();
    assert!(!stated.to_string().contains("carol"), "hidden recipients stay hidden: {stated}");
    // A newer definition counts for what is published after it.
    define(&node, "DefineAudience", &json!({ "name": "pair", "ids": ["bob"] }));
    let later = node.publish("alice", &note("audience:crew", "to"));
    node.receives("bob", &later.id);
    let stated = node.as_actor("bob").get(&later.id).expect(200, "for bob").json();
    assert_eq!(stated["to"], json!([node.actor("bob"), followers]));
    let refused = node.as_actor("alice").post("/activity", &note("audience:none", "to"));
    refused.refused(422, "unknown-reference", "an audience that is not defined");
    for (case, ids) in [
        ("itself", json!(["audience:pair"])),
        ("in a circle", json!(["audience:crew"])),
        ("an unknown one", json!(["audience:none"])),
        ("no id", json!(["not an id"])),
    ] {
        let object = json!({ "name": "pair", "ids": ids });
        let request = json!({ "type": "DefineAudience", "object": object });
        let refused = node.as_actor("operator").post("/activity", &request);
        refused.refused(422, "schema-violation", case);
    }
    // What few may know, few may use.
    let secret = json!({
        "type": "DefineAudience", "to": [node.actor("bob")],
        "object": { "name": "secret", "ids": ["carol"] },
    });
    node.publish("operator", &secret);
    node.publish("bob", &note("audience:secret", "to"));
    let refused = node.as_actor("alice").post("/activity", &note("audience:secret", "to"));
    refused.refused(422, "unknown-reference", "an audience that alice does not know");
}

#[test]
fn a_peers_definition_waits_to_be_adopted() {
    let (a, b) = (Node::start(), Node::start());
    a.create("operator");
    a.create("alice");
    for name in ["bob", "operator"] {
        b.create(name);
    }
    b.follow("bob", &a.actor("operator"));
    b.follow("bob", &a.actor("alice"));
    let pin = verb("Keeps a path.", "path");
    let cid = cid_of("DefineActivity", &pin);
    let offered = define(&a, "DefineActivity", &pin);
    b.receives("bob", &offered.id);
    let stands = |status: &str| {
        eventually(PATIENCE, &format!("{status} on B"), || {
            let found = self::status(&b, "activity-types", "Pin", &cid, 0);
            (found == status).then_some(())
        });
    };
    stands("offered");
    let held = row(&b, "activity-types", "Pin", &cid, 0);
    assert_eq!(
        (&held["author"], &held["origin"]),
        (&json!(a.actor("operator")), &json!(offered.id))
    );
    let served = b.client().get(&format!("/types/{cid}")).expect(200, "it is public").json();
    assert_eq!(served["summary"], "Keeps a path.");
    // Its verb is unknown here: kept, and shown as such.
    let pinned = a.publish("alice", &json!({ "type": "Pin", "path": "/a", "to": [PUBLIC] }));
    b.receives("bob", &pinned.id);
    let unknown = |id: &str| {
        eventually(PATIENCE, "the feed of bob shows it", || {
            let feed = b.as_actor("bob").get("/projections/feed?limit=100").json();
            let items = feed["items"].as_array().expect("items").clone();
            items.into_iter().find(|item| item["value"]["id"] == id)
        })["value"]["unknown"]
            .clone()
    };
    assert_eq!(unknown(&pinned.id), true);
    let own = json!({ "type": "Pin", "path": "/b" });
    let refused = b.as_actor("operator").post("/activity", &own);
    refused.refused(422, "unknown-activity-type", "nothing of it runs on B");

    let adopt = json!({ "type": "Add", "object": cid });
    let refused = b.as_actor("bob").post("/activity", &adopt);
    refused.refused(403, "insufficient-scope", "bob may not define");
    let adopted = b.publish("operator", &adopt);
    let stated = b.client().get(&adopted.id).expect(200, "the Add").json();
    assert_eq!(
        (&stated["object"]["name"], &stated["origin"]["id"]),
        (&json!("Pin"), &json!(offered.id))
    );
    stands("adopted");
    b.publish("operator", &own);
    let wrong = b.as_actor("bob").post("/activity", &json!({ "type": "Pin", "place": "x" }));
    wrong.refused(422, "schema-violation", "B validates by what it adopted");
    let again = a.publish("alice", &json!({ "type": "Pin", "path": "/c", "to": [PUBLIC] }));
    b.receives("bob", &again.id);
    assert_eq!(unknown(&again.id), Value::Null, "now it is known");

    b.publish("operator", &json!({ "type": "Remove", "object": cid }));
    stands("offered");
    let refused = b.as_actor("operator").post("/activity", &own);
    refused.refused(422, "unknown-activity-type", "Remove ends it");
    // The id of the activity names the definition, too; what its author takes back is over.
    b.publish("operator", &json!({ "type": "Add", "object": offered.id }));
    let undone = a.publish("operator", &json!({ "type": "Undo", "object": offered.id }));
    b.receives("bob", &undone.id);
    stands("adopted");
    b.publish("operator", &json!({ "type": "Remove", "object": offered.id }));
    stands("withdrawn");
    let refused = b.as_actor("operator").post("/activity", &adopt);
    refused.refused(422, "unknown-reference", "what was withdrawn cannot be adopted");
    for node in [a, b] {
        let data = node.into_data();
        let ended = verify(data.path());
        assert_eq!(ended.code, Some(0), "{}", ended.all());
    }
}

#[test]
fn what_is_offered_to_few_is_shown_to_few() {
    let (a, b) = (Node::start(), Node::start());
    a.create("operator");
    for name in ["bob", "carol", "operator"] {
        b.create(name);
    }
    let pin = verb("Between us.", "path");
    let cid = cid_of("DefineActivity", &pin);
    let request = json!({ "type": "DefineActivity", "to": [b.actor("bob")], "object": pin });
    let offered = a.publish("operator", &request);
    b.receives("bob", &offered.id);
    let path = format!("/types/{cid}");
    eventually(PATIENCE, "bob reads it", || {
        (b.as_actor("bob").get(&path).status == 200).then_some(())
    });
    assert_eq!(b.client().get(&path).status, 404, "nobody else does");
    assert_eq!(b.as_actor("carol").get(&path).status, 404);
    assert_eq!(a.client().get(&path).status, 404);
    let listed = b.client().get("/projections/define-registry?key=activity-types&key=Pin").json();
    assert_eq!(listed["items"], json!([]), "nor is it listed");
    let refused =
        b.as_actor("operator").post("/activity", &json!({ "type": "Add", "object": cid }));
    refused.refused(422, "unknown-reference", "who did not receive it cannot adopt it");
    let capabilities = a.client().get("/.well-known/sx-capabilities").json();
    assert!(!capabilities.to_string().contains("\"Pin\""), "{capabilities}");
}
