//! Whether an activity has the shape that the definitions in force demand.
//!
//! An activity is checked by its verb's schema and those of the verb's supertypes, the object of
//! a `Create` or `Update` by its type's and its supertypes', and both by the validators of each
//! of these types. To a supertype's schema the document is shown as being of that type.

use std::sync::Arc;

use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Judgement;
use fedsx_kernel::state::StateView;
use fedsx_kernel::{Activity, Cid};
use serde_json::{Value, json};

use super::{GenesisRules, kind_in};
use crate::definition::{Definition, Kind};
use crate::published;
use crate::registry::{Registry, Type};
use crate::schema::SchemaError;
use crate::script::Input;

impl GenesisRules {
    /// Checks the schemas of verb and object, except where the earlier judgement used the same.
    /// What others wrote may fit as it stands or in its plain form.
    pub(super) fn shape(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        outbound: bool,
        earlier: Option<&Judgement>,
    ) -> Result<Judgement, Refusal> {
        let document = activity.to_value();
        let judged = self.shape_of(state, activity, &document, outbound, earlier);
        let Err(refusal) = judged else { return judged };
        let plain = activity.plain();
        if outbound || plain == document {
            return Err(refusal);
        }
        self.shape_of(state, activity, &plain, outbound, earlier).map_err(|_| refusal)
    }

    fn shape_of(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        document: &Value,
        outbound: bool,
        earlier: Option<&Judgement>,
    ) -> Result<Judgement, Refusal> {
        let Some(verb) = self.types.find(state, Kind::ActivityTypes, activity.kind())? else {
            if outbound {
                return Err(Refusal::new(
                    Problem::UnknownActivityType,
                    format!("the activity type {:?} is not registered here", activity.kind()),
                )
                .with("activity_type", activity.kind()));
            }
            return Ok(Judgement::default());
        };
        let states_object = matches!(activity.kind(), "Create" | "Update");
        let object = document.get("object").filter(|_| states_object);
        let object = object.and_then(|object| Some((object, kind_in(object)?)));
        let object = match object {
            None => None,
            Some((object, kind)) => match self.types.find(state, Kind::ObjectTypes, kind)? {
                Some(found) => Some((object, found)),
                None if outbound => {
                    return Err(Refusal::new(
                        Problem::UnknownObjectType,
                        format!("the object type {kind:?} is not registered here"),
                    )
                    .with("object_type", kind));
                }
                None => None,
            },
        };
        let demands = || {
            let of_object = object.iter().flat_map(|(_, found)| &found.demands);
            verb.demands.iter().chain(of_object)
        };
        let mut judgement = Judgement {
            judged_by: Some(*verb.definition.cid()),
            object_by: object.as_ref().map(|(_, found)| *found.definition.cid()),
            ..Judgement::default()
        };
        let own = [judgement.judged_by, judgement.object_by];
        judgement.beside = demands()
            .map(|demand| *demand.definition.cid())
            .filter(|cid| !own.contains(&Some(*cid)))
            .collect();
        if earlier.is_some_and(|earlier| earlier.asked_the_same(&judgement)) {
            return Ok(judgement);
        }
        self.passes(&verb, document, "")?;
        if let Some((object, found)) = &object {
            self.passes(found, object, "/object")?;
        }
        Ok(judgement)
    }

    /// Judges an activity again by the definition that judged it, which stood under its verb at
    /// its position. `false` where no such definition is known there: it was judged elsewhere.
    ///
    /// # Errors
    /// Where it does not fit that definition.
    pub fn judged_by(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        by: &Cid,
    ) -> Result<bool, Refusal> {
        let in_force = self.types.find(state, Kind::ActivityTypes, activity.kind())?;
        let definition = match in_force.filter(|found| found.definition.cid() == by) {
            Some(found) => found.definition.clone(),
            None => {
                let held =
                    Registry::ADMISSION.standing(state, Kind::ActivityTypes, activity.kind())?;
                match held.into_iter().find(|held| held.cid == *by) {
                    Some(held) => Arc::new(held.definition()?),
                    None => return Ok(false),
                }
            }
        };
        let check = |document: &Value| {
            let instance = Instance::Own(document);
            self.fits(&Check { definition: &definition, instance, at: "" })
        };
        let as_it_stands = check(&activity.to_value());
        as_it_stands.or_else(|refusal| check(&activity.plain()).map_err(|_| refusal))?;
        Ok(true)
    }

    /// Checks a document by everything that its type demands.
    fn passes(&self, found: &Type, document: &Value, at: &'static str) -> Result<(), Refusal> {
        for demand in &found.demands {
            let instance = Instance::of(document, demand.shown_as.as_deref());
            self.fits(&Check { definition: &demand.definition, instance, at })?;
        }
        Ok(())
    }

    fn fits(&self, check: &Check<'_>) -> Result<(), Refusal> {
        self.fits_schema(check)?;
        match check.definition.guard() {
            Some(guard) => self.passes_guard(check, guard),
            None => Ok(()),
        }
    }

    /// The guard of a validator is given the document as `document`, and says whether it passes.
    fn passes_guard(&self, check: &Check<'_>, guard: &str) -> Result<(), Refusal> {
        let refuse = |message: String| {
            let violation = json!({ "path": check.at, "rule": "/guard", "message": message });
            let place = if check.at.is_empty() { "the document" } else { check.at };
            Err(Refusal::new(Problem::SchemaViolation, format!("{place}: {message}"))
                .with("violations", vec![violation])
                .with("definition", check.definition.cid().to_string()))
        };
        let definition = check.definition;
        let engine = published::engine(definition);
        let given = [("document", check.instance.value())];
        let ran = self
            .scripts
            .program(definition.cid(), "guard", engine, guard)
            .and_then(|program| program.run(Input { state: None, given: &given }));
        match ran.map(|output| output.value) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(Value::Bool(false)) => {
                refuse(format!("the validator {} does not let it pass", definition.name()))
            }
            Ok(_) => refuse("the guard gave neither true nor false".into()),
            Err(error) => refuse(format!("the guard failed: {error}")),
        }
    }

    fn fits_schema(&self, check: &Check<'_>) -> Result<(), Refusal> {
        let Some(schema) = check.definition.schema() else { return Ok(()) };
        let at = check.at;
        match self.schemas.check(check.definition.cid(), schema, check.instance.value()) {
            Ok(()) => Ok(()),
            Err(SchemaError::Violations(violations)) => {
                let list: Vec<Value> = violations
                    .iter()
                    .map(|violation| {
                        json!({
                            "path": format!("{at}{}", violation.instance_path),
                            "rule": violation.schema_path,
                            "message": violation.message,
                        })
                    })
                    .collect();
                let detail = violations
                    .iter()
                    .map(|violation| format!("{at}{violation}"))
                    .collect::<Vec<_>>()
                    .join("; ");
                Err(Refusal::new(Problem::SchemaViolation, detail)
                    .with("violations", list)
                    .with("definition", check.definition.cid().to_string()))
            }
            Err(other) => Err(Refusal::new(Problem::SchemaViolation, other.to_string())),
        }
    }
}

/// One definition that a document must pass.
struct Check<'a> {
    definition: &'a Definition,
    instance: Instance<'a>,
    at: &'static str,
}

enum Instance<'a> {
    Own(&'a Value),
    As(Value),
}

impl<'a> Instance<'a> {
    fn of(document: &'a Value, shown_as: Option<&str>) -> Self {
        let Some(name) = shown_as else { return Self::Own(document) };
        let mut document = document.clone();
        if let Some(members) = document.as_object_mut() {
            members.insert("type".into(), name.into());
        }
        Self::As(document)
    }

    fn value(&self) -> &Value {
        match self {
            Self::Own(value) => value,
            Self::As(value) => value,
        }
    }
}
