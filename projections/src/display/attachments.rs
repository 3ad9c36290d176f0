//! Attachments: by address, never fetched.

use serde_json::{Map, Value};

use super::html::{cut, name};
use super::references::{address, each, put, type_of};

/// The most attachments of one object; Mastodon shows 4, Pixelfed 20, Hubzilla any.
const MAX_ATTACHMENTS: usize = 64;
/// Widths and heights beyond this are none.
const MAX_PIXELS: u64 = 1 << 20;

/// A file somewhere.
#[derive(Default)]
pub(super) struct File {
    pub(super) url: Option<String>,
    pub(super) media_type: Option<String>,
    width: Option<u64>,
    height: Option<u64>,
}

/// Shows `attachment` as `attachments` `[{type, mediaType, url, name, summary, width, height, duration,
/// sensitive, blurhash}]`, each member where it is known. `name` is what describes the file to who does
/// not see it. Without `url`, the address is none that a link may lead to.
pub(super) fn show(members: &Map<String, Value>) -> Vec<Value> {
    each(members.get("attachment"))
        .take(MAX_ATTACHMENTS)
        .filter_map(one)
        .map(Value::Object)
        .collect()
}

fn one(value: &Value) -> Option<Map<String, Value>> {
    let mut shown = Map::new();
    let Value::Object(members) = value else {
        // Just an address.
        put(&mut shown, "url", address(value));
        return Some(shown).filter(|shown| !shown.is_empty());
    };
    let text = |member: &str| members.get(member).and_then(Value::as_str);
    put(&mut shown, "type", type_of(members).map(name));
    let file = file(value).unwrap_or_default();
    file.show(&mut shown);
    for member in ["name", "summary"] {
        put(&mut shown, member, text(member).map(name).filter(|text| !text.is_empty()));
    }
    // Misskey and others describe a picture there.
    if !shown.contains_key("name") {
        put(&mut shown, "name", text("content").map(name).filter(|text| !text.is_empty()));
    }
    // What profiles attach are pairs of texts (schema.org's PropertyValue).
    put(&mut shown, "value", text("value").map(super::html::html));
    put(&mut shown, "duration", text("duration").map(|text| cut(text, 64)));
    put(&mut shown, "blurhash", text("blurhash").map(|text| cut(text, 128)));
    put(&mut shown, "sensitive", members.get("sensitive").and_then(Value::as_bool));
    Some(shown).filter(|shown| !shown.is_empty())
}

/// The file that an object or a link stands for. Of several renditions, the first that may be
/// linked to.
pub(super) fn file(value: &Value) -> Option<File> {
    let members = value.as_object()?;
    let link = |link: &Map<String, Value>| {
        let url = link.get("href").or_else(|| link.get("url")).and_then(address);
        (url.is_some()).then(|| File {
            url: url.map(str::to_owned),
            media_type: media_type(link),
            width: pixels(link, "width"),
            height: pixels(link, "height"),
        })
    };
    let nested = each(members.get("url")).filter_map(Value::as_object).find_map(link);
    let plain = each(members.get("url")).chain(members.get("href")).find_map(address);
    let found = nested.unwrap_or_else(|| File { url: plain.map(str::to_owned), ..File::default() });
    Some(File {
        media_type: media_type(members).or(found.media_type),
        width: pixels(members, "width").or(found.width),
        height: pixels(members, "height").or(found.height),
        url: found.url,
    })
}

impl File {
    /// Puts what is known of the file into a short form.
    pub(super) fn show(self, shown: &mut Map<String, Value>) {
        put(shown, "url", self.url);
        put(shown, "mediaType", self.media_type);
        put(shown, "width", self.width);
        put(shown, "height", self.height);
    }
}

fn pixels(members: &Map<String, Value>, member: &str) -> Option<u64> {
    members.get(member).and_then(Value::as_u64).filter(|pixels| (1..=MAX_PIXELS).contains(pixels))
}

/// A media type without parameters (RFC 6838, section 4.2).
fn media_type(members: &Map<String, Value>) -> Option<String> {
    let text = members.get("mediaType").and_then(Value::as_str)?;
    let essence = text.split(';').next()?.trim().to_ascii_lowercase();
    let part = |part: &str| {
        (1..=127).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let (kind, subtype) = essence.split_once('/')?;
    (part(kind) && part(subtype)).then_some(essence)
}
