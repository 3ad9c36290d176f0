//! What should be: worked out in the plainest way from the logs, and from nothing that the code
//! under test keeps beside them.

use std::collections::BTreeSet;

use fedsx_kernel::Activity;
use fedsx_kernel::activity::{id_of, ids_in, kind_of};
use fedsx_kernel::log::{Record, Stream};
use serde_json::Value;

/// How a follower stands to a followed actor, and by which Follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    None,
    Pending(String),
    Accepted(String),
}

/// What a log says up to a position.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub log: &'a [Record],
    pub upto: u64,
}

impl<'a> Known<'a> {
    fn said(self, actor: &'a str, kind: &'a str) -> impl Iterator<Item = &'a Activity> {
        let upto = self.upto;
        self.log
            .iter()
            .filter(move |record| record.entry.first && record.entry.global_seq <= upto)
            .filter(|record| record.entry.stream != Stream::Local)
            .map(|record| &*record.activity)
            .filter(move |activity| activity.actor() == actor && activity.kind() == kind)
    }

    /// The newest statement of an actor about another one.
    fn newest(self, actor: &'a str, kind: &'a str, other: &str) -> Option<&'a Activity> {
        self.said(actor, kind)
            .filter(|activity| activity.object_id() == Some(other))
            .max_by_key(|activity| activity.order())
    }

    fn undone(self, statement: &'a Activity) -> bool {
        self.said(statement.actor(), "Undo").any(|undo| {
            let embedded = |object: &Value| {
                object.as_object().and_then(kind_of) == Some(statement.kind())
                    && object.get("object").and_then(id_of) == statement.object_id()
                    && undo.order() > statement.order()
            };
            undo.object_id() == Some(statement.id()) || undo.object().is_some_and(embedded)
        })
    }

    pub fn blocks(self, actor: &'a str, other: &str) -> bool {
        self.newest(actor, "Block", other).is_some_and(|block| !self.undone(block))
    }

    /// Whether a Block between the two was ever said.
    pub fn ever_blocked(self, one: &'a str, other: &'a str) -> bool {
        self.newest(one, "Block", other).is_some() || self.newest(other, "Block", one).is_some()
    }

    pub fn relation(self, follower: &'a str, followed: &'a str) -> Relation {
        let Some(follow) = self.newest(follower, "Follow", followed) else { return Relation::None };
        let own_block = self.newest(follower, "Block", followed);
        if self.undone(follow)
            || self.blocks(follower, followed)
            || self.blocks(followed, follower)
            || own_block.is_some_and(|block| block.order() > follow.order())
        {
            return Relation::None;
        }
        let verdicts = ["Accept", "Reject"].into_iter().flat_map(|kind| self.said(followed, kind));
        let verdict = verdicts
            .filter(|verdict| verdict.object_id() == Some(follow.id()))
            .max_by_key(|verdict| verdict.order());
        let block = self.newest(followed, "Block", follower);
        match verdict {
            Some(verdict) if verdict.kind() == "Reject" => Relation::None,
            Some(verdict) if block.is_none_or(|block| verdict.order() > block.order()) => {
                Relation::Accepted(follow.id().to_owned())
            }
            _ => Relation::Pending(follow.id().to_owned()),
        }
    }
}

/// Whom an activity names, and whether it is for the author's followers as well.
pub fn addressed(activity: &Activity, hidden: &[String]) -> (BTreeSet<String>, bool) {
    let open = ["to", "cc", "audience"].into_iter().flat_map(|name| ids_in(activity.get(name)));
    let all = open.chain(hidden.iter().map(String::as_str));
    let followers = format!("{}/followers", activity.actor());
    let (wide, named): (Vec<_>, Vec<_>) =
        all.partition(|id| id.ends_with("#Public") || *id == followers);
    (named.into_iter().map(str::to_owned).collect(), !wide.is_empty())
}

/// What an activity is about, itself included; actors are not told apart by it.
pub fn subjects(activity: &Activity) -> BTreeSet<String> {
    let inner = activity.object().and_then(|object| object.get("object")).and_then(id_of);
    [Some(activity.id()), activity.object_id(), inner]
        .into_iter()
        .flatten()
        .filter(|id| !id.contains("/actors/"))
        .map(str::to_owned)
        .collect()
}
