//! Which schemas are taken, and what a check with them may cost.
//!
//! A JSON Schema of a few lines can take longer than the age of the universe: references that
//! double at each step, or a schema that applies itself twice to each member. So references point
//! only into the same document, never back to where they stand without having gone down into the
//! instance, and the schema with all other references written out has a limited size. That size
//! bounds the work at every place of a document; what a schema that refers to itself costs is
//! counted for each document ([`super::work`]).

use std::collections::{HashMap, HashSet};

use super::targets::Targets;

use serde_json::{Map, Value};

/// The largest schema, in bytes of JSON.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// The largest cost of a schema: the keywords and listed values of it and of everything that it
/// refers to, each reference counted anew; a pattern counts 64, and `unevaluated*`
/// counts everything beside and below it four times.
pub const MAX_COST: u32 = 4_096;

const PATTERN_COST: u32 = 64;
const UNEVALUATED_FACTOR: u32 = 4;
/// The deepest nesting with all references written out.
const MAX_NESTING: u32 = 128;
/// The same for a schema that refers to itself, which begins anew at each level of a document.
const MAX_NESTING_RECURSIVE: u32 = 32;
/// The draft, with and without the empty fragment that some write.
const DRAFTS: [&str; 2] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2020-12/schema#",
];

/// What was found out about a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measure {
    /// See [`MAX_COST`].
    pub cost: u32,
    /// Whether `anyOf` or `oneOf` occur.
    pub branches: bool,
    /// Whether it refers to itself.
    pub recursive: bool,
}

/// Measures a schema; an error says why it is not taken.
pub(super) fn measure(schema: &Value) -> Result<Measure, String> {
    let bytes = schema.to_string().len();
    if bytes > MAX_SCHEMA_BYTES {
        return Err(format!("it has {bytes} bytes; at most {MAX_SCHEMA_BYTES} are taken"));
    }
    if let Some(draft) = schema.get("$schema")
        && !draft.as_str().is_some_and(|draft| DRAFTS.contains(&draft))
    {
        return Err(format!("$schema must be {:?} or absent", DRAFTS[0]));
    }
    let targets = Targets::of(schema)?;
    targets.end_in_place(schema)?;
    let mut walk = Walk {
        targets: &targets,
        known: HashMap::new(),
        open: HashSet::from([std::ptr::from_ref(schema)]),
        branches: false,
        recursive: false,
    };
    let Size { cost, height } = walk.schema(schema, 0)?;
    if walk.recursive && height > MAX_NESTING_RECURSIVE {
        return Err(format!(
            "it refers to itself, and nests deeper than {MAX_NESTING_RECURSIVE} on the way"
        ));
    }
    Ok(Measure { cost, branches: walk.branches, recursive: walk.recursive })
}

#[derive(Clone, Copy, Default)]
struct Size {
    cost: u32,
    height: u32,
}

impl Size {
    fn leaf(cost: u32) -> Self {
        Self { cost, height: 0 }
    }

    fn add(&mut self, inner: Self) -> Result<(), String> {
        self.cost = self.cost.saturating_add(inner.cost);
        self.height = self.height.max(inner.height.saturating_add(1));
        self.checked().map(|_| ())
    }

    fn checked(self) -> Result<Self, String> {
        if self.height > MAX_NESTING {
            return Err(too_deep());
        }
        if self.cost > MAX_COST {
            return Err(format!("it costs too much to check: more than {MAX_COST} keywords"));
        }
        Ok(self)
    }
}

fn too_deep() -> String {
    format!("it nests deeper than {MAX_NESTING} with its references")
}

struct Walk<'a> {
    targets: &'a Targets<'a>,
    /// Sizes of what references point to.
    known: HashMap<*const Value, Size>,
    /// What the references that are being followed point to.
    open: HashSet<*const Value>,
    branches: bool,
    recursive: bool,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, schema: &'a Value, depth: u32) -> Result<Size, String> {
        if depth > MAX_NESTING {
            return Err(too_deep());
        }
        let Value::Object(members) = schema else { return Ok(Size::leaf(1)) };
        let mut size = Size::default();
        let mut factor = 1;
        for (keyword, value) in members {
            if keyword.starts_with("unevaluated") {
                factor = UNEVALUATED_FACTOR;
            }
            let inner = self.keyword(keyword, value, depth)?;
            size.add(inner)?;
        }
        size.cost = size.cost.saturating_mul(factor);
        size.checked()
    }

    fn keyword(&mut self, keyword: &str, value: &'a Value, depth: u32) -> Result<Size, String> {
        match (keyword, value) {
            ("$ref" | "$dynamicRef", Value::String(target)) => self.reference(target, depth),
            ("$recursiveRef" | "$recursiveAnchor" | "$vocabulary", _) => {
                Err(format!("{keyword} is not taken"))
            }
            ("$anchor" | "$dynamicAnchor", _) => Ok(Size::leaf(0)),
            ("$id" | "$schema", _) => Ok(Size::leaf(0)),
            ("$defs" | "definitions", Value::Object(definitions)) => {
                self.members(definitions, depth)?;
                Ok(Size::leaf(0))
            }
            ("properties" | "dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                self.members(schemas, depth)
            }
            ("patternProperties", Value::Object(schemas)) => {
                let mut size = self.members(schemas, depth)?;
                let patterns = u32::try_from(schemas.len()).unwrap_or(u32::MAX);
                size.cost = size.cost.saturating_add(patterns.saturating_mul(PATTERN_COST));
                size.checked()
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                self.branches |= matches!(keyword, "anyOf" | "oneOf");
                let mut size = Size::leaf(1);
                for schema in schemas {
                    size.add(self.schema(schema, depth + 1)?)?;
                }
                Ok(size)
            }
            ("pattern", _) => Ok(Size::leaf(PATTERN_COST)),
            (
                "items"
                | "contains"
                | "additionalItems"
                | "unevaluatedItems"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "propertyNames"
                | "not"
                | "if"
                | "then"
                | "else"
                | "contentSchema",
                schema,
            ) => {
                let mut size = Size::leaf(1);
                size.add(self.schema(schema, depth + 1)?)?;
                Ok(size)
            }
            // Annotations are never looked at, whatever they hold.
            ("default" | "examples" | "title" | "description" | "$comment", _) => Ok(Size::leaf(0)),
            (_, value) => Ok(Size::leaf(values_in(value))),
        }
    }

    fn members(&mut self, schemas: &'a Map<String, Value>, depth: u32) -> Result<Size, String> {
        let mut size = Size::leaf(1);
        for schema in schemas.values() {
            size.add(self.schema(schema, depth + 1)?)?;
        }
        Ok(size)
    }

    fn reference(&mut self, target: &str, depth: u32) -> Result<Size, String> {
        let schema = self.targets.find(target)?;
        let place = std::ptr::from_ref(schema);
        if let Some(size) = self.known.get(&place) {
            return Ok(*size);
        }
        if !self.open.insert(place) {
            // Somewhere on the way it went down into the instance, so this ends.
            self.recursive = true;
            return Ok(Size::leaf(1));
        }
        let mut size = Size::leaf(1);
        size.add(self.schema(schema, depth + 1)?)?;
        self.open.remove(&place);
        self.known.insert(place, size);
        Ok(size)
    }
}

fn values_in(value: &Value) -> u32 {
    let inner = match value {
        Value::Array(items) => items.iter().map(values_in).fold(0, u32::saturating_add),
        Value::Object(members) => members.values().map(values_in).fold(0, u32::saturating_add),
        _ => 0,
    };
    inner.saturating_add(1)
}
