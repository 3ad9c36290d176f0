//! What a projection's actor and the handle share.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fedsx_kernel::log::{StoreError, Table};
use fedsx_kernel::state::{StateError, StateView};
use ractor::ActorRef;
use serde_json::Value;
use tokio::sync::watch;

use super::projector::Message;
use crate::fold::Fold;
use crate::table_state::TableState;

/// The published face of one projection.
pub(super) struct Shared {
    pub(super) fold: Arc<dyn Fold>,
    pub(super) table: Arc<dyn Table>,
    /// The version that is served; the older one while the fold's own is still being built.
    live: AtomicU32,
    /// Position of the served version.
    reached: watch::Sender<u64>,
    set_aside: AtomicU64,
    /// Whether a wake-up is on its way, so that many commits make one.
    woken: AtomicBool,
    actor: Mutex<Option<ActorRef<Message>>>,
}

impl Shared {
    pub(super) fn new(fold: Arc<dyn Fold>, table: Arc<dyn Table>) -> Self {
        let live = AtomicU32::new(fold.version());
        Self {
            fold,
            table,
            live,
            reached: watch::Sender::new(0),
            set_aside: AtomicU64::new(0),
            woken: AtomicBool::new(false),
            actor: Mutex::new(None),
        }
    }

    pub(super) fn live(&self) -> u32 {
        self.live.load(Ordering::Acquire)
    }

    pub(super) fn reached(&self) -> u64 {
        *self.reached.borrow()
    }

    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.reached.subscribe()
    }

    pub(super) fn set_aside(&self) -> u64 {
        self.set_aside.load(Ordering::Acquire)
    }

    /// Shows what was committed, after it was.
    pub(super) fn publish(&self, live: u32, global_seq: u64, set_aside: u64) {
        self.live.store(live, Ordering::Release);
        self.set_aside.store(set_aside, Ordering::Release);
        self.reached.send_if_modified(|held| std::mem::replace(held, global_seq) != global_seq);
    }

    pub(super) fn state(&self) -> TableState {
        TableState::new(self.table.clone(), self.fold.name(), self.live())
    }

    pub(super) fn actor(&self) -> Option<ActorRef<Message>> {
        self.actor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_actor(&self, actor: ActorRef<Message>) {
        *self.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    /// Tells the actor that there may be more to fold.
    pub(super) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Some(actor) = self.actor()
        {
            // An actor that is being restarted looks at the log by itself.
            let _ = actor.cast(Message::Wake);
        }
    }

    /// The actor is about to look at the log.
    pub(super) fn awake(&self) {
        self.woken.store(false, Ordering::Release);
    }
}

/// The served state, whichever version that is at each read.
pub(super) struct LiveView(pub(super) Arc<Shared>);

impl StateView for LiveView {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        self.0.state().get(key)
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        self.0.state().scan(prefix, after, limit)
    }
}

/// Why a projection's actor gave up until it is restarted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Blocking(#[from] fedsx_kernel::runtime::BlockingFailed),
}
