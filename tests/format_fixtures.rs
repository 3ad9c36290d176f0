//! Data directories of earlier formats are read by this version, and newer ones refused.
//!
//! The fixtures were made by `scripts/make_fixture.sh`; they stay as they are for good. Their
//! master keys are throwaways.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::node::{Spec, command, run_to_end, secret, verify};
use crate::support::verbs::note;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A copy of the data directory of a fixture, and what was expected of it when it was made.
fn unpacked(format: u32) -> (tempfile::TempDir, Value) {
    let fixture = fixtures().join(format!("format-{format}"));
    let data = tempfile::tempdir().expect("a directory");
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(fixture.join("data.tar.gz")).arg("-C").arg(data.path());
    assert!(tar.status().expect("tar runs").success(), "{} is unpacked", fixture.display());
    let expected = fs::read(fixture.join("expected.json")).expect("what is expected");
    (data, serde_json::from_slice(&expected).expect("JSON"))
}

#[test]
fn earlier_formats_are_read() {
    for format in [1, 2, 3, 4] {
        let (data, expected) = unpacked(format);
        let mut as_json = command();
        as_json.args(["verify", "--json", "--data"]).arg(data.path());
        let ended = run_to_end(as_json);
        assert_eq!(ended.code, Some(0), "format {format}: {}", ended.all());
        let counts: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        for count in ["entries", "activities", "verified", "local", "streams"] {
            assert_eq!(counts[count], expected["verify"][count], "format {format}: {count}");
        }
        // It is also served, and goes on; every activity is what it was.
        let tokens = vec![format!("alice={}", secret("alice"))];
        let mut spec = Spec { tokens, ..Spec::default() };
        let base = expected["base"].as_str().expect("a base");
        spec.args.extend(["--base-url".into(), base.into()]);
        let node = spec.start_in(data);
        let client = node.as_actor("alice");
        for activity in expected["activities"].as_array().expect("activities") {
            let id = activity["id"].as_str().expect("an id");
            let path = id.strip_prefix(base).expect("an id of the instance");
            let served = client.get(path).expect(200, "an activity of the fixture").json();
            assert_eq!(&served, activity, "format {format}");
        }
        let before = node.total("alice", "outbox");
        let answer = client.post("/activity", &note("by the current version"));
        assert_eq!(answer.expect(201, "a publish").json()["seq"].as_u64(), Some(before));
        let data = node.into_data();
        let ended = verify(data.path());
        assert_eq!(ended.code, Some(0), "format {format}: {}", ended.all());
    }
}

#[test]
fn newer_formats_are_refused() {
    let (data, _) = unpacked(1);
    fs::write(data.path().join("format"), "5\n").expect("written");
    let ended = verify(data.path());
    assert_eq!(ended.code, Some(1), "{}", ended.all());
    assert!(ended.stderr.contains("newer version of fedsx"), "{}", ended.all());
    let base = fs::read_to_string(data.path().join("base")).expect("the base");
    let mut serve = command();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--allow-http", "--base-url", base.trim()]);
    serve.arg("--data").arg(data.path());
    let ended = run_to_end(serve);
    assert_eq!(ended.code, Some(2), "{}", ended.all());
    assert!(ended.stderr.contains("newer version of fedsx"), "{}", ended.all());
    assert_eq!(fs::read_to_string(data.path().join("format")).expect("the format"), "5\n");
}
