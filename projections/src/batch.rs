//! Batches of records folded into the writes that commit them.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedsx_kernel::log::{BODY_ERASED, Record, StoreError, Stream, Table};
use fedsx_kernel::state::{Overlay, StateError, StateView, Writes};
use serde_json::Value;

use crate::changes::{Change, Collector};
use crate::engine::Halt;
use crate::fold::{Context, Fold, Visibility};
use crate::layout::{self, Build, Checkpoint, Layout};
use crate::query::NOTES;
use crate::seen::Seen;
use crate::set_aside::SetAside;
use crate::source::Source;
use crate::step::{Earlier, step};
use crate::table_state::TableState;

/// Records in one commit. What is folded in one go between two commits writes each row once, and
/// rows in their order are written faster together.
const COMMIT_RECORDS: u64 = 4096;
/// Rows that are kept in memory until a commit, about.
const COMMIT_ROWS: usize = 16_384;

/// What batches are folded with.
pub(crate) struct Folding<'a> {
    pub(crate) fold: &'a dyn Fold,
    pub(crate) context: &'a Context,
    pub(crate) source: &'a dyn Source,
    pub(crate) table: &'a Arc<dyn Table>,
    pub(crate) build: Build,
}

/// What was folded since the last commit.
pub(crate) struct Open {
    writes: Writes,
    aside: BTreeMap<u64, SetAside>,
    /// What changed, for live streams; `None` where nobody can have read this build.
    changes: Option<Collector>,
    /// How far it is, once it is committed.
    pub(crate) checkpoint: Checkpoint,
    /// The last commit.
    from: u64,
}

impl Open {
    pub(crate) fn new(checkpoint: Checkpoint, changes: Option<Collector>) -> Self {
        let from = checkpoint.global_seq;
        Self { writes: Writes::new(), aside: BTreeMap::new(), changes, checkpoint, from }
    }

    /// Whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.checkpoint.global_seq == self.from
    }

    /// Whether it is to be committed before more is folded.
    pub(crate) fn is_full(&self) -> bool {
        self.checkpoint.global_seq.saturating_sub(self.from) >= COMMIT_RECORDS
            || self.writes.len().saturating_add(self.aside.len()) >= COMMIT_ROWS
    }
}

struct Before<'a> {
    source: &'a dyn Source,
    table: &'a dyn Table,
    layout: &'a Layout,
    batch: &'a BTreeMap<u64, SetAside>,
}

impl Earlier for Before<'_> {
    fn aside(&mut self, global_seq: u64) -> Result<Option<SetAside>, StoreError> {
        if let Some(item) = self.batch.get(&global_seq) {
            return Ok(Some(item.clone()));
        }
        let key = self.layout.set_aside_at(global_seq);
        self.table.get(&key)?.map(|bytes| layout::decode_as(&key, &bytes)).transpose()
    }

    fn record(&mut self, global_seq: u64) -> Result<Option<Record>, StoreError> {
        self.source.record(global_seq)
    }
}

impl Folding<'_> {
    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.fold.name(), self.build)
    }

    /// Folds the next records on top of what was not committed yet.
    pub(crate) fn take(&self, open: &mut Open, records: &[Arc<Record>]) -> Result<(), Halt> {
        let layout = self.layout();
        let committed = TableState::new(self.table.clone(), self.fold.name(), self.build);
        let mut batch = Overlay::over(&committed, std::mem::take(&mut open.writes));
        if records.is_empty() {
            return Err(StoreError::Damaged {
                place: format!("entry {}", open.checkpoint.global_seq.saturating_add(1)),
                reason: "it is missing".into(),
            }
            .into());
        }
        for record in records {
            let (source, table) = (self.source, &**self.table);
            let mut before = Before { source, table, layout: &layout, batch: &open.aside };
            let seen = Seen::new(&batch);
            let mut effect = step(self.fold, self.context, &seen, &mut before, record)?;
            // What is as it was is not written.
            let stays = |key: &str, after: &Option<Value>| {
                seen.remembered(key).is_some_and(|before| before.as_deref() == after.as_ref())
            };
            effect.writes.retain(|key, after| !stays(key, after));
            let seq = record.entry.global_seq;
            if let Some(changes) = open.changes.as_mut().filter(|_| !effect.writes.is_empty())
                && changes.wants(seq)
            {
                self.note(changes, seq, &seen, &effect.writes)?;
            }
            drop(seen);
            batch.extend(effect.writes);
            for item in effect.aside {
                tracing::warn!(projection = self.fold.name(), global_seq = item.global_seq,
                    cid = %item.cid, status = ?item.status, reason = %item.reason,
                    "a record that was set aside");
                open.aside.insert(item.global_seq, item);
            }
            let checkpoint = &mut open.checkpoint;
            checkpoint.set_aside = checkpoint.set_aside.saturating_add_signed(effect.waiting);
            checkpoint.global_seq = seq;
            checkpoint.stale |= self.fold.keeps_content() && is_erasure(record, checkpoint.born);
            checkpoint.cid = Some(record.entry.cid);
        }
        open.writes = batch.into_writes();
        Ok(())
    }

    /// Notes which rows a record changes.
    fn note(
        &self,
        changes: &mut Collector,
        global_seq: u64,
        seen: &Seen<'_>,
        writes: &Writes,
    ) -> Result<(), StateError> {
        let private = self.fold.visibility() == Visibility::Private;
        let rows = writes.iter().filter(|(key, _)| !key.starts_with(NOTES));
        for (number, (key, after)) in (0u32..).zip(rows) {
            let place = (global_seq, number);
            if private && seen.remembered(key).is_none() {
                // What the fold wrote without looking at it is nearly always new.
                changes.add(Change::unseen(place, key));
                continue;
            }
            let before = seen.get_shared(key)?;
            changes.extend(Change::of(self.fold, place, key, before.as_deref(), after.as_ref()));
        }
        Ok(())
    }

    /// Writes state, what was set aside, changes and checkpoint in one batch.
    pub(crate) fn commit(&self, open: Open) -> Result<Checkpoint, StoreError> {
        let layout = self.layout();
        let committed = TableState::new(self.table.clone(), self.fold.name(), self.build);
        let mut writes = Vec::with_capacity(open.writes.len() + open.aside.len() + 2);
        for (key, value) in open.writes {
            let key = committed.key(&key);
            let value = value.map(|value| layout::encode(&key, &value)).transpose()?;
            writes.push((key, value));
        }
        for (global_seq, item) in &open.aside {
            let key = layout.set_aside_at(*global_seq);
            let value = layout::encode_as(&key, item)?;
            writes.push((key, Some(value)));
        }
        if let Some(changes) = open.changes {
            writes.extend(changes.finish(&**self.table, &layout)?);
        }
        writes.push(layout.put_checkpoint(&open.checkpoint)?);
        self.table.apply(writes)?;
        Ok(open.checkpoint)
    }
}

/// Whether a record says that something was erased after this position.
fn is_erasure(record: &Record, after: u64) -> bool {
    record.entry.stream == Stream::Local
        && record.activity.kind() == BODY_ERASED
        && record.entry.global_seq > after
}
