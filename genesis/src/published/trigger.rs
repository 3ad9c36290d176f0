//! What a trigger publishes when an activity sets it off.

use std::sync::Arc;

use fedsx_kernel::activity::{id_of, kind_of};
use fedsx_kernel::state::{StateError, StateView};
use serde_json::{Map, Value};

use super::{Seen, When, program};
use crate::definition::{Definition, DefinitionError, Kind};
use crate::script::{Program, ScriptError, Scripts};

/// The most activities that one trigger publishes for one cause.
pub const MAX_REQUESTS: usize = 16;

/// A trigger as its definition says.
///
/// `{name, when, then, engine}`: `then` is a publish request, a list of them, or a script that
/// gives one, a list, or nothing. A request may stand in a member `publish`.
#[derive(Clone)]
pub struct Trigger {
    when: When,
    then: Then,
}

#[derive(Clone)]
enum Then {
    Requests(Vec<Map<String, Value>>),
    Script(Arc<dyn Program>),
}

impl Trigger {
    /// Reads a definition, and compiles its scripts.
    ///
    /// # Errors
    /// Members that cannot be used.
    pub fn read(definition: &Definition, scripts: &Scripts) -> Result<Self, DefinitionError> {
        let when = When::read(definition, scripts)?;
        let then = match definition.get("then") {
            Some(script @ Value::String(_)) => {
                Then::Script(program(definition, scripts, "then", script)?)
            }
            Some(value) => Then::Requests(
                requests(value.clone())
                    .map_err(|reason| DefinitionError::Member("then", reason))?,
            ),
            None => return Err(DefinitionError::Member("then", "is missing".into())),
        };
        Ok(Self { when, then })
    }

    /// The same, set off by subtypes of the types that it names, too.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn widened(mut self, state: &dyn StateView) -> Result<Self, StateError> {
        self.when.widen(state)?;
        Ok(self)
    }

    /// What sets it off.
    pub fn when(&self) -> &When {
        &self.when
    }

    /// What is to be published.
    ///
    /// # Errors
    /// Where the script fails, or what it gives is nothing that a trigger publishes.
    pub fn requests(&self, seen: &Seen) -> Result<Vec<Map<String, Value>>, ScriptError> {
        match &self.then {
            Then::Requests(requests) => Ok(requests.clone()),
            Then::Script(script) => {
                requests(seen.run(&**script, None)?.value).map_err(ScriptError::Output)
            }
        }
    }
}

fn requests(value: Value) -> Result<Vec<Map<String, Value>>, String> {
    let values = match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values,
        one => vec![one],
    };
    if values.len() > MAX_REQUESTS {
        return Err(format!("{} activities; at most {MAX_REQUESTS} are published", values.len()));
    }
    values.into_iter().map(request).collect()
}

fn request(value: Value) -> Result<Map<String, Value>, String> {
    let Value::Object(mut request) = value else {
        return Err("what is published is an object with a type".into());
    };
    if !request.contains_key("type")
        && let Some(Value::Object(inner)) = request.remove("publish")
    {
        request = inner;
    }
    let kind = kind_of(&request).ok_or("type: must be a string")?;
    // A trigger acts for its author by day and night; it changes neither rules nor accounts.
    let defines = Kind::of_type(kind).is_some();
    let of_actor = matches!(kind, "Update" | "Delete" | "Move") && concerns_actor(&request);
    if defines || of_actor || matches!(kind, "Block" | "DecideSetAside") {
        return Err(format!("type: a trigger publishes no {kind} of this kind"));
    }
    Ok(request)
}

/// Whether a request is about what may be an actor: only objects are made under `/objects/`.
fn concerns_actor(request: &Map<String, Value>) -> bool {
    let id = request.get("object").and_then(id_of);
    !id.is_some_and(|id| id.contains("/objects/"))
}
