//! The device below the store: whether it has what was written, and how much more it takes.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::store::{FreeSpace, StoreError};

/// What the store asks of the device; tests put faults in between.
pub trait Device: Send + Sync + 'static {
    /// Returns when the device has everything that was written to the file.
    ///
    /// # Errors
    /// Where that is not certain; the store takes no more writes then.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// How many bytes the file may grow; `u64::MAX` where nobody knows.
    ///
    /// # Errors
    /// Where it cannot be asked; nothing is refused then.
    fn room(&self, file: &File) -> io::Result<u64>;
}

/// A file on a file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Device for Disk {
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    #[cfg(unix)]
    fn room(&self, file: &File) -> io::Result<u64> {
        use rustix::process::{Resource, getrlimit};

        let system = rustix::fs::fstatvfs(file)?;
        // Some file systems do not count blocks.
        let free = match system.f_blocks {
            0 => u64::MAX,
            _ => system.f_bavail.saturating_mul(system.f_frsize),
        };
        let Some(limit) = getrlimit(Resource::Fsize).current else { return Ok(free) };
        Ok(free.min(limit.saturating_sub(file.metadata()?.len())))
    }

    #[cfg(not(unix))]
    fn room(&self, _: &File) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// Who wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// The log: stops when only the reserve is left.
    Log,
    /// Projections and ledgers: they follow the log, and may use most of the reserve.
    Beside,
}

/// The part of the reserve that not even projections and ledgers may use: one in so many.
const LAST_PART: u64 = 4;
/// What the file grows by for one byte of ours, at most, about. sled writes more, each leaf again every
/// ten writes to it, and uses the room of what it replaced.
pub(super) const AMPLIFICATION: u64 = 3;
/// How much projections and ledgers may write before the room is looked up again, in bytes.
const RECHECK_BYTES: u64 = 1024 * 1024;

/// Refuses writes while the disk is nearly full, before anything of them is written.
pub(super) struct Room {
    device: Arc<dyn Device>,
    /// Those that are written to: the one with the least room counts.
    files: Mutex<Vec<Arc<File>>>,
    reserve_bytes: u64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    room: u64,
    spent: u64,
    short: bool,
}

impl Room {
    pub(super) fn new(device: Arc<dyn Device>, files: Vec<Arc<File>>, reserve_bytes: u64) -> Self {
        Self { device, files: Mutex::new(files), reserve_bytes, seen: Mutex::default() }
    }

    /// Whether there is room for so many bytes, the reserve included.
    pub(super) fn has(&self, bytes: u64) -> bool {
        self.look() >= bytes
    }

    fn look(&self) -> u64 {
        let room = |file: &Arc<File>| self.device.room(file).unwrap_or(u64::MAX);
        self.files().iter().map(room).min().unwrap_or(u64::MAX)
    }

    fn files(&self) -> MutexGuard<'_, Vec<Arc<File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the room for this file, too.
    pub(super) fn also(&self, file: Arc<File>) {
        self.files().push(file);
    }

    /// The room that there is now.
    pub(super) fn space(&self) -> FreeSpace {
        FreeSpace { free_bytes: self.look(), reserve_bytes: self.reserve_bytes }
    }

    /// Whether there is room for so many bytes beside the reserve. The log asks the file system
    /// once a commit, which costs nothing beside the sync; the others once a megabyte.
    pub(super) fn admit(&self, writer: Writer, bytes: u64) -> Result<(), StoreError> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        let floor = match writer {
            Writer::Log => self.reserve_bytes,
            Writer::Beside => self.reserve_bytes / LAST_PART,
        };
        let needed = bytes.saturating_mul(AMPLIFICATION);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fits =
            |seen: &Seen| seen.room.saturating_sub(seen.spent) >= floor.saturating_add(needed);
        let known = writer == Writer::Beside
            && seen.spent.saturating_add(needed) <= RECHECK_BYTES
            && fits(&seen);
        if !known {
            seen.room = self.look();
            seen.spent = 0;
        }
        let short = !fits(&seen);
        if short != seen.short && (short || writer == Writer::Log) {
            seen.short = short;
            let free_bytes = seen.room;
            if short {
                tracing::warn!(free_bytes, "the disk is nearly full; writes are refused");
            } else {
                tracing::info!(free_bytes, "there is room on the disk again");
            }
        }
        if short {
            return Err(StoreError::Full(format!(
                "{} KiB are free, of which {} KiB are kept in reserve",
                seen.room / 1024,
                floor / 1024
            )));
        }
        seen.spent = seen.spent.saturating_add(needed);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Fake {
        room: AtomicU64,
        asked: AtomicU64,
    }

    impl Device for Fake {
        fn sync(&self, _: &File) -> io::Result<()> {
            Ok(())
        }

        fn room(&self, _: &File) -> io::Result<u64> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Ok(self.room.load(Ordering::Relaxed))
        }
    }

    fn room(reserve_bytes: u64, free_bytes: u64) -> (Arc<Fake>, Room) {
        let fake = Arc::new(Fake { room: free_bytes.into(), asked: 0.into() });
        let file = Arc::new(tempfile::tempfile().unwrap());
        (fake.clone(), Room::new(fake, vec![file], reserve_bytes))
    }

    #[test]
    fn the_log_stops_first_and_goes_on_when_there_is_room() {
        let (fake, room) = room(1 << 20, (1 << 20) + 2000);
        assert!(room.admit(Writer::Log, 600).is_ok());
        assert!(matches!(room.admit(Writer::Log, 700), Err(StoreError::Full(_))));
        assert!(room.admit(Writer::Beside, 700).is_ok(), "the reserve is for those that follow");
        fake.room.store((1 << 18) + 2000, Ordering::Relaxed);
        assert!(matches!(room.admit(Writer::Log, 0), Err(StoreError::Full(_))));
        assert!(matches!(room.admit(Writer::Beside, 700), Err(StoreError::Full(_))));
        fake.room.store(1 << 30, Ordering::Relaxed);
        assert!(room.admit(Writer::Beside, 700).is_ok());
        assert!(room.admit(Writer::Log, 700).is_ok());
    }

    #[test]
    fn small_writes_beside_the_log_are_not_counted_one_by_one() {
        let (fake, room) = room(1 << 20, 1 << 40);
        for _ in 0..100 {
            room.admit(Writer::Beside, 1000).unwrap();
        }
        assert_eq!(fake.asked.load(Ordering::Relaxed), 1);
        room.admit(Writer::Beside, 1 << 20).unwrap();
        assert_eq!(fake.asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn no_reserve_asks_nothing() {
        let (fake, room) = room(0, 0);
        room.admit(Writer::Log, u64::MAX).unwrap();
        assert_eq!(fake.asked.load(Ordering::Relaxed), 0);
    }
}
