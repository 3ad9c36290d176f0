//! `hashtags`: which objects are under which hashtag.

use fedsx_kernel::log::Record;
use fedsx_kernel::state::State;
use serde_json::Value;

use super::common::{embedded, is_actor, is_local_record, is_own, is_public};
use super::tally::{self, Counts, Statement};
use crate::display;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::query::NOTES;
use crate::reader::{Reader, Shown};

/// Keys `[hashtag, time, object id]` with `{id, cid, order, undone, public}`, and `[hashtag]` with `{count}`. A
/// hashtag has no `#` and is in lower case; the time is `published` of the Create, in milliseconds since
/// 1970 with 15 digits, so that the newest come last. Only what addresses everyone is here, with the hashtags
/// that it was created with, until its author deletes it (`undone`).
pub struct Hashtags;

/// Hashtags of one object that count; more are a way to be everywhere.
const MAX_HASHTAGS: usize = 32;

impl Fold for Hashtags {
    fn name(&self) -> &'static str {
        "hashtags"
    }

    fn version(&self) -> u32 {
        1
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
    }

    fn shown_to(&self, key: &[String], value: &Value, reader: &Reader) -> Shown {
        tally::shown_to(key, value, reader)
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let activity = &record.activity;
        if is_local_record(record) {
            return Ok(());
        }
        match activity.kind() {
            "Create" => {
                let Some((id, document)) = embedded(activity) else { return Ok(()) };
                if is_actor(document)
                    || !is_public(activity)
                    || !is_own(activity.actor(), id, document)
                {
                    return Ok(());
                }
                let time = format!("{:015}", activity.published_ms().unwrap_or(0).max(0));
                // Keys that begin like a fold's notes are none of rows.
                let is_row = |hashtag: &&String| !hashtag.starts_with(NOTES);
                let hashtags = display::hashtags(document);
                for hashtag in hashtags.iter().filter(is_row).take(MAX_HASHTAGS) {
                    let statement =
                        Statement { target: hashtag, kind: &time, by: id, id, activity };
                    tally::take(state, Counts::Whole, &statement)?;
                }
                Ok(())
            }
            "Delete" => Ok(tally::named(state, Counts::Whole, activity)?),
            _ => Ok(()),
        }
    }
}
