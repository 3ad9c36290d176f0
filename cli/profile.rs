//! Profiles: the instances that a person operates or publishes to, with their tokens.
//!
//! The file is TOML, one table for each profile: `[default]` with `url` and `token`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::config::file::line_of;

/// The profile that is used where none is named.
const DEFAULT: &str = "default";
/// The largest file of profiles, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// One instance, and who one is there.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// The instance.
    pub url: Option<String>,
    /// The token.
    pub token: Option<String>,
}

/// The named profile, or the one called `default`, or nothing where no profile was asked for.
///
/// # Errors
/// Where the file cannot be read, others may read it, or it has no such profile. No message shows
/// a line of it.
pub fn load(name: Option<&str>) -> Result<Profile> {
    let Some(path) = place() else {
        return match name {
            Some(name) => bail!("profile {name}: there is no home directory to look in"),
            None => Ok(Profile::default()),
        };
    };
    if name.is_none() && !path.exists() {
        return Ok(Profile::default());
    }
    let mut profiles = read(&path)?;
    match (name, profiles.remove(name.unwrap_or(DEFAULT))) {
        (_, Some(profile)) => Ok(profile),
        (None, None) => Ok(Profile::default()),
        (Some(name), None) => bail!("{} has no profile {name:?}", path.display()),
    }
}

/// `FEDSX_PROFILES`, else `fedsx/profiles.toml` where configurations are (XDG Base Directory).
fn place() -> Option<PathBuf> {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("FEDSX_PROFILES").or_else(|| {
        let directory = of("XDG_CONFIG_HOME").or_else(|| Some(of("HOME")?.join(".config")))?;
        Some(directory.join("fedsx/profiles.toml"))
    })
}

fn read(path: &Path) -> Result<BTreeMap<String, Profile>> {
    let name = path.display();
    let about = fs::metadata(path).with_context(|| format!("profiles: {name}"))?;
    if about.len() > MAX_BYTES {
        bail!("profiles: {name} is larger than {MAX_BYTES} bytes");
    }
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o077 != 0 {
        bail!("profiles: others may read {name}, which holds tokens: chmod 600 {name}");
    }
    let text = fs::read_to_string(path).with_context(|| format!("profiles: {name}"))?;
    toml::from_str(&text).map_err(|e: toml::de::Error| {
        let line = line_of(&e, &text);
        anyhow::anyhow!("profiles: {name}, line {line} is no `name = \"value\"` of url or token")
    })
}
