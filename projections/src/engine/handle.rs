//! The handle of all projections of a node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::log::{Log, Table};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::state::StateView;
use fedsx_kernel::supervision::{self, SHUTDOWN, Start, Supervisor, SupervisorMessage};
use ractor::{Actor, ActorRef};
use serde::Serialize;
use tokio::sync::oneshot;

use super::projector::{Message, Projector};
use super::runner::Runner;
use super::shared::{LiveView, Shared};
use crate::digest::{self, Digest};
use crate::error::{OpenError, QueryError};
use crate::fold::{Context, Fold, Visibility};
use crate::layout::{Layout, SetAside};
use crate::query::{self, Page, Query};

/// How long a projection may take to finish its batch at shutdown.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);
/// How long a digest may take.
const DIGEST_WAIT: Duration = Duration::from_secs(600);
/// Most records that were set aside in one answer.
const SET_ASIDE_LIMIT: usize = 1000;
/// The longest name of a projection, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// How a projection is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// The version that is served.
    pub version: u32,
    /// Who may read it.
    pub visibility: Visibility,
    /// The position up to which the served state is folded.
    pub global_seq: u64,
    /// The end of the log.
    pub head: u64,
    /// Records that were set aside.
    pub set_aside: u64,
    /// Whether the fold's own version is served and stands at the end of the log.
    pub caught_up: bool,
}

/// All projections of a node: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Projections(Arc<Inner>);

struct Inner {
    projections: BTreeMap<String, Arc<Shared>>,
    log: Log,
    runtime: Runtime,
    supervisor: ActorRef<SupervisorMessage>,
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
        start(table, log, runtime, context, folds, (supervisor, true)).await
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
        start(table, log, runtime, context, folds, (supervisor, false)).await
    }

    /// Every projection, by name.
    pub fn list(&self) -> Vec<Info> {
        let head = self.0.log.head();
        self.0.projections.values().map(|shared| info(shared, head)).collect()
    }

    /// One projection.
    ///
    /// # Errors
    /// [`QueryError::Unknown`].
    pub fn info(&self, name: &str) -> Result<Info, QueryError> {
        Ok(info(self.shared(name)?, self.0.log.head()))
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
        tokio::select! {
            biased;
            at = reached.wait_for(|at| *at >= min_seq) => match at {
                Ok(at) => Ok(*at),
                Err(_) => Err(QueryError::Unavailable(name.to_owned())),
            },
            () = self.0.runtime.clock.sleep(timeout) => {
                Err(QueryError::NotCaughtUp { reached: shared.reached(), wanted: min_seq })
            }
        }
    }

    /// The served state, for typed reads. Reading blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`].
    pub fn view(&self, name: &str) -> Result<Arc<dyn StateView>, QueryError> {
        Ok(Arc::new(LiveView(self.shared(name)?.clone())))
    }

    /// One page of a projection. What [`Page`] promises holds. Reading blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], and where the table cannot be read.
    pub fn query(&self, name: &str, query: &Query) -> Result<Page, QueryError> {
        let shared = self.shared(name)?;
        let (global_seq, version) = (shared.reached(), shared.live());
        let (mut items, next) = query::read(&shared.state(), query)?;
        items.retain(|item| shared.fold.shows(&item.value));
        Ok(Page { name: name.to_owned(), version, global_seq, items, next })
    }

    /// The digest of a projection, taken between two of its batches.
    ///
    /// # Errors
    /// [`QueryError::Unavailable`] while the projection is being restarted.
    pub async fn digest(&self, name: &str) -> Result<Digest, QueryError> {
        let unavailable = || QueryError::Unavailable(name.to_owned());
        let actor = self.shared(name)?.actor().ok_or_else(unavailable)?;
        let (answer, receive) = oneshot::channel();
        actor.cast(Message::Digest(answer)).map_err(|_| unavailable())?;
        tokio::select! {
            digest = receive => Ok(digest.map_err(|_| unavailable())??),
            () = self.0.runtime.clock.sleep(DIGEST_WAIT) => Err(unavailable()),
        }
    }

    /// Up to 1,000 records that a projection set aside, after a position. Reading blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], and where the table cannot be read.
    pub fn set_aside(&self, name: &str, after: Option<u64>) -> Result<Vec<SetAside>, QueryError> {
        let shared = self.shared(name)?;
        let layout = Layout::new(name, shared.live());
        Ok(digest::set_aside(&*shared.table, &layout, after, SET_ASIDE_LIMIT)?)
    }

    /// Lets every projection finish its batch, and stops it.
    pub async fn shutdown(&self) {
        for (name, shared) in &self.0.projections {
            let Some(actor) = shared.actor() else { continue };
            let stopped = actor.stop_and_wait(Some(SHUTDOWN.to_owned()), Some(SHUTDOWN_WAIT));
            if let Err(error) = stopped.await {
                tracing::warn!(projection = %name, %error, "a projection did not stop in time");
            }
        }
        if self.0.owns_supervisor {
            self.0.supervisor.stop(Some(SHUTDOWN.to_owned()));
        }
    }

    fn shared(&self, name: &str) -> Result<&Arc<Shared>, QueryError> {
        self.0.projections.get(name).ok_or_else(|| QueryError::Unknown(name.to_owned()))
    }
}

fn info(shared: &Shared, head: u64) -> Info {
    let (version, global_seq) = (shared.live(), shared.reached());
    Info {
        name: shared.fold.name().to_owned(),
        version,
        visibility: shared.fold.visibility(),
        global_seq,
        head,
        set_aside: shared.set_aside(),
        caught_up: version == shared.fold.version() && global_seq >= head,
    }
}

async fn start(
    table: Arc<dyn Table>,
    log: Log,
    runtime: Runtime,
    context: Context,
    folds: Vec<Arc<dyn Fold>>,
    (supervisor, owns_supervisor): (ActorRef<SupervisorMessage>, bool),
) -> Result<Projections, OpenError> {
    let mut projections = BTreeMap::new();
    for fold in folds {
        let name = fold.name().to_owned();
        if !is_name(&name) || projections.contains_key(&name) {
            return Err(OpenError::Name(name));
        }
        projections.insert(name, Arc::new(Shared::new(fold, table.clone())));
    }
    let follower = follow(&log, projections.values().cloned().collect());
    for (name, shared) in &projections {
        let runner = Runner { shared: shared.clone(), log: log.clone(), context: context.clone() };
        let (runner, runtime) = (Arc::new(runner), runtime.clone());
        let start: Start = Arc::new(move |supervisor| {
            let projector = Projector { runner: runner.clone(), runtime: runtime.clone() };
            Box::pin(async move {
                // Names are global to the process, and a process may run several nodes.
                let (actor, _) = Actor::spawn_linked(None, projector, (), supervisor).await?;
                Ok(actor.get_cell())
            })
        });
        supervision::keep(&supervisor, format!("projection/{name}"), start)
            .await
            .map_err(|error| OpenError::Start { name: name.clone(), error })?;
    }
    tokio::spawn(follower);
    Ok(Projections(Arc::new(Inner { projections, log, runtime, supervisor, owns_supervisor })))
}

/// Wakes the projections after commits, until the log is closed.
fn follow(log: &Log, projections: Vec<Arc<Shared>>) -> impl Future<Output = ()> + use<> {
    let mut head = log.watch();
    async move {
        while head.changed().await.is_ok() {
            for shared in &projections {
                shared.wake();
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b':');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(plain)
}
