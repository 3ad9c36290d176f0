//! Proofs, checked by several threads while the log is read.
//!
//! Checking signatures is most of the work of `fedsx verify`, and no check depends on another.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use anyhow::{Context as _, Result, anyhow};
use fedsx_genesis::GenesisRules;
use fedsx_kernel::Activity;
use fedsx_kernel::keys::KeyHistory;
use fedsx_kernel::log::LogStore;
use fedsx_kernel::proof::{self, Suites};
use fedsx_kernel::rules::Rules as _;

/// Most threads that check.
const MAX_THREADS: usize = 16;
/// Activities that wait for each thread.
const QUEUE: usize = 64;
/// Actors whose keys a thread keeps.
pub(super) const KEPT_ACTORS: usize = 4096;

/// An activity, and where it stands.
struct Job {
    global_seq: u64,
    place: String,
    activity: Arc<Activity>,
    then: Option<Arc<KeyHistory>>,
}

/// What is wrong first.
type Failed = Arc<Mutex<Option<(u64, anyhow::Error)>>>;

/// Takes activities whose proofs are to be checked.
pub(super) struct Proofs<'a> {
    jobs: SyncSender<Job>,
    failed: Failed,
    checks: Checks<'a>,
}

/// What a proof is checked with. The newest history holds every key with its interval: what the
/// log knew when an activity came may lack a key that was learnt later. It lacks a key whose id its
/// owner, elsewhere, gave to another one later; that is among what was known then.
#[derive(Clone)]
struct Checks<'a> {
    store: &'a dyn LogStore,
    rules: &'a GenesisRules,
    suites: Arc<Suites>,
    keys: HashMap<String, KeyHistory>,
}

impl<'a> Proofs<'a> {
    /// Starts the threads; they end when this is dropped, or finished.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        store: &'a dyn LogStore,
        rules: &'a GenesisRules,
    ) -> Result<Self>
    where
        'a: 'scope,
    {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = threads.min(MAX_THREADS);
        let (jobs, receive) = sync_channel(QUEUE.saturating_mul(threads));
        let receive = Arc::new(Mutex::new(receive));
        let failed = Failed::default();
        let suites = Arc::new(Suites::standard());
        let checks = Checks { store, rules, suites, keys: HashMap::new() };
        for number in 0..threads {
            let (receive, failed, mut checks) = (receive.clone(), failed.clone(), checks.clone());
            std::thread::Builder::new()
                .name(format!("fedsx-verify-{number}"))
                .spawn_scoped(scope, move || work(&receive, &failed, &mut checks))
                .context("starting a thread")?;
        }
        Ok(Self { jobs, failed, checks })
    }

    /// Lets a proof be checked; where everybody is busy, it is checked here. `then` are the keys of
    /// an author elsewhere as the log knew them before this entry.
    pub(super) fn check(
        &mut self,
        global_seq: u64,
        place: &str,
        activity: &Arc<Activity>,
        then: Option<Arc<KeyHistory>>,
    ) -> Result<()> {
        let job = Job { global_seq, place: place.to_owned(), activity: activity.clone(), then };
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                self.checks.check(&job)
            }
        }
    }

    /// Whether a check failed; then there is no more to be read.
    pub(super) fn has_failed(&self) -> bool {
        lock(&self.failed).is_some()
    }

    /// Tells the threads that no more come. What failed is known when they have ended.
    pub(super) fn finish(self) -> Outcome {
        Outcome(self.failed)
    }
}

/// What comes of the checks once the threads have ended.
pub(super) struct Outcome(Failed);

impl Outcome {
    /// The first thing that is wrong.
    pub(super) fn result(self) -> Result<()> {
        match lock(&self.0).take() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

fn work(receive: &Mutex<Receiver<Job>>, failed: &Failed, checks: &mut Checks<'_>) {
    loop {
        // Whoever waits holds the lock: the others wait for it in turn.
        let Ok(job) = lock(receive).recv() else { return };
        let Err(error) = checks.check(&job) else { continue };
        let mut failed = lock(failed);
        if failed.as_ref().is_none_or(|(first, _)| job.global_seq < *first) {
            *failed = Some((job.global_seq, anyhow!(error).context(job.place)));
        }
    }
}

impl Checks<'_> {
    fn check(&mut self, job: &Job) -> Result<()> {
        let actor = job.activity.actor();
        if !self.keys.contains_key(actor) {
            if self.keys.len() >= KEPT_ACTORS {
                self.keys.clear();
            }
            let keys = self
                .rules
                .keys(self.store.state(), actor)?
                .with_context(|| format!("the keys of {actor} are not known"))?;
            self.keys.insert(actor.to_owned(), keys);
        }
        let keys = self.keys.get(actor).context("keys that were just found")?;
        let newest = self.holds(&job.activity, keys);
        match &job.then {
            Some(then) if newest.is_err() => self.holds(&job.activity, then).or(newest),
            _ => newest,
        }
    }

    fn holds(&self, activity: &Activity, keys: &KeyHistory) -> Result<()> {
        let head = proof::head(activity.document())?.context("it has no proof")?;
        let key = self.rules.signer(keys, &head.verification_method, activity)?;
        Ok(self.suites.verify(activity.document(), &key.public()?)?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
