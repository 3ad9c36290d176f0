//! What an Announce passes on, fetched from its origin.
//!
//! An Announce names an object, and ours also name the CID of the activity that stated it. Where
//! somebody here follows who announces, and that is not held, it is fetched from its origin,
//! signed by the instance actor, so only what anyone may read. An activity counts when its CID is
//! the one that was announced, if one was, and its author vouches for it. A bare object counts
//! when its origin serves it under its own id, as by an author of that origin; it is kept in a
//! `Create` that we make around it. Both are recorded in the `local` stream: they were delivered to
//! nobody here.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fedsx_genesis::actors::is_actor_type;
use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::follower::Follower;
use fedsx_genesis::graph::{Graph, Relation};
use fedsx_genesis::readers::is_for_anyone;
use fedsx_genesis::records::ACTIVITY_FETCHED;
use fedsx_kernel::activity::{ids_in, kind_of};
use fedsx_kernel::address::{origin_of, same_origin};
use fedsx_kernel::log::{Once, Record, Stream};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::{Activity, Cid, Kernel, json};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::discovery::{Discovery, budgeted};

/// Fetches that are under way.
const AT_ONCE: usize = 8;
/// Announces that wait for what they pass on; further ones are left alone.
const MAX_WAITING: usize = 256;
/// Requests that one Announce causes with each attempt.
const FETCHES: u32 = 4;
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
    waiting: Arc<Semaphore>,
}

/// What is to be fetched.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    url: String,
    /// The activity that was announced, where the Announce says which.
    cid: Option<Cid>,
}

impl Wanted {
    /// Fetched once, whoever announces it.
    fn once_key(&self) -> String {
        match &self.cid {
            Some(cid) => format!("fetched\n{cid}"),
            None => format!("fetched\n{}", self.url),
        }
    }
}

impl Announced {
    /// For a node.
    pub fn new(kernel: Kernel, discovery: Discovery) -> Self {
        let [permits, waiting] = [AT_ONCE, MAX_WAITING].map(|most| Arc::new(Semaphore::new(most)));
        Self { kernel, discovery, permits, waiting }
    }

    /// Where what is announced is, if it is wanted.
    fn wanted(&self, record: &Record) -> Result<Option<Wanted>, Refusal> {
        let Stream::Inbox(receiver) = &record.entry.stream else { return Ok(None) };
        let activity = &record.activity;
        let recent = self.kernel.runtime().clock.now_ms().saturating_sub(RECENT_MS);
        if activity.kind() != "Announce" || record.entry.meta.received_ms < recent {
            return Ok(None);
        }
        let Some(wanted) = passed_on(activity) else { return Ok(None) };
        let options = self.kernel.options();
        let log = self.kernel.log();
        let held = match &wanted.cid {
            Some(cid) => log.activity(cid)?.is_some(),
            None => log.by_id(&wanted.url)?.is_some(),
        };
        if options.base.is_local(&wanted.url)
            || held
            || log.store().once(&wanted.once_key())?.is_some()
        {
            return Ok(None);
        }
        let follows = Graph::new(GRAPH).relation(
            log.state(),
            &options.base.actor(receiver),
            activity.actor(),
        )? == Relation::Accepted;
        Ok(follows.then_some(wanted))
    }

    async fn see_to(&self, wanted: &Wanted) {
        let url = &wanted.url;
        for pause in PAUSES_S.map(Some).into_iter().chain([None]) {
            let outcome = match self.permits.acquire().await {
                Ok(_permit) => budgeted(FETCHES, self.fetch(wanted)).await,
                Err(_) => return,
            };
            match outcome {
                Ok(()) => return,
                Err(refusal) => match pause.filter(|_| may_pass(&refusal)) {
                    Some(pause) => {
                        if !crate::pause::pause(&self.kernel, Duration::from_secs(pause)).await {
                            return;
                        }
                    }
                    None => {
                        tracing::info!(%url, %refusal, "what was announced is not to be had");
                        return;
                    }
                },
            }
        }
    }

    async fn fetch(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let url = wanted.url.as_str();
        // Nothing is asked of whom the instance blocks.
        self.kernel.rules().sender(self.kernel.log().state(), url, None)?;
        let body = self.discovery.activity(url).await?;
        if body.len() > MAX_BYTES {
            return Err(Refusal::new(Problem::TooLarge, format!("{url} is too large to keep")));
        }
        let invalid = |detail: String| Refusal::new(Problem::InvalidActivity, detail);
        let document = json::parse(&body).map_err(|e| invalid(format!("{url}: {e}")))?;
        let is_activity = wanted.cid.is_some() || document.get("actor").is_some();
        let mut content = Map::new();
        let (activity, vouched_by) = if is_activity {
            self.kernel.vouch(&body, url).await?
        } else {
            content.insert("wrapped".into(), true.into());
            (wrapped(document, url).map_err(invalid)?, format!("fetch:{url}"))
        };
        self.kernel.rules().sender(self.kernel.log().state(), activity.actor(), None)?;
        if wanted.cid.is_some_and(|cid| activity.cid() != &cid) {
            let found = activity.cid();
            return Err(invalid(format!("{url} has the CID {found}, another was announced")));
        }
        if !is_for_anyone(&activity) {
            return Err(Refusal::new(Problem::NotFound, format!("{url} is not for everyone")));
        }
        content.insert("type".into(), ACTIVITY_FETCHED.into());
        content.insert("object".into(), Value::Object(activity.document().clone()));
        content.insert("vouchedBy".into(), vouched_by.into());
        let once = Once { key: wanted.once_key(), fingerprint: None };
        self.kernel.record(content, Some(once)).await.map(|_| ())
    }
}

/// What an Announce passes on.
fn passed_on(announce: &Activity) -> Option<Wanted> {
    let object = announce.object_id()?;
    let origin = origin_of(object)?;
    let named = announce.get("objectCid").and_then(Value::as_str);
    let in_id = object.rsplit_once("/activities/").map(|(_, cid)| cid);
    let cid: Option<Cid> = match named {
        Some(named) => Some(named.parse().ok()?),
        None => in_id.and_then(|cid| cid.parse().ok()),
    };
    Some(match cid {
        Some(cid) => Wanted { url: format!("{origin}/activities/{cid}"), cid: Some(cid) },
        None => Wanted { url: object.to_owned(), cid: None },
    })
}

/// An object as its origin serves it, in a `Create` by its author. The id of that is none that the
/// author gave; it names the object and says that it was fetched.
fn wrapped(document: Value, url: &str) -> Result<Activity, String> {
    let members = document.as_object().ok_or("it is not an object")?;
    let kind = kind_of(members).ok_or("it has no type")?;
    if is_actor_type(kind) || members.contains_key("inbox") {
        return Err(format!("{url} is an actor"));
    }
    let authors = ids_in(members.get("attributedTo"));
    let author = authors.first().filter(|author| same_origin(author, url));
    let author = author.ok_or("it is attributed to nobody of its origin")?;
    let mut create = Map::new();
    create.insert("type".into(), "Create".into());
    create.insert("id".into(), format!("{url}#fetched").into());
    create.insert("actor".into(), Value::from(*author));
    for member in ["to", "cc", "published"] {
        if let Some(value) = members.get(member) {
            create.insert(member.into(), value.clone());
        }
    }
    create.insert("object".into(), document);
    Activity::from_document(Value::Object(create)).map_err(|e| e.to_string())
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
        let Some(wanted) = self.wanted(record)? else { return Ok(()) };
        let Ok(place) = self.waiting.clone().try_acquire_owned() else {
            tracing::warn!(url = wanted.url, "too much is announced; this is left alone");
            return Ok(());
        };
        let this = self.clone();
        tokio::spawn(async move {
            this.see_to(&wanted).await;
            drop(place);
        });
        Ok(())
    }
}
