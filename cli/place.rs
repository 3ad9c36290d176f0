//! Whether a data directory is the one that it was, or a copy of it.
//!
//! The file `place` says which inode it is itself. Whoever moves the directory on its file system
//! keeps that, whoever copies it does not, so a copy is told from the original wherever it lies.
//! Snapshots of whole file systems keep it; those are told by who receives what both publish.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::{data, restore};

/// The name of the file.
const FILE: &str = "place";

/// Whether a directory is where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It says so.
    Same,
    /// Nothing was noted yet.
    New,
    /// It was copied, or moved to another file system.
    Copied,
}

/// Looks at a data directory.
///
/// # Errors
/// Where the note cannot be read.
pub fn look(directory: &Path) -> io::Result<Place> {
    let path = directory.join(FILE);
    match fs::read_to_string(&path) {
        Ok(noted) if noted.trim() == mark(&path)? => Ok(Place::Same),
        Ok(_) => Ok(Place::Copied),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Place::New),
        Err(e) => Err(e),
    }
}

/// Refuses a copy that would number its statements like the original, and notes the place of any
/// other directory. A copy goes on where the epoch that is asked for is above the noted one, since
/// that tells its statements from those of the original.
///
/// # Errors
/// Where it is such a copy, or the note cannot be read or written.
pub fn settle(directory: &Path, epoch: Option<u64>) -> Result<()> {
    let name = directory.display();
    let path = directory.join(FILE);
    match look(directory).with_context(|| path.display().to_string())? {
        Place::Same => return Ok(()),
        Place::New => {}
        Place::Copied => {
            let recorded = data::recorded_epoch(directory)?;
            if epoch.is_none_or(|asked| asked <= recorded) {
                bail!(
                    "{name} is a copy of a data directory: were the original to go on too, one number \
                     would stand for two statements. See that the original never starts again, then \
                     start this one once with --epoch {}",
                    restore::next_epoch(recorded)
                );
            }
            data::settle_epoch(directory, epoch)?;
        }
    }
    note(&path).with_context(|| path.display().to_string())
}

/// Makes a copy forget that it is one; only for who raises its epoch.
///
/// # Errors
/// Where the note cannot be removed.
pub fn forget(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(FILE)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// What a file says that is its own note.
fn mark(path: &Path) -> io::Result<String> {
    Ok(number(&fs::metadata(path)?).to_string())
}

fn number(about: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(about)
}

fn note(path: &Path) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = fs::File::create(&draft)?;
    // The number is known once the file is there, and stays when it gets its name.
    writeln!(file, "{}", number(&file.metadata()?))?;
    file.sync_all()?;
    data::put_in_place(&draft, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_moved_directory_is_told_from_a_copied_one() {
        let place = tempfile::tempdir().unwrap();
        let (a, b, c) = (place.path().join("a"), place.path().join("b"), place.path().join("c"));
        fs::create_dir(&a).unwrap();
        assert_eq!(look(&a).unwrap(), Place::New);
        settle(&a, None).unwrap();
        assert_eq!(look(&a).unwrap(), Place::Same);
        fs::rename(&a, &b).unwrap();
        assert_eq!(look(&b).unwrap(), Place::Same);
        fs::create_dir(&c).unwrap();
        fs::copy(b.join(FILE), c.join(FILE)).unwrap();
        assert_eq!(look(&c).unwrap(), Place::Copied);
        let refused = settle(&c, None).unwrap_err().to_string();
        assert!(refused.contains("--epoch "), "{refused}");
        settle(&c, Some(0)).unwrap_err();
        settle(&c, Some(7)).unwrap();
        assert_eq!(look(&c).unwrap(), Place::Same);
        assert_eq!(data::recorded_epoch(&c).unwrap(), 7);
        assert_eq!(look(&b).unwrap(), Place::Same);
    }
}
