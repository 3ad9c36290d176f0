//! The short form of an object, for people to read.

use fedsx_genesis::actors::is_actor_type;
use serde_json::{Map, Value, json};

use super::html::{cut, escaped, html, link, name};
use super::languages::texts;
use super::references::{addresses, each, page, put, put_list, time, type_of};
use super::{attachments, tags};

/// Types of objects that are shown as what they are (ActivityStreams vocabulary, section 3.3).
const KNOWN: [&str; 13] = [
    "Article",
    "Audio",
    "Document",
    "Event",
    "Image",
    "Note",
    "Page",
    "Place",
    "Profile",
    "Question",
    "Relationship",
    "Tombstone",
    "Video",
];
/// Types whose own `url` may be a file.
const FILES: [&str; 4] = ["Audio", "Document", "Image", "Video"];
/// The most ids in one member.
const MAX_IDS: usize = 32;
/// The most answers of a question.
const MAX_OPTIONS: usize = 100;

/// The short form of an object as it is shown, whatever its author wrote into it.
///
/// `{id, type, unknown, name, summary, content, nameMap, summaryMap, contentMap, sensitive, attributedTo,
/// inReplyTo, published, updated, url, mentions, hashtags, emojis, quote, attachments, poll, startTime,
/// endTime, location}`, each member where the object has it and it is what it should be. `content`,
/// `summary` and their maps are HTML that may be put into a page, `name` and its map are text. `unknown`
/// is set for types that have no meaning here; `type` names them. `summary` before a content is a
/// warning about it. Everything else that the author wrote stands in the activity.
pub fn object(document: &Map<String, Value>) -> Map<String, Value> {
    let mut shown = Map::new();
    let text = |member: &str| document.get(member).and_then(Value::as_str);
    let kind = type_of(document);
    put(&mut shown, "id", text("id").and_then(link));
    put(&mut shown, "type", kind.map(|kind| name(cut(kind, 256))));
    if kind.is_none_or(|kind| !KNOWN.contains(&kind) && !is_actor_type(kind)) {
        shown.insert("unknown".into(), true.into());
    }
    let plain = text("mediaType").is_some_and(|kind| !kind.starts_with("text/html"));
    let content = |text: &str| if plain { html(&escaped(text)) } else { html(text) };
    for (member, text) in [
        ("name", texts(document, "name", name)),
        ("summary", texts(document, "summary", html)),
        ("content", texts(document, "content", content)),
    ] {
        put(&mut shown, member, text.text.filter(|text| !text.is_empty()));
        let languages = Some(text.by_language).filter(|map| !map.is_empty());
        put(&mut shown, &format!("{member}Map"), languages);
    }
    put(&mut shown, "sensitive", document.get("sensitive").and_then(Value::as_bool));
    for member in ["attributedTo", "inReplyTo"] {
        put(&mut shown, member, addresses(document.get(member), MAX_IDS));
    }
    for member in ["published", "updated", "startTime", "endTime"] {
        put(&mut shown, member, time(document.get(member)));
    }
    put(&mut shown, "url", page(document.get("url")));
    tags::show(document, &mut shown);
    let mut attached = attachments::show(document);
    if kind.is_some_and(|kind| FILES.contains(&kind)) {
        attached.extend(own_file(document));
    }
    put_list(&mut shown, "attachments", attached);
    put(&mut shown, "location", location(document.get("location")));
    if kind == Some("Question") || document.contains_key("oneOf") || document.contains_key("anyOf")
    {
        put(&mut shown, "poll", poll(document));
    }
    shown
}

/// What an object that is a file itself would be as an attachment.
fn own_file(document: &Map<String, Value>) -> Option<Value> {
    let mut file = document.clone();
    for text in ["name", "summary", "content", "attachment"] {
        file.remove(text);
    }
    let mut attached = attachments::show(&Map::from_iter([("attachment".to_owned(), file.into())]));
    attached.pop().filter(|file| file.get("url").is_some())
}

fn location(value: Option<&Value>) -> Option<Value> {
    let place = each(value).next()?;
    let text = |member: &str| place.get(member).and_then(Value::as_str);
    let mut shown = Map::new();
    put(&mut shown, "name", place.as_str().or_else(|| text("name")).map(name));
    put(&mut shown, "url", page(place.get("url")));
    Some(shown).filter(|shown| !shown.is_empty()).map(Value::Object)
}

/// The answers that one may choose from and what was chosen so far: read only, nothing here votes.
fn poll(document: &Map<String, Value>) -> Option<Value> {
    let multiple = document.contains_key("anyOf");
    let member = if multiple { "anyOf" } else { "oneOf" };
    let options: Vec<Value> = each(document.get(member))
        .take(MAX_OPTIONS)
        .filter_map(|option| {
            let mut shown = Map::new();
            put(&mut shown, "name", option.get("name").and_then(Value::as_str).map(name));
            let votes = option.get("replies").and_then(|replies| replies.get("totalItems"));
            put(&mut shown, "votes", votes.and_then(Value::as_u64));
            shown.contains_key("name").then_some(Value::Object(shown))
        })
        .collect();
    if options.is_empty() {
        return None;
    }
    let mut shown = json!({ "multiple": multiple, "options": options });
    if let Value::Object(members) = &mut shown {
        put(members, "closed", time(document.get("closed")));
        if document.get("closed") == Some(&Value::Bool(true)) {
            members.insert("closed".into(), true.into());
        }
        put(members, "voters", document.get("votersCount").and_then(Value::as_u64));
    }
    Some(shown)
}
