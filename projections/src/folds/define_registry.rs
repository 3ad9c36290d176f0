//! `define-registry`: every definition that was ever seen here, and where it comes from.

use fedsx_genesis::definition::{Definition, Kind};
use fedsx_genesis::records::GENESIS_ACTIVATED;
use fedsx_kernel::Cid;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::address::ActorName;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, prefix, put_as};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::INSTANCE;
use super::common::is_public;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};

/// Keys `[kind, name, cid]` with `{kind, name, cid, status, origin, author, global_seq, summary}`.
/// `status` is `genesis` (part of the bundle in force), `genesis-runtime` (published by the
/// instance actor), `local` (published by a hosted actor), `adopted` (of a peer, taken over by a
/// hosted actor), `offered` (of a peer, without effect) or `retired` (of an earlier bundle).
/// `origin` is the CID of the bundle, or the id of the activity that defines.
///
/// A definition that was not published for everyone, or was adopted so, stands beside that at
/// `[kind, name, cid, author]`, with the activity `said` that says so: shown to whom that reached
/// and to who operates the instance.
pub struct DefineRegistry;

/// Entries of one page.
const PAGE: usize = 512;

/// Where a definition stands; of several for one definition the greatest shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Retired,
    Offered,
    Adopted,
    Local,
    GenesisRuntime,
    Genesis,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    kind: String,
    name: String,
    cid: String,
    status: Status,
    origin: String,
    author: String,
    global_seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    /// The activity that says so, where not everyone may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said: Option<Cid>,
}

impl Fold for DefineRegistry {
    fn name(&self) -> &'static str {
        "define-registry"
    }

    fn version(&self) -> u32 {
        2
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
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
        let [_, _, _, author] = key else { return Shown::Whole };
        if reader.is_admin() || reader.is(author) {
            return Shown::Whole;
        }
        let said = value.get("said").and_then(Value::as_str).and_then(|cid| cid.parse().ok());
        said.map_or(Shown::Hidden, Shown::ToAudienceOf)
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let activity = &record.activity;
        match &record.entry.stream {
            Stream::Local if activity.kind() == GENESIS_ACTIVATED => activated(state, record),
            Stream::Local => Ok(()),
            Stream::Outbox(_) if activity.kind() == "Add" => Ok(adopted(state, record)?),
            Stream::Outbox(name) => defined(state, record, Some(name)),
            Stream::Inbox(_) => defined(state, record, None),
        }
    }
}

fn undigestible(what: &str, error: &dyn std::fmt::Display) -> FoldError {
    FoldError::Undigestible(format!("{what}: {error}"))
}

fn activated(state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
    let object = record.activity.object();
    let bundle = object.and_then(|object| object.get("bundle")).and_then(Value::as_str);
    let definitions = object.and_then(|object| object.get("definitions"));
    let (Some(bundle), Some(definitions)) = (bundle, definitions.and_then(Value::as_object)) else {
        return Err(FoldError::Undigestible("object: must hold bundle and definitions".into()));
    };
    for kind in Kind::ALL {
        retire(state, kind)?;
    }
    for (path, entry) in definitions {
        let document = entry.get("document").unwrap_or(&Value::Null);
        let definition = Definition::parse(document).map_err(|e| undigestible(path, &e))?;
        put(state, record, &definition, Status::Genesis, bundle)?;
    }
    Ok(())
}

fn retire(state: &mut dyn State, kind: Kind) -> Result<(), StateError> {
    let all = prefix(&[kind.as_str()]);
    let mut after: Option<String> = None;
    loop {
        let page = state.scan(&all, after.as_deref(), PAGE)?;
        let done = page.len() < PAGE;
        for (place, value) in page {
            let entry: Entry = serde_json::from_value(value)
                .map_err(|e| StateError::Shape { key: place.clone(), reason: e.to_string() })?;
            if entry.status == Status::Genesis {
                put_as(state, &place, &Entry { status: Status::Retired, ..entry })?;
            }
            after = Some(place);
        }
        if done {
            return Ok(());
        }
    }
}

fn defined(
    state: &mut dyn State,
    record: &Record,
    publisher: Option<&ActorName>,
) -> Result<(), FoldError> {
    let activity = &record.activity;
    let (Some(_), Some(object)) = (Kind::of_type(activity.kind()), activity.object()) else {
        return Ok(());
    };
    let definition = Definition::published(activity.kind(), object)
        .map_err(|e| undigestible(activity.kind(), &e))?;
    let status = match publisher {
        Some(name) if name.as_str() == INSTANCE => Status::GenesisRuntime,
        Some(_) => Status::Local,
        None => Status::Offered,
    };
    let place = put(state, record, &definition, status, activity.id())?;
    for name in names(activity, &definition) {
        // What everyone may see is found first.
        if is_public(activity) || named(state, &name)?.is_none() {
            state.put(&key(&["~named", &name]), place.clone().into());
        }
    }
    Ok(())
}

/// What an `Add` may call a definition.
fn names(activity: &Activity, definition: &Definition) -> [String; 3] {
    [activity.id().to_owned(), activity.cid().to_string(), definition.cid().to_string()]
}

/// A hosted actor adds a definition of a peer to what is in force here.
fn adopted(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    let Some(object) = activity.object() else { return Ok(()) };
    if let Ok(definition) = Definition::parse(object) {
        return put(state, record, &definition, Status::Adopted, activity.id()).map(drop);
    }
    let Some(name) = activity.object_id() else { return Ok(()) };
    let Some(place) = named(state, name)? else { return Ok(()) };
    let Some(entry) = get_as::<Entry>(state, &place)? else { return Ok(()) };
    let global_seq = record.entry.global_seq;
    let (status, adopter) = (Status::Adopted, activity.actor());
    if entry.said.is_none() && is_public(activity) {
        if entry.status < status {
            return put_as(state, &place, &Entry { status, global_seq, ..entry });
        }
        return Ok(());
    }
    // That somebody adopts it is not for everyone, or what is adopted is not.
    let place = key(&[&entry.kind, &entry.name, &entry.cid, adopter]);
    if get_as::<Entry>(state, &place)?.is_some_and(|held| held.status >= status) {
        return Ok(());
    }
    let (author, said) = (adopter.to_owned(), Some(record.entry.cid));
    put_as(state, &place, &Entry { status, author, global_seq, said, ..entry })
}

fn named(state: &dyn StateView, name: &str) -> Result<Option<String>, StateError> {
    get_as(state, &key(&["~named", name]))
}

fn put(
    state: &mut dyn State,
    record: &Record,
    definition: &Definition,
    status: Status,
    origin: &str,
) -> Result<String, StateError> {
    let (kind, name) = (definition.kind().as_str(), definition.name());
    let cid = definition.cid().to_string();
    let author = record.activity.actor();
    let public = record.entry.stream == Stream::Local || is_public(&record.activity);
    let place = if public { key(&[kind, name, &cid]) } else { key(&[kind, name, &cid, author]) };
    let held: Option<Entry> = get_as(state, &place)?;
    if held.is_none_or(|held| held.status < status) {
        let entry = Entry {
            kind: kind.to_owned(),
            name: name.to_owned(),
            cid,
            status,
            origin: origin.to_owned(),
            author: author.to_owned(),
            global_seq: record.entry.global_seq,
            summary: definition.summary().map(str::to_owned),
            said: (!public).then_some(record.entry.cid),
        };
        put_as(state, &place, &entry)?;
    }
    Ok(place)
}
