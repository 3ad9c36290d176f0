//! The append-only log.
//!
//! Bodies are stored once, by CID. An [`Entry`] puts a body into a stream: the outbox or inbox of
//! a hosted actor, or the instance's own `local` stream. `stream_seq` is dense from 0, one body
//! stands at most once in a stream, and `global_seq` only rises, from 1. [`Log`] is the service
//! on top of a [`LogStore`]: one writer that commits in groups, and readers.

mod check;
mod entry;
mod erasure;
mod errors;
mod group;
mod head;
mod memory;
mod pace;
mod pages;
mod recent;
mod refold;
mod service;
mod sled_store;
mod snapshot;
mod store;
mod turns;
mod writer;

pub use entry::{Entry, Meta, Record, Records, Stream, StreamError};
pub use erasure::{BODY_ERASED, Erasure};
pub use errors::AppendError;
pub use group::{Append, Appended, Guard, Once, Place};
pub use head::{Head, HeadError, HeadFile};
pub use memory::MemoryStorage;
pub use refold::rules_of;
pub use service::{Log, LogOptions, Pending};
pub use sled_store::{
    CompactError, Compacted, Device, Disk, FORMAT, FirstDamage, OpenError, Salvage, SalvageError,
    Salvaged, SledOptions, SledStorage, StreamKept, Unreadable,
};
pub use snapshot::{BackupError, Copied, Progress};
pub use store::{
    Batch, FreeSpace, LogStore, OnceValue, Pairs, Storage, StoreError, Table, TableWrite,
};
pub use turns::Turn;
