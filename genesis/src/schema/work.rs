//! How much work a check is, counted for one schema and one document.
//!
//! A schema that refers to itself can do everything twice at each level of a document, which is
//! too much at the sixtieth. What is counted is each keyword at each value that it is applied to,
//! as if nothing failed early; a place that is reached again counts again, but is not walked again.

use std::collections::HashMap;

use serde_json::Value;

use super::targets::{Part, Targets, Way, parts};

/// The most steps of one check.
pub const MAX_WORK: u64 = 4_000_000;
/// The most pairs of a schema and a value that are looked at to count.
const MAX_PAIRS: usize = 200_000;
/// A pattern over a text counts as this much.
const PATTERN_WORK: u64 = 16;
/// `unevaluated*` looks at everything beside it again.
const UNEVALUATED_FACTOR: u64 = 4;

/// The steps that a check takes at most; `None` where they are more than [`MAX_WORK`], or too
/// many to count.
pub(super) fn of(schema: &Value, instance: &Value) -> Option<u64> {
    let targets = Targets::of(schema).ok()?;
    let mut count = Count { targets: &targets, known: HashMap::new() };
    count.schema(schema, instance).filter(|work| *work <= MAX_WORK)
}

struct Count<'a> {
    targets: &'a Targets<'a>,
    known: HashMap<(*const Value, *const Value), u64>,
}

impl<'a> Count<'a> {
    fn schema(&mut self, schema: &'a Value, instance: &'a Value) -> Option<u64> {
        let Value::Object(members) = schema else { return Some(1) };
        let place = (std::ptr::from_ref(schema), std::ptr::from_ref(instance));
        if let Some(known) = self.known.get(&place) {
            return Some(*known);
        }
        if self.known.len() >= MAX_PAIRS {
            return None;
        }
        let (mut work, mut factor) = (1_u64, 1);
        for (keyword, value) in members {
            if keyword.starts_with("unevaluated") {
                factor = UNEVALUATED_FACTOR;
            }
            work = work.checked_add(self.keyword(keyword, value, instance)?)?;
            if work > MAX_WORK {
                return None;
            }
        }
        let work = work.saturating_mul(factor);
        self.known.insert(place, work);
        Some(work)
    }

    fn keyword(&mut self, keyword: &str, value: &'a Value, instance: &'a Value) -> Option<u64> {
        let mut work = match keyword {
            "$ref" | "$dynamicRef" => {
                match value.as_str().map(|target| self.targets.find(target)) {
                    Some(Ok(target)) => self.schema(target, instance)?,
                    _ => 1,
                }
            }
            "pattern" => PATTERN_WORK,
            "patternProperties" => {
                let patterns = value.as_object().map_or(0, serde_json::Map::len);
                PATTERN_WORK
                    .checked_mul(u64::try_from(patterns).ok()?)?
                    .checked_mul(size(instance))?
            }
            "uniqueItems" => size(instance),
            "enum" => {
                value.as_array().map_or(1, |listed| u64::try_from(listed.len()).unwrap_or(u64::MAX))
            }
            _ => 1,
        };
        for part in parts(keyword, value) {
            work = work.checked_add(self.part(part, instance)?)?;
        }
        (work <= MAX_WORK).then_some(work)
    }

    fn part(&mut self, Part { schema, way }: Part<'a>, instance: &'a Value) -> Option<u64> {
        match (way, instance) {
            (Way::InPlace, _) => self.schema(schema, instance),
            (Way::Member(name), Value::Object(members)) => match members.get(name) {
                Some(member) => self.schema(schema, member),
                None => Some(1),
            },
            (Way::Item(place), Value::Array(items)) => match items.get(place) {
                Some(item) => self.schema(schema, item),
                None => Some(1),
            },
            (Way::Members, Value::Object(members)) => self.all(schema, members.values()),
            (Way::Items, Value::Array(items)) => self.all(schema, items.iter()),
            // Names are short texts: they have no parts, and all cost the same.
            (Way::Names, Value::Object(members)) => {
                self.schema(schema, &Value::Null)?.checked_mul(u64::try_from(members.len()).ok()?)
            }
            _ => Some(1),
        }
    }

    fn all(&mut self, schema: &'a Value, values: impl Iterator<Item = &'a Value>) -> Option<u64> {
        let mut work = 0_u64;
        for value in values {
            work = work.checked_add(self.schema(schema, value)?)?;
            if work > MAX_WORK {
                return None;
            }
        }
        Some(work)
    }
}

fn size(instance: &Value) -> u64 {
    let size = match instance {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        _ => 1,
    };
    u64::try_from(size).unwrap_or(u64::MAX)
}
