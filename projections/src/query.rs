//! Reading pages of a projection.

use fedsx_kernel::state::{StateError, StateView, key, parts, prefix};
use serde::Serialize;
use serde_json::Value;

use crate::table_state::TableState;

/// The most items on one page.
pub const MAX_LIMIT: usize = 1000;
/// First character of the first part of keys that are a fold's own notes.
const NOTES: &str = "~";
/// Comes after every key that starts with [`NOTES`].
const AFTER_NOTES: &str = "~\u{10ffff}\u{10ffff}";

/// What to read.
#[derive(Clone, Debug)]
pub struct Query {
    /// The first parts of the keys; the entry with exactly this key is part of the answer.
    pub key_prefix: Option<Vec<String>>,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// Most items, from 1 to [`MAX_LIMIT`]; beyond, it is set to the nearest.
    pub limit: usize,
    /// Whether the greatest keys come first.
    pub newest_first: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self { key_prefix: None, after: None, limit: 100, newest_first: false }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// The parts of the key.
    pub key: Vec<String>,
    /// The value.
    pub value: Value,
}

/// A page.
///
/// Each item is as some commit of the projection left it, at `global_seq` or later: the position
/// is read first, and the items are read while folding may go on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// The projection.
    pub name: String,
    /// The version that is served.
    pub version: u32,
    /// The position up to which everything is in the items.
    pub global_seq: u64,
    /// The items, in the order that was asked for; entries that are not for everyone are left out,
    /// so that there may be fewer than asked for.
    pub items: Vec<Item>,
    /// Where the next page goes on; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The items of a page and where the next one goes on.
pub(crate) fn read(
    state: &TableState,
    query: &Query,
) -> Result<(Vec<Item>, Option<String>), StateError> {
    let limit = query.limit.clamp(1, MAX_LIMIT);
    let (exact, below) = match &query.key_prefix {
        None => (None, String::new()),
        Some(first) if first.is_empty() => (None, String::new()),
        Some(first) if first.iter().any(|part| part.starts_with(NOTES)) => {
            return Ok((Vec::new(), None));
        }
        Some(first) => {
            let first: Vec<&str> = first.iter().map(String::as_str).collect();
            (Some(key(&first)), prefix(&first))
        }
    };
    // One more than asked for shows whether there is a next page.
    let wanted = limit + 1;
    let mut found = if query.newest_first {
        backward(state, exact.as_deref(), &below, query.after.as_deref(), wanted)?
    } else {
        forward(state, exact.as_deref(), &below, query.after.as_deref(), wanted)?
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(|(key, _)| key.clone()) } else { None };
    let items = found.into_iter().map(|(key, value)| Item { key: parts(&key), value }).collect();
    Ok((items, next))
}

type Entries = Vec<(String, Value)>;

fn forward(
    state: &TableState,
    exact: Option<&str>,
    below: &str,
    after: Option<&str>,
    wanted: usize,
) -> Result<Entries, StateError> {
    let mut found = Entries::new();
    if let Some(key) = exact.filter(|key| after.is_none_or(|after| after < *key))
        && let Some(value) = state.get(key)?
    {
        found.push((key.to_owned(), value));
    }
    found.extend(state.scan(below, after, wanted.saturating_sub(found.len()))?);
    if let Some(first) = found.iter().position(|(key, _)| key.starts_with(NOTES)) {
        found.truncate(first);
        let missing = wanted.saturating_sub(found.len());
        found.extend(state.scan(below, Some(AFTER_NOTES), missing)?);
    }
    Ok(found)
}

fn backward(
    state: &TableState,
    exact: Option<&str>,
    below: &str,
    before: Option<&str>,
    wanted: usize,
) -> Result<Entries, StateError> {
    let mut found = state.scan_back(below, before, wanted)?;
    if let Some(first) = found.iter().position(|(key, _)| key.starts_with(NOTES)) {
        found.truncate(first);
        let missing = wanted.saturating_sub(found.len());
        found.extend(state.scan_back(below, Some(NOTES), missing)?);
    }
    if found.len() < wanted
        && let Some(key) = exact.filter(|key| before.is_none_or(|before| *key < before))
        && let Some(value) = state.get(key)?
    {
        found.push((key.to_owned(), value));
    }
    Ok(found)
}
