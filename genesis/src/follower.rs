//! Actors that follow the log with a durable cursor and act on each record: what the instance does
//! by itself.
//!
//! The cursor is moved after the work, and not synced: a crash lets the last records be seen
//! again. What a follower publishes is unique by a once key, so seeing a record twice does nothing
//! twice. Followers that are far behind share what they read.

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
    /// What passes, such as full queues: the actor is started again, after the last records with
    /// which everything was done.
    async fn act(&self, record: &Record) -> Result<(), Refusal>;

    /// Acts on records that follow each other; on one after the other, where a follower does not
    /// say otherwise. `more` tells whether others come at once.
    ///
    /// # Errors
    /// As [`Follower::act`].
    async fn act_on(&self, records: &[Arc<Record>], more: bool) -> Result<Acted, Refusal> {
        let _ = more;
        for record in records {
            self.act(record).await?;
        }
        Ok(Acted::Done)
    }
}

/// How far a follower has come with the records that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acted {
    /// They are done with, and all before them.
    Done,
    /// It gathers what it does at once later. After a crash they are given to it again.
    Gathered,
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

/// Up to where records were given to the follower.
struct Given(u64);

enum Message {
    Advance,
}

impl Following {
    /// Where the cursor stands in the ledgers.
    fn place(&self) -> Vec<u8> {
        format!("{}\0cursor", self.follower.name()).into_bytes()
    }

    async fn advance(&self, given: &mut Given) -> Result<bool, Refusal> {
        let internal =
            |error: &dyn std::fmt::Display| Refusal::new(Problem::Internal, error.to_string());
        let (log, after, runtime) =
            (self.kernel.log().clone(), given.0, self.kernel.runtime().clone());
        let records = match log.newest(after, BATCH) {
            Some(records) => records,
            None if log.head() <= after => return Ok(false),
            None => {
                // Not longer than for reading: what a follower does may need what others do.
                let _turn = self.kernel.log().turn(after).await;
                runtime.run(move || log.page(after, BATCH)).await.map_err(|e| internal(&e))??
            }
        };
        let Some(last) = records.last().map(|record| record.entry.global_seq) else {
            return Ok(false);
        };
        let more = records.len() == BATCH;
        given.0 = last;
        if self.follower.act_on(&records, more).await? == Acted::Gathered {
            return Ok(more);
        }
        let write = (self.place(), Some(last.to_be_bytes().to_vec()));
        let ledgers = self.ledgers.clone();
        let written = runtime.run(move || ledgers.apply(vec![write])).await;
        written.map_err(|e| internal(&e))??;
        self.progress.send_replace(last);
        Ok(more)
    }
}

impl Actor for Following {
    type Msg = Message;
    type State = Given;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (): (),
    ) -> Result<Given, ActorProcessingErr> {
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
        let mut head = self.kernel.log().news();
        head.mark_changed();
        tokio::spawn(async move {
            while head.changed().await.is_ok() {
                head.mark_unchanged();
                if myself.cast(Message::Advance).is_err() {
                    break;
                }
            }
        });
        Ok(Given(cursor))
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        Message::Advance: Message,
        given: &mut Given,
    ) -> Result<(), ActorProcessingErr> {
        if self.advance(given).await? {
            myself.cast(Message::Advance)?;
        }
        Ok(())
    }
}
