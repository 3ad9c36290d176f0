//! `key-history`: every key that an actor ever had.

use std::collections::BTreeMap;

use fedsx_kernel::keys::MAX_KEYS;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, key, prefix, put_as};

use super::key_log;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};

/// Keys `[actor id, key id]` with the key ([`fedsx_kernel::keys::Key`]).
pub struct KeyHistory;

impl Fold for KeyHistory {
    fn name(&self) -> &'static str {
        "key-history"
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

    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let Some(actor) = key_log::learn(state, record)? else { return Ok(()) };
        // Both sources hold at most `MAX_KEYS` each.
        let shown = state.scan(&prefix(&[&actor]), None, MAX_KEYS.saturating_mul(2))?;
        let mut shown: BTreeMap<_, _> = shown.into_iter().collect();
        for item in key_log::keys(state, &actor)? {
            let place = key(&[&actor, &item.id]);
            shown.remove(&place);
            put_as(state, &place, &item)?;
        }
        for place in shown.keys() {
            state.remove(place);
        }
        Ok(())
    }
}
