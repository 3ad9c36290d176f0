//! Keyed state: what folds read and write.
//!
//! Keys are texts, values are JSON documents. Folds never hold one growing value; they keep
//! many small ones. [`Overlay`] collects the writes of a fold, so that they can be committed in
//! one batch or thrown away.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::log::StoreError;

/// Why state could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The store failed; never the fault of a record.
    #[error(transparent)]
    Storage(#[from] StoreError),
    /// A stored value has another shape than the code expects.
    #[error("the value at {key:?} does not fit: {reason}")]
    Shape {
        /// The key.
        key: String,
        /// What does not fit.
        reason: String,
    },
}

/// Read access to keyed state.
pub trait StateView: Send + Sync {
    /// The value at a key.
    fn get(&self, key: &str) -> Result<Option<Value>, StateError>;

    /// The same for whoever only looks at it: a view that keeps values decoded copies none.
    fn get_shared(&self, key: &str) -> Result<Option<Arc<Value>>, StateError> {
        Ok(self.get(key)?.map(Arc::new))
    }

    /// Up to `limit` entries whose keys start with `prefix` and come after `after`, in key order.
    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError>;
}

/// Write access on top.
pub trait State: StateView {
    /// Sets the value at a key.
    fn put(&mut self, key: &str, value: Value);
    /// Removes the value at a key.
    fn remove(&mut self, key: &str);
}

/// Reads a typed value.
pub fn get_as<T: DeserializeOwned>(
    state: &dyn StateView,
    key: &str,
) -> Result<Option<T>, StateError> {
    let Some(value) = state.get_shared(key)? else { return Ok(None) };
    T::deserialize(&*value)
        .map(Some)
        .map_err(|e| StateError::Shape { key: key.to_owned(), reason: e.to_string() })
}

/// Writes a typed value.
pub fn put_as<T: Serialize>(state: &mut dyn State, key: &str, value: &T) -> Result<(), StateError> {
    let value = serde_json::to_value(value)
        .map_err(|e| StateError::Shape { key: key.to_owned(), reason: e.to_string() })?;
    state.put(key, value);
    Ok(())
}

/// Builds a key from parts. Parts may hold anything; no two lists of parts give one key, and a
/// key made of the first parts followed by [`SEPARATOR`] is a prefix of the whole.
pub fn key(parts: &[&str]) -> String {
    let mut key = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            key.push(SEPARATOR);
        }
        for c in part.chars() {
            match c {
                SEPARATOR => key.push_str("\\n"),
                '\\' => key.push_str("\\\\"),
                c => key.push(c),
            }
        }
    }
    key
}

/// The prefix of all keys that start with these parts.
pub fn prefix(parts: &[&str]) -> String {
    let mut key = key(parts);
    key.push(SEPARATOR);
    key
}

/// Splits a key into the parts that it was built from.
pub fn parts(key: &str) -> Vec<String> {
    key.split(SEPARATOR)
        .map(|part| {
            let mut text = String::with_capacity(part.len());
            let mut chars = part.chars();
            while let Some(c) = chars.next() {
                match (c, c == '\\') {
                    (_, true) => match chars.next() {
                        Some('n') => text.push(SEPARATOR),
                        Some(other) => text.push(other),
                        None => {}
                    },
                    (c, false) => text.push(c),
                }
            }
            text
        })
        .collect()
}

/// What stands between the parts of a key.
pub const SEPARATOR: char = '\n';

/// One write: a key and its new value, or `None` to remove it.
pub type Writes = BTreeMap<String, Option<Value>>;

/// A view with uncommitted writes on top.
pub struct Overlay<'a> {
    base: &'a dyn StateView,
    writes: Writes,
}

impl<'a> Overlay<'a> {
    /// An overlay without writes.
    pub fn new(base: &'a dyn StateView) -> Self {
        Self { base, writes: Writes::new() }
    }

    /// An overlay that goes on with the writes of an earlier one.
    pub fn over(base: &'a dyn StateView, writes: Writes) -> Self {
        Self { base, writes }
    }

    /// The collected writes.
    pub fn into_writes(self) -> Writes {
        self.writes
    }

    /// Takes the writes of another one on top.
    pub fn extend(&mut self, writes: Writes) {
        if self.writes.is_empty() {
            self.writes = writes;
        } else {
            self.writes.extend(writes);
        }
    }
}

impl StateView for Overlay<'_> {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(key),
        }
    }

    fn get_shared(&self, key: &str) -> Result<Option<Arc<Value>>, StateError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone().map(Arc::new)),
            None => self.base.get_shared(key),
        }
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        scan_over(self.base, &self.writes, prefix, after, limit)
    }
}

/// Scans a view as if the writes were committed to it.
pub(crate) fn scan_over(
    base: &dyn StateView,
    writes: &Writes,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Value)>, StateError> {
    let written: Vec<_> = writes
        .range(prefix.to_owned()..)
        .take_while(|(key, _)| key.starts_with(prefix))
        .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
        .collect();
    if written.is_empty() {
        return base.scan(prefix, after, limit);
    }
    // Every write can hide at most one stored entry.
    let stored = base.scan(prefix, after, limit.saturating_add(written.len()))?;
    let mut merged: BTreeMap<String, Value> = stored.into_iter().collect();
    for (key, value) in written {
        match value {
            Some(value) => merged.insert(key.clone(), value.clone()),
            None => merged.remove(key),
        };
    }
    Ok(merged.into_iter().take(limit).collect())
}

impl State for Overlay<'_> {
    fn put(&mut self, key: &str, value: Value) {
        self.writes.insert(key.to_owned(), Some(value));
    }

    fn remove(&mut self, key: &str) {
        self.writes.insert(key.to_owned(), None);
    }
}

/// State in memory, for tests and simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryState(pub BTreeMap<String, Value>);

impl MemoryState {
    /// Commits the writes of an overlay.
    pub fn commit(&mut self, writes: Writes) {
        for (key, value) in writes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }
}

impl StateView for MemoryState {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        Ok(self
            .0
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl State for MemoryState {
    fn put(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unambiguous() {
        assert_ne!(key(&["a\nb"]), key(&["a", "b"]));
        assert_eq!(parts(&key(&["a\nb", "c\\n", ""])), ["a\nb", "c\\n", ""]);
        assert!(key(&["a", "b"]).starts_with(&prefix(&["a"])));
        assert!(!key(&["ab", "b"]).starts_with(&prefix(&["a"])));
    }

    #[test]
    fn overlay_scans_like_what_it_commits() {
        let mut base = MemoryState::default();
        for n in 0..6 {
            base.put(&format!("k{n}"), Value::from(n));
        }
        let mut overlay = Overlay::new(&base);
        overlay.remove("k1");
        overlay.put("k2", Value::from("two"));
        overlay.put("k22", Value::from("new"));
        let seen: Vec<_> =
            overlay.scan("k", Some("k0"), 3).expect("scan").into_iter().map(|(k, _)| k).collect();
        assert_eq!(seen, ["k2", "k22", "k3"]);
        let all = overlay.scan("k", None, 100).expect("scan");
        let writes = overlay.into_writes();
        base.commit(writes);
        assert_eq!(all, base.scan("k", None, 100).expect("scan"));
    }
}
