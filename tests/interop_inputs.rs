//! What other servers send: the example objects of `fediverse-pasture-inputs` and the cases of
//! `funfedi-parsing-test-cases`, from PyPI, each delivered signed to an inbox over a socket.
//!
//! The outcome of each, and how it shows in the feed, stands in `plans/interop-inputs.md`, which is
//! what the test compares with. `scripts/interop_inputs.sh` writes it anew. Nothing of the packages is copied
//! into it: an item is described, and told apart from others by a short hash.
//!
//! Skipped, loudly, only where PyPI cannot be reached or there is no Python for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::support::client::problem_slug;
use crate::support::node::{Node, Spec, verify};
use crate::support::peer::Foreign;
use crate::support::{Peer, Sign, pip};

/// How many there are in the pinned versions.
const PASTURE: usize = 262;
const PARSING: usize = 79;
/// Set where the table is to be written instead of compared.
const WRITE: &str = "FEDSX_WRITE_INTEROP_INPUTS";

struct Case {
    suite: String,
    name: String,
    activity: Value,
}

/// All cases, from `sender` to `receiver`.
fn cases(packages: &Path, sender: &str, receiver: &str) -> Vec<Case> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/funfedi/cases.py");
    let mut python = Command::new("python3");
    // The cases take their times from the local clock and call them UTC.
    python.arg(script).args([sender, receiver]).env("PYTHONPATH", packages).env("TZ", "UTC");
    let output = python.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let case = |line: &str| {
        let case: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let text = |member: &str| case[member].as_str().expect("a text").to_owned();
        Case { suite: text("suite"), name: text("name"), activity: case["activity"].clone() }
    };
    text.lines().map(case).collect()
}

/// What became of a delivery.
fn outcome(node: &Node, sender: &Foreign, case: &Case) -> String {
    let what = format!("{} {}", case.suite, case.name);
    let answer = sender.deliver(node, "/actors/alice/inbox", &case.activity, Sign::Cavage);
    match answer.status {
        202 => "stored".into(),
        200 => "held".into(),
        status @ 400..500 => {
            let problem = answer.refused(status, problem_slug(&answer.json()), &what);
            let slug = problem_slug(&problem).to_owned();
            let page = node.client().get(&format!("/problems/{slug}"));
            page.expect(200, &format!("{what}: {slug} has a page"));
            format!("{status} {slug}")
        }
        status => panic!("{what}: answered {status} {}", answer.text()),
    }
}

/// The rows of alice's feed, by the id of the activity.
fn feed(node: &Node) -> BTreeMap<String, Value> {
    let path = format!("/projections/feed?limit=1000&min_seq={}&wait_ms=30000", node.head());
    let page = node.as_actor("alice").get(&path).expect(200, "the feed").json();
    assert!(page["next"].is_null(), "all on one page");
    let row = |row: &Value| {
        (row["value"]["id"].as_str().expect("an id").to_owned(), row["value"].clone())
    };
    page["items"].as_array().expect("items").iter().map(row).collect()
}

/// What of an item a table can say: its type and what it is made of.
fn described(item: &Value) -> String {
    let verb = item["type"].as_str().unwrap_or_default();
    let Some(object) = item["object"].as_object() else {
        return format!("{verb} of an id");
    };
    let kind = object.get("type").and_then(Value::as_str).unwrap_or("no type");
    let mut text = if verb == "Create" { kind.to_owned() } else { format!("{verb}: {kind}") };
    for (name, value) in object {
        let part = match (name.as_str(), value) {
            ("id" | "type" | "attributedTo" | "published" | "updated", _) => continue,
            ("content", Value::String(content)) => format!("content {}", elements(content)),
            ("poll", poll) => format!("poll {}", poll["options"].as_array().map_or(0, Vec::len)),
            (name, Value::Array(items)) => format!("{name} {}", items.len()),
            (name, Value::Object(members)) => {
                let members: Vec<&str> = members.keys().map(String::as_str).collect();
                format!("{name} ({})", members.join(", "))
            }
            (name, _) => name.to_owned(),
        };
        write!(text, " · {part}").expect("written");
    }
    text
}

/// The elements in HTML that is shown.
fn elements(content: &str) -> String {
    let mut names: Vec<&str> = content
        .split('<')
        .skip(1)
        .filter_map(|tag| tag.split(['>', ' ']).next())
        .filter(|name| !name.starts_with('/'))
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "(text)".into() } else { format!("({})", names.join(", ")) }
}

/// The same for every run: without times, and with the servers by name.
fn timeless(value: &Value, names: &[(&str, &str)]) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            for (from, to) in names {
                text = text.replace(from, to);
            }
            text.into()
        }
        Value::Array(items) => items.iter().map(|item| timeless(item, names)).collect(),
        Value::Object(members) => {
            let mut shown = Map::new();
            for (name, value) in members {
                let is_time = ["published", "updated", "startTime", "endTime"].contains(&&**name);
                let value = if is_time { json!("a time") } else { timeless(value, names) };
                shown.insert(name.clone(), value);
            }
            Value::Object(shown)
        }
        other => other.clone(),
    }
}

/// One line of the table.
fn line(case: &Case, outcome: &str, item: Option<&Value>, names: &[(&str, &str)]) -> String {
    let (shown, hash) = match item {
        None => ("-".to_owned(), "-".to_owned()),
        Some(item) => {
            let object = timeless(&item["object"], names).to_string();
            let hash = blake3::hash(object.as_bytes()).to_hex()[..8].to_owned();
            (described(item), hash)
        }
    };
    format!("| {} | {} | {outcome} | {shown} | {hash} |", case.suite, case.name)
}

fn table_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/interop-inputs.md")
}

const HEAD: &str = "\
# How objects of other servers show

Written by `scripts/interop_inputs.sh`, and compared with what happens by `tests/interop_inputs.rs`. Every example
object of PyPI's fediverse-pasture-inputs 0.3.0 and every case of funfedi-parsing-test-cases 0.1.7 (both by Helge, MIT
and as on their pages at funfedi.dev) was delivered to an inbox over a socket, signed by draft-cavage as most servers sign.

*Outcome* is `stored`, `held` (the same activity came before), or the status and kind of the refusal. *Shown* says what the
item in the feed is made of: the type, the members of its short form, the elements that are left in `content`, and how many
there are of what is listed. *Hash* tells items apart, times and addresses of servers aside.

| suite | case | outcome | shown | hash |
|---|---|---|---|---|
";

#[test]
fn inputs_of_others_are_stored_or_refused_with_a_reason() {
    let packages = match pip::installed("funfedi") {
        Ok(packages) => packages,
        Err(reason) => {
            eprintln!("SKIPPED: nothing was tried with the data of others: {reason}");
            return;
        }
    };
    let mut node = Spec::default().start();
    node.create("alice");
    let peer = Peer::start();
    let sender = peer.actor("pasture");
    let receiver = node.actor("alice");
    let cases = cases(&packages, &sender.id, &receiver);
    let of = |suite: &str| cases.iter().filter(|case| case.suite.starts_with(suite)).count();
    assert_eq!((of("pasture/"), of("parsing/")), (PASTURE, PARSING), "all there are");

    let outcomes: Vec<String> = cases.iter().map(|case| outcome(&node, &sender, case)).collect();
    let shown = feed(&node);
    let names = [(node.base.as_str(), "HERE"), (peer.base.as_str(), "THERE")];
    let mut table = HEAD.to_owned();
    for (case, outcome) in cases.iter().zip(&outcomes) {
        let item = case.activity["id"].as_str().and_then(|id| shown.get(id));
        // What was stored of those that are for reading is shown.
        assert_eq!(item.is_some(), outcome == "stored", "{} {}: {outcome}", case.suite, case.name);
        table.push_str(&line(case, outcome, item, &names));
        table.push('\n');
    }
    // It goes on as if nothing was, and what is in the log can be read again.
    node.restart();
    assert_eq!(feed(&node), shown, "after a restart");

    if std::env::var_os(WRITE).is_some() {
        std::fs::write(table_path(), &table).expect("written");
        return;
    }
    let committed = std::fs::read_to_string(table_path()).expect("the table");
    let changed: Vec<String> = table
        .lines()
        .filter(|line| !committed.lines().any(|held| held == *line))
        .map(|line| format!("now:  {line}"))
        .chain(
            committed
                .lines()
                .filter(|held| !table.lines().any(|line| line == *held))
                .map(|line| format!("then: {line}")),
        )
        .collect();
    assert!(
        changed.is_empty() && committed == table,
        "another outcome than in plans/interop-inputs.md; where it is right, write it by \
         scripts/interop_inputs.sh:\n{}",
        changed.join("\n")
    );
}

/// JSON-LD has several ways to write one thing: lists of one, nulls for what is absent, several
/// types. None is a reason to refuse what somebody says, and none changes what is kept.
#[test]
fn one_thing_in_several_ways() {
    let mut node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let sender = peer.actor("sender");
    let mut activity = sender.plain("Create", sender.note_object("hello"), &[&node.actor("alice")]);
    activity["object"]["type"] = json!(["Note", "Article"]);
    activity["object"]["published"] = Value::Null;
    activity["summary"] = Value::Null;
    for member in ["type", "actor", "object", "published"] {
        activity[member] = json!([activity[member]]);
    }
    let answer = sender.deliver(&node, "/actors/alice/inbox", &activity, Sign::Cavage);
    answer.expect(202, "lists and nulls");
    let id = activity["id"].as_str().expect("an id");
    let shown = &feed(&node)[id];
    assert_eq!(shown["actor"], sender.id.as_str());
    assert_eq!(
        (&shown["object"]["type"], &shown["object"]["content"]),
        (&json!("Note"), &json!("hello"))
    );
    assert_eq!(node.receives("alice", id), activity, "as it was sent");

    // Two of what there is one of are no way to say one thing.
    for (member, value) in [
        ("actor", json!([sender.id, node.actor("alice")])),
        ("actor", json!([])),
        ("published", json!(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])),
    ] {
        let mut wrong = sender.plain("Create", sender.note_object("x"), &[&node.actor("alice")]);
        wrong[member] = value;
        let answer = sender.deliver(&node, "/actors/alice/inbox", &wrong, Sign::Cavage);
        answer.refused(422, "invalid-activity", member);
    }
    node.stop();
    let checked = verify(node.data());
    assert_eq!(checked.code, Some(0), "{}", checked.all());
}
