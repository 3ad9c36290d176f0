//! Making a data directory out of another one: it is filled beside its place and put there whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// A place for a data directory that is to be made.
pub(crate) struct Fresh {
    target: PathBuf,
    partial: PathBuf,
}

impl Fresh {
    /// Checks the place. `option` is how it was named; `source` says what it is made from, and
    /// `verb` how.
    ///
    /// # Errors
    /// Where the place lies inside of `from`, or holds something.
    pub(crate) fn at(
        target: &Path,
        from: &Path,
        (option, source, verb): (&str, &str, &str),
    ) -> Result<Self> {
        let target = std::path::absolute(target)?;
        let name = target
            .file_name()
            .with_context(|| format!("{option} needs the name of a directory"))?;
        let parent = target.parent().unwrap_or(&target);
        let parent = parent.canonicalize().with_context(|| parent.display().to_string())?;
        if parent.starts_with(from.canonicalize()?) {
            bail!("{} lies inside of {source}", target.display());
        }
        match fs::read_dir(&target) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    bail!("{} holds something; {verb} into a new directory", target.display());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| target.display().to_string()),
        }
        let mut partial = name.to_owned();
        partial.push(".partial");
        let partial = target.with_file_name(partial);
        // What an interrupted run left is made anew; anything else is not ours to remove.
        if partial.join("format").exists() {
            fs::remove_dir_all(&partial).with_context(|| partial.display().to_string())?;
        }
        Ok(Self { target, partial })
    }

    /// Where it will stand.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Fills the directory and puts it into its place; after an error nothing is left of it.
    ///
    /// # Errors
    /// Those of `fill`, and where it cannot be put there.
    pub(crate) fn fill<T>(&self, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let filled = fill(&self.partial).and_then(|filled| {
            sync(&self.partial)?;
            fs::rename(&self.partial, &self.target)
                .with_context(|| self.target.display().to_string())?;
            if let Some(parent) = self.target.parent() {
                sync(parent)?;
            }
            Ok(filled)
        });
        if filled.is_err() {
            // The reason matters more than what could not be tidied up.
            let _ = fs::remove_dir_all(&self.partial);
        }
        filled
    }
}

/// Makes what stands in a directory durable: the names, not the files.
fn sync(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(|| directory.display().to_string())
}
