//! Which projections run: started, replaced by another fold of the same name, and ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fedsx_kernel::log::{Log, Table};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::supervision::{self, SHUTDOWN, Start, SupervisorMessage};
use ractor::{Actor, ActorRef};

use super::projector::Projector;
use super::runner::Runner;
use super::shared::Shared;
use crate::error::OpenError;
use crate::fold::{Context, Fold};
use crate::layout::Builds;

/// How long a projection may take to finish its batch at shutdown.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);
/// The longest name of a projection, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The projections that run, and what they are started with.
pub(super) struct Running {
    pub(super) table: Arc<dyn Table>,
    pub(super) log: Log,
    pub(super) runtime: Runtime,
    pub(super) context: Context,
    /// Most records in one batch.
    pub(super) batch: u64,
    pub(super) supervisor: ActorRef<SupervisorMessage>,
    projections: RwLock<BTreeMap<String, Arc<Shared>>>,
    /// Starts so far: what the supervisor knows by a name is never taken for its successor.
    starts: AtomicU64,
}

impl Running {
    pub(super) fn new(
        table: Arc<dyn Table>,
        log: Log,
        runtime: Runtime,
        context: Context,
        batch: u64,
        supervisor: ActorRef<SupervisorMessage>,
    ) -> Self {
        let (projections, starts) = (RwLock::default(), AtomicU64::new(0));
        Self { table, log, runtime, context, batch, supervisor, projections, starts }
    }

    /// Every projection, by name.
    pub(super) fn all(&self) -> BTreeMap<String, Arc<Shared>> {
        self.projections.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Shared>> {
        self.projections.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Starts a fold, in the place of the one that has its name, whose state is served until that
    /// of the new one is built.
    pub(super) async fn start(&self, fold: Arc<dyn Fold>) -> Result<(), OpenError> {
        let name = fold.name().to_owned();
        if !is_name(&name) {
            return Err(OpenError::Name(name));
        }
        let before = self.get(&name);
        if let Some(before) = &before {
            self.stop(before).await;
        }
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let child = format!("projection/{name}/{number}");
        let served = before.map(|before| before.served());
        let shared = Arc::new(Shared::new(fold, self.table.clone(), child.clone(), served));
        // Before the actor starts: it may remove what the projection before served.
        {
            let mut all = self.projections.write().unwrap_or_else(PoisonError::into_inner);
            all.insert(name.clone(), shared.clone());
        }
        let (source, context) = (Arc::new(self.log.clone()), self.context.clone());
        let runner = Arc::new(Runner::new(shared.clone(), source, context, self.batch));
        let (log, runtime) = (self.log.clone(), self.runtime.clone());
        let projector = Projector { runner, log, runtime };
        let start: Start = Arc::new(move |supervisor| {
            let projector = projector.clone();
            Box::pin(async move {
                // Names are global to the process, and a process may run several nodes.
                let (actor, _) = Actor::spawn_linked(None, projector, (), supervisor).await?;
                Ok(actor.get_cell())
            })
        });
        supervision::keep(&self.supervisor, child, start)
            .await
            .map_err(|error| OpenError::Start { name: name.clone(), error })?;
        // What was committed since it first looked woke nobody.
        shared.wake();
        Ok(())
    }

    /// Ends a projection, and removes its state.
    pub(super) async fn remove(&self, name: &str) -> Result<(), OpenError> {
        let removed = {
            let mut all = self.projections.write().unwrap_or_else(PoisonError::into_inner);
            all.remove(name)
        };
        if let Some(shared) = removed {
            self.stop(&shared).await;
        }
        self.wipe(name.to_owned()).await
    }

    /// Removes the state of every projection that does not run.
    pub(super) async fn wipe_others(&self) -> Result<(), OpenError> {
        let (table, running) = (self.table.clone(), self.all());
        let stored = self.runtime.run(move || Builds::names(&*table)).await;
        let stored = stored.map_err(|_| OpenError::Blocking)??;
        for name in stored.into_iter().filter(|name| !running.contains_key(name)) {
            tracing::info!(projection = %name, "what is left of a projection that ended is removed");
            self.wipe(name).await?;
        }
        Ok(())
    }

    async fn wipe(&self, name: String) -> Result<(), OpenError> {
        let table = self.table.clone();
        let wiped = self.runtime.run(move || Builds(&name).wipe(&*table)).await;
        Ok(wiped.map_err(|_| OpenError::Blocking)??)
    }

    /// Lets a projection finish its batch, and stops it for good.
    pub(super) async fn stop(&self, shared: &Shared) {
        shared.end();
        // A supervisor that is gone restarts nothing.
        let _ = self.supervisor.cast(SupervisorMessage::Release(shared.child.clone()));
        let Some(actor) = shared.actor() else { return };
        let stopped = actor.stop_and_wait(Some(SHUTDOWN.to_owned()), Some(SHUTDOWN_WAIT));
        if let Err(error) = stopped.await {
            tracing::warn!(projection = shared.fold.name(), %error, "it did not stop in time");
        }
    }
}

/// Wakes the projections after commits, until the log is closed.
pub(super) async fn follow(running: Arc<Running>) {
    let mut head = running.log.news();
    while head.changed().await.is_ok() {
        let all = running.projections.read().unwrap_or_else(PoisonError::into_inner);
        for shared in all.values() {
            shared.wake();
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b':');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(plain)
}
