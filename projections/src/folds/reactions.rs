//! `reactions`: who answered what with which emoji.

use fedsx_kernel::activity::{id_of, kind_of};
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView};
use serde_json::{Map, Value};

use super::common::{is_farewell, is_local_record};
use super::tally::{self, Counts, Statement};
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};
use crate::shield::Hides;

/// Keys `[object id, emoji, actor]` with `{id, cid, order, undone, public}`, and `[object id, emoji]`
/// with `{count}`, where the count is not 0: of `EmojiReact`, and of `Like` with a `content`, as
/// Misskey says it. What does not address everyone is not counted for everyone, and shown to whom
/// it reached ([`super::tally`]).
pub struct Reactions;

/// The longest emoji, or name of one, in bytes.
const MAX_EMOJI_BYTES: usize = 256;

/// The object and the emoji of a reaction.
fn reaction(statement: &Map<String, Value>) -> Option<(&str, &str)> {
    if !matches!(kind_of(statement)?, "EmojiReact" | "Like") {
        return None;
    }
    let emoji = statement.get("content")?.as_str()?.trim();
    let fits = !emoji.is_empty() && emoji.len() <= MAX_EMOJI_BYTES;
    statement.get("object").and_then(id_of).filter(|_| fits).map(|target| (target, emoji))
}

impl Fold for Reactions {
    fn name(&self) -> &'static str {
        "reactions"
    }

    fn version(&self) -> u32 {
        2
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn verbs(&self) -> Option<&'static [&'static str]> {
        Some(&["EmojiReact", "Like", "Undo", "Delete"])
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
        tally::recounted(state, Counts::Apart, tally::last_part, (key, value), hides)
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let activity = &record.activity;
        if is_local_record(record) {
            return Ok(());
        }
        if is_farewell(activity) {
            return Ok(tally::left(state, Counts::Apart, activity)?);
        }
        let actor = activity.actor();
        if activity.kind() == "Undo" {
            if let Some(Value::Object(inner)) = activity.object()
                && let Some((target, emoji)) = reaction(inner)
                && inner.get("actor").and_then(id_of) == Some(actor)
            {
                tally::ended(state, Counts::Apart, (target, emoji, actor), activity)?;
            }
            return Ok(tally::named(state, Counts::Apart, activity)?);
        }
        let Some((target, kind)) = reaction(activity.document()) else { return Ok(()) };
        let statement = Statement { target, kind, by: actor, id: activity.id(), activity };
        Ok(tally::take(state, Counts::Apart, &statement)?)
    }
}
