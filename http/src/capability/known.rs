//! Which capability tokens the instance has heard of: those that it issued, and narrowed ones from
//! the moment that they are used here. Of each it keeps the name of its last block and of the one
//! before, so that whoever holds the token above can look at it and end it by its name.

use std::collections::HashMap;
use std::sync::PoisonError;

use fedsx_kernel::ActorName;
use fedsx_kernel::log::Table;
use fedsx_kernel::tokens::Scope;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::store::Capabilities;
use super::{Capability, CapabilityError, MAX_BLOCKS};

/// Where known blocks stand in the ledger, under their names.
pub(super) const KNOWN: &[u8] = b"capability-known\0";
/// Blocks of one actor's tokens that are known at most; those beyond are no less valid.
pub const MAX_KNOWN_OF_ACTOR: usize = 1000;

/// What is known of one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// For whom the token speaks.
    pub actor: ActorName,
    /// What the authority block allows.
    pub scopes: Vec<Scope>,
    /// The block before; none for an authority block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// When it was issued or first used here.
    pub since: Timestamp,
    /// When the authority block ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// The known blocks by their names, and how many each actor has.
#[derive(Default)]
pub(super) struct Blocks {
    by_id: HashMap<String, Known>,
    of_actor: HashMap<ActorName, usize>,
}

impl Blocks {
    /// How many known blocks come before this one.
    fn depth(&self, id: &str) -> usize {
        let before = |id: &&str| self.by_id.get(*id).and_then(|known| known.parent.as_deref());
        std::iter::successors(Some(id), before).take(MAX_BLOCKS).count()
    }

    pub(super) fn load(ledger: &dyn Table) -> Result<Self, CapabilityError> {
        let mut blocks = Self::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = ledger.scan(KNOWN, after.as_deref(), 500)?;
            let Some((last, _)) = page.last() else { return Ok(blocks) };
            after = Some(last.clone());
            for (key, value) in page {
                let id = String::from_utf8_lossy(key.get(KNOWN.len()..).unwrap_or_default());
                match serde_json::from_slice(&value) {
                    Ok(known) => blocks.insert(id.into_owned(), known),
                    Err(error) => tracing::warn!(%error, block = %id, "a known block is damaged"),
                }
            }
        }
    }

    fn insert(&mut self, id: String, known: Known) {
        *self.of_actor.entry(known.actor.clone()).or_default() += 1;
        self.by_id.insert(id, known);
    }

    fn has_room(&self, actor: &ActorName) -> bool {
        self.of_actor.get(actor).is_none_or(|count| *count < MAX_KNOWN_OF_ACTOR)
    }
}

impl Capabilities {
    /// What is known of a block.
    pub(crate) fn known(&self, id: &str) -> Option<Known> {
        let blocks = self.inner.known.read().unwrap_or_else(PoisonError::into_inner);
        blocks.by_id.get(id).cloned()
    }

    /// The known blocks of an actor's tokens, in the order of [`Self::all_known`].
    pub(crate) fn of_actor(&self, actor: &ActorName) -> Vec<(String, Known)> {
        self.all_known(|known| known.actor == *actor)
    }

    /// Every known block, oldest first; those of one moment, as a request makes all blocks of its
    /// token known, each after the one that it comes after.
    pub(crate) fn all_known(&self, wanted: impl Fn(&Known) -> bool) -> Vec<(String, Known)> {
        let blocks = self.inner.known.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = blocks.by_id.iter().filter(|(_, known)| wanted(known));
        let mut list: Vec<_> = wanted.map(|(id, known)| (id.clone(), known.clone())).collect();
        list.sort_by_cached_key(|(id, known)| (known.since, blocks.depth(id), id.clone()));
        list
    }

    /// Whether a block is, or comes after, another one.
    pub(crate) fn comes_from(&self, id: &str, ancestor: &str) -> bool {
        let blocks = self.inner.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut next = Some(id);
        for _ in 0..MAX_BLOCKS {
            match next {
                Some(id) if id == ancestor => return true,
                Some(id) => next = blocks.by_id.get(id).and_then(|known| known.parent.as_deref()),
                None => return false,
            }
        }
        false
    }

    /// Remembers the blocks of a token that was issued or presented, as far as there is room.
    pub(super) fn learn(&self, ids: &[String], known: &Known) -> Result<(), CapabilityError> {
        if ids.last().is_some_and(|last| self.known(last).is_some()) {
            return Ok(());
        }
        let mut blocks = self.inner.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut parent: Option<&String> = None;
        for id in ids {
            if !blocks.by_id.contains_key(id) && blocks.has_room(&known.actor) {
                let known = Known { parent: parent.cloned(), ..known.clone() };
                let value = serde_json::to_vec(&known).map_err(|e| {
                    CapabilityError::Wish(format!("a known block cannot be written: {e}"))
                })?;
                self.inner.ledger.apply(vec![([KNOWN, id.as_bytes()].concat(), Some(value))])?;
                blocks.insert(id.clone(), known);
            }
            parent = Some(id);
        }
        Ok(())
    }

    /// Remembers a token that was presented.
    pub(super) fn note(&self, capability: &Capability, now: Timestamp) {
        let known = Known {
            actor: capability.grant.actor.clone(),
            scopes: capability.stated.clone(),
            parent: None,
            label: String::new(),
            since: now,
            expires: None,
        };
        // A request is not refused because its token's name could not be written down.
        if let Err(error) = self.learn(&capability.revocation_ids(), &known) {
            tracing::warn!(%error, "noting a capability token");
        }
    }
}
