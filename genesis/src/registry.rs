//! The registry as the admission state keeps it: which definition is in force under a name.

use fedsx_kernel::Cid;
use fedsx_kernel::state::{self, State, StateError, StateView, key, prefix};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::{Definition, Kind};

/// A definition that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// The CID of the definition document.
    pub cid: Cid,
    /// The document.
    pub document: Value,
    /// Where it comes from: `genesis`, or the id of the activity that published it.
    pub origin: String,
}

impl InForce {
    /// Reads the document as a definition.
    pub fn definition(&self) -> Result<Definition, StateError> {
        Definition::parse(&self.document)
            .map_err(|e| StateError::Shape { key: self.cid.to_string(), reason: e.to_string() })
    }
}

/// The definition in force under a name.
pub fn find(state: &dyn StateView, kind: Kind, name: &str) -> Result<Option<InForce>, StateError> {
    state::get_as(state, &key(&["def", kind.as_str(), name]))
}

/// Every definition of a kind that is in force, at most `limit`.
pub fn all(
    state: &dyn StateView,
    kind: Kind,
    limit: usize,
) -> Result<Vec<(String, InForce)>, StateError> {
    let entries = state.scan(&prefix(&["def", kind.as_str()]), None, limit)?;
    entries
        .into_iter()
        .map(|(key, value)| {
            let name = state::parts(&key).pop().unwrap_or_default();
            serde_json::from_value(value)
                .map(|found| (name, found))
                .map_err(|e| StateError::Shape { key, reason: e.to_string() })
        })
        .collect()
}

/// Puts a definition into force.
pub(crate) fn put(
    state: &mut dyn State,
    definition: &Definition,
    origin: &str,
) -> Result<(), StateError> {
    let entry = InForce {
        cid: *definition.cid(),
        document: definition.document().clone(),
        origin: origin.to_owned(),
    };
    state::put_as(state, &key(&["def", definition.kind().as_str(), definition.name()]), &entry)
}
