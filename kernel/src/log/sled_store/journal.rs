//! The journal: what was written and is not in sled yet.
//!
//! Every commit is one frame at the end of a file `journal.N` beside sled's; a log's commit is
//! acknowledged when that file is synced, once. Its rows are read from memory ([`super::layers`])
//! until they are in sled. N is the generation: when the rows of one are moved, the next file is
//! begun, and sled notes the generation whose rows it has before the file is removed. So whatever
//! interrupts a move, the files that are there from that generation on hold the rest, and reading
//! them again in order comes to the same.

pub(super) mod frame;
pub(super) mod replay;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::raw::write_at;
use crate::log::store::TableWrite;

const NAME: &str = "journal.";

/// Why a frame was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// There is no room for it; the journal is as it was.
    Full(io::Error),
    /// Nobody knows what the file holds.
    Failed(io::Error),
}

/// The journal that is written to.
pub(super) struct Journal {
    pub(super) file: Arc<File>,
    pub(super) generation: u64,
    /// Bytes that are written.
    pub(super) end: u64,
    /// Bytes that are durable.
    pub(super) synced: u64,
    frames: u64,
}

/// The file of a generation.
pub(super) fn path(store: &Path, generation: u64) -> PathBuf {
    store.join(format!("{NAME}{generation}"))
}

/// The generations of which there is a file, in order.
pub(super) fn generations(store: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(store)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(NAME));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes the files up to a generation, oldest first, durably.
pub(super) fn remove_up_to(store: &Path, generation: u64) -> io::Result<()> {
    let mut removed = false;
    for old in generations(store)?.into_iter().filter(|old| *old <= generation) {
        fs::remove_file(path(store, old))?;
        removed = true;
    }
    if removed { sync_directory(store) } else { Ok(()) }
}

fn sync_directory(store: &Path) -> io::Result<()> {
    File::open(store)?.sync_all()
}

/// Whether an error says that there is no room.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl Journal {
    /// Makes the file of a generation; it is durable on return.
    pub(super) fn create(store: &Path, generation: u64) -> io::Result<Self> {
        let path = path(store, generation);
        let made = Self::make(store, &path, generation);
        if made.is_err() {
            // An empty one does no harm.
            let _ = fs::remove_file(&path);
        }
        made
    }

    fn make(store: &Path, path: &Path, generation: u64) -> io::Result<Self> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        let file = options.open(path)?;
        let header = frame::header(generation);
        write_at(&file, &header, 0)?;
        file.sync_all()?;
        sync_directory(store)?;
        let end = header.len() as u64;
        Ok(Self { file: Arc::new(file), generation, end, synced: end, frames: 0 })
    }

    /// Goes on with a file where what is whole of it ends; cuts off what follows.
    pub(super) fn resume(store: &Path, end: replay::End) -> io::Result<Self> {
        let replay::End { generation, bytes: end, frames } = end;
        let file = OpenOptions::new().read(true).write(true).open(path(store, generation))?;
        let length = file.metadata()?.len();
        if length != end {
            let file = path(store, generation);
            tracing::warn!(file = %file.display(), end, length, "what was not synced is cut off");
        }
        file.set_len(end)?;
        // What an earlier process left unsynced counts as durable from here on.
        file.sync_all()?;
        Ok(Self { file: Arc::new(file), generation, end, synced: end, frames })
    }

    /// Writes a frame. It is not durable before a sync.
    pub(super) fn write(&mut self, writes: &[TableWrite]) -> Result<(), WriteError> {
        let bytes = frame::encode(self.generation, self.frames, self.synced, writes);
        let bytes = bytes.ok_or_else(|| {
            WriteError::Full(io::Error::new(io::ErrorKind::FileTooLarge, "a batch is too large"))
        })?;
        if let Err(error) = write_at(&self.file, &bytes, self.end) {
            // What was written of it must not stand before the next frame.
            return Err(match self.file.set_len(self.end) {
                Ok(()) if is_full(&error) => WriteError::Full(error),
                _ => WriteError::Failed(error),
            });
        }
        self.end += bytes.len() as u64;
        self.frames += 1;
        Ok(())
    }
}
