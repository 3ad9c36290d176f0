//! Projections that are published: a verb and its state without any new code.

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::{Node, command, run_to_end, secret, verify};
use crate::support::verbs::Published;
use crate::support::{PATIENCE, eventually};

fn define_pin() -> Value {
    json!({
        "type": "DefineActivity",
        "object": {
            "name": "Pin",
            "summary": "Pins an object to a path.",
            "schema": {
                "type": "object",
                "required": ["path", "object"],
                "properties": { "path": { "type": "string", "pattern": "^/" } },
            },
            "audience": ["Public"],
        },
    })
}

fn define(name: &str, more: Value) -> Value {
    let mut object = json!({ "name": name, "when": { "type": "Pin" } });
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "type": "DefineProjection", "object": object })
}

fn pin_state() -> Value {
    define(
        "pin-state",
        json!({
            "summary": "What is pinned where, and how often that changed.",
            "key": "activity.path",
            "initial": { "changes": 0 },
            "fold": "state.object = activity.object; state.by = activity.actor; state.changes += 1;",
        }),
    )
}

fn pin(path: &str, object: &str) -> Value {
    json!({ "type": "Pin", "path": path, "object": object })
}

/// The value at a key, once everything up to a publish is folded.
fn value(node: &Node, name: &str, key: &str, after: &Published) -> Value {
    let query = format!("?key={}&min_seq={}", encoded(key), after.global_seq);
    node.projection(name, &query).first().map_or(Value::Null, |item| item["value"].clone())
}

fn info(node: &Node, name: &str) -> Value {
    let list = node.client().get("/projections").expect(200, "the list").json();
    let found = list["projections"].as_array().unwrap().iter().find(|one| one["name"] == name);
    found.cloned().unwrap_or(Value::Null)
}

fn digest(node: &Node, name: &str) -> Value {
    let path = format!("/admin/projections?name={name}");
    node.admin().get(&path).expect(200, name).json()["items"][0]["digest"].clone()
}

#[test]
fn a_verb_and_its_state_are_only_published() {
    let mut node = Node::start();
    node.create("alice");
    node.create("operator");
    node.publish("operator", &define_pin());
    let early = node.publish("alice", &pin("/early", "https://example.org/0"));
    let defined = node.publish("operator", &pin_state());
    let path = format!("/projections/pin-state?min_seq={}", defined.global_seq);
    let page = node.client().get(&path).expect(200, "clients read their own definitions").json();
    assert_eq!(page["items"][0]["key"], json!(["/early"]), "a fold begins at the first position");
    assert_eq!(page["items"][0]["value"]["changes"], 1, "{page}");

    node.publish("alice", &pin("/here", "https://example.org/1"));
    let last = node.publish("operator", &pin("/here", "https://example.org/2"));
    let expected = json!({
        "by": node.actor("operator"), "changes": 2, "object": "https://example.org/2",
    });
    assert_eq!(value(&node, "pin-state", "/here", &last), expected);
    let told = info(&node, "pin-state");
    assert_eq!((&told["visibility"], &told["set_aside"]), (&json!("public"), &json!(0)));
    assert!(told["definition"].as_str().is_some_and(|cid| cid.starts_with("bafyr")), "{told}");

    let refused = node.as_actor("alice").post("/activity", &pin("nowhere", "https://x.example"));
    let problem = refused.refused(422, "schema-violation", "a malformed Pin");
    assert_eq!(problem["violations"][0]["path"], "/path", "{problem}");

    let before = digest(&node, "pin-state");
    node.restart();
    let last = node.publish("alice", &pin("/later", "https://example.org/3"));
    assert_eq!(value(&node, "pin-state", "/here", &last), expected, "after a restart");
    assert_ne!(digest(&node, "pin-state"), before, "the digest is of the state");

    let before = digest(&node, "pin-state");
    let mut rebuild = command();
    rebuild.args(["projection", "rebuild", "pin-state"]);
    rebuild.env("FEDSX_URL", &node.base).env("FEDSX_TOKEN", secret("operator"));
    let ended = run_to_end(rebuild);
    assert_eq!(ended.code, Some(0), "a rebuild gives the same digest: {}", ended.all());
    assert_eq!(digest(&node, "pin-state")["digest"], before["digest"]);
    assert_eq!(early.seq, 1);
    node.stop();
    let mut offline = command();
    offline.args(["projection", "rebuild", "pin-state", "--data"]).arg(node.data());
    let ended = run_to_end(offline);
    assert_eq!(ended.code, Some(0), "offline: {}", ended.all());
    let checked = verify(node.data());
    assert_eq!(checked.code, Some(0), "{}", checked.all());
    // That one, and those that every instance has.
    let all = fedsx_projections::builtin().len() + 1;
    assert!(checked.stdout.contains(&format!("{all} projections")), "{}", checked.stdout);
}

#[test]
fn a_newer_definition_takes_the_place_of_the_older() {
    let node = Node::start();
    node.create("operator");
    node.publish("operator", &define_pin());
    let first_defined = node.publish("operator", &pin_state());
    let pinned = node.publish("operator", &pin("/a", "https://example.org/1"));
    assert_eq!(value(&node, "pin-state", "/a", &pinned)["changes"], 1);
    let first = info(&node, "pin-state");
    let newer = define("pin-state", json!({ "key": "activity.path", "fold": "state = \"new\";" }));
    let second_defined = node.publish("operator", &newer);
    eventually(PATIENCE, "the newer definition is served", || {
        let items = node.projection("pin-state", "");
        (items[0]["value"] == "new").then_some(())
    });
    let second = info(&node, "pin-state");
    assert_ne!(first["version"], second["version"]);
    assert_ne!(first["definition"], second["definition"]);

    let newest = node.publish("operator", &pin_state());
    eventually(PATIENCE, "the first definition is served again", || {
        (info(&node, "pin-state")["definition"] == first["definition"]).then_some(())
    });
    assert_eq!(value(&node, "pin-state", "/a", &newest)["changes"], 1, "from the first position");

    // Taken back one by one, the one before is in force again; after the last there is none.
    for request in [&newest, &second_defined, &first_defined] {
        node.publish("operator", &json!({ "type": "Undo", "object": request.id }));
    }
    eventually(PATIENCE, "the projection ended", || {
        (node.client().get("/projections/pin-state").status == 404).then_some(())
    });
    assert_eq!(info(&node, "pin-state"), Value::Null);
    let last = node.publish("operator", &pin_state());
    assert_eq!(value(&node, "pin-state", "/a", &last)["changes"], 1, "its state went with it");

    for (case, wrong, words) in [
        ("no script", json!({ "fold": "state = (" }), "fold"),
        ("another engine", json!({ "fold": "1", "engine": "lua/5" }), "lua/5"),
        ("a word that is none", json!({ "fold": "this.a = 1" }), "fold"),
        ("no key", json!({ "fold": "1", "key": "import \"x\" as y;" }), "key"),
    ] {
        let refused = node.admin().post("/activity", &define("wrong", wrong));
        let problem = refused.refused(422, "schema-violation", case);
        assert!(problem["detail"].as_str().unwrap().contains(words), "{case}: {problem}");
    }
    assert_eq!(node.client().get("/projections/wrong").status, 404);
}

#[test]
fn what_a_script_cannot_fold_is_set_aside_and_harms_nothing() {
    let mut node = Node::start();
    node.create("alice");
    node.create("operator");
    node.publish("operator", &define_pin());
    let endless = json!({ "key": "activity.path", "fold": "state = 1; loop { }" });
    let growing = json!({ "key": "activity.path",
        "fold": "if activity.path == \"/bad\" { let m = #{}; loop { m[m.len().to_string()] = m; } } state = 1;" });
    let choosy = json!({ "fold": "state = 1;", "key": "activity.object.id" });
    node.publish("operator", &define("endless", endless));
    node.publish("operator", &define("growing", growing));
    node.publish("operator", &define("choosy", choosy));
    node.publish("operator", &pin_state());
    let bad = node.publish("alice", &pin("/bad", "https://example.org/1"));
    let last = node.publish("alice", &pin("/good", "https://example.org/2"));

    assert_eq!(value(&node, "pin-state", "/good", &last)["changes"], 1, "another goes on");
    assert_eq!(value(&node, "growing", "/good", &last), 1, "the projection itself goes on");
    for (name, words, count) in
        [("endless", "operations", 2), ("growing", "stopped", 1), ("choosy", "failed", 2)]
    {
        value(&node, name, "/bad", &last);
        assert_eq!(info(&node, name)["set_aside"], count, "{name}");
        let path = format!("/admin/projections/{name}/set-aside");
        let items = node.admin().get(&path).expect(200, name).json();
        assert_eq!(items["items"][0]["global_seq"], bad.global_seq, "{name}: {items}");
        assert_eq!(items["items"][0]["cid"], bad.cid.as_str());
        let reason = items["items"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(words), "{name}: {reason}");
    }
    let mut listing = command();
    listing.args(["projection", "set-aside", "growing"]);
    listing.env("FEDSX_URL", &node.base).env("FEDSX_TOKEN", secret("operator"));
    let ended = run_to_end(listing);
    assert!(ended.stdout.contains("1 wait for a decision"), "{}", ended.all());

    let place = |name: &str| format!("/admin/projections/{name}/set-aside/{}", bad.global_seq);
    let retry = json!({ "decision": "retry" });
    let retried = node.admin().post(&place("growing"), &retry).expect(201, "a retry").json();
    assert_eq!(retried["item"]["failed_retries"], 1, "it fails as before: {retried}");
    let skip = json!({ "decision": "skip", "why": "it never ends" });
    node.admin().post(&place("growing"), &skip).expect(201, "a skip");
    assert_eq!(info(&node, "growing")["set_aside"], 0);
    let before = ["endless", "growing", "choosy"].map(|name| digest(&node, name)["digest"].clone());
    node.restart();
    let after = ["endless", "growing", "choosy"].map(|name| digest(&node, name)["digest"].clone());
    assert_eq!(before, after, "set-aside records stay over a restart");
    node.stop();
    let checked = verify(node.data());
    assert_eq!(checked.code, Some(0), "and over a rebuild: {}", checked.all());
}

#[test]
fn published_projections_show_nothing_private() {
    let node = Node::start();
    for name in ["alice", "bob", "operator"] {
        node.create(name);
    }
    node.publish("operator", &define_pin());
    let all = json!({ "key": "activity.path", "fold": "state = activity.object;" });
    let mut own = all.clone();
    own["visibility"] = "private".into();
    node.publish("operator", &define("everyone", all.clone()));
    node.publish("operator", &define("mine", own));
    let mut hidden = define("hidden", all);
    hidden["to"] = json!([]);
    node.publish("operator", &hidden);

    let to = |path: &str, to: Value| {
        let mut request = pin(path, "https://example.org/x");
        request["to"] = to;
        request
    };
    node.publish("alice", &to("/to-bob", json!(["bob"])));
    node.publish("alice", &to("/to-operator", json!(["operator"])));
    node.publish("operator", &to("/of-operator", json!([])));
    let last = node.publish("alice", &pin("/public", "https://example.org/y"));

    let keys = |name: &str| -> Vec<String> {
        let items = node.projection(name, &format!("?min_seq={}", last.global_seq));
        items.iter().map(|item| item["key"].to_string()).collect()
    };
    assert_eq!(keys("everyone"), [r#"["/public"]"#], "only what anyone may read is folded");
    let own = [r#"["operator","/of-operator"]"#, r#"["operator","/to-operator"]"#];
    assert_eq!(keys("mine"), own, "what the owner said and received");
    assert_eq!(keys("hidden"), own, "a definition that is not for everyone");
    for name in ["mine", "hidden"] {
        assert_eq!(info(&node, name)["visibility"], "private", "{name}");
        let path = format!("/projections/{name}");
        assert_eq!(node.client().get(&path).status, 401, "{name} without a token");
        let of_owner = format!("{path}?key=operator");
        for other in ["alice", "bob"] {
            assert_eq!(node.as_actor(other).get(&of_owner).status, 403, "{name} for {other}");
            let own = node.as_actor(other).get(&path).expect(200, other).json();
            assert_eq!(own["items"], json!([]), "{name} for {other}");
        }
    }
}

#[test]
fn an_adopted_projection_folds_what_was_there_before() {
    let (a, b) = (Node::start(), Node::start());
    a.create("operator");
    b.create("operator");
    b.follow("operator", &a.actor("operator"));
    let defined = [a.publish("operator", &define_pin()), a.publish("operator", &pin_state())];
    let pinned = a.publish("operator", &pin("/a", "https://example.org/1"));
    b.receives("operator", &pinned.id);
    assert_eq!(b.client().get("/projections/pin-state").status, 404, "it is only offered");
    let adopted = b.publish("operator", &json!({ "type": "Add", "object": defined[1].id }));
    let value = value(&b, "pin-state", "/a", &adopted);
    assert_eq!(value["by"], a.actor("operator").as_str(), "what came before it was adopted");
    let definition = |node: &Node| info(node, "pin-state")["definition"].clone();
    assert_eq!(definition(&a), definition(&b), "it is the same definition");
    b.publish("operator", &json!({ "type": "Remove", "object": defined[1].id }));
    eventually(PATIENCE, "Remove ends it", || {
        (b.client().get("/projections/pin-state").status == 404).then_some(())
    });
    assert_eq!(a.client().get("/projections/pin-state").status, 200, "on B only");
}
