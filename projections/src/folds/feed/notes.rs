//! Notes of the fold, where names and authors stand as [`tag`]s:
//!
//! | key | value |
//! |---|---|
//! | `~o` name | a public object of this name, or a Create of one: its position, its name, tag of object and author, and who received it there; `true` where it was announced or deleted before it was known |
//! | `~d` object and author | the author deleted it |
//! | `~s` object and author, receiver, position | an item with its Create, of which `~o` does not tell |
//! | `~a` name, receiver, position | an item with an Announce of it |

use fedsx_kernel::state::{State, StateError, StateView, key, parts, prefix};
use serde_json::Value;

use super::super::common::tag;

/// Items that one arriving object or Delete changes.
const MAX_TOUCHED: usize = 1000;

/// A public object that Announces may show.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    /// Position of its Create, or of the record that holds the Create as it was fetched.
    pub(super) at: u64,
    /// Name of the Create.
    pub(super) activity: String,
    /// Tag of object and author.
    pub(super) author: String,
    /// In whose inbox the Create stands at that position.
    pub(super) receiver: Option<String>,
}

/// What is noted of a name.
pub(super) enum Note {
    /// Others spoke of it before it was known: items announce it, or somebody deleted it.
    Named,
    Known(Known),
}

impl Note {
    pub(super) fn read(state: &dyn StateView, place: &str) -> Result<Option<Self>, StateError> {
        let Some(held) = state.get(place)? else { return Ok(None) };
        let parts = match &held {
            Value::Bool(true) => return Ok(Some(Self::Named)),
            Value::Array(parts) => parts.as_slice(),
            _ => &[],
        };
        let reason = || "no note about a name".to_owned();
        let shape = || StateError::Shape { key: place.to_owned(), reason: reason() };
        Known::of_row(parts).map(|known| Some(Self::Known(known))).ok_or_else(shape)
    }
}

impl Note {
    /// Whether it is of an object of this author.
    pub(super) fn is_by(&self, author: &str) -> bool {
        matches!(self, Self::Known(known) if known.author == author)
    }
}

impl Known {
    fn of_row(row: &[Value]) -> Option<Self> {
        let text = |at: usize| row.get(at).and_then(Value::as_str).map(str::to_owned);
        let at = row.first()?.as_u64()?;
        Some(Self { at, activity: text(1)?, author: text(2)?, receiver: text(3) })
    }

    pub(super) fn to_row(&self) -> Value {
        let mut row: Vec<Value> =
            vec![self.at.into(), self.activity.as_str().into(), self.author.as_str().into()];
        row.extend(self.receiver.as_deref().map(Value::from));
        Value::Array(row)
    }

    /// Where the item with the Create stands, if it is told here.
    pub(super) fn item(&self) -> Option<String> {
        self.receiver.as_deref().map(|receiver| item_key(receiver, self.at))
    }
}

pub(super) fn position(global_seq: u64) -> String {
    format!("{global_seq:020}")
}

pub(super) fn item_key(receiver: &str, global_seq: u64) -> String {
    key(&[receiver, &position(global_seq)])
}

pub(super) fn known_key(name: &str) -> String {
    format!("~o{}", tag(&[name]))
}

pub(super) fn deleted_key(of: &str) -> String {
    format!("~d{of}")
}

pub(super) fn is_deleted(
    state: &dyn StateView,
    id: &str,
    author: &str,
) -> Result<bool, StateError> {
    Ok(state.get(&deleted_key(&tag(&[id, author])))?.is_some())
}

/// The keys of the items that a note leads to.
pub(super) fn touched(state: &dyn State, note: &str) -> Result<Vec<String>, StateError> {
    let found = state.scan(&prefix(&[note]), None, MAX_TOUCHED)?;
    let item = |note: &str| match parts(note).as_slice() {
        [_, receiver, position] => Some(key(&[receiver, position])),
        _ => None,
    };
    Ok(found.iter().filter_map(|(note, _)| item(note)).collect())
}
