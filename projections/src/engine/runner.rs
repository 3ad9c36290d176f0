//! Folding in batches: the blocking part of a projection.
//!
//! A runner holds no progress in memory; every batch starts from the stored checkpoint, so that
//! a restart and a first start are the same.

use std::sync::Arc;

use fedsx_kernel::log::{Log, StoreError, TableWrite};
use fedsx_kernel::state::{Overlay, State, Writes};

use super::shared::{Halt, Shared};
use crate::fold::Context;
use crate::layout::{self, Checkpoint, Layout};
use crate::step::{Step, step};
use crate::table_state::TableState;

/// Most records in one batch.
const BATCH: u64 = 512;

pub(super) struct Runner {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
    pub(super) context: Context,
}

impl Runner {
    /// Brings the table into a shape from which folding can go on.
    pub(super) fn prepare(&self) -> Result<(), Halt> {
        let (layout, table) = (self.layout(), &*self.shared.table);
        let name = self.shared.fold.name();
        let own = match layout.checkpoint(table)? {
            Some(checkpoint) if self.in_log(&checkpoint)? => checkpoint,
            Some(checkpoint) => {
                let (at, head) = (checkpoint.global_seq, self.log.head());
                tracing::warn!(projection = name, at, head, "ahead of the log; it is rebuilt");
                layout.wipe(table)?;
                Checkpoint::default()
            }
            None => {
                if !layout.is_empty(table)? {
                    layout.wipe(table)?;
                }
                Checkpoint::default()
            }
        };
        let version = self.shared.fold.version();
        let served = match layout.live(table)? {
            Some(live) if live != version => {
                let older = Layout::new(name, live).checkpoint(table)?;
                match older {
                    Some(older) if self.in_log(&older)? => Some((live, older)),
                    _ => None,
                }
            }
            _ => None,
        };
        let (live, shown) = match served {
            Some((live, older)) => (live, older),
            None => {
                table.apply(vec![layout.put_live(version)])?;
                layout.wipe_others(table)?;
                (version, own)
            }
        };
        self.shared.publish(live, shown.global_seq, shown.set_aside);
        Ok(())
    }

    /// Whether the log still has what a checkpoint stands for.
    fn in_log(&self, checkpoint: &Checkpoint) -> Result<bool, StoreError> {
        let Some(before) = checkpoint.global_seq.checked_sub(1) else { return Ok(true) };
        if checkpoint.global_seq > self.log.head() {
            return Ok(false);
        }
        let entry = self.log.store().read(before, 1)?.pop();
        Ok(entry.is_some_and(|entry| {
            entry.global_seq == checkpoint.global_seq && Some(entry.cid) == checkpoint.cid
        }))
    }

    /// Folds one batch and commits it; tells whether there is more.
    pub(super) fn advance(&self) -> Result<bool, Halt> {
        let (layout, table) = (self.layout(), &*self.shared.table);
        let mut checkpoint = layout.checkpoint(table)?.unwrap_or_default();
        let head = self.log.head();
        let waiting = head.saturating_sub(checkpoint.global_seq);
        let limit = usize::try_from(waiting.min(BATCH)).unwrap_or_default();
        if limit > 0 {
            let writes = self.fold(&mut checkpoint, limit)?;
            table.apply(writes)?;
        }
        let version = self.shared.fold.version();
        let caught_up = checkpoint.global_seq >= head;
        if self.shared.live() == version {
            self.shared.publish(version, checkpoint.global_seq, checkpoint.set_aside);
        } else if caught_up {
            table.apply(vec![layout.put_live(version)])?;
            self.shared.publish(version, checkpoint.global_seq, checkpoint.set_aside);
            layout.wipe_others(table)?;
        }
        Ok(!caught_up)
    }

    fn fold(&self, checkpoint: &mut Checkpoint, limit: usize) -> Result<Vec<TableWrite>, Halt> {
        let (layout, fold) = (self.layout(), &*self.shared.fold);
        let committed = TableState::new(self.shared.table.clone(), fold.name(), fold.version());
        let mut batch = Overlay::new(&committed);
        let mut writes = Vec::new();
        let records = self.log.records(checkpoint.global_seq, limit)?;
        if records.is_empty() {
            return Err(StoreError::Damaged {
                place: format!("entry {}", checkpoint.global_seq.saturating_add(1)),
                reason: "it is missing".into(),
            }
            .into());
        }
        for record in records {
            match step(fold, &self.context, &batch, &record)? {
                Step::Skipped => {}
                Step::Folded(changes) => commit(&mut batch, changes),
                Step::SetAside(item) => {
                    tracing::warn!(projection = fold.name(), global_seq = item.global_seq,
                        cid = %item.cid, reason = %item.reason, "a record was set aside");
                    let key = layout.set_aside_at(item.global_seq);
                    let value = layout::encode_as(&key, &item)?;
                    writes.push((key, Some(value)));
                    checkpoint.set_aside += 1;
                }
            }
            checkpoint.global_seq = record.entry.global_seq;
            checkpoint.cid = Some(record.entry.cid);
        }
        for (key, value) in batch.into_writes() {
            let key = committed.key(&key);
            let value = value.map(|value| layout::encode(&key, &value)).transpose()?;
            writes.push((key, value));
        }
        writes.push(layout.put_checkpoint(checkpoint)?);
        Ok(writes)
    }

    fn layout(&self) -> Layout {
        Layout::new(self.shared.fold.name(), self.shared.fold.version())
    }
}

fn commit(batch: &mut Overlay<'_>, changes: Writes) {
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(&key, value),
            None => batch.remove(&key),
        }
    }
}
