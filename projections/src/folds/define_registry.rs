//! `define-registry`: every definition that was ever seen here, where it comes from, and whether
//! it is in force.

use fedsx_genesis::definition::{Definition, Kind};
use fedsx_genesis::records::GENESIS_ACTIVATED;
use fedsx_genesis::registry::{self, Change, InForce, Registry, Standing};
use fedsx_kernel::Cid;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{State, StateError, StateView, get_as, key, prefix, put_as};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::INSTANCE;
use super::common::is_public;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};

/// Keys `[kind, name, cid]` with `{kind, name, cid, status, basis, origin, author, global_seq,
/// summary, version, since}`. `status` is `genesis` (part of the bundle in force, or published by the
/// instance actor), `local` (published by a hosted actor), `adopted` (of a peer, taken over by a
/// hosted actor), `offered` (of a peer, without effect), `superseded` (a newer one of the name is
/// in force) or `withdrawn`. `basis` is how it came: `bundle`, `instance`, `local` or `peer`. `origin` is the CID of the bundle, or the id of the activity that
/// defines. `version` counts what took effect under the name, `since` is the position from which
/// on it did.
///
/// A definition that was not published for everyone, or was adopted so, stands beside that at
/// `[kind, name, cid, author]`, with the activity `said` that says so: shown to whom that reached
/// and to who operates the instance. The other rows do not tell that it exists.
pub struct DefineRegistry;

/// The same registry as that of the admission state, as notes of this projection.
const REGISTRY: Registry = Registry::beside("~registry");
/// Rows of one page.
const PAGE: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Offered,
    Adopted,
    Local,
    Genesis,
    Superseded,
    Withdrawn,
}

/// How a definition came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Basis {
    Bundle,
    Instance,
    Local,
    Peer,
}

impl Basis {
    /// Where it stands before the registry is asked.
    fn status(self) -> Status {
        match self {
            Self::Peer => Status::Offered,
            _ => Status::Withdrawn,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    kind: String,
    name: String,
    cid: Cid,
    status: Status,
    basis: Basis,
    origin: String,
    author: String,
    global_seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    /// The activity that says so, where not everyone may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said: Option<Cid>,
}

impl Fold for DefineRegistry {
    fn name(&self) -> &'static str {
        "define-registry"
    }

    fn version(&self) -> u32 {
        3
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

    fn fold(
        &self,
        context: &Context,
        state: &mut dyn State,
        record: &Record,
    ) -> Result<(), FoldError> {
        let activity = &record.activity;
        let changes = REGISTRY.fold(&context.base, state, record)?;
        if is_public(activity) && !changes.is_empty() {
            state.put(&key(&["~public", activity.id()]), Value::Bool(true));
        }
        match &record.entry.stream {
            Stream::Local if activity.kind() == GENESIS_ACTIVATED => activated(state, record)?,
            Stream::Local => {}
            Stream::Outbox(_) if activity.kind() == "Add" => adopted(state, record)?,
            Stream::Outbox(_) | Stream::Inbox(_) => seen(state, record)?,
        }
        for change in changes {
            restate(state, record.entry.global_seq, &change)?;
        }
        Ok(())
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
    for (path, entry) in definitions {
        let document = entry.get("document").unwrap_or(&Value::Null);
        let definition = Definition::parse(document).map_err(|e| undigestible(path, &e))?;
        put(state, record, &definition, Basis::Bundle, bundle)?;
    }
    Ok(())
}

fn seen(state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
    let activity = &record.activity;
    let (Some(_), Some(object)) = (Kind::of_type(activity.kind()), activity.object()) else {
        return Ok(());
    };
    let definition = Definition::published(activity.kind(), object)
        .map_err(|e| undigestible(activity.kind(), &e))?;
    let basis = match &record.entry.stream {
        Stream::Outbox(name) if name.as_str() == INSTANCE => Basis::Instance,
        Stream::Outbox(_) => Basis::Local,
        _ => Basis::Peer,
    };
    Ok(put(state, record, &definition, basis, activity.id())?)
}

/// A hosted actor adds a definition of a peer to what is in force here. Where not everyone may
/// know that, or what, a row of its own says so.
fn adopted(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    let Some(definition) = registry::adopted(activity) else { return Ok(()) };
    let place = place(&definition);
    let public = is_public(activity);
    if public && state.get(&place)?.is_some() {
        return Ok(());
    }
    let origin = activity.get("origin");
    let text = |member: &str| {
        let value = origin.and_then(|origin| origin.get(member)).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let entry = entry(record, &definition, Basis::Peer, &text("id"), &text("actor"));
    if public {
        return put_as(state, &place, &entry);
    }
    let place = key(&[&entry.kind, &entry.name, &entry.cid.to_string(), activity.actor()]);
    put_as(state, &place, &Entry { said: Some(record.entry.cid), ..entry })
}

fn place(definition: &Definition) -> String {
    key(&[definition.kind().as_str(), definition.name(), &definition.cid().to_string()])
}

fn entry(
    record: &Record,
    definition: &Definition,
    basis: Basis,
    origin: &str,
    author: &str,
) -> Entry {
    Entry {
        kind: definition.kind().as_str().to_owned(),
        name: definition.name().to_owned(),
        cid: *definition.cid(),
        status: basis.status(),
        basis,
        origin: origin.to_owned(),
        author: author.to_owned(),
        global_seq: record.entry.global_seq,
        summary: definition.summary().map(str::to_owned),
        version: None,
        since: None,
        said: None,
    }
}

fn put(
    state: &mut dyn State,
    record: &Record,
    definition: &Definition,
    basis: Basis,
    origin: &str,
) -> Result<(), StateError> {
    let author = record.activity.actor();
    let public = record.entry.stream == Stream::Local || is_public(&record.activity);
    let mut entry = entry(record, definition, basis, origin, author);
    let mut place = place(definition);
    if !public {
        place = key(&[&entry.kind, &entry.name, &entry.cid.to_string(), author]);
        entry.said = Some(record.entry.cid);
    }
    // The same document may come from several; who brought it into force here is named.
    let replaced = match get_as::<Entry>(state, &place)? {
        None => true,
        Some(held) => {
            basis == Basis::Bundle
                || basis != Basis::Peer
                    && matches!(
                        held.status,
                        Status::Offered | Status::Withdrawn | Status::Superseded
                    )
        }
    };
    if replaced { put_as(state, &place, &entry) } else { Ok(()) }
}

/// Brings the rows under a name up to date with the registry.
fn restate(state: &mut dyn State, now: u64, (kind, name): &Change) -> Result<(), StateError> {
    let all = REGISTRY.standing(state, *kind, name)?;
    let mut public = Vec::new();
    for held in &all {
        let known = held.standing == Standing::Genesis
            || state.get(&key(&["~public", &held.by]))?.is_some();
        if known {
            public.push(held.clone());
        }
    }
    let below = prefix(&[kind.as_str(), name]);
    let mut after: Option<String> = None;
    loop {
        let page = state.scan(&below, after.as_deref(), PAGE)?;
        let done = page.len() < PAGE;
        for (place, value) in page {
            let held: Entry = serde_json::from_value(value)
                .map_err(|e| StateError::Shape { key: place.clone(), reason: e.to_string() })?;
            let standing = if held.said.is_some() { &all } else { &public };
            let entry = judged(state, now, held.clone(), standing)?;
            if entry != held {
                put_as(state, &place, &entry)?;
            }
            after = Some(place);
        }
        if done {
            return Ok(());
        }
    }
}

/// A row as it is among what stands under its name.
fn judged(
    state: &dyn StateView,
    now: u64,
    held: Entry,
    standing: &[InForce],
) -> Result<Entry, StateError> {
    let mine = standing.iter().rfind(|one| one.cid == held.cid);
    let sources = REGISTRY.sources(state, &held.cid)?;
    let withdrawn = sources.iter().any(|source| source.origin == held.origin && source.withdrawn);
    let status = match (mine, held.basis) {
        (Some(mine), _) if standing.last() != Some(mine) => Status::Superseded,
        (Some(mine), basis) => match mine.standing {
            Standing::Genesis => Status::Genesis,
            Standing::Local if basis == Basis::Instance => Status::Genesis,
            Standing::Local => Status::Local,
            Standing::Adopted => Status::Adopted,
        },
        (None, Basis::Peer) if !withdrawn => Status::Offered,
        (None, Basis::Bundle) if !standing.is_empty() => Status::Superseded,
        (None, _) => Status::Withdrawn,
    };
    let changed = status != held.status;
    Ok(Entry {
        status,
        version: mine.map(|mine| mine.version).or(held.version),
        since: mine.map(|mine| mine.since).or(held.since),
        global_seq: if changed { now } else { held.global_seq },
        ..held
    })
}
