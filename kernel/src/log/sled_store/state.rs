//! The admission state in the log's tree.

use std::sync::Arc;

use serde_json::Value;

use super::rows::Rows;
use crate::canonical;
use crate::log::store::StoreError;
use crate::state::{StateError, StateView};

/// The admission state.
pub(super) struct SledState {
    rows: Arc<Rows>,
}

impl SledState {
    pub(super) fn new(rows: Arc<Rows>) -> Self {
        Self { rows }
    }
}

impl StateView for SledState {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        match self.rows.get(&place(key))? {
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
        let found = self.rows.scan(&place(prefix), after.as_deref(), limit);
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
