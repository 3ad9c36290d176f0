//! The types in force, read and parsed once for each state of the registry.
//!
//! Judging an activity asks for its verb, what that is also of, and the validators of all of it: a
//! dozen rows with whole documents. What that comes to depends on what is in force alone, and the
//! admission state says by one hash what is in force ([`generation`]); so it is kept by that hash.
//!
//! The hash is that of the last one and of the rows that a record changed. Two states with the
//! same hash were made by the same changes and have the same rows, whoever made them: the log, a
//! batch that is only planned, or a trial. It never comes back to an earlier value.

use std::cell::RefCell;
use std::sync::Arc;

use fedsx_kernel::Cid;
use fedsx_kernel::state::{self, State, StateError, StateView, Writes};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{Registry, Validated};
use crate::definition::{Definition, Kind};

/// Where the admission state says what is in force.
const GENERATION: &str = "~in_force";
/// Types that are kept, about.
const KEPT_TYPES: usize = 256;
/// Bytes of definitions that are kept, about.
const KEPT_BYTES: u64 = 2 * 1024 * 1024;

/// What is in force in an admission state, as a hash; `None` where nothing ever was.
pub fn generation(state: &dyn StateView) -> Result<Option<Cid>, StateError> {
    let Some(text) = state.get_shared(GENERATION)? else { return Ok(None) };
    // Each activity asks several times, and a state that keeps values gives the same one.
    LAST_READ.with(|last| {
        let mut last = last.borrow_mut();
        if let Some((read, hash)) = &*last
            && Arc::ptr_eq(read, &text)
        {
            return Ok(Some(*hash));
        }
        let hash = Cid::deserialize(&*text)
            .map_err(|e| StateError::Shape { key: GENERATION.to_owned(), reason: e.to_string() })?;
        *last = Some((text, hash));
        Ok(Some(hash))
    })
}

thread_local! {
    /// What was read last, and what it says.
    static LAST_READ: RefCell<Option<(Arc<Value>, Cid)>> = const { RefCell::new(None) };
}

/// Notes that these rows of the registry change, before they do.
pub(super) fn advance(state: &mut dyn State, writes: &Writes) -> Result<(), StateError> {
    // Where definitions came from, and what does not stand any more, judges nothing.
    let judging = [state::prefix(&["def"]), state::prefix(&["validates"])];
    let changed: Vec<_> = writes
        .iter()
        .filter(|(place, _)| judging.iter().any(|below| place.starts_with(below.as_str())))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let before = generation(state)?.map(|before| before.to_string());
    let after = Cid::of(&json!([before, changed]))
        .map_err(|e| StateError::Shape { key: GENERATION.to_owned(), reason: e.to_string() })?;
    state.put(GENERATION, Value::String(after.to_string()));
    Ok(())
}

/// A type in force, and what documents of it must pass.
#[derive(Debug)]
pub struct Type {
    /// Its definition.
    pub definition: Arc<Definition>,
    /// Its own definition, those of its supertypes, and the validators of each of them.
    pub demands: Vec<Demand>,
}

/// One definition that documents of a type must pass.
#[derive(Debug)]
pub struct Demand {
    /// The definition.
    pub definition: Arc<Definition>,
    /// The type that the document is shown as, where it is a supertype of its own.
    pub shown_as: Option<String>,
}

/// Types in force, kept by what is in force. Clones share what they keep.
#[derive(Clone)]
pub struct Types {
    kept: Arc<Cache<Place, Arc<Type>, ByBytes>>,
}

/// What is in force, the kind of a type, and its name.
type Place = (Cid, Kind, String);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Place, Arc<Type>> for ByBytes {
    fn weight(&self, _: &Place, one: &Arc<Type>) -> u64 {
        u64::from(one.bytes())
    }
}

impl Types {
    /// Nothing kept yet.
    pub fn new() -> Self {
        let kept = Cache::with_weighter(KEPT_TYPES, KEPT_BYTES, ByBytes);
        Self { kept: Arc::new(kept) }
    }

    /// A verb or a type of objects that is in force; `None` where it is unknown.
    pub fn find(
        &self,
        state: &dyn StateView,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Arc<Type>>, StateError> {
        let Some(in_force) = generation(state)? else {
            return Ok(Type::read(state, kind, name)?.map(Arc::new));
        };
        let place = (in_force, kind, name.to_owned());
        if let Some(kept) = self.kept.get(&place) {
            return Ok(Some(kept));
        }
        let Some(found) = Type::read(state, kind, name)?.map(Arc::new) else { return Ok(None) };
        // A batch may have come between these reads.
        if generation(state)? == Some(in_force) {
            self.kept.insert(place, found.clone());
        }
        Ok(Some(found))
    }
}

impl Default for Types {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Types {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Types").field("kept", &self.kept.len()).finish()
    }
}

impl Type {
    fn read(state: &dyn StateView, kind: Kind, name: &str) -> Result<Option<Self>, StateError> {
        let registry = Registry::ADMISSION;
        let parsed = |kind: Kind, name: &str| -> Result<Option<Arc<Definition>>, StateError> {
            let found = registry.find(state, kind, name)?;
            found.map(|found| found.definition().map(Arc::new)).transpose()
        };
        let Some(definition) = parsed(kind, name)? else { return Ok(None) };
        let what = match kind {
            Kind::ActivityTypes => Validated::Activity,
            _ => Validated::Object,
        };
        let mut demands = Vec::new();
        for one in registry.lineage(state, kind, name)? {
            let shown_as = (one != name).then(|| one.clone());
            let mut add =
                |definition| demands.push(Demand { definition, shown_as: shown_as.clone() });
            if let Some(found) = parsed(kind, &one)? {
                add(found);
            }
            // A validator can bar nobody from mending what is defined.
            if what == Validated::Activity && manages(name) {
                continue;
            }
            for validator in registry.validators(state, what, &one)? {
                if let Some(found) = parsed(Kind::Validators, &validator)? {
                    add(found);
                }
            }
        }
        Ok(Some(Self { definition, demands }))
    }

    fn bytes(&self) -> u32 {
        let demanded = self.demands.iter().map(|demand| demand.definition.bytes());
        u32::try_from(self.definition.bytes() + demanded.sum::<usize>()).unwrap_or(u32::MAX)
    }
}

/// The verbs by which definitions come and go.
pub(crate) fn manages(verb: &str) -> bool {
    matches!(verb, "Add" | "Remove" | "Undo") || Kind::of_type(verb).is_some()
}
