//! What was said, as facts that only ever grow or are replaced by newer ones.
//!
//! Every fact is merged by a maximum, or kept under a key of its own, so that the facts depend on
//! the set of activities and not on their arrival. Relations are computed from facts alone.

use std::cmp::Ordering;

use fedsx_kernel::order::Order;
use fedsx_kernel::state::{State, StateError, StateView, get_as, parts, put_as};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Graph, Relation};

/// First part of the keys of facts; `~` marks what listings do not show.
const FACTS: &str = "~facts";
/// How many statements of one pair at one place of the order are looked at.
const CANDIDATES: usize = 16;
/// Statements that one newer statement replaces in one step.
const PAGE: usize = 64;

/// A statement about another actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Follow,
    Block,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Block => "block",
        }
    }
}

/// An answer to a Follow. A greater one wins; at one place the Reject is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) order: Order,
    pub(super) reject: bool,
}

/// Whose statement an id is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stated {
    kind: Kind,
    actor: String,
    object: String,
}

/// The facts of a graph.
pub(super) struct Facts<'a>(pub(super) &'a Graph);

impl Facts<'_> {
    /// A Follow or Block was stated.
    pub(super) fn state(
        &self,
        state: &mut dyn State,
        kind: Kind,
        actor: &str,
        object: &str,
        id: &str,
        order: Order,
    ) -> Result<(), StateError> {
        let newest_key = self.key(&["newest", kind.name(), actor, object]);
        let newest: Option<Order> = get_as(state, &newest_key)?;
        match newest.map_or(Ordering::Greater, |newest| order.cmp(&newest)) {
            Ordering::Less => return Ok(()),
            Ordering::Equal => {}
            Ordering::Greater => {
                self.forget_all(state, kind, actor, object)?;
                put_as(state, &newest_key, &order)?;
            }
        }
        if state.get(&self.key(&["undone", actor, id]))?.is_none() {
            let stated = Stated { kind, actor: actor.to_owned(), object: object.to_owned() };
            state.put(&self.key(&[kind.name(), actor, object, id]), Value::Bool(true));
            put_as(state, &self.key(&["id", id]), &stated)?;
        }
        Ok(())
    }

    /// An author undid the statement with this id; gives kind and object of the statement where
    /// it is one that still counted.
    pub(super) fn undo_id(
        &self,
        state: &mut dyn State,
        actor: &str,
        id: &str,
    ) -> Result<Option<(Kind, String)>, StateError> {
        state.put(&self.key(&["undone", actor, id]), Value::Bool(true));
        let id_key = self.key(&["id", id]);
        match get_as::<Stated>(state, &id_key)? {
            Some(stated) if stated.actor == actor => {
                state.remove(&id_key);
                state.remove(&self.key(&[stated.kind.name(), actor, &stated.object, id]));
                Ok(Some((stated.kind, stated.object)))
            }
            _ => Ok(None),
        }
    }

    /// An author undid all earlier statements of this kind about an actor.
    pub(super) fn undo_pair(
        &self,
        state: &mut dyn State,
        kind: Kind,
        actor: &str,
        object: &str,
        order: Order,
    ) -> Result<(), StateError> {
        raise(state, &self.key(&["undone_below", kind.name(), actor, object]), order)
    }

    /// An actor answered the Follow with this id; gives the follower where the Follow is known.
    pub(super) fn judge_id(
        &self,
        state: &mut dyn State,
        judge: &str,
        id: &str,
        verdict: Verdict,
    ) -> Result<Option<String>, StateError> {
        raise(state, &self.key(&["verdict", judge, id]), verdict)?;
        let stated: Option<Stated> = get_as(state, &self.key(&["id", id]))?;
        Ok(stated
            .filter(|stated| stated.kind == Kind::Follow && stated.object == judge)
            .map(|stated| stated.actor))
    }

    /// An actor answered every Follow by another.
    pub(super) fn judge_pair(
        &self,
        state: &mut dyn State,
        judge: &str,
        follower: &str,
        verdict: Verdict,
    ) -> Result<(), StateError> {
        raise(state, &self.key(&["verdict_pair", judge, follower]), verdict)
    }

    /// An actor deleted itself.
    pub(super) fn delete(&self, state: &mut dyn State, actor: &str) {
        state.put(&self.key(&["deleted", actor]), Value::Bool(true));
    }

    /// How a follower stands to a followed actor, and by which Follow.
    pub(super) fn relation(
        &self,
        view: &dyn StateView,
        follower: &str,
        followed: &str,
    ) -> Result<(Relation, Option<String>), StateError> {
        let none = (Relation::None, None);
        if self.is_deleted(view, follower)?
            || self.is_deleted(view, followed)?
            || self.blocks(view, follower, followed)?
            || self.blocks(view, followed, follower)?
        {
            return Ok(none);
        }
        let own_block = self.newest(view, Kind::Block, follower, followed)?;
        let newest = self.newest(view, Kind::Follow, follower, followed)?;
        if newest.is_none_or(|order| own_block.is_some_and(|block| order < block)) {
            return Ok(none);
        }
        let of_pair: Option<Verdict> =
            get_as(view, &self.key(&["verdict_pair", followed, follower]))?;
        let their_block = self.newest(view, Kind::Block, followed, follower)?;
        let mut pending = None;
        for id in self.standing(view, Kind::Follow, follower, followed)? {
            let of_id = get_as(view, &self.key(&["verdict", followed, &id]))?;
            match of_id.max(of_pair) {
                Some(Verdict { reject: true, .. }) => {}
                Some(Verdict { order, .. }) if their_block.is_none_or(|block| order >= block) => {
                    return Ok((Relation::Accepted, Some(id)));
                }
                _ => pending = pending.or(Some(id)),
            }
        }
        Ok(pending.map_or(none, |id| (Relation::Pending, Some(id))))
    }

    /// The Follows at the newest place that were neither undone nor rejected, whatever Blocks say.
    pub(super) fn standing_follows(
        &self,
        view: &dyn StateView,
        follower: &str,
        followed: &str,
    ) -> Result<Vec<String>, StateError> {
        let mut found = Vec::new();
        if self.is_deleted(view, follower)? || self.is_deleted(view, followed)? {
            return Ok(found);
        }
        let of_pair: Option<Verdict> =
            get_as(view, &self.key(&["verdict_pair", followed, follower]))?;
        for id in self.standing(view, Kind::Follow, follower, followed)? {
            let of_id = get_as(view, &self.key(&["verdict", followed, &id]))?;
            if of_id.max(of_pair).is_none_or(|verdict| !verdict.reject) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Whether a Block by one actor of the other is in force.
    pub(super) fn blocks(
        &self,
        view: &dyn StateView,
        actor: &str,
        object: &str,
    ) -> Result<bool, StateError> {
        Ok(!self.standing(view, Kind::Block, actor, object)?.is_empty())
    }

    /// The ids of the newest statements of a pair that were not undone.
    fn standing(
        &self,
        view: &dyn StateView,
        kind: Kind,
        actor: &str,
        object: &str,
    ) -> Result<Vec<String>, StateError> {
        let undone_below: Option<Order> =
            get_as(view, &self.key(&["undone_below", kind.name(), actor, object]))?;
        if self.newest(view, kind, actor, object)? < undone_below {
            return Ok(Vec::new());
        }
        self.ids(view, kind, actor, object, CANDIDATES)
    }

    fn ids(
        &self,
        view: &dyn StateView,
        kind: Kind,
        actor: &str,
        object: &str,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        let prefix = self.0.prefix_of(&[FACTS, kind.name(), actor, object]);
        let entries = view.scan(&prefix, None, limit)?;
        Ok(entries.into_iter().filter_map(|(key, _)| parts(&key).pop()).collect())
    }

    fn newest(
        &self,
        view: &dyn StateView,
        kind: Kind,
        actor: &str,
        object: &str,
    ) -> Result<Option<Order>, StateError> {
        get_as(view, &self.key(&["newest", kind.name(), actor, object]))
    }

    fn is_deleted(&self, view: &dyn StateView, actor: &str) -> Result<bool, StateError> {
        Ok(view.get(&self.key(&["deleted", actor]))?.is_some())
    }

    fn forget_all(
        &self,
        state: &mut dyn State,
        kind: Kind,
        actor: &str,
        object: &str,
    ) -> Result<(), StateError> {
        loop {
            let ids = self.ids(state, kind, actor, object, PAGE)?;
            for id in &ids {
                state.remove(&self.key(&[kind.name(), actor, object, id]));
                state.remove(&self.key(&["id", id]));
            }
            if ids.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Whether this id was stated as a Follow of `followed` and stands.
    pub(super) fn follows(
        &self,
        view: &dyn StateView,
        id: &str,
        followed: &str,
    ) -> Result<bool, StateError> {
        let stated: Option<Stated> = get_as(view, &self.key(&["id", id]))?;
        Ok(stated.is_some_and(|stated| stated.kind == Kind::Follow && stated.object == followed))
    }

    /// Who made the statement with this id, while it stands.
    pub(super) fn author_of(
        &self,
        view: &dyn StateView,
        id: &str,
    ) -> Result<Option<String>, StateError> {
        let stated: Option<Stated> = get_as(view, &self.key(&["id", id]))?;
        Ok(stated.map(|stated| stated.actor))
    }

    /// Whether a Follow between the two was stated at any time.
    pub(super) fn ever_followed(
        &self,
        view: &dyn StateView,
        follower: &str,
        followed: &str,
    ) -> Result<bool, StateError> {
        Ok(self.newest(view, Kind::Follow, follower, followed)?.is_some())
    }

    fn key(&self, parts: &[&str]) -> String {
        let all: Vec<_> = std::iter::once(FACTS).chain(parts.iter().copied()).collect();
        self.0.key(&all)
    }
}

/// Keeps the greater of what is held and what is new.
fn raise<T>(state: &mut dyn State, key: &str, new: T) -> Result<(), StateError>
where
    T: Ord + Serialize + serde::de::DeserializeOwned,
{
    match get_as::<T>(state, key)? {
        Some(held) if held >= new => Ok(()),
        _ => put_as(state, key, &new),
    }
}
