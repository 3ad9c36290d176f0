//! Erasing a body: a stub takes its place, under the same CID.
//!
//! The entries stay, so that order, density and Merkle trees stay as they are. A record in the
//! `local` stream says what was erased, in the same batch; nothing is erased without one.

use std::sync::{Arc, PoisonError, RwLock};

use super::entry::{Entry, Meta};
use super::store::{LogStore, StoreError};
use crate::activity::{Activity, Body};
use crate::cid::Cid;

/// The type of the record in the `local` stream. `object`: `{cid, object, by, why}`.
pub const BODY_ERASED: &str = "BodyErased";

/// What a batch erases.
#[derive(Clone, Debug, PartialEq)]
pub struct Erasure {
    /// The body.
    pub cid: Cid,
    /// What stands in its place; [`Body::erased`] is set in it.
    pub stub: Body,
    /// Entries that change with it, each at the place where it stands.
    pub entries: Vec<Entry>,
}

impl Erasure {
    /// Works out what erasing comes to: the stub, and every entry of the body that names hidden
    /// recipients, which go as well.
    pub(super) fn plan(store: &dyn LogStore, stub: &Activity) -> Result<Self, ErasureError> {
        let cid = *stub.cid();
        if !stub.is_erased() {
            return Err(ErasureError::NoStub);
        }
        let held = store.body(&cid)?.ok_or(ErasureError::NothingLeft)?;
        let stub = stub.to_body().map_err(|e| ErasureError::Unstorable(e.to_string()))?;
        if held == stub {
            return Err(ErasureError::NothingLeft);
        }
        let mut entries = Vec::new();
        for (stream, _) in store.streams()? {
            let Some(position) = store.position(&stream, &cid)? else { continue };
            for entry in store.read_stream(&stream, position, 1)? {
                if !entry.meta.hidden.is_empty() {
                    let meta = Meta { hidden: Vec::new(), ..entry.meta.clone() };
                    entries.push(Entry { meta, ..entry });
                }
            }
        }
        Ok(Self { cid, stub, entries })
    }
}

/// Why a body cannot be erased.
#[derive(Debug)]
pub(super) enum ErasureError {
    /// The body is not held, or nothing but this stub is left of it.
    NothingLeft,
    NoStub,
    Unstorable(String),
    Store(StoreError),
}

impl From<StoreError> for ErasureError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Keeps readers from bringing a body back into the cache that is being erased: whoever reads one
/// from the store to keep it holds this, and so does the writer while it erases.
#[derive(Clone, Default)]
pub(super) struct Erasures(Arc<RwLock<u64>>);

impl Erasures {
    /// How many bodies were erased since the start.
    pub(super) fn count(&self) -> u64 {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what reads bodies in order to keep them.
    pub(super) fn reading<T>(&self, read: impl FnOnce() -> T) -> T {
        let _held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        read()
    }

    /// Runs what erases so many bodies, and forgets them.
    pub(super) fn erasing<T>(&self, bodies: usize, erase: impl FnOnce() -> T) -> T {
        let mut count = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *count = count.saturating_add(bodies as u64);
        erase()
    }
}
