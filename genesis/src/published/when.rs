//! Which activities a definition is about.

use std::sync::Arc;

use fedsx_kernel::activity::{Activity, kind_of};
use fedsx_kernel::state::{StateError, StateView};
use serde_json::Value;

use super::{Seen, program};
use crate::definition::{Definition, DefinitionError, Kind};
use crate::registry::Registry;
use crate::script::{Program, ScriptError, Scripts};

/// The member `when`: the verbs, the types of the embedded object, the subscription and the guard
/// that must all fit. What is missing fits everything.
#[derive(Clone)]
pub struct When {
    types: Vec<String>,
    objects: Vec<String>,
    subscription: Option<String>,
    guard: Option<Arc<dyn Program>>,
}

impl When {
    pub(super) fn read(
        definition: &Definition,
        scripts: &Scripts,
    ) -> Result<Self, DefinitionError> {
        let fail = |reason: &str| DefinitionError::Member("when", reason.to_owned());
        let when = match definition.get("when") {
            None => None,
            Some(Value::Object(when)) => Some(when),
            Some(_) => return Err(fail("must be an object")),
        };
        let get = |name: &str| when.and_then(|when| when.get(name));
        let names = |name: &str| -> Result<Vec<String>, DefinitionError> {
            let items = match get(name) {
                None => return Ok(Vec::new()),
                Some(Value::Array(items)) => items.iter().collect(),
                Some(one) => vec![one],
            };
            let names = items.into_iter().map(|item| item.as_str().map(str::to_owned));
            names
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| fail(&format!("{name}: must be a name or names")))
        };
        let subscription = match get("subscription") {
            None => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(_) => return Err(fail("subscription: must be a name")),
        };
        let guard = get("guard").map(|source| program(definition, scripts, "when.guard", source));
        Ok(Self {
            types: names("type")?,
            objects: names("object")?,
            subscription,
            guard: guard.transpose()?,
        })
    }

    /// Lets subtypes of the named types fit, too, as they are in force in the admission state. The
    /// answer is which.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(super) fn widen(&mut self, state: &dyn StateView) -> Result<Vec<String>, StateError> {
        let verbs = Registry::ADMISSION.subtypes(state, Kind::ActivityTypes, &self.types)?;
        let objects = Registry::ADMISSION.subtypes(state, Kind::ObjectTypes, &self.objects)?;
        self.types.extend(verbs.iter().cloned());
        self.objects.extend(objects.iter().cloned());
        Ok([verbs, objects].concat())
    }

    /// The subscription that must fit.
    pub fn subscription(&self) -> Option<&str> {
        self.subscription.as_deref()
    }

    /// Whether the verb and the type of the object fit; nothing is run.
    pub fn fits(&self, activity: &Activity) -> bool {
        let one_of = |names: &[String], name: Option<&str>| {
            names.is_empty() || name.is_some_and(|name| names.iter().any(|held| held == name))
        };
        let object = activity.object().and_then(Value::as_object).and_then(kind_of);
        one_of(&self.types, Some(activity.kind())) && one_of(&self.objects, object)
    }

    /// Whether the guard lets the activity through.
    ///
    /// # Errors
    /// Where the guard fails.
    pub fn lets(&self, seen: &Seen) -> Result<bool, ScriptError> {
        match &self.guard {
            Some(guard) => seen.holds(&**guard),
            None => Ok(true),
        }
    }
}
