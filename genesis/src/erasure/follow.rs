//! Erasing where a `Delete` asks for it, or always, as the instance is configured. Follows the log
//! with a durable cursor.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fedsx_kernel::Activity;
use fedsx_kernel::log::{Record, Stream, Table};
use fedsx_kernel::refusal::Refusal;
use fedsx_kernel::supervision::{StartError, SupervisorMessage};
use ractor::ActorRef;
use serde_json::Value;
use tokio::sync::watch;

use super::Eraser;
use crate::follower::{self, Acted, Follower};

/// The member of a `Delete` by which its author asks for erasure.
pub(crate) const ERASE: &str = "erase";
/// Objects that are looked for in one pass.
const MAX_OBJECTS: usize = 1000;
/// A pass over the log is followed by a rest of so many times its length, so that many deletions
/// do not keep the instance busy with reading.
const REST: u32 = 9;

/// Which deletions erase by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Every Delete of an object, by actors here and elsewhere; without it only those of actors
    /// here who ask for it.
    pub always: bool,
}

impl Wishes {
    /// The object that a record wishes to be erased, why, and who wishes it.
    fn object(self, record: &Record) -> Option<String> {
        let activity = &*record.activity;
        let deletes = record.entry.first && activity.kind() == "Delete";
        let object = activity.object_id().filter(|id| deletes && *id != activity.actor())?;
        let here = matches!(record.entry.stream, Stream::Outbox(_));
        let wished = self.always || (here && asks(activity));
        wished.then(|| object.to_owned())
    }
}

fn asks(delete: &Activity) -> bool {
    delete.get(ERASE) == Some(&Value::Bool(true))
}

/// Starts the actor that follows the log; gives how far it has come.
///
/// # Errors
/// Where it does not start.
pub async fn follow(
    eraser: Eraser,
    wishes: Wishes,
    ledgers: Arc<dyn Table>,
    supervisor: &ActorRef<SupervisorMessage>,
) -> Result<watch::Receiver<u64>, StartError> {
    let kernel = eraser.kernel.clone();
    let follower = Deletions { eraser, wishes, wished: Mutex::default() };
    follower::follow(kernel, ledgers, Arc::new(follower), supervisor).await
}

struct Deletions {
    eraser: Eraser,
    wishes: Wishes,
    /// What is erased in the next pass. It may be there from before a failure: erasing it again
    /// changes nothing.
    wished: Mutex<BTreeSet<String>>,
}

impl Deletions {
    /// What was wished so far and by these records.
    fn gather(&self, records: &[Arc<Record>]) -> MutexGuard<'_, BTreeSet<String>> {
        let mut wished = self.wished.lock().unwrap_or_else(PoisonError::into_inner);
        wished.extend(records.iter().filter_map(|record| self.wishes.object(record)));
        wished
    }

    async fn erase(&self, objects: BTreeSet<String>) -> Result<(), Refusal> {
        let clock = &self.eraser.kernel.runtime().clock;
        let begun_ms = clock.now_ms();
        let outcomes = self.eraser.sweep(objects, "author", "the author deleted it").await?;
        for refusal in outcomes.into_iter().filter_map(Result::err) {
            // A Delete of what was never here, or by somebody else.
            tracing::debug!(%refusal, "nothing was erased");
        }
        let took_ms = u64::try_from(clock.now_ms().saturating_sub(begun_ms)).unwrap_or(0);
        clock.sleep(Duration::from_millis(took_ms).saturating_mul(REST)).await;
        Ok(())
    }
}

#[async_trait]
impl Follower for Deletions {
    fn name(&self) -> &'static str {
        "erasure"
    }

    async fn act(&self, record: &Record) -> Result<(), Refusal> {
        self.act_on(&[Arc::new(record.clone())], false).await.map(|_| ())
    }

    async fn act_on(&self, records: &[Arc<Record>], more: bool) -> Result<Acted, Refusal> {
        let objects = {
            let mut wished = self.gather(records);
            if wished.is_empty() {
                return Ok(Acted::Done);
            }
            // A pass over the log is for as many as there are.
            if more && wished.len() < MAX_OBJECTS {
                return Ok(Acted::Gathered);
            }
            std::mem::take(&mut *wished)
        };
        self.erase(objects).await?;
        Ok(Acted::Done)
    }
}
