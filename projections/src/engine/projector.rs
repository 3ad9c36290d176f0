//! The actor of one projection.

use std::sync::Arc;

use fedsx_kernel::log::{Log, StoreError};
use fedsx_kernel::runtime::{Lane, Runtime};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::runner::Runner;
use super::shared::Halt;
use crate::digest::{self, Digest};

/// What the actor is asked to do.
pub(crate) enum Message {
    /// Fold what is new in the log.
    Wake,
    /// Give the digest of the served state, between two batches.
    Digest(oneshot::Sender<Result<Digest, StoreError>>),
    /// Begin a build beside the served one; answered with `false` where one is being made.
    Rebuild(oneshot::Sender<bool>),
}

/// Folds the log into one projection; fails, to be restarted, where the storage fails.
#[derive(Clone)]
pub(super) struct Projector {
    pub(super) runner: Arc<Runner>,
    pub(super) log: Log,
    pub(super) runtime: Runtime,
}

impl Projector {
    /// Where it folds: with the others at the end of the log, by itself where it has far to go or runs what
    /// others published, which may take long.
    fn lane(&self, far: bool) -> Option<&Lane> {
        let shared = &self.runner.shared;
        let alone = far || shared.making().is_some() || shared.fold.definition().is_some();
        (!alone).then(|| self.log.lane())
    }

    /// Makes visible that the projection stands still, or that it goes on.
    fn noted<T>(&self, done: Result<Result<T, Halt>, Halt>) -> Result<Result<T, Halt>, Halt> {
        let why = match &done {
            Ok(Ok(_)) => None,
            Ok(Err(halt)) | Err(halt) => Some(halt.to_string()),
        };
        self.runner.shared.set_halted(why);
        done
    }
}

impl Actor for Projector {
    type Msg = Message;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Message>, (): ()) -> Result<(), ActorProcessingErr> {
        let runner = self.runner.clone();
        self.noted(self.runtime.run(move || runner.prepare()).await.map_err(Halt::from))??;
        self.runner.shared.set_actor(myself);
        Ok(())
    }

    async fn post_start(
        &self,
        myself: ActorRef<Message>,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        myself.cast(Message::Wake)?;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let runner = self.runner.clone();
        match message {
            Message::Wake => {
                self.runner.shared.awake();
                let turn = self.log.turn(runner.at()).await;
                let (lane, traces) = (self.lane(turn.is_some()), self.runtime.traces.clone());
                let work = move || runner.advance(&traces);
                let advanced = match lane {
                    Some(lane) => self.runtime.run_in(lane, work).await,
                    None => self.runtime.run(work).await,
                };
                drop(turn);
                let more = self.noted(advanced.map_err(Halt::from))??;
                if more {
                    // Other messages get their turn between two batches.
                    myself.cast(Message::Wake)?;
                }
            }
            Message::Digest(answer) => {
                let shared = runner.shared.clone();
                let digest = self
                    .runtime
                    .run(move || digest::stored(&shared.table, shared.fold.name(), shared.live()))
                    .await?;
                // Whoever asked may have stopped waiting.
                let _ = answer.send(digest);
            }
            Message::Rebuild(answer) => {
                let begun =
                    self.runtime.run(move || runner.rebuild()).await.map_err(Halt::from)??;
                let _ = answer.send(begun);
                myself.cast(Message::Wake)?;
            }
        }
        Ok(())
    }
}
