//! Flags, variables, the configuration file, and how an instance starts and stops.

use std::fs;

use serde_json::Value;

use crate::support::node::{Ended, Node, Signal, Spec, command, run_to_end};
use crate::support::secret;
use crate::support::verbs::note;

/// Runs `fedsx serve` with arguments that must end it.
fn refused(data: &std::path::Path, args: &[&str]) -> Ended {
    let mut command = command();
    command.arg("serve").arg("--data").arg(data).args(args);
    let ended = run_to_end(command);
    assert!(ended.code.is_some_and(|code| code != 0), "{args:?} must fail: {}", ended.all());
    assert!(ended.stdout.is_empty(), "no address line: {}", ended.all());
    ended
}

#[test]
fn the_address_line_says_where() {
    let mut node = Node::start();
    let port = node.port();
    assert_eq!(node.first_line, format!("listening on http://127.0.0.1:{port}"), "the first line");
    assert_ne!(port, 0, "the port that it got");
    node.create("alice");
    let document = node.client().get("/actors/alice").expect(200, "the document").json();
    assert_eq!(document["id"], format!("http://localhost:{port}/actors/alice"), "the usual base");
    assert_eq!(node.stop_with(Signal::TERM), Some(0), "SIGTERM drains and exits with 0");
    node.restart();
    node.client().get("/actors/alice").expect(200, "after the restart");
    assert_eq!(node.stop_with(Signal::INT), Some(0), "so does SIGINT");
}

#[test]
fn flags_win_over_variables_over_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fedsx.toml");
    let text = r#"
        tokens = ["alice=alice-from-the-file", "bob=bob-from-the-file"]
        allow_http = true
        allow_private_network = true
        base_url = "http://file.localhost:1"
        delivery_schedule = "1s"
    "#;
    fs::write(&file, text).expect("written");
    let bare = |envs: &[(&str, &str)], args: &[&str]| Spec {
        tokens: Vec::new(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        envs: envs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        development: false,
        under: Vec::new(),
    };
    let config = file.display().to_string();
    let base_of = |node: &Node| -> Value {
        node.client().get("/.well-known/nodeinfo").expect(200, "nodeinfo").json()["links"][0]["href"]
            .clone()
    };
    let starts = |value: &Value, base: &str| {
        assert!(value.as_str().is_some_and(|href| href.starts_with(base)), "{base}: {value}");
    };

    let node = bare(&[], &["--config", &config]).start();
    starts(&base_of(&node), "http://file.localhost:1/");
    let from_file = node.client().with_secret("alice-from-the-file");
    let answer = from_file.post("/activity", &note("x"));
    answer.refused(404, "unknown-actor", "the file's token is known");
    drop(node);

    let variables = [
        ("FEDSX_CONFIG", config.as_str()),
        ("FEDSX_BASE_URL", "http://variable.localhost:2"),
        ("FEDSX_TOKENS", "alice=alice-from-variable; bob=bob-from-variable:read"),
    ];
    let node = bare(&variables, &[]).start();
    starts(&base_of(&node), "http://variable.localhost:2/");
    let answer = node.client().with_secret("alice-from-variable").post("/activity", &note("x"));
    answer.refused(404, "unknown-actor", "the variable's token is known");
    let answer = node.client().with_secret("bob-from-variable").post("/activity", &note("x"));
    answer.refused(403, "insufficient-scope", "with its scopes");
    let answer = node.client().with_secret("alice-from-the-file").post("/activity", &note("x"));
    answer.refused(401, "invalid-token", "the variable replaces the file's tokens");
    drop(node);

    let flags = ["--base-url", "http://flag.localhost:3"];
    let node = bare(&variables, &flags).start();
    starts(&base_of(&node), "http://flag.localhost:3/");
    drop(node);

    let variables = [
        ("FEDSX_ALLOW_HTTP", "true"),
        ("FEDSX_ALLOW_PRIVATE_NETWORK", "true"),
        ("FEDSX_DELIVERY_SCHEDULE", "1s,2s"),
    ];
    bare(&variables, &[]).start();
}

#[test]
fn impossible_configurations_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let listen = ["--listen", "127.0.0.1:0"];
    let with = |more: &[&str]| refused(&data, &[&listen[..], more].concat());
    for args in [&[][..], &["--base-url", "http://localhost:9"], &["--allow-http", "false"]] {
        let ended = with(args);
        assert!(ended.stderr.contains("--allow-http"), "{args:?} names the flag: {}", ended.all());
    }
    for (case, args) in [
        ("a base with a path", &["--allow-http", "--base-url", "http://localhost/x"][..]),
        ("a base of another scheme", &["--allow-http", "--base-url", "ftp://localhost"]),
        ("a token without a secret", &["--allow-http", "--token", "alice"]),
        ("a short secret", &["--allow-http", "--token", "alice=short"]),
        ("an unknown scope", &["--allow-http", "--token", "alice=long-enough-secret:rule"]),
        ("a schedule without units", &["--allow-http", "--delivery-schedule", "5"]),
        ("an unknown flag", &["--allow-htp"]),
        ("a file that is not there", &["--allow-http", "--config", "/nonexistent/fedsx.toml"]),
    ] {
        let ended = with(args);
        assert!(!ended.stderr.trim().is_empty(), "{case}: says why");
        assert!(!ended.stderr.contains("panicked"), "{case}: {}", ended.all());
        assert!(!ended.stderr.contains("long-enough-secret"), "{case}: no secret in the message");
    }
    let file = directory.path().join("odd.toml");
    fs::write(&file, "no_such_option = 1\n").expect("written");
    let ended = with(&["--allow-http", "--config", &file.display().to_string()]);
    assert!(
        ended.stderr.contains("no_such_option"),
        "names what it does not know: {}",
        ended.all()
    );
    fs::write(&file, "allow_http = true\n\nfetch_pause = \"soon\"\n").expect("written");
    let ended = with(&["--config", &file.display().to_string()]);
    assert!(ended.stderr.contains("line 3"), "names the line: {}", ended.all());
    let mut version = command();
    version.arg("--version");
    let ended = run_to_end(version);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.starts_with("fedsx "), "{}", ended.all());
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, file) = (directory.path().join("data"), directory.path().join("fedsx.toml"));
    let text = format!(
        "data = {:?}\nbase_url = \"https://social.example\"\n\
         tokens = [\"alice=from-the-file:publish,admin\"]\n",
        data.display().to_string()
    );
    fs::write(&file, text).expect("written");
    let check = |args: &[&str]| {
        let mut command = command();
        command.args(["config", "check", "--config"]).arg(&file).args(args);
        run_to_end(command)
    };
    let ended = check(&["--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let settled: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(settled["base_url"], "https://social.example");
    assert_eq!(settled["tokens"][0]["actor"], "alice");
    assert!(!ended.stdout.contains("from-the-file"), "no secret: {}", ended.all());
    assert!(!data.exists(), "nothing is made");
    let ended = check(&["--base-url", "ftp://social.example"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all());

    let mut example = command();
    example.args(["config", "example"]);
    let example = run_to_end(example);
    assert_eq!(example.code, Some(0), "{}", example.all());
    fs::write(&file, &example.stdout).expect("written");
    let with = ["--data", "x", "--allow-http"];
    assert_eq!(check(&with).code, Some(0), "an example that changes nothing");
}

#[test]
fn a_data_directory_belongs_to_one_base_and_one_process() {
    let mut node = Node::start();
    node.create("alice");
    let second = refused(
        node.data(),
        &["--listen", "127.0.0.1:0", "--allow-http", "--base-url", &node.base],
    );
    assert!(!second.stderr.contains("panicked"), "a second process: {}", second.all());
    assert_eq!(second.code, Some(2), "a second process: {}", second.all());
    node.client().get("/actors/alice").expect(200, "the first one goes on");
    node.note("alice", "undisturbed");
    node.stop();
    let args = ["--listen", "127.0.0.1:0", "--allow-http", "--base-url", "http://localhost:1"];
    let other = refused(node.data(), &args);
    assert_eq!(other.code, Some(2), "another base: {}", other.all());
    assert!(other.stderr.contains(&node.base), "names the recorded base: {}", other.all());
    node.restart();
    assert_eq!(node.total("alice", "outbox"), 2, "the data is as it was");
    let busy = tempfile::tempdir().expect("a directory");
    let listen = format!("127.0.0.1:{}", node.port());
    let taken = refused(busy.path(), &["--listen", &listen, "--allow-http"]);
    assert!(taken.stderr.contains(&listen), "a taken port is named: {}", taken.all());
    let keys = fs::read_dir(node.data()).expect("the directory").filter_map(Result::ok);
    for entry in keys.filter(|entry| entry.file_name() == "master.key") {
        use std::os::unix::fs::PermissionsExt;
        let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "the master key is for its owner alone");
    }
    let text = node.log_tail();
    assert!(!text.contains(&secret("alice")), "no secret is logged");
}
