//! The follow graph: who follows whom, and who waits for an answer.
//!
//! [`Graph`] is a pure fold over keyed state, used for the admission state, for the
//! `follower-graph` projection and for delivery's index. The state after folding is a function of
//! the *set* of activities: any order of arrival gives the same keys and values.
//!
//! What counts, for the pair of a follower A and a followed B (ActivityPub, sections 6.5, 6.6 and
//! 7.5 to 7.10):
//!
//! - A newer `Follow` by A's own order replaces every older one. Statements that share one place
//!   in the order (servers that send no times) stand side by side.
//! - An `Undo` by A that names an id ends that Follow, even when it comes first. An Undo with an
//!   embedded Follow of the pair ends, beside the one it names, every Follow with an order below
//!   its own: some servers embed none or another id.
//! - `Accept` and `Reject` count only by B, for the Follow that they name; the newest by B's order
//!   wins, and of two at one place the Reject. A verdict that embeds a Follow without id speaks of
//!   every Follow of the pair.
//! - A `Block` by either side hides both directions while it is in force. It also ends its
//!   author's own older Follows for good, and an Accept by its author counts only when it is not
//!   older than the Block: after an Undo of the Block such a Follow is pending again.
//! - `Delete` of an actor by itself ends all of its edges for good.
//!
//! What is kept beside the four listings is bounded per pair, but for one small key for each Undo
//! and each verdict: without it, an Undo could not win over a Follow that comes later.

mod facts;
mod readers;
#[cfg(test)]
mod tests;

use fedsx_kernel::activity::{Activity, id_of, kind_of};
use fedsx_kernel::state::{State, StateError, key, prefix};
use serde_json::Value;

use facts::{Facts, Kind, Verdict};

/// How a follower stands to a followed actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relation {
    /// No Follow, or one that was undone, rejected or blocked.
    #[default]
    None,
    /// A Follow without an answer that counts.
    Pending,
    /// An accepted Follow.
    Accepted,
}

/// One edge that changed by an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who follows.
    pub follower: String,
    /// Who is followed.
    pub followed: String,
    /// How it was.
    pub before: Relation,
    /// How it is.
    pub after: Relation,
}

/// The follow graph inside of a keyed state, below a prefix.
#[derive(Clone, Debug)]
pub struct Graph {
    prefix: String,
}

/// Listings, as first part of their keys: `[listing, actor, other]`, value `{"follow": id}`.
const FOLLOWERS: &str = "followers";
const FOLLOWING: &str = "following";
const PENDING_INBOUND: &str = "pending_inbound";
const PENDING_OUTBOUND: &str = "pending_outbound";
/// Edges that are ended in one step when an actor is deleted.
const PAGE: usize = 512;

impl Graph {
    /// A graph whose keys start with the part `prefix`; with an empty one they start with the
    /// listing.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Folds one activity; what does not concern the graph is ignored.
    ///
    /// # Errors
    /// Only where the state cannot be read or holds what this fold did not write.
    pub fn fold(&self, state: &mut dyn State, activity: &Activity) -> Result<(), StateError> {
        self.apply(state, activity).map(drop)
    }

    /// The same as [`Graph::fold`], and tells which edges changed.
    ///
    /// # Errors
    /// See [`Graph::fold`].
    pub fn apply(
        &self,
        state: &mut dyn State,
        activity: &Activity,
    ) -> Result<Vec<Change>, StateError> {
        let Some(object) = activity.object() else { return Ok(Vec::new()) };
        let actor = activity.actor();
        match activity.kind() {
            "Follow" => self.stated(state, Kind::Follow, activity),
            "Block" => self.stated(state, Kind::Block, activity),
            "Undo" => self.undone(state, activity, object),
            "Accept" => self.judged(state, activity, object, true),
            "Reject" => self.judged(state, activity, object, false),
            "Delete" if id_of(object) == Some(actor) => self.deleted(state, actor),
            _ => Ok(Vec::new()),
        }
    }

    fn stated(
        &self,
        state: &mut dyn State,
        kind: Kind,
        activity: &Activity,
    ) -> Result<Vec<Change>, StateError> {
        let (actor, Some(other)) = (activity.actor(), activity.object_id()) else {
            return Ok(Vec::new());
        };
        if actor == other {
            return Ok(Vec::new());
        }
        self.facts().state(state, kind, actor, other, activity.id(), activity.order())?;
        self.settle(state, kind, actor, other)
    }

    fn undone(
        &self,
        state: &mut dyn State,
        activity: &Activity,
        object: &Value,
    ) -> Result<Vec<Change>, StateError> {
        let actor = activity.actor();
        let named = Named::of(object);
        if named.actor.is_some_and(|author| author != actor) {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        match (named.kind, named.object) {
            (Inner::Other, _) => return Ok(changes),
            (Inner::Of(kind), Some(other)) => {
                self.facts().undo_pair(state, kind, actor, other, activity.order())?;
                changes.extend(self.settle(state, kind, actor, other)?);
            }
            _ => {}
        }
        if let Some(id) = named.id
            && let Some((kind, other)) = self.facts().undo_id(state, actor, id)?
        {
            changes.extend(self.settle(state, kind, actor, &other)?);
        }
        Ok(changes)
    }

    fn judged(
        &self,
        state: &mut dyn State,
        activity: &Activity,
        object: &Value,
        accept: bool,
    ) -> Result<Vec<Change>, StateError> {
        let judge = activity.actor();
        let named = Named::of(object);
        let verdict = Verdict { order: activity.order(), reject: !accept };
        if named.object.is_some_and(|followed| followed != judge)
            || matches!(named.kind, Inner::Other | Inner::Of(Kind::Block))
        {
            return Ok(Vec::new());
        }
        let follower = match (named.id, named.actor) {
            (Some(id), _) => self.facts().judge_id(state, judge, id, verdict)?,
            (None, Some(follower)) => {
                self.facts().judge_pair(state, judge, follower, verdict)?;
                Some(follower.to_owned())
            }
            (None, None) => None,
        };
        match follower {
            Some(follower) => self.settle(state, Kind::Follow, &follower, judge),
            None => Ok(Vec::new()),
        }
    }

    fn deleted(&self, state: &mut dyn State, actor: &str) -> Result<Vec<Change>, StateError> {
        self.facts().delete(state, actor);
        let mut changes = Vec::new();
        for listing in [FOLLOWING, PENDING_OUTBOUND, FOLLOWERS, PENDING_INBOUND] {
            // Every settled edge leaves the listing, so that the first page is always the next.
            loop {
                let page = self.list(state, listing, actor, None, PAGE)?;
                for other in &page {
                    let outbound = matches!(listing, FOLLOWING | PENDING_OUTBOUND);
                    let (a, b) = if outbound { (actor, &**other) } else { (&**other, actor) };
                    changes.extend(self.settle_one(state, a, b)?);
                }
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(changes)
    }

    /// Brings the listings in line with the facts of a pair; of both directions for a Block.
    fn settle(
        &self,
        state: &mut dyn State,
        kind: Kind,
        actor: &str,
        other: &str,
    ) -> Result<Vec<Change>, StateError> {
        let mut changes: Vec<_> = self.settle_one(state, actor, other)?.into_iter().collect();
        if kind == Kind::Block {
            changes.extend(self.settle_one(state, other, actor)?);
        }
        Ok(changes)
    }

    fn settle_one(
        &self,
        state: &mut dyn State,
        follower: &str,
        followed: &str,
    ) -> Result<Option<Change>, StateError> {
        let before = self.relation(state, follower, followed)?;
        let (after, follow) = self.facts().relation(state, follower, followed)?;
        let pairs = [
            (Relation::Accepted, FOLLOWING, FOLLOWERS),
            (Relation::Pending, PENDING_OUTBOUND, PENDING_INBOUND),
        ];
        for (relation, of_follower, of_followed) in pairs {
            let keys = [
                self.key(&[of_follower, follower, followed]),
                self.key(&[of_followed, followed, follower]),
            ];
            for key in keys {
                let wanted = (after == relation).then(|| serde_json::json!({ "follow": follow }));
                match (state.get(&key)?, wanted) {
                    (Some(_), None) => state.remove(&key),
                    (held, Some(wanted)) if held.as_ref() != Some(&wanted) => {
                        state.put(&key, wanted);
                    }
                    _ => {}
                }
            }
        }
        Ok((before != after).then(|| Change {
            follower: follower.to_owned(),
            followed: followed.to_owned(),
            before,
            after,
        }))
    }

    fn facts(&self) -> Facts<'_> {
        Facts(self)
    }

    fn key(&self, parts: &[&str]) -> String {
        if self.prefix.is_empty() { key(parts) } else { key(&self.below(parts)) }
    }

    fn prefix_of(&self, parts: &[&str]) -> String {
        if self.prefix.is_empty() { prefix(parts) } else { prefix(&self.below(parts)) }
    }

    fn below<'a>(&'a self, parts: &[&'a str]) -> Vec<&'a str> {
        std::iter::once(self.prefix.as_str()).chain(parts.iter().copied()).collect()
    }
}

/// What kind of statement an Undo or a verdict speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    /// Only named, so that it is known only once the statement itself is.
    Unknown,
    Of(Kind),
    Other,
}

/// The statement that an Undo or a verdict names or embeds.
struct Named<'a> {
    id: Option<&'a str>,
    kind: Inner,
    actor: Option<&'a str>,
    object: Option<&'a str>,
}

impl<'a> Named<'a> {
    fn of(object: &'a Value) -> Self {
        let member = |name| object.get(name).and_then(id_of);
        let kind = match object.as_object().and_then(kind_of) {
            None => Inner::Unknown,
            Some("Follow") => Inner::Of(Kind::Follow),
            Some("Block") => Inner::Of(Kind::Block),
            Some(_) => Inner::Other,
        };
        Self { id: id_of(object), kind, actor: member("actor"), object: member("object") }
    }
}
