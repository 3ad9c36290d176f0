//! A projection folded in memory: rebuilt digests and past state.

use std::collections::BTreeMap;

use fedsx_kernel::log::{Record, StoreError};
use fedsx_kernel::state::MemoryState;
use serde_json::Value;

use crate::digest;
use crate::fold::{Context, Fold};
use crate::set_aside::SetAside;
use crate::step::{Earlier, step};

/// State and records that were set aside, up to a position.
#[derive(Clone, Default)]
pub(crate) struct InMemory {
    pub(crate) state: MemoryState,
    pub(crate) aside: BTreeMap<u64, SetAside>,
    /// The last position that was folded.
    pub(crate) at: u64,
    /// About how many bytes keys and values take.
    pub(crate) bytes: usize,
}

/// Gives the record at a position.
pub(crate) type ReadOne<'a> = dyn FnMut(u64) -> Result<Option<Record>, StoreError> + 'a;

struct Past<'a, 'r> {
    aside: &'a BTreeMap<u64, SetAside>,
    read: &'a mut ReadOne<'r>,
}

impl Earlier for Past<'_, '_> {
    fn aside(&mut self, global_seq: u64) -> Result<Option<SetAside>, StoreError> {
        Ok(self.aside.get(&global_seq).cloned())
    }

    fn record(&mut self, global_seq: u64) -> Result<Option<Record>, StoreError> {
        (self.read)(global_seq)
    }
}

impl InMemory {
    /// Folds the next record; `read` gives records that a decision refers to.
    pub(crate) fn fold(
        &mut self,
        fold: &dyn Fold,
        context: &Context,
        record: &Record,
        read: &mut ReadOne<'_>,
    ) -> Result<(), StoreError> {
        let mut past = Past { aside: &self.aside, read };
        let effect =
            step(fold, context, &self.state, &mut past, record).map_err(digest::store_error)?;
        for (key, value) in &effect.writes {
            if let Some(held) = self.state.0.get(key) {
                self.bytes = self.bytes.saturating_sub(key.len() + weight(held));
            }
            if let Some(value) = value {
                self.bytes = self.bytes.saturating_add(key.len() + weight(value));
            }
        }
        self.state.commit(effect.writes);
        self.aside.extend(effect.aside.into_iter().map(|item| (item.global_seq, item)));
        self.at = record.entry.global_seq;
        Ok(())
    }
}

/// About how many bytes of memory a value takes.
fn weight(value: &Value) -> usize {
    const NODE: usize = 32;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => NODE,
        Value::String(text) => NODE + text.len(),
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + NODE,
        Value::Object(members) => {
            members.iter().map(|(name, value)| NODE + name.len() + weight(value)).sum::<usize>()
                + NODE
        }
    }
}
