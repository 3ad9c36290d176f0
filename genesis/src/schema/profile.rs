//! Which schemas are taken, and what a check with them may cost.
//!
//! A JSON Schema of a few lines can take longer than the age of the universe: references that
//! double at each step, or a schema that applies itself twice to each member. So references point
//! only into the same document and never around in a circle, and the schema with all references
//! written out has a limited size. That size bounds the work at every place of a document.

use std::collections::{HashMap, HashSet};

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
    let mut walk =
        Walk { root: schema, known: HashMap::new(), open: HashSet::new(), branches: false };
    let Size { cost, .. } = walk.schema(schema, 0)?;
    Ok(Measure { cost, branches: walk.branches })
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
    root: &'a Value,
    /// Sizes of what references point to.
    known: HashMap<&'a str, Size>,
    /// The references that are being followed.
    open: HashSet<&'a str>,
    branches: bool,
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
            ("$ref", Value::String(target)) => self.reference(target, depth),
            ("$dynamicRef" | "$recursiveRef" | "$dynamicAnchor" | "$recursiveAnchor", _)
            | ("$anchor" | "$vocabulary", _) => Err(format!("{keyword} is not taken")),
            ("$id" | "$schema", _) if depth > 0 => {
                Err(format!("{keyword} is only taken at the top"))
            }
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

    fn reference(&mut self, target: &'a str, depth: u32) -> Result<Size, String> {
        let pointer = target
            .strip_prefix('#')
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
            .filter(|pointer| !pointer.contains('%'))
            .ok_or_else(|| {
                format!("$ref {target:?}: only \"#/...\" into the same schema is taken")
            })?;
        if let Some(size) = self.known.get(pointer) {
            return Ok(*size);
        }
        if !self.open.insert(pointer) {
            return Err(format!("$ref {target:?}: a schema may not refer to itself"));
        }
        let schema = self
            .root
            .pointer(pointer)
            .ok_or_else(|| format!("$ref {target:?}: there is nothing there"))?;
        let mut size = Size::leaf(1);
        size.add(self.schema(schema, depth + 1)?)?;
        self.open.remove(pointer);
        self.known.insert(pointer, size);
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
