//! What is forwarded from inboxes (ActivityPub, section 7.1.2): an activity by somebody elsewhere that
//! is addressed to the followers of another actor and refers to something of that actor's instance.
//!
//! The author cannot know who those followers are. The instance of the one whom they follow does: it
//! gives the activity to those here, and passes it on to the instances of the others. These find
//! out in the same way for whom of theirs it is.

use fedsx_kernel::activity::{id_of, ids_in};
use fedsx_kernel::address::same_origin;
use fedsx_kernel::state::{StateError, StateView};
use fedsx_kernel::{Activity, Base};
use serde_json::{Map, Value};

use crate::actors;
use crate::fold::{blocks, owned};
use crate::moderation::is_suspended;

/// What an activity refers to something by.
const REFERENCES: [&str; 3] = ["object", "target", "inReplyTo"];
/// How deep embedded objects are looked into: that of an `Undo` of a `Create` is the second.
const MAX_DEPTH: usize = 3;
/// References that are looked at.
const MAX_REFERENCES: usize = 32;
/// Actors to whose followers one activity goes.
const MAX_OWNERS: usize = 4;
/// How the collection of an actor's followers is named after it.
const FOLLOWERS: &str = "/followers";

/// The actors to whose followers an activity by somebody else goes, in the order in which they are
/// addressed.
///
/// # Errors
/// Where the state cannot be read.
pub fn followed(
    base: &Base,
    state: &dyn StateView,
    activity: &Activity,
) -> Result<Vec<String>, StateError> {
    let mut found = Vec::new();
    if base.is_local(activity.actor()) {
        return Ok(found);
    }
    for (owner, collection) in addressed(activity) {
        let is_new = !found.iter().any(|held| held == owner);
        if is_new
            && owner_of(state, collection)?.is_some()
            && concerns(base, state, activity, owner)?
        {
            found.push(owner.to_owned());
        }
    }
    Ok(found)
}

/// Whether an activity from elsewhere is addressed to followers of actors that are hosted here.
pub fn is_for_followers_of_ours(base: &Base, activity: &Activity) -> bool {
    !base.is_local(activity.actor()) && addressed(activity).any(|(owner, _)| base.is_local(owner))
}

/// The actor whose followers a collection is, where that is known.
///
/// # Errors
/// Where the state cannot be read.
pub fn owner_of<'a>(state: &dyn StateView, id: &'a str) -> Result<Option<&'a str>, StateError> {
    let Some(owner) = id.strip_suffix(FOLLOWERS) else { return Ok(None) };
    let known = actors::held(state, owner)?.filter(|known| !known.is_deleted());
    Ok(known.is_some_and(|known| known.followers() == Some(id)).then_some(owner))
}

/// Who, other than the author, may be meant by collections that an activity is addressed to.
fn addressed(activity: &Activity) -> impl Iterator<Item = (&str, &str)> {
    let named = ["to", "cc", "audience"].into_iter().flat_map(|name| ids_in(activity.get(name)));
    let collections = named.filter_map(|id| Some((id.strip_suffix(FOLLOWERS)?, id)));
    collections.filter(|(owner, _)| *owner != activity.actor()).take(MAX_OWNERS)
}

/// Whether an activity refers to something of the instance of `owner`, who does not keep the author
/// out. Of what is here it is known that it is there.
fn concerns(
    base: &Base,
    state: &dyn StateView,
    activity: &Activity,
    owner: &str,
) -> Result<bool, StateError> {
    let ids = references(activity);
    if !base.is_local(owner) {
        return Ok(ids.into_iter().any(|id| same_origin(id, owner)));
    }
    if blocks(state, owner, activity.actor())? || is_suspended(state, owner)? {
        return Ok(false);
    }
    for id in ids {
        if base.is_local(id) && owned(state, id)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The ids to which an activity refers, and the objects that are embedded in it.
fn references(activity: &Activity) -> Vec<&str> {
    let mut found = Vec::new();
    refer(activity.document(), MAX_DEPTH, &mut found);
    found
}

fn refer<'a>(document: &'a Map<String, Value>, depth: usize, found: &mut Vec<&'a str>) {
    for member in REFERENCES {
        let Some(value) = document.get(member) else { continue };
        let room = MAX_REFERENCES.saturating_sub(found.len());
        found.extend(ids_in(Some(value)).into_iter().take(room));
        let one = std::slice::from_ref(value);
        let values = value.as_array().map_or(one, Vec::as_slice);
        for inner in values.iter().filter_map(Value::as_object).filter(|_| depth > 1) {
            if found.len() < MAX_REFERENCES {
                refer(inner, depth - 1, found);
            }
        }
    }
}

/// The objects of its own that an activity brings: by these its author speaks of them later.
pub fn subjects(activity: &Activity) -> Vec<&str> {
    let own = activity.object().filter(|object| object.is_object()).and_then(id_of);
    let own = own.filter(|id| same_origin(id, activity.actor()));
    [Some(activity.id()), own].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn activity(mut content: Value) -> Activity {
        let members = content.as_object_mut().unwrap();
        members.insert("actor".into(), json!("https://c.example/actors/carol"));
        members.insert("id".into(), json!("https://c.example/1"));
        Activity::from_document(content).unwrap()
    }

    #[test]
    fn references_are_found_within_limits() {
        let reply =
            |to: &str| json!({"type": "Note", "id": "https://c.example/n", "inReplyTo": to});
        let create = json!({"type": "Create", "object": reply("https://b.example/n")});
        assert_eq!(
            references(&activity(create.clone())),
            ["https://c.example/n", "https://b.example/n"]
        );
        let undo = json!({"type": "Undo", "object": create});
        assert!(references(&activity(undo.clone())).contains(&"https://b.example/n"));
        let deep = json!({"type": "Undo", "object": undo});
        assert!(!references(&activity(deep)).contains(&"https://b.example/n"));
        let many: Vec<_> = (0..100).map(|n| format!("https://b.example/{n}")).collect();
        let many = json!({"type": "Like", "object": many, "target": many});
        assert_eq!(references(&activity(many)).len(), MAX_REFERENCES);
    }

    #[test]
    fn collections_of_others_are_told_by_their_owner() {
        let to = json!({"type": "Like", "object": "https://b.example/n", "to": [
            "https://b.example/actors/alice/followers", "https://c.example/actors/carol/followers",
            "https://b.example/actors/alice", crate::rules::PUBLIC,
        ]});
        let activity = activity(to);
        let found: Vec<_> = addressed(&activity).map(|(owner, _)| owner).collect();
        assert_eq!(found, ["https://b.example/actors/alice"]);
        let base = |text: &str| text.parse::<Base>().unwrap();
        assert!(is_for_followers_of_ours(&base("https://b.example"), &activity));
        assert!(!is_for_followers_of_ours(&base("https://a.example"), &activity));
        assert!(!is_for_followers_of_ours(&base("https://c.example"), &activity));
        let many = (0..10).map(|n| format!("https://b.example/actors/{n}/followers"));
        let many = json!({"type": "Like", "cc": many.collect::<Vec<_>>()});
        assert_eq!(addressed(&self::activity(many)).count(), MAX_OWNERS);
    }
}
