//! Hosted actors: one ractor actor each, started on demand, leaving memory when idle.
//!
//! A hosted actor owns the order of its outbox. It signs and enqueues one publish after the
//! other without waiting for the sync of the one before; the group commit acknowledges.

mod hosted;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use ractor::{Actor, ActorRef};
use tokio::sync::{Semaphore, oneshot};

use crate::address::ActorName;
use crate::kernel::{Publish, Published, Shared};
use crate::refusal::{Problem, Refusal};
use crate::supervision::{self, SupervisorMessage};
use hosted::{Hosted, Message};

/// How often a publish is tried again because its actor left memory or lost its position.
const TRIES: usize = 4;

/// The hosted actors of a node.
#[derive(Clone)]
pub(crate) struct Hosts {
    shared: Arc<Shared>,
    supervisor: ActorRef<SupervisorMessage>,
    running: Arc<RwLock<HashMap<ActorName, Host>>>,
    starting: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Host {
    actor: ActorRef<Message>,
    permits: Arc<Semaphore>,
}

impl Hosts {
    pub(crate) fn new(shared: Arc<Shared>, supervisor: ActorRef<SupervisorMessage>) -> Self {
        Self { shared, supervisor, running: Arc::default(), starting: Arc::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.running.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) async fn publish(&self, publish: Publish) -> Result<Published, Refusal> {
        let mut last = Refusal::new(Problem::Busy, "the actor is restarting; try again");
        for _ in 0..TRIES {
            let host = self.host(&publish.actor).await?;
            let Ok(_permit) = host.permits.clone().try_acquire_owned() else {
                return Err(Refusal::new(
                    Problem::Busy,
                    format!("too many publishes of {} are under way", publish.actor),
                ));
            };
            let (answer, receive) = oneshot::channel();
            let message = Message::Publish(Box::new(publish.clone()), answer);
            if host.actor.cast(message).is_err() {
                self.forget(&publish.actor, &host);
                continue;
            }
            match receive.await {
                Ok(Err(refusal)) if refusal.problem == Problem::Conflict => last = refusal,
                Ok(result) => return result,
                // Dropped unanswered: the actor stopped before it took the message.
                Err(_) => self.forget(&publish.actor, &host),
            }
        }
        Err(last)
    }

    async fn host(&self, name: &ActorName) -> Result<Host, Refusal> {
        if let Some(host) = self.find(name) {
            return Ok(host);
        }
        let _one_at_a_time = self.starting.lock().await;
        if let Some(host) = self.find(name) {
            return Ok(host);
        }
        let (send, receive) = std::sync::mpsc::channel();
        let (shared, actor_name) = (self.shared.clone(), name.clone());
        let start: supervision::Start = Arc::new(move |supervisor| {
            let (shared, name, send) = (shared.clone(), actor_name.clone(), send.clone());
            Box::pin(async move {
                let hosted = Hosted::new(shared, name);
                let (actor, _) = Actor::spawn_linked(None, hosted, (), supervisor).await?;
                let cell = actor.get_cell();
                // The receiver waits below until this has returned.
                let _ = send.send(actor);
                Ok(cell)
            })
        });
        supervision::on_demand(&self.supervisor, format!("actor {name}"), start)
            .await
            .map_err(|e| Refusal::new(Problem::Busy, e.to_string()))?;
        let actor = receive
            .try_recv()
            .map_err(|_| Refusal::new(Problem::Internal, "the actor did not report its start"))?;
        let host = Host {
            actor,
            permits: Arc::new(Semaphore::new(self.shared.options.publishes_in_flight)),
        };
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        running.insert(name.clone(), host.clone());
        Ok(host)
    }

    fn find(&self, name: &ActorName) -> Option<Host> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn forget(&self, name: &ActorName, host: &Host) {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        if running.get(name).is_some_and(|held| held.actor.get_id() == host.actor.get_id()) {
            running.remove(name);
        }
    }
}
