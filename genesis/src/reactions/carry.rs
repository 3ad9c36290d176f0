//! Followers of an actor that moved follow it: each hosted follower states a Follow of the new actor
//! and ends that of the old one, both with the Move as their cause.
//!
//! The Follow comes first, so that who was carried over only half is still found among the
//! followers of the old actor. Once keys make sure that nobody is carried over twice.

use std::sync::Arc;

use async_trait::async_trait;
use fedsx_kernel::log::{Once, Record, Stream, Table};
use fedsx_kernel::refusal::Refusal;
use fedsx_kernel::supervision::{StartError, SupervisorMessage};
use fedsx_kernel::{ActorName, Cid, Kernel, Publish};
use ractor::ActorRef;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::fold::GRAPH;
use crate::follower::{Follower, follow, passes};
use crate::graph::{Graph, Relation};
use crate::moves;
use crate::records::MOVE_CONFIRMED;

/// Followers read at once.
const PAGE: usize = 256;

/// Starts the actor that carries followers over.
///
/// # Errors
/// Where its cursor cannot be read.
pub async fn start(
    kernel: Kernel,
    ledgers: Arc<dyn Table>,
    supervisor: &ActorRef<SupervisorMessage>,
) -> Result<watch::Receiver<u64>, StartError> {
    follow(kernel.clone(), ledgers, Arc::new(Carrier { kernel }), supervisor).await
}

struct Carrier {
    kernel: Kernel,
}

/// A Move that counts.
struct Move<'a> {
    cause: Cid,
    from: &'a str,
    to: &'a str,
}

fn read(record: &Record) -> Option<Move<'_>> {
    let activity = &record.activity;
    match record.entry.stream {
        Stream::Local if activity.kind() == MOVE_CONFIRMED => {
            let object = activity.object()?;
            let member = |name| object.get(name).and_then(Value::as_str);
            let cause = member("cid")?.parse().ok()?;
            Some(Move { cause, from: member("actor")?, to: member("target")? })
        }
        Stream::Outbox(_) => {
            let to = moves::target(activity)?;
            Some(Move { cause: *activity.cid(), from: activity.actor(), to })
        }
        _ => None,
    }
}

impl Carrier {
    async fn carry(
        &self,
        moved: &Move<'_>,
        follower: &str,
        name: &ActorName,
    ) -> Result<(), Refusal> {
        let (graph, state) = (Graph::new(GRAPH), self.kernel.log().state());
        if graph.relation(state, follower, moved.to)? == Relation::None
            && !self.say(moved, name, "Follow", moved.to).await?
        {
            return Ok(());
        }
        let old = graph.follow_id(self.kernel.log().state(), follower, moved.from)?;
        if let Some(old) = old {
            self.say(moved, name, "Undo", &old).await?;
        }
        Ok(())
    }

    /// Publishes one half; whether it was taken.
    async fn say(
        &self,
        moved: &Move<'_>,
        name: &ActorName,
        kind: &str,
        object: &str,
    ) -> Result<bool, Refusal> {
        let cause = moved.cause;
        let request: Map<String, Value> = [
            ("type".to_owned(), json!(kind)),
            ("object".to_owned(), json!(object)),
            ("cause".to_owned(), json!(cause.to_string())),
        ]
        .into_iter()
        .collect();
        let publish = Publish {
            actor: name.clone(),
            request,
            once: Some(Once { key: format!("moved\n{cause}\n{name}\n{kind}"), fingerprint: None }),
            cause: Some(cause),
            defines: false,
        };
        match self.kernel.publish(publish).await {
            Ok(_) => Ok(true),
            // Full queues and storage pass; the actor is started again at this record.
            Err(refusal) if passes(&refusal) => Err(refusal),
            Err(refusal) => {
                tracing::info!(actor = %name, %cause, %refusal, "a follower stays where it is");
                Ok(false)
            }
        }
    }
}

#[async_trait]
impl Follower for Carrier {
    fn name(&self) -> &'static str {
        "moves"
    }

    async fn act(&self, record: &Record) -> Result<(), Refusal> {
        let Some(moved) = read(record) else { return Ok(()) };
        let base = &self.kernel.options().base;
        let mut after: Option<String> = None;
        loop {
            let page = {
                let state = self.kernel.log().state();
                let after = after.as_deref();
                Graph::new(GRAPH).followers_at(state, moved.from, base.as_str(), after, PAGE)?
            };
            for follower in &page {
                // Who is moved to may have followed its former self.
                if let Some(name) = base.name_of(follower).filter(|_| follower != moved.to) {
                    self.carry(&moved, follower, &name).await?;
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.into_iter().next_back();
        }
    }
}
