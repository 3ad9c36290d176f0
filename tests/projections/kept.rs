//! Digests and rebuilds.

use serde_json::{Value, json};

use super::{digest, projection};
use crate::support::node::{Node, command, run_to_end, verify};
use crate::support::{PATIENCE, eventually};

#[test]
fn digests_stay_and_rebuilds_agree() {
    let mut node = Node::start();
    for name in ["alice", "bob"] {
        node.create(name);
    }
    node.follow("alice", &node.actor("bob"));
    let note = node.note("bob", "something");
    node.publish("alice", &json!({ "type": "Announce", "object": note.cid }));
    node.publish(
        "alice",
        &json!({ "type": "Like", "to": [node.actor("bob")], "object": note.object() }),
    );
    node.publish("bob", &json!({ "type": "Delete", "object": note.object() }));
    let built_in = fedsx_projections::builtin();
    let names: Vec<&str> = built_in.iter().map(|fold| fold.name()).collect();
    let all = |node: &Node| -> Vec<Value> { names.iter().map(|name| digest(node, name)).collect() };
    let before = all(&node);
    node.restart();
    assert_eq!(all(&node), before, "after a restart");
    node.crash();
    node.restart();
    assert_eq!(all(&node), before, "after a crash");

    // What is served stays while the new state is built.
    let head = node.settled_head();
    let feed = |node: &Node| {
        let path = format!("/projections/feed?min_seq={head}");
        node.as_actor("alice").get(&path).expect(200, "the feed").json()["items"].clone()
    };
    let shown = feed(&node);
    for name in &names {
        let path = format!("/admin/projections/{name}/rebuild");
        let begun = node.admin().post(&path, &json!({})).expect(202, name).json();
        assert_eq!(begun["projection"]["name"], *name);
        assert_eq!(feed(&node), shown);
        let path = format!("/admin/projections?name={name}&digest=false");
        let rebuilt = eventually(PATIENCE, "the rebuild ends", || {
            let items = node.admin().get(&path).expect(200, name).json()["items"].clone();
            items[0]["rebuilt"].is_object().then(|| items[0]["rebuilt"].clone())
        });
        assert_eq!(rebuilt["is_same"], true, "{name}: {rebuilt}");
    }
    assert_eq!(all(&node), before, "after a rebuild");
    for (case, client, status) in
        [("no token", node.client().clone(), 401), ("no scope", node.as_actor("alice"), 403)]
    {
        assert_eq!(
            client.post("/admin/projections/feed/rebuild", &json!({})).status,
            status,
            "{case}"
        );
    }
    let unknown = node.admin().post("/admin/projections/none/rebuild", &json!({}));
    unknown.refused(404, "not-found", "another projection");

    let (code, text) = projection(&node, &["list"]);
    assert!(code == Some(0) && names.iter().all(|name| text.contains(name)), "{text}");
    let (code, text) = projection(&node, &["digest", "feed"]);
    let expected = digest(&node, "feed")["digest"].as_str().expect("a digest").to_owned();
    assert!(code == Some(0) && text.contains(&expected), "{text}");
    let (code, text) = projection(&node, &["digest", "--json"]);
    assert_eq!(code, Some(0));
    let items: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(items["items"].as_array().map(Vec::len), Some(names.len()));
    let (code, text) = projection(&node, &["rebuild", "--all"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = projection(&node, &["digest", "none"]);
    assert!(code == Some(2) && text.contains("404"), "{text}");
    let mut tokenless = command();
    tokenless.args(["projection", "--url", &node.base, "list"]);
    let ended = run_to_end(tokenless);
    assert!(ended.code == Some(2) && ended.stderr.contains("--token"), "{}", ended.all());

    node.stop();
    let offline = |args: &[&str]| {
        let mut command = command();
        command.args(["projection", "rebuild", "--data"]).arg(node.data()).args(args);
        run_to_end(command)
    };
    let one = offline(&["objects"]);
    assert!(one.code == Some(0) && one.stdout.contains("the same as before"), "{}", one.all());
    let every = offline(&["--all", "--json"]);
    let items: Value = serde_json::from_str(&every.stdout).expect("JSON");
    assert_eq!(items["items"].as_array().map(Vec::len), Some(names.len()), "{}", every.all());
    assert_eq!(offline(&["none"]).code, Some(2));
    let checked = verify(node.data());
    assert_eq!(checked.code, Some(0), "{}", checked.all());
    node.restart();
    assert_eq!(all(&node), before, "after an offline rebuild");
}
