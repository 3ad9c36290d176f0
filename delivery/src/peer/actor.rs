//! The actor that owns the queue of one peer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fedsx_kernel::log::StoreError;
use fedsx_kernel::metrics::{self, Timer};
use fedsx_kernel::runtime::BlockingFailed;
use fedsx_kernel::supervision::SHUTDOWN;
use futures::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;

use super::health::Health;
use super::queue::Queue;
use super::send::{self, Report};
use super::settle::{Books, Ended};
use super::verdict::{Outcome, Verdict};
use super::wall::Wall;
use super::{Peers, Selection, Slot, Wanted, lock};
use crate::ledger::{Item, Ledger, Writes};

/// Sends of a doubtful peer that may be under way: enough that one poisoned activity does not
/// hide that the peer is well.
const PROBES: usize = 2;
/// The most items in memory, those included that wait for their time.
const MAX_ITEMS: usize = 4096;
/// What is held back is looked at again after so long, whatever is decided meanwhile.
const HELD_MS: i64 = 60_000;
/// Inbound contact makes a resting peer probed at most so often.
const CONTACT_PAUSE_MS: i64 = 60_000;
/// An actor whose queue is empty stays for so long: often there is soon something else for the same peer, and to start
/// an actor takes more than a send.
const LINGER_MS: i64 = 30_000;
/// Actors that may stay so.
const LINGERING: usize = 2048;
/// Timers are set again at least so often, so that a wall clock that jumps is noticed.
const LONGEST_TIMER: Duration = Duration::from_secs(24 * 3600);

/// What the actor is told.
pub(super) enum Message {
    /// Something is new in the slot or in the ledger.
    Look,
    /// The time that was waited for has come.
    Due,
    /// An attempt ended.
    Ended(u64, Box<Report>),
}

pub(super) struct PeerActor {
    pub peers: Peers,
    pub peer: String,
    pub slot: Arc<Slot>,
}

pub(super) struct State {
    /// Whether queue and health were read from the ledger.
    opened: bool,
    /// Up to where what was asked has been seen to. Several may ask before the first look, which then sees to
    /// all of it.
    looked: Option<u64>,
    queue: Queue,
    health: Health,
    wall: Wall,
    timer: Option<(i64, JoinHandle<()>)>,
    probed_ms: i64,
    /// Until when it stays once there is nothing to do.
    lingers_to_ms: i64,
    /// Where the next probe starts in what is ready.
    rotation: usize,
}

impl State {
    /// The wall clock was set back by so much: what waits goes on to wait for as long as before.
    fn set_back(&mut self, back_ms: i64) {
        self.queue.set_back(back_ms);
        self.health.set_back(back_ms);
        self.probed_ms = self.probed_ms.saturating_sub(back_ms);
        self.lingers_to_ms = self.lingers_to_ms.saturating_sub(back_ms);
        // The timer goes by another clock, and comes when it should.
        if let Some((at_ms, _)) = &mut self.timer {
            *at_ms = at_ms.saturating_sub(back_ms);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
    }
}

/// Milliseconds as seconds, for metrics.
fn seconds_of(ms: i64) -> f64 {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
}

impl Actor for PeerActor {
    type Msg = Message;
    type State = State;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (): (),
    ) -> Result<State, ActorProcessingErr> {
        // Whoever starts actors waits for this, one after the other: the ledger is read at the first look.
        self.slot.in_flight.store(0, Ordering::SeqCst);
        *lock(&self.slot.actor) = Some(myself.clone());
        myself.cast(Message::Look)?;
        Ok(State {
            opened: false,
            looked: None,
            queue: Queue::default(),
            health: Health::default(),
            wall: Wall::new(self.peers.context.now_ms()),
            timer: None,
            probed_ms: i64::MIN,
            lingers_to_ms: i64::MIN,
            rotation: 0,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let back_ms = state.wall.set_back_ms(self.peers.context.now_ms());
        if back_ms > 0 {
            state.set_back(back_ms);
        }
        // What is asked for from here on is seen by the next look.
        let mut seen = None;
        match message {
            Message::Look => {
                let asked = self.slot.asked.load(Ordering::SeqCst);
                seen = Some(asked);
                if !state.opened {
                    self.open(state).await?;
                } else if state.looked != Some(asked) {
                    state.queue.more = true;
                }
                if state.looked != Some(asked) {
                    state.looked = Some(asked);
                    self.look(state).await?;
                }
            }
            Message::Due => state.timer = None,
            Message::Ended(seq, report) => self.ended(state, seq, *report).await?,
        }
        if !state.queue.is_done() {
            state.lingers_to_ms = self.peers.context.now_ms().saturating_add(LINGER_MS);
        }
        self.turn(&myself, state).await?;
        self.slot.in_flight.store(state.queue.in_flight(), Ordering::SeqCst);
        if let Some(seen) = seen {
            self.slot.seen.store(seen, Ordering::SeqCst);
        }
        self.peers.bump();
        if state.queue.is_done() {
            self.rest(&myself, state);
        }
        Ok(())
    }
}

impl PeerActor {
    /// Reads or writes the ledger in the blocking pool; `work` is given the time.
    async fn books<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger, i64) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ActorProcessingErr> {
        let (ledger, now_ms) = (self.peers.context.ledger.clone(), self.peers.context.now_ms());
        let done = self.peers.context.kernel.runtime().run(move || work(&ledger, now_ms)).await;
        Ok(done.map_err(|error: BlockingFailed| error)??)
    }

    /// The same together with what other peers want, which takes little for each of them.
    async fn desk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger, i64, &mut Writes) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ActorProcessingErr> {
        Ok(self.peers.context.desk.see_to(work).await??)
    }

    /// Reads what is known of the peer, and the first that is queued for it.
    async fn open(&self, state: &mut State) -> Result<(), ActorProcessingErr> {
        let (peer, window) = (self.peer.clone(), self.peers.context.options.window.max(1));
        let read = move |ledger: &Ledger, _, _: &mut Writes| {
            Ok((ledger.memory(&peer)?, ledger.items(&peer, None, window)?))
        };
        let (memory, page) = self.desk(read).await?;
        let now_ms = self.peers.context.now_ms();
        state.health = Health::new(memory, now_ms);
        state.queue.more = page.len() == window;
        state.queue.extend(page, now_ms);
        state.opened = true;
        Ok(())
    }

    /// Sees to what others left in the slot.
    async fn look(&self, state: &mut State) -> Result<(), ActorProcessingErr> {
        let requests = std::mem::take(&mut *lock(&self.slot.requests));
        for (wanted, answer) in requests {
            let (peer, memory) = (self.peer.clone(), state.health.memory.clone());
            let revive = wanted == Wanted::Replay(Selection::All);
            let work = move |ledger: &Ledger, now_ms| {
                let books = Books { ledger, peer: &peer, now_ms };
                let count = books.operate(wanted)?;
                let memory = if revive { books.revive(&memory)? } else { memory };
                Ok((count, memory))
            };
            let (count, memory) = self.books(work).await?;
            if revive {
                state.health = Health {
                    generation: state.health.generation.saturating_add(1),
                    ..Health::new(memory, self.peers.context.now_ms())
                };
            }
            state.queue.reread();
            // Whoever asked may have stopped waiting.
            let _ = answer.send(Ok(count));
        }
        if self.slot.released.swap(false, Ordering::SeqCst) {
            state.queue.reread();
        }
        let answered = self.slot.answered.swap(false, Ordering::SeqCst);
        if self.slot.contacted.swap(false, Ordering::Relaxed) || answered {
            let now_ms = self.peers.context.now_ms();
            if answered || now_ms.saturating_sub(state.probed_ms) >= CONTACT_PAUSE_MS {
                state.health.memory.until_ms = None;
            }
        }
        Ok(())
    }

    async fn ended(
        &self,
        state: &mut State,
        seq: u64,
        report: Report,
    ) -> Result<(), ActorProcessingErr> {
        let Some(generation) = state.queue.end(seq) else { return Ok(()) };
        let Some(item) = state.queue.get(seq).cloned() else { return Ok(()) };
        if report.outcome.verdict == Verdict::Abandoned {
            return Ok(());
        }
        if report.outcome.verdict == Verdict::Held {
            let next_ms = self.peers.context.now_ms().saturating_add(HELD_MS);
            state.queue.put(seq, Item { next_ms, ..Item::clone(&item) });
            return Ok(());
        }
        let counted = state.health.counted.iter();
        let suspects = counted.filter(|other| **other != seq);
        let suspects =
            suspects.filter_map(|s| Some((*s, Item::clone(state.queue.get(*s)?)))).collect();
        let health = state.health.clone();
        let ended = Ended { seq, generation, item, report, health, suspects };
        let (peer, options) = (self.peer.clone(), self.peers.context.options.clone());
        let random = self.peers.context.kernel.runtime().random.clone();
        let work = move |ledger: &Ledger, now_ms, writes: &mut Writes| {
            Books { ledger, peer: &peer, now_ms }.settle(ended, &options, &*random, writes)
        };
        let settled = self.desk(work).await?;
        state.health = settled.health;
        for (seq, item) in settled.items {
            match item {
                Some(item) => state.queue.put(seq, item),
                None => state.queue.remove(seq),
            }
        }
        Ok(())
    }

    /// Leaves when nothing was to be done for a while.
    fn rest(&self, myself: &ActorRef<Message>, state: &mut State) {
        let now_ms = self.peers.context.now_ms();
        if now_ms < state.lingers_to_ms && self.peers.count() <= LINGERING {
            // One that is set already comes early, and sets the next.
            if state.timer.is_none() {
                self.set_timer(myself, state, Some(state.lingers_to_ms), now_ms);
            }
        } else if self.peers.leave(&self.peer, &self.slot) {
            myself.stop(Some(SHUTDOWN.to_owned()));
        }
    }

    /// Starts what may be started and sets the timer for what comes next.
    async fn turn(
        &self,
        myself: &ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // Most of all turns are the last: nothing is left that a block could hold.
        let is_over = state.queue.is_done();
        let blocked = !is_over && self.peers.context.is_blocked(&self.peer);
        self.refill(state, blocked).await?;
        let now_ms = self.peers.context.now_ms();
        let rests = blocked || state.health.rests(now_ms);
        self.slot.resting.store(rests, Ordering::Relaxed);
        if !rests && !self.peers.context.gate.is_closed() {
            let most = if state.health.is_doubtful() {
                PROBES
            } else {
                self.peers.context.options.sends_per_peer.max(1)
            };
            let room = most.saturating_sub(state.queue.in_flight());
            let ready = if state.health.is_doubtful() {
                let mut all = state.queue.ready(now_ms, usize::MAX);
                state.rotation = state.rotation.wrapping_add(1);
                let by = state.rotation.checked_rem(all.len()).unwrap_or(0);
                all.rotate_left(by);
                all.truncate(room);
                all
            } else {
                state.queue.ready(now_ms, room)
            };
            for seq in ready {
                self.start(myself, state, seq, now_ms);
            }
        }
        let next_ms =
            if rests { state.health.memory.until_ms } else { state.queue.next_due_ms(now_ms) };
        // When a block ends, the actor is told.
        let next_ms = next_ms.filter(|next| !blocked && *next > now_ms && state.queue.len() > 0);
        self.set_timer(myself, state, next_ms, now_ms);
        Ok(())
    }

    fn start(&self, myself: &ActorRef<Message>, state: &mut State, seq: u64, now_ms: i64) {
        let Some(item) = state.queue.get(seq).cloned() else { return };
        state.queue.start(seq, state.health.generation);
        state.probed_ms = now_ms;
        let (context, peer) = (self.peers.context.clone(), self.peer.clone());
        let schemes = state.health.memory.schemes.clone();
        let failed = Report::failed(
            &item,
            Outcome::because(Verdict::LocalFailure, "the attempt ended abnormally"),
        );
        let gate = context.gate.clone();
        let work = async move {
            let timer = Timer::start();
            // What waits for its turn takes little memory: what an attempt needs is there from then on.
            let Ok(_permit) = gate.acquire_owned().await else {
                let outcome = Outcome::because(Verdict::Abandoned, "shutting down");
                return Report::failed(&item, outcome);
            };
            let report = Box::pin(send::attempt(&context, &peer, seq, &item, schemes)).await;
            let verdict = &report.outcome.verdict;
            if let Some(outcome) = verdict.name() {
                metrics::ATTEMPTS.count(1, &[outcome]);
                metrics::ATTEMPT_SECONDS.record(timer.seconds(), &[]);
            }
            if *verdict == Verdict::Delivered {
                let waited = context.now_ms().saturating_sub(item.enqueued_ms);
                metrics::DELIVERED_AFTER.record(seconds_of(waited), &[]);
            }
            report
        };
        let myself = myself.clone();
        tokio::spawn(async move {
            let report = AssertUnwindSafe(work).catch_unwind().await.unwrap_or(failed);
            // An actor that was started again meanwhile sends the item anew.
            let _ = myself.cast(Message::Ended(seq, Box::new(report)));
        });
    }

    /// Reads on where there is room, and parks what is too old for a peer that was given up.
    async fn refill(&self, state: &mut State, blocked: bool) -> Result<(), ActorProcessingErr> {
        let options = &self.peers.context.options;
        let window = options.window.max(1);
        loop {
            let now_ms = self.peers.context.now_ms();
            while state.queue.more
                && state.queue.due(now_ms) < window
                && state.queue.len() < MAX_ITEMS.max(window)
            {
                let (peer, from) = (self.peer.clone(), state.queue.read_to);
                let page = self.books(move |l, _| l.items(&peer, from, window)).await?;
                state.queue.more = page.len() == window;
                state.queue.extend(page, now_ms);
            }
            let is_reached = state.health.memory.down_since_ms.is_none();
            if is_reached && !blocked {
                return Ok(());
            }
            let max_age_ms = i64::try_from(options.max_age.as_millis()).unwrap_or(i64::MAX);
            let oldest_ms = now_ms.saturating_sub(max_age_ms);
            let expired: Vec<(u64, Item)> = state
                .queue
                .iter()
                .filter(|(seq, item)| {
                    item.enqueued_ms < oldest_ms && !state.queue.is_in_flight(*seq)
                })
                .map(|(seq, item)| (seq, item.clone()))
                .collect();
            if expired.is_empty() {
                return Ok(());
            }
            let gone: Vec<u64> = expired.iter().map(|(seq, _)| *seq).collect();
            let peer = self.peer.clone();
            let work = move |ledger: &Ledger, now_ms, writes: &mut Writes| {
                Books { ledger, peer: &peer, now_ms }.expire(expired, writes)
            };
            self.desk(work).await?;
            gone.into_iter().for_each(|seq| state.queue.remove(seq));
        }
    }

    fn set_timer(
        &self,
        myself: &ActorRef<Message>,
        state: &mut State,
        next_ms: Option<i64>,
        now_ms: i64,
    ) {
        // One that comes too early does no harm, and most are set for nothing.
        if next_ms.is_none() || state.timer.as_ref().map(|(at, _)| *at) == next_ms {
            return;
        }
        if let Some((_, timer)) = state.timer.take() {
            timer.abort();
        }
        let Some(next_ms) = next_ms else { return };
        let wait = u64::try_from(next_ms.saturating_sub(now_ms)).unwrap_or(0);
        let wait = Duration::from_millis(wait).min(LONGEST_TIMER);
        let sleep = self.peers.context.kernel.runtime().clock.sleep(wait);
        let myself = myself.clone();
        let timer = tokio::spawn(async move {
            sleep.await;
            // An actor that has left needs no timer.
            let _ = myself.cast(Message::Due);
        });
        state.timer = Some((next_ms, timer));
    }
}
