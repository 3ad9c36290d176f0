//! Triggers: what the instance publishes for those who defined them, when an activity sets them
//! off.
//!
//! A trigger acts as the actor who put its definition into force, and sees what that actor may
//! see: public activities, and what it published and received. It is set off by what comes into
//! the log after its definition, once by each activity, and by no history that was fetched. What
//! it publishes names its cause; a chain of causes ends at [`MAX_CHAIN`].
//!
//! Whatever a trigger does wrong is noted in the ledger, and harms nothing else.

mod chain;
mod ledger;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::log::{Once, Record, Stream, Table};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::state::StateError;
use fedsx_kernel::supervision::{StartError, SupervisorMessage};
use fedsx_kernel::{ActorName, Cid, Kernel, Publish};
use ractor::ActorRef;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::definition::Kind;
use crate::follower::{Follower, follow, passes};
use crate::published::{Seen, Subscription, Trigger, may_redefine};
use crate::registry::{self, InForce};
use crate::rules::is_public;
use crate::script::{ScriptError, Scripts};

pub use chain::MAX_CHAIN;
use ledger::Ledger;
pub use ledger::{Counts, Failure, MAX_FAILURES};

/// The most triggers that act, in the order of their names.
pub const MAX_TRIGGERS: usize = 256;
/// How often one trigger may be set off in a minute.
pub const MAX_PER_MINUTE: u64 = 120;

/// A trigger that is in force.
#[derive(Clone)]
struct Active {
    name: String,
    definition: Cid,
    publisher: ActorName,
    /// Only what comes after this position sets it off.
    since: u64,
    /// What it does, or why it cannot be run.
    trigger: Result<Trigger, String>,
}

/// How a trigger is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub definition: Cid,
    /// The actor as whom it publishes.
    pub publisher: ActorName,
    /// The position after which activities set it off.
    pub since: u64,
    /// Why it cannot be run here, where it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What it did so far.
    #[serde(flatten)]
    pub counts: Counts,
}

/// The triggers of an instance; cheap to clone.
#[derive(Clone)]
pub struct Triggers(Arc<Inner>);

struct Inner {
    kernel: Kernel,
    ledger: Ledger,
    scripts: Scripts,
    active: Mutex<Option<Arc<Vec<Active>>>>,
}

/// What became of a trigger and an activity.
enum Outcome {
    /// The activity does not set it off.
    Nothing,
    /// It published this many activities.
    Published(u64),
    /// It was set off more often than it may be.
    Limited,
    /// It failed, and is not tried again.
    Failed(String),
}

impl Triggers {
    /// Starts the actor that follows the log. The receiver tells up to which position it is done.
    ///
    /// # Errors
    /// Where the cursor cannot be read.
    pub async fn start(
        kernel: Kernel,
        ledgers: Arc<dyn Table>,
        supervisor: &ActorRef<SupervisorMessage>,
    ) -> Result<(Self, watch::Receiver<u64>), StartError> {
        let inner = Inner {
            kernel: kernel.clone(),
            ledger: Ledger::new(ledgers.clone()),
            scripts: Scripts::new(),
            active: Mutex::new(None),
        };
        let triggers = Self(Arc::new(inner));
        let follower = Arc::new(triggers.clone());
        let progress = follow(kernel, ledgers, follower, supervisor).await?;
        Ok((triggers, progress))
    }

    /// Every trigger that is in force. Reading blocks.
    ///
    /// # Errors
    /// Where admission state or ledger cannot be read.
    pub fn list(&self) -> Result<Vec<Info>, Refusal> {
        let active = self.load()?;
        let info = |active: &Active| {
            Ok(Info {
                name: active.name.clone(),
                definition: active.definition,
                publisher: active.publisher.clone(),
                since: active.since,
                problem: active.trigger.as_ref().err().cloned(),
                counts: self.0.ledger.counts(&active.definition)?,
            })
        };
        active.iter().map(info).collect()
    }

    /// The newest failures first, up to `limit` before a position. Reading blocks.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn failures(&self, before: Option<u64>, limit: usize) -> Result<Vec<Failure>, Refusal> {
        Ok(self.0.ledger.failures(before, limit)?)
    }

    /// The triggers in force, as the admission state says now.
    fn load(&self) -> Result<Arc<Vec<Active>>, Refusal> {
        let Inner { kernel, scripts, .. } = &*self.0;
        let mut all = Vec::new();
        for (name, held) in registry::all(kernel.log().state(), Kind::Triggers, MAX_TRIGGERS)? {
            let definition = held.definition()?;
            let Some(publisher) = self.publisher(&held)? else { continue };
            let trigger = match Trigger::read(&definition, scripts) {
                Ok(trigger) => Ok(trigger.widened(kernel.log().state())?),
                Err(error) => Err(error.to_string()),
            };
            let (definition, since) = (held.cid, held.since);
            all.push(Active { name, definition, publisher, since, trigger });
        }
        Ok(Arc::new(all))
    }

    /// The hosted actor who put a definition into force.
    fn publisher(&self, held: &InForce) -> Result<Option<ActorName>, Refusal> {
        let kernel = &self.0.kernel;
        let activity = kernel.log().by_id(&held.by)?;
        Ok(activity.and_then(|activity| kernel.options().base.name_of(activity.actor())))
    }

    fn active(&self) -> Result<Arc<Vec<Active>>, Refusal> {
        let mut held = self.0.active.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(active) = &*held {
            return Ok(active.clone());
        }
        let active = self.load()?;
        *held = Some(active.clone());
        Ok(active)
    }

    fn forget(&self) {
        *self.0.active.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Which triggers a record may set off, by what takes no script to say.
    fn candidates(&self, record: &Record) -> Result<Vec<Active>, Refusal> {
        let (entry, activity) = (&record.entry, &record.activity);
        if may_redefine(&entry.stream, activity) {
            self.forget();
        }
        let passes_by =
            entry.stream == Stream::Local || entry.meta.backfilled || activity.is_erased();
        if passes_by {
            return Ok(Vec::new());
        }
        let public = activity.audience().iter().any(|id| is_public(id));
        let concerns = |active: &&Active| {
            let seen = if public {
                entry.first
            } else {
                let of = [entry.stream.author(), entry.stream.receiver()];
                of.into_iter().flatten().any(|name| *name == active.publisher)
            };
            let fits = active.trigger.as_ref().is_ok_and(|t| t.when().fits(activity));
            seen && fits && entry.global_seq > active.since
        };
        Ok(self.active()?.iter().filter(concerns).cloned().collect())
    }

    /// What a trigger publishes for a record: the blocking part.
    fn plan(&self, active: &Active, record: &Record) -> Result<Plan, Refusal> {
        let Inner { kernel, ledger, .. } = &*self.0;
        let Ok(trigger) = &active.trigger else { return Ok(Plan::Nothing) };
        let activity = &record.activity;
        let cause = *activity.cid();
        let used = kernel.log().store().once(&once_key(active, &cause, 0))?;
        if used.is_none() && ledger.failed(record.entry.global_seq, &active.definition)? {
            return Ok(Plan::Nothing);
        }
        let seen = Seen::of(activity);
        match self.wanted(trigger, activity, &seen)? {
            Ok(true) => {}
            Ok(false) => return Ok(Plan::Nothing),
            Err(error) => return Ok(Plan::Failed(error.to_string())),
        }
        if chain::length(kernel.log(), record)? >= MAX_CHAIN {
            let why = format!("the chain of causes has reached its limit of {MAX_CHAIN}");
            return Ok(Plan::Failed(why));
        }
        let within = ledger.admit(&active.definition, record.entry.meta.received_ms)?;
        if used.is_none() && !within {
            return Ok(Plan::Limited);
        }
        Ok(match trigger.requests(&seen) {
            Ok(requests) => Plan::Publish(requests),
            Err(error) => Plan::Failed(error.to_string()),
        })
    }

    /// Whether subscription and guard let an activity through.
    fn wanted(
        &self,
        trigger: &Trigger,
        activity: &Activity,
        seen: &Seen,
    ) -> Result<Result<bool, ScriptError>, StateError> {
        let state = self.0.kernel.log().state();
        if let Some(name) = trigger.when().subscription() {
            let Some(held) = registry::find(state, Kind::Audiences, name)? else {
                return Ok(Ok(false));
            };
            let Ok(subscription) = Subscription::read(&held.definition()?, &self.0.scripts) else {
                return Ok(Ok(false));
            };
            match subscription.reaches(state, activity, seen)? {
                Ok(true) => {}
                other => return Ok(other),
            }
        }
        Ok(trigger.when().lets(seen))
    }

    /// Lets a trigger act on a record.
    async fn set_off(&self, active: &Active, record: &Record) -> Result<Outcome, Refusal> {
        let (triggers, of, at) = (self.clone(), active.clone(), record.clone());
        let runtime = self.0.kernel.runtime();
        let planned = runtime.run(move || triggers.plan(&of, &at)).await;
        let planned = planned.map_err(|e| Refusal::new(Problem::Internal, e.to_string()))??;
        let requests = match planned {
            Plan::Nothing => return Ok(Outcome::Nothing),
            Plan::Limited => return Ok(Outcome::Limited),
            Plan::Failed(reason) => return Ok(Outcome::Failed(reason)),
            Plan::Publish(requests) => requests,
        };
        let cause = record.activity.cid();
        let mut published = 0;
        for (index, request) in requests.into_iter().enumerate() {
            let publish = Publish {
                actor: active.publisher.clone(),
                request: derived(request, record),
                once: Some(Once { key: once_key(active, cause, index), fingerprint: None }),
                cause: Some(*cause),
                defines: false,
            };
            match self.0.kernel.publish(publish).await {
                Ok(made) => {
                    published += u64::from(!made.already);
                    tracing::debug!(trigger = %active.name, %cause,
                        cid = %made.activity.cid(), "set off");
                }
                // What fails inside would fail again, and hold up every other trigger.
                Err(refusal) if passes(&refusal) && refusal.problem != Problem::Internal => {
                    return Err(refusal);
                }
                Err(refusal) => return Ok(Outcome::Failed(refusal.to_string())),
            }
        }
        Ok(Outcome::Published(published))
    }
}

enum Plan {
    Nothing,
    Limited,
    Failed(String),
    Publish(Vec<Map<String, Value>>),
}

/// What makes a derived activity unrepeatable: its cause, the trigger, and its place among those
/// of both.
fn once_key(active: &Active, cause: &Cid, index: usize) -> String {
    format!("trigger\n{}\n{}\n{cause}\n{index}", active.definition, active.since)
}

/// A request with its cause. Of what not everyone may see, nobody is told unless the request says
/// whom.
fn derived(mut request: Map<String, Value>, record: &Record) -> Map<String, Value> {
    let cause = &record.activity;
    request.insert("cause".into(), cause.cid().to_string().into());
    let public = cause.audience().iter().any(|id| is_public(id));
    let says = ["to", "cc", "bto", "bcc", "audience"];
    if !public && !says.iter().any(|name| request.contains_key(*name)) {
        request.insert("to".into(), json!([]));
    }
    request
}

#[async_trait]
impl Follower for Triggers {
    fn name(&self) -> &'static str {
        "triggers"
    }

    async fn act(&self, record: &Record) -> Result<(), Refusal> {
        for active in self.candidates(record)? {
            let outcome = self.set_off(&active, record).await?;
            if let Outcome::Failed(reason) = &outcome {
                tracing::warn!(trigger = %active.name, cause = %record.activity.cid(), %reason,
                    "a trigger failed");
            }
            let ledger = &self.0.ledger;
            match outcome {
                Outcome::Nothing => {}
                Outcome::Published(count) => ledger.published(&active.definition, count)?,
                Outcome::Limited => {
                    let why = format!("it was set off more than {MAX_PER_MINUTE} times a minute");
                    ledger.limited(&Failure::of(&active, record, why))?;
                }
                Outcome::Failed(reason) => {
                    ledger.note(&Failure::of(&active, record, reason))?;
                }
            }
        }
        Ok(())
    }
}
