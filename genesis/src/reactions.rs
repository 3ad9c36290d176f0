//! What the instance does by itself: a Follow is accepted, unless the followed actor decides on
//! its followers; the keys of a deleted actor are destroyed. Follows the log with a durable cursor; each answer is unique in the store
//! by a once key, so a crash never answers twice.

use std::sync::Arc;

use fedsx_kernel::log::{Once, Record, Stream, Table};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::state::StateView;
use fedsx_kernel::supervision::{self, StartError, SupervisorMessage};
use fedsx_kernel::{Kernel, Publish};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::{Map, json};
use tokio::sync::watch;

use crate::actors;
use crate::fold::GRAPH;
use crate::graph::{Graph, Relation};

/// Where the cursor stands in the ledgers.
const CURSOR: &[u8] = b"reactions\0cursor";
/// Records read at once.
const BATCH: usize = 256;

/// The answer to a record, if it wants one.
pub fn reaction(
    state: &dyn StateView,
    kernel: &Kernel,
    record: &Record,
) -> Result<Option<Publish>, Refusal> {
    let activity = &record.activity;
    let Stream::Inbox(receiver) = &record.entry.stream else { return Ok(None) };
    if activity.kind() != "Follow" || record.entry.meta.backfilled {
        return Ok(None);
    }
    let followed = kernel.options().base.actor(receiver);
    if activity.object_id() != Some(followed.as_str()) {
        return Ok(None);
    }
    let Some(actor) = actors::actor(state, &followed)?.filter(|actor| !actor.deleted) else {
        return Ok(None);
    };
    let graph = Graph::new(GRAPH);
    let waits = graph.relation(state, activity.actor(), &followed)? == Relation::Pending;
    if actor.approves_followers() || !waits {
        return Ok(None);
    }
    let mut request = Map::new();
    request.insert("type".into(), "Accept".into());
    request.insert("object".into(), activity.id().into());
    request.insert("to".into(), json!([activity.actor()]));
    Ok(Some(Publish {
        actor: receiver.clone(),
        request,
        once: Some(Once {
            key: format!("accept\n{followed}\n{}", activity.id()),
            fingerprint: None,
        }),
        cause: Some(*activity.cid()),
    }))
}

/// Starts the actor that answers.
pub async fn start(
    kernel: Kernel,
    ledgers: Arc<dyn Table>,
    supervisor: &ActorRef<SupervisorMessage>,
) -> Result<watch::Receiver<u64>, StartError> {
    let (progress, receive) = watch::channel(0);
    let progress = Arc::new(progress);
    let start: supervision::Start = Arc::new(move |supervisor| {
        let reactor = Reactor {
            kernel: kernel.clone(),
            ledgers: ledgers.clone(),
            progress: progress.clone(),
        };
        Box::pin(async move {
            let (actor, _) = Actor::spawn_linked(None, reactor, (), supervisor).await?;
            Ok(actor.get_cell())
        })
    });
    supervision::keep(supervisor, "reactions".into(), start).await?;
    Ok(receive)
}

struct Reactor {
    kernel: Kernel,
    ledgers: Arc<dyn Table>,
    progress: Arc<watch::Sender<u64>>,
}

enum Message {
    Advance,
}

impl Reactor {
    /// Destroys the private keys of an actor that deleted itself. What it said stays
    /// verifiable; its Delete is sent under the signature of the instance actor.
    async fn bury(&self, record: &Record) -> Result<(), Refusal> {
        let activity = &record.activity;
        let ends_itself = matches!(record.entry.stream, Stream::Outbox(_))
            && activity.kind() == "Delete"
            && activity.object_id() == Some(activity.actor());
        if !ends_itself {
            return Ok(());
        }
        let keys = self.kernel.rules().keys(self.kernel.log().state(), activity.actor())?;
        for key in keys.unwrap_or_default().all() {
            self.kernel.ring().destroy(&key.id)?;
        }
        self.kernel.log().sync().await?;
        tracing::info!(
            actor = activity.actor(),
            "the private keys of a deleted actor were destroyed"
        );
        Ok(())
    }

    async fn advance(&self, cursor: &mut u64) -> Result<bool, Refusal> {
        let (log, after) = (self.kernel.log().clone(), *cursor);
        let records = self
            .kernel
            .runtime()
            .run(move || log.records(after, BATCH))
            .await
            .map_err(|e| Refusal::new(Problem::Internal, e.to_string()))??;
        let Some(last) = records.last().map(|record| record.entry.global_seq) else {
            return Ok(false);
        };
        for record in &records {
            self.bury(record).await?;
            let Some(publish) = reaction(self.kernel.log().state(), &self.kernel, record)? else {
                continue;
            };
            match self.kernel.publish(publish).await {
                Ok(published) => {
                    tracing::debug!(cause = %record.activity.cid(), cid = %published.activity.cid(), "answered");
                }
                // Full queues and storage pass; the actor is started again at this record.
                Err(refusal) if passing(&refusal) => return Err(refusal),
                Err(refusal) => {
                    tracing::warn!(cause = %record.activity.cid(), %refusal, "no answer was possible");
                }
            }
        }
        // The once keys make a lost cursor harmless, so it needs no sync of its own.
        self.ledgers.apply(vec![(CURSOR.to_vec(), Some(last.to_be_bytes().to_vec()))])?;
        *cursor = last;
        self.progress.send_replace(last);
        Ok(records.len() == BATCH)
    }
}

fn passing(refusal: &Refusal) -> bool {
    matches!(
        refusal.problem,
        Problem::Busy
            | Problem::Conflict
            | Problem::StorageFull
            | Problem::StorePoisoned
            | Problem::Internal
    )
}

impl Actor for Reactor {
    type Msg = Message;
    type State = u64;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (): (),
    ) -> Result<u64, ActorProcessingErr> {
        let cursor = match self.ledgers.get(CURSOR)? {
            Some(bytes) => u64::from_be_bytes(
                bytes.as_slice().try_into().map_err(|_| "the cursor of reactions is damaged")?,
            ),
            None => 0,
        };
        // A log that was cut back is read from its end on.
        let cursor = cursor.min(self.kernel.log().head());
        self.progress.send_replace(cursor);
        let mut head = self.kernel.log().watch();
        head.mark_changed();
        tokio::spawn(async move {
            while head.changed().await.is_ok() {
                head.mark_unchanged();
                if myself.cast(Message::Advance).is_err() {
                    break;
                }
            }
        });
        Ok(cursor)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        Message::Advance: Message,
        cursor: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        if self.advance(cursor).await? {
            myself.cast(Message::Advance)?;
        }
        Ok(())
    }
}
