//! What the instance states about a request.

use biscuit_auth::builder::{Fact, fact, string};
use fedsx_kernel::activity::id_of;
use fedsx_kernel::tokens::Scope;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::date;

/// The collection of everybody (ActivityPub, section 5.6).
const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";
/// The members of an activity or object that name its readers (ActivityPub, section 6).
const AUDIENCE: [&str; 5] = ["to", "cc", "bto", "bcc", "audience"];
/// Facts of each kind at most; a request that names more readers is judged as one for `"many"`.
const MAX_NAMED: usize = 100;

/// Of any request.
pub(super) fn of(scope: Scope, now: Timestamp) -> Vec<Fact> {
    vec![fact("time", &[date(now)]), fact("operation", &[string(&scope.to_string())])]
}

/// Of a publish.
pub(super) fn of_publish(request: &Map<String, Value>) -> Vec<Fact> {
    let object = request.get("object").and_then(Value::as_object);
    let mut facts = Vec::new();
    facts.extend(texts(request.get("type")).map(|kind| fact("verb", &[string(kind)])));
    let kinds = object.into_iter().flat_map(|object| texts(object.get("type")));
    facts.extend(kinds.map(|kind| fact("object_type", &[string(kind)])));
    let mut named: Vec<&str> = [Some(request), object]
        .into_iter()
        .flatten()
        .flat_map(|document| AUDIENCE.iter().filter_map(|member| document.get(*member)))
        .flat_map(each)
        .map(|reader| match id_of(reader) {
            Some(PUBLIC | "as:Public" | "Public") => "public",
            Some(id) => id,
            None => "unknown",
        })
        .collect();
    named.sort_unstable();
    named.dedup();
    match named.len() {
        0 => named.push("default"),
        1..=MAX_NAMED => {}
        _ => named = vec!["many"],
    }
    facts.extend(named.into_iter().map(|reader| fact("audience", &[string(reader)])));
    facts
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    let (list, one) = match value {
        Value::Array(list) => (Some(list), None),
        other => (None, Some(other)),
    };
    list.into_iter().flatten().chain(one)
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.into_iter().flat_map(each).filter_map(Value::as_str)
}
