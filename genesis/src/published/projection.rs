//! What a published projection does with one activity.

use std::sync::Arc;

use fedsx_kernel::state::{StateError, StateView};
use serde_json::Value;

use super::{Seen, When, program};
use crate::definition::{Definition, DefinitionError};
use crate::script::{Program, ScriptError, Scripts};

/// The most parts of a key.
pub const MAX_KEY_PARTS: usize = 8;
/// The longest part of a key, in bytes.
pub const MAX_PART_BYTES: usize = 256;
/// The key of a projection that has no script for keys.
const ONLY_KEY: &str = "all";

/// Whose activities are folded, and who may read what comes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Activities that anyone may read; readable by anyone.
    Public,
    /// What the owner published and received; readable by the owner.
    Owner,
}

/// A projection as its definition says.
///
/// `{name, key, initial, fold, when, visibility, engine}`: `key` gives the key of the part of the
/// state that an activity is folded into (a text, a number, a truth value, or a list of them;
/// nothing where the activity is none of its business), `fold` changes the variable `state`,
/// which is `initial` before the first time. State that becomes nothing is removed.
#[derive(Clone)]
pub struct Projection {
    when: When,
    key: Option<Arc<dyn Program>>,
    initial: Value,
    fold: Arc<dyn Program>,
    sight: Sight,
}

impl Projection {
    /// Reads a definition, and compiles its scripts.
    ///
    /// # Errors
    /// Members that cannot be used.
    pub fn read(definition: &Definition, scripts: &Scripts) -> Result<Self, DefinitionError> {
        let fail = |member, reason: &str| DefinitionError::Member(member, reason.to_owned());
        let when = When::read(definition, scripts)?;
        if when.subscription().is_some() {
            return Err(fail("when", "subscription: projections have no subscribers"));
        }
        let key = definition.get("key").map(|key| program(definition, scripts, "key", key));
        let fold = definition.get("fold").unwrap_or(&Value::Null);
        let sight = match definition.get("visibility").map(Value::as_str) {
            None | Some(Some("public")) => Sight::Public,
            Some(Some("private")) => Sight::Owner,
            Some(_) => return Err(fail("visibility", "must be public or private")),
        };
        Ok(Self {
            when,
            key: key.transpose()?,
            initial: definition.get("initial").cloned().unwrap_or(Value::Null),
            fold: program(definition, scripts, "fold", fold)?,
            sight,
        })
    }

    /// The same, seeing subtypes of the types that it names, too; and which these are.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn widened(mut self, state: &dyn StateView) -> Result<(Self, Vec<String>), StateError> {
        let more = self.when.widen(state)?;
        Ok((self, more))
    }

    /// Whose activities are folded.
    pub fn sight(&self) -> Sight {
        self.sight
    }

    /// Which activities are folded.
    pub fn when(&self) -> &When {
        &self.when
    }

    /// The key of the state that an activity is folded into, if it is folded.
    ///
    /// # Errors
    /// Where a script fails, or what it gives is no key.
    pub fn key(&self, seen: &Seen) -> Result<Option<Vec<String>>, ScriptError> {
        if !self.when.lets(seen)? {
            return Ok(None);
        }
        match &self.key {
            Some(key) => parts(seen.run(&**key, None)?.value),
            None => Ok(Some(vec![ONLY_KEY.to_owned()])),
        }
    }

    /// The state that comes after an activity; `Null` where none is left.
    ///
    /// # Errors
    /// Where the script fails.
    pub fn fold(&self, before: Option<&Value>, seen: &Seen) -> Result<Value, ScriptError> {
        let state = before.unwrap_or(&self.initial);
        Ok(seen.run(&*self.fold, Some(state))?.state)
    }
}

fn parts(value: Value) -> Result<Option<Vec<String>>, ScriptError> {
    let refuse = |reason: String| Err(ScriptError::Output(format!("a key {reason}")));
    let values = match value {
        Value::Null => return Ok(None),
        Value::Array(values) => values,
        one => vec![one],
    };
    if values.is_empty() || values.len() > MAX_KEY_PARTS {
        return refuse(format!("has 1 to {MAX_KEY_PARTS} parts"));
    }
    let mut parts = Vec::new();
    for value in values {
        let part = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(held) => held.to_string(),
            _ => return refuse("is made of texts, numbers and truth values".into()),
        };
        // What begins so is hidden from queries.
        if part.is_empty() || part.len() > MAX_PART_BYTES || part.starts_with('~') {
            return refuse(format!(
                "has parts of 1 to {MAX_PART_BYTES} bytes that do not begin with ~"
            ));
        }
        parts.push(part);
    }
    Ok(Some(parts))
}
