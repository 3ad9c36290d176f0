//! Supervision of the node's actors.
//!
//! ractor reports the end of a linked child to its supervisor; what happens then is ours. A child
//! that must run is started again with a growing pause; a child on demand is only forgotten,
//! because the next message starts it again from the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;

use crate::runtime::Clock;

/// Starts a child, linked to the given supervisor.
pub type Start =
    Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// First pause before a failed child is started again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A child that ran for this many pauses without failing counts as healthy again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Messages of the supervisor.
pub enum SupervisorMessage {
    /// Start a child that is kept running.
    Keep(String, Start, oneshot::Sender<Result<ActorCell, SpawnErr>>),
    /// Start a child on demand; it is not restarted.
    OnDemand(String, Start, oneshot::Sender<Result<ActorCell, SpawnErr>>),
    /// Do not start a kept child again, whatever becomes of it.
    Release(String),
    /// Start a kept child again.
    Again(String, u32),
}

/// Tells why children that end cannot be helped by a new start, if that is so.
pub type Futile = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The supervising actor.
pub struct Supervisor {
    clock: Arc<dyn Clock>,
    futile: Futile,
}

/// What the supervisor knows of its children.
pub struct Children {
    kept: HashMap<String, Kept>,
    names: HashMap<ActorId, String>,
    /// Whether it was told that no child is started again.
    given_up: bool,
}

struct Kept {
    start: Start,
    failures: u32,
    since_ms: i64,
}

impl Supervisor {
    /// Starts a supervisor.
    ///
    /// # Errors
    /// Where the actor did not start.
    pub async fn start(clock: Arc<dyn Clock>) -> Result<ActorRef<SupervisorMessage>, SpawnErr> {
        Self::start_unless(clock, Arc::new(|| None)).await
    }

    /// Starts a supervisor that starts nothing again once that is futile.
    ///
    /// # Errors
    /// As [`Supervisor::start`].
    pub async fn start_unless(
        clock: Arc<dyn Clock>,
        futile: Futile,
    ) -> Result<ActorRef<SupervisorMessage>, SpawnErr> {
        let (supervisor, _) = Actor::spawn(None, Self { clock, futile }, ()).await?;
        Ok(supervisor)
    }

    /// Whether a child that ended stays as it is; told once.
    fn gives_up(&self, children: &mut Children, name: &str) -> bool {
        let Some(reason) = (self.futile)() else { return false };
        if children.given_up {
            tracing::debug!(child = %name, "a child ended and waits for the next start");
        } else {
            children.given_up = true;
            tracing::warn!(child = %name, reason,
                "a child ended; this one and others that end wait for the next start");
        }
        true
    }

    async fn launch(
        &self,
        myself: &ActorRef<SupervisorMessage>,
        children: &mut Children,
        name: String,
        start: &Start,
    ) -> Result<ActorCell, SpawnErr> {
        let cell = start(myself.get_cell()).await?;
        children.names.insert(cell.get_id(), name);
        Ok(cell)
    }

    fn ended(
        &self,
        myself: &ActorRef<SupervisorMessage>,
        children: &mut Children,
        id: ActorId,
        why: &str,
    ) {
        let Some(name) = children.names.remove(&id) else { return };
        if children.kept.contains_key(&name) && self.gives_up(children, &name) {
            return;
        }
        let Some(kept) = children.kept.get_mut(&name) else {
            tracing::debug!(child = %name, why, "a child on demand ended");
            return;
        };
        let ran_ms = self.clock.now_ms().saturating_sub(kept.since_ms);
        if ran_ms > i64::try_from(HEALTHY_AFTER.as_millis()).unwrap_or(i64::MAX) {
            kept.failures = 0;
        }
        let pause = pause_after(kept.failures);
        kept.failures = kept.failures.saturating_add(1);
        tracing::warn!(child = %name, why, ?pause, "a child ended and will be started again");
        self.later(myself, name, kept.failures, pause);
    }

    fn later(
        &self,
        myself: &ActorRef<SupervisorMessage>,
        name: String,
        failures: u32,
        pause: Duration,
    ) {
        let (myself, sleep) = (myself.clone(), self.clock.sleep(pause));
        tokio::spawn(async move {
            sleep.await;
            // A stopped supervisor wants no restarts.
            let _ = myself.cast(SupervisorMessage::Again(name, failures));
        });
    }
}

fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures.min(10))).min(LONGEST_PAUSE)
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = Children;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        (): (),
    ) -> Result<Children, ActorProcessingErr> {
        Ok(Children { kept: HashMap::new(), names: HashMap::new(), given_up: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::Keep(name, start, answer) => {
                let result = self.launch(&myself, children, name.clone(), &start).await;
                if result.is_ok() {
                    let since_ms = self.clock.now_ms();
                    children.kept.insert(name, Kept { start, failures: 0, since_ms });
                }
                // Whoever asked may be gone; the child runs all the same.
                let _ = answer.send(result);
            }
            SupervisorMessage::OnDemand(name, start, answer) => {
                let result = self.launch(&myself, children, name, &start).await;
                let _ = answer.send(result);
            }
            SupervisorMessage::Release(name) => {
                children.kept.remove(&name);
            }
            SupervisorMessage::Again(name, failures) => {
                let Some(start) = children.kept.get(&name).map(|kept| kept.start.clone()) else {
                    return Ok(());
                };
                if self.gives_up(children, &name) {
                    return Ok(());
                }
                match self.launch(&myself, children, name.clone(), &start).await {
                    Ok(_) => {
                        if let Some(kept) = children.kept.get_mut(&name) {
                            kept.since_ms = self.clock.now_ms();
                        }
                    }
                    Err(error) => {
                        let pause = pause_after(failures);
                        tracing::warn!(child = %name, %error, ?pause, "a child did not start");
                        self.later(&myself, name, failures.saturating_add(1), pause);
                    }
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                self.ended(&myself, children, cell.get_id(), &error.to_string());
            }
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                let id = cell.get_id();
                match reason.as_deref() {
                    // A child that was asked to stop is not started again.
                    Some(SHUTDOWN) => {
                        if let Some(name) = children.names.remove(&id) {
                            children.kept.remove(&name);
                        }
                    }
                    other => self.ended(&myself, children, id, other.unwrap_or("stopped")),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The reason with which a child is stopped for good.
pub const SHUTDOWN: &str = "shutdown";

/// Why a child could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The child failed to start.
    #[error("the actor did not start: {0}")]
    Spawn(#[from] SpawnErr),
    /// The supervisor is gone.
    #[error("the supervisor is gone")]
    NoSupervisor,
}

/// Asks a supervisor to start a child and keep it running.
pub async fn keep(
    supervisor: &ActorRef<SupervisorMessage>,
    name: String,
    start: Start,
) -> Result<ActorCell, StartError> {
    let (answer, receive) = oneshot::channel();
    supervisor
        .cast(SupervisorMessage::Keep(name, start, answer))
        .map_err(|_| StartError::NoSupervisor)?;
    Ok(receive.await.map_err(|_| StartError::NoSupervisor)??)
}

/// Asks a supervisor to start a child that is not restarted.
pub async fn on_demand(
    supervisor: &ActorRef<SupervisorMessage>,
    name: String,
    start: Start,
) -> Result<ActorCell, StartError> {
    let (answer, receive) = oneshot::channel();
    supervisor
        .cast(SupervisorMessage::OnDemand(name, start, answer))
        .map_err(|_| StartError::NoSupervisor)?;
    Ok(receive.await.map_err(|_| StartError::NoSupervisor)??)
}
