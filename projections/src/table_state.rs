//! Keyed state below a prefix of a table.

use std::sync::Arc;

use fedsx_kernel::log::{StoreError, Table};
use fedsx_kernel::state::{StateError, StateView};
use serde_json::Value;

use crate::layout::{self, Layout};

/// The committed state of one version of one projection.
#[derive(Clone)]
pub struct TableState {
    table: Arc<dyn Table>,
    prefix: Vec<u8>,
}

impl TableState {
    /// The state of a version of a projection.
    pub fn new(table: Arc<dyn Table>, name: &str, version: u32) -> Self {
        Self { table, prefix: Layout::new(name, version).state() }
    }

    pub(crate) fn key(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_slice(), key.as_bytes()].concat()
    }

    /// Up to `limit` entries whose keys start with `prefix` and come before `before`, in falling
    /// order of keys.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub fn scan_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let before = before.map(|before| self.key(before));
        let found = self.table.scan_back(&self.key(prefix), before.as_deref(), limit);
        self.read(found.map_err(storage)?)
    }

    fn read(&self, found: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Vec<(String, Value)>, StateError> {
        let read = |(key, bytes): (Vec<u8>, Vec<u8>)| {
            let value = layout::decode(&key, &bytes).map_err(storage)?;
            let key = key.get(self.prefix.len()..).unwrap_or_default().to_vec();
            let key = String::from_utf8(key)
                .map_err(|_| StateError::Storage("a key of the state is not UTF-8".into()))?;
            Ok((key, value))
        };
        found.into_iter().map(read).collect()
    }
}

impl StateView for TableState {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        let key = self.key(key);
        let Some(bytes) = self.table.get(&key).map_err(storage)? else { return Ok(None) };
        layout::decode(&key, &bytes).map(Some).map_err(storage)
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let after = after.map(|after| self.key(after));
        let found = self.table.scan(&self.key(prefix), after.as_deref(), limit);
        self.read(found.map_err(storage)?)
    }
}

fn storage(error: StoreError) -> StateError {
    StateError::Storage(error.to_string())
}
