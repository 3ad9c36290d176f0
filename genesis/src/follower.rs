//! Actors that follow the log with a durable cursor and act on each record: what the instance does
//! by itself.
//!
//! The cursor is moved after the work, and not synced: a crash lets the last records be seen
//! again. What a follower publishes is unique by a once key, so seeing a record twice does nothing
//! twice.

use std::sync::Arc;

use async_trait::async_trait;
use fedsx_kernel::Kernel;
use fedsx_kernel::log::{Record, Table};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::supervision::{self, StartError, SupervisorMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;

/// Records read at once.
const BATCH: usize = 256;

/// What is done with each record.
#[async_trait]
pub trait Follower: Send + Sync + 'static {
    /// The name, which is also that of the cursor in the ledgers.
    fn name(&self) -> &'static str;

    /// Acts on one record, in the order of the log.
    ///
    /// # Errors
    /// What passes, such as full queues: the actor is started again, at this record.
    async fn act(&self, record: &Record) -> Result<(), Refusal>;
}

/// Starts the actor of a follower. The receiver tells up to which position everything is done.
///
/// # Errors
/// Where the cursor cannot be read.
pub async fn follow(
    kernel: Kernel,
    ledgers: Arc<dyn Table>,
    follower: Arc<dyn Follower>,
    supervisor: &ActorRef<SupervisorMessage>,
) -> Result<watch::Receiver<u64>, StartError> {
    let (progress, receive) = watch::channel(0);
    let (progress, name) = (Arc::new(progress), follower.name());
    let start: supervision::Start = Arc::new(move |supervisor| {
        let following = Following {
            kernel: kernel.clone(),
            ledgers: ledgers.clone(),
            follower: follower.clone(),
            progress: progress.clone(),
        };
        Box::pin(async move {
            let (actor, _) = Actor::spawn_linked(None, following, (), supervisor).await?;
            Ok(actor.get_cell())
        })
    });
    supervision::keep(supervisor, name.into(), start).await?;
    Ok(receive)
}

/// Whether a refusal says nothing about what was asked, and may not come again.
pub(crate) fn passes(refusal: &Refusal) -> bool {
    matches!(
        refusal.problem,
        Problem::Busy
            | Problem::Conflict
            | Problem::StorageFull
            | Problem::StorePoisoned
            | Problem::Internal
    )
}

struct Following {
    kernel: Kernel,
    ledgers: Arc<dyn Table>,
    follower: Arc<dyn Follower>,
    progress: Arc<watch::Sender<u64>>,
}

enum Message {
    Advance,
}

impl Following {
    /// Where the cursor stands in the ledgers.
    fn place(&self) -> Vec<u8> {
        format!("{}\0cursor", self.follower.name()).into_bytes()
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
            self.follower.act(record).await?;
        }
        self.ledgers.apply(vec![(self.place(), Some(last.to_be_bytes().to_vec()))])?;
        *cursor = last;
        self.progress.send_replace(last);
        Ok(records.len() == BATCH)
    }
}

impl Actor for Following {
    type Msg = Message;
    type State = u64;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (): (),
    ) -> Result<u64, ActorProcessingErr> {
        let cursor = match self.ledgers.get(&self.place())? {
            Some(bytes) => u64::from_be_bytes(
                bytes
                    .as_slice()
                    .try_into()
                    .map_err(|_| format!("the cursor of {} is damaged", self.follower.name()))?,
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
