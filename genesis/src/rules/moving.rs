//! An actor of ours moves, and what it may say afterwards; its other names.

use fedsx_kernel::Activity;
use fedsx_kernel::activity::{id_of, ids_in};
use fedsx_kernel::address::origin_of;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Preparing;
use fedsx_kernel::state::StateView;
use serde_json::{Map, Value, json};

use super::{is_public, references};
use crate::actors;
use crate::moves::{self, MAX_ALIASES};

/// What an actor that moved may still say: what ends, answers and protects.
const AFTERWARDS: [&str; 8] =
    ["Accept", "Block", "Delete", "Flag", "Reject", "Remove", "Undo", "Update"];

/// Names the author and the target of a Move by their ids.
pub(super) fn prepare(
    with: &Preparing<'_>,
    content: &mut Map<String, Value>,
) -> Result<(), Refusal> {
    let object = content.get("object").and_then(id_of).unwrap_or(with.actor);
    if references::actor_id(with, object) != with.actor {
        let detail = format!("object: {} moves itself only", with.actor);
        return Err(Refusal::new(Problem::NotAuthorised, detail));
    }
    let target = references::required_id(content, "target")?;
    let target = references::target(with, &target, true)?;
    content.insert("object".into(), with.actor.into());
    content.insert("target".into(), target.into());
    Ok(())
}

/// A Move changes what everyone is shown of its actor.
pub(super) fn for_everyone(content: &Map<String, Value>) -> Result<(), Refusal> {
    let named = ["to", "cc"].into_iter().flat_map(|member| ids_in(content.get(member)));
    if named.into_iter().any(is_public) {
        return Ok(());
    }
    Err(Refusal::new(Problem::InvalidActivity, "to: a Move is for everyone"))
}

/// Whether the author is still where it says this, and may move where it wants to.
pub(super) fn may_speak(state: &dyn StateView, activity: &Activity) -> Result<(), Refusal> {
    let (kind, actor) = (activity.kind(), activity.actor());
    if !AFTERWARDS.contains(&kind)
        && let Some(held) = actors::held(state, actor)?
        && let Some(to) = moves::moved_to(held.document())
    {
        let detail =
            format!("{actor} moved to {to}; an Update with movedTo null makes it speak again");
        return Err(Refusal::new(Problem::NotAuthorised, detail).with("movedTo", to));
    }
    if kind != "Move" {
        return Ok(());
    }
    let refuse =
        |reason: &str| Err(Refusal::new(Problem::NotAuthorised, format!("target: {reason}")));
    let Some(target) = moves::target(activity) else {
        return refuse("an actor moves to another one");
    };
    match moves::unfit(actors::actor(state, target)?.as_ref(), actor) {
        Some(reason) => refuse(reason),
        None => Ok(()),
    }
}

/// The other names of an actor of ours: ids, or names of actors here, as a list of ids.
pub(super) fn aliases(with: &Preparing<'_>, value: &Value) -> Result<Value, Refusal> {
    let fail =
        |detail: String| Refusal::new(Problem::InvalidActivity, format!("alsoKnownAs: {detail}"));
    let items = match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    if items.len() > MAX_ALIASES {
        return Err(fail(format!("at most {MAX_ALIASES} are taken")));
    }
    let mut ids = Vec::new();
    for item in items {
        let id = item.as_str().map(|text| references::actor_id(with, text));
        let Some(id) = id.filter(|id| origin_of(id).is_some() && id != with.actor) else {
            return Err(fail("must be ids of other actors".into()));
        };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(json!(ids))
}
