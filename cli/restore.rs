//! `fedsx restore`: a data directory to run on, out of a backup.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use fedsx_kernel::keys::MasterKey;
use fedsx_kernel::log::Storage as _;
use fedsx_kernel::runtime::Runtime;
use serde_json::json;

use crate::fresh::Fresh;
use crate::progress::Progress;
use crate::{data, place};

/// Options of `fedsx restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup; it is left as it is.
    #[arg(long, value_name = "BACKUP")]
    pub from: PathBuf,
    /// The data directory to make; new or empty.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The master key, where the backup does not hold it.
    #[arg(long, value_name = "FILE")]
    pub master_key: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Bytes copied at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// Runs the command.
pub fn run(args: &RestoreArgs) -> Result<ExitCode> {
    if !args.from.join("format").exists() {
        bail!("{} is not a backup of a data directory", args.from.display());
    }
    let _lock = lock(&args.from)?;
    let fresh = Fresh::at(&args.data, &args.from, ("--data", "the backup", "restore"))?;
    let Restored { epoch, entries, base, has_key } = fresh.fill(|partial| fill(args, partial))?;
    let target = fresh.target();
    if args.json {
        let result = json!({
            "data": target, "base": base, "epoch": epoch, "entries": entries,
            "master_key": has_key,
        });
        println!("{result}");
        return Ok(ExitCode::SUCCESS);
    }
    let data = target.display();
    println!("restored {entries} entries of {base} into {data}; its epoch is now {epoch}");
    if !has_key {
        println!(
            "the master key is missing: put it into {data}/master.key (mode 0600) or give it by \
             {}; without it no actor can publish",
            data::MASTER_KEY_VARIABLE
        );
    }
    println!("check it with: fedsx verify --data {data}");
    Ok(ExitCode::SUCCESS)
}

struct Restored {
    epoch: u64,
    entries: u64,
    base: String,
    has_key: bool,
}

/// Keeps a server off the backup while it is read, and refuses one on which a server runs.
fn lock(from: &Path) -> Result<File> {
    let path = from.join("store").join("db");
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{} is in use by another process; make a backup of it first", from.display())
        }
        Err(TryLockError::Error(e)) => Err(e).with_context(|| path.display().to_string()),
    }
}

fn fill(args: &RestoreArgs, partial: &Path) -> Result<Restored> {
    data::prepare(partial)?;
    let files = files(&args.from)?;
    let bar = Progress::bytes("copying", files.iter().map(|(_, length)| length).sum());
    for (path, _) in &files {
        copy(&args.from.join(path), &partial.join(path), &bar)
            .with_context(|| args.from.join(path).display().to_string())?;
    }
    if let Some(key) = &args.master_key {
        data::copy_master_key(key, partial)?;
    }
    let base = data::recorded_base(partial)?
        .with_context(|| format!("{} does not say whose it is", args.from.display()))?;
    // Opening checks format and head; what follows is only written to what can be opened.
    let entries = {
        let storage = data::open_offline(partial)?;
        let head = storage.log().head()?;
        let key = partial.join(data::MASTER_KEY_FILE);
        if key.exists() {
            data::seals(&MasterKey::load(&key)?, &storage)
                .context("the master key is not the one of this backup; give that of its time")?;
        }
        storage.sync()?;
        head
    };
    data::remove_backup_note(partial)?;
    place::forget(partial)?;
    let epoch = next_epoch(data::recorded_epoch(partial)?);
    data::raise_epoch(partial, epoch)?;
    let has_key = partial.join(data::MASTER_KEY_FILE).exists();
    Ok(Restored { epoch, entries, base: base.to_string(), has_key })
}

/// Above the last epoch of the backup, and above every one that an earlier restore of the same
/// backup got: that is why the time counts.
pub(crate) fn next_epoch(last: u64) -> u64 {
    let seconds = Runtime::system().clock.now().as_second();
    last.saturating_add(1).max(u64::try_from(seconds).unwrap_or(0))
}

/// The files below a directory with their lengths, by relative path.
fn files(root: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        let place = root.join(&directory);
        for entry in fs::read_dir(&place).with_context(|| place.display().to_string())? {
            let entry = entry?;
            let (path, metadata) = (directory.join(entry.file_name()), entry.metadata()?);
            if metadata.is_dir() {
                waiting.push(path);
            } else if metadata.is_file() {
                found.push((path, metadata.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a file with its permissions, durably.
fn copy(from: &Path, to: &Path, bar: &Progress) -> io::Result<()> {
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut source = File::open(from)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        options.mode(source.metadata()?.permissions().mode() & 0o777);
    }
    let mut target = options.open(to)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = source.read(&mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        target.write_all(bytes)?;
        bar.add(read as u64);
    }
    target.sync_all()?;
    match to.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_rise_and_differ_between_restores_of_one_backup() {
        let now = Runtime::system().clock.now().as_second().unsigned_abs();
        assert!(next_epoch(0) >= now, "the time tells two restores of one backup apart");
        let ahead = now + 1_000_000;
        assert_eq!(next_epoch(ahead), ahead + 1, "a clock that was set back changes nothing");
    }
}
