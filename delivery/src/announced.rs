//! What an Announce passes on, fetched from its origin.
//!
//! An Announce names an object, and the CID of the activity that stated it. Where somebody here
//! follows who announces, and that activity is not held, it is fetched from the origin of the
//! object, signed by the instance actor, so only what anyone may read. It counts when its CID is
//! the one that was announced and its author vouches for it, and is recorded in the `local`
//! stream: it was delivered to nobody here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::follower::Follower;
use fedsx_genesis::graph::{Graph, Relation};
use fedsx_genesis::records::ACTIVITY_FETCHED;
use fedsx_genesis::rules::is_public;
use fedsx_kernel::address::origin_of;
use fedsx_kernel::log::{Once, Record, Stream};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::{Activity, Cid, Kernel};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::discovery::Discovery;

/// Fetches that are under way.
const AT_ONCE: usize = 8;
/// Pauses between attempts.
const PAUSES_S: [u64; 3] = [2, 10, 60];
/// Announces that came longer ago are left alone: a new reader of an old log asks nobody.
const RECENT_MS: i64 = 24 * 3600 * 1000;
/// The largest activity that is recorded, in bytes of JSON.
const MAX_BYTES: usize = 256 * 1024;

/// Fetches what is announced to actors hosted here.
#[derive(Clone)]
pub struct Announced {
    kernel: Kernel,
    discovery: Discovery,
    permits: Arc<Semaphore>,
}

impl Announced {
    /// For a node.
    pub fn new(kernel: Kernel, discovery: Discovery) -> Self {
        Self { kernel, discovery, permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Where the announced activity is, if it is wanted.
    fn wanted(&self, record: &Record) -> Result<Option<(String, Cid)>, Refusal> {
        let Stream::Inbox(receiver) = &record.entry.stream else { return Ok(None) };
        let activity = &record.activity;
        let recent = self.kernel.runtime().clock.now_ms().saturating_sub(RECENT_MS);
        if activity.kind() != "Announce" || record.entry.meta.received_ms < recent {
            return Ok(None);
        }
        let Some((url, cid)) = passed_on(activity) else { return Ok(None) };
        let options = self.kernel.options();
        let log = self.kernel.log();
        if options.base.is_local(&url) || log.activity(&cid)?.is_some() {
            return Ok(None);
        }
        let follows = Graph::new(GRAPH).relation(
            log.state(),
            &options.base.actor(receiver),
            activity.actor(),
        )? == Relation::Accepted;
        Ok(follows.then_some((url, cid)))
    }

    async fn see_to(&self, url: String, cid: Cid) {
        for pause in PAUSES_S.map(Some).into_iter().chain([None]) {
            match self.fetch(&url, &cid).await {
                Ok(()) => return,
                Err(refusal) => match pause.filter(|_| may_pass(&refusal)) {
                    Some(pause) => {
                        self.kernel.runtime().clock.sleep(Duration::from_secs(pause)).await;
                    }
                    None => {
                        tracing::info!(%url, %refusal, "what was announced is not to be had");
                        return;
                    }
                },
            }
        }
    }

    async fn fetch(&self, url: &str, cid: &Cid) -> Result<(), Refusal> {
        let body = self.discovery.activity(url).await?;
        if body.len() > MAX_BYTES {
            return Err(Refusal::new(Problem::TooLarge, format!("{url} is too large to keep")));
        }
        let (activity, vouched_by) = self.kernel.vouch(&body, url).await?;
        if activity.cid() != cid {
            return Err(Refusal::new(
                Problem::InvalidActivity,
                format!("{url} has the CID {}, another was announced", activity.cid()),
            ));
        }
        if !activity.audience().iter().any(|id| is_public(id)) {
            return Err(Refusal::new(Problem::NotFound, format!("{url} is not for everyone")));
        }
        let mut content = Map::new();
        content.insert("type".into(), ACTIVITY_FETCHED.into());
        content.insert("object".into(), Value::Object(activity.document().clone()));
        content.insert("vouchedBy".into(), vouched_by.into());
        let once = Once { key: format!("fetched\n{cid}"), fingerprint: None };
        self.kernel.record(content, Some(once)).await.map(|_| ())
    }
}

/// The activity that an Announce passes on: where its origin serves it, and its CID.
fn passed_on(announce: &Activity) -> Option<(String, Cid)> {
    let object = announce.object_id()?;
    let named = announce.get("objectCid").and_then(Value::as_str);
    let in_id = object.rsplit_once("/activities/").map(|(_, cid)| cid);
    let cid: Cid = named.or(in_id)?.parse().ok()?;
    Some((format!("{}/activities/{cid}", origin_of(object)?), cid))
}

/// Whether another attempt may have another end.
fn may_pass(refusal: &Refusal) -> bool {
    matches!(
        refusal.problem,
        Problem::UpstreamFailed | Problem::Busy | Problem::NotFound | Problem::StorageFull
    )
}

#[async_trait]
impl Follower for Announced {
    fn name(&self) -> &'static str {
        "announced"
    }

    async fn act(&self, record: &Record) -> Result<(), Refusal> {
        let Some((url, cid)) = self.wanted(record)? else { return Ok(()) };
        let Ok(permit) = self.permits.clone().acquire_owned().await else { return Ok(()) };
        let this = self.clone();
        tokio::spawn(async move {
            this.see_to(url, cid).await;
            drop(permit);
        });
        Ok(())
    }
}
