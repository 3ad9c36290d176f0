//! The admission state anew from the log, where it was made by other rules than those in force.

use std::sync::Arc;

use serde_json::Value;

use super::entry::Record;
use super::store::{Batch, LogStore, StoreError};
use crate::activity::Activity;
use crate::rules::{RULES_VERSION, Rules};
use crate::state::{MemoryState, Overlay, StateError, StateView, Writes};

/// Entries read, and rows compared, at once.
const PAGE: usize = 512;

/// The version of the rules that made a state.
pub fn rules_of(state: &dyn StateView) -> Result<u64, StateError> {
    Ok(state.get(RULES_VERSION)?.and_then(|version| version.as_u64()).unwrap_or(1))
}

/// Brings the admission state to what these rules give for the log. The answer is whether anything
/// had to be done. The whole state is held in memory meanwhile.
pub(super) fn refold(store: &dyn LogStore, rules: &dyn Rules) -> Result<bool, StoreError> {
    let head = store.head()?;
    if head == 0 || rules_of(store.state()).map_err(damaged)? == rules.version() {
        return Ok(false);
    }
    tracing::info!(head, "the admission state is computed anew by newer rules");
    let mut state = MemoryState::default();
    let mut after = 0;
    loop {
        let entries = store.read(after, PAGE)?;
        let Some(last) = entries.last().map(|entry| entry.global_seq) else { break };
        for entry in entries.into_iter().filter(|entry| entry.first) {
            let place = format!("entry {}", entry.global_seq);
            let missing = |reason: String| StoreError::Damaged { place: place.clone(), reason };
            let body =
                store.body(&entry.cid)?.ok_or_else(|| missing("the body is missing".into()))?;
            let activity = Activity::from_body(&body).map_err(|e| missing(e.to_string()))?;
            let mut overlay = Overlay::new(&state);
            let record = Record { entry, activity: Arc::new(activity) };
            rules.fold(&mut overlay, &record).map_err(damaged)?;
            let writes = overlay.into_writes();
            state.commit(writes);
        }
        after = last;
    }
    let writes = difference(store.state(), &state)?;
    store.append(&Batch { state: writes, ..Batch::default() })?;
    Ok(true)
}

/// The writes that make `held` what `wanted` is.
fn difference(held: &dyn StateView, wanted: &MemoryState) -> Result<Writes, StoreError> {
    let mut writes: Writes =
        wanted.0.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let mut after: Option<String> = None;
    loop {
        let page: Vec<(String, Value)> = held.scan("", after.as_deref(), PAGE).map_err(damaged)?;
        let done = page.len() < PAGE;
        for (key, value) in page {
            match wanted.0.get(&key) {
                Some(same) if *same == value => {
                    writes.remove(&key);
                }
                Some(_) => {}
                None => {
                    writes.insert(key.clone(), None);
                }
            }
            after = Some(key);
        }
        if done {
            return Ok(writes);
        }
    }
}

fn damaged(error: StateError) -> StoreError {
    match error {
        StateError::Storage(error) => error,
        other => {
            StoreError::Damaged { place: "the admission state".into(), reason: other.to_string() }
        }
    }
}
