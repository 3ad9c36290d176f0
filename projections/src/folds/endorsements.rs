//! `endorsements`: likes and shares.

use fedsx_kernel::activity::{id_of, kind_of};
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView};
use serde_json::{Map, Value};

use super::common::{is_farewell, is_local_record};
use super::tally::{self, Counts};
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};
use crate::shield::Hides;

/// Keys `[target id, like or share, actor]` with `{id, cid, order, undone, public}`, and
/// `[target id]` with `{like, share}`, where counts of 0 are left out. What does not address
/// everyone is not counted for everyone, and shown to whom it reached ([`super::tally`]).
pub struct Endorsements;

/// What a statement endorses as; `None` where it endorses nothing.
fn kind(statement: &Map<String, Value>) -> Result<Option<&str>, FoldError> {
    match kind_of(statement) {
        Some("Like") => Ok(Some("like")),
        Some("Endorse") => match statement.get("kind").and_then(Value::as_str) {
            Some(kind @ ("like" | "share")) => Ok(Some(kind)),
            _ => Err(FoldError::Undigestible("kind: must be like or share".into())),
        },
        _ => Ok(None),
    }
}

impl Fold for Endorsements {
    fn name(&self) -> &'static str {
        "endorsements"
    }

    fn version(&self) -> u32 {
        3
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn verbs(&self) -> Option<&'static [&'static str]> {
        Some(&["Like", "Endorse", "Undo", "Delete"])
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
    }

    fn serves(&self, older: u32) -> bool {
        // Before, rows did not tell what is private.
        older >= 2
    }

    fn shown_to(&self, key: &[String], value: &Value, reader: &Reader) -> Shown {
        tally::shown_to(key, value, reader)
    }

    fn recounted(
        &self,
        state: &dyn StateView,
        key: &[String],
        value: Value,
        hides: &mut Hides<'_>,
    ) -> Result<Option<Value>, StateError> {
        tally::recounted(state, Counts::Together, tally::last_part, (key, value), hides)
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let activity = &record.activity;
        if is_local_record(record) {
            return Ok(());
        }
        if is_farewell(activity) {
            return Ok(tally::left(state, Counts::Together, activity)?);
        }
        if activity.kind() == "Undo" {
            let Some(Value::Object(inner)) = activity.object() else {
                return Ok(tally::undone(state, activity, None)?);
            };
            if kind_of(inner).is_none() {
                return Ok(tally::undone(state, activity, None)?);
            }
            let by_author = inner.get("actor").and_then(id_of) == Some(activity.actor());
            let (Some(kind), true) = (kind(inner)?, by_author) else { return Ok(()) };
            let about = inner.get("object").and_then(id_of).map(|target| (target, kind));
            return Ok(tally::undone(state, activity, about)?);
        }
        let Some(kind) = kind(activity.document())? else { return Ok(()) };
        let target = activity
            .object_id()
            .ok_or_else(|| FoldError::Undigestible("the object has no id".into()))?;
        Ok(tally::stated(state, target, kind, activity)?)
    }
}
