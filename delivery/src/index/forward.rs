//! What is forwarded from inboxes (ActivityPub, section 7.1.2), and how much of it.
//!
//! An HTTP signature does not travel: whoever gets an activity from a third party believes the proof
//! in it (FEP-8b32), or nothing. So only what a proof vouched for is forwarded, as it was signed.
//!
//! Each activity is looked at once, at its first entry, and only instances that own an addressed
//! collection pass it on: nothing goes round. What its author says later of what was forwarded
//! (`Delete`, `Undo`) follows it, whomever it is addressed to.

use std::collections::BTreeMap;

use fedsx_genesis::fold::blocks;
use fedsx_genesis::readers::is_confidential;
use fedsx_genesis::{forwarding, moderation};
use fedsx_kernel::log::Record;
use fedsx_kernel::pipeline::inbound::without_hidden;
use fedsx_kernel::{Activity, origin_of};

use super::{FoldError, Folding};
use crate::ledger::{Passed, Writes};

/// How many activities of one peer are forwarded in an hour: each is sent to everyone who follows,
/// so that its author would have others work for it.
const MAX_FORWARDED: u32 = 120;
const HOUR_MS: i64 = 3_600_000;
/// What vouches for an activity whose proof was checked.
const BY_PROOF: &str = "proof:";

/// What a batch forwards, on top of what the ledger knows.
#[derive(Default)]
pub(super) struct Forwarded {
    /// How much, by peer.
    passed: BTreeMap<String, Passed>,
    /// To whose followers, by author and id.
    owners: BTreeMap<(String, String), Vec<String>>,
}

impl Forwarded {
    pub(super) fn write(&self, writes: &mut Writes) -> Result<(), FoldError> {
        for (peer, passed) in &self.passed {
            writes.passed(peer, passed)?;
        }
        for ((author, id), owners) in &self.owners {
            writes.forwarded(author, id, owners)?;
        }
        Ok(())
    }

    /// Notes a record; the actors of ours to whose followers its activity is forwarded.
    pub(super) fn note(
        &mut self,
        folding: &Folding,
        record: &Record,
    ) -> Result<Vec<String>, FoldError> {
        let (activity, meta) = (&*record.activity, &record.entry.meta);
        let (author, none) = (activity.actor(), Vec::new());
        let base = &folding.kernel.options().base;
        if base.is_local(author) || meta.backfilled || activity.is_erased() {
            return Ok(none);
        }
        let ends = matches!(activity.kind(), "Delete" | "Undo");
        if !ends && !forwarding::is_for_followers_of_ours(base, activity) {
            return Ok(none);
        }
        // What was decided since keeps an activity from being forwarded, too.
        let state = folding.kernel.log().state();
        let mut owners = forwarding::followed(base, state, activity)?;
        owners.retain(|owner| base.is_local(owner));
        if let Some(about) = activity.object_id().filter(|_| ends) {
            for owner in self.earlier(folding, author, about)? {
                if !owners.contains(&owner) && !blocks(state, &owner, author)? {
                    owners.push(owner);
                }
            }
        }
        if owners.is_empty() || !travels(activity, meta.verified_by.as_deref()) {
            return Ok(none);
        }
        let standing = moderation::standing(base, state, author)?;
        if standing.is_hidden() || standing.silenced {
            return Ok(none);
        }
        let Some(peer) = origin_of(author) else { return Ok(none) };
        let held = match self.passed.get(&peer) {
            Some(held) => *held,
            None => folding.ledger.passed(&peer)?,
        };
        // An end always follows what it ends.
        let Some(count) = counted(held, meta.received_ms, ends) else {
            tracing::warn!(%peer, cid = %activity.cid(), "not forwarded: too much of this peer was");
            return Ok(none);
        };
        self.passed.insert(peer, count);
        for id in forwarding::subjects(activity).into_iter().filter(|_| !ends) {
            self.owners.insert((author.to_owned(), id.to_owned()), owners.clone());
        }
        Ok(owners)
    }

    fn earlier(&self, folding: &Folding, author: &str, id: &str) -> Result<Vec<String>, FoldError> {
        match self.owners.get(&(author.to_owned(), id.to_owned())) {
            Some(owners) => Ok(owners.clone()),
            None => Ok(folding.ledger.forwarded(author, id)?),
        }
    }
}

/// Whether others can check it: by its proof, which holds only while nothing is taken out.
fn travels(activity: &Activity, verified_by: Option<&str>) -> bool {
    let mut open = activity.document().clone();
    without_hidden(&mut open);
    verified_by.is_some_and(|by| by.starts_with(BY_PROOF))
        && !is_confidential(activity)
        && open == *activity.document()
}

/// The count with one more; `None` where the hour is full.
fn counted(held: Passed, now_ms: i64, always: bool) -> Option<Passed> {
    let is_over = now_ms.saturating_sub(held.since_ms) >= HOUR_MS;
    let held = if is_over { Passed { since_ms: now_ms, count: 0 } } else { held };
    let room = always || held.count < MAX_FORWARDED;
    room.then(|| Passed { count: held.count.saturating_add(1), ..held })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_hour_has_room_for_so_many() {
        let mut count = Passed::default();
        for _ in 0..MAX_FORWARDED {
            count = counted(count, HOUR_MS, false).unwrap();
        }
        assert_eq!(counted(count, HOUR_MS * 2 - 1, false), None);
        assert!(counted(count, HOUR_MS * 2 - 1, true).is_some(), "an end is always forwarded");
        assert_eq!(counted(count, HOUR_MS * 2, false).unwrap().count, 1, "another hour");
    }
}
