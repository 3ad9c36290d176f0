//! The admission state in the log's tree.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use super::rows::Rows;
use crate::canonical;
use crate::log::store::StoreError;
use crate::state::{StateError, StateView, Writes, scan_over};

/// The admission state, as far as it is durable.
pub(super) struct SledState {
    rows: Arc<Rows>,
    /// What stood where a batch writes that is not durable yet. Readers hold the lock while they
    /// read, so that no batch begins or ends under them.
    hidden: RwLock<Option<Writes>>,
}

impl SledState {
    pub(super) fn new(rows: Arc<Rows>) -> Self {
        Self { rows, hidden: RwLock::default() }
    }

    /// Goes on showing what stands at these keys, whatever is written to them.
    pub(super) fn hide<'a>(
        &self,
        keys: impl Iterator<Item = &'a String>,
    ) -> Result<(), StateError> {
        let held = keys
            .map(|key| Ok((key.clone(), Committed(&self.rows).get(key)?)))
            .collect::<Result<Writes, StateError>>()?;
        *self.hidden.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(())
    }

    /// Shows what was written.
    pub(super) fn show(&self) {
        *self.hidden.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl StateView for SledState {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        let hidden = self.hidden.read().unwrap_or_else(PoisonError::into_inner);
        match hidden.as_ref().and_then(|held| held.get(key)) {
            Some(held) => Ok(held.clone()),
            None => Committed(&self.rows).get(key),
        }
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let hidden = self.hidden.read().unwrap_or_else(PoisonError::into_inner);
        match hidden.as_ref() {
            Some(held) => scan_over(&Committed(&self.rows), held, prefix, after, limit),
            None => Committed(&self.rows).scan(prefix, after, limit),
        }
    }
}

/// What is in the tree.
struct Committed<'a>(&'a Rows);

impl StateView for Committed<'_> {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        match self.0.get(&place(key))? {
            Some(bytes) => decode(key, &bytes).map(Some),
            None => Ok(None),
        }
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let after = after.map(place);
        let found = self.0.scan(&place(prefix), after.as_deref(), limit);
        found?
            .into_iter()
            .map(|(key, bytes)| {
                let key = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
                let value = decode(&key, &bytes)?;
                Ok((key, value))
            })
            .collect()
    }
}

fn decode(key: &str, bytes: &[u8]) -> Result<Value, StateError> {
    serde_ipld_dagcbor::from_slice(bytes)
        .map_err(|e| StateError::Shape { key: key.to_owned(), reason: e.to_string() })
}

/// The key of an entry of the state in the log's tree.
pub(super) fn place(key: &str) -> Vec<u8> {
    [b"a".as_slice(), key.as_bytes()].concat()
}

pub(super) fn encode(value: &Value) -> Result<Vec<u8>, StoreError> {
    canonical::to_dag_cbor(value).map_err(|e| StoreError::Io(e.to_string()))
}
