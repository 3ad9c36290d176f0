//! The handle of all projections of a node.

use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::Cid;
use fedsx_kernel::log::{Log, Table};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::state::{StateView, key};
use fedsx_kernel::supervision::{SHUTDOWN, Supervisor, SupervisorMessage};
use ractor::ActorRef;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use super::past::Past;
use super::projector::Message;
use super::running::{Running, follow};
use super::shared::{LiveView, Rebuilt, Shared};
use super::stream::Streams;
use crate::cursors::Cursors;
use crate::digest::{self, Digest};
use crate::error::{OpenError, QueryError};
use crate::fold::{Context, Fold, Visibility};
use crate::layout::Layout;
use crate::query::{self, Item, Next, Page, Query};
use crate::reader::{Judge, Reader};
use crate::set_aside::SetAside;
use crate::table_state::Rows;

/// How long a digest may take.
const DIGEST_WAIT: Duration = Duration::from_secs(600);
/// How long a rebuild may take to begin.
const REBUILD_WAIT: Duration = Duration::from_secs(60);
/// Most records that were set aside in one answer.
const SET_ASIDE_LIMIT: usize = 1000;

/// Configuration of the projections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most records in one batch.
    pub batch: u64,
    /// Most records that are folded for one query of past state.
    pub past_records: u64,
    /// About how many bytes of memory past state may take; what is retained for the next queries
    /// takes at most a quarter of that in all.
    pub past_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 512, past_records: 200_000, past_bytes: 64 * 1024 * 1024 }
    }
}

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
    /// Records that were set aside and wait for a decision.
    pub set_aside: u64,
    /// Whether the fold's own version is served and stands at the end of the log.
    pub caught_up: bool,
    /// The definition that it comes from, where it was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Cid>,
    /// The build that is made beside the served one, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuilding: Option<Rebuilding>,
}

/// How far a rebuild is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilding {
    /// The version that it builds.
    pub version: u32,
    /// The position up to which it is folded.
    pub global_seq: u64,
}

/// How often a page is read anew when a rebuild ends while it is read.
const TRIES: usize = 3;

/// All projections of a node: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Projections(Arc<Inner>);

struct Inner {
    running: Arc<Running>,
    log: Log,
    runtime: Runtime,
    context: Context,
    past: Past,
    streams: Streams,
    cursors: Cursors,
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

    /// Every projection, by name.
    pub fn list(&self) -> Vec<Info> {
        let head = self.0.log.head();
        self.0.running.all().values().map(|shared| info(shared, head)).collect()
    }

    /// One projection.
    ///
    /// # Errors
    /// [`QueryError::Unknown`].
    pub fn info(&self, name: &str) -> Result<Info, QueryError> {
        Ok(info(&*self.shared(name)?, self.0.log.head()))
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
            at = reached.wait_for(|served| served.global_seq >= min_seq) => match at {
                Ok(served) => Ok(served.global_seq),
                Err(_) => Err(QueryError::Unavailable(name.to_owned())),
            },
            () = self.0.runtime.clock.sleep(timeout) => {
                Err(QueryError::NotCaughtUp { reached: shared.reached(), wanted: min_seq })
            }
        }
    }

    /// The served state, for typed reads by code that checks itself who is shown what. Reading
    /// blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`].
    pub fn view(&self, name: &str) -> Result<Arc<dyn StateView>, QueryError> {
        Ok(Arc::new(LiveView(self.shared(name)?)))
    }

    /// One page of a projection, as a reader may see it. What [`Page`] promises holds. Reading
    /// blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], and where the table cannot be read.
    pub fn query(&self, name: &str, query: &Query, reader: &Reader) -> Result<Page, QueryError> {
        let shared = self.shared(name)?;
        let query = self.resumed(name, query)?;
        for _ in 0..TRIES {
            let served = shared.served();
            let (items, next) = self.rows(&shared, &shared.state(served.build), &query, reader)?;
            // A build that was replaced meanwhile may be half gone.
            if shared.live() == served.build {
                return Ok(Page {
                    name: name.to_owned(),
                    version: served.build.version,
                    global_seq: served.global_seq,
                    at: None,
                    items,
                    next: self.cursor(name, next),
                });
            }
        }
        Err(QueryError::Unavailable(name.to_owned()))
    }

    /// One page of what a projection was at an earlier position. A reader is shown what the row
    /// showed it then, if it may see the row as it is now as well, and the row was not withdrawn
    /// since. Reading blocks, and may fold up to [`Options::past_records`] records.
    ///
    /// # Errors
    /// Positions that the log has not reached, that take too much to fold, or that this
    /// projection does not keep; too many such queries at once.
    pub fn past(
        &self,
        name: &str,
        at: u64,
        query: &Query,
        reader: &Reader,
    ) -> Result<Page, QueryError> {
        let shared = self.shared(name)?;
        let head = self.0.log.head();
        if at > head {
            return Err(QueryError::Future { head });
        }
        let query = self.resumed(name, query)?;
        let fold = &*shared.fold;
        let folded = self.0.past.at(fold, &self.0.context, &self.0.log, at)?;
        let now = shared.state(shared.live());
        let judge = self.judge(&shared, reader);
        let mut show = |row: &[String], value: Value| {
            let row_key: Vec<&str> = row.iter().map(String::as_str).collect();
            if let Some(now) = now.get(&key(&row_key))?
                && (fold.withdrawn(&now) || judge.view(row, now)?.is_none())
            {
                return Ok(None);
            }
            Ok(judge.view(row, value)?)
        };
        let (items, next) = query::read(&folded.state, &query, &mut show)?;
        Ok(Page {
            name: name.to_owned(),
            version: fold.version(),
            global_seq: at,
            at: Some(at),
            items,
            next: self.cursor(name, next),
        })
    }

    fn rows(
        &self,
        shared: &Shared,
        state: &dyn Rows,
        query: &Query,
        reader: &Reader,
    ) -> Result<(Vec<Item>, Option<Next>), QueryError> {
        let judge = self.judge(shared, reader);
        query::read(state, query, &mut |row, value| Ok(judge.view(row, value)?))
    }

    pub(super) fn judge<'a>(&'a self, shared: &'a Shared, reader: &'a Reader) -> Judge<'a> {
        Judge { fold: &*shared.fold, base: &self.0.context.base, log: &self.0.log, reader }
    }

    /// The query with the key in place of a cursor that only names it.
    fn resumed(&self, name: &str, query: &Query) -> Result<Query, QueryError> {
        let mut query = query.clone();
        if let Some(cursor) = query.after.as_deref().filter(|after| Cursors::is_cursor(after)) {
            query.after = Some(self.0.cursors.find(name, cursor).ok_or(QueryError::Forgotten)?);
        }
        Ok(query)
    }

    fn cursor(&self, name: &str, next: Option<Next>) -> Option<String> {
        match next? {
            Next::Shown(key) => Some(key),
            Next::Hidden(key) => Some(self.0.cursors.keep(name, key, &*self.0.runtime.random)),
        }
    }

    /// Begins to build the state of a projection anew from the log. What is served stays until
    /// the new build has come as far, and is then replaced in one step.
    ///
    /// # Errors
    /// [`QueryError::UnderWay`] where that is being done already.
    pub async fn rebuild(&self, name: &str) -> Result<Info, QueryError> {
        let unavailable = || QueryError::Unavailable(name.to_owned());
        let shared = self.shared(name)?;
        let actor = shared.actor().ok_or_else(unavailable)?;
        let (answer, receive) = oneshot::channel();
        actor.cast(Message::Rebuild(answer)).map_err(|_| unavailable())?;
        let begun = tokio::select! {
            biased;
            begun = receive => begun.map_err(|_| unavailable())?,
            () = self.0.runtime.clock.sleep(REBUILD_WAIT) => return Err(unavailable()),
        };
        if !begun {
            return Err(QueryError::UnderWay(name.to_owned()));
        }
        self.0.past.forget(name);
        self.info(name)
    }

    /// How the last rebuild since the start ended; none while one is under way.
    ///
    /// # Errors
    /// [`QueryError::Unknown`].
    pub fn rebuilt(&self, name: &str) -> Result<Option<Rebuilt>, QueryError> {
        Ok(self.shared(name)?.rebuilt())
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
            biased;
            digest = receive => Ok(digest.map_err(|_| unavailable())??),
            () = self.0.runtime.clock.sleep(DIGEST_WAIT) => Err(unavailable()),
        }
    }

    /// Up to 1,000 records that a projection set aside, after a position, with what was decided
    /// about them. Reading blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], and where the table cannot be read.
    pub fn set_aside(&self, name: &str, after: Option<u64>) -> Result<Vec<SetAside>, QueryError> {
        let shared = self.shared(name)?;
        let layout = Layout::new(name, shared.live());
        Ok(digest::set_aside(&*shared.table, &layout, after, SET_ASIDE_LIMIT)?)
    }

    /// One record that a projection set aside. Reading blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], and where the table cannot be read.
    pub fn set_aside_at(
        &self,
        name: &str,
        global_seq: u64,
    ) -> Result<Option<SetAside>, QueryError> {
        let shared = self.shared(name)?;
        let layout = Layout::new(name, shared.live());
        let before = global_seq.checked_sub(1);
        let found = digest::set_aside(&*shared.table, &layout, before, 1)?.pop();
        Ok(found.filter(|item| item.global_seq == global_seq))
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

fn info(shared: &Shared, head: u64) -> Info {
    let served = shared.served();
    let version = served.build.version;
    Info {
        name: shared.fold.name().to_owned(),
        version,
        visibility: shared.fold.visibility(),
        global_seq: served.global_seq,
        head,
        set_aside: shared.set_aside(),
        caught_up: version == shared.fold.version() && served.global_seq >= head,
        definition: shared.fold.definition().copied(),
        rebuilding: shared.making().map(|making| Rebuilding {
            version: making.build.version,
            global_seq: making.global_seq,
        }),
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
