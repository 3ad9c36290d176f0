//! Whether an activity has the shape that the definitions in force demand.
//!
//! An activity is checked by its verb's schema and those of the verb's supertypes, the object of
//! a `Create` or `Update` by its type's and its supertypes', and both by the validators of each
//! of these types. To a supertype's schema the document is shown as being of that type.

use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Judgement;
use fedsx_kernel::state::StateView;
use fedsx_kernel::{Activity, Cid};
use serde_json::{Value, json};

use super::{GenesisRules, kind_in};
use crate::definition::{Definition, Kind};
use crate::published;
use crate::registry::{self, Registry, Validated};
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
        let Some(verb) = registry::find(state, Kind::ActivityTypes, activity.kind())? else {
            if outbound {
                return Err(Refusal::new(
                    Problem::UnknownActivityType,
                    format!("the activity type {:?} is not registered here", activity.kind()),
                )
                .with("activity_type", activity.kind()));
            }
            return Ok(Judgement::default());
        };
        let mut checks = Vec::new();
        let mut judgement = Judgement { judged_by: Some(verb.cid), ..Judgement::default() };
        self.checks(state, Kind::ActivityTypes, activity.kind(), document, "", &mut checks)?;
        let states_object = matches!(activity.kind(), "Create" | "Update");
        let object = document.get("object").filter(|_| states_object);
        if let Some((object, kind)) = object.and_then(|object| Some((object, kind_in(object)?))) {
            match registry::find(state, Kind::ObjectTypes, kind)? {
                Some(found) => {
                    judgement.object_by = Some(found.cid);
                    self.checks(state, Kind::ObjectTypes, kind, object, "/object", &mut checks)?;
                }
                None if outbound => {
                    return Err(Refusal::new(
                        Problem::UnknownObjectType,
                        format!("the object type {kind:?} is not registered here"),
                    )
                    .with("object_type", kind));
                }
                None => {}
            }
        }
        let own = [judgement.judged_by, judgement.object_by];
        judgement.beside =
            checks.iter().map(|check| check.cid).filter(|cid| !own.contains(&Some(*cid))).collect();
        if earlier != Some(&judgement) {
            for check in &checks {
                self.fits(check)?;
            }
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
        let held = Registry::ADMISSION.standing(state, Kind::ActivityTypes, activity.kind())?;
        let Some(held) = held.into_iter().find(|held| held.cid == *by) else { return Ok(false) };
        let check = |document: &Value| {
            let (cid, definition) = (held.cid, held.document.clone());
            self.fits(&Check { cid, definition, instance: Instance::Own(document), at: "" })
        };
        let as_it_stands = check(&activity.to_value());
        as_it_stands.or_else(|refusal| check(&activity.plain()).map_err(|_| refusal))?;
        Ok(true)
    }

    /// Everything that a document of a type must pass.
    fn checks<'a>(
        &self,
        state: &dyn StateView,
        kind: Kind,
        type_name: &str,
        document: &'a Value,
        at: &'static str,
        checks: &mut Vec<Check<'a>>,
    ) -> Result<(), Refusal> {
        let what = match kind {
            Kind::ActivityTypes => Validated::Activity,
            _ => Validated::Object,
        };
        for name in Registry::ADMISSION.lineage(state, kind, type_name)? {
            let shown_as = (name != type_name).then_some(name.as_str());
            let mut add = |cid: Cid, definition: Value| {
                checks.push(Check {
                    cid,
                    definition,
                    instance: Instance::of(document, shown_as),
                    at,
                });
            };
            if let Some(found) = registry::find(state, kind, &name)? {
                add(found.cid, found.document);
            }
            // A validator can bar nobody from mending what is defined.
            if what == Validated::Activity && manages(type_name) {
                continue;
            }
            for validator in Registry::ADMISSION.validators(state, what, &name)? {
                if let Some(found) = registry::find(state, Kind::Validators, &validator)? {
                    add(found.cid, found.document);
                }
            }
        }
        Ok(())
    }

    fn fits(&self, check: &Check<'_>) -> Result<(), Refusal> {
        self.fits_schema(check)?;
        if check.definition.get("guard").is_some() { self.passes_guard(check) } else { Ok(()) }
    }

    /// The guard of a validator is given the document as `document`, and says whether it passes.
    fn passes_guard(&self, check: &Check<'_>) -> Result<(), Refusal> {
        let refuse = |message: String| {
            let violation = json!({ "path": check.at, "rule": "/guard", "message": message });
            let place = if check.at.is_empty() { "the document" } else { check.at };
            Err(Refusal::new(Problem::SchemaViolation, format!("{place}: {message}"))
                .with("violations", vec![violation])
                .with("definition", check.cid.to_string()))
        };
        let definition = match Definition::parse(&check.definition) {
            Ok(definition) => definition,
            Err(error) => return refuse(error.to_string()),
        };
        let Some(guard) = definition.guard() else { return Ok(()) };
        let engine = published::engine(&definition);
        let given = [("document", check.instance.value())];
        let ran = self
            .scripts
            .program(&check.cid, "guard", engine, guard)
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
        let Some(schema) = check.definition.get("schema") else { return Ok(()) };
        let at = check.at;
        match self.schemas.check(&check.cid, schema, check.instance.value()) {
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
                    .with("definition", check.cid.to_string()))
            }
            Err(other) => Err(Refusal::new(Problem::SchemaViolation, other.to_string())),
        }
    }
}

/// The verbs by which definitions come and go.
pub(super) fn manages(verb: &str) -> bool {
    matches!(verb, "Add" | "Remove" | "Undo") || Kind::of_type(verb).is_some()
}

/// One definition that a document must pass.
struct Check<'a> {
    cid: Cid,
    definition: Value,
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
