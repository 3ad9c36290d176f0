//! Requests that change the registry: publishing, adopting and withdrawing definitions.

use fedsx_kernel::Cid;
use fedsx_kernel::activity::{Activity, id_of};
use fedsx_kernel::log::Stream;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Preparing;
use serde_json::{Map, Value, json};

use super::audience::{self, is_public};
use crate::definition::{Definition, Kind};
use crate::registry::{self, InForce, Registry, Source, Standing};

/// A definition that a request names, and the activity by which the request does, if by one.
pub(super) struct Named {
    cid: Cid,
    published: Option<Cid>,
}

/// Only who has the scope `define` changes what is in force.
pub(super) fn allowed(with: &Preparing<'_>) -> Result<(), Refusal> {
    if with.defines {
        return Ok(());
    }
    Err(Refusal::new(
        Problem::InsufficientScope,
        "the token lacks the scope define, and this changes what is defined here",
    )
    .with("failed_check", "scope:define"))
}

/// The definition that the `object` of an `Add` or `Remove` names: by its CID or URL, by the CID
/// or id of the activity that published it, or embedded. `None` where it names something else.
pub(super) fn named(with: &Preparing<'_>, object: &Value) -> Result<Option<Named>, Refusal> {
    let cid = match object {
        Value::Object(_) => match Definition::parse(object) {
            Ok(definition) => Some(*definition.cid()),
            Err(_) => None,
        },
        Value::String(text) => text.parse().ok().or_else(|| registry::cid_in(text)),
        _ => None,
    };
    if let Some(cid) = cid
        && !Registry::ADMISSION.sources(with.state, &cid)?.is_empty()
    {
        return Ok(Some(Named { cid, published: None }));
    }
    let Some(id) = id_of(object) else { return Ok(None) };
    let activity = match id.parse::<Cid>() {
        Ok(cid) => with.log.activity(&cid)?,
        Err(_) => with.log.by_id(id)?,
    };
    let Some(activity) = activity else { return Ok(None) };
    let published = Kind::of_type(activity.kind()).is_some();
    let definition = if published {
        let object = activity.object().unwrap_or(&Value::Null);
        Definition::published(activity.kind(), object).ok()
    } else {
        registry::adopted(&activity)
    };
    Ok(definition.map(|definition| Named {
        cid: *definition.cid(),
        published: published.then(|| *activity.cid()),
    }))
}

/// The first source that still stands and that the author of the request can know.
fn source(with: &Preparing<'_>, named: &Named) -> Result<(Definition, Source), Refusal> {
    let cid = named.cid;
    let mut taken_back = false;
    for source in Registry::ADMISSION.sources(with.state, &cid)? {
        if named.published.is_some() && named.published != source.activity {
            continue;
        }
        if source.withdrawn {
            taken_back = true;
            continue;
        }
        let definition = match &source.activity {
            None => Registry::ADMISSION
                .standing(with.state, source.kind, &source.name)?
                .into_iter()
                .find(|held| held.cid == cid)
                .map(|held| held.definition())
                .transpose()?,
            Some(published) => match with.log.activity(published)? {
                Some(activity) if reached(with, &activity)? => {
                    let object = activity.object().unwrap_or(&Value::Null);
                    Definition::published(activity.kind(), object).ok()
                }
                _ => None,
            },
        };
        if let Some(definition) = definition {
            return Ok((definition, source));
        }
    }
    let detail = if taken_back {
        format!("the definition {cid} was withdrawn by its author")
    } else {
        format!("the definition {cid} is not known here")
    };
    Err(Refusal::new(Problem::UnknownReference, detail))
}

/// Whether the author of the request can know an activity.
fn reached(with: &Preparing<'_>, activity: &Activity) -> Result<bool, Refusal> {
    if activity.actor() == with.actor || is_public_activity(activity) {
        return Ok(true);
    }
    let inbox = Stream::Inbox(with.name.clone());
    Ok(with.log.store().position(&inbox, activity.cid())?.is_some())
}

/// Whether the author of the request can know a definition that is in force.
pub(super) fn known(with: &Preparing<'_>, held: &InForce) -> Result<bool, Refusal> {
    if held.standing == Standing::Genesis {
        return Ok(true);
    }
    for id in [&held.origin, &held.by] {
        if let Some(activity) = with.log.by_id(id)?
            && reached(with, &activity)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_public_activity(activity: &Activity) -> bool {
    activity.audience().iter().any(|id| is_public(id))
}

/// An `Add` states the definition that it adopts in full, and where it comes from: what is in
/// force follows from our own log alone.
pub(super) fn adopt(
    with: &Preparing<'_>,
    content: &mut Map<String, Value>,
    named: &Named,
) -> Result<(), Refusal> {
    allowed(with)?;
    let (definition, source) = source(with, named)?;
    let Some(published) = source.activity else {
        return Err(Refusal::new(
            Problem::InvalidActivity,
            "object: a definition of the genesis bundle is in force without being adopted",
        ));
    };
    content.insert("object".into(), definition.document().clone());
    let origin = json!({
        "id": source.origin,
        "type": definition.document().get("type").cloned().unwrap_or_default(),
        "actor": source.author,
    });
    content.insert("origin".into(), origin);
    let is_for_all = match with.log.activity(&published)? {
        Some(activity) => is_public_activity(&activity),
        None => false,
    };
    let says = audience::MEMBERS.iter().any(|member| content.contains_key(*member));
    if !is_for_all && !says {
        // What is adopted is shown to nobody who could not see it before.
        content.insert("to".into(), json!([]));
    }
    Ok(())
}

/// A `Remove` names the definition that it ends by its URL here.
pub(super) fn withdraw(
    with: &Preparing<'_>,
    content: &mut Map<String, Value>,
    named: &Named,
) -> Result<(), Refusal> {
    allowed(with)?;
    let mut held = Vec::new();
    for source in Registry::ADMISSION.sources(with.state, &named.cid)? {
        let all = Registry::ADMISSION.standing(with.state, source.kind, &source.name)?;
        held.extend(all.into_iter().filter(|held| held.cid == named.cid));
    }
    if held.is_empty() {
        return Err(Refusal::new(
            Problem::UnknownReference,
            format!("the definition {} has no effect here", named.cid),
        ));
    }
    if held.iter().all(|held| held.standing == Standing::Genesis) {
        return Err(Refusal::new(
            Problem::NotAuthorised,
            "object: what the genesis bundle defines cannot be removed",
        ));
    }
    content.insert("object".into(), registry::url(with.base, &named.cid).into());
    Ok(())
}

/// Taking back a definition, or its adoption, changes what is defined; the answer is whether this
/// does.
pub(super) fn undo(with: &Preparing<'_>, undone: &Activity) -> Result<bool, Refusal> {
    let changes = Kind::of_type(undone.kind()).is_some() || registry::adopted(undone).is_some();
    if changes {
        allowed(with)?;
    }
    Ok(changes)
}
