//! Rows as they are shown: what a fold stores refers to the log, and is completed when it is read.

use fedsx_kernel::Cid;
use fedsx_kernel::log::{Log, Record, StoreError};
use fedsx_kernel::state::{StateError, StateView, parts};
use serde_json::Value;

use crate::fold::Fold;
use crate::query::NOTES;

/// What of the log a row may refer to. What was erased is there as its stub; what cannot be read
/// is not there.
pub trait Bodies {
    /// The record at a position.
    ///
    /// # Errors
    /// Where the log cannot be read.
    fn at(&self, global_seq: u64) -> Result<Option<Record>, StoreError>;
    /// The record at the first entry of a body.
    ///
    /// # Errors
    /// Where the log cannot be read.
    fn first(&self, cid: &Cid) -> Result<Option<Record>, StoreError>;
    /// The record at the first entry of the activity with an id.
    ///
    /// # Errors
    /// Where the log cannot be read.
    fn by_id(&self, id: &str) -> Result<Option<Record>, StoreError>;
}

/// The log up to a position, which is part of it.
pub(crate) struct UpTo<'a> {
    pub(crate) log: &'a Log,
    pub(crate) last: u64,
}

impl<'a> UpTo<'a> {
    pub(crate) fn now(log: &'a Log) -> Self {
        Self { log, last: u64::MAX }
    }

    fn found(
        &self,
        found: Result<Option<Record>, StoreError>,
    ) -> Result<Option<Record>, StoreError> {
        match found {
            Ok(found) => Ok(found.filter(|record| record.entry.global_seq <= self.last)),
            // `verify` tells what is damaged.
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Bodies for UpTo<'_> {
    fn at(&self, global_seq: u64) -> Result<Option<Record>, StoreError> {
        let Some(before) = global_seq.checked_sub(1) else { return Ok(None) };
        let found = self.log.records(before, 1).map(|mut page| page.pop());
        Ok(self.found(found)?.filter(|record| record.entry.global_seq == global_seq))
    }

    fn first(&self, cid: &Cid) -> Result<Option<Record>, StoreError> {
        self.found(self.log.first(cid))
    }

    fn by_id(&self, id: &str) -> Result<Option<Record>, StoreError> {
        match self.log.by_id(id) {
            Ok(Some(activity)) => self.first(activity.cid()),
            Ok(None) | Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A state with its rows as they are shown.
pub(crate) struct Rendered<'a> {
    pub(crate) fold: &'a dyn Fold,
    pub(crate) state: &'a dyn StateView,
    pub(crate) bodies: &'a dyn Bodies,
}

impl Rendered<'_> {
    /// A row of the state as it is shown; `None` where there is nothing to show.
    pub(crate) fn row(&self, key: &[String], held: Value) -> Result<Option<Value>, StateError> {
        self.fold.render(self.state, self.bodies, key, held)
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        match self.state.get(key)? {
            Some(held) if !key.starts_with(NOTES) => self.row(&parts(key), held),
            held => Ok(held),
        }
    }

    pub(crate) fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let found = self.state.scan(prefix, after, limit)?;
        let mut shown = Vec::with_capacity(found.len());
        for (key, held) in found {
            let value =
                if key.starts_with(NOTES) { Some(held) } else { self.row(&parts(&key), held)? };
            shown.extend(value.map(|value| (key, value)));
        }
        Ok(shown)
    }
}
