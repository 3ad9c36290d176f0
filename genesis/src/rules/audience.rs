//! Whom an activity is for.

use std::collections::HashSet;

use fedsx_kernel::activity::{id_of, ids_in};
use fedsx_kernel::address::origin_of;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Preparing;
use fedsx_kernel::state::{StateError, StateView};
use fedsx_kernel::{Activity, ActorName, Base};
use serde_json::{Map, Value};

use super::expansion::{self, NAMED};
use crate::actors;
use crate::definition::AudienceToken;
use crate::fold::{GRAPH, blocks, owned};
use crate::forwarding;
use crate::graph::Graph;
use crate::moderation::is_suspended;
use crate::readers::is_confidential;

/// Everyone (ActivityPub, section 5.6).
pub const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";
/// The author's followers, as a request may call them.
pub const FOLLOWERS: &str = "Followers";

/// The members that name recipients.
pub(super) const MEMBERS: [&str; 5] = ["to", "cc", "bto", "bcc", "audience"];

/// Followers read at once when an audience is expanded.
const PAGE: usize = 1000;

/// Whether an id stands for everyone.
pub fn is_public(id: &str) -> bool {
    id == PUBLIC || id == "as:Public" || id == "Public"
}

/// Brings the audience of a request into its published form: `to` and `cc` as arrays of full
/// ids. What is hidden is taken out and returned.
pub(super) fn settle(
    with: &Preparing<'_>,
    content: &mut Map<String, Value>,
    tokens: &[AudienceToken],
    creates: bool,
) -> Result<Vec<String>, Refusal> {
    check(content)?;
    if let Some(Value::Object(object)) = content.get("object").filter(|_| creates) {
        check(object)?;
    }
    let named = |member: &str, content: &Map<String, Value>| -> Result<Vec<String>, Refusal> {
        let mut ids: Vec<String> = Vec::new();
        for id in ids_in(content.get(member)) {
            extend(&mut ids, expansion::recipients(with, id)?);
        }
        Ok(ids)
    };
    // Naming nobody on purpose is not the same as not naming anybody.
    let mut names_any = MEMBERS.iter().any(|member| content.contains_key(*member));
    let (mut to, mut cc) = (named("to", content)?, named("cc", content)?);
    let mut hidden = named("bto", content)?;
    extend(&mut hidden, named("bcc", content)?);
    if let Some(Value::Object(object)) = content.get("object").filter(|_| creates) {
        // The recipients of the object are those of its Create (ActivityPub, section 6.2).
        names_any |= MEMBERS.iter().any(|member| object.contains_key(*member));
        extend(&mut to, named("to", object)?);
        extend(&mut cc, named("cc", object)?);
        for member in ["bto", "bcc"] {
            extend(&mut hidden, named(member, object)?);
        }
    }
    super::objects::strip_hidden(content);
    if !names_any {
        (to, cc) = usual(with, content, tokens)?;
    }
    for (member, ids) in [("to", to), ("cc", cc)] {
        if ids.is_empty() {
            content.remove(member);
        } else {
            content.insert(member.into(), ids.into());
        }
    }
    Ok(hidden)
}

fn extend(ids: &mut Vec<String>, more: Vec<String>) {
    for id in more {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
}

/// Recipients are ids: what is none must not silently make the audience another one.
fn check(members: &Map<String, Value>) -> Result<(), Refusal> {
    for name in MEMBERS {
        let fits = match members.get(name) {
            None => true,
            Some(Value::Array(items)) => items.iter().all(is_recipient),
            Some(one) => is_recipient(one),
        };
        if !fits {
            return Err(Refusal::new(
                Problem::InvalidActivity,
                format!("{name}: recipients are ids of actors and collections"),
            ));
        }
    }
    Ok(())
}

fn is_recipient(value: &Value) -> bool {
    let named = |id: &str| is_public(id) || id == FOLLOWERS || id.parse::<ActorName>().is_ok();
    id_of(value).is_some_and(|id| named(id) || id.starts_with(NAMED) || origin_of(id).is_some())
}

/// The audience of an activity whose author names nobody, as the verb's definition says.
fn usual(
    with: &Preparing<'_>,
    content: &Map<String, Value>,
    tokens: &[AudienceToken],
) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let (mut to, mut cc): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let object = content.get("object");
    let within = |member: &str| object.and_then(|object| object.get(member));
    for token in tokens {
        let (into, ids): (&mut Vec<String>, Vec<&str>) = match token {
            AudienceToken::Public => (&mut to, vec![PUBLIC]),
            AudienceToken::Followers => {
                cc.push(with.base.of_actor(with.name, "followers"));
                continue;
            }
            AudienceToken::Object => (&mut to, object.and_then(id_of).into_iter().collect()),
            AudienceToken::ObjectActor => (&mut to, ids_in(within("actor"))),
            AudienceToken::ObjectObject => {
                // To a thing that is no actor nothing can be sent: a dead letter would be all.
                let about_actors =
                    object.and_then(super::kind_in).is_some_and(super::references::names_actor);
                let mut ids = Vec::new();
                for id in ids_in(within("object")) {
                    if about_actors || actors::held(with.state, id)?.is_some() {
                        ids.push(id);
                    }
                }
                (&mut to, ids)
            }
            AudienceToken::ObjectAttributedTo => (&mut to, ids_in(within("attributedTo"))),
            AudienceToken::ObjectTo => {
                let mut ids = ids_in(within("to"));
                ids.extend(ids_in(within("cc")));
                (&mut to, ids)
            }
        };
        for id in ids {
            if id != with.actor && !into.iter().any(|held| held == id) {
                into.push(id.to_owned());
            }
        }
    }
    Ok((to, cc))
}

/// The actors hosted here that an activity is for; one that blocks the author is not among them.
pub(super) fn local_recipients(
    base: &Base,
    instance: &ActorName,
    state: &dyn StateView,
    activity: &Activity,
    hidden: &[String],
) -> Result<Vec<ActorName>, StateError> {
    let author = activity.actor();
    if is_confidential(activity) {
        // Those who moderate are told, and nobody else, whomever it is addressed to.
        let objects = ids_in(activity.object());
        let concerns = base.is_local(author) || objects.iter().any(|id| base.is_local(id));
        return Ok(if concerns { vec![instance.clone()] } else { Vec::new() });
    }
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    let mut add = |id: &str| -> Result<(), StateError> {
        let Some(name) = base.name_of(id).filter(|_| id != author) else { return Ok(()) };
        let lives = actors::deleted(state, id)? == Some(false) && !is_suspended(state, id)?;
        if lives && !blocks(state, id, author)? && seen.insert(name.clone()) {
            names.push(name);
        }
        Ok(())
    };
    let mut to_followers = false;
    let known = actors::held(state, author)?;
    let followers_of_author = known.as_ref().and_then(|known| known.followers());
    for id in activity.audience().into_iter().chain(hidden.iter().map(String::as_str)) {
        if is_public(id) || Some(id) == followers_of_author {
            to_followers = true;
        }
        add(id)?;
    }
    // What answers or ends something of ours concerns us even where nobody is addressed.
    if !base.is_local(author) {
        let inner = activity.object().and_then(|object| object.get("object")).and_then(id_of);
        let inner_actor = activity.object().and_then(|object| object.get("actor")).and_then(id_of);
        let replied_to = activity.object().and_then(|object| object.get("inReplyTo"));
        for id in [activity.object_id(), inner, inner_actor].into_iter().flatten() {
            add(id)?;
        }
        // Likes, shares and replies often name nobody: they concern the owner of the object.
        let objects = [activity.object_id(), inner, replied_to.and_then(id_of)];
        for id in objects.into_iter().flatten().filter(|id| base.is_local(id)) {
            if let Some(object) = owned(state, id)? {
                add(&object.actor)?;
            }
        }
    }
    let mut followed = forwarding::followed(base, state, activity)?;
    if to_followers {
        followed.push(author.to_owned());
    }
    for followed in followed {
        let graph = Graph::new(GRAPH);
        let mut after: Option<String> = None;
        loop {
            let page =
                graph.followers_at(state, &followed, base.as_str(), after.as_deref(), PAGE)?;
            for follower in &page {
                add(follower)?;
            }
            if page.len() < PAGE {
                break;
            }
            after = page.into_iter().next_back();
        }
    }
    // What changes or ends a thing must reach whoever holds it. Those who were mentioned in it may be
    // named in its Create only: the instance itself takes the rest for them.
    let tells = matches!(activity.kind(), "Update" | "Delete" | "Undo");
    if names.is_empty() && tells && known.is_some() && !base.is_local(author) {
        names.push(instance.clone());
    }
    Ok(names)
}
