//! Keyed state below a prefix of a table, and how rows of any state are read.

use std::sync::Arc;

use fedsx_kernel::log::{StoreError, Table};
use fedsx_kernel::state::{MemoryState, StateError, StateView};
use serde_json::Value;

use crate::layout::{self, Build, Layout};

/// State that can be read in both directions.
pub(crate) trait Rows: StateView {
    /// Up to `limit` entries whose keys start with `prefix` and come before `before`, in falling
    /// order of keys.
    fn scan_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError>;
}

/// The committed state of one build of one projection.
#[derive(Clone)]
pub(crate) struct TableState {
    table: Arc<dyn Table>,
    prefix: Vec<u8>,
}

impl TableState {
    pub(crate) fn new(table: Arc<dyn Table>, name: &str, build: Build) -> Self {
        Self { table, prefix: Layout::new(name, build).state() }
    }

    pub(crate) fn key(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_slice(), key.as_bytes()].concat()
    }

    fn read(&self, found: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Vec<(String, Value)>, StateError> {
        let read = |(key, bytes): (Vec<u8>, Vec<u8>)| {
            let value = layout::decode(&key, &bytes)?;
            let key = key.get(self.prefix.len()..).unwrap_or_default().to_vec();
            let key = String::from_utf8(key).map_err(|e| StoreError::Damaged {
                place: format!("the state at {}", e.as_bytes().escape_ascii()),
                reason: "its key is not UTF-8".into(),
            })?;
            Ok((key, value))
        };
        found.into_iter().map(read).collect()
    }
}

impl Rows for TableState {
    fn scan_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let before = before.map(|before| self.key(before));
        let found = self.table.scan_back(&self.key(prefix), before.as_deref(), limit);
        self.read(found?)
    }
}

impl Rows for MemoryState {
    fn scan_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        // What starts with the prefix ends before the prefix followed by the greatest character.
        let end = format!("{prefix}{}", char::MAX);
        let end = before.filter(|before| *before < end.as_str()).unwrap_or(&end);
        if end < prefix {
            return Ok(Vec::new());
        }
        let found = self.0.range(prefix.to_owned()..end.to_owned()).rev();
        let found = found.filter(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl StateView for TableState {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        let key = self.key(key);
        let Some(bytes) = self.table.get(&key)? else { return Ok(None) };
        Ok(Some(layout::decode(&key, &bytes)?))
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let after = after.map(|after| self.key(after));
        let found = self.table.scan(&self.key(prefix), after.as_deref(), limit);
        self.read(found?)
    }
}
