//! The one writer: takes what waits, commits it in batches, and answers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::entry::Record;
use super::erasure::Erasures;
use super::errors::AppendError;
use super::group::{Append, Appended, Group};
use super::head::{Head, HeadFile};
use super::recent::Recent;
use super::service::Bodies;
use super::store::{Batch, LogStore, Storage, StoreError};
use crate::activity::Activity;
use crate::cid::Cid;
use crate::metrics::{self, Timer};
use crate::rules::Rules;
use crate::runtime::Runtime;
use crate::trace::{Span, SpanKind};

/// A batch is closed when its bodies have this many bytes.
const MAX_BATCH_BYTES: usize = 256 * 1024;

type AppendResult = Result<Appended, AppendError>;
type Answer = oneshot::Sender<AppendResult>;
type Appends = VecDeque<(Append, Answer)>;
type Answers = Vec<(AppendResult, Answer)>;
type SyncAnswer = oneshot::Sender<Result<(), StoreError>>;

pub(super) enum Request {
    /// With the time at which it began to wait.
    Append(Box<Append>, Answer, tokio::time::Instant),
    Sync(SyncAnswer),
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) store: Arc<dyn LogStore>,
    pub(super) rules: Arc<dyn Rules>,
    pub(super) runtime: Runtime,
    pub(super) head: watch::Sender<u64>,
    pub(super) cache: Arc<Bodies>,
    pub(super) recent: Arc<Recent>,
    pub(super) erasures: Erasures,
    /// Why nothing is written any more; the same as in the handle.
    pub(super) poisoned: Arc<OnceLock<String>>,
    pub(super) head_file: Option<HeadFile>,
    pub(super) head_delay: Duration,
    pub(super) commits: Arc<AtomicU64>,
    /// The longest that an append waited for its turn since somebody asked, in microseconds.
    pub(super) waited_us: Arc<AtomicU64>,
}

impl Writer {
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>, most: usize) {
        let mut noted_later: Option<Head> = None;
        let mut note_at = tokio::time::Instant::now();
        loop {
            let first = if noted_later.is_some() {
                tokio::select! {
                    biased;
                    // First, so that steady writing does not put the note off for ever.
                    () = tokio::time::sleep_until(note_at) => {
                        self.note(noted_later.take()).await;
                        continue;
                    }
                    request = requests.recv() => request,
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
            let (mut appends, mut syncs, mut closing) = (Appends::new(), Vec::new(), None);
            for request in group {
                match request {
                    Request::Append(append, answer, since) => {
                        let waited = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                        self.waited_us.fetch_max(waited, Ordering::Relaxed);
                        appends.push_back((*append, answer));
                    }
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
                self.settle().await;
                requests.close();
                // The closer may have stopped waiting.
                let _ = answer.send(());
                break;
            }
        }
        self.note(noted_later.take()).await;
    }

    /// Commits appends in order, in as many batches as they need; gives the new head.
    async fn commit(&mut self, mut appends: Appends, syncs: Vec<SyncAnswer>) -> Option<Head> {
        let mut head = None;
        while !appends.is_empty() {
            if self.poisoned.get().is_some() {
                self.refuse(appends, Vec::new());
                break;
            }
            let work = Batching {
                store: self.store.clone(),
                rules: self.rules.clone(),
                cache: self.cache.clone(),
                recent: self.recent.clone(),
                erasures: self.erasures.clone(),
            };
            let timer = Timer::start();
            let spans = self.spans(&appends);
            let Ok(mut committed) = self.runtime.run(move || work.commit(appends)).await else {
                self.poison(StoreError::Io("the writer failed inside a commit".into()));
                break;
            };
            drop(spans);
            appends = std::mem::take(&mut committed.rest);
            let appended = committed.appends();
            let moved = matches!(committed.outcome, Ok(Some(_)));
            match committed.outcome {
                Ok(Some(new)) => {
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    metrics::COMMIT_SECONDS.record(timer.seconds(), &[]);
                    metrics::COMMIT_APPENDS.record(appended, &[]);
                    // Whoever asks sees it from now on. Those who wait for more are woken below: they
                    // are many, and whoever waits for an answer is first.
                    self.head.send_if_modified(|head| {
                        *head = new.global_seq;
                        false
                    });
                    head = Some(new);
                }
                // Nothing was written; after a full disk, the next batch may find room.
                Ok(None) | Err(StoreError::Full(_)) => {}
                Err(error) => {
                    let poisoned = self.poison(error);
                    for (result, _) in &mut committed.answers {
                        *result = Err(AppendError::Store(poisoned.clone()));
                    }
                }
            }
            // Whoever stopped waiting does not want the answer; the append stands all the same.
            for (result, answer) in committed.answers {
                metrics::APPENDS.count(1, &[outcome(&result)]);
                let _ = answer.send(result);
            }
            if moved {
                self.head.send_modify(|_| ());
            }
        }
        // The ledgers that these waited with were written before the commit.
        self.sync(syncs, head.is_some()).await;
        head
    }

    /// Spans of those appends whose trace is known.
    fn spans(&self, appends: &Appends) -> Vec<Span> {
        let traces = &self.runtime.traces;
        if !traces.is_on() {
            return Vec::new();
        }
        let about = |(append, _): &(Append, Answer)| {
            traces.about(append.activity.cid(), "log.commit", SpanKind::Internal)
        };
        appends.iter().filter_map(about).collect()
    }

    /// Answers those who wait for a sync; a commit that went well was one.
    async fn sync(&mut self, syncs: Vec<SyncAnswer>, done: bool) {
        if syncs.is_empty() {
            return;
        }
        if self.poisoned.get().is_none() && !done {
            let storage = self.storage.clone();
            match self.runtime.run(move || storage.sync()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.poison(error);
                }
                Err(_) => {
                    self.poison(StoreError::Io("the writer failed inside a sync".into()));
                }
            }
        }
        match self.poisoned.get() {
            Some(_) => self.refuse(Appends::new(), syncs),
            None => {
                for answer in syncs {
                    let _ = answer.send(Ok(()));
                }
            }
        }
    }

    /// Makes durable what is not synced with each commit.
    async fn settle(&self) {
        let storage = self.storage.clone();
        match self.runtime.run(move || storage.settle()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last writes may not be durable"),
            Err(error) => tracing::warn!(%error, "the last writes may not be durable"),
        }
    }

    /// Takes no more writes; gives what all who want to write are answered from now on.
    fn poison(&self, error: StoreError) -> StoreError {
        let why = match error {
            // The store has told so itself.
            StoreError::Poisoned(why) => why,
            error => {
                tracing::error!(%error, "a commit failed; no more are made until a restart");
                error.to_string()
            }
        };
        StoreError::Poisoned(self.poisoned.get_or_init(|| why).clone())
    }

    fn refuse(&self, appends: Appends, syncs: Vec<SyncAnswer>) {
        let Some(why) = self.poisoned.get() else { return };
        let error = StoreError::Poisoned(why.clone());
        for (_, answer) in appends {
            let _ = answer.send(Err(error.clone().into()));
        }
        for answer in syncs {
            let _ = answer.send(Err(error.clone()));
        }
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

/// The blocking part: plans one batch and commits it.
struct Batching {
    store: Arc<dyn LogStore>,
    rules: Arc<dyn Rules>,
    cache: Arc<Bodies>,
    recent: Arc<Recent>,
    erasures: Erasures,
}

struct Committed {
    answers: Answers,
    outcome: Result<Option<Head>, StoreError>,
    /// What did not go into the batch.
    rest: Appends,
}

impl Committed {
    /// How many appends went into the batch.
    #[allow(clippy::cast_precision_loss, reason = "for a distribution")]
    fn appends(&self) -> f64 {
        self.answers.iter().filter(|(result, _)| outcome(result) == "appended").count() as f64
    }
}

/// What became of an append, for metrics.
fn outcome(result: &AppendResult) -> &'static str {
    match result {
        Ok(appended) if appended.already() => "already",
        Ok(_) => "appended",
        Err(_) => "refused",
    }
}

impl Batching {
    /// Commits a batch; what it erases is forgotten before anybody learns of the new head.
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.erasures.is_empty() {
            return self.store.append(batch);
        }
        self.erasures.erasing(batch.erasures.len(), || {
            let result = self.store.append(batch);
            for erasure in &batch.erasures {
                self.cache.remove(&erasure.cid);
            }
            self.recent.clear();
            result
        })
    }

    /// Keeps in memory what was appended, for those who read it next.
    fn keep(&self, batch: &mut Batch, activities: Vec<Arc<Activity>>) {
        // Only what this batch stores: a held body may have come with another proof.
        let stored: HashSet<Cid> = batch.bodies.iter().map(|(cid, ..)| *cid).collect();
        let stored: HashMap<Cid, Arc<Activity>> = activities
            .into_iter()
            .filter(|activity| stored.contains(activity.cid()))
            .map(|activity| (*activity.cid(), activity))
            .collect();
        let mut records = Vec::with_capacity(batch.entries.len());
        for entry in batch.entries.drain(..) {
            let held = || self.cache.get(&entry.cid);
            match stored.get(&entry.cid).cloned().or_else(held) {
                Some(activity) => records.push(Arc::new(Record { entry, activity })),
                // It is read from the store, and so is what stands before it.
                None => records.clear(),
            }
        }
        self.recent.add(records);
        for (cid, activity) in stored {
            self.cache.insert(cid, activity);
        }
    }

    fn commit(&self, mut appends: Appends) -> Committed {
        let mut answers = Vec::with_capacity(appends.len());
        let mut bodies = Vec::new();
        let mut bytes = 0;
        let mut group = match Group::new(&*self.store, &*self.rules) {
            Ok(group) => group,
            Err(error) => {
                let outcome = Err(StoreError::Io(error.to_string()));
                answers.extend(appends.drain(..).map(|(_, answer)| (Err(error.clone()), answer)));
                return Committed { answers, outcome, rest: appends };
            }
        };
        while bytes < MAX_BATCH_BYTES
            && let Some((append, answer)) = appends.pop_front()
        {
            let activity = append.activity.clone();
            // What rules and guards do wrong concerns their own append only.
            let planned = catch_unwind(AssertUnwindSafe(|| group.plan(append)));
            let result = planned.unwrap_or_else(|_| {
                tracing::error!(cid = %activity.cid(), "judging or folding an append panicked");
                Err(AppendError::State("judging it failed".into()))
            });
            if result.is_ok() {
                bodies.push(activity);
            }
            bytes = group.bytes();
            answers.push((result, answer));
        }
        let mut batch = group.into_batch();
        let head = batch.entries.last().map(|e| Head { global_seq: e.global_seq, root: e.cid });
        if head.is_none() {
            return Committed { answers, outcome: Ok(None), rest: appends };
        }
        if let Err(error) = self.append(&batch) {
            // Also what was refused was judged by a state that did not come about.
            for (result, _) in &mut answers {
                *result = Err(AppendError::Store(error.clone()));
            }
            return Committed { answers, outcome: Err(error), rest: appends };
        }
        self.keep(&mut batch, bodies);
        Committed { answers, outcome: Ok(head), rest: appends }
    }
}
