//! The ways in which members name other things.

use serde_json::{Map, Value};

use super::html::link;

/// A member that is absent, one value or an array of them, as a list without nulls.
pub(super) fn each(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    let items = match value {
        None => &[],
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    items.iter().filter(|item| !item.is_null())
}

/// A type by its short name, as JSON-LD allows several names for one (`as:Note`, the whole IRI).
pub(super) fn short_type(kind: &str) -> &str {
    ["as:", "https://www.w3.org/ns/activitystreams#", "http://www.w3.org/ns/activitystreams#"]
        .iter()
        .find_map(|prefix| kind.strip_prefix(prefix))
        .unwrap_or(kind)
}

/// The first `type` of a document, by its short name; `@type` stands in for it.
pub(super) fn type_of(members: &Map<String, Value>) -> Option<&str> {
    let named = |member| each(members.get(member)).find_map(Value::as_str);
    named("type").or_else(|| named("@type")).map(short_type)
}

/// The address that a value names: itself, the `href` of a Link, or the `id` of an object.
pub(super) fn address(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => link(text),
        Value::Object(members) => {
            let named = |member: &str| members.get(member).and_then(Value::as_str).and_then(link);
            named("href").or_else(|| named("id"))
        }
        _ => None,
    }
}

/// At most so many addresses: nothing for none, a text for one, a list for several.
pub(super) fn addresses(value: Option<&Value>, most: usize) -> Option<Value> {
    let mut found: Vec<&str> = each(value).filter_map(address).take(most).collect();
    found.dedup();
    match found.as_slice() {
        [] => None,
        [one] => Some(Value::from(*one)),
        _ => Some(found.into()),
    }
}

/// Where people read an object: a page rather than a file, the one that says that it is canonical
/// rather than another.
pub(super) fn page(value: Option<&Value>) -> Option<&str> {
    let rank = |item: &&Value| {
        let text = |member: &str| item.get(member).and_then(Value::as_str);
        let is_page = text("mediaType").is_none_or(|kind| kind.starts_with("text/html"));
        (!is_page, text("rel") != Some("canonical"))
    };
    each(value).filter(|item| address(item).is_some()).min_by_key(rank).and_then(address)
}

/// A time as it stands there, where it is one (RFC 3339, or without an offset).
pub(super) fn time(value: Option<&Value>) -> Option<&str> {
    let text = value?.as_str()?;
    // Some servers write an offset and `Z` after it, or neither.
    let is_time = text.parse::<jiff::Timestamp>().is_ok()
        || text.trim_end_matches('Z').parse::<jiff::civil::DateTime>().is_ok()
        || text.trim_end_matches('Z').parse::<jiff::Timestamp>().is_ok();
    is_time.then_some(text)
}

/// Puts a member into a document, where there is something to put.
pub(super) fn put(into: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        into.insert(name.to_owned(), value.into());
    }
}

/// Puts a list into a document, where it has items.
pub(super) fn put_list(into: &mut Map<String, Value>, name: &str, items: Vec<Value>) {
    put(into, name, Some(items).filter(|items| !items.is_empty()));
}
