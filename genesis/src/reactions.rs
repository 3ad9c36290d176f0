//! What the instance does by itself: it answers ([`answers`]), and destroys the keys of a deleted
//! actor. Follows the log with a durable cursor; each answer is unique in the store by a once key,
//! so a crash never answers twice.

pub mod answers;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use fedsx_kernel::log::{Once, Record, Stream, Table};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::supervision::{self, StartError, SupervisorMessage};
use fedsx_kernel::{Kernel, Publish};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;

/// Where the cursor stands in the ledgers.
const CURSOR: &[u8] = b"reactions\0cursor";
/// Records read at once.
const BATCH: usize = 256;

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

    fn answers(&self, record: &Record) -> Result<Vec<Publish>, Refusal> {
        let log = self.kernel.log();
        let base = &self.kernel.options().base;
        let first_seq = |id: &str| match log.by_id(id)? {
            Some(activity) => log.store().first_entry(activity.cid()),
            None => Ok(None),
        };
        let answers = answers::to(base, log.state(), first_seq, record)?;
        let publish = |answer: answers::Answer| Publish {
            actor: answer.actor,
            request: answer.request,
            once: Some(Once { key: answer.once_key, fingerprint: None }),
            cause: Some(*record.activity.cid()),
            defines: false,
        };
        Ok(answers.into_iter().map(publish).collect())
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
            for answer in self.answers(record)? {
                match self.kernel.publish(answer).await {
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
