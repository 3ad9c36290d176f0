//! What a projection is made of.

use fedsx_kernel::Base;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::State;
use serde::Serialize;
use serde_json::Value;

use crate::error::FoldError;

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
    /// Which entries it sees.
    fn scope(&self) -> Scope;
    /// Who may read the state.
    fn visibility(&self) -> Visibility;
    /// Whether a query may show an entry to everyone who may read the projection. What it may
    /// not show is left to readers that check the audience ([`crate::Projections::view`]).
    fn shows(&self, value: &Value) -> bool {
        let _ = value;
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
