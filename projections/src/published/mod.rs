//! Projections that were published: folds that are scripts in a definition.
//!
//! A public one folds what anyone may read, and anyone may read it. A private one folds what its
//! owner published and received, under keys that begin with the owner's name, and only the owner
//! may read it; so is one whose definition not everyone may read. What was erased is not folded.

mod keeper;

use std::sync::Arc;

use fedsx_genesis::definition::{Definition, DefinitionError, Kind};
use fedsx_genesis::published::{Projection, Seen, Sight};
use fedsx_genesis::registry::{self, InForce};
use fedsx_genesis::script::Scripts;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::log::{LogStore, Record, StoreError, Stream};
use fedsx_kernel::state::{State, StateError, key};
use fedsx_kernel::{ActorName, Base, Cid};
use thiserror::Error;

use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::folds::builtin;
use crate::folds::common::is_public;

pub use keeper::keep;

/// The most published projections that run; further ones, in the order of their names, do not.
pub const MAX_PUBLISHED: usize = 128;
/// Definitions that are read for it: those of the bundle are among them.
const MAX_READ: usize = MAX_PUBLISHED + 128;
/// Served like a projection, by delivery.
const LEDGERS: [&str; 2] = ["delivery-state", "peer-schemes"];

/// Why the published projections could not be listed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListError {
    /// The admission state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log could not be read.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

/// A fold that was published.
pub struct PublishedFold {
    name: String,
    definition: Cid,
    projection: Projection,
    /// Whose activities are folded; none where everyone's are.
    owner: Option<ActorName>,
    version: u32,
}

impl PublishedFold {
    fn new(
        name: String,
        definition: Cid,
        projection: Projection,
        owner: Option<ActorName>,
    ) -> Self {
        // Another definition is another version, and the same one is the same everywhere. The
        // last bit tells private state from public.
        let source = match &owner {
            Some(owner) => Cid::of_block(format!("{definition}\n{owner}").as_bytes()),
            None => definition,
        };
        let version = (hash(&source) & !1) | u32::from(owner.is_some());
        Self { name, definition, projection, owner, version }
    }

    /// What sees other types gives other state: it is another version.
    fn seeing(mut self, subtypes: &[String]) -> Self {
        if !subtypes.is_empty() {
            let source =
                Cid::of_block(format!("{}\n{}", self.version, subtypes.join("\n")).as_bytes());
            self.version = (hash(&source) & !1) | (self.version & 1);
        }
        self
    }

    fn concerns(&self, record: &Record) -> bool {
        if record.activity.is_erased() {
            return false;
        }
        match (&self.owner, &record.entry.stream) {
            (_, Stream::Local) => false,
            (None, _) => record.entry.first && is_public(&record.activity),
            (Some(owner), Stream::Outbox(name) | Stream::Inbox(name)) => owner == name,
        }
    }
}

fn hash(source: &Cid) -> u32 {
    let mix = |all: u32, byte| all.rotate_left(5).wrapping_mul(0x9e37_79b1) ^ u32::from(byte);
    source.to_bytes().into_iter().fold(0u32, mix)
}

impl Fold for PublishedFold {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn definition(&self) -> Option<&Cid> {
        Some(&self.definition)
    }

    fn scope(&self) -> Scope {
        // An owner's part of a body may come after its first entry.
        Scope::EachEntry
    }

    fn visibility(&self) -> Visibility {
        if self.owner.is_some() { Visibility::Private } else { Visibility::Public }
    }

    fn serves(&self, older: u32) -> bool {
        older & 1 == self.version & 1
    }

    fn keeps_past(&self) -> bool {
        // Folding a long log anew takes scripts long, and anyone could ask for it.
        false
    }

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        if !self.concerns(record) || !self.projection.when().fits(&record.activity) {
            return Ok(());
        }
        let undigestible =
            |error: fedsx_genesis::script::ScriptError| FoldError::Undigestible(error.to_string());
        let seen = Seen::of(&record.activity);
        let Some(parts) = self.projection.key(&seen).map_err(undigestible)? else {
            return Ok(());
        };
        let owner = self.owner.as_ref().map(ActorName::as_str);
        let parts: Vec<&str> = owner.into_iter().chain(parts.iter().map(String::as_str)).collect();
        let place = key(&parts);
        let before = state.get(&place)?;
        let after = self.projection.fold(before.as_ref(), &seen).map_err(undigestible)?;
        if after.is_null() {
            state.remove(&place);
        } else if before.as_ref() != Some(&after) {
            state.put(&place, after);
        }
        Ok(())
    }
}

/// The published projections that the admission state has in force, by name. Definitions that
/// cannot be run here are told in the log and left out.
///
/// # Errors
/// Where admission state or log cannot be read.
pub fn published(
    store: &dyn LogStore,
    base: &Base,
    scripts: &Scripts,
) -> Result<Vec<Arc<PublishedFold>>, ListError> {
    let taken = builtin();
    let mut folds = Vec::new();
    for (name, held) in registry::all(store.state(), Kind::Projections, MAX_READ)? {
        let is_taken =
            LEDGERS.contains(&name.as_str()) || taken.iter().any(|fold| fold.name() == name);
        if is_taken || folds.len() == MAX_PUBLISHED {
            continue;
        }
        let definition = held.definition()?;
        if definition.is_builtin() {
            continue;
        }
        let (Some(publisher), projection) =
            (publisher(store, base, &held)?, Projection::read(&definition, scripts))
        else {
            tracing::warn!(projection = %name, cid = %held.cid, "nobody here published it");
            continue;
        };
        match projection {
            Ok(projection) => {
                let is_private = projection.sight() == Sight::Owner || !publisher.for_everyone;
                let owner = is_private.then_some(publisher.name);
                let (projection, subtypes) = projection.widened(store.state())?;
                let fold = PublishedFold::new(name, held.cid, projection, owner);
                folds.push(Arc::new(fold.seeing(&subtypes)));
            }
            Err(error) => {
                tracing::warn!(projection = %name, cid = %held.cid, %error, "it cannot be run");
            }
        }
    }
    Ok(folds)
}

/// The fold of a definition over what anyone may read, to try it on a log.
///
/// # Errors
/// Where the definition is of no projection, or cannot be run.
pub fn trial(definition: &Definition, scripts: &Scripts) -> Result<PublishedFold, DefinitionError> {
    let projection = Projection::read(definition, scripts)?;
    Ok(PublishedFold::new(definition.name().to_owned(), *definition.cid(), projection, None))
}

/// Who put a definition into force.
struct Publisher {
    name: ActorName,
    for_everyone: bool,
}

fn publisher(
    store: &dyn LogStore,
    base: &Base,
    held: &InForce,
) -> Result<Option<Publisher>, ListError> {
    // Our own activities are found by the CID in their id.
    let cid = held.by.rsplit('/').next().and_then(|cid| cid.parse::<Cid>().ok());
    let Some(cid) = cid.filter(|_| base.is_local(&held.by)) else { return Ok(None) };
    let Some(body) = store.body(&cid)? else { return Ok(None) };
    let activity = Activity::from_body(&body)
        .map_err(|e| StoreError::Damaged { place: cid.to_string(), reason: e.to_string() })?;
    let name = base.name_of(activity.actor());
    Ok(name.map(|name| Publisher { name, for_everyone: is_public(&activity) }))
}
