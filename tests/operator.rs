//! The commands of operators and publishers, from an empty directory on.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::node::{Ended, Node, Signal, Spec, command, run_to_end};
use crate::support::{PATIENCE, eventually, secret};

/// Runs a command that must not find a profile of the person who runs the tests.
fn fedsx(args: &[&str]) -> Ended {
    let mut command = command();
    command.env("FEDSX_PROFILES", "/nonexistent/profiles.toml").args(args);
    run_to_end(command)
}

#[track_caller]
fn works(args: &[&str]) -> Ended {
    let ended = fedsx(args);
    assert_eq!(ended.code, Some(0), "fedsx {}: {}", args.join(" "), ended.all());
    ended
}

#[track_caller]
fn json(args: &[&str]) -> Value {
    let ended = works(&[args, &["--json"]].concat());
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", ended.all()))
}

/// The same with a token, toward a node.
pub struct As<'a> {
    pub node: &'a Node,
    pub secret: String,
}

impl<'a> As<'a> {
    /// Who operates the node.
    pub fn operator(node: &'a Node) -> Self {
        Self { node, secret: secret("operator") }
    }

    fn args<'b>(&'b self, args: &[&'b str]) -> Vec<&'b str> {
        [args, &["--url", &self.node.base, "--token", &self.secret]].concat()
    }

    #[track_caller]
    pub fn works(&self, args: &[&str]) -> String {
        works(&self.args(args)).stdout
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        json(&self.args(args))
    }

    #[track_caller]
    pub fn fails_with(&self, args: &[&str]) -> String {
        let ended = fedsx(&self.args(args));
        assert!(ended.code.is_some_and(|code| code != 0), "{args:?}: {}", ended.all());
        ended.all()
    }

    #[track_caller]
    pub fn fails(&self, args: &[&str], says: &str) {
        let ended = fedsx(&self.args(args));
        assert!(ended.code.is_some_and(|code| code != 0), "{args:?}: {}", ended.all());
        assert!(ended.stderr.contains(says), "{args:?} says {says:?}: {}", ended.all());
        assert!(!ended.all().contains(&self.secret), "no secret is shown: {}", ended.all());
    }
}

fn bare(args: &[&str]) -> Spec {
    Spec {
        tokens: Vec::new(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        envs: Vec::new(),
        development: false,
        under: Vec::new(),
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

#[test]
fn from_nothing_to_a_first_note() {
    let (place, data) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
    let (directory, kept) = (place.path().display().to_string(), data.path().display().to_string());
    let base = "http://init.localhost:1";
    let init = ["init", &directory, "--base-url", base, "--data", &kept, "--listen", "127.0.0.1:0"];
    let missing = fedsx(&["init", &directory, "--data", &kept]);
    assert_eq!(missing.code, Some(2), "{}", missing.all());
    assert!(missing.stderr.contains("--base-url"), "says what to give: {}", missing.all());
    let made = json(&init);
    let config = place.path().join("fedsx.toml");
    assert_eq!(mode(&config), 0o600, "the file holds a secret");
    assert_eq!(mode(&data.path().join("master.key")), 0o600);
    let again = fedsx(&init);
    assert_eq!(again.code, Some(2), "nothing is overwritten: {}", again.all());

    let config = config.display().to_string();
    let node = bare(&["--config", &config]).start_in(data);
    let operator = made["token"]["secret"].as_str().expect("a secret").to_owned();
    let operator = As { node: &node, secret: operator };
    let created = operator.json(&["actor", "create", "alice", "--display-name", "Alice A."]);
    assert_eq!(created["object"], format!("{base}/actors/alice"), "{created}");
    operator.fails(&["actor", "create", "alice"], "actor-exists");
    operator.fails(&["actor", "create", "No Name"], "not the name of an actor");
    let listed = operator.json(&["actor", "list"]);
    let names: Vec<_> =
        listed.as_array().expect("a list").iter().map(|actor| &actor["actor"]).collect();
    assert!(names.contains(&&Value::from("alice")), "{listed}");
    let table = operator.works(&["actor", "list"]);
    assert!(table.lines().next().is_some_and(|line| line.starts_with("NAME")), "{table}");
    let shown = operator.json(&["actor", "show", "alice"]);
    assert_eq!(shown["name"], "Alice A.");

    let alice = operator.works(&["token", "issue", "alice", "--label", "a phone"]);
    let alice = As { node: &node, secret: alice.trim().to_owned() };
    assert_eq!(alice.json(&["token", "show"])["actor"], "alice");
    let note = alice.json(&["publish", "--note", "from the command line"]);
    let file = place.path().join("note.json");
    fs::write(&file, r#"{"type": "Note", "content": "from a file"}"#).expect("written");
    let id = alice.works(&["publish", &file.display().to_string()]);
    assert!(id.starts_with(base), "{id}");
    fs::write(&file, r#"{"type": "Note", "content": "#).expect("written");
    alice.fails(&["publish", &file.display().to_string()], "note.json");
    let cid = note["cid"].as_str().expect("a CID");
    let status = operator.json(&["delivery", "status", cid]);
    assert_eq!(status["items"], Value::Array(Vec::new()), "nobody elsewhere: {status}");
    operator.fails(&["delivery", "status", "nonsense"], "not the CID");
    assert_eq!(alice.json(&["token", "list"])["items"][0]["actor"], "alice");
    alice.fails(&["delivery", "status", cid], "scope");
    alice.fails(&["peer", "list"], "scope");
    alice.fails(&["dead-letter", "list"], "scope");
    alice.fails(&["actor", "create", "mallory"], "scope");
    let nobody = As { node: &node, secret: "nobodys-token".into() };
    nobody.fails(&["publish", "--note", "x"], "not known here");
}

#[test]
fn reading_and_following_between_two_instances() {
    let (a, b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    let alice = As { node: &a, secret: secret("alice") };
    let bob = As { node: &b, secret: secret("bob") };
    let account = format!("@bob@localhost:{}", b.port());
    alice.works(&["follow", &account]);
    a.lists("alice", "following", &b.actor("bob"));
    b.lists("bob", "followers", &a.actor("alice"));
    let note = bob.json(&["publish", "--note", "<p>hello over there</p>"]);
    let id = note["id"].as_str().expect("an id");
    a.receives("alice", id);
    eventually(PATIENCE, "the feed has it", || {
        alice.json(&["feed"])["items"].to_string().contains(id).then_some(())
    });
    assert!(alice.works(&["feed"]).contains("hello over there"));
    assert!(alice.json(&["inbox"])["orderedItems"].to_string().contains(id));
    assert!(alice.works(&["inbox", "--limit", "5"]).contains(id));
    alice.fails(&["follow", "@nobody@localhost:1"], "");

    let operator = As { node: &b, secret: secret("operator") };
    let status = operator.json(&["delivery", "status", note["cid"].as_str().expect("a CID")]);
    assert_eq!(status["items"][0]["peer"], a.base, "{status}");
    let peers = operator.json(&["peer", "list"]);
    assert!(peers.to_string().contains(&a.base), "{peers}");
    assert!(operator.works(&["peer", "list"]).contains(&a.base));
    assert_eq!(operator.json(&["peer", "show", &a.base])["peer"], a.base);
    operator.fails(&["peer", "show", "https://nowhere.example"], "nothing was ever sent");
}

#[test]
fn dead_letters_are_listed_replayed_and_dropped() {
    let (mut a, b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    a.publish("alice", &serde_json::json!({ "type": "Follow", "object": b.actor("bob") }));
    b.lists("bob", "followers", &a.actor("alice"));
    let port = a.port();
    a.stop();
    b.note("bob", "nobody is there");
    let operator = As { node: &b, secret: secret("operator") };
    let letters = eventually(PATIENCE, "a dead letter", || {
        let letters = operator.json(&["dead-letter", "list"]);
        letters.as_array().filter(|letters| !letters.is_empty()).cloned()
    });
    let id = letters[0]["id"].as_str().expect("an id");
    assert!(operator.works(&["dead-letter", "list"]).contains(&format!("http://localhost:{port}")));
    operator.works(&["dead-letter", "replay", id]);
    operator.fails(&["dead-letter", "drop", "no-such-letter"], "not-found");
    let letters = eventually(PATIENCE, "it is parked again", || {
        let letters = operator.json(&["dead-letter", "list"]);
        letters.as_array().filter(|letters| !letters.is_empty()).cloned()
    });
    operator.works(&["dead-letter", "drop", letters[0]["id"].as_str().expect("an id")]);
    assert_eq!(operator.json(&["dead-letter", "list"]), Value::Array(Vec::new()));
    operator.works(&["dead-letter", "replay", "--peer", &format!("http://localhost:{port}")]);
}

#[test]
fn profiles_say_where_and_who() {
    let node = Node::start();
    node.create("alice");
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("profiles.toml");
    let write = |text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("permissions");
    };
    let run = |args: &[&str]| {
        let mut command = command();
        command.env("FEDSX_PROFILES", &file).args(args);
        run_to_end(command)
    };
    let secret = secret("alice");
    let text = format!("[work]\nurl = {:?}\ntoken = {secret:?}\n", node.base);
    write(&text, 0o600);
    let ended = run(&["token", "show", "--json", "--profile", "work"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let ended = run(&["token", "show", "--profile", "play"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("play"), "{}", ended.all());
    let ended = run(&["token", "show"]);
    assert_eq!(ended.code, Some(2), "no profile called default: {}", ended.all());
    write(&text.replace("[work]", "[default]"), 0o600);
    assert_eq!(run(&["token", "show"]).code, Some(0));
    write(&text, 0o644);
    let ended = run(&["token", "show", "--profile", "work"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("chmod 600"), "{}", ended.all());
    write(&format!("[work]\ntokn = {secret:?}\n"), 0o600);
    let ended = run(&["token", "show", "--profile", "work"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("line 2"), "{}", ended.all());
    assert!(!ended.all().contains(&secret), "no secret is shown: {}", ended.all());
}

#[test]
fn the_doctor_says_what_is_wrong() {
    let mut node = Node::start();
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("fedsx.toml");
    let write = |text: &str| fs::write(&file, text).expect("written");
    let config = format!(
        "data = {:?}\nbase_url = {:?}\nlisten = \"127.0.0.1:{}\"\nallow_http = true\n",
        node.data().display().to_string(),
        node.base,
        node.port()
    );
    write(&config);
    let token = secret("operator");
    let path = file.display().to_string();
    let doctor = |more: &[&str]| {
        let args = [&["doctor", "--json", "--config", &path], more].concat();
        let ended = fedsx(&args);
        let said: Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|e| panic!("{more:?}: {e}: {}", ended.all()));
        assert_eq!(ended.code == Some(0), said["healthy"] == true, "{said}");
        said
    };
    let of = |said: &Value, check: &str| {
        let findings = said["findings"].as_array().expect("findings").clone();
        let found = findings.into_iter().find(|finding| finding["check"] == check);
        found.map(|finding| finding["outcome"].as_str().expect("an outcome").to_owned())
    };
    let said = doctor(&["--token", &token]);
    assert_eq!(said["healthy"], true, "{said}");
    let checks =
        ["configuration", "master key", "disk", "instance", "clock", "queues", "reachability"];
    for check in checks {
        assert_eq!(of(&said, check).as_deref(), Some("ok"), "{check}: {said}");
    }
    assert_eq!(of(&doctor(&["--token", "wrong-token-here"]), "token").as_deref(), Some("fail"));
    write(
        &config.replace("base_url = \"http://localhost", "base_url = \"http://elsewhere.localhost"),
    );
    let said = doctor(&["--token", &token]);
    assert_eq!(of(&said, "data").as_deref(), Some("fail"), "another base: {said}");
    write("listen = 5\n");
    let said = doctor(&["--token", &token, "--url", &node.base]);
    assert_eq!(of(&said, "configuration").as_deref(), Some("fail"), "{said}");
    write(&config);
    node.stop();
    let said = doctor(&["--token", &token]);
    assert_eq!(of(&said, "instance").as_deref(), Some("fail"), "nobody answers: {said}");
}

#[test]
fn options_are_taken_over_at_a_hangup() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("fedsx.toml");
    let write = |text: &str| fs::write(&file, text).expect("written");
    write("allow_http = true\ntokens = [\"alice=the-first-secret\"]\n");
    let path = file.display().to_string();
    let node = bare(&["--config", &path]).start();
    let with = |secret: &str| node.client().with_secret(secret).get("/token").status;
    assert_eq!(with("the-first-secret"), 200);
    write("allow_http = true\ntokens = [\"alice=the-second-secret\"]\nrequests_per_second = 0\n");
    node.signal(Signal::HUP);
    eventually(PATIENCE, "the new token works", || {
        (with("the-second-secret") == 200).then_some(())
    });
    assert_eq!(with("the-first-secret"), 401, "the old one does not");
    write("tokens = [\"alice=the-third-secret\"\n");
    node.signal(Signal::HUP);
    eventually(PATIENCE, "the error is logged", || {
        node.log_tail().contains("nothing was changed").then_some(())
    });
    assert_eq!(with("the-second-secret"), 200, "an impossible file changes nothing");
    assert!(!node.log_tail().contains("the-third-secret"), "no secret is logged");
}

#[test]
fn shells_and_manuals_are_served() {
    let script = works(&["completions", "bash"]).stdout;
    assert!(script.contains("dead-letter"), "completions know the commands");
    assert!(works(&["man"]).stdout.contains(".TH"), "a manual page");
    let place = tempfile::tempdir().expect("a directory");
    works(&["man", &place.path().display().to_string()]);
    assert!(place.path().join("fedsx-serve.1").exists(), "a page for each command");
}
