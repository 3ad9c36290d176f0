//! Programs of other authors from the npm registry, installed once for a target directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Errors of npm which say that the registry cannot be reached.
const UNREACHABLE: [&str; 6] =
    ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "network"];

/// What stops a test for a good reason: npm or its registry is not there. Any other failure of the
/// installation is a fault of the test, and panics.
pub type Unavailable = String;

/// The packages of `tests/peers/<name>`, installed: a directory with its scripts and
/// `node_modules`.
pub fn installed(name: &str) -> Result<PathBuf, Unavailable> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name);
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm").join(name);
    fs::create_dir_all(&place).expect("a directory");
    let lock = File::create(place.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    for entry in fs::read_dir(&source).expect("the peer's files") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a kind").is_file() && entry.file_name() != "package.json" {
            fs::copy(entry.path(), place.join(entry.file_name())).expect("copied");
        }
    }
    let wanted = fs::read(source.join("package.json")).expect("package.json");
    // Written after the installation, so that an interrupted one is done again.
    let done = place.join("installed.json");
    if fs::read(&done).is_ok_and(|held| held == wanted) {
        return Ok(place);
    }
    fs::write(place.join("package.json"), &wanted).expect("written");
    run_npm(&place, &["install"])?;
    fs::write(&done, &wanted).expect("written");
    Ok(place)
}

/// A node of at least this major version: the system's, or else one from npm.
pub fn node(major: u32) -> Result<PathBuf, Unavailable> {
    if version(Path::new("node")).is_some_and(|found| found >= major) {
        return Ok("node".into());
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm").join(format!("node-{major}"));
    fs::create_dir_all(&place).expect("a directory");
    let lock = File::create(place.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let package = format!("node-{system}-{machine}");
    let program = place.join("node_modules").join(&package).join("bin/node");
    if version(&program).is_none() {
        fs::write(place.join("package.json"), r#"{"private":true}"#).expect("written");
        run_npm(&place, &["install", &format!("{package}@{major}")])?;
    }
    let found = version(&program);
    assert!(found.is_some_and(|found| found >= major), "{} is {found:?}", program.display());
    Ok(program)
}

fn version(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn run_npm(place: &Path, args: &[&str]) -> Result<(), Unavailable> {
    let mut npm = Command::new("npm");
    npm.args(args).args(["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
    npm.args(["--fetch-retries=2", "--fetch-timeout=30000"]).current_dir(place);
    let output = npm.output().map_err(|e| format!("npm cannot be run: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(UNREACHABLE.iter().any(|code| said.contains(code)), "npm {args:?}: {said}");
    Err(format!("the registry cannot be reached: {said}"))
}
