//! What the instance does by itself: it answers ([`answers`]), and destroys the keys of a deleted
//! actor. Followers of who moved are carried over ([`carry`]). Each answer is unique in the store by a once key, so a crash never answers twice.

pub mod answers;
pub mod carry;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use fedsx_kernel::log::{Once, Record, Stream, Table};
use fedsx_kernel::refusal::Refusal;
use fedsx_kernel::supervision::{StartError, SupervisorMessage};
use fedsx_kernel::{Kernel, Publish};
use ractor::ActorRef;
use tokio::sync::watch;

use crate::follower::{Follower, follow, passes};

/// Starts the actor that answers.
pub async fn start(
    kernel: Kernel,
    ledgers: Arc<dyn Table>,
    supervisor: &ActorRef<SupervisorMessage>,
) -> Result<watch::Receiver<u64>, StartError> {
    follow(kernel.clone(), ledgers, Arc::new(Reactor { kernel }), supervisor).await
}

struct Reactor {
    kernel: Kernel,
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
}

#[async_trait]
impl Follower for Reactor {
    fn name(&self) -> &'static str {
        "reactions"
    }

    async fn act(&self, record: &Record) -> Result<(), Refusal> {
        self.bury(record).await?;
        for answer in self.answers(record)? {
            match self.kernel.publish(answer).await {
                Ok(published) => {
                    tracing::debug!(cause = %record.activity.cid(), cid = %published.activity.cid(), "answered");
                }
                // Full queues and storage pass; the actor is started again at this record.
                Err(refusal) if passes(&refusal) => return Err(refusal),
                Err(refusal) => {
                    tracing::warn!(cause = %record.activity.cid(), %refusal, "no answer was possible");
                }
            }
        }
        Ok(())
    }
}
