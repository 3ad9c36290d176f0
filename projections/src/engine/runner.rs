//! Folding in batches: the blocking part of a projection.
//!
//! What a runner folded and did not commit yet is nothing that a restart misses: it starts from a
//! stored checkpoint, like a first start. Far behind the end of the log several batches make one
//! commit; what is served is what was committed.
//!
//! A rebuild, be it for a new version of the fold or asked for, makes a build of its own beside
//! the served one. Where both are of one version, the served one goes on being folded, and the
//! switch happens when the new one stands at the same position; else when it stands at the end
//! of the log. Switching is one batch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedsx_kernel::log::{Record, StoreError};
use fedsx_kernel::trace::{Span, SpanKind, Traces};

use super::shared::{Halt, Making, Rebuilt, Shared};
use crate::batch::{Folding, Open};
use crate::changes::{self, Collector, Reach};
use crate::digest;
use crate::fold::Context;
use crate::layout::{Build, Builds, Checkpoint, Layout};
use crate::source::Source;

pub(crate) struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) context: Context,
    /// Most records in one batch.
    pub(crate) batch: u64,
    /// What was folded and not committed yet, for each build.
    open: Mutex<Vec<(Build, Open)>>,
}

impl Runner {
    pub(crate) fn new(
        shared: Arc<Shared>,
        source: Arc<dyn Source>,
        context: Context,
        batch: u64,
    ) -> Self {
        Self { shared, source, context, batch, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Vec<(Build, Open)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the table into a shape from which folding can go on.
    pub(crate) fn prepare(&self) -> Result<(), Halt> {
        self.open().clear();
        let (table, builds) = (&*self.shared.table, self.builds());
        let version = self.version();
        let live = match builds.live(table)? {
            Some(live) if live.version == version => {
                self.usable(live)?;
                live
            }
            // An older version is served on as long as it is true to the log.
            Some(older) if self.shared.fold.serves(older.version) && self.is_in_log(older)? => {
                older
            }
            _ => {
                let first = Build::first(version);
                table.apply(vec![builds.put_live(first)])?;
                self.usable(first)?;
                first
            }
        };
        let next = match builds.next(table)? {
            Some(next) if next.version == version && next != live => Some(next),
            _ if live.version == version => None,
            _ => Some(Build::first(version)),
        };
        if let Some(next) = next {
            self.usable(next)?;
        }
        table.apply(vec![builds.put_next(next)])?;
        let keep: Vec<_> = [Some(live), next].into_iter().flatten().collect();
        builds.wipe_others(table, &keep)?;
        let served = self.layout(live).checkpoint(table)?.unwrap_or_default();
        changes::renew(table, &self.layout(live), served.global_seq)?;
        self.shared.set_making(match next {
            Some(build) => {
                let made = self.layout(build).checkpoint(table)?.unwrap_or_default();
                Some(Making { build, global_seq: made.global_seq })
            }
            None => None,
        });
        self.shared.publish(live, &served);
        Ok(())
    }

    /// Empties a build that is not true to the log.
    fn usable(&self, build: Build) -> Result<(), Halt> {
        let (layout, table) = (self.layout(build), &*self.shared.table);
        match layout.checkpoint(table)? {
            Some(checkpoint) if self.in_log(&checkpoint)? => {}
            Some(checkpoint) => {
                let (at, head) = (checkpoint.global_seq, self.source.head()?);
                let projection = self.shared.fold.name();
                tracing::warn!(projection, at, head, "ahead of the log; it is rebuilt");
                layout.wipe(table)?;
                // Who read what is gone must read everything anew.
                let start = at.saturating_add(1);
                table.apply(vec![Reach { start, ..Reach::default() }.put(&layout)?])?;
            }
            None => {
                if !layout.is_empty(table)? {
                    layout.wipe(table)?;
                }
            }
        }
        Ok(())
    }

    fn is_in_log(&self, build: Build) -> Result<bool, StoreError> {
        match self.layout(build).checkpoint(&*self.shared.table)? {
            Some(checkpoint) => self.in_log(&checkpoint),
            None => Ok(false),
        }
    }

    /// Whether the log still has what a checkpoint stands for.
    fn in_log(&self, checkpoint: &Checkpoint) -> Result<bool, StoreError> {
        if checkpoint.global_seq == 0 {
            return Ok(true);
        }
        if checkpoint.global_seq > self.source.head()? {
            return Ok(false);
        }
        let cid = self.source.cid_at(checkpoint.global_seq)?;
        Ok(cid.is_some() && cid == checkpoint.cid)
    }

    /// Begins a build beside the served one; `false` where one is being made already.
    pub(crate) fn rebuild(&self) -> Result<bool, Halt> {
        if self.shared.making().is_some() {
            return Ok(false);
        }
        let (table, live) = (&*self.shared.table, self.shared.live());
        let build = Build { generation: live.generation.wrapping_add(1), ..live };
        self.open().retain(|(of, _)| *of != build);
        self.layout(build).wipe(table)?;
        table.apply(vec![self.builds().put_next(Some(build))])?;
        self.shared.set_rebuilt(None);
        self.shared.set_making(Some(Making { build, global_seq: 0 }));
        tracing::info!(projection = self.shared.fold.name(), %build, "a rebuild begins");
        Ok(true)
    }

    /// The position from which the next batch is folded.
    pub(crate) fn at(&self) -> u64 {
        let folded = |build: Build, committed: u64| {
            let open = self.open();
            let of_build = open.iter().find(|(of, _)| *of == build);
            of_build.map_or(committed, |(_, open)| open.checkpoint.global_seq)
        };
        let live = self.shared.served();
        let making = self.shared.making();
        let making = making.map_or(u64::MAX, |making| folded(making.build, making.global_seq));
        if live.build.version == self.version() {
            folded(live.build, live.global_seq).min(making)
        } else {
            making
        }
    }

    /// Folds one batch into each build and commits what is enough for a commit; tells whether
    /// there is more.
    pub(crate) fn advance(&self, traces: &Traces) -> Result<bool, Halt> {
        let head = self.source.head()?;
        let live = self.shared.live();
        let mut more = false;
        let mut goal = head;
        if live.version == self.version() {
            let served = self.batch(live, head, Some(traces))?;
            if let Some(served) = served {
                // One rebuild at a time; what is erased meanwhile makes the next one necessary.
                // Whoever sees the position sees that it is under way.
                if served.stale && self.shared.making().is_none() {
                    self.rebuild()?;
                }
                self.shared.publish(live, &served);
            }
            goal = self.shared.reached();
            more = goal < head;
        }
        if let Some(Making { build, .. }) = self.shared.making() {
            match self.batch(build, goal, None)? {
                Some(made) => {
                    self.shared.set_making(Some(Making { build, global_seq: made.global_seq }));
                    if made.global_seq >= goal {
                        self.switch(live, build, &made)?;
                        more |= made.stale;
                    } else {
                        more = true;
                    }
                }
                None => more = true,
            }
        }
        Ok(more)
    }

    /// Folds one batch; gives the checkpoint where that was committed, or nothing was to be done.
    /// There are traces for the served build alone.
    fn batch(
        &self,
        build: Build,
        goal: u64,
        traces: Option<&Traces>,
    ) -> Result<Option<Checkpoint>, Halt> {
        let held = {
            let mut open = self.open();
            let at = open.iter().position(|(of, _)| *of == build);
            at.map(|at| open.swap_remove(at).1)
        };
        let mut open = match held {
            Some(open) => open,
            None => self.begin(build, goal, traces.is_some())?,
        };
        // Batches of all projections begin at the same places.
        let at = open.checkpoint.global_seq;
        let waiting = goal.saturating_sub(at).min(self.batch - at % self.batch);
        let limit = usize::try_from(waiting).unwrap_or_default();
        let folding = Folding {
            fold: &*self.shared.fold,
            context: &self.context,
            source: &*self.source,
            table: &self.shared.table,
            build,
        };
        if limit == 0 {
            return Ok(Some(if open.is_empty() {
                open.checkpoint
            } else {
                folding.commit(open)?
            }));
        }
        let records = self.source.page(at, limit)?;
        let spans = traces.map(|traces| self.spans(traces, &records));
        folding.take(&mut open, &records)?;
        drop(spans);
        drop(records);
        if open.checkpoint.global_seq >= goal || open.is_full() {
            return Ok(Some(folding.commit(open)?));
        }
        self.open().push((build, open));
        Ok(None)
    }

    /// Spans of those records whose trace is known.
    fn spans(&self, traces: &Traces, records: &[Arc<Record>]) -> Vec<Span> {
        if !traces.is_on() {
            return Vec::new();
        }
        let about = |record: &Arc<Record>| {
            let mut span = traces.about(&record.entry.cid, "project", SpanKind::Internal)?;
            span.set("fedsx.projection", self.shared.fold.name().to_owned());
            Some(span)
        };
        records.iter().filter_map(about).collect()
    }

    /// Goes on from the stored checkpoint.
    fn begin(&self, build: Build, goal: u64, is_live: bool) -> Result<Open, Halt> {
        let table = &*self.shared.table;
        let checkpoint = match self.layout(build).checkpoint(table)? {
            Some(checkpoint) => checkpoint,
            None => Checkpoint { born: self.source.head()?, ..Checkpoint::default() },
        };
        let changes =
            is_live.then(|| Collector::new(table, &self.layout(build), goal)).transpose()?;
        Ok(Open::new(checkpoint, changes))
    }

    /// Serves the build that was made in place of the one before.
    fn switch(&self, old: Build, new: Build, made: &Checkpoint) -> Result<(), Halt> {
        let (table, name) = (&self.shared.table, self.shared.fold.name());
        let after = digest::stored(table, name, new)?;
        let replaced = self.layout(old).checkpoint(&**table)?.unwrap_or_default();
        // Of another version, or with content that was erased since, it need not be the same.
        let comparable = old.version == new.version && !replaced.stale && !made.stale;
        let before = if comparable { Some(digest::stored(table, name, old)?) } else { None };
        let rebuilt = Rebuilt { before, after };
        let at = made.global_seq;
        if rebuilt.is_same() {
            tracing::info!(projection = name, build = %new, at, "rebuilt");
        } else {
            tracing::error!(projection = name, build = %new, at,
                "rebuilt; the state that was served until now differed from what the log gives");
        }
        let (builds, layout) = (self.builds(), self.layout(new));
        let reach = Reach { floor: at, start: at.saturating_add(1), ..Reach::default() };
        table.apply(vec![builds.put_live(new), builds.put_next(None), reach.put(&layout)?])?;
        self.shared.set_rebuilt(Some(rebuilt));
        self.shared.set_making(None);
        self.shared.publish(new, made);
        builds.wipe_others(&**table, &[new])?;
        Ok(())
    }

    fn version(&self) -> u32 {
        self.shared.fold.version()
    }

    fn builds(&self) -> Builds<'_> {
        Builds(self.shared.fold.name())
    }

    fn layout(&self, build: Build) -> Layout {
        Layout::new(self.shared.fold.name(), build)
    }
}
