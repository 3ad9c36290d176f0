//! Erasing where a `Delete` asks for it, or always, as the instance is configured. Follows the log
//! with a durable cursor.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::log::{Record, Stream, Table};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::supervision::{self, StartError, SupervisorMessage};
use fedsx_kernel::{Activity, Kernel};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::Value;
use tokio::sync::watch;

use super::Eraser;

/// The member of a `Delete` by which its author asks for erasure.
pub(crate) const ERASE: &str = "erase";
/// Where the cursor stands in the ledgers.
const CURSOR: &[u8] = b"erasure\0cursor";
/// Records read at once.
const BATCH: usize = 256;
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
    let (progress, receive) = watch::channel(0);
    let progress = Arc::new(progress);
    let start: supervision::Start = Arc::new(move |supervisor| {
        let follower = Follower {
            kernel: eraser.kernel.clone(),
            eraser: eraser.clone(),
            wishes,
            ledgers: ledgers.clone(),
            progress: progress.clone(),
        };
        Box::pin(async move {
            let (actor, _) = Actor::spawn_linked(None, follower, (), supervisor).await?;
            Ok(actor.get_cell())
        })
    });
    supervision::keep(supervisor, "erasures".into(), start).await?;
    Ok(receive)
}

struct Follower {
    kernel: Kernel,
    eraser: Eraser,
    wishes: Wishes,
    ledgers: Arc<dyn Table>,
    progress: Arc<watch::Sender<u64>>,
}

enum Message {
    Advance,
}

impl Follower {
    /// Reads on and erases what is wished; tells whether there is more.
    async fn advance(&self, cursor: &mut u64) -> Result<bool, Refusal> {
        let internal =
            |error: &dyn std::fmt::Display| Refusal::new(Problem::Internal, error.to_string());
        let mut objects = BTreeSet::new();
        let (mut after, mut more) = (*cursor, true);
        while more && objects.len() < MAX_OBJECTS {
            let log = self.kernel.log().clone();
            let records = self.kernel.runtime().run(move || log.records(after, BATCH));
            let records = records.await.map_err(|e| internal(&e))??;
            objects.extend(records.iter().filter_map(|record| self.wishes.object(record)));
            more = records.len() == BATCH;
            after = records.last().map_or(after, |record| record.entry.global_seq);
        }
        if !objects.is_empty() {
            self.erase(objects).await?;
        }
        if after > *cursor {
            // Not synced by itself: what is done again after a crash changes nothing.
            let write = (CURSOR.to_vec(), Some(after.to_be_bytes().to_vec()));
            let ledgers = self.ledgers.clone();
            let written = self.kernel.runtime().run(move || ledgers.apply(vec![write])).await;
            written.map_err(|e| internal(&e))??;
            *cursor = after;
            self.progress.send_replace(after);
        }
        Ok(more)
    }

    async fn erase(&self, objects: BTreeSet<String>) -> Result<(), Refusal> {
        let clock = &self.kernel.runtime().clock;
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

impl Actor for Follower {
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
                bytes.as_slice().try_into().map_err(|_| "the cursor of erasures is damaged")?,
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
