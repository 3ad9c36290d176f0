//! Whether the simulated power cut cuts what it should, before anything is concluded from it.
//!
//! This program runs itself under the library and scribbles into some files; after a cut, exactly
//! what was synced must be there.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::dice::Dice;
use crate::restore::{self, Cut};

/// Bytes of the file that is written over.
const LENGTH: usize = 20_000;

/// Writes, partly durably. Ends as by SIGKILL: what follows was not done.
pub fn scribble(directory: &Path) -> Result<()> {
    let within = |name: &str| directory.join(name);
    let sync_names = || File::open(directory).and_then(|names| names.sync_all());
    // Durable: its name and its content.
    let mut options = OpenOptions::new();
    let kept = options.read(true).write(true).create(true).truncate(true).open(within("kept"))?;
    kept.write_all_at(&vec![1; LENGTH], 0)?;
    kept.sync_data()?;
    fs::write(within("old"), "old")?;
    File::open(within("old"))?.sync_all()?;
    fs::write(within("unsynced"), "content")?;
    sync_names()?;
    // Not durable: writes over each other, past the end, and a new size.
    kept.write_all_at(&[2; 6000], 1000)?;
    kept.write_all_at(&[3; 6000], 4000)?;
    kept.write_all_at(&[4; 9000], 18_000)?;
    kept.set_len(15_000)?;
    kept.write_all_at(&[5; 10], 15_000)?;
    // Not durable: names.
    fs::write(within("new"), "new")?;
    File::open(within("new"))?.sync_all()?;
    fs::rename(within("new"), within("old"))?;
    let mut log = OpenOptions::new().append(true).create(true).open(within("log"))?;
    log.write_all(b"one")?;
    log.write_all(b"two")?;
    fs::create_dir(within("folder"))?;
    fs::write(within("folder/file"), "file")?;
    fs::remove_file(within("unsynced"))?;
    Ok(())
}

/// Runs the check in a directory of its own.
pub fn run(library: &Path, home: &Path) -> Result<()> {
    for some in [false, true] {
        if home.exists() {
            fs::remove_dir_all(home)?;
        }
        let (data, journal) = (home.join("data"), home.join("journal"));
        fs::create_dir_all(&data)?;
        fs::create_dir_all(&journal)?;
        let library = library.canonicalize().with_context(|| library.display().to_string())?;
        let output = Command::new(std::env::current_exe()?)
            .args(["--fedsx", "none", "--dir", "none", "--scribble"])
            .arg(&data)
            .env("LD_PRELOAD", library)
            .env("POWERCUT_DIR", &data)
            .env("POWERCUT_JOURNAL", &journal)
            .output()?;
        if !output.status.success() {
            bail!("under the library: {}", String::from_utf8_lossy(&output.stderr));
        }
        let uncovered = restore::uncovered(&journal)?;
        if !uncovered.is_empty() {
            bail!("the power cut does not cover {uncovered:?}");
        }
        let dice = Dice::new(1);
        if some {
            for sector in [512, 4096] {
                restore::cut(&data, &journal, Cut::Some { sector }, &dice)?;
            }
            // Synced content stays, whatever else does.
            let kept = fs::read(data.join("kept"))?;
            if kept.get(..1000) != Some(&[1; 1000][..]) {
                bail!("a power cut changed what was synced");
            }
            continue;
        }
        restore::cut(&data, &journal, Cut::All, &dice)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&data)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        if names != ["kept", "old", "unsynced"] {
            bail!("after a power cut there are {names:?}");
        }
        if fs::read(data.join("kept"))? != [1; LENGTH] {
            bail!("a power cut does not restore what was written over");
        }
        if fs::read(data.join("old"))? != b"old" || !fs::read(data.join("unsynced"))?.is_empty() {
            bail!("a power cut does not take back what was not synced");
        }
    }
    fs::remove_dir_all(home)?;
    Ok(())
}
