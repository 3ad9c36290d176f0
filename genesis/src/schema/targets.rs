//! What the references of a schema point to: places and anchors of the same document.

use std::collections::{HashMap, HashSet};

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// The deepest schema that is looked through, and the longest way of references.
const MAX_DEPTH: u32 = 128;

/// A schema with its anchors.
pub(super) struct Targets<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
}

impl<'a> Targets<'a> {
    /// Finds the anchors of a schema. What only looks like one, in a `const` or an `enum`, is none.
    pub(super) fn of(root: &'a Value) -> Result<Self, String> {
        let mut targets = Self { root, anchors: HashMap::new() };
        targets.collect(root, 0)?;
        Ok(targets)
    }

    fn collect(&mut self, schema: &'a Value, depth: u32) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH}"));
        }
        let Value::Object(members) = schema else { return Ok(()) };
        if depth > 0
            && let Some(keyword) = ["$id", "$schema"].into_iter().find(|k| members.contains_key(*k))
        {
            return Err(format!("{keyword} is only taken at the top"));
        }
        for keyword in ["$anchor", "$dynamicAnchor"] {
            let Some(Value::String(name)) = members.get(keyword) else { continue };
            if self.anchors.insert(name, schema).is_some_and(|held| !std::ptr::eq(held, schema)) {
                return Err(format!("the anchor {name:?} stands there twice"));
            }
        }
        for (keyword, value) in members {
            for inner in parts(keyword, value).into_iter().map(|part| part.schema) {
                self.collect(inner, depth + 1)?;
            }
            if let ("$defs" | "definitions", Value::Object(definitions)) = (keyword.as_str(), value)
            {
                for inner in definitions.values() {
                    self.collect(inner, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// What a reference points to.
    pub(super) fn find(&self, target: &str) -> Result<&'a Value, String> {
        let own = self.root.get("$id").and_then(Value::as_str).map(|id| id.trim_end_matches('#'));
        let local = own.filter(|own| !own.is_empty()).and_then(|own| target.strip_prefix(own));
        let fragment = match local.unwrap_or(target) {
            "" if local.is_some() => "",
            rest => rest.strip_prefix('#').ok_or_else(|| {
                format!("$ref {target:?}: only references into the same schema are taken")
            })?,
        };
        let fragment = percent_decode_str(fragment)
            .decode_utf8()
            .map_err(|_| format!("$ref {target:?}: it is not UTF-8"))?;
        let found = if fragment.is_empty() || fragment.starts_with('/') {
            self.root.pointer(&fragment)
        } else {
            self.anchors.get(fragment.as_ref()).copied()
        };
        found.ok_or_else(|| format!("$ref {target:?}: there is nothing there"))
    }

    /// Refuses references that lead back to where they stand without going down into the
    /// instance: a check would never end.
    pub(super) fn end_in_place(&self, root: &'a Value) -> Result<(), String> {
        let mut walk = InPlace { targets: self, open: HashSet::new(), done: HashSet::new() };
        walk.everywhere(root, 0)
    }
}

struct InPlace<'a> {
    targets: &'a Targets<'a>,
    open: HashSet<*const Value>,
    done: HashSet<*const Value>,
}

impl<'a> InPlace<'a> {
    /// Starts at every schema of the document.
    fn everywhere(&mut self, schema: &'a Value, depth: u32) -> Result<(), String> {
        self.from(schema, 0)?;
        let Value::Object(members) = schema else { return Ok(()) };
        if depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH}"));
        }
        for (keyword, value) in members {
            for part in parts(keyword, value) {
                self.everywhere(part.schema, depth + 1)?;
            }
            if let ("$defs" | "definitions", Value::Object(definitions)) = (keyword.as_str(), value)
            {
                for inner in definitions.values() {
                    self.everywhere(inner, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn from(&mut self, schema: &'a Value, depth: u32) -> Result<(), String> {
        let place = std::ptr::from_ref(schema);
        if self.done.contains(&place) {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return Err(format!("its references lead deeper than {MAX_DEPTH}"));
        }
        if !self.open.insert(place) {
            return Err("it refers to itself without going down into the document".into());
        }
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            if let ("$ref" | "$dynamicRef", Value::String(target)) = (keyword.as_str(), value) {
                let schema = self.targets.find(target)?;
                self.from(schema, depth + 1)?;
            }
            for part in parts(keyword, value).into_iter().filter(|part| part.way == Way::InPlace) {
                self.from(part.schema, depth + 1)?;
            }
        }
        self.open.remove(&place);
        self.done.insert(place);
        Ok(())
    }
}

/// What of an instance a part of a schema is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// The instance itself.
    InPlace,
    /// Its member of this name.
    Member(&'a str),
    /// The item at this place.
    Item(usize),
    /// Each member.
    Members,
    /// Each item.
    Items,
    /// The name of each member.
    Names,
}

/// A schema in a keyword.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub schema: &'a Value,
    pub way: Way<'a>,
}

/// The schemas in a keyword, references apart.
pub(super) fn parts<'a>(keyword: &str, value: &'a Value) -> Vec<Part<'a>> {
    let each = |way: Way<'a>| match value {
        Value::Object(schemas) => {
            schemas.values().map(|schema| Part { schema, way }).collect::<Vec<_>>()
        }
        _ => Vec::new(),
    };
    let one = |way: Way<'a>| vec![Part { schema: value, way }];
    match (keyword, value) {
        ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
            schemas.iter().map(|schema| Part { schema, way: Way::InPlace }).collect()
        }
        ("prefixItems", Value::Array(schemas)) => schemas
            .iter()
            .enumerate()
            .map(|(place, schema)| Part { schema, way: Way::Item(place) })
            .collect(),
        ("not" | "if" | "then" | "else", _) => one(Way::InPlace),
        ("dependentSchemas" | "dependencies", _) => each(Way::InPlace),
        ("properties", Value::Object(schemas)) => {
            schemas.iter().map(|(name, schema)| Part { schema, way: Way::Member(name) }).collect()
        }
        ("patternProperties", _) => each(Way::Members),
        ("additionalProperties" | "unevaluatedProperties", _) => one(Way::Members),
        ("propertyNames", _) => one(Way::Names),
        ("items" | "contains" | "additionalItems" | "unevaluatedItems", _) => one(Way::Items),
        _ => Vec::new(),
    }
}
