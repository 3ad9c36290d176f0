//! History that a Follow asked for.
//!
//! When a Follow of ours with `backfill` is accepted, the index writes a job to the ledger. A task
//! pages the outbox of the followed actor, as the follower, and hands every activity to the
//! kernel like a delivery that we fetched; its place in the log says `backfilled`. A job is
//! gone from the ledger when it is done, so that it goes on after a restart.

pub(crate) mod offer;
pub(crate) mod pages;
mod run;
#[cfg(test)]
mod tests;
mod wish;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fedsx_kernel::{ActorName, Kernel};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use crate::client::Client;
use crate::discovery::Discovery;
use crate::ledger::{Ledger, Writes};
use crate::service::{DeliveryError, Options};

pub use wish::{Wish, WishError};

/// A backfill under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub followed: String,
    pub follower: ActorName,
    pub wish: Wish,
    /// When the Follow was accepted, in milliseconds since 1970.
    pub accepted_ms: i64,
    /// The page to go on with.
    #[serde(default)]
    pub next: Option<String>,
    #[serde(default)]
    pub pages: u32,
    #[serde(default)]
    pub items: u64,
    /// How many of them were refused.
    #[serde(default)]
    pub refused: u64,
    /// Runs that failed since the last page.
    #[serde(default)]
    pub failures: u32,
}

impl Job {
    pub fn new(followed: String, follower: ActorName, wish: Wish, accepted_ms: i64) -> Self {
        Self {
            followed,
            follower,
            wish,
            accepted_ms,
            next: None,
            pages: 0,
            items: 0,
            refused: 0,
            failures: 0,
        }
    }

    fn key(&self) -> (String, ActorName) {
        (self.followed.clone(), self.follower.clone())
    }
}

/// The backfills under way; cheap to clone.
#[derive(Clone)]
pub(crate) struct Backfills {
    context: Arc<Context>,
}

struct Context {
    kernel: Kernel,
    ledger: Ledger,
    discovery: Discovery,
    client: Client,
    options: Arc<Options>,
    /// Bounds the backfills that run; closed when the node shuts down.
    gate: Semaphore,
    running: Mutex<HashSet<(String, ActorName)>>,
    /// How many run or wait for their turn, not counting those that wait to try again.
    active: watch::Sender<usize>,
}

impl Backfills {
    pub fn new(
        kernel: Kernel,
        ledger: Ledger,
        discovery: Discovery,
        client: Client,
        options: Arc<Options>,
    ) -> Self {
        let gate = Semaphore::new(options.backfills.max(1));
        let (running, active) = (Mutex::default(), watch::Sender::new(0));
        let context = Context { kernel, ledger, discovery, client, options, gate, running, active };
        Self { context: Arc::new(context) }
    }

    /// Goes on with what an earlier run of the node left unfinished.
    pub async fn resume(&self) -> Result<(), DeliveryError> {
        let ledger = self.context.ledger.clone();
        let jobs = self.context.kernel.runtime().run(move || ledger.jobs::<Job>()).await??;
        jobs.into_iter().for_each(|job| self.begin(job));
        Ok(())
    }

    /// Begins a job that is in the ledger, unless it runs already.
    pub fn begin(&self, job: Job) {
        let mut running = self.context.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.insert(job.key()) {
            return;
        }
        drop(running);
        self.context.active.send_modify(|active| *active += 1);
        let context = self.context.clone();
        tokio::spawn(async move {
            let key = job.key();
            let inner = context.clone();
            let work = tokio::spawn(async move { inner.see_through(job).await });
            if let Err(error) = work.await {
                tracing::error!(followed = %key.0, %error, "a backfill ended abnormally");
            }
            context.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            context.active.send_modify(|active| *active = active.saturating_sub(1));
        });
    }

    /// Waits until no backfill has anything to do now.
    pub async fn idle(&self) {
        let mut active = self.context.active.subscribe();
        // The sender lives as long as we do.
        let _ = active.wait_for(|active| *active == 0).await;
    }

    /// Begins no more pages and waits for those under way; whether they ended in time.
    pub async fn quiesce(&self, patience: Duration) -> bool {
        let all = u32::try_from(self.context.options.backfills.max(1)).unwrap_or(u32::MAX);
        let ended = tokio::select! {
            biased;
            permits = self.context.gate.acquire_many(all) => permits.is_ok(),
            () = self.context.kernel.runtime().clock.sleep(patience) => false,
        };
        self.context.gate.close();
        ended
    }
}

impl Context {
    /// Runs a job until it is done or given up.
    async fn see_through(&self, mut job: Job) {
        loop {
            let Ok(permit) = self.gate.acquire().await else { return };
            let outcome = run::run(self, &mut job).await;
            drop(permit);
            let (followed, follower) = (&job.followed, &job.follower);
            let error = match outcome {
                Ok(run::Progress::Done) => {
                    let (items, refused) = (job.items, job.refused);
                    tracing::info!(%followed, %follower, items, refused, "backfilled");
                    break;
                }
                Ok(run::Progress::Stopped) => return,
                Err(error) => error,
            };
            job.failures = job.failures.saturating_add(1);
            let index = usize::try_from(job.failures).unwrap_or(usize::MAX).saturating_sub(1);
            let Some(pause) = self.options.schedule.get(index) else {
                tracing::warn!(%followed, %follower, %error, "a backfill is given up");
                break;
            };
            tracing::info!(%followed, %follower, %error, ?pause, "a backfill waits");
            if let Err(error) = self.save(&job).await {
                tracing::error!(%error, "a backfill's progress could not be kept");
            }
            self.active.send_modify(|active| *active = active.saturating_sub(1));
            let goes_on = crate::pause::pause(&self.kernel, *pause).await;
            self.active.send_modify(|active| *active += 1);
            if !goes_on {
                return;
            }
        }
        let (ledger, key) = (self.ledger.clone(), job.key());
        let forget = move || {
            let mut writes = Writes::default();
            writes.remove_job(&key.0, key.1.as_str());
            ledger.apply(writes)
        };
        match self.kernel.runtime().run(forget).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a backfill could not be ended"),
            Err(error) => tracing::error!(%error, "a backfill could not be ended"),
        }
    }

    /// Writes down how far a job has come.
    async fn save(&self, job: &Job) -> Result<(), run::RunError> {
        let (ledger, job) = (self.ledger.clone(), job.clone());
        let write = move || {
            let mut writes = Writes::default();
            writes.job(&job.followed, job.follower.as_str(), &job)?;
            ledger.apply(writes)
        };
        Ok(self.kernel.runtime().run(write).await??)
    }
}
