//! `replies`: what answers what.

use fedsx_kernel::activity::ids_in;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView};
use serde_json::Value;

use super::common::{embedded, is_actor, is_local_record, is_own};
use super::tally::{self, Counts, Statement};
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};
use crate::shield::Hides;

/// Keys `[object id, reply id, author]` with `{id, cid, order, undone, public}`, and `[object id]` with
/// `{count}`, where the count is not 0. A reply is what its author created with `inReplyTo`; it
/// counts until its author deletes it. What is not for everyone is not counted for everyone, and
/// shown to whom it reached ([`super::tally`]).
pub struct Replies;

/// What one object answers at most.
const MAX_ANSWERED: usize = 1;

impl Fold for Replies {
    fn name(&self) -> &'static str {
        "replies"
    }

    fn version(&self) -> u32 {
        1
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn verbs(&self) -> Option<&'static [&'static str]> {
        Some(&["Create", "Delete"])
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
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
        tally::recounted(state, Counts::Whole, tally::last_part, (key, value), hides)
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let activity = &record.activity;
        if is_local_record(record) {
            return Ok(());
        }
        match activity.kind() {
            "Create" => {
                let Some((id, document)) = embedded(activity) else { return Ok(()) };
                if is_actor(document) || !is_own(activity.actor(), id, document) {
                    return Ok(());
                }
                for target in ids_in(document.get("inReplyTo")).into_iter().take(MAX_ANSWERED) {
                    let by = activity.actor();
                    let reply = Statement { target, kind: id, by, id, activity };
                    tally::take(state, Counts::Whole, &reply)?;
                }
                Ok(())
            }
            "Delete" => Ok(tally::named(state, Counts::Whole, activity)?),
            _ => Ok(()),
        }
    }
}
