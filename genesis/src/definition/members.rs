//! Members that only some kinds have: supertypes, what a validator checks, whom an audience has.

use serde_json::{Map, Value};

use super::{DefinitionError, Kind, MAX_NAME_BYTES, check_name, shortened};

/// The most names in a list of types.
pub const MAX_NAMES: usize = 16;
/// The most recipients that a definition of an audience lists.
pub const MAX_IDS: usize = 1_000;
/// The longest recipient, in bytes.
const MAX_ID_BYTES: usize = 2_048;

/// Which documents a validator checks; empty for a schema that only has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validates {
    /// Verbs: the whole activity is checked.
    pub activity: Vec<String>,
    /// Types of objects: the object of a `Create` or `Update` is checked.
    pub object: Vec<String>,
}

/// The types that a definition says its own is of.
pub(super) fn supertypes_in(
    kind: Kind,
    name: &str,
    members: &Map<String, Value>,
) -> Result<Vec<String>, DefinitionError> {
    let member = match kind {
        Kind::ActivityTypes | Kind::ObjectTypes => "subtypeOf",
        Kind::Subtypes => "of",
        _ => return Ok(Vec::new()),
    };
    let names = names_in(member, members.get(member))?;
    if names.is_empty() && kind == Kind::Subtypes {
        return Err(DefinitionError::Member(member, "must name a type".into()));
    }
    if names.iter().any(|other| other == name) {
        let reason = format!("{name:?} is not a subtype of itself");
        return Err(DefinitionError::Member(member, reason));
    }
    Ok(names)
}

pub(super) fn validates_in(
    kind: Kind,
    members: &Map<String, Value>,
) -> Result<Validates, DefinitionError> {
    let fail = |reason: &str| DefinitionError::Member("validates", reason.to_owned());
    let validates = match members.get("validates") {
        None => return Ok(Validates::default()),
        Some(_) if kind != Kind::Validators => return Ok(Validates::default()),
        Some(Value::Object(validates)) => validates,
        Some(_) => return Err(fail("must be an object with activity or object")),
    };
    if validates.is_empty() || validates.keys().any(|key| key != "activity" && key != "object") {
        return Err(fail("must have activity, object, or both, and nothing else"));
    }
    Ok(Validates {
        activity: names_in("validates.activity", validates.get("activity"))?,
        object: names_in("validates.object", validates.get("object"))?,
    })
}

/// What a kind cannot be without.
pub(super) fn check(kind: Kind, members: &Map<String, Value>) -> Result<(), DefinitionError> {
    match kind {
        Kind::Validators => {
            let guard = match members.get("guard") {
                None => false,
                Some(Value::String(guard)) if !guard.is_empty() => true,
                Some(_) => {
                    let reason = "must be the text of a script".into();
                    return Err(DefinitionError::Member("guard", reason));
                }
            };
            if !guard && !members.contains_key("schema") {
                let reason = "a validator has a schema, a guard, or both".into();
                return Err(DefinitionError::Member("schema", reason));
            }
            if guard && !members.contains_key("validates") {
                let reason = "a guard says what it validates".into();
                return Err(DefinitionError::Member("validates", reason));
            }
            Ok(())
        }
        Kind::Audiences => check_ids(members),
        _ => Ok(()),
    }
}

fn check_ids(members: &Map<String, Value>) -> Result<(), DefinitionError> {
    let fail = |reason: String| Err(DefinitionError::Member("ids", reason));
    let ids = match members.get("ids") {
        // A subscription has those who subscribe.
        None => return Ok(()),
        Some(Value::Array(ids)) => ids,
        Some(_) => return fail("must be an array".into()),
    };
    if ids.len() > MAX_IDS {
        return fail(format!("{} recipients; at most {MAX_IDS} are taken", ids.len()));
    }
    let fits =
        |id: &Value| id.as_str().is_some_and(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES);
    if !ids.iter().all(fits) {
        return fail("recipients are ids of actors and collections".into());
    }
    Ok(())
}

/// One name or a list of names.
fn names_in(member: &'static str, value: Option<&Value>) -> Result<Vec<String>, DefinitionError> {
    let fail = |reason: String| DefinitionError::Member(member, reason);
    let values: Vec<&Value> = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().collect(),
        Some(one) => vec![one],
    };
    if values.is_empty() || values.len() > MAX_NAMES {
        return Err(fail(format!("must have 1 to {MAX_NAMES} names")));
    }
    let mut names: Vec<String> = Vec::new();
    for value in values {
        let name =
            value.as_str().ok_or_else(|| fail("must be a name, or a list of them".into()))?;
        if !check_name(name) {
            return Err(fail(format!(
                "{:?} is not 1 to {MAX_NAME_BYTES} of A-Z, a-z, 0-9, '_', ':' and '-'",
                shortened(name)
            )));
        }
        if !names.iter().any(|held| held == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
