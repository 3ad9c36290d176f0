//! `Subscribe`: which subscription a request means.

use fedsx_kernel::activity::id_of;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Preparing;
use serde_json::{Map, Value, json};

use super::audience::MEMBERS;
use crate::definition::Kind;
use crate::published::MAX_TOPIC_BYTES;
use crate::published::subscription::topic;
use crate::registry::{self, InForce};

/// The most audiences that are looked through.
const MAX_LOOKED: usize = 1_000;

/// States the subscription by name, id and type. A request names it by its name, by the id or CID
/// of its definition or of the activity that defined it, embedded, or only by `topic`: then it is
/// the one with that name or tag, else the one that is called `topic`.
pub(super) fn subscribe(
    with: &Preparing<'_>,
    content: &mut Map<String, Value>,
) -> Result<(), Refusal> {
    let named = match content.get("topic") {
        None => None,
        Some(Value::String(text)) if !text.is_empty() && text.len() <= MAX_TOPIC_BYTES => {
            Some(topic(text))
        }
        Some(_) => {
            let detail = format!("topic: a text of 1 to {MAX_TOPIC_BYTES} bytes");
            return Err(Refusal::new(Problem::InvalidActivity, detail));
        }
    };
    let object = content.get("object");
    let called = object.and_then(id_of).or_else(|| object?.get("name").and_then(Value::as_str));
    let found = match (called, &named) {
        (Some(called), _) => by_name(with, called)?,
        (None, Some(named)) => by_topic(with, named)?,
        (None, None) => None,
    };
    let Some((name, held)) = found else {
        let called: String =
            called.or(named.as_deref()).unwrap_or_default().chars().take(100).collect();
        let detail = format!("object: there is no subscription {called:?} here");
        return Err(Refusal::new(Problem::UnknownReference, detail));
    };
    // A topic that the definition states already is none of the subscriber's own.
    if named.is_some() && named == tag(&held) {
        content.remove("topic");
    }
    // What somebody subscribes to here concerns nobody else.
    if !MEMBERS.iter().any(|member| content.contains_key(*member)) {
        content.insert("to".into(), json!([]));
    }
    content.insert(
        "object".into(),
        json!({ "type": "DefineSubscription", "id": held.origin, "name": name }),
    );
    Ok(())
}

fn tag(held: &InForce) -> Option<String> {
    let stated = held.document.get("tag").or(held.document.get("topic"));
    stated.and_then(Value::as_str).map(topic)
}

fn is_subscription(held: &InForce) -> bool {
    held.document.get("type").and_then(Value::as_str) == Some("DefineSubscription")
}

fn by_name(with: &Preparing<'_>, called: &str) -> Result<Option<(String, InForce)>, Refusal> {
    if let Some(held) = registry::find(with.state, Kind::Audiences, called)?
        && is_subscription(&held)
    {
        return Ok(Some((called.to_owned(), held)));
    }
    let is = |held: &InForce| {
        let ends = held.origin.rsplit('/').next() == Some(called);
        held.origin == called || ends || held.cid.to_string() == called
    };
    first(with, |_, held| is(held))
}

fn by_topic(with: &Preparing<'_>, named: &str) -> Result<Option<(String, InForce)>, Refusal> {
    let of_name = |name: &str, held: &InForce| topic(name) == named && tag(held).is_none();
    if let Some(found) = first(with, |_, held| tag(held).as_deref() == Some(named))? {
        return Ok(Some(found));
    }
    match first(with, of_name)? {
        Some(found) => Ok(Some(found)),
        None => by_name(with, "topic"),
    }
}

fn first(
    with: &Preparing<'_>,
    fits: impl Fn(&str, &InForce) -> bool,
) -> Result<Option<(String, InForce)>, Refusal> {
    let all = registry::all(with.state, Kind::Audiences, MAX_LOOKED)?;
    Ok(all.into_iter().find(|(name, held)| is_subscription(held) && fits(name, held)))
}
