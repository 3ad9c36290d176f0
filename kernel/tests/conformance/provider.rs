//! What is under test.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedsx_kernel::log::{Device, MemoryStorage, OpenError, SledOptions, SledStorage, Storage};

/// A provider of storage.
pub trait Provider: Sized + 'static {
    /// Opens an empty store.
    fn open() -> Self;

    /// What it stores.
    fn storage(&self) -> Arc<dyn Storage>;

    /// Ends it and opens it again with the same data.
    fn reopen(self) -> Self;

    /// Checks what must hold of the files below at any time.
    fn check_files(&self) {}

    /// Where a head file can stand.
    fn directory(&self) -> Option<&Path> {
        None
    }
}

/// Memory: reopening keeps what is there.
pub struct Memory(Arc<MemoryStorage>);

impl Provider for Memory {
    fn open() -> Self {
        Self(Arc::new(MemoryStorage::default()))
    }

    fn storage(&self) -> Arc<dyn Storage> {
        self.0.clone()
    }

    fn reopen(self) -> Self {
        self
    }
}

/// sled in a directory of its own.
pub struct Sled {
    directory: tempfile::TempDir,
    storage: Option<Arc<SledStorage>>,
    pub device: Arc<FaultyDevice>,
    compress: bool,
}

impl Sled {
    fn start(directory: tempfile::TempDir, compress: bool) -> Self {
        let device = Arc::new(FaultyDevice::default());
        let options = SledOptions { device: device.clone(), compress, ..SledOptions::default() };
        let storage = open_patiently(directory.path(), &options).unwrap();
        Self { directory, storage: Some(Arc::new(storage)), device, compress }
    }

    /// Opens an empty store in which values are as long as they look.
    pub fn plain() -> Self {
        Self::start(tempfile::tempdir().unwrap(), false)
    }

    /// Ends the store and gives its directory.
    pub fn into_directory(mut self) -> tempfile::TempDir {
        self.storage = None;
        self.directory
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl Provider for Sled {
    fn open() -> Self {
        Self::start(tempfile::tempdir().unwrap(), SledOptions::default().compress)
    }

    fn storage(&self) -> Arc<dyn Storage> {
        self.storage.clone().unwrap()
    }

    fn reopen(self) -> Self {
        let compress = self.compress;
        Self::start(self.into_directory(), compress)
    }

    /// sled never syncs the files that it makes beside its database.
    fn check_files(&self) {
        let blobs = self.directory.path().join("store/blobs");
        let count = std::fs::read_dir(blobs).unwrap().count();
        assert_eq!(count, 0, "files beside the database");
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.directory.path())
    }
}

/// Opens a store again as soon as the last task that held it before is gone.
pub fn open_patiently(directory: &Path, options: &SledOptions) -> Result<SledStorage, OpenError> {
    for _ in 0..2000 {
        match SledStorage::open_with(directory, options.clone()) {
            Err(OpenError::InUse(_)) => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    SledStorage::open_with(directory, options.clone())
}

/// A device that fails on demand.
pub struct FaultyDevice {
    pub sync_fails: AtomicBool,
    pub room: AtomicU64,
    /// Where wanted, what the file held at each sync.
    pub seen: Mutex<Option<Vec<Vec<u8>>>>,
}

impl Default for FaultyDevice {
    fn default() -> Self {
        Self { sync_fails: false.into(), room: u64::MAX.into(), seen: Mutex::default() }
    }
}

impl Device for FaultyDevice {
    fn sync(&self, file: &File) -> io::Result<()> {
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        if let Some(seen) = &mut *self.seen.lock().unwrap() {
            let mut bytes = Vec::new();
            let mut file = file;
            file.seek(io::SeekFrom::Start(0))?;
            file.read_to_end(&mut bytes)?;
            seen.push(bytes);
        }
        file.sync_data()
    }

    fn room(&self, _: &File) -> io::Result<u64> {
        Ok(self.room.load(Ordering::SeqCst))
    }
}
