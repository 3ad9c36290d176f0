//! The handle of all projections of a node.

use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::log::{Log, Table};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::supervision::{SHUTDOWN, Supervisor, SupervisorMessage};
use ractor::ActorRef;
use tokio::sync::watch;

use super::info::Options;
use super::past::Past;
use super::running::{Running, follow};
use super::shared::Shared;
use super::stream::Streams;
use crate::cursors::Cursors;
use crate::error::{OpenError, QueryError};
use crate::fold::{Context, Fold};

/// All projections of a node: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Projections(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) running: Arc<Running>,
    pub(super) log: Log,
    pub(super) runtime: Runtime,
    pub(super) context: Context,
    pub(super) past: Past,
    pub(super) streams: Streams,
    pub(super) cursors: Cursors,
    /// Up to this position, what runs is what the definitions say.
    settled: watch::Sender<u64>,
    owns_supervisor: bool,
}

impl Projections {
    /// Starts one actor for each fold, under a supervisor of their own. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// Impossible or double names, and a table that cannot be read.
    pub async fn open(
        table: Arc<dyn Table>,
        log: Log,
        runtime: Runtime,
        context: Context,
        folds: Vec<Arc<dyn Fold>>,
    ) -> Result<Self, OpenError> {
        let supervisor = Supervisor::start(runtime.clock.clone()).await?;
        let options = Options::default();
        start(options, table, log, runtime, context, folds, (supervisor, true)).await
    }

    /// The same under an existing supervisor.
    ///
    /// # Errors
    /// See [`Projections::open`].
    pub async fn open_under(
        supervisor: ActorRef<SupervisorMessage>,
        table: Arc<dyn Table>,
        log: Log,
        runtime: Runtime,
        context: Context,
        folds: Vec<Arc<dyn Fold>>,
    ) -> Result<Self, OpenError> {
        let options = Options::default();
        Self::open_with(options, supervisor, table, log, runtime, context, folds).await
    }

    /// The same with a configuration of one's own.
    ///
    /// # Errors
    /// See [`Projections::open`].
    pub async fn open_with(
        options: Options,
        supervisor: ActorRef<SupervisorMessage>,
        table: Arc<dyn Table>,
        log: Log,
        runtime: Runtime,
        context: Context,
        folds: Vec<Arc<dyn Fold>>,
    ) -> Result<Self, OpenError> {
        start(options, table, log, runtime, context, folds, (supervisor, false)).await
    }

    /// Starts a projection from the beginning of the log or from where it stopped, or gives the
    /// one with this name another fold: its state is served, as far as the new fold allows that,
    /// until that of the new fold is built. Live streams of it end.
    ///
    /// # Errors
    /// See [`Projections::open`].
    pub async fn put(&self, fold: Arc<dyn Fold>) -> Result<(), OpenError> {
        self.0.past.forget(fold.name());
        self.0.running.start(fold).await
    }

    /// Ends a projection and removes its state.
    ///
    /// # Errors
    /// Where the table cannot be written.
    pub async fn remove(&self, name: &str) -> Result<(), OpenError> {
        self.0.past.forget(name);
        self.0.running.remove(name).await
    }

    /// Removes the state of projections that do not run: of those that ended while the node was
    /// down.
    ///
    /// # Errors
    /// Where the table cannot be read or written.
    pub async fn remove_others(&self) -> Result<(), OpenError> {
        self.0.running.wipe_others().await
    }

    /// Tells that the projections that run are those that the log defines up to a position.
    pub(crate) fn settled_at(&self, position: u64) {
        self.0.settled.send_replace(position);
    }

    /// Waits until the projections that run are those that the log defines up to a position.
    ///
    /// # Errors
    /// [`QueryError::NotCaughtUp`] after `timeout`.
    pub async fn settled(&self, min_seq: u64, timeout: Duration) -> Result<(), QueryError> {
        let mut settled = self.0.settled.subscribe();
        self.0.running.log.hurry();
        tokio::select! {
            biased;
            // The sender lives in self, so waiting cannot fail.
            _ = settled.wait_for(|settled| *settled >= min_seq) => Ok(()),
            () = self.0.runtime.clock.sleep(timeout) => Err(QueryError::NotCaughtUp {
                reached: *self.0.settled.borrow(),
                wanted: min_seq,
            }),
        }
    }

    /// Whether every projection stands at the end of the log.
    pub fn caught_up(&self) -> bool {
        self.list().iter().all(|info| info.caught_up)
    }

    /// Waits until a projection has reached a position, and gives the position that it has.
    ///
    /// # Errors
    /// [`QueryError::NotCaughtUp`] after `timeout`.
    pub async fn wait(
        &self,
        name: &str,
        min_seq: u64,
        timeout: Duration,
    ) -> Result<u64, QueryError> {
        let shared = self.shared(name)?;
        let mut reached = shared.follow();
        if shared.reached() < min_seq {
            self.0.running.log.hurry();
        }
        tokio::select! {
            biased;
            at = reached.wait_for(|served| served.global_seq >= min_seq) => match at {
                Ok(served) => Ok(served.global_seq),
                Err(_) => Err(QueryError::Unavailable(name.to_owned())),
            },
            () = self.0.runtime.clock.sleep(timeout) => {
                Err(QueryError::NotCaughtUp { reached: shared.reached(), wanted: min_seq })
            }
        }
    }

    /// Ends live streams, lets every projection finish its batch, and stops it.
    pub async fn shutdown(&self) {
        self.end_streams();
        for shared in self.0.running.all().values() {
            self.0.running.stop(shared).await;
        }
        if self.0.owns_supervisor {
            self.0.running.supervisor.stop(Some(SHUTDOWN.to_owned()));
        }
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    pub(super) fn log(&self) -> &Log {
        &self.0.log
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    pub(super) fn shared(&self, name: &str) -> Result<Arc<Shared>, QueryError> {
        self.0.running.get(name).ok_or_else(|| QueryError::Unknown(name.to_owned()))
    }
}

async fn start(
    options: Options,
    table: Arc<dyn Table>,
    log: Log,
    runtime: Runtime,
    context: Context,
    folds: Vec<Arc<dyn Fold>>,
    (supervisor, owns_supervisor): (ActorRef<SupervisorMessage>, bool),
) -> Result<Projections, OpenError> {
    let (of_log, of_runtime, of_context) = (log.clone(), runtime.clone(), context.clone());
    let batch = options.batch.max(1);
    let running = Running::new(table, of_log, of_runtime, of_context, batch, supervisor);
    let running = Arc::new(running);
    for fold in folds {
        if running.get(fold.name()).is_some() {
            return Err(OpenError::Name(fold.name().to_owned()));
        }
        running.start(fold).await?;
    }
    tokio::spawn(follow(running.clone()));
    Ok(Projections(Arc::new(Inner {
        running,
        log,
        runtime,
        context,
        past: Past::new(&options),
        streams: Streams::new(),
        cursors: Cursors::default(),
        settled: watch::Sender::new(0),
        owns_supervisor,
    })))
}
