//! The head file: a small note beside the database that shows a log which was cut back.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cid::Cid;

/// Where the log ended when the head was last noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last `global_seq`.
    pub global_seq: u64,
    /// The body of that entry.
    pub root: Cid,
}

/// Why the head could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} is not a head file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The file that holds the [`Head`].
pub struct HeadFile {
    path: PathBuf,
}

impl HeadFile {
    /// The head file in a data directory.
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join("head.json") }
    }

    /// What was noted last; `None` before the first note.
    pub fn read(&self) -> Result<Option<Head>, HeadError> {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                HeadError::Malformed { path: self.path.clone(), reason: e.to_string() }
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HeadError::Io { path: self.path.clone(), source }),
        }
    }

    /// Replaces the note, durably and atomically.
    pub fn write(&self, head: &Head) -> Result<(), HeadError> {
        let fail = |source| HeadError::Io { path: self.path.clone(), source };
        let text = serde_json::to_vec(head).map_err(|e| fail(io::Error::other(e)))?;
        replace(&self.path, &text).map_err(fail)
    }
}

/// Gives a file this content, durably and atomically: whatever happens meanwhile, the file is
/// there with its old content or with the new one.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
