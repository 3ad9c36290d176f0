//! Reports (`Flag`): what they name, and who is told.
//!
//! A report is for those who moderate: the instance of what is reported, and this one. It goes to
//! no other actor here, whoever its author or a peer addressed it to.

use fedsx_kernel::Cid;
use fedsx_kernel::activity::{id_of, ids_in};
use fedsx_kernel::address::{origin_of, same_origin};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Preparing;
use fedsx_kernel::state::prefix;
use serde_json::{Map, Value};

use super::{audience, references};
use crate::actors;
use crate::definition::RefersTo;

/// The most that one report of ours names.
const MAX_REPORTED: usize = 100;
/// Actors of an origin that are looked at for a shared inbox.
const MAX_LOOKED_AT: usize = 16;

/// Brings the objects of a report into their published form, and addresses it to one actor of each
/// instance that it concerns.
pub(super) fn prepare(
    with: &Preparing<'_>,
    content: &mut Map<String, Value>,
) -> Result<(), Refusal> {
    let (given, many) = match content.remove("object") {
        Some(Value::Array(items)) => (items, true),
        Some(one) => (vec![one], false),
        None => (Vec::new(), false),
    };
    if given.is_empty() || given.len() > MAX_REPORTED {
        let detail = format!("object: a report names 1 to {MAX_REPORTED} objects or actors");
        return Err(Refusal::new(Problem::InvalidActivity, detail));
    }
    let (mut reported, mut told) = (Vec::new(), Vec::<String>::new());
    for value in given {
        let Reported { value, id, author } = resolve(with, value)?;
        if !with.base.is_local(&id) {
            let at = |held: &&mut String| same_origin(held, &id);
            match (told.iter_mut().find(at), author) {
                (None, author) => {
                    let known = author.map_or_else(|| anybody_at(with, &id), |id| Ok(Some(id)))?;
                    told.extend(known);
                }
                // Whom the author of the report names knows best.
                (Some(held), Some(author)) if author == id => *held = author,
                _ => {}
            }
        }
        reported.push(value);
    }
    let object = if many { Some(Value::Array(reported)) } else { reported.pop() };
    content.insert("object".into(), object.unwrap_or_default());
    for member in audience::MEMBERS {
        content.remove(member);
    }
    content.insert("bto".into(), told.into());
    Ok(())
}

/// One thing that is reported.
struct Reported {
    value: Value,
    id: String,
    /// Who made it, where that is known.
    author: Option<String>,
}

fn resolve(with: &Preparing<'_>, value: Value) -> Result<Reported, Refusal> {
    let named = id_of(&value)
        .ok_or_else(|| Refusal::new(Problem::InvalidActivity, "object: must have ids"))?;
    if let Ok(cid) = named.parse::<Cid>() {
        let (id, activity) = references::by_cid(with, &cid, RefersTo::Object)?;
        return Ok(Reported {
            value: id.clone().into(),
            id,
            author: Some(activity.actor().to_owned()),
        });
    }
    let id = references::target(with, named, true)?;
    let stated = ["attributedTo", "actor"].map(|member| ids_in(value.get(member)));
    let stated = stated.into_iter().flatten().find(|author| same_origin(author, &id));
    let author = if actors::actor(with.state, &id)?.is_some() {
        Some(id.clone())
    } else if let Some(author) = stated {
        Some(author.to_owned())
    } else {
        with.log.by_id(&id)?.map(|activity| activity.actor().to_owned())
    };
    let value = if value.is_string() { Value::from(id.clone()) } else { value };
    Ok(Reported { value, id, author })
}

/// An actor by whose shared inbox an instance can be told.
fn anybody_at(with: &Preparing<'_>, id: &str) -> Result<Option<String>, Refusal> {
    let Some(origin) = origin_of(id) else { return Ok(None) };
    // An origin holds nothing that keys escape, so the actors of one origin stand together.
    let below = format!("{}{origin}/", prefix(&["actor"]));
    let found = with.state.scan(&below, None, MAX_LOOKED_AT)?;
    let mut usable = found.into_iter().filter_map(|(_, actor)| {
        let document = actor.get("document")?;
        document.get("endpoints")?.get("sharedInbox")?.as_str()?;
        document.get("id")?.as_str().map(str::to_owned)
    });
    Ok(usable.next())
}
