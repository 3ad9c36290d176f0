//! `feed`: what came into the inbox of each hosted actor, for people to read.
//!
//! An item stands where its entry stands in the log, and is made of that entry when it is read
//! ([`items`]): a short form of the object as it was; the newest version is in `objects`. Only what
//! is public is shown in the item of somebody else's Announce: naming an object must not show it
//! to who may not read it.

mod items;
mod notes;

use fedsx_genesis::definition::Kind;
use fedsx_genesis::records::ACTIVITY_FETCHED;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::address::ActorName;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, put_as};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::notes::{Known, Note, deleted_key, item_key, known_key, position, touched};
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

impl Fold for Feed {
    fn name(&self) -> &'static str {
        "feed"
    }

    fn version(&self) -> u32 {
        4
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
                known(state, &fetched, at, None, true)?;
            }
            return Ok(());
        }
        let receiver = match &record.entry.stream {
            Stream::Inbox(receiver) if is_shown(activity) => Some(receiver),
            _ => None,
        };
        let mut taken = None;
        match activity.kind() {
            "Create" if record.entry.first => {
                taken = known(state, activity, at, receiver, false)?;
            }
            "Delete" if record.entry.first => deleted(state, activity)?,
            _ => {}
        }
        if let Some(receiver) = receiver {
            item(state, record, receiver, taken)?;
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

/// Puts an entry into the feed of its receiver; `taken` is what is known of its object already.
fn item(
    state: &mut dyn State,
    record: &Record,
    receiver: &ActorName,
    taken: Option<Taken>,
) -> Result<(), StateError> {
    let (activity, entry) = (&record.activity, &record.entry);
    let mut item = Item::default();
    if let Some(object) = activity.object_id() {
        let note = match activity.kind() {
            "Create" => {
                // Which author may delete the object decides whose Delete marks the item.
                let taken = match taken {
                    Some(taken) => taken,
                    None => Taken::unnoted(state, tag(&[object, activity.actor()]))?,
                };
                item.deleted = taken.deleted;
                let unnoted = !taken.deleted && !taken.noted;
                unnoted.then(|| format!("~s{}", taken.author))
            }
            "Announce" => {
                let name = tag(&[object]);
                let place = format!("~o{name}");
                match Note::read(state, &place)? {
                    Some(Note::Known(known)) => {
                        item.announced = known.at;
                        item.deleted = state.get(&deleted_key(&known.author))?.is_some();
                    }
                    Some(Note::Named) => {}
                    None => state.put(&place, Value::Bool(true)),
                }
                Some(format!("~a{name}"))
            }
            _ => None,
        };
        if let Some(note) = note {
            let position = position(entry.global_seq);
            state.put(&key(&[&note, receiver.as_str(), &position]), Value::Bool(true));
        }
    }
    put_as(state, &item_key(receiver.as_str(), entry.global_seq), &item)
}

/// Whether an activity says what anyone may be shown of an object, and which.
fn shows(activity: &Activity) -> Option<&str> {
    let (id, document) = embedded(activity).filter(|_| activity.kind() == "Create")?;
    let shows =
        !is_actor(document) && is_public(activity) && is_own(activity.actor(), id, document);
    shows.then_some(id)
}

/// What a Create of a public object changed.
struct Taken {
    /// Tag of object and author.
    author: String,
    /// Whether its item in the feed of the receiver is noted with it.
    noted: bool,
    /// Whether the author deleted the object.
    deleted: bool,
}

impl Taken {
    fn unnoted(state: &dyn StateView, author: String) -> Result<Self, StateError> {
        let deleted = state.get(&deleted_key(&author))?.is_some();
        Ok(Self { author, noted: false, deleted })
    }
}

/// A Create arrived: Announces of its object show it from now on.
fn known(
    state: &mut dyn State,
    activity: &Activity,
    at: u64,
    receiver: Option<&ActorName>,
    fetched: bool,
) -> Result<Option<Taken>, StateError> {
    let Some(id) = shows(activity) else { return Ok(None) };
    let of_activity = tag(&[activity.id()]);
    let author = tag(&[id, activity.actor()]);
    let mut known = Known { at, activity: of_activity, author, receiver: None };
    let mut places = Vec::new();
    let by_activity = format!("~o{}", known.activity);
    if Note::read(state, &by_activity)?.is_some() {
        places = touched(state, &format!("~a{}", known.activity))?;
    }
    if fetched {
        // What stands in the log is found there by its own id.
        state.put(&by_activity, known.to_row());
    }
    let place = known_key(id);
    let held = Note::read(state, &place)?;
    if let Some(Note::Named) = held {
        places.extend(touched(state, &format!("~a{}", tag(&[id])))?);
    }
    let noted = !matches!(held, Some(Note::Known(_)));
    if noted {
        known.receiver = receiver.map(|receiver| receiver.as_str().to_owned());
        state.put(&place, known.to_row());
    }
    let taken = match held {
        // Nobody spoke of it before, its author neither.
        None => Taken { author: known.author, noted, deleted: false },
        Some(_) => Taken { noted, ..Taken::unnoted(state, known.author)? },
    };
    for place in places {
        put_as(state, &place, &Item { announced: at, deleted: taken.deleted })?;
    }
    Ok(Some(taken))
}

/// A Delete marks the items of its author's object and takes the text out of Announces.
fn deleted(state: &mut dyn State, activity: &Activity) -> Result<(), StateError> {
    let (Some(id), author) = (activity.object_id(), activity.actor()) else { return Ok(()) };
    let by = tag(&[id, author]);
    state.put(&deleted_key(&by), Value::Bool(true));
    let mut places = touched(state, &format!("~s{by}"))?;
    let place = known_key(id);
    let held = Note::read(state, &place)?;
    if held.is_none() {
        state.put(&place, Value::Bool(true));
    }
    if let Some(Note::Known(known)) = held.filter(|note| note.is_by(&by)) {
        places.extend(known.item());
        places.extend(touched(state, &format!("~a{}", tag(&[id])))?);
        places.extend(touched(state, &format!("~a{}", known.activity))?);
    }
    for place in places {
        let Some(item) = get_as::<Item>(state, &place)? else { continue };
        put_as(state, &place, &Item { deleted: true, ..item })?;
    }
    Ok(())
}
