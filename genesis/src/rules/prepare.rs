//! From a publish request to the content of an activity.

use std::sync::Arc;

use fedsx_kernel::activity::{id_of, kind_of};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::{Prepared, Preparing};
use fedsx_kernel::{ActorName, Cid, origin_of};
use serde_json::{Map, Value, json};

use super::actor_document::Updated;
use super::{
    actor_document, audience, definitions, moderating, moving, objects, references, reports,
    subscriptions,
};
use crate::actors::{self, is_actor_type};
use crate::definition::{Definition, Kind, RefersTo};
use crate::erasure::ERASE;
use crate::fold::owned;
use crate::moderation::MODERATE;
use crate::registry::Types;

/// Members that only the server gives.
const GIVEN: [&str; 7] = ["id", "proof", "seq", "epoch", "salt", "published", CAUSE];
/// The CID of the activity that set off a trigger.
const CAUSE: &str = "cause";
/// The collection of what an actor shows first, below its id.
const FEATURED: &str = "featured";

pub(super) fn prepare(
    types: &Types,
    with: &Preparing<'_>,
    mut request: Map<String, Value>,
) -> Result<Prepared, Refusal> {
    let cause = with.cause.map(Cid::to_string).filter(|cause| {
        let says = request.get(CAUSE).and_then(Value::as_str) == Some(cause);
        says && request.remove(CAUSE).is_some()
    });
    let mut content = wrapped(types, with, request)?;
    let kind = kind_of(&content).unwrap_or_default().to_owned();
    for name in GIVEN {
        content.remove(name);
    }
    let claimed = content.remove("actor");
    if let Some(claimed) = claimed.as_ref().and_then(id_of)
        && references::actor_id(with, claimed) != with.actor
    {
        return Err(Refusal::new(
            Problem::NotAuthorised,
            format!("actor: the token acts for {}", with.actor),
        ));
    }
    let definition = definition(types, with, &kind)?;
    let mut prepared = Draft { content, signing_key: None, barrier: false };
    if let Some(cause) = cause {
        prepared.content.insert(CAUSE.into(), cause.into());
        prepared.context(json!({ CAUSE: "fedsx:cause" }));
    }
    let public_object = matches!(kind.as_str(), "Create" | "Update");
    prepared.object(types, with, &kind, definition.refers_to())?;
    let creates = kind == "Create";
    let hidden = audience::settle(with, &mut prepared.content, definition.audience(), creates)?;
    if kind == "Move" {
        moving::for_everyone(&prepared.content)?;
    }
    if public_object {
        prepared.copy_audience();
    }
    prepared.define_terms();
    Ok(Prepared {
        content: prepared.content,
        hidden,
        signing_key: prepared.signing_key,
        barrier: prepared.barrier,
    })
}

fn definition(types: &Types, with: &Preparing<'_>, kind: &str) -> Result<Arc<Definition>, Refusal> {
    let found = types.find(with.state, Kind::ActivityTypes, kind)?.ok_or_else(|| {
        Refusal::new(
            Problem::UnknownActivityType,
            format!("the activity type {kind:?} is not registered here"),
        )
        .with("activity_type", kind)
    })?;
    Ok(found.definition.clone())
}

/// A bare object becomes the object of a `Create` (ActivityPub, section 6.2.1).
fn wrapped(
    types: &Types,
    with: &Preparing<'_>,
    request: Map<String, Value>,
) -> Result<Map<String, Value>, Refusal> {
    let kind = kind_of(&request)
        .ok_or_else(|| Refusal::new(Problem::InvalidActivity, "type: must be a string"))?;
    let is_verb = types.find(with.state, Kind::ActivityTypes, kind)?.is_some();
    let is_object = types.find(with.state, Kind::ObjectTypes, kind)?.is_some();
    if is_verb || !is_object {
        return Ok(request);
    }
    let mut activity = Map::new();
    activity.insert("type".into(), "Create".into());
    for member in ["to", "cc", "bto", "bcc", "audience", "@context"] {
        if let Some(value) = request.get(member) {
            activity.insert(member.into(), value.clone());
        }
    }
    activity.insert("object".into(), Value::Object(request));
    Ok(activity)
}

struct Draft {
    content: Map<String, Value>,
    signing_key: Option<String>,
    barrier: bool,
}

impl Draft {
    /// Brings `object` into the form in which the verb publishes it.
    fn object(
        &mut self,
        types: &Types,
        with: &Preparing<'_>,
        kind: &str,
        refers_to: RefersTo,
    ) -> Result<(), Refusal> {
        if matches!(kind, "Block" | MODERATE)
            && let Some(terms) = moderating::prepare(with, kind, &mut self.content)?
        {
            self.context(terms);
            return Ok(());
        }
        match kind {
            "Create" => return self.create(types, with),
            "Update" => return self.update(with),
            "Delete" => return self.delete(with),
            "Undo" => return self.undo(with),
            "Accept" | "Reject" => return self.answer(with),
            "Flag" => return reports::prepare(with, &mut self.content),
            "Move" => {
                self.barrier = true;
                return moving::prepare(with, &mut self.content);
            }
            "Subscribe" => return subscriptions::subscribe(with, &mut self.content),
            "Add" | "Remove" if self.redefine(with, kind)? => return Ok(()),
            "Add" | "Remove" => self.collected(with, kind)?,
            _ if Kind::of_type(kind).is_some() => return self.define(with, kind),
            _ => {}
        }
        let Some(Value::String(named)) = self.content.get("object") else { return Ok(()) };
        if let Ok(cid) = named.parse::<Cid>() {
            let (id, activity) = references::by_cid(with, &cid, refers_to)?;
            self.content.insert("object".into(), id.clone().into());
            if id != activity.id() {
                // What exactly was meant stays verifiable: an object changes, a CID does not.
                self.content.insert("objectCid".into(), cid.to_string().into());
                self.context(json!({ "objectCid": "fedsx:objectCid" }));
            }
            let author = activity.actor().to_owned();
            if author != with.actor
                && matches!(kind, "Like" | "Endorse" | "Announce" | "EmojiReact")
            {
                self.also_to(&author);
            }
        } else {
            let id = references::target(with, named, references::names_actor(kind))?;
            self.content.insert("object".into(), id.into());
        }
        if kind == "Follow" {
            let id = references::required_id(&self.content, "object")?;
            if id == with.actor {
                return Err(Refusal::new(Problem::SelfFollow, "an actor cannot follow itself"));
            }
            if self.content.contains_key("backfill") {
                self.context(json!({ "backfill": { "@id": "fedsx:backfill", "@type": "@json" } }));
            }
        }
        Ok(())
    }

    fn create(&mut self, types: &Types, with: &Preparing<'_>) -> Result<(), Refusal> {
        let Some(Value::Object(object)) = self.content.get("object") else {
            return Err(Refusal::new(Problem::InvalidActivity, "object: must be an object"));
        };
        let mut object = object.clone();
        let kind = kind_of(&object)
            .ok_or_else(|| Refusal::new(Problem::InvalidActivity, "object.type: must be a string"))?
            .to_owned();
        if types.find(with.state, Kind::ObjectTypes, &kind)?.is_none() {
            return Err(Refusal::new(
                Problem::UnknownObjectType,
                format!("the object type {kind:?} is not registered here"),
            )
            .with("object_type", kind));
        }
        if is_actor_type(&kind) {
            if actors::held(with.state, with.actor)?.is_some() {
                let detail = format!("{} exists already", with.name);
                return Err(Refusal::new(Problem::ActorExists, detail));
            }
            let document = actor_document::new(with, &object, &kind)?;
            self.contexts(actor_document::contexts());
            self.content.insert("object".into(), Value::Object(document));
            self.barrier = true;
            return Ok(());
        }
        let answered = answered(with, &mut object)?;
        objects::created(with, &mut object)?;
        if let Some(author) = answered.filter(|author| author != with.actor)
            && !audience::MEMBERS.iter().any(|member| object.contains_key(*member))
        {
            self.also_to(&author);
        }
        object.remove("@context");
        self.content.insert("object".into(), Value::Object(object));
        Ok(())
    }

    fn update(&mut self, with: &Preparing<'_>) -> Result<(), Refusal> {
        let named = self.named(with, RefersTo::Object)?;
        let itself = named == with.actor;
        let object = self.content.remove("object").unwrap_or(Value::Null);
        let patch = self.content.remove("patch");
        if !itself {
            if is_actor_id(with, &named) {
                return Err(Refusal::new(
                    Problem::NotAuthorised,
                    format!("{named} is not {}", with.actor),
                ));
            }
            let version = objects::updated(with, &named, &object)?;
            self.same_audience(&version);
            self.content.insert("object".into(), Value::Object(version.object));
            return Ok(());
        }
        let known = actors::actor(with.state, with.actor)?.filter(|actor| !actor.deleted);
        let known = known.ok_or_else(|| {
            Refusal::new(Problem::UnknownActor, format!("{} does not exist", with.name))
        })?;
        let Updated { document, patch, signing_key } =
            actor_document::updated(with, &known, Some(&object), patch.as_ref())?;
        self.contexts(actor_document::contexts());
        self.content.insert("object".into(), Value::Object(document));
        if let Some(patch) = patch {
            self.content.insert("patch".into(), patch);
        }
        self.signing_key = signing_key;
        self.barrier = true;
        Ok(())
    }

    fn delete(&mut self, with: &Preparing<'_>) -> Result<(), Refusal> {
        let named = self.named(with, RefersTo::Object)?;
        let erases = match self.content.remove(ERASE) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) if named != with.actor => true,
            Some(_) => {
                return Err(Refusal::new(
                    Problem::InvalidActivity,
                    format!("{ERASE}: must be true or false, and the object no actor"),
                ));
            }
        };
        if named == with.actor {
            self.content.insert("object".into(), with.actor.into());
            self.barrier = true;
            return Ok(());
        }
        let (tombstone, former) = objects::tombstone(with, &named)?;
        self.same_audience(&former);
        self.content.insert("object".into(), tombstone);
        if erases {
            self.content.insert(ERASE.into(), true.into());
            self.context(json!({ "erase": "fedsx:erase" }));
        }
        Ok(())
    }

    fn undo(&mut self, with: &Preparing<'_>) -> Result<(), Refusal> {
        let object = self.content.get("object").cloned().unwrap_or(Value::Null);
        if let Some(follow) = nameless_follow(&object, with.actor) {
            self.content.insert("object".into(), follow);
            return Ok(());
        }
        let undone = references::activity(with, &object)?;
        if undone.actor() != with.actor {
            return Err(Refusal::new(
                Problem::NotAuthorised,
                format!("{} is not by {}", undone.id(), with.actor),
            ));
        }
        let lasts = ["Create", "Update", "Delete", "Undo", "Accept", "Reject", "Flag", "Move"];
        if lasts.contains(&undone.kind()) {
            return Err(Refusal::new(
                Problem::InvalidActivity,
                format!(
                    "object: {} cannot be undone; see Delete, Update and Reject",
                    undone.kind()
                ),
            ));
        }
        self.barrier |= definitions::undo(with, &undone)?;
        self.content.insert("object".into(), references::embedded(&undone));
        if matches!(undone.kind(), "Block" | MODERATE) {
            // Whom a decision was not told, the end of it is not told either.
            self.unless_addressed(|name| undone.get(name).cloned());
            if moderating::is_by_moderator(with) {
                self.context(moderating::terms());
            }
        }
        Ok(())
    }

    fn answer(&mut self, with: &Preparing<'_>) -> Result<(), Refusal> {
        let object = self.content.get("object").cloned().unwrap_or(Value::Null);
        let follow = references::activity(with, &object)?;
        if follow.kind() != "Follow" || follow.object_id() != Some(with.actor) {
            return Err(Refusal::new(
                Problem::NotAuthorised,
                format!("{} is not a Follow of {}", follow.id(), with.actor),
            ));
        }
        self.content.insert("object".into(), references::embedded(&follow));
        Ok(())
    }

    fn define(&mut self, with: &Preparing<'_>, kind: &str) -> Result<(), Refusal> {
        definitions::allowed(with)?;
        let object = self.content.get("object").cloned().unwrap_or(Value::Null);
        let definition = Definition::published(kind, &object)
            .map_err(|e| Refusal::new(Problem::InvalidActivity, format!("object: {e}")))?;
        self.content.insert("object".into(), definition.document().clone());
        self.barrier = true;
        Ok(())
    }

    /// An `Add` or `Remove` without target is about a definition where its object names one; the
    /// answer is whether it does.
    fn redefine(&mut self, with: &Preparing<'_>, kind: &str) -> Result<bool, Refusal> {
        if self.content.contains_key("target") {
            return Ok(false);
        }
        let object = self.content.get("object").cloned().unwrap_or(Value::Null);
        let Some(named) = definitions::named(with, &object)? else { return Ok(false) };
        if kind == "Add" {
            definitions::adopt(with, &mut self.content, &named)?;
        } else {
            definitions::withdraw(with, &mut self.content, &named)?;
        }
        self.barrier = true;
        Ok(true)
    }

    /// Whose collection the target of an `Add` or `Remove` is, and whether the object belongs there
    /// (ActivityPub, sections 6.6 and 6.7).
    fn collected(&mut self, with: &Preparing<'_>, kind: &str) -> Result<(), Refusal> {
        let featured = with.base.of_actor(with.name, FEATURED);
        let target = match self.content.get("target").and_then(id_of) {
            None => return Ok(()),
            Some(FEATURED) => featured.clone(),
            Some(target) => target.to_owned(),
        };
        let refuse = |detail: String| Err(Refusal::new(Problem::NotAuthorised, detail));
        if with.base.is_local(&target) && !target.starts_with(&format!("{}/", with.actor)) {
            return refuse(format!("target: {target} is not a collection of {}", with.actor));
        }
        if target == featured && kind == "Add" {
            let named = self.named(with, RefersTo::Object)?;
            let own = owned(with.state, &named)?.filter(|own| own.actor == with.actor);
            if own.is_none_or(|own| own.deleted) {
                return refuse(format!("object: {named} is not an object of {}", with.actor));
            }
        }
        self.content.insert("target".into(), target.into());
        Ok(())
    }

    /// The id that `object` names, with bare CIDs and local names resolved.
    fn named(&self, with: &Preparing<'_>, refers_to: RefersTo) -> Result<String, Refusal> {
        let id = references::required_id(&self.content, "object")?;
        if let Ok(cid) = id.parse::<Cid>() {
            return references::by_cid(with, &cid, refers_to).map(|(id, _)| id);
        }
        Ok(references::actor_id(with, &id))
    }

    fn context(&mut self, item: Value) {
        self.contexts(vec![item]);
    }

    fn contexts(&mut self, items: Vec<Value>) {
        let mut all = match self.content.remove("@context") {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(one) => vec![one],
        };
        all.extend(items);
        self.content.insert("@context".into(), Value::Array(all));
    }

    /// Defines the terms of others that occur, but for those that the author defined.
    fn define_terms(&mut self) {
        let mut terms = super::terms::used(&self.content);
        if let Some(own) = self.content.get("@context") {
            let own = own.as_array().map_or(std::slice::from_ref(own), Vec::as_slice);
            terms.retain(|term, _| own.iter().all(|context| context.get(term).is_none()));
        }
        if !terms.is_empty() {
            self.context(Value::Object(terms));
        }
    }

    /// Adds a recipient to what the author named, or to what is usual.
    fn also_to(&mut self, id: &str) {
        let named = ["to", "cc", "bto", "bcc"].iter().any(|name| self.content.contains_key(*name));
        if named {
            return;
        }
        self.content.insert("to".into(), json!([super::PUBLIC]));
        self.content.insert("cc".into(), json!([super::FOLLOWERS, id]));
    }

    /// What changes or ends an object is for those whom the object was for, unless the author
    /// says otherwise.
    fn same_audience(&mut self, version: &objects::Version) {
        if self.unless_addressed(|name| version.object.get(name).cloned()) {
            self.content.insert("bto".into(), version.hidden.clone().into());
        }
    }

    /// Names these recipients where the author names none; whether it did so.
    fn unless_addressed(&mut self, recipients: impl Fn(&str) -> Option<Value>) -> bool {
        if audience::MEMBERS.iter().any(|member| self.content.contains_key(*member)) {
            return false;
        }
        for member in ["to", "cc"] {
            let ids = recipients(member).unwrap_or_else(|| json!([]));
            self.content.insert(member.into(), ids);
        }
        true
    }

    /// Activity and object name the same audience, as other servers expect.
    fn copy_audience(&mut self) {
        let audience: Vec<_> =
            ["to", "cc"].map(|name| (name, self.content.get(name).cloned())).into_iter().collect();
        let Some(Value::Object(object)) = self.content.get_mut("object") else { return };
        if kind_of(object).is_some_and(is_actor_type) {
            return;
        }
        for (name, ids) in audience {
            match ids {
                Some(ids) => object.insert(name.into(), ids),
                None => object.remove(name),
            };
        }
    }
}

/// Names what an object answers by its id; its author, where that is known.
fn answered(
    with: &Preparing<'_>,
    object: &mut Map<String, Value>,
) -> Result<Option<String>, Refusal> {
    let Some(named) = object.get("inReplyTo").and_then(id_of) else { return Ok(None) };
    let Ok(cid) = named.parse::<Cid>() else {
        return Ok(owned(with.state, named)?.map(|owned| owned.actor));
    };
    let (id, activity) = references::by_cid(with, &cid, RefersTo::Object)?;
    let author = activity.actor().to_owned();
    object.insert("inReplyTo".into(), id.into());
    Ok(Some(author))
}

fn is_actor_id(with: &Preparing<'_>, id: &str) -> bool {
    with.base.name_of(id).is_some() || id.parse::<ActorName>().is_ok()
}

/// The Follow that an Undo means whose id is lost, by whom it is about: it ends every older Follow
/// of the two.
fn nameless_follow(object: &Value, actor: &str) -> Option<Value> {
    let member = |name| object.get(name).and_then(id_of);
    let is_own = member("actor").is_none_or(|author| author == actor);
    let is_follow = object.get("type").and_then(Value::as_str) == Some("Follow");
    if !is_follow || !is_own || object.get("id").is_some() {
        return None;
    }
    let followed = member("object").filter(|id| origin_of(id).is_some())?;
    Some(json!({ "type": "Follow", "actor": actor, "object": followed }))
}
