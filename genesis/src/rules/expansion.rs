//! Audiences by name: `audience:NAME` among the recipients of a request stands for those whom
//! the definition in force lists when the activity is published.

use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Preparing;

use super::audience::{FOLLOWERS, PUBLIC, is_public};
use super::{definitions, references};
use crate::definition::Kind;
use crate::fold::GRAPH;
use crate::graph::Graph;
use crate::registry;

/// How a request or a definition names an audience.
pub const NAMED: &str = "audience:";
/// How deep audiences may name audiences.
pub(super) const MAX_NESTING: usize = 4;
/// The most recipients that one activity names.
const MAX_RECIPIENTS: usize = 2_000;

/// One recipient of a request in its published form, or everyone whom it stands for.
pub(super) fn recipients(with: &Preparing<'_>, id: &str) -> Result<Vec<String>, Refusal> {
    let mut ids = Vec::new();
    expand(with, id, 0, &mut ids)?;
    Ok(ids)
}

fn expand(
    with: &Preparing<'_>,
    id: &str,
    depth: usize,
    into: &mut Vec<String>,
) -> Result<(), Refusal> {
    if let Some(name) = id.strip_prefix(NAMED) {
        let definition = audience(with, name)?;
        if depth >= MAX_NESTING {
            return Err(refused(format!("{name} nests deeper than {MAX_NESTING}")));
        }
        for id in definition.ids() {
            expand(with, id, depth + 1, into)?;
        }
        return Ok(());
    }
    if depth > 0 && id == with.base.of_actor(with.name, "following") {
        let following =
            Graph::new(GRAPH).following(with.state, with.actor, None, MAX_RECIPIENTS + 1)?;
        return following.into_iter().try_for_each(|id| add(into, id));
    }
    add(
        into,
        if is_public(id) {
            PUBLIC.to_owned()
        } else if id == FOLLOWERS {
            with.base.of_actor(with.name, "followers")
        } else {
            references::actor_id(with, id)
        },
    )
}

fn add(into: &mut Vec<String>, id: String) -> Result<(), Refusal> {
    if into.len() >= MAX_RECIPIENTS {
        return Err(refused(format!("more than {MAX_RECIPIENTS} recipients")));
    }
    if !into.contains(&id) {
        into.push(id);
    }
    Ok(())
}

/// The definition of an audience, where the author of the request can know it.
fn audience(with: &Preparing<'_>, name: &str) -> Result<crate::definition::Definition, Refusal> {
    let unknown = || {
        Refusal::new(
            Problem::UnknownReference,
            format!("the audience {name:?} is not defined here, or not for you to use"),
        )
    };
    let held = registry::find(with.state, Kind::Audiences, name)?.ok_or_else(unknown)?;
    if !definitions::known(with, &held)? {
        return Err(unknown());
    }
    let definition = held.definition()?;
    if definition.get("ids").is_none() {
        return Err(refused(format!("{name} is a subscription, which lists nobody")));
    }
    Ok(definition)
}

fn refused(detail: String) -> Refusal {
    Refusal::new(Problem::InvalidActivity, format!("audience: {detail}"))
}
