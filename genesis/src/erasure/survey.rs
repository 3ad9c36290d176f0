//! Where the content of an object stands in the log.
//!
//! There is no index for it: an erasure is rare, an index would have to be kept for every object.
//! One pass over the log looks for several objects at once, and decodes only bodies in which one
//! of their ids stands.

use std::collections::{BTreeMap, BTreeSet};

use fedsx_kernel::address::same_origin;
use fedsx_kernel::log::{LogStore, StoreError, Stream};
use fedsx_kernel::state::StateError;
use fedsx_kernel::{Activity, Cid};

use super::stub::stub_of;
use crate::actors;

/// Entries read at once.
const PAGE: usize = 512;

/// What the log knows of an object.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Who said what the object is: authors of its origin.
    creators: BTreeSet<String>,
    /// Who deleted it: actors of its origin.
    deleters: BTreeSet<String>,
    /// Activities that hold content of it.
    pub carriers: Vec<Cid>,
}

impl Found {
    /// Whether the log has anything of the object.
    pub fn is_known(&self) -> bool {
        !(self.creators.is_empty() && self.deleters.is_empty() && self.carriers.is_empty())
    }

    /// Whether the object was deleted by who made it, or its author is gone altogether.
    ///
    /// # Errors
    /// Where the admission state cannot be read.
    pub fn is_deleted(&self, store: &dyn LogStore) -> Result<bool, StateError> {
        if self.creators.is_empty() {
            return Ok(!self.deleters.is_empty());
        }
        for creator in &self.creators {
            let gone = actors::actor(store.state(), creator)?.is_some_and(|actor| actor.deleted);
            if gone || self.deleters.contains(creator) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn note(&mut self, activity: &Activity, object: &str) -> Result<(), StoreError> {
        if activity.object_id() == Some(object) && same_origin(activity.actor(), object) {
            let actors = match activity.kind() {
                "Create" | "Update" => Some(&mut self.creators),
                "Delete" => Some(&mut self.deleters),
                _ => None,
            };
            if let Some(actors) = actors {
                actors.insert(activity.actor().to_owned());
            }
        }
        let stub = stub_of(activity, object).map_err(|e| StoreError::Damaged {
            place: format!("body {}", activity.cid()),
            reason: e.to_string(),
        })?;
        if stub.is_some() {
            self.carriers.push(*activity.cid());
        }
        Ok(())
    }
}

/// Looks through the log after a position for these objects; gives what it found and the last
/// position that it saw. Blocks.
///
/// # Errors
/// Where the log cannot be read or is damaged.
pub fn survey(
    store: &dyn LogStore,
    objects: &BTreeSet<String>,
    mut after: u64,
) -> Result<(BTreeMap<String, Found>, u64), StoreError> {
    let mut found: BTreeMap<String, Found> =
        objects.iter().map(|object| (object.clone(), Found::default())).collect();
    let finders: Vec<_> =
        objects.iter().map(|object| (object, memchr::memmem::Finder::new(object))).collect();
    loop {
        let page = store.read(after, PAGE)?;
        let Some(last) = page.last().map(|entry| entry.global_seq) else {
            return Ok((found, after));
        };
        for entry in page.into_iter().filter(|entry| entry.first && entry.stream != Stream::Local) {
            let damaged = |reason: String| StoreError::Damaged {
                place: format!("entry {}", entry.global_seq),
                reason,
            };
            let body = store.body(&entry.cid)?;
            let body = body.ok_or_else(|| damaged("the body is missing".into()))?;
            let mut named =
                finders.iter().filter(|(_, finder)| finder.find(&body.block).is_some()).peekable();
            if named.peek().is_none() {
                continue;
            }
            let activity = Activity::from_body(&body).map_err(|e| damaged(e.to_string()))?;
            for (object, _) in named {
                if let Some(found) = found.get_mut(*object) {
                    found.note(&activity, object)?;
                }
            }
        }
        after = last;
    }
}
