//! Digests over projections: whether stored state is what the log gives.

use std::sync::Arc;

use fedsx_kernel::log::{Log, Record, StoreError, Table};
use fedsx_kernel::state::StateError;
use serde::Serialize;
use serde_json::Value;

use crate::fold::{Context, Fold};
use crate::in_memory::InMemory;
use crate::layout::{self, Build, Builds, Layout};
use crate::packed;
use crate::set_aside::SetAside;

/// Entries that are read in one step.
const PAGE: usize = 512;

/// A digest and what it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// Lower-case hex of the blake3 hash over name and version of the fold, the state in key
    /// order and the records that were set aside.
    pub digest: String,
    /// The position in the log; digests compare only at the same position.
    pub global_seq: u64,
    /// How many state entries are covered, the fold's own notes included.
    pub entries: u64,
    /// How many records were set aside and wait for a decision. Those that were skipped or
    /// retried are covered, too.
    pub set_aside: u64,
}

struct Hasher {
    hasher: blake3::Hasher,
    entries: u64,
    set_aside: u64,
}

impl Hasher {
    fn new(name: &str, version: u32) -> Self {
        let mut new = Self { hasher: blake3::Hasher::new(), entries: 0, set_aside: 0 };
        new.part(name.as_bytes());
        new.part(&version.to_be_bytes());
        new
    }

    /// The length in front keeps neighbours apart.
    fn part(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_be_bytes());
        self.hasher.update(bytes);
    }

    fn state(&mut self, key: &str, value: &Value) -> Result<(), StoreError> {
        self.entries += 1;
        self.part(b"s");
        self.part(key.as_bytes());
        let value = layout::encode(key.as_bytes(), value)?;
        self.part(&value);
        Ok(())
    }

    /// The same of a value as it is stored.
    fn stored_state(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.entries += 1;
        self.part(b"s");
        self.part(key);
        if packed::may_be_older(value) {
            let value = layout::encode(key, &layout::decode(key, value)?)?;
            self.part(&value);
        } else {
            self.part(value);
        }
        Ok(())
    }

    fn set_aside(&mut self, item: &SetAside) -> Result<(), StoreError> {
        self.set_aside += u64::from(item.waits());
        self.part(b"x");
        let item = layout::encode_as(b"a record that was set aside", item)?;
        self.part(&item);
        Ok(())
    }

    fn finish(self, global_seq: u64) -> Digest {
        let digest = self.hasher.finalize().to_hex().to_string();
        Digest { digest, global_seq, entries: self.entries, set_aside: self.set_aside }
    }
}

/// The digest of what is stored for a fold. The projection must not run meanwhile; for a running
/// one ask [`crate::Projections::digest`].
///
/// # Errors
/// Where the table cannot be read or is damaged.
pub fn stored_digest(table: &Arc<dyn Table>, fold: &dyn Fold) -> Result<Digest, StoreError> {
    let build = Builds(fold.name()).of_version(&**table, fold.version())?;
    stored(table, fold.name(), build)
}

/// Whether what is stored for a fold may hold content that was erased from the log since: it is
/// built anew by the next server, and differs from a rebuild until then.
///
/// # Errors
/// Where the table cannot be read or is damaged.
pub fn is_stale(table: &dyn Table, fold: &dyn Fold) -> Result<bool, StoreError> {
    let build = Builds(fold.name()).of_version(table, fold.version())?;
    let checkpoint = Layout::new(fold.name(), build).checkpoint(table)?;
    Ok(checkpoint.is_some_and(|checkpoint| checkpoint.stale))
}

pub(crate) fn stored(
    table: &Arc<dyn Table>,
    name: &str,
    build: Build,
) -> Result<Digest, StoreError> {
    let layout = Layout::new(name, build);
    let (prefix, mut hasher) = (layout.state(), Hasher::new(name, build.version));
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = table.scan(&prefix, after.as_deref(), PAGE)?;
        for (key, value) in &page {
            hasher.stored_state(key.get(prefix.len()..).unwrap_or_default(), value)?;
        }
        match page.into_iter().nth(PAGE - 1) {
            Some((key, _)) => after = Some(key),
            None => break,
        }
    }
    let mut after = None;
    loop {
        let page = set_aside(&**table, &layout, after, PAGE)?;
        for item in &page {
            hasher.set_aside(item)?;
        }
        match page.get(PAGE - 1) {
            Some(last) => after = Some(last.global_seq),
            None => break,
        }
    }
    let checkpoint = layout.checkpoint(&**table)?.unwrap_or_default();
    Ok(hasher.finish(checkpoint.global_seq))
}

/// Up to `limit` records that were set aside, after a position.
pub(crate) fn set_aside(
    table: &dyn Table,
    layout: &Layout,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<SetAside>, StoreError> {
    let after = after.map(|seq| layout.set_aside_at(seq));
    let found = table.scan(&layout.set_aside(), after.as_deref(), limit)?;
    found.iter().map(|(key, bytes)| layout::decode_as(key, bytes)).collect()
}

/// Folds the whole log into memory and gives the digest that the stored state must have.
///
/// # Errors
/// Where the log cannot be read or is damaged.
pub fn rebuild_digest(log: &Log, fold: &dyn Fold, context: &Context) -> Result<Digest, StoreError> {
    rebuild(fold, context, |after| log.records(after, PAGE))
}

/// The same from any source of records: `read` gives the next ones above a position, and none
/// at the end. Decisions about records that were set aside make it go back for them.
///
/// # Errors
/// Those of `read`.
pub fn rebuild(
    fold: &dyn Fold,
    context: &Context,
    mut read: impl FnMut(u64) -> Result<Vec<Record>, StoreError>,
) -> Result<Digest, StoreError> {
    let mut rebuilt = InMemory::default();
    loop {
        let records = read(rebuilt.at)?;
        if records.is_empty() {
            break;
        }
        for record in records {
            let mut one = |global_seq: u64| {
                let found = read(global_seq.saturating_sub(1))?.into_iter().next();
                Ok(found.filter(|record| record.entry.global_seq == global_seq))
            };
            rebuilt.fold(fold, context, &record, &mut one)?;
        }
    }
    of_memory(fold, &rebuilt)
}

/// The digest of what was folded in memory.
pub(crate) fn of_memory(fold: &dyn Fold, folded: &InMemory) -> Result<Digest, StoreError> {
    let mut hasher = Hasher::new(fold.name(), fold.version());
    for (key, value) in &folded.state.0 {
        hasher.state(key, value)?;
    }
    for item in folded.aside.values() {
        hasher.set_aside(item)?;
    }
    Ok(hasher.finish(folded.at))
}

pub(crate) fn store_error(error: StateError) -> StoreError {
    match error {
        StateError::Storage(error) => error,
        error => StoreError::Io(error.to_string()),
    }
}
