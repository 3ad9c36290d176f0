//! `hashtags`: which objects are under which hashtag.

use fedsx_kernel::activity::Activity;
use fedsx_kernel::address::same_origin;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, prefix, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{Stamp, embedded, is_actor, is_local_record, is_own, is_public, tag};
use super::tally::{self, Counts};
use crate::display;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::query::NOTES;
use crate::reader::{Reader, Shown};
use crate::shield::{Hides, Speaker};

/// Keys `[hashtag, time, object id]` with `{id, cid, order, undone, public}`, and `[hashtag]` with `{count}`. A
/// hashtag has no `#` and is in lower case; the time is when the object was published, as its versions tell,
/// in milliseconds since 1970 with 15 digits, so that the newest come last. Only what addresses everyone is
/// here, with the hashtags of its newest version, until its author deletes it (`undone`).
///
/// Most objects are created without hashtags, and nothing is kept of that: such a Create says nothing
/// here, and others are older than any Update. So it does not matter when it comes.
pub struct Hashtags;

/// Hashtags of one object that count; more are a way to be everywhere.
const MAX_HASHTAGS: usize = 32;
/// Authors of one object that are looked at.
const MAX_AUTHORS: usize = 16;

/// What an author said of an object.
#[derive(Default, Serialize, Deserialize)]
struct Said {
    /// Whether it was a Create, with hashtags.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    created: bool,
    /// The earliest time that a version tells; none where there is no version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_ms: Option<i64>,
    /// The newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Stamp>,
    /// Whether that is an Update.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    updated: bool,
    /// Whether that is for everyone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    public: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hashtags: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

/// Where an object is listed.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Listed {
    time: String,
    hashtags: Vec<String>,
}

impl Said {
    fn version(
        &mut self,
        activity: &Activity,
        document: &Map<String, Value>,
        hashtags: Vec<String>,
    ) {
        let updated = activity.kind() == "Update";
        self.created |= !updated;
        let published = document.get("published").and_then(Value::as_str);
        let published = published.and_then(|time| time.parse::<jiff::Timestamp>().ok());
        // What is said later does not stand earlier than it was said.
        let times = [published.map(jiff::Timestamp::as_millisecond), activity.published_ms()];
        let time_ms = times.into_iter().flatten().min().unwrap_or(0).max(0);
        self.time_ms = Some(self.time_ms.map_or(time_ms, |held| held.min(time_ms)));
        let stamp = Stamp::of(activity);
        let held = self.newest.as_ref().map(|newest| (self.updated, newest));
        if held.is_none_or(|held| held < (updated, &stamp)) {
            self.newest = Some(stamp);
            self.updated = updated;
            self.public = is_public(activity);
            self.hashtags = hashtags;
        }
    }
}

impl Fold for Hashtags {
    fn name(&self) -> &'static str {
        "hashtags"
    }

    fn version(&self) -> u32 {
        4
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn verbs(&self) -> Option<&'static [&'static str]> {
        Some(&["Create", "Update", "Delete"])
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
    }

    fn shown_to(&self, key: &[String], value: &Value, reader: &Reader) -> Shown {
        // All that was ever here is for everyone, so that anyone may know that it is here no more.
        if value.is_null() { Shown::Whole } else { tally::shown_to(key, value, reader) }
    }

    fn recounted(
        &self,
        state: &dyn StateView,
        key: &[String],
        value: Value,
        hides: &mut Hides<'_>,
    ) -> Result<Option<Value>, StateError> {
        tally::recounted(
            state,
            Counts::Whole,
            |_, cid| Speaker::Statement(cid),
            (key, value),
            hides,
        )
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let activity = &record.activity;
        if is_local_record(record) {
            return Ok(());
        }
        let author = activity.actor();
        match activity.kind() {
            "Create" | "Update" => {
                let Some((id, document)) = embedded(activity) else { return Ok(()) };
                if is_actor(document) || !is_own(author, id, document) {
                    return Ok(());
                }
                // Keys that begin like a fold's notes are none of rows.
                let is_row = |hashtag: &String| !hashtag.starts_with(NOTES);
                let hashtags = display::hashtags(document).into_iter().filter(is_row);
                let hashtags: Vec<String> = hashtags.take(MAX_HASHTAGS).collect();
                if hashtags.is_empty() && activity.kind() == "Create" {
                    return Ok(());
                }
                let taken = |said: &mut Said| said.version(activity, document, hashtags);
                Ok(change(state, id, author, taken)?)
            }
            "Delete" => match activity.object_id() {
                Some(id) if id != author && same_origin(author, id) => {
                    Ok(change(state, id, author, |said| said.deleted = true)?)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// Takes what an author says of an object, and lists it as what is known of it now says: so it
/// does not matter in which order that came.
fn change(
    state: &mut dyn State,
    id: &str,
    author: &str,
    change: impl FnOnce(&mut Said),
) -> Result<(), StateError> {
    let about = tag(&[id]);
    let place = key(&["~said", &about, &tag(&[author])]);
    let mut said: Said = get_as(state, &place)?.unwrap_or_default();
    change(&mut said);
    put_as(state, &place, &said)?;

    let listing = key(&["~listed", &about]);
    let held: Listed = get_as(state, &listing)?.unwrap_or_default();
    if said.hashtags.is_empty() && held.hashtags.is_empty() {
        // This author does not list it, and makes no other the first one.
        return Ok(());
    }
    // Of several authors of one origin, the object is the first one's who created it, as far as that
    // is kept, else the first one's who changed it.
    let all = state.scan(&prefix(&["~said", &about]), None, MAX_AUTHORS)?;
    let all = all.into_iter().map(|(key, said)| tally::of_row::<Said>(&key, said));
    let mut all = all.collect::<Result<Vec<_>, _>>()?;
    let created = all.iter().position(|said| said.created);
    let owner = created.or_else(|| all.iter().position(|said| said.newest.is_some()));
    let owner = owner.map(|at| all.swap_remove(at)).unwrap_or_default();
    let listed = match owner.time_ms.filter(|_| owner.public) {
        Some(ms) => Listed { time: format!("{ms:015}"), hashtags: owner.hashtags },
        None => Listed::default(),
    };
    for hashtag in &held.hashtags {
        if held.time != listed.time || !listed.hashtags.contains(hashtag) {
            tally::set(state, Counts::Whole, (hashtag, &held.time, id), None)?;
        }
    }
    for hashtag in &listed.hashtags {
        let row = owner.newest.as_ref().map(|newest| (id, newest, owner.deleted));
        tally::set(state, Counts::Whole, (hashtag, &listed.time, id), row)?;
    }
    if listed.hashtags.is_empty() {
        if !held.hashtags.is_empty() {
            state.remove(&listing);
        }
        return Ok(());
    }
    if held == listed { Ok(()) } else { put_as(state, &listing, &listed) }
}
