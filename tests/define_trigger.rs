//! Triggers that are published: an activity sets them off, once, and names its cause.

use serde_json::{Value, json};

use crate::support::node::{Node, verify};
use crate::support::verbs::Published;
use crate::support::{PATIENCE, PUBLIC, eventually, holds_for};

fn define_echo() -> Value {
    json!({
        "type": "DefineActivity",
        "object": {
            "name": "TestEcho",
            "schema": {
                "type": "object",
                "properties": { "text": { "type": "string", "maxLength": 40 } },
            },
        },
    })
}

fn subscription(name: &str, more: Value) -> Value {
    let mut object = json!({ "name": name });
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "type": "DefineSubscription", "object": object })
}

fn trigger(name: &str, when: Value, then: Value) -> Value {
    json!({ "type": "DefineTrigger", "object": { "name": name, "when": when, "then": then } })
}

fn tagged(text: &str, tag: &str) -> Value {
    json!({ "type": "Create", "object": { "type": "Note", "content": text, "tags": [tag] } })
}

/// What an actor's outbox holds of a verb, oldest first, as the actor sees it.
fn published(node: &Node, name: &str, kind: &str) -> Vec<Value> {
    let path = format!("/actors/{name}/outbox?since=&limit=500");
    let page = node.as_actor(name).get(&path).expect(200, "the outbox").json();
    let items = page["orderedItems"].as_array().unwrap().clone();
    items.into_iter().filter(|one| one["type"] == kind).collect()
}

/// Waits until every trigger has seen everything.
fn settled(node: &Node) {
    eventually(PATIENCE, "the triggers have seen the whole log", || {
        let told = node.admin().get("/admin/triggers").expect(200, "the triggers").json();
        (told["global_seq"].as_u64() >= told["head"].as_u64()).then_some(())
    });
}

fn told(node: &Node, name: &str) -> Value {
    let told = node.admin().get("/admin/triggers").expect(200, "the triggers").json();
    let found = told["items"].as_array().unwrap().iter().find(|one| one["name"] == name);
    found.cloned().unwrap_or(Value::Null)
}

fn failures(node: &Node) -> Vec<Value> {
    let told = node.admin().get("/admin/triggers").expect(200, "the triggers").json();
    told["failures"].as_array().unwrap().clone()
}

/// An instance with a verb, a subscription to a topic with one subscriber, and a trigger.
fn reactive() -> (Node, Published) {
    let node = Node::start();
    node.create("alice");
    node.create("operator");
    node.publish("operator", &define_echo());
    node.publish("operator", &subscription("smoke", json!({ "topic": "smoketest" })));
    node.publish("operator", &json!({ "type": "Subscribe", "object": "smoke" }));
    let when = json!({ "type": "Create", "object": "Note", "subscription": "smoke" });
    let then = "#{ type: \"TestEcho\", text: \"re: \" + activity.object.content }";
    let defined = node.publish("operator", &trigger("echo", when, then.into()));
    (node, defined)
}

/// What is about a type is about its subtypes, those that are stated later too.
#[test]
fn a_subtype_sets_off_what_is_about_its_supertype() {
    let (node, _) = reactive();
    let task = json!({ "name": "Task", "subtypeOf": "Note" });
    node.publish("operator", &json!({ "type": "DefineType", "object": task }));
    node.publish("operator", &json!({ "type": "DefineObject", "object": { "name": "Leaf" } }));
    let write = |kind: &str, text: &str| {
        let object = json!({ "type": kind, "content": text, "tags": ["smoketest"] });
        node.publish("alice", &json!({ "type": "Create", "object": object }));
        settled(&node);
    };
    write("Task", "a task");
    write("Leaf", "no Note yet");
    let subtype = json!({ "name": "Leaf", "of": "Task" });
    node.publish("operator", &json!({ "type": "SubtypeOf", "object": subtype }));
    write("Leaf", "a task as well");
    let all = published(&node, "operator", "TestEcho");
    let texts: Vec<_> = all.iter().map(|echo| echo["text"].as_str().unwrap_or_default()).collect();
    assert_eq!(texts, ["re: a task", "re: a task as well"]);
}

#[test]
fn a_tagged_note_yields_one_echo_with_its_cause() {
    let (mut node, _) = reactive();
    let note = node.publish("alice", &tagged("one", "smoketest"));
    let echo = eventually(PATIENCE, "the echo is published", || {
        published(&node, "operator", "TestEcho").into_iter().next()
    });
    assert_eq!(echo["cause"], note.cid.as_str(), "it names its cause: {echo}");
    assert_eq!(echo["text"], "re: one");
    assert_eq!(echo["actor"], node.actor("operator").as_str(), "it is of who defined the trigger");
    assert_eq!(echo["to"], json!([PUBLIC]), "as public as what set it off");
    assert!(echo["@context"].to_string().contains("fedsx:cause"), "the member is declared");
    let hashtag = json!({ "type": "Create", "object": { "type": "Note", "content": "two",
        "tag": [{ "type": "Hashtag", "name": "#SmokeTest", "href": "https://example.org/t" }] } });
    node.publish("alice", &hashtag);
    node.publish("alice", &tagged("other", "elsewhere"));
    node.note("alice", "none");
    node.publish("operator", &json!({ "type": "TestEcho", "text": "x", "cause": note.cid }));
    settled(&node);
    let texts = |node: &Node| -> Vec<String> {
        let all = published(node, "operator", "TestEcho");
        all.iter().map(|echo| echo["text"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let mut seen = texts(&node);
    seen.sort();
    assert_eq!(seen, ["re: one", "re: two", "x"], "by tag only");
    let own = published(&node, "operator", "TestEcho").into_iter().find(|one| one["text"] == "x");
    assert_eq!(own.unwrap()["cause"], Value::Null, "nobody says that it was caused");
    assert_eq!(told(&node, "echo")["published"], 2);
    node.restart();
    settled(&node);
    assert_eq!(texts(&node).len(), 3, "a restart sets nothing off");

    // Who withdraws the subscription is not told any more.
    let subscribe = published(&node, "operator", "Subscribe").remove(0);
    node.publish("operator", &json!({ "type": "Undo", "object": subscribe["id"] }));
    node.publish("alice", &tagged("three", "smoketest"));
    settled(&node);
    assert_eq!(texts(&node).len(), 3, "nobody is subscribed");
    let again = json!({ "type": "Subscribe", "object": "smoke" });
    node.publish("operator", &again);
    node.publish("alice", &tagged("four", "smoketest"));
    settled(&node);
    assert_eq!(texts(&node).len(), 4);
    let nobody = json!({ "type": "Subscribe", "object": "no-such" });
    node.admin().post("/activity", &nobody).refused(422, "unknown-reference", "no subscription");
    node.stop();
    let checked = verify(node.data());
    assert_eq!(checked.code, Some(0), "{}", checked.all());
}

#[test]
fn who_subscribes_may_choose_the_topic() {
    let node = Node::start();
    node.create("alice");
    node.create("operator");
    node.publish("operator", &define_echo());
    node.publish("operator", &subscription("topic", json!({})));
    node.publish("alice", &json!({ "type": "Subscribe", "topic": "smoketest" }));
    let when = json!({ "subscription": "topic" });
    node.publish("operator", &trigger("echo", when, json!({ "publish": { "type": "TestEcho" } })));
    let note = node.publish("alice", &tagged("one", "smoketest"));
    node.publish("alice", &tagged("two", "other"));
    settled(&node);
    let echoes = published(&node, "operator", "TestEcho");
    assert_eq!(echoes.len(), 1, "{echoes:?}");
    assert_eq!(echoes[0]["cause"], note.cid.as_str());
}

#[test]
fn crashes_lose_and_double_nothing() {
    let (mut node, _) = reactive();
    let mut notes = Vec::new();
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    for round in 0..4 {
        for number in 0..6 {
            notes.push(node.publish("alice", &tagged(&format!("{round}.{number}"), "smoketest")));
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(std::time::Duration::from_millis(random >> 58));
        node.crash();
        node.restart();
    }
    settled(&node);
    let mut causes: Vec<String> = published(&node, "operator", "TestEcho")
        .iter()
        .map(|echo| echo["cause"].as_str().unwrap().to_owned())
        .collect();
    causes.sort();
    let mut expected: Vec<String> = notes.iter().map(|note| note.cid.clone()).collect();
    expected.sort();
    assert_eq!(causes, expected, "one echo for each note");
    node.stop();
    let checked = verify(node.data());
    assert_eq!(checked.code, Some(0), "{}", checked.all());
}

#[test]
fn chains_end_at_their_limit() {
    let node = Node::start();
    node.create("operator");
    node.publish("operator", &define_echo());
    let echo = json!({ "type": "TestEcho", "text": "again" });
    node.publish("operator", &trigger("loop", json!({ "type": "TestEcho" }), echo.clone()));
    node.publish("operator", &echo);
    eventually(PATIENCE, "the chain ends", || {
        failures(&node).iter().any(|one| one["reason"].to_string().contains("chain")).then_some(())
    });
    settled(&node);
    let echoes = published(&node, "operator", "TestEcho");
    assert_eq!(echoes.len(), 9, "the first one and a chain of eight");
    for pair in echoes.windows(2) {
        let cid = pair[0]["id"].as_str().unwrap().rsplit('/').next().unwrap();
        assert_eq!(pair[1]["cause"], cid, "each names the one before");
    }
    assert_eq!(told(&node, "loop")["failed"], 1);
    holds_for(std::time::Duration::from_millis(300), "nothing more follows", || {
        published(&node, "operator", "TestEcho").len() == 9
    });
}

#[test]
fn failing_triggers_are_listed_and_harm_nothing() {
    let (node, defined) = reactive();
    node.create("bob");
    let on_notes = json!({ "type": "Create", "object": "Note" });
    let with_guard = json!({ "type": "Create", "guard": "activity.no.such.thing" });
    let bad: [(&str, Value, Value, &str); 5] = [
        ("a-guard", with_guard, json!({ "type": "TestEcho" }), "failed"),
        ("b-endless", on_notes.clone(), "loop { }".into(), "operations"),
        ("c-unknown", on_notes.clone(), json!({ "type": "NoSuchVerb" }), "NoSuchVerb"),
        ("d-shape", on_notes.clone(), json!({ "type": "TestEcho", "text": 7 }), "text"),
        ("e-defines", on_notes, "#{ type: \"DefineActivity\" }".into(), "DefineActivity"),
    ];
    for (name, when, then, _) in &bad {
        node.publish("operator", &trigger(name, when.clone(), then.clone()));
    }
    let note = node.publish("alice", &tagged("x", "smoketest"));
    settled(&node);
    assert_eq!(published(&node, "operator", "TestEcho").len(), 1, "the others act");
    let failures = failures(&node);
    for (name, _, _, words) in &bad {
        let failure = failures.iter().find(|one| one["name"] == *name);
        let failure = failure.unwrap_or_else(|| panic!("{name} in {failures:?}"));
        assert!(failure["reason"].as_str().unwrap().contains(words), "{failure}");
        assert_eq!(failure["cause"], note.cid.as_str());
        assert_eq!(failure["global_seq"], note.global_seq);
        assert_eq!(told(&node, name)["failed"], 1, "{name}");
    }
    assert_eq!(failures.len(), bad.len());
    for (name, then) in [
        ("(", json!("(")),
        ("seven", json!(7)),
        ("account", json!({ "type": "Delete", "object": "operator" })),
    ] {
        let refused = node.admin().post("/activity", &trigger("wrong", json!({}), then));
        assert_eq!(refused.status, 422, "{name}: {}", refused.text());
    }
    let path = "/admin/triggers";
    assert_eq!(node.client().get(path).status, 401);
    assert_eq!(node.as_actor("alice").get(path).status, 403);
    // A trigger that was taken back acts no more.
    node.publish("operator", &json!({ "type": "Undo", "object": defined.id }));
    node.publish("alice", &tagged("y", "smoketest"));
    settled(&node);
    assert_eq!(published(&node, "operator", "TestEcho").len(), 1);
    assert_eq!(told(&node, "echo"), Value::Null);
}

#[test]
fn triggers_see_what_their_author_sees() {
    let node = Node::start();
    for name in ["alice", "bob", "operator"] {
        node.create(name);
    }
    node.publish("operator", &define_echo());
    let then = "#{ type: \"TestEcho\", text: activity.object.content }";
    let when = json!({ "type": "Create", "object": "Note" });
    node.publish("operator", &trigger("echo", when, then.into()));
    let to = |text: &str, to: Value| json!({ "type": "Create", "to": to, "object": { "type": "Note", "content": text } });
    node.publish("alice", &to("for bob", json!(["bob"])));
    node.publish("alice", &to("for operator", json!(["operator"])));
    settled(&node);
    let echoes = published(&node, "operator", "TestEcho");
    assert_eq!(echoes.len(), 1, "{echoes:?}");
    assert_eq!(echoes[0]["text"], "for operator");
    assert_eq!(echoes[0]["to"], Value::Null, "what is not public is not told on");
    let id = echoes[0]["id"].as_str().unwrap();
    assert_eq!(node.client().get(id).status, 404);
}

#[test]
fn a_peer_sets_a_trigger_off() {
    let (a, _) = reactive();
    let b = Node::start();
    b.create("bob");
    a.follow("operator", &b.actor("bob"));
    let note = b.publish("bob", &tagged("from afar", "smoketest"));
    let echo = eventually(PATIENCE, "the echo is published", || {
        published(&a, "operator", "TestEcho").into_iter().next()
    });
    assert_eq!(echo["cause"], note.cid.as_str());
    assert_eq!(echo["text"], "re: from afar");
}
