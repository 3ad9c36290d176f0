//! Objects of our actors: made, changed, deleted.

use fedsx_kernel::activity::{id_of, kind_of};
use fedsx_kernel::pipeline::seconds;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Preparing;
use serde_json::{Map, Value, json};

use crate::fold::{Owned, owned};

/// The collections that an object of ours has (ActivityPub, sections 5.7 and 5.8; the Vocabulary's
/// `replies`).
const COLLECTIONS: [&str; 3] = ["likes", "replies", "shares"];

/// Removes what only the author may see.
pub(super) fn strip_hidden(content: &mut Map<String, Value>) {
    for member in ["bto", "bcc"] {
        content.remove(member);
        if let Some(Value::Object(object)) = content.get_mut("object") {
            object.remove(member);
        }
    }
}

/// Completes the object of a `Create`: identity, author and time are ours to give.
pub(super) fn created(
    with: &Preparing<'_>,
    object: &mut Map<String, Value>,
) -> Result<(), Refusal> {
    if kind_of(object).is_none() {
        return Err(Refusal::new(Problem::InvalidActivity, "object.type: must be a string"));
    }
    let author = object.get("attributedTo").and_then(id_of);
    if author.is_some_and(|author| author != with.actor) {
        return Err(Refusal::new(
            Problem::NotAuthorised,
            "object.attributedTo: an actor creates only its own objects",
        ));
    }
    let id = with.base.object(&with.object_random);
    for collection in COLLECTIONS {
        object.insert(collection.into(), format!("{id}/{collection}").into());
    }
    object.insert("id".into(), id.into());
    object.insert("attributedTo".into(), with.actor.into());
    object.insert("published".into(), seconds(with.now).into());
    object.remove("updated");
    Ok(())
}

/// The object of an `Update`: the newest version with the members of the request on top. A
/// member that is null is removed (ActivityPub, section 6.3).
pub(super) fn updated(with: &Preparing<'_>, id: &str, change: &Value) -> Result<Version, Refusal> {
    let Version { mut object, hidden } = newest(with, id)?;
    let change = change.as_object().filter(|change| change.len() > 1).ok_or_else(|| {
        Refusal::new(Problem::InvalidActivity, "object: must hold the members that change")
    })?;
    for (name, value) in change {
        match (name.as_str(), value) {
            ("id" | "attributedTo" | "published", _) => {}
            (name, _) if COLLECTIONS.contains(&name) => {}
            ("type", value) if object.get("type") != Some(value) => {
                return Err(Refusal::new(
                    Problem::NotAuthorised,
                    "object.type: an object keeps its type",
                ));
            }
            (_, Value::Null) => {
                object.remove(name);
            }
            (_, value) => {
                object.insert(name.clone(), value.clone());
            }
        }
    }
    object.insert("updated".into(), seconds(with.now).into());
    Ok(Version { object, hidden })
}

/// One version of an object.
pub(super) struct Version {
    /// The object as it stands in the activity that states it.
    pub object: Map<String, Value>,
    /// Whom that activity was sent to without saying so.
    pub hidden: Vec<String>,
}

/// The newest version of an object of the author.
fn newest(with: &Preparing<'_>, id: &str) -> Result<Version, Refusal> {
    let missing =
        || Refusal::new(Problem::Internal, format!("the newest version of {id} is missing"));
    let owned = of_author(with, id)?;
    let record = with.log.first(&owned.cid)?.ok_or_else(missing)?;
    let object = record.activity.object().and_then(Value::as_object).cloned();
    Ok(Version { object: object.ok_or_else(missing)?, hidden: record.entry.meta.hidden })
}

/// The object of a `Delete`: a Tombstone (ActivityStreams 2.0 Vocabulary, section 3.3), with the
/// version that it takes the place of.
pub(super) fn tombstone(with: &Preparing<'_>, id: &str) -> Result<(Value, Version), Refusal> {
    let former = newest(with, id)?;
    let tombstone = json!({
        "id": id,
        "type": "Tombstone",
        "formerType": kind_of(&former.object).unwrap_or("Object"),
        "deleted": seconds(with.now),
    });
    Ok((tombstone, former))
}

fn of_author(with: &Preparing<'_>, id: &str) -> Result<Owned, Refusal> {
    match owned(with.state, id)? {
        None => Err(Refusal::new(Problem::UnknownReference, format!("{id} was not made here"))),
        Some(owned) if owned.actor != with.actor => {
            Err(Refusal::new(Problem::NotAuthorised, format!("{id} is not of {}", with.actor)))
        }
        Some(owned) if owned.deleted => {
            Err(Refusal::new(Problem::UnknownReference, format!("{id} was deleted")))
        }
        Some(owned) => Ok(owned),
    }
}
