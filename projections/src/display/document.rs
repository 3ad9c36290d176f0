//! Whole documents, made safe to show.

use serde_json::{Map, Value};

use super::html::{html, link, name};

/// Members that hold HTML (ActivityStreams vocabulary, section 4), and `value`, which is the other half
/// of a pair in profiles.
const HTML: [&str; 3] = ["content", "summary", "value"];
/// Members that hold plain text.
const TEXT: [&str; 2] = ["name", "preferredUsername"];
/// Members that lead somewhere when they are followed.
const LINKS: [&str; 2] = ["href", "url"];

/// How a text is shown; nothing where it is not.
type Show = fn(&str) -> Option<String>;

/// The same document with all its members, at any depth: HTML as the policy lets it through, names
/// without markup, and no links which are none to follow. What members mean that are not known here,
/// nobody can say, so they stay as they are.
pub fn document(document: &Map<String, Value>) -> Map<String, Value> {
    // Documents that came from outside are nested 64 deep at most.
    let member = |(name, value): (&String, &Value)| Some((name.clone(), member(name, value)?));
    document.iter().filter_map(member).collect()
}

fn member(name: &str, value: &Value) -> Option<Value> {
    match (name.strip_suffix("Map"), value) {
        (Some(plain), Value::Object(languages)) => {
            let shown = languages
                .iter()
                .filter_map(|(language, text)| Some((language.clone(), shown(text, how(plain))?)));
            Some(Value::Object(shown.collect()))
        }
        _ => shown(value, how(name)),
    }
}

fn shown(value: &Value, show: Show) -> Option<Value> {
    Some(match value {
        Value::String(text) => Value::String(show(text)?),
        Value::Array(items) => items.iter().filter_map(|item| shown(item, show)).collect(),
        Value::Object(members) => Value::Object(document(members)),
        other => other.clone(),
    })
}

fn how(member: &str) -> Show {
    match member {
        member if HTML.contains(&member) => |text| Some(html(text)),
        member if TEXT.contains(&member) => |text| Some(name(text)),
        member if LINKS.contains(&member) => |text| link(text).map(str::to_owned),
        _ => |text| Some(text.to_owned()),
    }
}
