//! What sled's errors and those of the file system mean here.

use std::io;

use crate::log::store::StoreError;

/// An error while reading.
pub(super) fn read_error(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(e) => StoreError::Io(e.to_string()),
        sled::Error::Corruption { at, .. } => StoreError::Damaged {
            place: match at {
                Some(at) => format!("store/db at byte {}", at.lid()),
                None => "store/db".into(),
            },
            reason: "a page is not what was written".into(),
        },
        other => StoreError::Io(other.to_string()),
    }
}

/// Why a write failed, for a person.
pub(super) fn write_failure(error: &sled::Error) -> String {
    match error {
        sled::Error::Io(e) => io_failure(e),
        other => other.to_string(),
    }
}

/// The same for an error of the file system.
pub(super) fn io_failure(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: make room, then restart".to_owned()
        }
        io::ErrorKind::FileTooLarge => {
            "the file may not grow further: raise the limit (ulimit -f), then restart".to_owned()
        }
        _ => error.to_string(),
    }
}
