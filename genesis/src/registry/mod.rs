//! The registry: which definition is in force under a name, and where definitions come from.
//!
//! A definition takes effect at a position of the log: with the genesis bundle, when a hosted
//! actor publishes it, or when one adopts what a peer published. Of several under one name the
//! newest that was not withdrawn is in force. The admission state holds one registry; projections
//! that ask the same keep one of their own, with the same fold, beside their state.

mod fold;
#[cfg(test)]
mod tests;
mod types;

use fedsx_kernel::state::{self, StateError, StateView, key, prefix};
use fedsx_kernel::{Base, Cid};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::{Definition, Kind};

pub use fold::{Change, adopted, adopts};
pub(crate) use types::manages;
pub use types::{Demand, Type, Types, generation};

/// The most types that one lineage follows.
pub const MAX_LINEAGE: usize = 32;
/// The most validators for one type.
pub const MAX_VALIDATORS: usize = 16;
/// What stands for the bundle as an origin.
pub const GENESIS: &str = "genesis";
/// Rows read at once.
const PAGE: usize = 512;

/// By what a definition takes effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is part of the bundle.
    Genesis,
    /// A hosted actor published it.
    #[default]
    Local,
    /// A hosted actor adopted what a peer published.
    Adopted,
}

/// A definition that took effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// The CID of the definition document.
    pub cid: Cid,
    /// The document.
    pub document: Value,
    /// Where it comes from: `genesis`, or the id of the activity that published it.
    pub origin: String,
    /// The activity by which it took effect here; empty for genesis. States that older rules made
    /// have none of what follows, until they are computed anew.
    #[serde(default)]
    pub by: String,
    /// By what it takes effect.
    #[serde(default)]
    pub standing: Standing,
    /// The position from which on it was the newest under its name.
    #[serde(default)]
    pub since: u64,
    /// Which of those that took effect under its name it is, from 1.
    #[serde(default)]
    pub version: u64,
}

impl InForce {
    /// Reads the document as a definition.
    pub fn definition(&self) -> Result<Definition, StateError> {
        Definition::parse(&self.document)
            .map_err(|e| StateError::Shape { key: self.cid.to_string(), reason: e.to_string() })
    }
}

/// One place that a definition came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// `genesis`, or the id of the activity that published it.
    pub origin: String,
    /// What it defines.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The actor who published it; empty for genesis.
    pub author: String,
    /// The activity that published it; `None` for genesis.
    pub activity: Option<Cid>,
    /// Whether its author took it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// A registry in some state, under a prefix of its own.
#[derive(Clone, Copy, Debug)]
pub struct Registry {
    prefix: Option<&'static str>,
}

impl Registry {
    /// The registry of the admission state.
    pub const ADMISSION: Self = Self { prefix: None };

    /// A registry among the notes of a projection. Of the documents it keeps only what says how
    /// definitions relate.
    pub const fn beside(prefix: &'static str) -> Self {
        Self { prefix: Some(prefix) }
    }

    fn place(self, parts: &[&str]) -> String {
        match self.prefix {
            None => key(parts),
            Some(own) => key(&[&[own], parts].concat()),
        }
    }

    fn below(self, parts: &[&str]) -> String {
        match self.prefix {
            None => prefix(parts),
            Some(own) => prefix(&[&[own], parts].concat()),
        }
    }

    /// The definition in force under a name.
    pub fn find(
        self,
        state: &dyn StateView,
        kind: Kind,
        name: &str,
    ) -> Result<Option<InForce>, StateError> {
        state::get_as(state, &self.place(&["def", kind.as_str(), name]))
    }

    /// Every definition of a kind that is in force, at most `limit`, by name.
    pub fn all(
        self,
        state: &dyn StateView,
        kind: Kind,
        limit: usize,
    ) -> Result<Vec<(String, InForce)>, StateError> {
        let found = state.scan(&self.below(&["def", kind.as_str()]), None, limit)?;
        found
            .into_iter()
            .map(|(place, value)| Ok((last_part(&place), read(place, value)?)))
            .collect()
    }

    /// Every definition that took effect under a name and was not withdrawn, oldest first.
    pub fn standing(
        self,
        state: &dyn StateView,
        kind: Kind,
        name: &str,
    ) -> Result<Vec<InForce>, StateError> {
        let found = rows(state, &self.below(&["defs", kind.as_str(), name]))?;
        found.into_iter().map(|(place, value)| read(place, value)).collect()
    }

    /// Where a definition came from; empty where it is not known here.
    pub fn sources(self, state: &dyn StateView, cid: &Cid) -> Result<Vec<Source>, StateError> {
        let found = rows(state, &self.below(&["source", &cid.to_string()]))?;
        found.into_iter().map(|(place, value)| read(place, value)).collect()
    }

    /// A type and everything that it also is: supertypes, theirs, and so on, nearest first, each
    /// once, at most [`MAX_LINEAGE`].
    pub fn lineage(
        self,
        state: &dyn StateView,
        kind: Kind,
        name: &str,
    ) -> Result<Vec<String>, StateError> {
        let mut lineage = vec![name.to_owned()];
        let mut next = 0;
        while let Some(name) = lineage.get(next).cloned() {
            next += 1;
            for kind in [kind, Kind::Subtypes] {
                let Some(found) = self.find(state, kind, &name)? else { continue };
                for supertype in found.definition()?.supertypes() {
                    if !lineage.contains(supertype) && lineage.len() < MAX_LINEAGE {
                        lineage.push(supertype.clone());
                    }
                }
            }
        }
        Ok(lineage)
    }

    /// The types in force that are also of one of these types, themselves apart, by name.
    pub fn subtypes(
        self,
        state: &dyn StateView,
        kind: Kind,
        of: &[String],
    ) -> Result<Vec<String>, StateError> {
        let mut found = Vec::new();
        if of.is_empty() {
            return Ok(found);
        }
        for kinds in [kind, Kind::Subtypes] {
            for (place, value) in rows(state, &self.below(&["def", kinds.as_str()]))? {
                let (name, held) = (last_part(&place), read::<InForce>(place, value)?);
                let says = !held.definition()?.supertypes().is_empty();
                if !says || of.contains(&name) || found.contains(&name) {
                    continue;
                }
                if self.lineage(state, kind, &name)?.iter().any(|one| of.contains(one)) {
                    found.push(name);
                }
            }
        }
        // A type below one that says so may say nothing of its own; lineages are followed from
        // every type that says anything, so all of them are here.
        found.sort();
        Ok(found)
    }

    /// The names of the validators that check documents of a type. `what` is `activity` or
    /// `object`.
    pub fn validators(
        self,
        state: &dyn StateView,
        what: Validated,
        type_name: &str,
    ) -> Result<Vec<String>, StateError> {
        let below = self.below(&["validates", what.as_str(), type_name]);
        let found = state.scan(&below, None, MAX_VALIDATORS)?;
        Ok(found.into_iter().map(|(place, _)| last_part(&place)).collect())
    }
}

/// What a validator is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validated {
    /// Whole activities.
    Activity,
    /// Objects of `Create` and `Update`.
    Object,
}

impl Validated {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Object => "object",
        }
    }
}

/// The definition in force under a name, in the admission state.
pub fn find(state: &dyn StateView, kind: Kind, name: &str) -> Result<Option<InForce>, StateError> {
    Registry::ADMISSION.find(state, kind, name)
}

/// Every definition of a kind that is in force, at most `limit`, in the admission state.
pub fn all(
    state: &dyn StateView,
    kind: Kind,
    limit: usize,
) -> Result<Vec<(String, InForce)>, StateError> {
    Registry::ADMISSION.all(state, kind, limit)
}

/// The URL of a definition on this instance.
pub fn url(base: &Base, cid: &Cid) -> String {
    format!("{base}/types/{cid}")
}

/// The CID in the URL of a definition, on whatever instance.
pub fn cid_in(url: &str) -> Option<Cid> {
    url.rsplit_once("/types/").and_then(|(_, cid)| cid.parse().ok())
}

fn last_part(place: &str) -> String {
    state::parts(place).pop().unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(place: String, value: Value) -> Result<T, StateError> {
    serde_json::from_value(value)
        .map_err(|e| StateError::Shape { key: place, reason: e.to_string() })
}

/// Every row below a prefix.
fn rows(state: &dyn StateView, below: &str) -> Result<Vec<(String, Value)>, StateError> {
    let mut all: Vec<(String, Value)> = Vec::new();
    loop {
        let page = state.scan(below, all.last().map(|(place, _)| place.as_str()), PAGE)?;
        let done = page.len() < PAGE;
        all.extend(page);
        if done {
            return Ok(all);
        }
    }
}
