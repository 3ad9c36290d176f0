//! What is under test.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
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
    options: SledOptions,
}

impl Sled {
    fn start(directory: tempfile::TempDir, options: SledOptions) -> Self {
        let device = Arc::new(FaultyDevice::default());
        let options = SledOptions { device: device.clone(), ..options };
        let storage = open_patiently(directory.path(), &options).unwrap();
        Self { directory, storage: Some(Arc::new(storage)), device, options }
    }

    /// Opens an empty store in which values are as long as they look.
    pub fn plain() -> Self {
        Self::with(SledOptions { compress: false, ..SledOptions::default() })
    }

    /// Opens an empty store with options.
    pub fn with(options: SledOptions) -> Self {
        Self::start(tempfile::tempdir().unwrap(), options)
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
        Self::with(SledOptions::default())
    }

    fn storage(&self) -> Arc<dyn Storage> {
        self.storage.clone().unwrap()
    }

    fn reopen(self) -> Self {
        let options = self.options.clone();
        Self::start(self.into_directory(), options)
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

/// The same, where next to nothing stays in memory.
pub struct Small(Sled);

impl Provider for Small {
    fn open() -> Self {
        let move_after = Duration::from_millis(3);
        let options = SledOptions { memory_bytes: 4096, move_after, ..SledOptions::default() };
        // Hashes come to several epochs, too.
        Self(Sled::with(SledOptions { epoch_hashes: 5, ..options }))
    }

    fn storage(&self) -> Arc<dyn Storage> {
        self.0.storage()
    }

    fn reopen(self) -> Self {
        Self(self.0.reopen())
    }

    fn check_files(&self) {
        self.0.check_files();
    }

    fn directory(&self) -> Option<&Path> {
        self.0.directory()
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

/// What the files of a store held when one of them was synced.
pub struct Seen {
    /// The file that was synced.
    pub synced: String,
    /// All files, by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A device that fails on demand.
pub struct FaultyDevice {
    pub sync_fails: AtomicBool,
    pub room: AtomicU64,
    /// Where wanted, a directory, and what its files held at each sync of one of them.
    pub watched: Mutex<Option<(PathBuf, Vec<Seen>)>>,
}

impl Default for FaultyDevice {
    fn default() -> Self {
        Self { sync_fails: false.into(), room: u64::MAX.into(), watched: Mutex::default() }
    }
}

/// The files in a directory, by name.
pub fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect()
}

impl Device for FaultyDevice {
    fn sync(&self, file: &File) -> io::Result<()> {
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        if let Some((directory, seen)) = &mut *self.watched.lock().unwrap() {
            let number = |about: std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(&about);
            let own = number(file.metadata()?);
            let synced = std::fs::read_dir(&*directory)?
                .map(|entry| entry.unwrap())
                .find(|entry| number(entry.metadata().unwrap()) == own);
            // Another database's file is nothing to watch.
            if let Some(synced) = synced {
                let synced = synced.file_name().into_string().unwrap();
                seen.push(Seen { synced, files: files(directory) });
            }
        }
        file.sync_data()
    }

    fn room(&self, _: &File) -> io::Result<u64> {
        Ok(self.room.load(Ordering::SeqCst))
    }
}
