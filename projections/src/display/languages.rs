//! Texts in one or in several languages (ActivityStreams vocabulary, `contentMap` and the like).

use serde_json::{Map, Value};

/// The most languages of one text.
const MAX_LANGUAGES: usize = 16;

/// A text as it is shown: the plain member, and the map of its languages.
pub(super) struct Texts {
    /// The member without a language, else the first language of the map.
    pub(super) text: Option<String>,
    /// The texts by language tags.
    pub(super) by_language: Map<String, Value>,
}

/// Reads the member and its map, and makes each text fit to be shown.
pub(super) fn texts(
    members: &Map<String, Value>,
    member: &str,
    show: impl Fn(&str) -> String,
) -> Texts {
    let mut by_language = Map::new();
    let map = members.get(&format!("{member}Map")).and_then(Value::as_object);
    for (language, text) in map.into_iter().flatten().take(MAX_LANGUAGES) {
        if let (true, Some(text)) = (is_language(language), text.as_str()) {
            by_language.insert(language.clone(), show(text).into());
        }
    }
    let plain = members.get(member).and_then(Value::as_str).map(&show);
    let first = || by_language.values().find_map(Value::as_str).map(str::to_owned);
    Texts { text: plain.or_else(first), by_language }
}

/// Whether a text has the form of a language tag (RFC 5646, section 2.1).
fn is_language(tag: &str) -> bool {
    let part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    tag.len() <= 35 && tag.split('-').all(part)
}
