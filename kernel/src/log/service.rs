use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::entry::{Entry, Record, Records, Stream};
use super::erasure::Erasures;
use super::errors::AppendError;
use super::group::{Append, Appended};
use super::head::HeadFile;
use super::pages::Pages;
use super::recent::Recent;
use super::store::{FreeSpace, LogStore, Storage, StoreError};
use super::turns::{Turn, Turns};
use super::writer::{Request, Writer};
use crate::activity::{Activity, Body};
use crate::cid::Cid;
use crate::rules::Rules;
use crate::runtime::{Lane, Runtime};
use crate::state::StateView;

/// Bodies that are kept decoded, about.
const CACHED: usize = 4096;

/// Decoded bodies.
pub(super) type Bodies = Cache<Cid, Arc<Activity>, ByWeight>;

#[derive(Clone)]
pub(super) struct ByWeight;

impl Weighter<Cid, Arc<Activity>> for ByWeight {
    fn weight(&self, _: &Cid, activity: &Arc<Activity>) -> u64 {
        activity.weight() as u64
    }
}

/// Configuration of the log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Appends that may wait for the writer; beyond, [`AppendError::Busy`].
    pub queue: usize,
    /// Most appends in one commit.
    pub group: usize,
    /// Bodies are kept decoded in memory up to so many bytes, about.
    pub cached_bytes: u64,
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
            cached_bytes: 16 * 1024 * 1024,
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

/// The log of a node: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn LogStore>,
    requests: mpsc::Sender<Request>,
    head: watch::Receiver<u64>,
    news: watch::Receiver<u64>,
    hurry: Arc<Notify>,
    cache: Arc<Bodies>,
    erasures: Erasures,
    commits: Arc<AtomicU64>,
    waited_us: Arc<AtomicU64>,
    storage: Arc<dyn Storage>,
    pages: Pages,
    turns: Turns,
    lane: Lane,
    recent: Arc<Recent>,
    /// Why the writer takes nothing any more.
    poisoned: Arc<OnceLock<String>>,
}

impl Log {
    /// Starts the writer over a store. Must be called inside a tokio runtime. Where the admission
    /// state was made by another version of the rules, it is computed anew first, which blocks.
    pub fn open(
        storage: Arc<dyn Storage>,
        rules: Arc<dyn Rules>,
        runtime: Runtime,
        options: &LogOptions,
    ) -> Result<Self, StoreError> {
        let store = storage.log();
        super::refold::refold(&*store, &*rules)?;
        let (head_sender, head) = watch::channel(store.head()?);
        let (requests, receive) = mpsc::channel(options.queue.max(1));
        let cache = Arc::new(Bodies::with_weighter(CACHED, options.cached_bytes, ByWeight));
        let commits = Arc::new(AtomicU64::new(0));
        let waited_us = Arc::new(AtomicU64::new(0));
        let erasures = Erasures::default();
        let poisoned = Arc::new(OnceLock::new());
        let recent = Arc::new(Recent::default());
        let writer = Writer {
            storage: storage.clone(),
            store: store.clone(),
            rules,
            runtime,
            head: head_sender,
            cache: cache.clone(),
            recent: recent.clone(),
            erasures: erasures.clone(),
            poisoned: poisoned.clone(),
            head_file: options.head_directory.as_deref().map(HeadFile::new),
            head_delay: options.head_delay,
            commits: commits.clone(),
            waited_us: waited_us.clone(),
        };
        tokio::spawn(writer.run(receive, options.group.max(1)));
        let (told, news) = watch::channel(*head.borrow());
        let hurry = Arc::new(Notify::new());
        tokio::spawn(super::pace::pace(head.clone(), told, hurry.clone()));
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                requests,
                head,
                news,
                hurry,
                cache,
                erasures,
                commits,
                waited_us,
                storage,
                pages: Pages::new(),
                turns: Turns::new(),
                lane: Lane::default(),
                recent,
                poisoned,
            }),
        })
    }

    /// Hands an append to the writer; the order of calls is the order in the log.
    pub fn enqueue(&self, append: Append) -> Result<Pending, AppendError> {
        let (answer, receive) = oneshot::channel();
        self.inner
            .requests
            .try_send(Request::Append(Box::new(append), answer, tokio::time::Instant::now()))
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

    /// Returns when the log is closed. Whoever pauses for long before it goes on ends with this.
    pub async fn closed(&self) {
        self.inner.requests.closed().await;
    }

    /// The last durable `global_seq`.
    pub fn head(&self) -> u64 {
        *self.inner.head.borrow()
    }

    /// Follows the last durable `global_seq`.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.head.clone()
    }

    /// Tells those who follow the log and act on it that there is more: at once, and together
    /// while much is appended.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.clone()
    }

    /// Has those who follow the log told now of what there is: somebody waits for them.
    pub fn hurry(&self) {
        self.inner.hurry.notify_one();
    }

    /// What projections do together, who follow the log and are told together: short work of each, which waits for
    /// the same storage.
    pub fn lane(&self) -> &Lane {
        &self.inner.lane
    }

    /// How many more appends the queue takes.
    pub fn free_places(&self) -> usize {
        self.inner.requests.capacity()
    }

    /// Why no more writes are taken until a restart, where one failed; reads go on.
    pub fn failure(&self) -> Option<String> {
        self.inner.poisoned.get().cloned().or_else(|| self.inner.storage.failure())
    }

    /// The room on the device, where the storage knows of one. Asks the file system.
    pub fn space(&self) -> Option<FreeSpace> {
        self.inner.storage.space()
    }

    /// How many appends wait for the writer.
    pub fn waiting(&self) -> usize {
        self.inner.requests.max_capacity().saturating_sub(self.inner.requests.capacity())
    }

    /// How many batches were committed since the start.
    pub fn commits(&self) -> u64 {
        self.inner.commits.load(Ordering::Relaxed)
    }

    /// The longest that an append waited for the writer to take it since this was asked last.
    pub fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.inner.waited_us.swap(0, Ordering::Relaxed))
    }

    /// How many bodies were erased since the start: what was read before it rose may be gone.
    pub fn erasures(&self) -> u64 {
        self.inner.erasures.count()
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

    /// The same for whoever reads the log from end to end: bodies are read in the order of the
    /// log, and not kept in memory for others.
    pub fn sweep(&self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let whole = self.inner.store.read_whole(after, limit)?;
        let record = |(entry, body): (Entry, Body)| {
            let activity = Arc::new(decoded(&entry.cid, &body)?);
            Ok(Record { entry, activity })
        };
        whole.into_iter().map(record).collect()
    }

    /// The same for whoever follows the log. Those who are far behind and ask for the same get the
    /// same page, read once.
    pub fn page(&self, after: u64, limit: usize) -> Result<Records, StoreError> {
        if let Some(records) = self.inner.recent.after(after, limit) {
            self.inner.pages.pass();
            return Ok(records);
        }
        let pages = &self.inner.pages;
        if Pages::is_far(self.head(), after) {
            return pages.page(after, limit, self.erasures(), || self.sweep(after, limit));
        }
        pages.pass();
        Ok(self.records(after, limit)?.into_iter().map(Arc::new).collect())
    }

    /// Records above a position that are still in memory; `None` where the first of them is not. Never
    /// blocks.
    pub fn newest(&self, after: u64, limit: usize) -> Option<Records> {
        self.inner.recent.after(after, limit)
    }

    /// Waits for the turn of a follower that stands at a position to read on; at the end of the log
    /// there are no turns. So those who catch up stay together, and share what they read.
    pub async fn turn(&self, at: u64) -> Option<Turn> {
        if Pages::is_far(self.head(), at) { self.inner.turns.turn(at).await } else { None }
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
        self.inner.erasures.reading(|| self.read(cid))
    }

    /// Reads a body from the store, and keeps it.
    fn read(&self, cid: &Cid) -> Result<Option<Arc<Activity>>, StoreError> {
        let Some(body) = self.inner.store.body(cid)? else { return Ok(None) };
        let activity = decoded(cid, &body)?;
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
        let activity = self.activity(&entry.cid)?.ok_or_else(|| StoreError::no_body(&entry))?;
        Ok(Record { entry, activity })
    }
}

/// The activity of a body that was stored under a CID.
fn decoded(cid: &Cid, body: &Body) -> Result<Activity, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { place: format!("body {cid}"), reason };
    let activity = Activity::from_body(body).map_err(|e| damaged(e.to_string()))?;
    if activity.cid() == cid {
        Ok(activity)
    } else {
        Err(damaged(format!("its hash is {}", activity.cid())))
    }
}
