//! `peer-actors`: what is known of actors elsewhere, and how to reach them.

use fedsx_genesis::actor_keys::concerns_author;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView, key};
use serde_json::{Map, Value, json};

use super::common::is_local_record;
use super::{key_log, profiles};
use crate::display;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::render::Bodies;
use crate::shield::Speaker;

/// Keys `[actor id]` with `{id, document, inbox, sharedInbox, fetched_ms, keys}`, or
/// `{id, deleted}`. `fetched_ms` is missing where an actor is known by its own statements only.
pub struct PeerActors;

impl Fold for PeerActors {
    fn name(&self) -> &'static str {
        "peer-actors"
    }

    fn version(&self) -> u32 {
        2
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
    }

    fn render(
        &self,
        _: &dyn StateView,
        _: &dyn Bodies,
        _: &[String],
        held: Value,
    ) -> Result<Option<Value>, StateError> {
        Ok(Some(match held {
            Value::Object(actor) => Value::Object(display::document(&actor)),
            other => other,
        }))
    }

    fn speaker(&self, key: &[String], _: &Value) -> Speaker {
        key.first().map_or(Speaker::Nobody, |actor| Speaker::Profile(actor.clone()))
    }

    fn fold(
        &self,
        context: &Context,
        state: &mut dyn State,
        record: &Record,
    ) -> Result<(), FoldError> {
        let activity = &record.activity;
        let concerned = if is_local_record(record) {
            activity.object_id()
        } else {
            Some(activity.actor()).filter(|_| concerns_author(activity))
        };
        if concerned.is_none_or(|id| context.base.is_local(id)) {
            return Ok(());
        }
        let mut changed = profiles::learn(state, record)?;
        changed = key_log::learn(state, record)?.or(changed);
        if activity.kind() == "Delete" && !is_local_record(record) {
            profiles::delete(state, activity.actor());
            changed = Some(activity.actor().to_owned());
        }
        Ok(changed.map_or(Ok(()), |actor| show(state, &actor))?)
    }
}

fn show(state: &mut dyn State, actor: &str) -> Result<(), StateError> {
    let place = key(&[actor]);
    if profiles::is_deleted(state, actor)? {
        state.put(&place, json!({ "id": actor, "deleted": true }));
        return Ok(());
    }
    let Some(profile) = profiles::newest(state, actor)? else { return Ok(()) };
    let document = profile.document;
    let shared = document.get("endpoints").and_then(|endpoints| endpoints.get("sharedInbox"));
    let mut shown = Map::from_iter([("id".to_owned(), Value::from(actor))]);
    for (member, value) in [("inbox", document.get("inbox")), ("sharedInbox", shared)] {
        if let Some(value) = value {
            shown.insert(member.into(), value.clone());
        }
    }
    if let Some(fetched) = profiles::fetched(state, actor)? {
        shown.insert("fetched_ms".into(), fetched.time_ms.into());
    }
    shown.insert("keys".into(), json!(key_log::keys(state, actor)?));
    shown.insert("document".into(), Value::Object(document));
    state.put(&place, Value::Object(shown));
    Ok(())
}
