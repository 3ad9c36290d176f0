//! Sending: one actor for each peer instance that something is owed to.
//!
//! Actors are started when something is queued and leave memory a while after their queue is empty. Nothing
//! polls: an actor waits for a message or for the one timer that its next attempt needs.

mod actor;
mod health;
mod outgoing;
mod prepare;
mod queue;
mod recipient;
mod schedule;
mod send;
mod settle;
#[cfg(test)]
mod tests;
mod verdict;
mod wall;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedsx_kernel::Kernel;
use fedsx_kernel::log::StoreError;
use fedsx_kernel::supervision::{self, SupervisorMessage};
use futures::FutureExt;
use ractor::{Actor, ActorRef};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::client::{Client, ClientError};
use crate::discovery::Discovery;
use crate::ledger::{Desk, Ledger};
use crate::service::{DeliveryError, Options};
use crate::standings::Standings;
use crate::synchronization::Statements;
use actor::{Message, PeerActor};
use outgoing::Outgoings;

pub(crate) use schedule::jittered;

/// What all peers share.
pub(crate) struct Context {
    pub kernel: Kernel,
    pub ledger: Ledger,
    /// Where the owners of queues read and write the ledger together.
    pub desk: Desk,
    /// Where attempts read what they send. Not the same one: a body that is not in memory holds up no queue.
    pub reads: Desk,
    /// What was sent a short while ago.
    pub outgoings: Outgoings,
    pub discovery: Discovery,
    pub client: Client,
    /// How this instance stands to others.
    pub standings: Standings,
    pub supervisor: ActorRef<SupervisorMessage>,
    pub options: Arc<Options>,
    /// What is said to peers about the followers there.
    pub statements: Statements,
    /// Bounds the sends to all peers; closed when the node shuts down.
    pub gate: Arc<Semaphore>,
}

impl Context {
    /// Puts it together. Must be called inside a tokio runtime.
    pub fn new(
        kernel: Kernel,
        ledger: Ledger,
        discovery: Discovery,
        client: Client,
        standings: Standings,
        supervisor: ActorRef<SupervisorMessage>,
        options: Arc<Options>,
    ) -> Self {
        let gate = Arc::new(Semaphore::new(options.sends.max(1)));
        let statements = Statements::default();
        let desk = || Desk::open(ledger.clone(), kernel.runtime().clone());
        let (desk, reads) = (desk(), desk());
        let outgoings = Outgoings::new();
        Self {
            kernel,
            ledger,
            desk,
            reads,
            outgoings,
            discovery,
            client,
            standings,
            supervisor,
            options,
            statements,
            gate,
        }
    }

    /// Whether this instance has nothing to do with the actor or peer with this id.
    pub fn is_blocked(&self, id: &str) -> bool {
        self.standings.of(id).is_ok_and(|standing| standing.blocked)
    }

    pub fn now_ms(&self) -> i64 {
        self.kernel.runtime().clock.now_ms()
    }
}

/// Which dead letters of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// The one at this position.
    One(u64),
    /// All, and its queue where it was given up.
    All,
}

/// What the owner of the queue is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Replay(Selection),
    Discard(Selection),
    /// Drop what is queued at this position: its content was erased.
    Erase(u64),
}

type Answer = oneshot::Sender<Result<u64, StoreError>>;

/// What others and a peer's actor share.
#[derive(Default)]
pub(crate) struct Slot {
    actor: Mutex<Option<ActorRef<Message>>>,
    /// How often something was asked of the actor, and up to where it has seen to that.
    asked: AtomicU64,
    seen: AtomicU64,
    in_flight: AtomicUsize,
    /// Whether the peer is left alone for now.
    resting: AtomicBool,
    contacted: AtomicBool,
    /// Whether the peer has answered somebody who asked whether it is there.
    answered: AtomicBool,
    /// Whether it was decided anew whom this instance has to do with.
    released: AtomicBool,
    requests: Mutex<Vec<(Wanted, Answer)>>,
}

/// The peers that something is owed to; cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    context: Arc<Context>,
    slots: Arc<Mutex<HashMap<String, Arc<Slot>>>>,
    changed: Arc<watch::Sender<u64>>,
    starts: Arc<AtomicU64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    pub fn new(context: Context) -> Self {
        let changed = Arc::new(watch::Sender::new(0));
        let context = Arc::new(context);
        Self { context, slots: Arc::default(), changed, starts: Arc::default() }
    }

    /// Starts the actors of all peers that something is queued for.
    pub async fn resume(&self) -> Result<(), DeliveryError> {
        let mut after: Option<String> = None;
        loop {
            let (ledger, from) = (self.context.ledger.clone(), after.take());
            let read = move || ledger.queued_peers(from.as_deref(), 256);
            let peers = self.context.kernel.runtime().run(read).await??;
            let Some(last) = peers.last() else { return Ok(()) };
            after = Some(last.clone());
            peers.iter().for_each(|peer| self.wake(peer));
        }
    }

    /// Between an actor of ours and a peer a Follow began or ended.
    pub fn followers_changed(&self, actor: &str, peer: &str) {
        self.context.statements.changed(actor, peer);
    }

    /// Tells a peer's actor that something was queued; starts it where it is not in memory.
    pub fn wake(&self, peer: &str) {
        self.ask(peer, |_| ());
    }

    /// Tells a resting peer's actor that the peer was heard of.
    pub fn contact(&self, peer: &str) {
        let slot = lock(&self.slots).get(peer).cloned();
        if slot.is_some_and(|slot| slot.resting.load(Ordering::Relaxed)) {
            self.ask(peer, |slot| slot.contacted.store(true, Ordering::Relaxed));
        }
    }

    /// Tells all peers' actors that it was decided anew whom this instance has to do with.
    pub fn release(&self) {
        let peers: Vec<String> = lock(&self.slots).keys().cloned().collect();
        for peer in peers {
            self.ask(&peer, |slot| slot.released.store(true, Ordering::SeqCst));
        }
    }

    /// Asks a peer for what every server of the Fediverse has, and answers with its status. Where it
    /// answers, what waits for it is tried.
    pub async fn probe(&self, peer: &str) -> Result<u16, ClientError> {
        let url = format!("{peer}/.well-known/nodeinfo");
        let answer = self.context.client.get(&url, "application/json", None).await?;
        let known = lock(&self.slots).contains_key(peer);
        if known {
            self.ask(peer, |slot| slot.answered.store(true, Ordering::SeqCst));
        }
        Ok(answer.status.as_u16())
    }

    pub async fn replay(&self, peer: &str, which: Selection) -> Result<u64, DeliveryError> {
        self.request(peer, Wanted::Replay(which)).await
    }

    pub async fn discard(&self, peer: &str, which: Selection) -> Result<u64, DeliveryError> {
        self.request(peer, Wanted::Discard(which)).await
    }

    /// Has a queued activity dropped whose content was erased; without this it is dropped when its
    /// turn comes.
    pub fn erase(&self, peer: &str, seq: u64) {
        let (answer, _) = oneshot::channel();
        self.ask(peer, |slot| lock(&slot.requests).push((Wanted::Erase(seq), answer)));
    }

    async fn request(&self, peer: &str, wanted: Wanted) -> Result<u64, DeliveryError> {
        if let Some(why) = self.context.kernel.log().failure() {
            // The peer's actor waits for the next start.
            return Err(StoreError::Poisoned(why).into());
        }
        let (answer, receive) = oneshot::channel();
        self.ask(peer, |slot| lock(&slot.requests).push((wanted, answer)));
        let answered = receive.await.map_err(|_| DeliveryError::NoAnswer(peer.to_owned()))?;
        Ok(answered?)
    }

    pub fn is_blocked(&self, peer: &str) -> bool {
        self.context.is_blocked(peer)
    }

    pub fn in_flight(&self, peer: &str) -> usize {
        lock(&self.slots).get(peer).map_or(0, |slot| slot.in_flight.load(Ordering::Relaxed))
    }

    /// Waits until no actor has anything to do now.
    pub async fn idle(&self) {
        let mut changed = self.changed.subscribe();
        let busy = |slot: &Arc<Slot>| {
            slot.in_flight.load(Ordering::SeqCst) > 0
                || slot.asked.load(Ordering::SeqCst) != slot.seen.load(Ordering::SeqCst)
        };
        loop {
            changed.borrow_and_update();
            if !lock(&self.slots).values().any(busy) {
                return;
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Starts no more sends and waits for those under way; whether they ended in time.
    pub async fn quiesce(&self, patience: Duration) -> bool {
        let all = u32::try_from(self.context.options.sends.max(1)).unwrap_or(u32::MAX);
        let late = self.context.kernel.runtime().clock.sleep(patience);
        let ended = tokio::select! {
            biased;
            permits = self.context.gate.acquire_many(all) => permits.is_ok(),
            () = late => false,
        };
        self.context.gate.close();
        ended
    }

    /// Leaves something in the peer's slot and tells the actor. Counting under the lock keeps an
    /// actor that is just leaving from missing it.
    fn ask(&self, peer: &str, leave: impl FnOnce(&Slot)) {
        let (slot, new) = {
            let mut slots = lock(&self.slots);
            let known = slots.get(peer).cloned();
            let new = known.is_none();
            let slot = known.unwrap_or_default();
            leave(&slot);
            slot.asked.fetch_add(1, Ordering::SeqCst);
            if new {
                slots.insert(peer.to_owned(), slot.clone());
            }
            (slot, new)
        };
        if new {
            self.start(peer.to_owned(), slot);
        } else if let Some(actor) = &*lock(&slot.actor) {
            // A failed actor looks into its slot when it is started again.
            let _ = actor.cast(Message::Look);
        }
    }

    fn start(&self, peer: String, slot: Arc<Slot>) {
        let (peers, name) = (self.clone(), peer.clone());
        let start = move |supervisor| {
            let actor = PeerActor { peers: peers.clone(), peer: name.clone(), slot: slot.clone() };
            async move {
                let (actor, _) = Actor::spawn_linked(None, actor, (), supervisor).await?;
                Ok(actor.get_cell())
            }
            .boxed()
        };
        let this = self.clone();
        tokio::spawn(async move {
            // Each start has its own name: the end of an earlier actor may be reported late.
            let number = this.starts.fetch_add(1, Ordering::Relaxed);
            let child = format!("delivery/peer/{peer}/{number}");
            let start = Arc::new(start);
            if let Err(error) = supervision::keep(&this.context.supervisor, child, start).await {
                tracing::error!(%peer, %error, "the sender for a peer did not start");
                lock(&this.slots).remove(&peer);
                this.bump();
            }
        });
    }

    /// How many peers have an actor.
    fn count(&self) -> usize {
        lock(&self.slots).len()
    }

    /// Takes a peer's actor out, unless something was asked of it that it has not seen.
    fn leave(&self, peer: &str, slot: &Arc<Slot>) -> bool {
        let mut slots = lock(&self.slots);
        let done = slot.asked.load(Ordering::SeqCst) == slot.seen.load(Ordering::SeqCst);
        if done {
            slots.remove(peer);
            drop(slots);
            self.bump();
        }
        done
    }

    fn bump(&self) {
        // Whoever waits for a change has subscribed before it looks.
        if self.changed.receiver_count() > 0 {
            self.changed.send_modify(|changes| *changes += 1);
        }
    }
}
