//! Moves from elsewhere: whether they count.
//!
//! Where somebody here follows who moved, the target's document is fetched from its origin, and
//! the Move counts if it lists the old actor ([`fedsx_genesis::moves`]); a record in the `local`
//! stream says so. What is still to be fetched is kept in the ledger, so that a restart loses no
//! Move. Whatever does not count does nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::follower::Follower;
use fedsx_genesis::graph::Graph;
use fedsx_genesis::moves;
use fedsx_genesis::readers::is_for_anyone;
use fedsx_genesis::records::MOVE_CONFIRMED;
use fedsx_kernel::kernel::KeySource as _;
use fedsx_kernel::log::{Once, Record, StoreError, Stream, Table};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::{Cid, Kernel};
use serde_json::{Map, json};
use tokio::sync::{Mutex, Semaphore};

use crate::discovery::{Discovery, budgeted};

/// Fetches that are under way.
const AT_ONCE: usize = 4;
/// Moves that may wait for the documents of their targets.
const MAX_PENDING: usize = 1000;
/// Requests that one Move causes.
const FETCHES: u32 = 5;
/// Pauses between attempts; longer than a failure is remembered.
const PAUSES_S: [u64; 4] = [2, 90, 15 * 60, 3 * 3600];
/// Where Moves that wait stand in the ledger, by CID.
const PENDING: &[u8] = b"moves\0pending\0";

/// Finds out which Moves count.
#[derive(Clone)]
pub struct MoveChecks {
    kernel: Kernel,
    discovery: Discovery,
    ledgers: Arc<dyn Table>,
    permits: Arc<Semaphore>,
    /// Held from the decision until it is in the log: the next one sees it.
    deciding: Arc<Mutex<()>>,
}

impl MoveChecks {
    /// For a node; goes on with what waited when it was stopped.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn resume(
        kernel: Kernel,
        discovery: Discovery,
        ledgers: Arc<dyn Table>,
    ) -> Result<Self, StoreError> {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let this = Self { kernel, discovery, ledgers, permits, deciding: Arc::default() };
        for (key, _) in this.ledgers.scan(PENDING, None, MAX_PENDING)? {
            let cid = key.get(PENDING.len()..).and_then(|cid| std::str::from_utf8(cid).ok());
            if let Some(cid) = cid.and_then(|cid| cid.parse().ok()) {
                this.spawn(cid);
            }
        }
        Ok(this)
    }

    fn place(cid: &Cid) -> Vec<u8> {
        [PENDING, cid.to_string().as_bytes()].concat()
    }

    fn spawn(&self, cid: Cid) {
        let this = self.clone();
        tokio::spawn(async move {
            if !this.see_to(&cid).await {
                return;
            }
            if let Err(error) = this.ledgers.apply(vec![(Self::place(&cid), None)]) {
                tracing::warn!(%cid, %error, "a Move that was decided stays in the ledger");
            }
        });
    }

    /// Whether it was decided; otherwise the node stops, and the next start goes on.
    async fn see_to(&self, cid: &Cid) -> bool {
        for pause in PAUSES_S.map(Some).into_iter().chain([None]) {
            let outcome = match self.permits.acquire().await {
                Ok(_permit) => self.decide(cid).await,
                Err(_) => return false,
            };
            match outcome {
                Ok(None) => tracing::info!(%cid, "a Move counts"),
                Ok(Some(reason)) => tracing::info!(%cid, reason, "a Move does not count"),
                Err(refusal) => match pause.filter(|_| may_pass(&refusal)) {
                    Some(pause) => {
                        if !crate::pause::pause(&self.kernel, Duration::from_secs(pause)).await {
                            return false;
                        }
                        continue;
                    }
                    None => {
                        tracing::info!(%cid, %refusal, "the target of a Move is not to be had");
                    }
                },
            }
            break;
        }
        true
    }

    /// Why the Move does not count; `None` where it does, which is in the log then.
    async fn decide(&self, cid: &Cid) -> Result<Option<&'static str>, Refusal> {
        let log = self.kernel.log();
        let Some(activity) = log.activity(cid)? else { return Ok(Some("it is not held any more")) };
        let (actor, Some(target)) = (activity.actor(), moves::target(&activity)) else {
            return Ok(Some("it names no target"));
        };
        self.kernel.rules().sender(log.state(), target, None)?;
        budgeted(FETCHES, self.discovery.refresh(target)).await?;
        let _deciding = self.deciding.lock().await;
        let now_ms = self.kernel.runtime().clock.now_ms();
        if let Some(reason) = moves::obstacle(log.state(), actor, target, now_ms)? {
            return Ok(Some(reason));
        }
        let about = json!({
            "cid": cid.to_string(),
            "actor": actor,
            "target": target,
            "public": is_for_anyone(&activity),
        });
        let mut content = Map::new();
        content.insert("type".into(), MOVE_CONFIRMED.into());
        content.insert("object".into(), about);
        let once = Once { key: format!("moved\n{cid}"), fingerprint: None };
        self.kernel.record(content, Some(once)).await.map(|_| None)
    }

    fn is_wanted(&self, record: &Record) -> Result<bool, Refusal> {
        let (activity, entry) = (&record.activity, &record.entry);
        let came = matches!(entry.stream, Stream::Inbox(_)) && entry.first;
        let base = &self.kernel.options().base;
        if !came || entry.meta.backfilled || base.is_local(activity.actor()) {
            return Ok(false);
        }
        if moves::target(activity).is_none() {
            return Ok(false);
        }
        let state = self.kernel.log().state();
        let followers =
            Graph::new(GRAPH).followers_at(state, activity.actor(), base.as_str(), None, 1)?;
        Ok(!followers.is_empty())
    }
}

/// Whether another attempt may have another end.
fn may_pass(refusal: &Refusal) -> bool {
    matches!(
        refusal.problem,
        Problem::UpstreamFailed | Problem::Busy | Problem::StorageFull | Problem::StorePoisoned
    )
}

#[async_trait]
impl Follower for MoveChecks {
    fn name(&self) -> &'static str {
        "move-checks"
    }

    async fn act(&self, record: &Record) -> Result<(), Refusal> {
        if !self.is_wanted(record)? {
            return Ok(());
        }
        if self.ledgers.scan(PENDING, None, MAX_PENDING)?.len() >= MAX_PENDING {
            tracing::warn!(cid = %record.entry.cid, "too many Moves wait; this one is left alone");
            return Ok(());
        }
        let place = Self::place(&record.entry.cid);
        self.ledgers.apply(vec![(place, Some(Vec::new()))])?;
        self.spawn(record.entry.cid);
        Ok(())
    }
}
