//! Decisions of the instance actor, before they are published.

use fedsx_kernel::activity::id_of;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Preparing;
use fedsx_kernel::state::StateView;
use fedsx_kernel::{Activity, Base};
use serde_json::{Map, Value, json};

use super::references;
use crate::actors;
use crate::moderation::{self, Action, Subject, report};
use crate::readers::is_confidential;

/// What the members of a decision mean.
pub(super) fn terms() -> Value {
    json!({
        "Moderate": "fedsx:Moderate",
        "action": "fedsx:action",
        "reason": "fedsx:reason",
        "source": "fedsx:source",
        "token": "fedsx:token",
    })
}

/// Names what is decided about, and refuses what would decide nothing, or about the wrong one. The
/// answer is the context of a decision; `None` for the Block of an actor for itself.
pub(super) fn prepare(
    with: &Preparing<'_>,
    kind: &str,
    content: &mut Map<String, Value>,
) -> Result<Option<Value>, Refusal> {
    if !is_by_moderator(with) {
        if kind == moderation::MODERATE {
            let detail = "only the actor of the instance decides for it";
            return Err(Refusal::new(Problem::NotAuthorised, detail));
        }
        return Ok(None);
    }
    let named = content.get("object").and_then(id_of).unwrap_or_default();
    if named.parse::<fedsx_kernel::Cid>().is_ok() {
        return Ok(None);
    }
    let invalid = |detail: String| Refusal::new(Problem::InvalidActivity, detail);
    let resolves = content.get("action").and_then(Value::as_str) == Some(report::RESOLVE);
    if resolves && kind == moderation::MODERATE {
        let held = with.log.by_id(named)?;
        return match held.filter(|activity| is_confidential(activity)) {
            Some(_) => Ok(Some(terms())),
            None => {
                let detail = format!("object: there is no report {named} here");
                Err(Refusal::new(Problem::UnknownReference, detail))
            }
        };
    }
    let subject: Subject = match references::actor_id(with, named) {
        id if with.base.name_of(&id).is_some() => Subject::Actor(id),
        text => text.parse().map_err(|e| invalid(format!("object: {e}")))?,
    };
    let action = match content.get("action") {
        _ if kind != moderation::MODERATE => Action::Block,
        Some(Value::String(action)) => {
            action.parse().map_err(|e| invalid(format!("action: {e}")))?
        }
        _ => return Err(invalid("action: what is decided".into())),
    };
    fits(with, action, &subject).map_err(|detail| invalid(format!("object: {detail}")))?;
    if let Subject::Actor(id) = &subject
        && with.base.is_local(id)
        && actors::deleted(with.state, id)? != Some(false)
        && action != Action::AllowList
    {
        return Err(Refusal::new(Problem::UnknownActor, format!("there is no actor {id}")));
    }
    let object = match action {
        Action::AllowList => with.base.to_string(),
        _ => subject.object(),
    };
    content.insert("object".into(), object.into());
    Ok(Some(terms()))
}

/// Whether the actor of the instance itself publishes.
pub(super) fn is_by_moderator(with: &Preparing<'_>) -> bool {
    with.actor == moderation::moderator(with.base)
}

fn fits(with: &Preparing<'_>, action: Action, subject: &Subject) -> Result<(), String> {
    let object = subject.object();
    let is_own = with.base.is_local(&object);
    let is_moderator = object == with.actor;
    match (action, subject) {
        (Action::AllowList, about) if is_itself(with.base, about) => Ok(()),
        (Action::AllowList, _) => Err("the list of who is allowed is that of this instance".into()),
        (_, Subject::Domain { .. }) if subject.covers(with.base.as_str()) => {
            Err(format!("{subject} is, or covers, this instance itself"))
        }
        (Action::Suspend, _) if !is_own || is_moderator => {
            Err("actors of this instance are suspended, others are blocked".into())
        }
        (Action::Block, _) if is_own => Err(format!("{object} lives here: it can be suspended")),
        (Action::Allow, Subject::Actor(_)) => {
            Err("domains are allowed; a block of an actor is undone".into())
        }
        _ => Ok(()),
    }
}

/// Whether this is the instance itself, and nothing more.
fn is_itself(base: &Base, subject: &Subject) -> bool {
    base.as_str().parse().is_ok_and(|itself: Subject| itself == *subject)
}

/// What a suspended actor is refused with.
pub(super) fn suspended(actor: &str) -> Refusal {
    Refusal::new(Problem::ActorSuspended, format!("{actor} is suspended"))
}

/// A suspended actor says nothing, and nobody here follows whom the instance blocks.
pub(super) fn may_speak(
    base: &Base,
    state: &dyn StateView,
    activity: &Activity,
) -> Result<(), Refusal> {
    let author = activity.actor();
    if moderation::is_suspended(state, author)? {
        return Err(suspended(author));
    }
    if activity.kind() == "Follow"
        && let Some(followed) = activity.object_id()
        && moderation::standing(base, state, followed)?.blocked
    {
        return Err(Refusal::new(Problem::Blocked, format!("{followed} is blocked here")));
    }
    Ok(())
}
