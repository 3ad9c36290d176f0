use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::entry::{Entry, Record, Stream};
use super::group::{Append, Appended, Group};
use super::head::{Head, HeadFile};
use super::store::{LogStore, OnceValue, Storage, StoreError};
use crate::activity::Activity;
use crate::cid::Cid;
use crate::refusal::{Problem, Refusal};
use crate::rules::Rules;
use crate::runtime::Runtime;
use crate::state::{StateError, StateView};

/// Why nothing was appended.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The last check refused it.
    #[error(transparent)]
    Refused(Refusal),
    /// Another append took the position: an earlier one of this author failed or came between.
    #[error("the outbox is at {found}, not at {expected}")]
    Position {
        /// Where the append belongs.
        expected: u64,
        /// Where the outbox is.
        found: u64,
    },
    /// The once key was used before.
    #[error("the once key was used for {}", .0.cid)]
    OnceTaken(Box<OnceValue>),
    /// Another version of this foreign id is held; the first one wins.
    #[error("{id} is held as {held}")]
    OtherVersion {
        /// The id.
        id: String,
        /// What is held under it.
        held: Cid,
    },
    /// Nobody here is addressed by it or follows its author.
    #[error("it concerns nobody here")]
    NobodyConcerned,
    /// The body cannot be encoded.
    #[error("the body cannot be stored: {0}")]
    Unstorable(String),
    /// Too many appends wait.
    #[error("too many appends wait for the log")]
    Busy,
    /// The writer is gone.
    #[error("the log is closed")]
    Closed,
    /// Admission state could not be read.
    #[error("{0}")]
    State(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StateError> for AppendError {
    fn from(error: StateError) -> Self {
        Self::State(error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let problem = match &error {
            StoreError::Full(_) => Problem::StorageFull,
            StoreError::Poisoned(_) => Problem::StorePoisoned,
            _ => Problem::Internal,
        };
        Refusal::new(problem, error.to_string())
    }
}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        Refusal::new(Problem::Internal, error.to_string())
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(refusal) => refusal,
            AppendError::Store(error) => error.into(),
            AppendError::Busy => Refusal::new(Problem::Busy, error.to_string()),
            AppendError::Position { .. } => Refusal::new(Problem::Conflict, error.to_string()),
            AppendError::OnceTaken(_) => {
                Refusal::new(Problem::IdempotencyConflict, error.to_string())
            }
            AppendError::Unstorable(_) => Refusal::new(Problem::InvalidActivity, error.to_string()),
            AppendError::NobodyConcerned => Refusal::new(Problem::UnknownActor, error.to_string()),
            other => Refusal::new(Problem::Internal, other.to_string()),
        }
    }
}

/// Configuration of the log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Appends that may wait for the writer; beyond, [`AppendError::Busy`].
    pub queue: usize,
    /// Most appends in one commit.
    pub group: usize,
    /// Bodies kept decoded in memory.
    pub cached_bodies: u64,
    /// Data directory for the head file; `None` keeps no head file.
    pub head_directory: Option<PathBuf>,
    /// How long after a commit the head is noted at the latest.
    pub head_delay: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            queue: 4096,
            group: 256,
            cached_bodies: 2048,
            head_directory: None,
            head_delay: Duration::from_secs(1),
        }
    }
}

/// The answer to an append that is under way.
pub struct Pending(oneshot::Receiver<Result<Appended, AppendError>>);

impl Pending {
    /// Waits for the commit.
    pub async fn committed(self) -> Result<Appended, AppendError> {
        self.0.await.unwrap_or(Err(AppendError::Closed))
    }
}

enum Request {
    Append(Box<Append>, oneshot::Sender<Result<Appended, AppendError>>),
    Sync(oneshot::Sender<Result<(), StoreError>>),
    Close(oneshot::Sender<()>),
}

/// The log of a node: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn LogStore>,
    requests: mpsc::Sender<Request>,
    head: watch::Receiver<u64>,
    cache: Cache<Cid, Arc<Activity>>,
    commits: Arc<AtomicU64>,
}

impl Log {
    /// Starts the writer over a store. Must be called inside a tokio runtime.
    pub fn open(
        storage: Arc<dyn Storage>,
        rules: Arc<dyn Rules>,
        runtime: Runtime,
        options: &LogOptions,
    ) -> Result<Self, StoreError> {
        let store = storage.log();
        let (head_sender, head) = watch::channel(store.head()?);
        let (requests, receive) = mpsc::channel(options.queue.max(1));
        let cache = Cache::new(options.cached_bodies);
        let commits = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            storage,
            store: store.clone(),
            rules,
            runtime,
            head: head_sender,
            cache: cache.clone(),
            poisoned: None,
            head_file: options.head_directory.as_deref().map(HeadFile::new),
            head_delay: options.head_delay,
            commits: commits.clone(),
        };
        tokio::spawn(writer.run(receive, options.group.max(1)));
        Ok(Self { inner: Arc::new(Inner { store, requests, head, cache, commits }) })
    }

    /// Hands an append to the writer; the order of calls is the order in the log.
    pub fn enqueue(&self, append: Append) -> Result<Pending, AppendError> {
        let (answer, receive) = oneshot::channel();
        self.inner
            .requests
            .try_send(Request::Append(Box::new(append), answer))
            .map(|()| Pending(receive))
            .map_err(|e| match e {
                mpsc::error::TrySendError::Full(_) => AppendError::Busy,
                mpsc::error::TrySendError::Closed(_) => AppendError::Closed,
            })
    }

    /// Appends and waits until it is durable.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.enqueue(append)?.committed().await
    }

    /// Makes the ledgers durable, with the writer's next sync.
    pub async fn sync(&self) -> Result<(), StoreError> {
        let closed = || StoreError::Io("the log is closed".into());
        let (answer, receive) = oneshot::channel();
        self.inner.requests.send(Request::Sync(answer)).await.map_err(|_| closed())?;
        receive.await.map_err(|_| closed())?
    }

    /// Commits what is queued, notes the head and stops the writer.
    pub async fn close(&self) {
        let (answer, receive) = oneshot::channel();
        if self.inner.requests.send(Request::Close(answer)).await.is_ok() {
            // An error means that the writer is gone, which is what was asked for.
            let _ = receive.await;
        }
    }

    /// The last durable `global_seq`.
    pub fn head(&self) -> u64 {
        *self.inner.head.borrow()
    }

    /// Follows the last durable `global_seq`.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.head.clone()
    }

    /// How many batches were committed since the start.
    pub fn commits(&self) -> u64 {
        self.inner.commits.load(Ordering::Relaxed)
    }

    /// The admission state, as committed.
    pub fn state(&self) -> &dyn StateView {
        self.inner.store.state()
    }

    /// The store below, for what only reads.
    pub fn store(&self) -> &dyn LogStore {
        self.inner.store.as_ref()
    }

    /// Up to `limit` records above a position.
    pub fn records(&self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let entries = self.inner.store.read(after, limit)?;
        entries.into_iter().map(|entry| self.record(entry)).collect()
    }

    /// Up to `limit` records of a stream from a position on.
    pub fn stream(
        &self,
        stream: &Stream,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let entries = self.inner.store.read_stream(stream, from, limit)?;
        entries.into_iter().map(|entry| self.record(entry)).collect()
    }

    /// The record at the first entry of a body.
    pub fn first(&self, cid: &Cid) -> Result<Option<Record>, StoreError> {
        let Some(seq) = self.inner.store.first_entry(cid)? else { return Ok(None) };
        match self.inner.store.read(seq.saturating_sub(1), 1)?.pop() {
            Some(entry) => self.record(entry).map(Some),
            None => Ok(None),
        }
    }

    /// A body.
    pub fn activity(&self, cid: &Cid) -> Result<Option<Arc<Activity>>, StoreError> {
        if let Some(activity) = self.inner.cache.get(cid) {
            return Ok(Some(activity));
        }
        let Some(body) = self.inner.store.body(cid)? else { return Ok(None) };
        let activity = Activity::from_body(&body).map_err(|e| StoreError::Damaged {
            place: format!("body {cid}"),
            reason: e.to_string(),
        })?;
        if activity.cid() != cid {
            return Err(StoreError::Damaged {
                place: format!("body {cid}"),
                reason: format!("its hash is {}", activity.cid()),
            });
        }
        let activity = Arc::new(activity);
        self.inner.cache.insert(*cid, activity.clone());
        Ok(Some(activity))
    }

    /// The activity with this id, whether the id follows from its CID or was given elsewhere.
    pub fn by_id(&self, id: &str) -> Result<Option<Arc<Activity>>, StoreError> {
        let certified = id.rsplit_once("/activities/").and_then(|(_, cid)| cid.parse::<Cid>().ok());
        if let Some(activity) = certified.map(|cid| self.activity(&cid)).transpose()?.flatten()
            && activity.id() == id
        {
            return Ok(Some(activity));
        }
        match self.inner.store.by_id(id)? {
            Some(cid) => self.activity(&cid),
            None => Ok(None),
        }
    }

    fn record(&self, entry: Entry) -> Result<Record, StoreError> {
        let activity = self.activity(&entry.cid)?.ok_or_else(|| StoreError::Damaged {
            place: format!("entry {}", entry.global_seq),
            reason: format!("the body {} is missing", entry.cid),
        })?;
        Ok(Record { entry, activity })
    }
}

struct Writer {
    storage: Arc<dyn Storage>,
    store: Arc<dyn LogStore>,
    rules: Arc<dyn Rules>,
    runtime: Runtime,
    head: watch::Sender<u64>,
    cache: Cache<Cid, Arc<Activity>>,
    poisoned: Option<StoreError>,
    head_file: Option<HeadFile>,
    head_delay: Duration,
    commits: Arc<AtomicU64>,
}

type AppendResult = Result<Appended, AppendError>;
type Answer = oneshot::Sender<AppendResult>;
type Appends = Vec<(Append, Answer)>;

struct Committed {
    answers: Vec<(AppendResult, Answer)>,
    syncs: Vec<oneshot::Sender<Result<(), StoreError>>>,
    outcome: Result<Option<Head>, StoreError>,
}

impl Writer {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>, most: usize) {
        let mut noted_later: Option<Head> = None;
        let mut note_at = tokio::time::Instant::now();
        loop {
            let first = if noted_later.is_some() {
                tokio::select! {
                    request = requests.recv() => request,
                    () = tokio::time::sleep_until(note_at) => {
                        self.note(noted_later.take()).await;
                        continue;
                    }
                }
            } else {
                requests.recv().await
            };
            let Some(first) = first else { break };
            let mut group = VecDeque::from([first]);
            while group.len() < most {
                match requests.try_recv() {
                    Ok(request) => group.push_back(request),
                    Err(_) => break,
                }
            }
            let (mut appends, mut syncs, mut closing) = (Vec::new(), Vec::new(), None);
            for request in group {
                match request {
                    Request::Append(append, answer) => appends.push((*append, answer)),
                    Request::Sync(answer) => syncs.push(answer),
                    Request::Close(answer) => closing = Some(answer),
                }
            }
            let head = self.commit(appends, syncs).await;
            if let Some(head) = head {
                if noted_later.is_none() {
                    note_at = tokio::time::Instant::now() + self.head_delay;
                }
                noted_later = Some(head);
            }
            if let Some(answer) = closing {
                self.note(noted_later.take()).await;
                requests.close();
                // The closer may have stopped waiting.
                let _ = answer.send(());
                break;
            }
        }
        self.note(noted_later.take()).await;
    }

    async fn commit(
        &mut self,
        appends: Appends,
        syncs: Vec<oneshot::Sender<Result<(), StoreError>>>,
    ) -> Option<Head> {
        if appends.is_empty() && syncs.is_empty() {
            return None;
        }
        if let Some(error) = &self.poisoned {
            let refuse = || StoreError::Poisoned(error.to_string());
            for (_, answer) in appends {
                let _ = answer.send(Err(refuse().into()));
            }
            for answer in syncs {
                let _ = answer.send(Err(refuse()));
            }
            return None;
        }
        let (storage, store, rules) =
            (self.storage.clone(), self.store.clone(), self.rules.clone());
        let cache = self.cache.clone();
        let work = move || commit_group(&*storage, &*store, &*rules, &cache, appends, syncs);
        let Ok(committed) = self.runtime.run(work).await else {
            self.poisoned = Some(StoreError::Io("the writer failed inside a commit".into()));
            tracing::error!("the log's writer failed; no more writes are taken");
            return None;
        };
        let head = match committed.outcome {
            Ok(head) => head,
            Err(error) => {
                tracing::error!(%error, "a commit failed; no more writes are taken until a restart");
                self.poisoned = Some(error);
                None
            }
        };
        if let Some(head) = &head {
            self.commits.fetch_add(1, Ordering::Relaxed);
            self.head.send_replace(head.global_seq);
        }
        // Whoever stopped waiting does not want the answer; the append stands all the same.
        for (result, answer) in committed.answers {
            let _ = answer.send(result);
        }
        let synced = self.poisoned.clone().map_or(Ok(()), Err);
        for answer in committed.syncs {
            let _ = answer.send(synced.clone());
        }
        head
    }

    async fn note(&mut self, head: Option<Head>) {
        let (Some(head), Some(file)) = (head, self.head_file.take()) else { return };
        let done = self.runtime.run(move || {
            let result = file.write(&head);
            (file, result)
        });
        match done.await {
            Ok((file, result)) => {
                if let Err(error) = result {
                    tracing::error!(%error, "the head could not be noted");
                }
                self.head_file = Some(file);
            }
            Err(error) => tracing::error!(%error, "the head could not be noted"),
        }
    }
}

fn commit_group(
    storage: &dyn Storage,
    store: &dyn LogStore,
    rules: &dyn Rules,
    cache: &Cache<Cid, Arc<Activity>>,
    appends: Appends,
    syncs: Vec<oneshot::Sender<Result<(), StoreError>>>,
) -> Committed {
    let mut answers = Vec::with_capacity(appends.len());
    let mut group = match Group::new(store, rules) {
        Ok(group) => group,
        Err(error) => {
            let answers =
                appends.into_iter().map(|(_, answer)| (Err(error.clone()), answer)).collect();
            return Committed { answers, syncs, outcome: Err(StoreError::Io(error.to_string())) };
        }
    };
    let mut bodies = Vec::new();
    for (append, answer) in appends {
        let activity = append.activity.clone();
        let result = group.plan(append);
        if result.is_ok() {
            bodies.push(activity);
        }
        answers.push((result, answer));
    }
    let batch = group.into_batch();
    // Only what this batch stores is cached: a held body may have come with another proof.
    let stored: HashSet<Cid> = batch.bodies.iter().map(|(cid, ..)| *cid).collect();
    bodies.retain(|activity: &Arc<Activity>| stored.contains(activity.cid()));
    let head = batch.entries.last().map(|e| Head { global_seq: e.global_seq, root: e.cid });
    let written = if head.is_some() {
        store.append(&batch)
    } else if syncs.is_empty() {
        Ok(())
    } else {
        storage.sync()
    };
    match written {
        Ok(()) => {
            for activity in bodies {
                cache.insert(*activity.cid(), activity);
            }
            Committed { answers, syncs, outcome: Ok(head) }
        }
        Err(error) => {
            for (result, _) in &mut answers {
                if result.is_ok() {
                    *result = Err(AppendError::Store(error.clone()));
                }
            }
            Committed { answers, syncs, outcome: Err(error) }
        }
    }
}
