//! One record folded: what the engine, past state and an offline rebuild have in common.

use fedsx_kernel::json;
use fedsx_kernel::log::{Record, StoreError};
use fedsx_kernel::state::{Overlay, StateError, StateView, Writes};
use serde_json::Value;

use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope};
use crate::set_aside::{DECIDE_SET_ASIDE, Decision, SetAside, Status, Verdict};

/// What a record changes.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// State.
    pub(crate) writes: Writes,
    /// Records that were set aside, or whose being set aside was decided about.
    pub(crate) aside: Vec<SetAside>,
    /// By how much fewer (below 0) or more records wait for a decision.
    pub(crate) waiting: i64,
}

/// What a decision refers to.
pub(crate) trait Earlier {
    /// A record that was set aside before.
    fn aside(&mut self, global_seq: u64) -> Result<Option<SetAside>, StoreError>;
    /// The record at a position.
    fn record(&mut self, global_seq: u64) -> Result<Option<Record>, StoreError>;
}

/// Folds one record over a view. An error means that the storage failed.
pub(crate) fn step(
    fold: &dyn Fold,
    context: &Context,
    view: &dyn StateView,
    earlier: &mut dyn Earlier,
    record: &Record,
) -> Result<Effect, StateError> {
    let mut effect = Effect::default();
    if fold.scope() == Scope::EachCid && !record.entry.first {
        return Ok(effect);
    }
    let kind = record.activity.kind();
    if kind != DECIDE_SET_ASIDE && !fold.verbs().is_none_or(|verbs| verbs.contains(&kind)) {
        return Ok(effect);
    }
    match attempt(fold, context, view, record)? {
        Ok(writes) => effect.writes = writes,
        Err(reason) => {
            effect.aside.push(SetAside::new(record, &reason));
            effect.waiting = 1;
        }
    }
    if let Some(decision) = Decision::of(record, &context.base, fold.name()) {
        decide(fold, context, view, earlier, decision, &mut effect)?;
    }
    Ok(effect)
}

/// Folds a record; the inner error is the reason why it cannot be digested.
fn attempt(
    fold: &dyn Fold,
    context: &Context,
    view: &dyn StateView,
    record: &Record,
) -> Result<Result<Writes, String>, StateError> {
    let mut overlay = Overlay::new(view);
    match fold.fold(context, &mut overlay, record) {
        Ok(()) => {
            let mut writes = overlay.into_writes();
            let normal = writes.values_mut().flatten().try_for_each(normal);
            Ok(normal
                .map(|()| writes)
                .map_err(|error| format!("the new state has no normal form: {error}")))
        }
        Err(FoldError::State(error @ StateError::Storage(_))) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// State is stored as DAG-CBOR, which takes only documents in normal form.
fn normal(value: &mut Value) -> Result<(), json::JsonError> {
    if !json::is_normal(value) {
        *value = json::normalise(value.take())?;
    }
    Ok(())
}

fn decide(
    fold: &dyn Fold,
    context: &Context,
    view: &dyn StateView,
    earlier: &mut dyn Earlier,
    decision: Decision,
    effect: &mut Effect,
) -> Result<(), StateError> {
    // A decision about what this version of the fold digested, or about another record, is void.
    let Some(mut item) = earlier.aside(decision.about)? else { return Ok(()) };
    if item.cid != decision.cid || item.status == Status::Retried {
        return Ok(());
    }
    let waited = item.waits();
    match decision.decided.decision {
        Verdict::Skip if item.status == Status::Skipped => return Ok(()),
        Verdict::Skip => item.status = Status::Skipped,
        Verdict::Retry => {
            let Some(old) = earlier.record(decision.about)? else { return Ok(()) };
            // The record of the decision itself comes first.
            let mut here = Overlay::new(view);
            here.extend(effect.writes.clone());
            match attempt(fold, context, &here, &old)? {
                Ok(writes) => {
                    effect.writes.extend(writes);
                    item.status = Status::Retried;
                }
                Err(reason) => {
                    item.reason = crate::set_aside::shortened(&reason);
                    item.failed_retries = item.failed_retries.saturating_add(1);
                    item.status = Status::Waiting;
                }
            }
        }
    }
    item.decided = Some(decision.decided);
    effect.waiting += i64::from(item.waits()) - i64::from(waited);
    effect.aside.push(item);
    Ok(())
}
