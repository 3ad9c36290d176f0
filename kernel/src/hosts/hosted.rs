use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};

use crate::address::ActorName;
use crate::kernel::{Publish, Published, Shared};
use crate::keys::SecretKey;
use crate::log::{Append, AppendError, Meta, OnceValue, Pending, Place, Stream};
use crate::metrics;
use crate::pipeline::outbound::{self, Work};
use crate::refusal::{Problem, Refusal};
use crate::rules::Direction;
use crate::trace::SpanKind;

/// Where the answer to a publish goes.
pub(super) type Answer = oneshot::Sender<Result<Published, Refusal>>;

/// Messages of a hosted actor.
pub(super) enum Message {
    /// Publish.
    Publish(Box<Publish>, Answer),
    /// Leave memory if nothing happened since this many publishes.
    Idle(u64),
}

/// A hosted actor.
pub(super) struct Hosted {
    shared: Arc<Shared>,
    name: ActorName,
}

/// What a hosted actor knows beside the log.
pub(super) struct Outbox {
    /// The next position; `None` where it must be read from the log.
    next_seq: Option<u64>,
    in_flight: Arc<InFlight>,
    signing_key: Option<(String, SecretKey)>,
    handled: u64,
}

/// Appends that are enqueued and not yet durable.
struct InFlight {
    count: watch::Sender<usize>,
    failed: AtomicBool,
    once_keys: std::sync::Mutex<HashSet<String>>,
}

impl InFlight {
    async fn settled(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    fn once_keys(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.once_keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Hosted {
    pub(super) fn new(shared: Arc<Shared>, name: ActorName) -> Self {
        Self { shared, name }
    }

    /// Enqueues one publish. `Ok` means that the answer will be given at the commit.
    async fn publish(
        &self,
        outbox: &mut Outbox,
        publish: Publish,
        answer: &mut Option<Answer>,
    ) -> Result<(), Refusal> {
        if let Some(once) = &publish.once {
            if let Some(used) = self.shared.log.store().once(&once.key)? {
                let published = self.repeat(&used, once.fingerprint.as_deref())?;
                if let Some(answer) = answer.take() {
                    // A client that went away does not want the answer.
                    let _ = answer.send(Ok(published));
                }
                return Ok(());
            }
            if outbox.in_flight.once_keys().contains(&once.key) {
                return Err(Refusal::new(
                    Problem::Busy,
                    "a request with the same idempotency key is under way",
                ));
            }
        }
        if outbox.in_flight.failed.load(Ordering::SeqCst) {
            outbox.in_flight.settled().await;
            outbox.in_flight.failed.store(false, Ordering::SeqCst);
            outbox.next_seq = None;
        }
        let seq = match outbox.next_seq {
            Some(seq) => seq,
            None => self.shared.log.store().stream_len(&Stream::Outbox(self.name.clone()))?,
        };
        let mut work = Work {
            name: self.name.clone(),
            actor: self.shared.options.base.actor(&self.name),
            request: publish.request,
            new_keys: Vec::new(),
            defines: publish.defines,
            cause: publish.cause,
        };
        outbound::generate_keys(&self.shared, &mut work).await?;
        let traces = &self.shared.runtime.traces;
        let parent = publish.cause.as_ref().and_then(|cause| traces.of(cause));
        let mut span = traces.start("publish", SpanKind::Internal, parent.as_ref());
        let ready = outbound::build(&self.shared, &work, seq, &mut outbox.signing_key)?;
        span.set("fedsx.cid", ready.activity.cid().to_string());
        traces.remember(ready.activity.cid(), &span);
        let (rules, activity, judgement) =
            (self.shared.rules.clone(), ready.activity.clone(), ready.judgement);
        let meta = Meta {
            received_ms: self.shared.runtime.clock.now_ms(),
            judged_by: judgement.judged_by,
            hidden: ready.hidden,
            cause: publish.cause,
            ..Meta::default()
        };
        let once_key = publish.once.as_ref().map(|once| once.key.clone());
        let pending = self.shared.log.enqueue(Append {
            activity: ready.activity.clone(),
            place: Place::Outbox(self.name.clone(), seq),
            meta,
            once: publish.once,
            guard: Some(Box::new(move |state| {
                rules.confirm(state, &activity, Direction::Outbound, &judgement)
            })),
        })?;
        outbox.next_seq = Some(seq + 1);
        outbox.in_flight.count.send_modify(|count| *count += 1);
        if let Some(key) = &once_key {
            outbox.in_flight.once_keys().insert(key.clone());
        }
        if let Some(answer) = answer.take() {
            let in_flight = outbox.in_flight.clone();
            let acknowledged =
                acknowledge(in_flight, pending, ready.activity, seq, once_key, answer);
            tokio::spawn(async move {
                acknowledged.await;
                drop(span);
            });
        }
        if ready.barrier {
            // What follows is judged and signed by what this activity changes.
            outbox.in_flight.settled().await;
        }
        Ok(())
    }

    fn repeat(&self, used: &OnceValue, fingerprint: Option<&str>) -> Result<Published, Refusal> {
        let activity = self.shared.log.activity(&used.cid)?.ok_or_else(|| {
            Refusal::new(Problem::Internal, format!("the activity {} is missing", used.cid))
        })?;
        // With what was erased, the hash of the request goes as well.
        let forgotten = used.fingerprint.is_none() && activity.is_erased();
        if !forgotten && used.fingerprint.as_deref() != fingerprint {
            return Err(Refusal::new(
                Problem::IdempotencyConflict,
                format!("the key was used for another request, which made {}", used.cid),
            ));
        }
        let seq = activity.position().map_or(0, |(_, seq)| seq);
        Ok(Published { activity, seq, global_seq: used.global_seq, already: true })
    }
}

async fn acknowledge(
    in_flight: Arc<InFlight>,
    pending: Pending,
    activity: Arc<crate::activity::Activity>,
    seq: u64,
    once_key: Option<String>,
    answer: Answer,
) {
    let result = pending.committed().await;
    if result.is_err() {
        in_flight.failed.store(true, Ordering::SeqCst);
    }
    if let Some(key) = once_key {
        in_flight.once_keys().remove(&key);
    }
    in_flight.count.send_modify(|count| *count = count.saturating_sub(1));
    let result = match result {
        Ok(appended) => {
            metrics::PUBLISHED.count(1, &[]);
            Ok(Published { activity, seq, global_seq: appended.global_seq, already: false })
        }
        Err(AppendError::OnceTaken(_)) => {
            Err(Refusal::new(Problem::Conflict, "the idempotency key was used meanwhile"))
        }
        Err(error) => Err(error.into()),
    };
    // A client that went away does not want the answer; the activity stands all the same.
    let _ = answer.send(result);
}

impl Actor for Hosted {
    type Msg = Message;
    type State = Outbox;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (): (),
    ) -> Result<Outbox, ActorProcessingErr> {
        wait_for_idle(&self.shared, &myself, 0);
        Ok(Outbox {
            next_seq: None,
            in_flight: Arc::new(InFlight {
                count: watch::Sender::new(0),
                failed: AtomicBool::new(false),
                once_keys: std::sync::Mutex::default(),
            }),
            signing_key: None,
            handled: 0,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        outbox: &mut Outbox,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Publish(publish, answer) => {
                outbox.handled += 1;
                let mut answer = Some(answer);
                if let Err(refusal) = self.publish(outbox, *publish, &mut answer).await
                    && let Some(answer) = answer.take()
                {
                    let _ = answer.send(Err(refusal));
                }
            }
            Message::Idle(handled) => {
                let quiet = handled == outbox.handled && *outbox.in_flight.count.borrow() == 0;
                if quiet {
                    myself.stop(None);
                } else {
                    wait_for_idle(&self.shared, &myself, outbox.handled);
                }
            }
        }
        Ok(())
    }
}

fn wait_for_idle(shared: &Shared, myself: &ActorRef<Message>, handled: u64) {
    let (sleep, myself) = (shared.runtime.clock.sleep(shared.options.idle), myself.clone());
    tokio::spawn(async move {
        sleep.await;
        // An actor that is gone needs no reminder.
        let _ = myself.cast(Message::Idle(handled));
    });
}
