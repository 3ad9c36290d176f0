//! What is left of an activity when the content of an object is erased from it.
//!
//! Of what the author said of the object (`Create`, `Update`), next to nothing is left: who, which
//! verb, at which place and when, the object's id and type, and whether everyone could read it. Of
//! what others said, only their copy of the object is taken out; but the salt and the proof go in
//! any case, since with the salt the CID would tell whether a guess at the content is right.

use fedsx_kernel::Activity;
use fedsx_kernel::activity::{ActivityError, id_of, ids_in, kind_of};
use serde_json::{Map, Value, json};

use crate::actor_keys;
use crate::definition::Kind;
use crate::rules::{PUBLIC, is_public};

/// Members of an object that are no content.
const KEPT: [&str; 7] =
    ["id", "type", "published", "updated", "deleted", "formerType", "attributedTo"];
/// Members of an activity that are left of what the author said.
const KEPT_OF_ACTIVITY: [&str; 6] = ["epoch", "seq", "published", "updated", "id", "type"];
/// Members that vouch for the whole of a document, or hide it from guesses.
const VOUCHING: [&str; 3] = ["salt", "proof", "signature"];

/// What is left of an activity without the content of an object; none where it has nothing of
/// that.
///
/// # Errors
/// Where what would be left is another statement, which is a fault of ours.
pub fn stub_of(activity: &Activity, object: &str) -> Result<Option<Activity>, ActivityError> {
    // Who an actor is and what is defined holds on, whatever else it speaks of.
    if actor_keys::concerns_author(activity) || Kind::of_type(activity.kind()).is_some() {
        return Ok(None);
    }
    let left = match says(activity, object) {
        true => bare(activity),
        false => {
            let mut left = Value::Object(activity.document().clone());
            match (redact(&mut left, object), left) {
                (true, Value::Object(left)) => left,
                _ => return Ok(None),
            }
        }
    };
    let stub = activity.stub(left)?;
    Ok((stub != *activity).then_some(stub))
}

/// A stub as it is shown to who may know that there was something: the object whose content is
/// gone is a Tombstone (ActivityStreams 2.0 Vocabulary, section 3.3).
pub fn shown(stub: &Activity) -> Map<String, Value> {
    let mut document = stub.document().clone();
    document.entry("@context").or_insert("https://www.w3.org/ns/activitystreams".into());
    if let Some(Value::Object(object)) = document.get_mut("object")
        && !object.iter().any(|(name, _)| name != "to" && !KEPT.contains(&name.as_str()))
    {
        let former = object.insert("type".into(), "Tombstone".into());
        if let Some(former) = former.filter(|former| *former != "Tombstone") {
            object.insert("formerType".into(), former);
        }
    }
    document
}

/// Whether an activity is its author's own statement of an object.
fn says(activity: &Activity, object: &str) -> bool {
    matches!(activity.kind(), "Create" | "Update") && activity.object_id() == Some(object)
}

fn bare(activity: &Activity) -> Map<String, Value> {
    let mut left = Map::new();
    for name in KEPT_OF_ACTIVITY {
        if let Some(value) = activity.get(name) {
            left.insert(name.to_owned(), value.clone());
        }
    }
    left.insert("type".into(), activity.kind().into());
    left.insert("actor".into(), activity.actor().into());
    if let Some(public) = public(activity.document()) {
        left.insert("to".into(), public);
    }
    match activity.object() {
        Some(Value::Object(document)) => {
            let mut object = skeleton(document);
            if let Some(public) = public(document) {
                object.insert("to".into(), public);
            }
            left.insert("object".into(), Value::Object(object));
        }
        Some(named) => {
            left.insert("object".into(), named.clone());
        }
        None => {}
    }
    left
}

/// What `to` becomes where everyone is addressed.
fn public(document: &Map<String, Value>) -> Option<Value> {
    let named = ["to", "cc", "audience"].into_iter().flat_map(|name| ids_in(document.get(name)));
    named.into_iter().any(is_public).then(|| json!([PUBLIC]))
}

fn skeleton(document: &Map<String, Value>) -> Map<String, Value> {
    let mut left = Map::new();
    for name in KEPT {
        let Some(value) = document.get(name) else { continue };
        let value = match (name, value) {
            ("attributedTo", authors) => {
                let ids: Vec<Value> = ids_in(Some(authors)).into_iter().map(Value::from).collect();
                Value::Array(ids)
            }
            ("type" | "formerType", Value::Array(_)) => kind_of(document).into(),
            (_, Value::String(text)) => text.as_str().into(),
            // Nothing that could hold more than a name or a time.
            _ => continue,
        };
        left.insert(name.to_owned(), value);
    }
    left
}

/// Takes every copy of an object out of a document; whether there was one.
fn redact(value: &mut Value, object: &str) -> bool {
    match value {
        Value::Object(members) if is_copy(members, object) => {
            *members = skeleton(members);
            true
        }
        Value::Object(members) => {
            let mut found = false;
            for (name, member) in members.iter_mut() {
                found |= name != "@context" && redact(member, object);
            }
            if found {
                VOUCHING.iter().for_each(|name| drop(members.remove(*name)));
            }
            found
        }
        Value::Array(items) => {
            // Each of them is looked at, whatever was found before.
            let mut found = false;
            for item in items.iter_mut() {
                found |= redact(item, object);
            }
            found
        }
        _ => false,
    }
}

/// Whether a document is this object with content; a tombstone has none.
fn is_copy(members: &Map<String, Value>, object: &str) -> bool {
    let named = members.get("id").and_then(id_of) == Some(object);
    named && kind_of(members) != Some("Tombstone") && skeleton(members) != *members
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    const ALICE: &str = "https://a.example/actors/alice";
    const NOTE: &str = "https://a.example/objects/1";
    const SECRET: &str = "xyzzy";

    fn note() -> Value {
        json!({
            "id": NOTE, "type": ["Note", "x:Sealed"], "content": SECRET, "attributedTo": ALICE,
            "published": "2026-01-01T00:00:00Z", "updated": "2026-01-02T00:00:00Z",
            "to": ["as:Public"], "cc": ["https://b.example/xyzzy"],
            "tag": [{ "type": "Mention", "name": SECRET }],
        })
    }

    fn ours(mut content: Value) -> Activity {
        content["actor"] = ALICE.into();
        content["seq"] = 3.into();
        content["salt"] = "5a17".into();
        let content = fedsx_kernel::json::normalise(content).unwrap();
        let sealed = Activity::seal(content.as_object().unwrap().clone()).unwrap();
        sealed.with_proof(json!({ "proofValue": "z123" }))
    }

    fn foreign(mut content: Value) -> Activity {
        content["id"] = "https://m.example/notes/9/activity".into();
        content["actor"] = "https://m.example/users/m".into();
        Activity::from_document(content).unwrap()
    }

    /// The stub keeps the statement's place and nothing that was said.
    fn check(activity: &Activity, expected: &Value) {
        let stub = stub_of(activity, NOTE).unwrap().expect("something is erased");
        let text = stub.to_value().to_string();
        for gone in [SECRET, "5a17", "z123"] {
            assert!(!text.contains(gone), "{gone} is left in {text}");
        }
        assert_eq!((stub.cid(), stub.id()), (activity.cid(), activity.id()));
        assert_eq!(stub.order(), activity.order());
        assert_eq!(stub.kind(), activity.kind());
        let read = Activity::from_body(&stub.to_body().unwrap()).unwrap();
        assert_eq!(read, stub, "it is stored as it is");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(stub.get(name), Some(value), "{name} of {text}");
        }
        assert_eq!(stub_of(&stub, NOTE).unwrap(), None, "nothing more goes");
    }

    #[test]
    fn of_the_author() {
        let left = json!({
            "id": NOTE, "type": "Note", "attributedTo": [ALICE], "to": [PUBLIC],
            "published": "2026-01-01T00:00:00Z", "updated": "2026-01-02T00:00:00Z",
        });
        let more = json!({ "cc": [PUBLIC, SECRET], "summary": SECRET, "object": note() });
        let cases = [("Create", &more), ("Update", &more)];
        for (verb, content) in cases {
            let mut content = content.clone();
            content["type"] = verb.into();
            content["cc"] = json!([PUBLIC]);
            check(&ours(content.clone()), &json!({ "object": left, "to": [PUBLIC], "seq": 3 }));
            check(&foreign(content), &json!({ "object": left, "to": [PUBLIC] }));
        }
        let private =
            json!({ "type": "Create", "to": ["https://b.example/xyzzy"], "object": note() });
        let stub = stub_of(&ours(private), NOTE).unwrap().unwrap();
        assert_eq!(stub.audience(), Vec::<&str>::new());
    }

    #[test]
    fn of_others() {
        let left = json!({
            "id": NOTE, "type": "Note", "attributedTo": [ALICE],
            "published": "2026-01-01T00:00:00Z", "updated": "2026-01-02T00:00:00Z",
        });
        let announce = json!({ "type": "Announce", "to": [PUBLIC], "object": note() });
        check(&ours(announce.clone()), &json!({ "object": left, "to": [PUBLIC] }));
        check(&foreign(announce.clone()), &json!({ "object": left }));
        let mut inner = announce;
        inner["salt"] = "5a17".into();
        inner["proof"] = json!({ "proofValue": "z123" });
        let undo = json!({ "type": "Undo", "object": inner });
        let undone = json!({ "type": "Announce", "to": [PUBLIC], "object": left });
        check(&ours(undo), &json!({ "object": undone }));
        let reply = json!({
            "type": "Create",
            "object": { "id": "https://m.example/2", "type": "Note", "content": "mine",
                "inReplyTo": [note()] },
        });
        let kept = json!({
            "id": "https://m.example/2", "type": "Note", "content": "mine", "inReplyTo": [left]
        });
        check(&foreign(reply), &json!({ "object": kept }));
    }

    #[test]
    fn what_has_nothing_of_it_stays() {
        let tombstone = json!({ "id": NOTE, "type": "Tombstone", "formerType": "Note" });
        for content in [
            json!({ "type": "Delete", "object": tombstone }),
            json!({ "type": "Announce", "object": NOTE }),
            json!({ "type": "Like", "object": { "id": NOTE, "type": "Note" } }),
            json!({ "type": "Create", "object": { "id": "https://a.example/objects/2",
                "type": "Note", "inReplyTo": NOTE } }),
        ] {
            assert_eq!(stub_of(&ours(content.clone()), NOTE).unwrap(), None, "{content}");
        }
    }
}
