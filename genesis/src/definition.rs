//! Definitions: the documents that name verbs, object types, projections and the like.
//!
//! A definition has one form everywhere: as a file of the genesis bundle, and as the `object` of
//! a published `Define*` activity. It is a JSON object with `type` (which says the registry kind),
//! `name`, an optional `summary`, and members that depend on the kind, such as `schema`.

use fedsx_kernel::Cid;
use fedsx_kernel::canonical::{self, CanonicalError};
use serde_json::{Map, Value};
use thiserror::Error;

mod audience;
mod kind;
mod members;
#[cfg(test)]
mod tests;

pub use audience::{AudienceToken, RefersTo};
pub use kind::{Kind, KindError};
pub use members::{MAX_IDS, MAX_NAMES, Validates};

/// The largest definition, in bytes of its canonical DAG-CBOR.
pub const MAX_DEFINITION_BYTES: usize = 64 * 1024;
/// The longest name of a definition, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The longest summary of a definition, in characters.
pub const MAX_SUMMARY_CHARS: usize = 5_000;

/// Why a document is not a definition.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// Not a JSON object.
    #[error("a definition is a JSON object")]
    NotAnObject,
    /// `type` is missing or names no kind of definition.
    #[error("type: {0:?} is not a kind of definition")]
    UnknownType(String),
    /// The activity and the definition in it say different types.
    #[error("type: the activity says {activity:?}, the definition {definition:?}")]
    TypeDiffers {
        /// The type of the activity.
        activity: String,
        /// The type of its object.
        definition: String,
    },
    /// A member has an impossible value.
    #[error("{0}: {1}")]
    Member(&'static str, String),
    /// More bytes than [`MAX_DEFINITION_BYTES`].
    #[error("the definition has {0} bytes; at most {MAX_DEFINITION_BYTES} are taken")]
    TooLarge(usize),
    /// No canonical encoding exists.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

/// One definition, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    kind: Kind,
    name: String,
    cid: Cid,
    bytes: usize,
    audience: Vec<AudienceToken>,
    refers_to: RefersTo,
    supertypes: Vec<String>,
    validates: Validates,
    document: Value,
}

impl Definition {
    /// Reads a definition; the document must be in normal form ([`fedsx_kernel::json`]).
    ///
    /// The schema is only checked to be an object or a boolean; whether it is a valid JSON Schema
    /// is for [`crate::schema::Schemas::accepts`] to say.
    pub fn parse(document: &Value) -> Result<Self, DefinitionError> {
        let members = document.as_object().ok_or(DefinitionError::NotAnObject)?;
        let type_name = members.get("type").and_then(Value::as_str).unwrap_or_default();
        let kind = Kind::of_type(type_name)
            .ok_or_else(|| DefinitionError::UnknownType(shortened(type_name)))?;
        let block = canonical::to_dag_cbor(document)?;
        if block.len() > MAX_DEFINITION_BYTES {
            return Err(DefinitionError::TooLarge(block.len()));
        }
        check_summary(members)?;
        check_schema(members)?;
        members::check(kind, members)?;
        let is_verb = kind == Kind::ActivityTypes;
        let name = name_in(members)?;
        Ok(Self {
            kind,
            supertypes: members::supertypes_in(kind, &name, members)?,
            validates: members::validates_in(kind, members)?,
            name,
            cid: Cid::of_block(&block),
            bytes: block.len(),
            audience: if is_verb { audience_in(members)? } else { Vec::new() },
            refers_to: if is_verb { refers_to_in(members)? } else { RefersTo::Activity },
            document: document.clone(),
        })
    }

    /// Reads the definition that an activity of this `type` publishes as its `object`.
    ///
    /// A definition without a `type` takes that of the activity; with one, both must be the same.
    pub fn published(activity_type: &str, object: &Value) -> Result<Self, DefinitionError> {
        let members = object.as_object().ok_or(DefinitionError::NotAnObject)?;
        match members.get("type") {
            Some(Value::String(own)) if own == activity_type => Self::parse(object),
            Some(own) => Err(DefinitionError::TypeDiffers {
                activity: shortened(activity_type),
                definition: shortened(own.as_str().unwrap_or_default()),
            }),
            None => {
                let mut members = members.clone();
                members.insert("type".into(), Value::from(activity_type));
                Self::parse(&Value::Object(members))
            }
        }
    }

    /// What it defines.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name, unique within the kind.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The CID of the document.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// How long its canonical DAG-CBOR is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The whole document.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// A member of the document by name.
    pub fn get(&self, member: &str) -> Option<&Value> {
        self.document.get(member)
    }

    /// One sentence for people.
    pub fn summary(&self) -> Option<&str> {
        self.get("summary").and_then(Value::as_str)
    }

    /// The JSON Schema: of the whole activity for a verb, of the object for an object type.
    pub fn schema(&self) -> Option<&Value> {
        self.get("schema")
    }

    /// Who receives an activity of this verb when its author names nobody. A verb whose definition
    /// does not say is for the public and the followers, as `Create` is; `[]` means nobody. Empty
    /// for everything that is not a verb.
    pub fn audience(&self) -> &[AudienceToken] {
        &self.audience
    }

    /// What a bare CID in `object` of this verb stands for.
    pub fn refers_to(&self) -> RefersTo {
        self.refers_to
    }

    /// The types that what it defines is also of: `subtypeOf` of a type, `of` of a `SubtypeOf`.
    pub fn supertypes(&self) -> &[String] {
        &self.supertypes
    }

    /// What a validator checks beside the types' own schemas.
    pub fn validates(&self) -> &Validates {
        &self.validates
    }

    /// The recipients of an audience, as its author wrote them: ids of actors and collections,
    /// names of hosted actors, `Public`, `Followers`, and `audience:NAME` for another audience.
    pub fn ids(&self) -> Vec<&str> {
        let ids = self.get("ids").and_then(Value::as_array);
        ids.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The script that decides whether a document passes, of a validator.
    pub fn guard(&self) -> Option<&str> {
        self.get("guard").and_then(Value::as_str)
    }

    /// Whether the implementation is part of the program (`builtin`), not of the document.
    pub fn is_builtin(&self) -> bool {
        self.get("builtin").and_then(Value::as_bool).unwrap_or(false)
    }
}

fn name_in(members: &Map<String, Value>) -> Result<String, DefinitionError> {
    let fail = |reason: String| DefinitionError::Member("name", reason);
    let name = members
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| fail("must be a string".into()))?;
    if !check_name(name) {
        return Err(fail(format!(
            "{:?} is not 1 to {MAX_NAME_BYTES} of A-Z, a-z, 0-9, '_', ':' and '-'",
            shortened(name)
        )));
    }
    Ok(name.to_owned())
}

fn check_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b':' | b'-');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(plain)
}

fn check_summary(members: &Map<String, Value>) -> Result<(), DefinitionError> {
    let fits = match members.get("summary") {
        None => true,
        Some(Value::String(text)) => text.chars().count() <= MAX_SUMMARY_CHARS,
        Some(_) => false,
    };
    if fits {
        return Ok(());
    }
    let reason = format!("must be a string of at most {MAX_SUMMARY_CHARS} characters");
    Err(DefinitionError::Member("summary", reason))
}

fn check_schema(members: &Map<String, Value>) -> Result<(), DefinitionError> {
    match members.get("schema") {
        None | Some(Value::Object(_) | Value::Bool(_)) => Ok(()),
        Some(_) => Err(DefinitionError::Member("schema", "must be an object or a boolean".into())),
    }
}

fn audience_in(members: &Map<String, Value>) -> Result<Vec<AudienceToken>, DefinitionError> {
    let fail = |reason: String| DefinitionError::Member("audience", reason);
    let tokens = match members.get("audience") {
        None => return Ok(vec![AudienceToken::Public, AudienceToken::Followers]),
        Some(Value::Array(tokens)) => tokens,
        Some(_) => return Err(fail("must be an array".into())),
    };
    let mut audience = Vec::new();
    for value in tokens {
        let token = AudienceToken::read(value).ok_or_else(|| {
            let known = AudienceToken::ALL.map(AudienceToken::as_str).join(", ");
            let found = value
                .as_str()
                .map_or_else(|| "a value".into(), |text| format!("{:?}", shortened(text)));
            fail(format!("{found} is not one of {known}"))
        })?;
        if !audience.contains(&token) {
            audience.push(token);
        }
    }
    Ok(audience)
}

fn refers_to_in(members: &Map<String, Value>) -> Result<RefersTo, DefinitionError> {
    match members.get("refersTo") {
        None => Ok(RefersTo::default()),
        Some(Value::String(text)) if text == "activity" => Ok(RefersTo::Activity),
        Some(Value::String(text)) if text == "object" => Ok(RefersTo::Object),
        Some(_) => {
            let reason = "must be \"activity\" or \"object\"".into();
            Err(DefinitionError::Member("refersTo", reason))
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_NAME_BYTES + 1).collect()
}
