//! Programs on crates of other authors, each a package of its own that is built once for a target
//! directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What cargo says where the registry cannot be reached.
const UNREACHABLE: [&str; 6] = [
    "Could not resolve host",
    "Could not connect",
    "Couldn't connect",
    "spurious network error",
    "network failure",
    "Timeout was reached",
];

/// The program of `tests/peers/<name>`, built as its lock file says; or why it cannot be had for a
/// good reason: its crates are not here and their registry is not there. Any other failure is a
/// fault of the test, and panics.
pub fn built(name: &str, program: &str) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crates").join(name);
    fs::create_dir_all(&target).expect("a directory");
    let lock = File::create(target.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target);
    // What the outer cargo set is about another package.
    for (variable, _) in std::env::vars() {
        if variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_PROFILE_") {
            cargo.env_remove(variable);
        }
    }
    let output = cargo.current_dir(source).output().expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        assert!(UNREACHABLE.iter().any(|words| said.contains(words)), "cargo build: {said}");
        return Err(format!("the registry cannot be reached: {said}"));
    }
    Ok(target.join("debug").join(program))
}
