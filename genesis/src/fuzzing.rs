//! What must hold for arbitrary bytes: the functions that fuzz targets and property tests call.
//!
//! A broken promise panics; nothing else does.

use std::fmt::Debug;

use fedsx_kernel::{Cid, json};
use serde_json::Value;

use crate::schema::{MAX_VIOLATIONS, SchemaError, Schemas};
use crate::script::{Input, LANGUAGE, Scripts};

/// A JSON array of a schema and an instance: whatever they are, there is a verdict, the same one
/// twice, and it names a bounded number of reasons.
///
/// # Panics
/// Where that does not hold.
pub fn schema(data: &[u8]) {
    let Ok(Value::Array(both)) = json::parse(data) else { return };
    let [schema, instance] = both.as_slice() else { return };
    let Ok(cid) = Cid::of(schema) else { return };
    let verdict = || match Schemas::new().check(&cid, schema, instance) {
        Ok(()) => Ok(()),
        Err(SchemaError::Violations(violations)) => {
            assert!((1..=MAX_VIOLATIONS).contains(&violations.len()), "{violations:?}");
            Err(format!("{violations:?}"))
        }
        Err(other) => Err(other.to_string()),
    };
    same(&verdict(), &verdict());
}

/// The text of a script: whatever it is, it ends, in the same way twice.
///
/// # Panics
/// Where that does not hold.
pub fn script(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let state = serde_json::json!({ "count": 1, "list": [1, "two", null], "map": { "a": true } });
    let activity = serde_json::json!({ "type": "Note", "content": "x", "tag": ["a", "b"] });
    let run = || {
        let program = Scripts::new().compile(LANGUAGE, source).map_err(|e| e.to_string())?;
        let given = [("activity", &activity)];
        program.run(Input { state: Some(&state), given: &given }).map_err(|e| e.to_string())
    };
    same(&run(), &run());
}

fn same<T: PartialEq + Debug>(first: &T, second: &T) {
    assert_eq!(first, second, "the same twice");
}
