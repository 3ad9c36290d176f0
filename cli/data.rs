//! The data directory: what stands in it beside the store.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fedsx_kernel::Base;
use fedsx_kernel::keys::MasterKey;
use fedsx_kernel::runtime::Random;

/// The variable that may hold the master key.
pub const MASTER_KEY_VARIABLE: &str = "FEDSX_MASTER_KEY";

/// Makes the directory, for its owner alone.
pub fn prepare(directory: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).with_context(|| format!("the data directory {}", directory.display()))
}

/// The base under which the data was made; every id in it starts with that.
pub fn recorded_base(directory: &Path) -> Result<Option<Base>> {
    let path = directory.join("base");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let base = text.trim().parse().with_context(|| path.display().to_string())?;
            Ok(Some(base))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Notes the base at the first start, and refuses another one later.
pub fn settle_base(directory: &Path, base: &Base) -> Result<()> {
    match recorded_base(directory)? {
        Some(recorded) if recorded == *base => Ok(()),
        Some(recorded) => bail!(
            "{} belongs to {recorded}, not to {base}: ids cannot change; start with --base-url \
             {recorded}",
            directory.display()
        ),
        None => {
            let path = directory.join("base");
            let mut file = fs::File::create(&path).with_context(|| path.display().to_string())?;
            writeln!(file, "{base}").with_context(|| path.display().to_string())?;
            file.sync_all().with_context(|| path.display().to_string())
        }
    }
}

/// The master key: from the environment, else from its file, which is made at the first start.
pub fn master_key(directory: &Path, random: &dyn Random) -> Result<MasterKey> {
    if let Ok(text) = std::env::var(MASTER_KEY_VARIABLE) {
        return MasterKey::from_hex(&text).context(MASTER_KEY_VARIABLE);
    }
    let path = directory.join("master.key");
    let (key, created) = MasterKey::load_or_create(&path, random)?;
    if created {
        tracing::warn!(
            path = %path.display(),
            "a master key was made; keep a copy of it apart from backups of the data"
        );
    }
    Ok(key)
}
