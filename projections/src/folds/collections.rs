//! `collections`: what actors put into collections of theirs, and what they like.

use fedsx_kernel::Cid;
use fedsx_kernel::activity::{id_of, kind_of};
use fedsx_kernel::address::same_origin;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, StateError, StateView};
use serde_json::{Map, Value};

use super::common::{is_farewell, is_local_record};
use super::tally::{self, Counts, Statement};
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};
use crate::shield::{Hides, Speaker};

/// Keys `[actor, collection id, object id]` with `{id, cid, order, undone, public}`, and
/// `[actor, collection id]` with `{count}`, where the count is not 0: what was put there by `Add`
/// and not taken out by `Remove`. A collection is of its actor's origin. What actors of this
/// instance like stands under their collection `liked` ([`liked`]). What does not address everyone
/// is not counted for everyone, and shown to whom it reached ([`super::tally`]).
pub struct Collections;

/// The collection of what an actor likes.
pub fn liked(actor: &str) -> String {
    format!("{actor}/liked")
}

/// The collection of what an actor shows first.
pub fn featured(actor: &str) -> String {
    format!("{actor}/featured")
}

/// What a statement puts where.
fn put<'a>(
    actor: &str,
    local: bool,
    statement: &'a Map<String, Value>,
) -> Option<(String, &'a str)> {
    match kind_of(statement)? {
        "Add" => moved(actor, statement).map(|(target, object)| (target.to_owned(), object)),
        "Like" if local => Some((liked(actor), statement.get("object").and_then(id_of)?)),
        _ => None,
    }
}

/// Collection and object of an `Add` or `Remove`.
fn moved<'a>(actor: &str, statement: &'a Map<String, Value>) -> Option<(&'a str, &'a str)> {
    let target = statement.get("target").and_then(id_of).filter(|id| same_origin(id, actor))?;
    Some((target, statement.get("object").and_then(id_of)?))
}

/// Collections are their actor's words.
fn of_first(key: &[String], _: Cid) -> Speaker {
    key.first().map_or(Speaker::Nobody, |actor| Speaker::Actor(actor.clone()))
}

impl Fold for Collections {
    fn name(&self) -> &'static str {
        "collections"
    }

    fn version(&self) -> u32 {
        2
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn verbs(&self) -> Option<&'static [&'static str]> {
        Some(&["Add", "Remove", "Like", "Undo", "Delete"])
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
    }

    fn shown_to(&self, key: &[String], value: &Value, reader: &Reader) -> Shown {
        tally::shown_to(key, value, reader)
    }

    fn recounted(
        &self,
        state: &dyn StateView,
        key: &[String],
        value: Value,
        hides: &mut Hides<'_>,
    ) -> Result<Option<Value>, StateError> {
        tally::recounted(state, Counts::Apart, of_first, (key, value), hides)
    }

    fn fold(
        &self,
        context: &Context,
        state: &mut dyn State,
        record: &Record,
    ) -> Result<(), FoldError> {
        let activity = &record.activity;
        if is_local_record(record) {
            return Ok(());
        }
        if is_farewell(activity) {
            return Ok(tally::left(state, Counts::Apart, activity)?);
        }
        let actor = activity.actor();
        let local = context.base.is_local(actor);
        match activity.kind() {
            "Undo" => {
                if let Some(Value::Object(inner)) = activity.object()
                    && inner.get("actor").and_then(id_of) == Some(actor)
                    && let Some((collection, object)) = put(actor, local, inner)
                {
                    let place = (actor, &*collection, object);
                    tally::ended(state, Counts::Apart, place, activity)?;
                }
                Ok(tally::named(state, Counts::Apart, activity)?)
            }
            "Remove" => match moved(actor, activity.document()) {
                Some((collection, object)) => {
                    let place = (actor, collection, object);
                    Ok(tally::ended(state, Counts::Apart, place, activity)?)
                }
                None => Ok(()),
            },
            _ => {
                let Some((kind, by)) = put(actor, local, activity.document()) else {
                    return Ok(());
                };
                let id = activity.id();
                let statement = Statement { target: actor, kind: &kind, by, id, activity };
                Ok(tally::take(state, Counts::Apart, &statement)?)
            }
        }
    }
}
