//! Reading pages of a projection.

#[cfg(test)]
mod tests;

use fedsx_kernel::state::{StateError, key, parts, prefix};
use serde::Serialize;
use serde_json::Value;

use crate::cursors::Cursors;
use crate::error::QueryError;
use crate::table_state::Rows;

/// The most items on one page.
pub const MAX_LIMIT: usize = 1000;
/// The most rows that are looked at for one page, for readers to whom most are hidden.
const MAX_EXAMINED: usize = 10_000;
/// First character of the first part of keys that are a fold's own notes.
pub(crate) const NOTES: &str = "~";
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
    /// The position that was asked for, where it is past state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The items, in the order that was asked for. What is not for the reader is left out; where
    /// that is nearly everything, there may be fewer items than asked for.
    pub items: Vec<Item>,
    /// Where the next page goes on; none on the last one. It tells nothing of hidden rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Page {
    /// Whether `next` means the same as long as the page does: where it goes on among rows that are
    /// hidden, it is a name that is forgotten after a while.
    pub fn lasts(&self) -> bool {
        self.next.as_deref().is_none_or(|next| !Cursors::is_cursor(next))
    }
}

/// Where a next page goes on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    /// After a row that the reader was shown.
    Shown(String),
    /// After a row that is hidden from the reader, and so must be its key.
    Hidden(String),
}

/// What of a row is shown, if anything.
pub(crate) type Show<'a> = dyn FnMut(&[String], Value) -> Result<Option<Value>, QueryError> + 'a;

/// The items of a page and where the next one goes on.
pub(crate) fn read(
    state: &dyn Rows,
    query: &Query,
    show: &mut Show<'_>,
) -> Result<(Vec<Item>, Option<Next>), QueryError> {
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
    let (mut items, mut examined) = (Vec::new(), 0);
    let mut after = query.after.clone();
    // The key of the last item: the next page starts there, not at hidden rows behind it.
    let mut last: Option<String> = None;
    loop {
        // One more than asked for shows whether there is a next page.
        let wanted = limit + 1;
        let found = if query.newest_first {
            backward(state, exact.as_deref(), &below, after.as_deref(), wanted)?
        } else {
            forward(state, exact.as_deref(), &below, after.as_deref(), wanted)?
        };
        let ends = found.len() < wanted;
        for (place, value) in found {
            let row = parts(&place);
            if let Some(value) = show(&row, value)? {
                if items.len() == limit {
                    return Ok((items, last.map(Next::Shown)));
                }
                items.push(Item { key: row, value });
                last = Some(place.clone());
            }
            examined += 1;
            after = Some(place);
        }
        if ends {
            return Ok((items, None));
        }
        if examined >= MAX_EXAMINED {
            let next =
                if items.len() == limit { last.map(Next::Shown) } else { after.map(Next::Hidden) };
            return Ok((items, next));
        }
    }
}

type Entries = Vec<(String, Value)>;

fn forward(
    state: &dyn Rows,
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
    state: &dyn Rows,
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
