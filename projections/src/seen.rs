//! What the fold of a record read.

use std::sync::{Arc, Mutex, PoisonError};

use fedsx_kernel::state::{StateError, StateView};
use serde_json::Value;

/// What a record's fold read is remembered until the next record: it is asked for once more, to see
/// what changed.
pub(crate) struct Seen<'a> {
    view: &'a dyn StateView,
    read: Mutex<Vec<(String, Option<Arc<Value>>)>>,
}

/// Reads of one record that are remembered.
const REMEMBERED: usize = 32;

impl<'a> Seen<'a> {
    pub(crate) fn new(view: &'a dyn StateView) -> Self {
        Self { view, read: Mutex::default() }
    }

    /// The value at a key that was read; `None` where it was not.
    pub(crate) fn remembered(&self, key: &str) -> Option<Option<Arc<Value>>> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.iter().find(|(held, _)| held == key).map(|(_, value)| value.clone())
    }
}

impl StateView for Seen<'_> {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        Ok(self.get_shared(key)?.map(|value| Value::clone(&value)))
    }

    fn get_shared(&self, key: &str) -> Result<Option<Arc<Value>>, StateError> {
        if let Some(value) = self.remembered(key) {
            return Ok(value);
        }
        let value = self.view.get_shared(key)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() < REMEMBERED {
            read.push((key.to_owned(), value.clone()));
        }
        Ok(value)
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        self.view.scan(prefix, after, limit)
    }
}
