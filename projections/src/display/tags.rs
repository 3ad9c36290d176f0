//! Mentions, hashtags, emoji and quotes: what `tag` names, and the other ways to say it.

use serde_json::{Map, Value};

use super::attachments::file;
use super::html::{link, name};
use super::references::{address, each, put, put_list, type_of};

/// The most tags of one object that are looked at.
const MAX_TAGS: usize = 200;
/// The longest hashtag, in characters.
const MAX_HASHTAG: usize = 100;

/// Members by which servers name what is quoted, as FEP-044f lists them.
const QUOTES: [&str; 4] = ["quote", "quoteUri", "quoteUrl", "_misskey_quote"];
/// Media types of objects; a tag that links to one is a quote (FEP-e232).
const OBJECT_TYPES: [&str; 2] = ["application/activity+json", "application/ld+json"];

/// Shows `tag` as `mentions` `[{href, name}]`, `hashtags` `[{name, href}]`, `emojis`
/// `[{name, url}]` and `quote`, an address; nothing is fetched.
pub(super) fn show(members: &Map<String, Value>, shown: &mut Map<String, Value>) {
    let (mut mentions, mut hashtags, mut emojis) = (Vec::new(), Vec::new(), Vec::new());
    let mut quote = QUOTES.iter().find_map(|member| members.get(*member).and_then(address));
    for tag in tags(members) {
        let (kind, target) = (type_of(tag), tag.get("href").and_then(Value::as_str).and_then(link));
        let mut one = Map::new();
        match kind {
            Some("Mention") => {
                put(&mut one, "href", target);
                put(&mut one, "name", plain(tag, "name"));
                // Some say twice whom they mention.
                if !one.is_empty() && !mentions.contains(&Value::Object(one.clone())) {
                    mentions.push(one.into());
                }
            }
            Some("Hashtag") => {
                let Some(hashtag) = hashtag(tag) else { continue };
                one.insert("name".into(), format!("#{hashtag}").into());
                put(&mut one, "href", target);
                if !hashtags.contains(&Value::Object(one.clone())) {
                    hashtags.push(one.into());
                }
            }
            Some("Emoji") => {
                let Some(shortcode) = plain(tag, "name") else { continue };
                let icon = tag.get("icon").and_then(|icon| file(icon).map(|file| file.url));
                one.insert("name".into(), shortcode.into());
                put(&mut one, "url", icon.flatten());
                emojis.push(one.into());
            }
            Some("Link") if quote.is_none() && links_to_object(tag) => quote = target,
            _ => {}
        }
    }
    put_list(shown, "mentions", mentions);
    put_list(shown, "hashtags", hashtags);
    put_list(shown, "emojis", emojis);
    put(shown, "quote", quote);
}

/// The hashtags of an object, without `#`, as they compare: in lower case, each once.
pub fn hashtags(members: &Map<String, Value>) -> Vec<String> {
    let mut found: Vec<String> = tags(members)
        .filter(|tag| type_of(tag) == Some("Hashtag"))
        .filter_map(hashtag)
        .map(|hashtag| hashtag.to_lowercase())
        .collect();
    found.sort();
    found.dedup();
    found
}

fn tags(members: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    each(members.get("tag")).take(MAX_TAGS).filter_map(Value::as_object)
}

fn hashtag(tag: &Map<String, Value>) -> Option<String> {
    let name = plain(tag, "name")?;
    let hashtag = name.trim_start_matches('#').trim();
    let fits = !hashtag.is_empty() && hashtag.chars().count() <= MAX_HASHTAG;
    fits.then(|| hashtag.to_owned())
}

fn links_to_object(tag: &Map<String, Value>) -> bool {
    let text = |member: &str| tag.get(member).and_then(Value::as_str).unwrap_or_default();
    let media_type = text("mediaType").split(';').next().unwrap_or_default().trim();
    OBJECT_TYPES.contains(&media_type) || text("rel").ends_with("_misskey_quote")
}

fn plain(tag: &Map<String, Value>, member: &str) -> Option<String> {
    tag.get(member).and_then(Value::as_str).map(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(object: Value) -> Value {
        let mut shown = Map::new();
        show(object.as_object().unwrap(), &mut shown);
        Value::Object(shown)
    }

    #[test]
    fn several_ways_to_say_it() {
        for (object, expected) in [
            (json!({ "tag": null }), json!({})),
            (
                json!({ "tag": { "type": "as:Hashtag", "name": "#Tag", "href": "https://a.example/t" } }),
                json!({ "hashtags": [{ "name": "#Tag", "href": "https://a.example/t" }] }),
            ),
            (
                json!({ "tag": [{ "type": "Hashtag", "name": "nohash" }, { "type": "Hashtag" }, "x", 1] }),
                json!({ "hashtags": [{ "name": "#nohash" }] }),
            ),
            (
                json!({ "tag": [{ "type": "Mention", "href": "javascript:alert(1)", "name": "<b>@a</b>" }] }),
                json!({ "mentions": [{ "name": "@a" }] }),
            ),
            (
                json!({ "tag": [{ "type": ["Mention"], "href": "https://a.example/a" },
                    { "type": "Mention", "href": "https://a.example/a" }] }),
                json!({ "mentions": [{ "href": "https://a.example/a" }] }),
            ),
            (
                json!({ "tag": { "type": "Emoji", "name": ":cow:",
                    "icon": { "type": "Image", "url": "https://a.example/cow.png" } } }),
                json!({ "emojis": [{ "name": ":cow:", "url": "https://a.example/cow.png" }] }),
            ),
            (
                json!({ "quoteUri": "https://a.example/1" }),
                json!({ "quote": "https://a.example/1" }),
            ),
            (
                json!({ "tag": [{ "type": "Link", "href": "https://a.example/2",
                    "mediaType": "application/ld+json; profile=\"https://www.w3.org/ns/activitystreams\"" }] }),
                json!({ "quote": "https://a.example/2" }),
            ),
            (
                json!({ "tag": [{ "type": "Link", "href": "https://a.example/2", "mediaType": "text/html" }] }),
                json!({}),
            ),
        ] {
            assert_eq!(shown(object.clone()), expected, "{object}");
        }
    }

    #[test]
    fn hashtags_compare_in_lower_case() {
        let object = json!({ "tag": [
            { "type": "Hashtag", "name": "#Ümläut" }, { "type": "Hashtag", "name": "ümläut" },
            { "type": "Hashtag", "name": "#a b" }, { "type": "Mention", "name": "#no" },
        ] });
        assert_eq!(hashtags(object.as_object().unwrap()), ["a b", "ümläut"]);
    }
}
