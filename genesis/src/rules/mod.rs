//! What verbs mean: the kernel's [`Rules`] for the vocabulary that genesis defines.
//!
//! A verb that is only published (and not named here) is judged by its definition's schema and
//! audience alone; the few verbs that change who may do what have their meaning here.

mod actor_document;
mod audience;
mod definable;
mod definitions;
mod expansion;
mod judge;
mod moderating;
mod moving;
mod objects;
mod prepare;
mod references;
mod reports;
mod shape;
mod subscriptions;
mod terms;
mod trial;

pub use actor_document::account;
use fedsx_kernel::activity::id_of;
use fedsx_kernel::keys::{Algorithm, HistoryError, Key, KeyHistory, Purpose};
use fedsx_kernel::log::Record;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::{Direction, Hosted, Judgement, KeyWish, Prepared, Preparing, Rules};
use fedsx_kernel::state::{State, StateError, StateView};
use fedsx_kernel::{Activity, ActorName, Base};
use serde_json::{Map, Value, json};

use crate::actor_keys;
use crate::actors::{self, Histories, is_actor_type};
use crate::erasure;
use crate::fold;
use crate::forwarding;
use crate::moderation::{self, Standings};
use crate::readers;
use crate::registry::Types;
use crate::schema::Schemas;
use crate::script::Scripts;

pub use audience::{FOLLOWERS, PUBLIC, is_public};
pub use expansion::NAMED;

/// The rules of an instance.
pub struct GenesisRules {
    base: Base,
    instance: ActorName,
    schemas: Schemas,
    scripts: Scripts,
    types: Types,
    histories: Histories,
    standings: Standings,
}

impl GenesisRules {
    /// Rules for the instance with this base and this actor of its own.
    pub fn new(base: Base, instance: ActorName) -> Self {
        Self {
            base,
            instance,
            schemas: Schemas::new(),
            scripts: Scripts::new(),
            types: Types::new(),
            histories: Histories::new(),
            standings: Standings::default(),
        }
    }

    fn instance_actor(&self) -> String {
        self.base.actor(&self.instance)
    }
}

/// The `type` of an object in a request or activity.
fn kind_in(value: &Value) -> Option<&str> {
    value.as_object().and_then(fedsx_kernel::activity::kind_of)
}

impl Rules for GenesisRules {
    fn version(&self) -> u64 {
        fold::VERSION
    }

    fn keys_wanted(
        &self,
        state: &dyn StateView,
        actor: &str,
        request: &Map<String, Value>,
    ) -> Result<Vec<KeyWish>, Refusal> {
        if moderation::is_suspended(state, actor)? {
            return Err(moderating::suspended(actor));
        }
        let object = request.get("object");
        let bare = Value::Object(request.clone());
        let creates = match request.get("type").and_then(Value::as_str) {
            Some("Create") => object.and_then(kind_in).is_some_and(is_actor_type),
            Some(kind) => is_actor_type(kind) && kind_in(&bare).is_some(),
            None => false,
        };
        if creates {
            if actors::held(state, actor)?.is_some() {
                return Err(Refusal::new(Problem::ActorExists, format!("{actor} exists already")));
            }
            return Ok(vec![
                KeyWish {
                    algorithm: Algorithm::Ed25519,
                    purposes: vec![Purpose::SignActivity, Purpose::HttpSignature],
                    given: None,
                },
                KeyWish {
                    algorithm: Algorithm::RsaV15Sha256,
                    purposes: vec![Purpose::HttpSignature],
                    given: None,
                },
            ]);
        }
        actor_document::rotation_wish(request)
    }

    fn prepare(
        &self,
        with: &Preparing<'_>,
        request: Map<String, Value>,
    ) -> Result<Prepared, Refusal> {
        prepare::prepare(&self.types, with, request)
    }

    fn judge(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        direction: Direction,
    ) -> Result<Judgement, Refusal> {
        self.judge_with(state, activity, direction, None)
    }

    fn confirm(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        direction: Direction,
        earlier: &Judgement,
    ) -> Result<Judgement, Refusal> {
        if direction == Direction::Inbound {
            self.sender(state, activity.actor(), None)?;
        }
        self.judge_with(state, activity, direction, Some(earlier))
    }

    fn fold(&self, state: &mut dyn State, record: &Record) -> Result<(), StateError> {
        fold::fold(&self.base, state, record)
    }

    fn recipients(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        hidden: &[String],
    ) -> Result<Vec<ActorName>, StateError> {
        audience::local_recipients(&self.base, &self.instance, state, activity, hidden)
    }

    fn is_confined(&self, activity: &Activity) -> bool {
        readers::is_confidential(activity)
    }

    fn is_spread(&self, activity: &Activity) -> bool {
        forwarding::is_for_followers_of_ours(&self.base, activity)
    }

    fn keys(&self, state: &dyn StateView, actor: &str) -> Result<Option<KeyHistory>, StateError> {
        self.histories.of(state, actor)
    }

    fn signer<'k>(
        &self,
        keys: &'k KeyHistory,
        key_id: &str,
        activity: &Activity,
    ) -> Result<&'k Key, HistoryError> {
        actor_keys::signer(keys, key_id, activity)
    }

    fn hosted(&self, state: &dyn StateView, name: &ActorName) -> Result<Hosted, StateError> {
        Ok(match actors::deleted(state, &self.base.actor(name))? {
            None => Hosted::Absent,
            Some(true) => Hosted::Deleted,
            Some(false) if moderation::is_suspended(state, &self.base.actor(name))? => {
                Hosted::Suspended
            }
            Some(false) => Hosted::Active,
        })
    }

    fn sender(
        &self,
        state: &dyn StateView,
        actor: &str,
        receiver: Option<&str>,
    ) -> Result<(), Refusal> {
        let blocked = self.standings.of(&self.base, state, actor)?.blocked
            || match receiver {
                Some(receiver) => fold::blocks(state, receiver, actor)?,
                None => false,
            };
        if blocked {
            return Err(Refusal::new(Problem::Blocked, format!("{actor} is blocked here")));
        }
        Ok(())
    }

    fn ignorable(&self, state: &dyn StateView, activity: &Activity) -> Result<bool, StateError> {
        // The keys of a deleted actor are gone, so its Delete can only be checked by who knew it.
        let ends_itself =
            activity.kind() == "Delete" && activity.object_id() == Some(activity.actor());
        match actors::deleted(state, activity.actor())? {
            None if ends_itself => return Ok(true),
            // Whatever it said before, nothing of it is left.
            Some(true) => return Ok(true),
            _ => {}
        }
        // A copy that comes late must not bring back what was erased.
        match activity.object_id() {
            Some(object) if matches!(activity.kind(), "Create" | "Update") => {
                Ok(erasure::is_erased(state, object)?)
            }
            _ => Ok(false),
        }
    }

    fn subjects<'a>(&self, activity: &'a Activity) -> Vec<&'a str> {
        let inner = activity.object().and_then(|object| object.get("object")).and_then(id_of);
        let mut subjects = vec![activity.id()];
        for id in [activity.object_id(), inner].into_iter().flatten() {
            // An actor is the target of many unrelated activities.
            let unrelated = id == activity.actor() && activity.kind() != "Update";
            if !unrelated && !subjects.contains(&id) {
                subjects.push(id);
            }
        }
        subjects
    }
}

/// The `@context` with which an object is served by itself.
pub fn object_contexts(object: &Value) -> Value {
    let contexts = json!("https://www.w3.org/ns/activitystreams");
    let terms = object.as_object().map(terms::used).unwrap_or_default();
    if terms.is_empty() { contexts } else { json!([contexts, terms]) }
}

/// The `@context` with which a key history is served.
pub fn key_contexts() -> Value {
    let mut contexts = fedsx_kernel::pipeline::contexts();
    contexts.extend(actor_document::contexts());
    let place = |name: &str| json!({ "@id": format!("fedsx:{name}"), "@type": "@json" });
    contexts.push(json!({
        "publicKeyMultibase": {
            "@id": "https://w3id.org/security#publicKeyMultibase",
            "@type": "https://w3id.org/security#multibase",
        },
        "validFrom": place("validFrom"),
        "validUntil": place("validUntil"),
    }));
    Value::Array(contexts)
}

/// The `@context` with which an actor document is served.
pub fn actor_contexts(document: &Value) -> Value {
    let mut contexts = fedsx_kernel::pipeline::contexts();
    contexts.extend(actor_document::contexts());
    let mut terms = document.as_object().map(terms::used).unwrap_or_default();
    terms.retain(|term, _| contexts.iter().all(|context| context.get(term).is_none()));
    if !terms.is_empty() {
        contexts.push(terms.into());
    }
    Value::Array(contexts)
}
