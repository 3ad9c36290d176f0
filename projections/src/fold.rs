//! What a projection is made of.

use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView};
use fedsx_kernel::{Base, Cid};
use serde::Serialize;
use serde_json::Value;

use crate::error::FoldError;
use crate::reader::{Reader, Shown};
use crate::render::Bodies;
use crate::shield::{Hides, Speaker};

/// What a fold may know beside state and record. It is the same over the life of a log.
#[derive(Clone, Debug)]
pub struct Context {
    /// Addresses of this instance: which actors are local.
    pub base: Base,
}

/// Which entries a fold sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each body once, at its first entry.
    EachCid,
    /// Every entry of every stream.
    EachEntry,
}

/// Who may read the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Anyone.
    Public,
    /// Keys start with the name of a hosted actor; only that actor's token may read them.
    Private,
}

/// A deterministic fold over the log.
///
/// Keys are built with [`fedsx_kernel::state::key`]. Keys whose first part starts with `~` are
/// the fold's own notes: part of the digest, never shown by queries.
pub trait Fold: Send + Sync + 'static {
    /// The name of the projection: `a-z`, `0-9` and `-`, and `:` in published ones.
    fn name(&self) -> &str;
    /// Rises whenever the fold would give another state for the same log.
    fn version(&self) -> u32;
    /// The definition that it comes from, where it was published.
    fn definition(&self) -> Option<&Cid> {
        None
    }
    /// Which entries it sees.
    fn scope(&self) -> Scope;
    /// The types of the activities that may change anything, where others never do: those are not
    /// folded.
    fn verbs(&self) -> Option<&'static [&'static str]> {
        None
    }
    /// Who may read the state.
    fn visibility(&self) -> Visibility;
    /// The value of a row as it is shown: what is stored may be short and refer to other rows and
    /// to the log, so that no text is stored twice. `None` where there is nothing to show.
    ///
    /// # Errors
    /// Where state or log cannot be read.
    fn render(
        &self,
        state: &dyn StateView,
        bodies: &dyn Bodies,
        key: &[String],
        held: Value,
    ) -> Result<Option<Value>, StateError> {
        let _ = (state, bodies, key);
        Ok(Some(held))
    }
    /// What of a stored value makes up what anyone is shown: while that stays the same, anyone is
    /// shown the same. `None` where anyone is shown nothing. Asked of public projections only.
    fn public_part(&self, key: &[String], held: &Value) -> Option<Value> {
        match self.shown_to(key, held, &Reader::Anyone) {
            Shown::Whole => Some(held.clone()),
            Shown::Part(part) => Some(part),
            Shown::ToAudienceOf(_) | Shown::Hidden => None,
        }
    }
    /// What of a rendered row a reader is shown, by queries, in past state and in live streams. Rows of a
    /// private projection are shown to their owner only, whatever is said here.
    ///
    /// `Value::Null` stands for a row that was removed: whether a reader is told so can then
    /// depend on the key alone.
    fn shown_to(&self, key: &[String], value: &Value, reader: &Reader) -> Shown {
        let _ = (key, value, reader);
        Shown::Whole
    }
    /// Whose words a rendered row shows, which moderation may hide.
    fn speaker(&self, key: &[String], value: &Value) -> Speaker {
        let _ = key;
        Speaker::of(value)
    }
    /// A row that counts others as it is shown, without those that `hides` keeps from the reader; `None`
    /// where nothing is left. Other rows stay as they are.
    ///
    /// # Errors
    /// Where the state cannot be read.
    fn recounted(
        &self,
        state: &dyn StateView,
        key: &[String],
        value: Value,
        hides: &mut Hides<'_>,
    ) -> Result<Option<Value>, StateError> {
        let _ = (state, key, hides);
        Ok(Some(value))
    }
    /// Whether the state of an older version may be served until that of this one is built. Not
    /// where [`Fold::shown_to`] could not tell from it what is private.
    fn serves(&self, older: u32) -> bool {
        let _ = older;
        true
    }
    /// Whether past state may be asked for.
    fn keeps_past(&self) -> bool {
        true
    }
    /// Whether a row as it is shown now says that what it held before is withdrawn: then past state
    /// does not show it either.
    fn withdrawn(&self, now: &Value) -> bool {
        now.get("deleted") == Some(&Value::Bool(true))
    }
    /// Whether the state may hold content of objects: text, names, whatever their authors wrote.
    /// Then it is built anew after some of that was erased from the log. A fold that says no gives
    /// the same state for a stub as for the activity that was erased.
    fn keeps_content(&self) -> bool {
        true
    }
    /// Folds one record. After an error nothing that was written counts.
    ///
    /// # Errors
    /// [`FoldError::Undigestible`] sets the record aside, [`FoldError::State`] with a storage
    /// error halts the projection.
    fn fold(
        &self,
        context: &Context,
        state: &mut dyn State,
        record: &Record,
    ) -> Result<(), FoldError>;
}
