//! Healing gaps: fetching what an author said and what never arrived here.
//!
//! Authors number what they say without holes. The index notes the positions that arrive of every
//! author elsewhere whom somebody here follows ([`Arrivals`]); a position that is missing before
//! one that arrived is a hole. After a pause, in which what was only late comes by itself, one
//! task for each author asks the origin's outbox for its holes, signed by a follower, and hands in
//! what it finds like a delivery.
//!
//! A number counts only because the activity that bears it was verified, and only below the length
//! that the origin gives for its outbox. What the answers speak of is settled for good: it came,
//! is withheld from us, was refused here, or is not there. So a hole is asked for once, also
//! over restarts.

mod arrivals;
mod plan;
mod ranges;
mod run;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedsx_kernel::Kernel;
use tokio::sync::{Semaphore, watch};

use crate::client::Client;
use crate::discovery::Discovery;
use crate::ledger::Ledger;
use crate::peer::jittered;
use crate::service::{DeliveryError, Options};

pub(crate) use arrivals::Arrivals;
pub(crate) use ranges::Ranges;

/// Authors that are read from the ledger at once.
const PAGE: usize = 256;

/// Who fetches what is missing; cheap to clone.
#[derive(Clone)]
pub(crate) struct Healers {
    context: Arc<Context>,
}

struct Context {
    kernel: Kernel,
    ledger: Ledger,
    discovery: Discovery,
    client: Client,
    options: Arc<Options>,
    /// Bounds the authors that are seen to at once; closed when the node shuts down.
    gate: Semaphore,
    /// The authors that have a task, and whether a hole has shown since it looked last.
    running: Mutex<HashMap<String, bool>>,
    /// How many fetch, not counting those that pause.
    active: watch::Sender<usize>,
}

impl Healers {
    pub fn new(
        kernel: Kernel,
        ledger: Ledger,
        discovery: Discovery,
        client: Client,
        options: Arc<Options>,
    ) -> Self {
        let gate = Semaphore::new(options.heals.max(1));
        let (running, active) = (Mutex::default(), watch::Sender::new(0));
        let context = Context { kernel, ledger, discovery, client, options, gate, running, active };
        Self { context: Arc::new(context) }
    }

    /// Goes on with the holes that an earlier run of the node left.
    pub async fn resume(&self) -> Result<(), DeliveryError> {
        let mut after: Option<String> = None;
        loop {
            let (ledger, from) = (self.context.ledger.clone(), after.take());
            let read = move || {
                let authors = ledger.watched(from.as_deref(), PAGE)?;
                let mut with_holes = Vec::new();
                for author in &authors {
                    if !plan::open(&ledger, author)?.is_empty() {
                        with_holes.push(author.clone());
                    }
                }
                Ok::<_, DeliveryError>((authors, with_holes))
            };
            let (authors, with_holes) = self.context.kernel.runtime().run(read).await??;
            with_holes.iter().for_each(|author| self.begin(author));
            match authors.into_iter().nth(PAGE - 1) {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// A hole has shown among what an author said.
    pub fn begin(&self, author: &str) {
        match self.context.running().entry(author.to_owned()) {
            Entry::Occupied(mut running) => {
                running.insert(true);
                return;
            }
            Entry::Vacant(idle) => {
                idle.insert(false);
            }
        }
        let (context, author) = (self.context.clone(), author.to_owned());
        tokio::spawn(async move {
            let (inner, name) = (context.clone(), author.clone());
            let work = tokio::spawn(async move { inner.see_to(&name).await });
            if let Err(error) = work.await {
                tracing::error!(%author, %error, "healing a gap ended abnormally");
                context.running().remove(&author);
            }
        });
    }

    /// Waits until nothing is being fetched.
    pub async fn idle(&self) {
        let mut active = self.context.active.subscribe();
        // The sender lives as long as we do.
        let _ = active.wait_for(|active| *active == 0).await;
    }

    /// Fetches no more and waits for what is under way; whether it ended in time.
    pub async fn quiesce(&self, patience: Duration) -> bool {
        let all = u32::try_from(self.context.options.heals.max(1)).unwrap_or(u32::MAX);
        let ended = tokio::select! {
            permits = self.context.gate.acquire_many(all) => permits.is_ok(),
            () = self.context.kernel.runtime().clock.sleep(patience) => false,
        };
        self.context.gate.close();
        ended
    }
}

impl Context {
    fn running(&self) -> MutexGuard<'_, HashMap<String, bool>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to an author's holes until there are none to be asked for.
    async fn see_to(&self, author: &str) {
        let mut failures = 0usize;
        let mut pause = self.options.heal_after();
        loop {
            let random = &*self.kernel.runtime().random;
            if !crate::pause::pause(&self.kernel, jittered(pause, self.options.jitter, random))
                .await
            {
                return;
            }
            let Ok(permit) = self.gate.acquire().await else { return };
            // What shows from here on is in the ledger when the run reads it, or asks for another.
            if let Some(again) = self.running().get_mut(author) {
                *again = false;
            }
            self.active.send_modify(|active| *active += 1);
            let outcome = run::run(self, author).await;
            self.active.send_modify(|active| *active = active.saturating_sub(1));
            drop(permit);
            pause = self.options.heal_after();
            match outcome {
                Ok(run::Progress::More) => failures = 0,
                Ok(run::Progress::Done) => {
                    failures = 0;
                    let mut running = self.running();
                    if running.get(author) != Some(&true) {
                        running.remove(author);
                        return;
                    }
                }
                Ok(run::Progress::Stopped) => return,
                Err(error) => match self.options.schedule.get(failures) {
                    Some(wait) => {
                        tracing::info!(%author, %error, pause = ?wait, "healing a gap waits");
                        failures += 1;
                        pause = *wait;
                    }
                    None => {
                        // It is asked for again with the next hole, or after a restart.
                        tracing::warn!(%author, %error, "a gap could not be healed");
                        self.running().remove(author);
                        return;
                    }
                },
            }
        }
    }
}
