//! What can be seen on the machine of the instance.

use std::fs;
use std::path::Path;

use super::{Findings, Outcome};
use crate::config::ServeConfig;
use crate::data;
use crate::place::{self, Place};

/// Free space under which somebody should look, as a multiple of the reserve.
const LITTLE: u64 = 4;
/// What is kept free where the configuration does not say, in bytes.
const USUAL_RESERVE: u64 = 64 * 1024 * 1024;

pub(super) fn data_directory(config: &ServeConfig, findings: &mut Findings) {
    const CHECK: &str = "data";
    let name = config.data.display();
    if !config.data.is_dir() {
        let advice = "fedsx serve makes it at its first start";
        findings.add(CHECK, Outcome::Warn, format!("{name} does not exist"), advice);
        return;
    }
    #[cfg(unix)]
    if let Some(mode) = mode(&config.data)
        && mode & 0o077 != 0
    {
        let what = format!("others may look into {name} (mode {mode:o})");
        findings.add("permissions", Outcome::Warn, what, format!("chmod 700 {name}"));
    }
    match (data::recorded_base(&config.data), &config.base_url) {
        (Err(error), _) => {
            findings.add(CHECK, Outcome::Fail, format!("{error:#}"), "restore that file");
        }
        (Ok(Some(recorded)), Some(base)) if recorded != *base => findings.add(
            CHECK,
            Outcome::Fail,
            format!("{name} belongs to {recorded}, the configuration says {base}"),
            "ids cannot change: put the recorded one into the configuration",
        ),
        (Ok(recorded), _) => {
            let of = recorded.map_or_else(|| "nobody yet".to_owned(), |base| base.to_string());
            findings.ok(CHECK, format!("{name} belongs to {of}"));
        }
    }
    match place::look(&config.data) {
        Ok(Place::Same | Place::New) => {}
        Ok(Place::Copied) => {
            let what = format!("{name} is a copy of another data directory");
            let advice =
                "see that the original never starts again, then give serve a higher --epoch";
            findings.add("copy", Outcome::Fail, what, advice);
        }
        Err(error) => {
            let advice = "see who owns the directory";
            findings.add("copy", Outcome::Fail, format!("{name}: {error}"), advice);
        }
    }
    if config.data.join(data::NEXT_KEY_FILE).exists() {
        let what = "a change of the master key was interrupted";
        let advice = format!("fedsx key rotate-master --data {name}");
        findings.add("master key", Outcome::Fail, what, advice);
    }
    match data::existing_master_key(&config.data) {
        Ok(Some(_)) => findings.ok("master key", "there, and for its owner alone"),
        Ok(None) => {
            let advice = "where actors were created, put it back; a first start makes one";
            findings.add("master key", Outcome::Warn, "there is none", advice);
        }
        Err(error) => {
            let advice = "put a good copy back (mode 0600)";
            findings.add("master key", Outcome::Fail, format!("{error:#}"), advice);
        }
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).ok().map(|about| about.permissions().mode() & 0o7777)
}

pub(super) fn disk(config: &ServeConfig, findings: &mut Findings) {
    const CHECK: &str = "disk";
    let place = config.data.ancestors().find(|path| path.exists());
    let Some(place) = place else { return };
    let free = match rustix::fs::statvfs(place) {
        Ok(about) => about.f_bavail.saturating_mul(about.f_frsize),
        Err(error) => {
            let what = format!("{}: {error}", place.display());
            findings.add(CHECK, Outcome::Fail, what, "see whether the disk is there");
            return;
        }
    };
    let reserve = config.disk_reserve_bytes.unwrap_or(USUAL_RESERVE);
    let what = format!(
        "{} free at {}, {} in reserve",
        bytesize::ByteSize(free),
        place.display(),
        bytesize::ByteSize(reserve)
    );
    if free <= reserve {
        findings.add(CHECK, Outcome::Fail, what, "publishes are answered 507: make room");
    } else if free <= reserve.saturating_mul(LITTLE) {
        findings.add(CHECK, Outcome::Warn, what, "make room soon");
    } else {
        findings.ok(CHECK, what);
    }
}
