//! Terms of others that are in wide use and stand in no context that every document has. A reader
//! that takes documents as JSON-LD loses what no context defines.

use serde_json::{Map, Value, json};

/// What a member or type of this name means to the servers that use it.
fn meaning(term: &str) -> Option<Value> {
    let toot = |name: &str| json!(format!("http://joinmastodon.org/ns#{name}"));
    Some(match term {
        "sensitive" | "Hashtag" | "quoteUrl" | "manuallyApprovesFollowers" => {
            json!(format!("as:{term}"))
        }
        "Emoji" | "blurhash" | "discoverable" | "indexable" | "suspended" | "votersCount" => {
            toot(term)
        }
        "featured" | "featuredTags" => json!({ "@id": toot(term), "@type": "@id" }),
        "focalPoint" => json!({ "@id": toot(term), "@container": "@list" }),
        "PropertyValue" | "value" => json!(format!("http://schema.org#{term}")),
        "EmojiReact" | "ChatMessage" => json!(format!("http://litepub.social/ns#{term}")),
        "quoteUri" => json!("http://fedibird.com/ns#quoteUri"),
        "_misskey_quote" => json!("https://misskey-hub.net/ns#_misskey_quote"),
        _ => return None,
    })
}

/// The terms that occur in a document, with their meaning: an inline context.
pub(super) fn used(document: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    collect(document, &mut found);
    found
}

/// The depth of documents is limited where they are read.
fn collect(document: &Map<String, Value>, found: &mut Map<String, Value>) {
    let mut take = |term: &str| {
        if let Some(meaning) = meaning(term) {
            found.insert(term.to_owned(), meaning);
        }
    };
    for (name, inner) in document {
        match (name.as_str(), inner) {
            ("type", Value::String(kind)) => take(kind),
            ("type", Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).for_each(&mut take);
            }
            (name, _) => take(name),
        }
    }
    for (name, inner) in document {
        // These have terms of their own.
        if !matches!(name.as_str(), "@context" | "proof" | "patch") {
            let items = inner.as_array().map_or(std::slice::from_ref(inner), Vec::as_slice);
            items.iter().filter_map(Value::as_object).for_each(|item| collect(item, found));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_what_occurs_is_defined() {
        let used = |document: Value| Value::Object(used(document.as_object().unwrap()));
        assert_eq!(used(json!({ "type": "Note", "content": "sensitive", "tag": [] })), json!({}));
        let note = json!({
            "type": "Create", "proof": { "value": "z" },
            "object": { "type": "Note", "sensitive": false, "tag": [{ "type": ["Hashtag"] }] },
        });
        let expected = json!({ "Hashtag": "as:Hashtag", "sensitive": "as:sensitive" });
        assert_eq!(used(note), expected);
    }
}
