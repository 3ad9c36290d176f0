//! JSON Schema checks of activities and objects.
//!
//! Shapes are JSON Schema, draft 2020-12, with restrictions: nothing is fetched, patterns run in
//! linear time, a reference that leads back to itself goes down into the document on its way, and
//! what a check may cost is counted before it runs. Definitions come from people, and some from
//! other servers.

use std::fmt;
use std::sync::Arc;

use fedsx_kernel::Cid;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use moka::sync::Cache;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

mod profile;
mod targets;
#[cfg(test)]
mod tests;
mod work;

pub use profile::{MAX_COST, MAX_SCHEMA_BYTES};
pub use work::MAX_WORK;

/// The most violations that one check reports.
pub const MAX_VIOLATIONS: usize = 8;
/// The longest message of a violation, in characters.
pub const MAX_MESSAGE_CHARS: usize = 300;

/// The cost of all schemas that are kept compiled ([`MAX_COST`] says what is counted).
const CACHED_COST: u64 = 512 * 1024;
/// The largest compiled pattern and the largest cache for running it, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;
/// Up to this product of schema cost and values in the instance, every violation is collected.
const FULL_REPORT: u64 = 250_000;

/// One way in which a document does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Where in the document (JSON Pointer, RFC 6901; empty for the whole document).
    pub instance_path: String,
    /// Which keyword of the schema refuses it (JSON Pointer).
    pub schema_path: String,
    /// What is wrong, at most [`MAX_MESSAGE_CHARS`] characters. It does not repeat the value.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place =
            if self.instance_path.is_empty() { "the document" } else { &self.instance_path };
        write!(f, "{place}: {}", self.message)
    }
}

/// Why a document was refused by a schema, or a schema by us.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The document does not fit; 1 to [`MAX_VIOLATIONS`] reasons.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Violations(Vec<Violation>),
    /// The schema itself is not valid, or not in the profile.
    #[error("the schema is not valid: {0}")]
    Invalid(String),
}

/// Compiled schemas, kept by the CID of their definition.
///
/// Clones share one cache; its size is bounded by the cost of what it holds.
#[derive(Clone)]
pub struct Schemas {
    compiled: Cache<Cid, Arc<Result<Compiled, String>>>,
}

impl Schemas {
    /// An empty cache.
    pub fn new() -> Self {
        let compiled = Cache::builder()
            .max_capacity(CACHED_COST)
            .weigher(|_: &Cid, entry: &Arc<Result<Compiled, String>>| match entry.as_ref() {
                Ok(compiled) => compiled.cost,
                Err(_) => 1,
            })
            .build();
        Self { compiled }
    }

    /// Checks a document against the schema of the definition `cid`.
    ///
    /// One CID must always come with the same schema: the compiled form is kept by it. The size
    /// of the instance is the caller's to limit.
    pub fn check(&self, cid: &Cid, schema: &Value, instance: &Value) -> Result<(), SchemaError> {
        let entry = self.compiled.get_with(*cid, || Arc::new(Compiled::new(schema)));
        match entry.as_ref() {
            Ok(compiled) => compiled.check(instance),
            Err(reason) => Err(SchemaError::Invalid(reason.clone())),
        }
    }

    /// Whether a schema could be used here, for definitions that are about to be published or
    /// adopted. The only error is [`SchemaError::Invalid`].
    pub fn accepts(&self, schema: &Value) -> Result<(), SchemaError> {
        Compiled::new(schema).map(|_| ()).map_err(SchemaError::Invalid)
    }
}

impl Default for Schemas {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schemas").field("entries", &self.compiled.entry_count()).finish()
    }
}

struct Compiled {
    validator: Validator,
    cost: u32,
    /// Whether `anyOf` or `oneOf` occur: their reports hold those of every branch.
    branches: bool,
    recursive: bool,
    schema: Value,
}

impl Compiled {
    fn new(schema: &Value) -> Result<Self, String> {
        let profile::Measure { cost, branches, recursive } =
            profile::measure(schema).map_err(|reason| bounded(&reason))?;
        let patterns =
            PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(patterns)
            .offline()
            .build(schema)
            .map_err(|e| bounded(&e.to_string()))?;
        Ok(Self { validator, cost, branches, recursive, schema: schema.clone() })
    }

    fn check(&self, instance: &Value) -> Result<(), SchemaError> {
        let mut effort = u64::from(self.cost).saturating_mul(values_in(instance));
        if self.recursive || effort > MAX_WORK {
            // The bound is coarse, or none: the work for this very document is counted.
            effort = work::of(&self.schema, instance).ok_or_else(|| {
                let message = format!("checking it takes more than {MAX_WORK} steps");
                let (instance_path, schema_path) = (String::new(), String::new());
                SchemaError::Violations(vec![Violation { instance_path, schema_path, message }])
            })?;
        }
        if self.validator.is_valid(instance) {
            return Ok(());
        }
        // The verdict costs no memory, but the library collects all violations before it yields
        // the first. A large document that is wrong everywhere must not become many of them.
        let violations = if effort <= FULL_REPORT {
            self.validator.iter_errors(instance).take(MAX_VIOLATIONS).map(violation).collect()
        } else if self.branches {
            Vec::new()
        } else {
            self.validator.validate(instance).err().map(violation).into_iter().collect()
        };
        Err(SchemaError::Violations(if violations.is_empty() {
            vec![Violation {
                instance_path: String::new(),
                schema_path: String::new(),
                message: "does not fit the schema, and is too large to list where".into(),
            }]
        } else {
            violations
        }))
    }
}

fn violation(error: ValidationError<'_>) -> Violation {
    Violation {
        instance_path: bounded(error.instance_path().as_str()),
        schema_path: bounded(error.schema_path().as_str()),
        message: bounded(&error.masked_with("the value").to_string()),
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}

fn values_in(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(values_in).sum::<u64>() + 1,
        Value::Object(members) => members.values().map(values_in).sum::<u64>() + 1,
        _ => 1,
    }
}
