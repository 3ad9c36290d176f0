//! Definitions that act: projections and triggers that were published, and subscriptions.
//!
//! Here is what they mean for one activity; who runs them over the log is elsewhere. Their
//! scripts are in the language that the member `engine` names ([`LANGUAGE`] where it is missing),
//! and are given the activity as `activity` and its CID as `cid`.

mod projection;
pub(crate) mod subscription;
#[cfg(test)]
mod tests;
mod trigger;
mod when;

use std::sync::Arc;

use fedsx_kernel::activity::Activity;
use fedsx_kernel::log::Stream;
use serde_json::Value;

use crate::definition::{Definition, DefinitionError, Kind};
use crate::records::GENESIS_ACTIVATED;
use crate::script::{Input, LANGUAGE, Program, ScriptError, Scripts};

pub use projection::{MAX_KEY_PARTS, MAX_PART_BYTES, Projection, Sight};
pub use subscription::{MAX_TOPIC_BYTES, Subscription};
pub use trigger::{MAX_REQUESTS, Trigger};
pub use when::When;

/// The language of a definition's scripts.
pub fn engine(definition: &Definition) -> &str {
    definition.get("engine").and_then(Value::as_str).unwrap_or(LANGUAGE)
}

/// Whether what a definition says could be run here, for definitions that are about to be
/// published or adopted.
///
/// # Errors
/// Members that cannot be used, such as scripts that cannot be read.
pub fn check(definition: &Definition, scripts: &Scripts) -> Result<(), DefinitionError> {
    if definition.is_builtin() {
        return Ok(());
    }
    match definition.kind() {
        Kind::Projections => Projection::read(definition, scripts).map(|_| ()),
        Kind::Triggers => Trigger::read(definition, scripts).map(|_| ()),
        Kind::Audiences => Subscription::read(definition, scripts).map(|_| ()),
        _ => Ok(()),
    }
}

/// Whether a record may change which definitions are in force.
pub fn may_redefine(stream: &Stream, activity: &Activity) -> bool {
    let kind = activity.kind();
    match stream {
        Stream::Inbox(_) => false,
        Stream::Local => kind == GENESIS_ACTIVATED,
        Stream::Outbox(_) => {
            Kind::of_type(kind).is_some() || matches!(kind, "Add" | "Remove" | "Undo" | "Delete")
        }
    }
}

/// The script in a member of a definition, compiled.
fn program(
    definition: &Definition,
    scripts: &Scripts,
    member: &'static str,
    source: &Value,
) -> Result<Arc<dyn Program>, DefinitionError> {
    let source = source
        .as_str()
        .ok_or_else(|| DefinitionError::Member(member, "must be the text of a script".into()))?;
    scripts
        .program(definition.cid(), member, engine(definition), source)
        .map_err(|e| DefinitionError::Member(member, e.to_string()))
}

/// An activity as scripts see it: without context, proof and salt, which say nothing.
pub struct Seen {
    activity: Value,
    cid: Value,
}

impl Seen {
    /// The view of an activity.
    pub fn of(activity: &Activity) -> Self {
        let mut document = activity.document().clone();
        for name in ["@context", "proof", "salt", "bto", "bcc"] {
            document.remove(name);
        }
        Self { activity: Value::Object(document), cid: activity.cid().to_string().into() }
    }

    /// Runs a script over it.
    fn run(&self, program: &dyn Program, state: Option<&Value>) -> Result<Ran, ScriptError> {
        let given = [("activity", &self.activity), ("cid", &self.cid)];
        let output = program.run(Input { state, given: &given })?;
        Ok(Ran { state: output.state, value: output.value })
    }

    /// Runs a script that says yes or no.
    fn holds(&self, program: &dyn Program) -> Result<bool, ScriptError> {
        match self.run(program, None)?.value {
            Value::Bool(held) => Ok(held),
            _ => Err(ScriptError::Output("a guard gives true or false".into())),
        }
    }
}

struct Ran {
    state: Value,
    value: Value,
}
