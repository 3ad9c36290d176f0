use std::sync::Arc;

use fedsx_kernel::log::{Table, TableWrite};
use fedsx_kernel::state::{self, StateError, StateView};
use serde_json::Value;

/// Keyed state below a prefix of a table.
pub(crate) struct GraphState {
    table: Arc<dyn Table>,
    prefix: Vec<u8>,
}

impl GraphState {
    pub(super) fn new(table: Arc<dyn Table>, prefix: Vec<u8>) -> Self {
        Self { table, prefix }
    }

    fn key(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_slice(), key.as_bytes()].concat()
    }

    fn value(key: &str, bytes: &[u8]) -> Result<Value, StateError> {
        serde_json::from_slice(bytes)
            .map_err(|e| StateError::Shape { key: key.to_owned(), reason: e.to_string() })
    }

    /// The writes of a fold, as writes to the table.
    pub(crate) fn writes(&self, writes: state::Writes) -> Vec<TableWrite> {
        writes
            .into_iter()
            .map(|(key, value)| (self.key(&key), value.map(|value| value.to_string().into_bytes())))
            .collect()
    }
}

impl StateView for GraphState {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        let stored = self.table.get(&self.key(key))?;
        stored.map(|bytes| Self::value(key, &bytes)).transpose()
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let after = after.map(|after| self.key(after));
        let page = self.table.scan(&self.key(prefix), after.as_deref(), limit)?;
        page.into_iter()
            .map(|(key, bytes)| {
                let key = key.get(self.prefix.len()..).unwrap_or_default();
                let key = String::from_utf8_lossy(key).into_owned();
                let value = Self::value(&key, &bytes)?;
                Ok((key, value))
            })
            .collect()
    }
}
