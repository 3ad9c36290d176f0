//! What a projection's actor and the handle share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedsx_kernel::log::{Log, StoreError, Table};
use fedsx_kernel::state::{StateError, StateView};
use ractor::ActorRef;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::projector::Message;
use crate::digest::Digest;
use crate::fold::Fold;
use crate::layout::{Build, Checkpoint};
use crate::render::{Rendered, UpTo};
use crate::table_state::TableState;

/// Which build is served, and how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) build: Build,
    pub(crate) global_seq: u64,
}

/// A build that is made beside the served one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Making {
    pub(crate) build: Build,
    pub(crate) global_seq: u64,
}

/// How a rebuild ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// The digest of the state that was served before, at the position of the switch; none where
    /// that was of an older version, or something was erased since it was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// The digest of the state that took its place.
    pub after: Digest,
}

impl Rebuilt {
    /// Whether the state that was served was what the log gives.
    pub fn is_same(&self) -> bool {
        self.before.as_ref().is_none_or(|before| *before == self.after)
    }
}

/// The published face of one projection.
pub(crate) struct Shared {
    pub(crate) fold: Arc<dyn Fold>,
    pub(crate) table: Arc<dyn Table>,
    /// What is served; of an older version while the fold's own is still being built.
    served: watch::Sender<Served>,
    making: Mutex<Option<Making>>,
    rebuilt: Mutex<Option<Rebuilt>>,
    set_aside: AtomicU64,
    /// Why it stands still until its actor is started again.
    halted: Mutex<Option<String>>,
    /// Whether a wake-up is on its way, so that many commits make one.
    woken: AtomicBool,
    actor: Mutex<Option<ActorRef<Message>>>,
    /// What the supervisor calls the actor.
    pub(crate) child: String,
    /// Whether it ends here: another fold takes its place, or none.
    ended: watch::Sender<bool>,
}

impl Shared {
    /// `served` is what is served until the actor has looked at the table.
    pub(crate) fn new(
        fold: Arc<dyn Fold>,
        table: Arc<dyn Table>,
        child: String,
        served: Option<Served>,
    ) -> Self {
        let first = Served { build: Build::first(fold.version()), global_seq: 0 };
        let served = served.unwrap_or(first);
        Self {
            fold,
            table,
            served: watch::Sender::new(served),
            making: Mutex::new(None),
            rebuilt: Mutex::new(None),
            set_aside: AtomicU64::new(0),
            halted: Mutex::new(None),
            woken: AtomicBool::new(false),
            actor: Mutex::new(None),
            child,
            ended: watch::Sender::new(false),
        }
    }

    /// Ends what waits for news of this projection.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits until it ends here.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    pub(crate) fn served(&self) -> Served {
        *self.served.borrow()
    }

    pub(crate) fn live(&self) -> Build {
        self.served().build
    }

    pub(crate) fn reached(&self) -> u64 {
        self.served().global_seq
    }

    pub(crate) fn follow(&self) -> watch::Receiver<Served> {
        self.served.subscribe()
    }

    pub(crate) fn set_aside(&self) -> u64 {
        self.set_aside.load(Ordering::Acquire)
    }

    /// Shows what was committed, after it was.
    pub(crate) fn publish(&self, build: Build, checkpoint: &Checkpoint) {
        let new = Served { build, global_seq: checkpoint.global_seq };
        self.set_aside.store(checkpoint.set_aside, Ordering::Release);
        self.served.send_if_modified(|held| std::mem::replace(held, new) != new);
    }

    /// Why it stands still, where it does.
    pub(crate) fn halted(&self) -> Option<String> {
        lock(&self.halted).clone()
    }

    pub(crate) fn set_halted(&self, why: Option<String>) {
        *lock(&self.halted) = why;
    }

    pub(crate) fn making(&self) -> Option<Making> {
        *lock(&self.making)
    }

    pub(crate) fn set_making(&self, making: Option<Making>) {
        *lock(&self.making) = making;
    }

    /// How the last rebuild since the start ended; none while one is under way.
    pub(crate) fn rebuilt(&self) -> Option<Rebuilt> {
        lock(&self.rebuilt).clone()
    }

    pub(crate) fn set_rebuilt(&self, rebuilt: Option<Rebuilt>) {
        *lock(&self.rebuilt) = rebuilt;
    }

    pub(crate) fn state(&self, build: Build) -> TableState {
        TableState::new(self.table.clone(), self.fold.name(), build)
    }

    pub(crate) fn actor(&self) -> Option<ActorRef<Message>> {
        lock(&self.actor).clone()
    }

    pub(crate) fn set_actor(&self, actor: ActorRef<Message>) {
        *lock(&self.actor) = Some(actor);
    }

    /// Tells the actor that there may be more to fold.
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Some(actor) = self.actor()
        {
            // An actor that is being restarted looks at the log by itself.
            let _ = actor.cast(Message::Wake);
        }
    }

    /// The actor is about to look at the log.
    pub(crate) fn awake(&self) {
        self.woken.store(false, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The served state as it is shown, whichever build that is at each read.
pub(super) struct LiveView {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
}

impl LiveView {
    fn read<T>(
        &self,
        read: impl FnOnce(&Rendered<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let state = self.shared.state(self.shared.live());
        let bodies = UpTo::now(&self.log);
        read(&Rendered { fold: &*self.shared.fold, state: &state, bodies: &bodies })
    }
}

impl StateView for LiveView {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        self.read(|rendered| rendered.get(key))
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        self.read(|rendered| rendered.scan(prefix, after, limit))
    }
}

/// Why a projection's actor gave up until it is restarted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Halt {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Blocking(#[from] fedsx_kernel::runtime::BlockingFailed),
}
