//! How a record changes the registry.
//!
//! Keys: `def, kind, name` what is in force; `defs, kind, name, position` what stands; `source,
//! cid, origin` where definitions came from; `by, activity id` the definition that an activity
//! published; `undone, author, activity id` what was taken back before it came; `validates, what,
//! type, name` the validators of a type.

use std::collections::BTreeSet;

use fedsx_kernel::activity::{Activity, id_of};
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::state::{self, Overlay, State, StateError};
use fedsx_kernel::{Base, Cid};
use serde_json::{Map, Value, json};

use super::{GENESIS, InForce, Registry, Source, Standing, Validated, rows, types};
use crate::definition::{Definition, Kind};
use crate::records::GENESIS_ACTIVATED;

/// Members of a document that say how definitions relate.
const RELATING: [&str; 5] = ["type", "name", "subtypeOf", "of", "validates"];

/// A name under which something changed.
pub type Change = (Kind, String);

/// The definition that an `Add` takes over.
pub fn adopted(activity: &Activity) -> Option<Definition> {
    adopts(activity.kind(), activity.object()?, activity.get("target"))
}

/// The same, from its members: an `Add` without target whose object is a definition.
pub fn adopts(kind: &str, object: &Value, target: Option<&Value>) -> Option<Definition> {
    if kind != "Add" || target.is_some() {
        return None;
    }
    Definition::parse(object).ok()
}

impl Registry {
    /// Changes the registry by a record, at the record's first entry. The answer is under which
    /// names something changed.
    pub fn fold(
        self,
        base: &Base,
        state: &mut dyn State,
        record: &Record,
    ) -> Result<BTreeSet<Change>, StateError> {
        let mut overlay = Overlay::new(state);
        let changes = self.apply(base, &mut overlay, record)?;
        let writes = overlay.into_writes();
        if self.prefix.is_none() {
            types::advance(state, &writes)?;
        }
        for (place, value) in writes {
            match value {
                Some(value) => state.put(&place, value),
                None => state.remove(&place),
            }
        }
        Ok(changes)
    }

    fn apply(
        self,
        base: &Base,
        state: &mut dyn State,
        record: &Record,
    ) -> Result<BTreeSet<Change>, StateError> {
        let activity = &record.activity;
        let mut folding = Folding { registry: self, state, record, changes: BTreeSet::new() };
        match (&record.entry.stream, activity.kind()) {
            (Stream::Local, GENESIS_ACTIVATED) => folding.activated()?,
            (Stream::Local, _) => {}
            (Stream::Outbox(_), "Add") => folding.added(base)?,
            (Stream::Outbox(_), "Remove") => folding.removed()?,
            (Stream::Outbox(_), "Undo") => folding.undone(true)?,
            (Stream::Inbox(_), "Undo") => folding.undone(false)?,
            (Stream::Outbox(_), kind) if Kind::of_type(kind).is_some() => {
                folding.published(true)?
            }
            (Stream::Inbox(_), kind) if Kind::of_type(kind).is_some() => {
                folding.published(false)?
            }
            _ => {}
        }
        Ok(folding.changes)
    }
}

struct Folding<'a> {
    registry: Registry,
    state: &'a mut dyn State,
    record: &'a Record,
    changes: BTreeSet<Change>,
}

impl Folding<'_> {
    /// A bundle takes effect: what of the last one is not in it any more, or is another, goes.
    fn activated(&mut self) -> Result<(), StateError> {
        let definitions =
            self.record.activity.object().and_then(|object| object.get("definitions"));
        let mut bundle = Vec::new();
        for (path, entry) in definitions.and_then(Value::as_object).into_iter().flatten() {
            let document = entry.get("document").unwrap_or(&Value::Null);
            bundle.push(
                Definition::parse(document)
                    .map_err(|e| StateError::Shape { key: path.clone(), reason: e.to_string() })?,
            );
        }
        let kept: BTreeSet<Cid> = bundle.iter().map(|definition| *definition.cid()).collect();
        let mut held = BTreeSet::new();
        for (place, value) in rows(self.state, &self.registry.below(&["defs"]))? {
            let standing: InForce = super::read(place.clone(), value)?;
            if standing.standing != Standing::Genesis {
                continue;
            }
            if kept.contains(&standing.cid) {
                held.insert(standing.cid);
                continue;
            }
            let definition = standing.definition()?;
            self.state.remove(&place);
            self.settle(definition.kind(), definition.name())?;
        }
        for definition in bundle {
            self.source(&definition, GENESIS, "", None)?;
            if !held.contains(definition.cid()) {
                self.stand(&definition, GENESIS, "", Standing::Genesis)?;
            }
        }
        Ok(())
    }

    /// A `Define*`: by a hosted actor it takes effect, by a peer it is an offer.
    fn published(&mut self, hosted: bool) -> Result<(), StateError> {
        let activity = &self.record.activity;
        let object = activity.object().unwrap_or(&Value::Null);
        // Judged before it was appended; a definition that newer rules refuse is void.
        let Ok(definition) = Definition::published(activity.kind(), object) else { return Ok(()) };
        let (id, author) = (activity.id().to_owned(), activity.actor().to_owned());
        self.source(&definition, &id, &author, Some(*activity.cid()))?;
        if hosted {
            self.stand(&definition, &id, &id, Standing::Local)?;
        }
        Ok(())
    }

    fn added(&mut self, base: &Base) -> Result<(), StateError> {
        let activity = &self.record.activity;
        let Some(definition) = adopted(activity) else { return Ok(()) };
        let origin = activity.get("origin").and_then(id_of).unwrap_or_default().to_owned();
        let by = activity.id().to_owned();
        let standing = if base.is_local(&origin) { Standing::Local } else { Standing::Adopted };
        self.stand(&definition, &origin, &by, standing)
    }

    /// A `Remove` names a definition by its URL.
    fn removed(&mut self) -> Result<(), StateError> {
        let activity = &self.record.activity;
        if activity.get("target").is_some() {
            return Ok(());
        }
        let Some(cid) = activity.object_id().and_then(super::cid_in) else { return Ok(()) };
        let mut names = BTreeSet::new();
        for source in self.registry.sources(self.state, &cid)? {
            names.insert((source.kind, source.name));
        }
        for (kind, name) in names {
            self.withdraw(kind, &name, |held| held.cid == cid)?;
        }
        Ok(())
    }

    /// An `Undo` takes back a definition, or an `Add` of one.
    fn undone(&mut self, hosted: bool) -> Result<(), StateError> {
        let activity = self.record.activity.clone();
        let Some(id) = activity.object_id() else { return Ok(()) };
        let by: Option<Cid> = state::get_as(self.state, &self.registry.place(&["by", id]))?;
        if let Some(cid) = by {
            for source in self.registry.sources(self.state, &cid)? {
                if source.origin == id && source.author == activity.actor() {
                    let place = self.registry.place(&["source", &cid.to_string(), id]);
                    self.changes.insert((source.kind, source.name.clone()));
                    state::put_as(self.state, &place, &Source { withdrawn: true, ..source })?;
                }
            }
        } else if says_definition(activity.object()) {
            let place = self.registry.place(&["undone", activity.actor(), id]);
            self.state.put(&place, Value::Bool(true));
        }
        let named = activity.object().and_then(Value::as_object);
        if !hosted {
            return Ok(());
        }
        // Our own Undo always embeds what it undoes.
        let Some(definition) = named.and_then(definition_in) else { return Ok(()) };
        self.withdraw(definition.kind(), definition.name(), |held| held.by == id)
    }

    fn source(
        &mut self,
        definition: &Definition,
        origin: &str,
        author: &str,
        activity: Option<Cid>,
    ) -> Result<(), StateError> {
        let cid = definition.cid().to_string();
        let place = self.registry.place(&["source", &cid, origin]);
        self.changes.insert((definition.kind(), definition.name().to_owned()));
        let undone = self.registry.place(&["undone", author, origin]);
        let source = Source {
            origin: origin.to_owned(),
            kind: definition.kind(),
            name: definition.name().to_owned(),
            author: author.to_owned(),
            activity,
            withdrawn: self.state.get(&undone)?.is_some(),
        };
        if activity.is_some() {
            self.state.put(&self.registry.place(&["by", origin]), json!(cid));
        }
        state::put_as(self.state, &place, &source)
    }

    /// A definition takes effect from here on.
    fn stand(
        &mut self,
        definition: &Definition,
        origin: &str,
        by: &str,
        standing: Standing,
    ) -> Result<(), StateError> {
        let (kind, name) = (definition.kind().as_str(), definition.name());
        let counter = self.registry.place(&["versions", kind, name]);
        let version = state::get_as::<u64>(self.state, &counter)?.unwrap_or(0).saturating_add(1);
        state::put_as(self.state, &counter, &version)?;
        let since = self.record.entry.global_seq;
        let held = InForce {
            cid: *definition.cid(),
            document: self.kept(definition.document()),
            origin: origin.to_owned(),
            by: by.to_owned(),
            standing,
            since,
            version,
        };
        let position = format!("{since:020}");
        state::put_as(self.state, &self.registry.place(&["defs", kind, name, &position]), &held)?;
        self.settle(definition.kind(), name)
    }

    fn kept(&self, document: &Value) -> Value {
        if self.registry.prefix.is_none() {
            return document.clone();
        }
        let mut kept = Map::new();
        for member in RELATING {
            if let Some(value) = document.get(member) {
                kept.insert(member.to_owned(), value.clone());
            }
        }
        // Without schema and guard it would be no validator.
        if document.get("type").and_then(Value::as_str).and_then(Kind::of_type)
            == Some(Kind::Validators)
        {
            kept.insert("schema".into(), Value::Bool(true));
        }
        Value::Object(kept)
    }

    fn withdraw(
        &mut self,
        kind: Kind,
        name: &str,
        meant: impl Fn(&InForce) -> bool,
    ) -> Result<(), StateError> {
        let below = self.registry.below(&["defs", kind.as_str(), name]);
        for (place, value) in rows(self.state, &below)? {
            let held: InForce = super::read(place.clone(), value)?;
            if held.standing != Standing::Genesis && meant(&held) {
                self.state.remove(&place);
            }
        }
        self.settle(kind, name)
    }

    /// The newest that stands is in force.
    fn settle(&mut self, kind: Kind, name: &str) -> Result<(), StateError> {
        self.changes.insert((kind, name.to_owned()));
        let before = self.registry.find(self.state, kind, name)?;
        let after = self.registry.standing(self.state, kind, name)?.pop();
        let place = self.registry.place(&["def", kind.as_str(), name]);
        match &after {
            Some(after) => state::put_as(self.state, &place, after)?,
            None => self.state.remove(&place),
        }
        if kind != Kind::Validators {
            return Ok(());
        }
        for place in self.validated(before.as_ref(), name)? {
            self.state.remove(&place);
        }
        for place in self.validated(after.as_ref(), name)? {
            self.state.put(&place, Value::Bool(true));
        }
        Ok(())
    }

    /// Where a validator is noted under the types that it checks.
    fn validated(&self, held: Option<&InForce>, name: &str) -> Result<Vec<String>, StateError> {
        let Some(held) = held else { return Ok(Vec::new()) };
        let definition = held.definition()?;
        let checks = definition.validates();
        let places = [(Validated::Activity, &checks.activity), (Validated::Object, &checks.object)];
        Ok(places
            .into_iter()
            .flat_map(|(what, types)| types.iter().map(move |one| (what, one)))
            .map(|(what, one)| self.registry.place(&["validates", what.as_str(), one, name]))
            .collect())
    }
}

/// Whether an embedded activity says that it defines something.
fn says_definition(object: Option<&Value>) -> bool {
    let kind = object.and_then(|object| object.get("type")).and_then(Value::as_str);
    kind.is_some_and(|kind| Kind::of_type(kind).is_some())
}

/// The definition in an embedded `Define*` or `Add`.
fn definition_in(members: &Map<String, Value>) -> Option<Definition> {
    let kind = members.get("type")?.as_str()?;
    let object = members.get("object")?;
    match Kind::of_type(kind) {
        Some(_) => Definition::published(kind, object).ok(),
        None => adopts(kind, object, members.get("target")),
    }
}
