//! `announces`: who passed on what.

use fedsx_kernel::activity::{id_of, kind_of};
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView};
use serde_json::Value;

use super::common::{is_farewell, is_local_record};
use super::tally::{self, Counts};
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};
use crate::shield::Hides;

/// Keys `[object or activity id, announcing actor]` with `{id, cid, order, undone, public}`, and
/// `[object or activity id]` with `{count}`, where the count is not 0. Announces that do not
/// address everyone are not counted for everyone, and shown to whom they reached
/// ([`super::tally`]).
pub struct Announces;

impl Fold for Announces {
    fn name(&self) -> &'static str {
        "announces"
    }

    fn version(&self) -> u32 {
        3
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn verbs(&self) -> Option<&'static [&'static str]> {
        Some(&["Announce", "Undo", "Delete"])
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
        match (activity.kind(), activity.object()) {
            ("Announce", Some(object)) => {
                let target = id_of(object)
                    .ok_or_else(|| FoldError::Undigestible("the object has no id".into()))?;
                Ok(tally::stated(state, target, "", activity)?)
            }
            ("Undo", Some(Value::String(_))) => Ok(tally::undone(state, activity, None)?),
            ("Undo", Some(Value::Object(inner))) => {
                let by_author = inner.get("actor").and_then(id_of) == Some(activity.actor());
                match kind_of(inner) {
                    None => Ok(tally::undone(state, activity, None)?),
                    Some("Announce") if by_author => {
                        let about = inner.get("object").and_then(id_of).map(|target| (target, ""));
                        Ok(tally::undone(state, activity, about)?)
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
