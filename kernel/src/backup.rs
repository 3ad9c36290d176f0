//! Backups: a whole data directory of its own, as it was at one `global_seq`.
//!
//! A backup is written beside its place, as `<directory>.partial`, and renamed when it is whole
//! and durable, so that a directory under the asked name is always a complete backup.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::log::{BackupError, Copied, Head, Progress, Storage};
use crate::refusal::{Problem, Refusal};
use crate::runtime::Runtime;

/// What a backup holds beside the store.
#[derive(Clone, Debug)]
pub struct Made {
    /// Where the log of the backup ends; `None` for an empty one.
    pub head: Option<Head>,
    /// When it was made.
    pub at: Timestamp,
    /// Whether the master key is to go with it.
    pub with_master_key: bool,
}

/// The files of a data directory beside the store.
pub trait Beside: Send + Sync + 'static {
    /// The directory itself.
    fn directory(&self) -> &Path;

    /// Writes them durably into the directory of a backup.
    ///
    /// # Errors
    /// Where a file cannot be read or written, or the master key is asked for and is not a file.
    fn write(&self, directory: &Path, made: &Made) -> io::Result<()>;
}

/// Why a backup was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MakeError {
    /// The target cannot take it.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
    /// The target is no place for a backup.
    #[error("{path}: {reason}")]
    Place {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The copy failed.
    #[error(transparent)]
    Copy(#[from] BackupError),
}

/// Makes a backup; it is complete and durable on return. Blocks.
///
/// # Errors
/// [`MakeError::Place`] before anything was written; after any other error the partial copy is
/// removed again.
pub fn make(
    storage: &dyn Storage,
    beside: &dyn Beside,
    directory: &Path,
    at: Timestamp,
    with_master_key: bool,
    progress: Progress<'_>,
) -> Result<Option<Head>, MakeError> {
    let partial = check_place(beside, directory)?;
    let result = write(storage, beside, &partial, at, with_master_key, progress);
    let result = result.and_then(|head| {
        let fail = |source| MakeError::Io { path: directory.to_owned(), source };
        fs::rename(&partial, directory).map_err(fail)?;
        if let Some(parent) = directory.parent() {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(fail)?;
        }
        Ok(head)
    });
    if result.is_err()
        && let Err(error) = fs::remove_dir_all(&partial)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(directory = %partial.display(), %error, "a partial backup stays behind");
    }
    result
}

fn write(
    storage: &dyn Storage,
    beside: &dyn Beside,
    partial: &Path,
    at: Timestamp,
    with_master_key: bool,
    progress: Progress<'_>,
) -> Result<Option<Head>, MakeError> {
    let fail = |source| MakeError::Io { path: partial.to_owned(), source };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(partial).map_err(fail)?;
    let head = storage.backup(partial, progress)?;
    let made = Made { head, at, with_master_key };
    beside.write(partial, &made).map_err(fail)?;
    File::open(partial).and_then(|partial| partial.sync_all()).map_err(fail)?;
    Ok(made.head)
}

/// Checks that a backup can go to a directory, and names the place where it is written first.
fn check_place(beside: &dyn Beside, directory: &Path) -> Result<PathBuf, MakeError> {
    let refuse = |reason| MakeError::Place { path: directory.to_owned(), reason };
    let name = directory.file_name().ok_or_else(|| refuse("a backup needs a directory"))?;
    if !directory.is_absolute() {
        return Err(refuse("the path of a backup is absolute"));
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| MakeError::Io { path, source }
    };
    let parent = directory.parent().unwrap_or(directory);
    let parent = parent.canonicalize().map_err(at(parent))?;
    let data = beside.directory().canonicalize().map_err(at(beside.directory()))?;
    if parent.join(name).starts_with(data) {
        return Err(refuse("a backup goes outside of the data directory"));
    }
    match fs::read_dir(directory) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(refuse("it holds something; a backup goes to a new directory"));
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(at(directory)(source)),
    }
    let mut partial: OsString = name.to_owned();
    partial.push(".partial");
    let partial = directory.with_file_name(partial);
    // What an interrupted backup left is made anew; anything else is not ours to remove.
    if partial.join("format").exists() {
        fs::remove_dir_all(&partial).map_err(at(&partial))?;
    }
    Ok(partial)
}

/// What became of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupState {
    /// It is being made.
    Running,
    /// It is whole.
    Done,
    /// There is none.
    Failed,
}

/// A backup of a running instance, as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Where it goes.
    pub directory: PathBuf,
    /// What became of it.
    pub state: BackupState,
    /// Keys copied so far.
    pub keys: u64,
    /// Keys that are expected in all, about.
    pub expected: u64,
    /// Where its log ends, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_seq: Option<u64>,
    /// Whether the master key goes with it.
    pub with_master_key: bool,
    /// When it was begun (RFC 3339).
    pub started: Timestamp,
    /// When it ended (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Makes backups of a running instance, one at a time; cheap to clone.
#[derive(Clone)]
pub struct Backups {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    beside: Option<Arc<dyn Beside>>,
    runtime: Runtime,
    latest: Mutex<Option<BackupStatus>>,
    stopping: AtomicBool,
    running: watch::Sender<bool>,
}

impl Backups {
    /// Backups of this storage. Without files beside it nothing can be backed up.
    pub fn new(
        storage: Arc<dyn Storage>,
        beside: Option<Arc<dyn Beside>>,
        runtime: Runtime,
    ) -> Self {
        let inner = Inner {
            storage,
            beside,
            runtime,
            latest: Mutex::new(None),
            stopping: AtomicBool::new(false),
            running: watch::Sender::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Begins a backup into a directory of this machine. It goes on in the background.
    ///
    /// # Errors
    /// `conflict` while another one is made, `invalid-parameter` for an impossible directory.
    pub fn start(
        &self,
        directory: PathBuf,
        with_master_key: bool,
    ) -> Result<BackupStatus, Refusal> {
        let inner = &self.inner;
        let Some(beside) = inner.beside.clone() else {
            return Err(Refusal::new(Problem::NotFound, "this instance keeps its data in memory"));
        };
        let mut latest = inner.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.stopping.load(Ordering::SeqCst) {
            return Err(Refusal::new(Problem::Busy, "the instance is stopping"));
        }
        if latest.as_ref().is_some_and(|latest| latest.state == BackupState::Running) {
            return Err(Refusal::new(Problem::Conflict, "a backup is being made"));
        }
        check_place(beside.as_ref(), &directory).map_err(|e| {
            Refusal::new(Problem::InvalidParameter, e.to_string()).with("parameter", "directory")
        })?;
        let status = BackupStatus {
            directory,
            state: BackupState::Running,
            keys: 0,
            expected: 0,
            global_seq: None,
            with_master_key,
            started: inner.runtime.clock.now(),
            ended: None,
            error: None,
        };
        *latest = Some(status.clone());
        drop(latest);
        inner.running.send_replace(true);
        let (shared, task) = (inner.clone(), status.clone());
        inner.runtime.blocking.spawn(Box::new(move || shared.run(beside.as_ref(), &task)));
        Ok(status)
    }

    /// The latest backup since the start.
    pub fn latest(&self) -> Option<BackupStatus> {
        self.inner.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the backup that is being made, if any, and takes no more.
    pub async fn stop(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        let mut running = self.inner.running.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = running.wait_for(|running| !running).await;
    }
}

impl Inner {
    fn run(&self, beside: &dyn Beside, task: &BackupStatus) {
        let _ending = Ending(self);
        let mut progress = |copied: Copied| {
            self.update(|status| (status.keys, status.expected) = (copied.keys, copied.expected));
            if self.stopping.load(Ordering::SeqCst) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let (storage, directory) = (self.storage.as_ref(), task.directory.as_path());
        let made =
            make(storage, beside, directory, task.started, task.with_master_key, &mut progress);
        let ended = self.runtime.clock.now();
        match &made {
            Ok(head) => tracing::info!(directory = %directory.display(),
                global_seq = head.as_ref().map_or(0, |head| head.global_seq), "a backup was made"),
            Err(error) => {
                tracing::error!(directory = %directory.display(), %error, "a backup failed");
            }
        }
        self.update(|status| {
            status.ended = Some(ended);
            match made {
                Ok(head) => {
                    status.state = BackupState::Done;
                    status.global_seq = Some(head.map_or(0, |head| head.global_seq));
                }
                Err(error) => {
                    status.state = BackupState::Failed;
                    status.error = Some(error.to_string());
                }
            }
        });
    }

    fn update(&self, change: impl FnOnce(&mut BackupStatus)) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = latest.as_mut() {
            change(status);
        }
    }
}

/// Ends a backup also where it panics.
struct Ending<'a>(&'a Inner);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.update(|status| {
            if status.state == BackupState::Running {
                status.state = BackupState::Failed;
                status.error = Some("it broke off".into());
            }
        });
        self.0.running.send_replace(false);
    }
}
