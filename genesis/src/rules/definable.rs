//! Whether a definition can take effect: its schema can be used, what it refers to exists, and it
//! takes no name that is not free.

use fedsx_kernel::address::origin_of;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::state::StateView;
use fedsx_kernel::{Activity, ActorName};
use serde_json::{Value, json};

use super::GenesisRules;
use super::audience::{FOLLOWERS, is_public};
use super::expansion::{MAX_NESTING, NAMED};
use crate::definition::{Definition, Kind};
use crate::published;
use crate::registry::{self, MAX_VALIDATORS, Registry, Standing, Validated, manages};

impl GenesisRules {
    /// A published definition must be one, and its schema usable; what takes effect here must
    /// also fit what is in force.
    pub(super) fn definable(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        outbound: bool,
    ) -> Result<(), Refusal> {
        let object = activity.object().unwrap_or(&Value::Null);
        let definition = if Kind::of_type(activity.kind()).is_some() {
            Definition::published(activity.kind(), object)
                .map_err(|e| wrong("", "definition", &e.to_string()))?
        } else {
            match registry::adopted(activity) {
                Some(definition) if outbound => definition,
                _ => return Ok(()),
            }
        };
        self.usable(&definition)?;
        if outbound { self.fits_in(state, &definition) } else { Ok(()) }
    }

    /// Whether the parts of a definition can be used, whatever else is in force.
    pub(super) fn usable(&self, definition: &Definition) -> Result<(), Refusal> {
        if let Some(schema) = definition.schema() {
            self.schemas
                .accepts(schema)
                .map_err(|e| wrong("/schema", "profile", &e.to_string()))?;
        }
        published::check(definition, &self.scripts)
            .map_err(|e| wrong("", "definition", &e.to_string()))?;
        if let Some(guard) = definition.guard() {
            self.scripts
                .program(definition.cid(), "guard", published::engine(definition), guard)
                .map_err(|e| wrong("/guard", "script", &e.to_string()))?;
        }
        if definition.is_builtin() {
            return Err(wrong("/builtin", "not", "only the genesis bundle names built-in things"));
        }
        for id in definition.ids() {
            let named = is_public(id)
                || id == FOLLOWERS
                || id.parse::<ActorName>().is_ok()
                || origin_of(id).is_some();
            if !named && id.strip_prefix(NAMED).is_none() {
                return Err(wrong("/ids", "items", &format!("{id:?} names no recipient")));
            }
        }
        Ok(())
    }

    /// Whether a definition can take effect beside what is in force.
    pub(super) fn fits_in(
        &self,
        state: &dyn StateView,
        definition: &Definition,
    ) -> Result<(), Refusal> {
        let (kind, name) = (definition.kind(), definition.name());
        if let Some(held) = registry::find(state, kind, name)?
            && held.standing == Standing::Genesis
        {
            return Err(Refusal::new(
                Problem::NotAuthorised,
                format!("the genesis bundle defines {name} among {kind}; another name is free"),
            )
            .with("definition", held.cid.to_string()));
        }
        supertypes(state, definition)?;
        validators(state, definition)?;
        nesting(state, definition)
    }
}

fn wrong(path: &str, rule: &str, message: &str) -> Refusal {
    let path = format!("/object{path}");
    let violation = json!({ "path": path, "rule": rule, "message": message });
    Refusal::new(Problem::SchemaViolation, format!("{path}: {message}"))
        .with("violations", vec![violation])
}

/// Supertypes are known, and nothing is a subtype of its own subtype.
fn supertypes(state: &dyn StateView, definition: &Definition) -> Result<(), Refusal> {
    let member = if definition.kind() == Kind::Subtypes { "/of" } else { "/subtypeOf" };
    for supertype in definition.supertypes() {
        let kinds = match definition.kind() {
            Kind::Subtypes => vec![Kind::ObjectTypes, Kind::ActivityTypes],
            kind => vec![kind],
        };
        let mut known = false;
        for kind in kinds {
            if registry::find(state, kind, supertype)?.is_none() {
                continue;
            }
            known = true;
            let lineage = Registry::ADMISSION.lineage(state, kind, supertype)?;
            if lineage.iter().any(|one| one == definition.name()) {
                let message = format!("{supertype} is a subtype of {}", definition.name());
                return Err(wrong(member, "circle", &message));
            }
        }
        if !known {
            let message = format!("the type {supertype:?} is not defined here");
            return Err(wrong(member, "defined", &message));
        }
    }
    Ok(())
}

/// A type has a limited number of validators, and the verbs that manage definitions have none.
fn validators(state: &dyn StateView, definition: &Definition) -> Result<(), Refusal> {
    let checks = definition.validates();
    if let Some(verb) = checks.activity.iter().find(|verb| manages(verb)) {
        let message = format!("{verb} is how definitions come and go; no validator checks it");
        return Err(wrong("/validates/activity", "not", &message));
    }
    for (what, types) in
        [(Validated::Activity, &checks.activity), (Validated::Object, &checks.object)]
    {
        for name in types {
            let held = Registry::ADMISSION.validators(state, what, name)?;
            let replaces = held.iter().any(|one| one == definition.name());
            if held.len() >= MAX_VALIDATORS && !replaces {
                let message = format!("{name} has {MAX_VALIDATORS} validators already");
                return Err(wrong("/validates", "maxItems", &message));
            }
        }
    }
    Ok(())
}

/// Audiences that name audiences end somewhere.
fn nesting(state: &dyn StateView, definition: &Definition) -> Result<(), Refusal> {
    if definition.kind() != Kind::Audiences {
        return Ok(());
    }
    let inner = |ids: Vec<&str>| -> Vec<String> {
        ids.iter().filter_map(|id| id.strip_prefix(NAMED)).map(str::to_owned).collect()
    };
    let mut level = inner(definition.ids());
    for _ in 0..MAX_NESTING {
        let mut below = Vec::new();
        for name in &level {
            if name == definition.name() {
                return Err(wrong("/ids", "circle", "an audience does not contain itself"));
            }
            let found = registry::find(state, Kind::Audiences, name)?.ok_or_else(|| {
                wrong("/ids", "defined", &format!("the audience {name:?} is not defined here"))
            })?;
            below.extend(inner(found.definition()?.ids()));
        }
        below.sort();
        below.dedup();
        level = below;
    }
    if level.is_empty() {
        return Ok(());
    }
    Err(wrong("/ids", "depth", &format!("audiences nest at most {MAX_NESTING} deep")))
}
