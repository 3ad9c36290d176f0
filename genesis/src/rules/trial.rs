//! What a definition would mean, without publishing it.

use std::sync::Arc;

use fedsx_kernel::log::{Entry, Meta, Record, Stream};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::state::{State, StateView};
use fedsx_kernel::{Activity, Base};
use serde_json::{Map, Value};

use super::{GenesisRules, kind_in};
use crate::definition::{Definition, Kind};
use crate::registry::Registry;

impl GenesisRules {
    /// Whether a definition could take effect now.
    ///
    /// # Errors
    /// What it would be refused with.
    pub fn check_definition(
        &self,
        state: &dyn StateView,
        definition: &Definition,
    ) -> Result<(), Refusal> {
        self.usable(definition)?;
        self.fits_in(state, definition)
    }

    /// Changes a copy of the admission state as if the instance actor had published a definition.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn assume(
        &self,
        base: &Base,
        state: &mut dyn State,
        definition: &Definition,
    ) -> Result<(), Refusal> {
        let kind = definition.document().get("type").cloned().unwrap_or(Value::Null);
        let mut content = Map::new();
        content.insert("type".into(), kind);
        content.insert("object".into(), definition.document().clone());
        self.assume_record(base, state, Stream::Outbox(self.instance.clone()), content)
    }

    pub(crate) fn assume_record(
        &self,
        base: &Base,
        state: &mut dyn State,
        stream: Stream,
        mut content: Map<String, Value>,
    ) -> Result<(), Refusal> {
        content.insert("actor".into(), self.instance_actor().into());
        let activity = Activity::seal(content)
            .map_err(|e| Refusal::new(Problem::InvalidActivity, e.to_string()))?;
        let entry = Entry {
            global_seq: u64::MAX,
            stream,
            stream_seq: 0,
            cid: *activity.cid(),
            first: true,
            meta: Meta::default(),
        };
        let record = Record { entry, activity: Arc::new(activity) };
        Registry::ADMISSION.fold(base, state, &record)?;
        Ok(())
    }

    /// How a definition that is in force in this state judges an activity; `None` where it is not
    /// asked about it.
    pub fn would_judge(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        definition: &Definition,
    ) -> Option<Result<(), Refusal>> {
        match self.is_asked(state, activity, definition) {
            Ok(false) => None,
            Ok(true) => Some(self.shape(state, activity, false, None).map(|_| ())),
            Err(refusal) => Some(Err(refusal)),
        }
    }

    fn is_asked(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        definition: &Definition,
    ) -> Result<bool, Refusal> {
        let verbs = Registry::ADMISSION.lineage(state, Kind::ActivityTypes, activity.kind())?;
        let states_object = matches!(activity.kind(), "Create" | "Update");
        let object = activity.object().filter(|_| states_object).and_then(kind_in);
        let objects = match object {
            Some(kind) => Registry::ADMISSION.lineage(state, Kind::ObjectTypes, kind)?,
            None => Vec::new(),
        };
        let name = definition.name();
        let has = |types: &[String], name: &str| types.iter().any(|one| one == name);
        Ok(match definition.kind() {
            Kind::ActivityTypes => has(&verbs, name),
            Kind::ObjectTypes => has(&objects, name),
            Kind::Subtypes => has(&verbs, name) || has(&objects, name),
            Kind::Validators => {
                let checks = definition.validates();
                checks.activity.iter().any(|verb| has(&verbs, verb))
                    || checks.object.iter().any(|one| has(&objects, one))
            }
            _ => false,
        })
    }
}
