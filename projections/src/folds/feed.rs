//! `feed`: what came into the inbox of each hosted actor, for people to read.
//!
//! An item stands where its entry stands in the log, and is made of that entry when it is read
//! ([`items`]): a short form of the object as it was; the newest version is in `objects`. Only what
//! is public is shown in the item of somebody else's Announce: naming an object must not show it
//! to who may not read it.
//!
//! Notes of the fold, where names and authors stand as [`tag`]s:
//!
//! | key | value |
//! |---|---|
//! | `~o` name | position of the Create of this public object, its name, object and author |
//! | `~d` object and author | the author deleted it |
//! | `~s` object and author, receiver, position | an item with its Create |
//! | `~a` name, receiver, position | an item with an Announce of it |

mod items;

use fedsx_genesis::definition::Kind;
use fedsx_genesis::records::ACTIVITY_FETCHED;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::address::ActorName;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, parts, prefix, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::common::{embedded, is_actor, is_local_record, is_own, is_public, tag};
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::render::Bodies;

/// Keys `[actor name, position in the log with 20 digits]` with `{cid, id, type, actor,
/// published, object, announced, backfilled, deleted, unknown}`: `object` is the short form ([`crate::display::object`]) of
/// the embedded object or an id, `announced` that of an announced one that is known here,
/// `unknown` is set for verbs that had no definition.
pub struct Feed;

/// Verbs that change state elsewhere and are not for reading.
const SILENT: [&str; 14] = [
    "Accept", "Add", "Block", "Delete", "Endorse", "Flag", "Follow", "Ignore", "Like", "Move",
    "Reject", "Remove", "Undo", "Update",
];
/// Items that one arriving object or Delete changes.
const MAX_TOUCHED: usize = 1000;

/// What an item says beside the entry at its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, bool)", into = "(u64, bool)")]
struct Item {
    /// Position of the record that has the announced object; 0 where none is known.
    announced: u64,
    /// Whether the author deleted the object.
    deleted: bool,
}

impl From<(u64, bool)> for Item {
    fn from((announced, deleted): (u64, bool)) -> Self {
        Self { announced, deleted }
    }
}

impl From<Item> for (u64, bool) {
    fn from(item: Item) -> Self {
        (item.announced, item.deleted)
    }
}

/// A public object that Announces may show.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "(u64, String, String)", into = "(u64, String, String)")]
struct Known {
    /// Position of its Create, or of the record that holds the Create as it was fetched.
    at: u64,
    /// Name of the Create.
    activity: String,
    /// Tag of object and author.
    author: String,
}

impl From<(u64, String, String)> for Known {
    fn from((at, activity, author): (u64, String, String)) -> Self {
        Self { at, activity, author }
    }
}

impl From<Known> for (u64, String, String) {
    fn from(known: Known) -> Self {
        (known.at, known.activity, known.author)
    }
}

impl Fold for Feed {
    fn name(&self) -> &'static str {
        "feed"
    }

    fn version(&self) -> u32 {
        2
    }

    fn scope(&self) -> Scope {
        Scope::EachEntry
    }

    fn visibility(&self) -> Visibility {
        Visibility::Private
    }

    fn serves(&self, older: u32) -> bool {
        // Before, items were whole.
        older >= 2
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn render(
        &self,
        state: &dyn StateView,
        bodies: &dyn Bodies,
        key: &[String],
        held: Value,
    ) -> Result<Option<Value>, StateError> {
        items::render(state, bodies, key, held)
    }

    fn withdrawn(&self, now: &Value) -> bool {
        let announced = now.get("announced").and_then(|announced| announced.get("type"));
        now.get("deleted") == Some(&Value::Bool(true)) || announced == Some(&json!("Tombstone"))
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let activity = &record.activity;
        let at = record.entry.global_seq;
        if is_local_record(record) {
            // What an Announce passes on may have been fetched; nobody here received it.
            if let Some(fetched) = fetched(activity)
                && fetched.kind() == "Create"
            {
                known(state, &fetched, at, true)?;
            }
            return Ok(());
        }
        match activity.kind() {
            "Create" if record.entry.first => known(state, activity, at, false)?,
            "Delete" if record.entry.first => deleted(state, activity)?,
            _ => {}
        }
        if let Stream::Inbox(receiver) = &record.entry.stream
            && is_shown(activity)
        {
            item(state, record, receiver)?;
        }
        Ok(())
    }
}

/// The activity that a record of the instance says was fetched.
fn fetched(record: &Activity) -> Option<Activity> {
    let fetched = record.object().filter(|_| record.kind() == ACTIVITY_FETCHED)?;
    Activity::from_document(fetched.clone()).ok()
}

fn is_shown(activity: &Activity) -> bool {
    let kind = activity.kind();
    if SILENT.contains(&kind) || Kind::of_type(kind).is_some() {
        return false;
    }
    kind != "Create" || embedded(activity).is_none_or(|(_, document)| !is_actor(document))
}

fn item(state: &mut dyn State, record: &Record, receiver: &ActorName) -> Result<(), StateError> {
    let (activity, entry) = (&record.activity, &record.entry);
    let position = format!("{:020}", entry.global_seq);
    let mut item = Item::default();
    if let Some(object) = activity.object_id() {
        // Which author may delete the object decides whose Delete marks the item.
        let noted = match activity.kind() {
            "Create" if is_deleted(state, object, activity.actor())? => {
                item.deleted = true;
                None
            }
            "Create" => Some(format!("~s{}", tag(&[object, activity.actor()]))),
            "Announce" => {
                if let Some(known) = get_as::<Known>(state, &known_key(object))? {
                    item.announced = known.at;
                    item.deleted = state.get(&deleted_key(&known.author))?.is_some();
                }
                Some(format!("~a{}", tag(&[object])))
            }
            _ => None,
        };
        if let Some(noted) = noted {
            state.put(&key(&[&noted, receiver.as_str(), &position]), Value::Bool(true));
        }
    }
    put_as(state, &key(&[receiver.as_str(), &position]), &item)
}

fn known_key(name: &str) -> String {
    format!("~o{}", tag(&[name]))
}

fn deleted_key(of: &str) -> String {
    format!("~d{of}")
}

/// Whether an activity says what anyone may be shown of an object, and which.
fn shows(activity: &Activity) -> Option<&str> {
    let (id, document) = embedded(activity).filter(|_| activity.kind() == "Create")?;
    let shows =
        !is_actor(document) && is_public(activity) && is_own(activity.actor(), id, document);
    shows.then_some(id)
}

/// A Create arrived: Announces of its object show it from now on.
fn known(
    state: &mut dyn State,
    activity: &Activity,
    at: u64,
    fetched: bool,
) -> Result<(), StateError> {
    let Some(id) = shows(activity) else { return Ok(()) };
    let by = tag(&[id, activity.actor()]);
    let item = Item { announced: at, deleted: state.get(&deleted_key(&by))?.is_some() };
    let of_activity = tag(&[activity.id()]);
    let known = Known { at, activity: of_activity.clone(), author: by };
    let mut places = touched(state, &format!("~a{of_activity}"))?;
    if fetched {
        // What stands in the log is found there by its own id.
        put_as(state, &known_key(activity.id()), &known)?;
    }
    let place = known_key(id);
    if state.get(&place)?.is_none() {
        put_as(state, &place, &known)?;
        places.extend(touched(state, &format!("~a{}", tag(&[id])))?);
    }
    for place in places {
        put_as(state, &place, &item)?;
    }
    Ok(())
}

/// A Delete marks the items of its author's object and takes the text out of Announces.
fn deleted(state: &mut dyn State, activity: &Activity) -> Result<(), StateError> {
    let (Some(id), author) = (activity.object_id(), activity.actor()) else { return Ok(()) };
    let by = tag(&[id, author]);
    state.put(&deleted_key(&by), Value::Bool(true));
    let mut places = touched(state, &format!("~s{by}"))?;
    if let Some(known) = get_as::<Known>(state, &known_key(id))?.filter(|known| known.author == by)
    {
        places.extend(touched(state, &format!("~a{}", tag(&[id])))?);
        places.extend(touched(state, &format!("~a{}", known.activity))?);
    }
    for place in places {
        let Some(item) = get_as::<Item>(state, &place)? else { continue };
        put_as(state, &place, &Item { deleted: true, ..item })?;
    }
    Ok(())
}

fn is_deleted(state: &dyn StateView, id: &str, author: &str) -> Result<bool, StateError> {
    Ok(state.get(&deleted_key(&tag(&[id, author])))?.is_some())
}

/// The keys of the items that a note leads to.
fn touched(state: &dyn State, note: &str) -> Result<Vec<String>, StateError> {
    let found = state.scan(&prefix(&[note]), None, MAX_TOUCHED)?;
    let item = |note: &str| match parts(note).as_slice() {
        [_, receiver, position] => Some(key(&[receiver, position])),
        _ => None,
    };
    Ok(found.iter().filter_map(|(note, _)| item(note)).collect())
}
