//! The data directory: what stands in it beside the store.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fedsx_kernel::Base;
use fedsx_kernel::backup::{Beside, Made};
use fedsx_kernel::keys::{KeyRing, MasterKey, Vault, check_master_key};
use fedsx_kernel::log::{OpenError, SledStorage, Storage};
use fedsx_kernel::runtime::Random;
use serde::{Deserialize, Serialize};

/// The variable that may hold the master key.
pub const MASTER_KEY_VARIABLE: &str = "FEDSX_MASTER_KEY";
/// The file that holds it otherwise.
pub(crate) const MASTER_KEY_FILE: &str = "master.key";
/// The file that holds the next one while private keys are sealed anew.
pub(crate) const NEXT_KEY_FILE: &str = "master.key.next";

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
            write_durably(&path, format!("{base}\n").as_bytes(), 0o644)
                .with_context(|| path.display().to_string())
        }
    }
}

/// Replaces a file of a data directory, durably and atomically.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    // What a crash left may have other permissions.
    match fs::remove_file(&draft) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut file = options.open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    put_in_place(&draft, path)
}

/// Gives a durable file the place of another one, durably.
pub(crate) fn put_in_place(draft: &Path, path: &Path) -> io::Result<()> {
    fs::rename(draft, path)?;
    match path.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// The epoch that was noted: how the statements of this instance are told from those that it
/// made before it was restored from a backup; 0 for one that never was.
pub fn recorded_epoch(directory: &Path) -> Result<u64> {
    let path = directory.join("epoch");
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .with_context(|| format!("{} does not hold a whole number", path.display())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Notes a higher epoch.
pub fn raise_epoch(directory: &Path, epoch: u64) -> Result<()> {
    let path = directory.join("epoch");
    write_durably(&path, format!("{epoch}\n").as_bytes(), 0o644)
        .with_context(|| path.display().to_string())
}

/// The epoch to run with: the noted one, or a higher one that is asked for and then noted.
pub fn settle_epoch(directory: &Path, asked: Option<u64>) -> Result<u64> {
    let recorded = recorded_epoch(directory)?;
    match asked {
        Some(asked) if asked < recorded => bail!(
            "{} is at epoch {recorded}; --epoch {asked} would give its numbers out twice: an epoch \
             only rises",
            directory.display()
        ),
        Some(asked) if asked > fedsx_kernel::json::MAX_SAFE_INTEGER.unsigned_abs() => {
            bail!("--epoch {asked} is above 2^53-1")
        }
        Some(asked) if asked > recorded => {
            raise_epoch(directory, asked)?;
            Ok(asked)
        }
        _ => Ok(recorded),
    }
}

/// The name of the file that marks a backup.
const BACKUP_NOTE: &str = "backup.json";

/// What a backup says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupNote {
    /// The version of the program that made it.
    pub software: String,
    /// When it was made (RFC 3339).
    pub made: jiff::Timestamp,
    /// Where its log ends.
    pub global_seq: u64,
    /// Whether it holds the master key.
    pub with_master_key: bool,
}

/// What the directory says about itself, where it is a backup.
pub fn backup_note(directory: &Path) -> Result<Option<BackupNote>> {
    let path = directory.join(BACKUP_NOTE);
    match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).with_context(|| path.display().to_string())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Makes a copy of a backup a data directory to run on.
pub fn remove_backup_note(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(BACKUP_NOTE)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Refuses to change a backup: what runs on it would number its statements like the original.
pub fn refuse_backup(directory: &Path) -> Result<()> {
    if directory.join(BACKUP_NOTE).exists() {
        bail!(
            "{0} is a backup; make a data directory of it first: fedsx restore --from {0} --data \
             NEW",
            directory.display()
        );
    }
    Ok(())
}

/// Opens the store of a data directory that exists, for a command that works offline.
pub fn open_offline(directory: &Path) -> Result<SledStorage, OfflineError> {
    if !directory.join("format").exists() {
        return Err(OfflineError::NotData(directory.to_owned()));
    }
    Ok(SledStorage::open(directory)?)
}

/// Why a command cannot work on a data directory.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// There is nothing of ours.
    #[error("{0} is not a data directory of fedsx")]
    NotData(PathBuf),
    /// It is in use, damaged or unreadable.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The files of a data directory beside the store, for backups.
pub struct BesideStore {
    directory: PathBuf,
}

impl BesideStore {
    /// The files of this directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }
}

impl Beside for BesideStore {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn write(&self, directory: &Path, made: &Made) -> io::Result<()> {
        for name in ["base", "epoch"] {
            match fs::read(self.directory.join(name)) {
                Ok(content) => write_durably(&directory.join(name), &content, 0o644)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        if made.with_master_key {
            copy_master_key(&self.directory.join(MASTER_KEY_FILE), directory)?;
        }
        let note = BackupNote {
            software: format!("fedsx {}", env!("CARGO_PKG_VERSION")),
            made: made.at,
            global_seq: made.head.as_ref().map_or(0, |head| head.global_seq),
            with_master_key: made.with_master_key,
        };
        let note = serde_json::to_vec_pretty(&note).map_err(io::Error::other)?;
        write_durably(&directory.join(BACKUP_NOTE), &note, 0o644)
    }
}

/// Copies a master key into a data directory, for its owner alone.
pub fn copy_master_key(from: &Path, directory: &Path) -> io::Result<()> {
    let master_key = MasterKey::load(from).map_err(|e| {
        io::Error::other(format!("{e} (where the key comes from {MASTER_KEY_VARIABLE}, keep that)"))
    })?;
    // It was read to be checked; what is copied is the text.
    drop(master_key);
    let content = zeroize::Zeroizing::new(fs::read(from)?);
    write_durably(&directory.join(MASTER_KEY_FILE), &content, 0o600)
}

/// The master key where there is one; none is made.
pub fn existing_master_key(directory: &Path) -> Result<Option<MasterKey>> {
    if let Ok(text) = std::env::var(MASTER_KEY_VARIABLE) {
        return MasterKey::from_hex(&text).map(Some).context(MASTER_KEY_VARIABLE);
    }
    let path = directory.join(MASTER_KEY_FILE);
    if path.exists() { Ok(Some(MasterKey::load(&path)?)) } else { Ok(None) }
}

/// Refuses a directory where some private keys are sealed with the one master key, and some with the
/// other.
pub fn refuse_interrupted_change(directory: &Path) -> Result<()> {
    if directory.join(NEXT_KEY_FILE).exists() {
        bail!(
            "{0} changes its master key, and was interrupted; go on with: fedsx key rotate-master \
             --data {0}",
            directory.display()
        );
    }
    Ok(())
}

/// Checks that it is this master key with which private keys are sealed.
pub fn seals(key: &MasterKey, storage: &dyn Storage) -> Result<()> {
    Ok(check_master_key(storage.ledgers().as_ref(), &Vault::new(key.clone()))?)
}

/// The master key: from the environment, else from its file, which is made at the first start.
pub fn master_key(
    directory: &Path,
    storage: &dyn Storage,
    random: &dyn Random,
) -> Result<MasterKey> {
    refuse_interrupted_change(directory)?;
    if let Some(key) = existing_master_key(directory)? {
        seals(&key, storage).with_context(|| {
            format!(
                "the master key is not the one of {}; put the right one back",
                directory.display()
            )
        })?;
        return Ok(key);
    }
    let path = directory.join(MASTER_KEY_FILE);
    if KeyRing::holds_any(storage.ledgers().as_ref())? {
        bail!(
            "{} is missing, and private keys are sealed with it: put it back (mode 0600), or give \
             it by {MASTER_KEY_VARIABLE}",
            path.display()
        );
    }
    let (key, created) = MasterKey::load_or_create(&path, random)?;
    if created {
        tracing::warn!(
            path = %path.display(),
            "a master key was made; keep a copy of it apart from backups of the data"
        );
    }
    Ok(key)
}
