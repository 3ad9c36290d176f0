//! References in requests: bare CIDs and names become URLs.

use std::sync::Arc;

use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Preparing;
use fedsx_kernel::{Activity, ActorName, Cid};
use serde_json::{Map, Value};

use crate::definition::RefersTo;
use crate::readers;

/// A bare CID as its URL on the wire, and the activity that it names.
pub(super) fn by_cid(
    with: &Preparing<'_>,
    cid: &Cid,
    refers_to: RefersTo,
) -> Result<(String, Arc<Activity>), Refusal> {
    let activity = readable(with, cid)?.ok_or_else(|| not_held(&cid.to_string()))?;
    let created = activity.object_id().filter(|_| {
        refers_to == RefersTo::Object && matches!(activity.kind(), "Create" | "Update")
    });
    let id = created.unwrap_or_else(|| activity.id()).to_owned();
    Ok((id, activity))
}

/// An activity named by id, by bare CID, or embedded with an id.
pub(super) fn activity(with: &Preparing<'_>, value: &Value) -> Result<Arc<Activity>, Refusal> {
    let id = fedsx_kernel::activity::id_of(value)
        .ok_or_else(|| Refusal::new(Problem::InvalidActivity, "object: must name an activity"))?;
    if let Ok(cid) = id.parse::<Cid>() {
        return by_cid(with, &cid, RefersTo::Activity).map(|(_, activity)| activity);
    }
    let held = with.log.by_id(id)?;
    let readable = held.map(|activity| readable(with, activity.cid())).transpose()?.flatten();
    readable.ok_or_else(|| not_held(id))
}

/// An activity that the publishing actor may read. For what it may not read the answer is that
/// of what is not held: CIDs of private activities are known to many, their content is not.
fn readable(with: &Preparing<'_>, cid: &Cid) -> Result<Option<Arc<Activity>>, Refusal> {
    let Some(record) = with.log.first(cid)? else { return Ok(None) };
    if record.activity.is_erased() {
        return Err(Refusal::new(Problem::Erased, format!("what {cid} said was erased"))
            .with("cid", cid.to_string()));
    }
    let may = readers::may_read(with.base, with.state, with.log, Some(with.actor), &record)?;
    Ok(may.then_some(record.activity))
}

fn not_held(id: &str) -> Refusal {
    Refusal::new(Problem::UnknownReference, format!("the activity {id} is not held here"))
}

/// An activity as it is embedded into another: without proof and context.
pub(super) fn embedded(activity: &Activity) -> Value {
    let mut members = activity.document().clone();
    for name in ["@context", "proof", "salt"] {
        members.remove(name);
    }
    Value::Object(members)
}

/// A recipient or target in a request: a local name becomes its actor's id, everything else
/// stays as it is.
pub(super) fn actor_id(with: &Preparing<'_>, text: &str) -> String {
    match text.parse::<ActorName>() {
        Ok(name) => with.base.actor(&name),
        Err(_) => text.to_owned(),
    }
}

/// Whether the object of this verb is an actor.
pub(super) fn names_actor(kind: &str) -> bool {
    matches!(kind, "Follow" | "Block" | "Flag" | "Move")
}

/// What a text in `object` names: an http(s) URL, or a local actor by its name where the verb is
/// about actors.
pub(super) fn target(
    with: &Preparing<'_>,
    text: &str,
    names_actor: bool,
) -> Result<String, Refusal> {
    let id = if names_actor { actor_id(with, text) } else { text.to_owned() };
    if fedsx_kernel::address::origin_of(&id).is_some() {
        return Ok(id);
    }
    let shown: String = text.chars().take(100).collect();
    Err(Refusal::new(
        Problem::UnknownReference,
        format!("object: {shown:?} is neither a CID nor an http(s) URL"),
    ))
}

/// A member that must be an id, from a string or an embedded object.
pub(super) fn required_id(
    members: &Map<String, Value>,
    name: &'static str,
) -> Result<String, Refusal> {
    members
        .get(name)
        .and_then(fedsx_kernel::activity::id_of)
        .map(str::to_owned)
        .ok_or_else(|| Refusal::new(Problem::InvalidActivity, format!("{name}: must be an id")))
}
