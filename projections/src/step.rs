//! One record folded: what the engine and an offline rebuild have in common.

use fedsx_kernel::json;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{Overlay, StateError, StateView, Writes};

use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope};
use crate::layout::SetAside;

/// The longest reason that is kept for a record that was set aside, in characters.
const MAX_REASON_CHARS: usize = 500;

/// What became of a record.
#[derive(Debug)]
pub(crate) enum Step {
    /// The record is not for this fold.
    Skipped,
    /// What it changes.
    Folded(Writes),
    /// The fold could not digest it; the state stays as it was.
    SetAside(SetAside),
}

/// Folds one record over a view. An error means that the storage failed.
pub(crate) fn step(
    fold: &dyn Fold,
    context: &Context,
    view: &dyn StateView,
    record: &Record,
) -> Result<Step, StateError> {
    if fold.scope() == Scope::EachCid && !record.entry.first {
        return Ok(Step::Skipped);
    }
    let mut overlay = Overlay::new(view);
    let reason = match fold.fold(context, &mut overlay, record) {
        Ok(()) => match normal(overlay.into_writes()) {
            Ok(writes) => return Ok(Step::Folded(writes)),
            Err(error) => format!("the new state has no normal form: {error}"),
        },
        Err(FoldError::State(error @ StateError::Storage(_))) => return Err(error),
        Err(error) => error.to_string(),
    };
    Ok(Step::SetAside(SetAside {
        global_seq: record.entry.global_seq,
        cid: record.entry.cid,
        reason: reason.chars().take(MAX_REASON_CHARS).collect(),
    }))
}

/// State is stored as DAG-CBOR, which takes only documents in normal form.
fn normal(writes: Writes) -> Result<Writes, json::JsonError> {
    writes
        .into_iter()
        .map(|(key, value)| Ok((key, value.map(json::normalise).transpose()?)))
        .collect()
}
