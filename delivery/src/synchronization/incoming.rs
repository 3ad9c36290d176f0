//! What another instance says about the followers here.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::{Graph, Relation};
use fedsx_kernel::address::same_origin;
use fedsx_kernel::kernel::{Kernel, Publish};
use fedsx_kernel::log::Once;
use fedsx_kernel::rules::Hosted;
use fedsx_kernel::{Cid, Problem, Refusal};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::{MAX_FOLLOWERS, Partial, Statement, followers_at};
use crate::client::{Client, budgeted};
use crate::discovery::{Discovery, Memory, fetch};
use crate::service::Options;

/// Requests that one synchronisation may cause: the list, its pages and a knock more.
const FETCHES: u32 = 8;
/// The most pages of a list that are read.
const MAX_PAGES: usize = 4;
/// Synchronisations that may be under way. More are left: the next delivery says it again.
const AT_ONCE: usize = 2;
/// Actors whose last synchronisation is remembered.
const REMEMBERED: u64 = 10_000;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Brings follows in line with what others know of them; cheap to clone.
#[derive(Clone)]
pub(crate) struct Synchronizer {
    inner: Arc<Inner>,
}

struct Inner {
    kernel: Kernel,
    discovery: Discovery,
    client: Client,
    /// Actors whose lists were fetched a short while ago.
    recent: Memory<()>,
    permits: Arc<Semaphore>,
}

impl Synchronizer {
    pub fn new(kernel: Kernel, discovery: Discovery, client: Client, options: &Options) -> Self {
        let clock = kernel.runtime().clock.clone();
        let recent = Memory::new(REMEMBERED, options.synchronise_pause, clock);
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        Self { inner: Arc::new(Inner { kernel, discovery, client, recent, permits }) }
    }

    /// An actor elsewhere, whose signature held, says who follows it here. `cause` is what it
    /// delivered with that.
    pub fn heard(&self, actor: String, statement: Statement, cause: Cid) {
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(refusal) = this.see_to(&actor, statement, cause).await {
                tracing::info!(%actor, %refusal, "followers were not synchronised");
            }
        });
    }

    async fn see_to(&self, actor: &str, statement: Statement, cause: Cid) -> Result<(), Refusal> {
        let (inner, id) = (self.inner.clone(), actor.to_owned());
        let said = statement.clone();
        let before = self.read(move || inner.differs(&id, &said)).await?;
        let Some(before) = before else { return Ok(()) };
        let Ok(_permit) = self.inner.permits.clone().try_acquire_owned() else { return Ok(()) };
        if self.inner.recent.get(actor).is_some() {
            return Ok(());
        }
        self.inner.recent.put(actor, ());
        let listed = budgeted(FETCHES, self.listed(actor, &statement.url)).await?;
        let (inner, id) = (self.inner.clone(), actor.to_owned());
        let requests = self.read(move || inner.corrections(&id, &before, &listed)).await?;
        tracing::info!(%actor, count = requests.len(), "followers are synchronised");
        for mut publish in requests {
            publish.cause = Some(cause);
            match self.inner.kernel.publish(publish).await {
                Ok(_) => {}
                // It was undone meanwhile, or its author is at an end.
                Err(refusal) => tracing::info!(%actor, %refusal, "a Follow was not corrected"),
            }
        }
        Ok(())
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let read = self.inner.kernel.runtime().run(work).await;
        read.map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?
    }

    /// The followers here that the other instance lists.
    async fn listed(&self, actor: &str, url: &str) -> Result<BTreeSet<String>, Refusal> {
        let signer = self.inner.discovery.instance_signer().await;
        let base = &self.inner.kernel.options().base;
        let bad = |what: &str| Refusal::new(Problem::UpstreamFailed, format!("{url}: {what}"));
        let (mut listed, mut next) = (BTreeSet::new(), Some(url.to_owned()));
        for _ in 0..MAX_PAGES {
            let Some(page) = next.take() else { return Ok(listed) };
            if !same_origin(&page, actor) {
                return Err(bad("it goes on at another origin"));
            }
            let fetched = fetch::document(&self.inner.client, &page, signer.as_ref()).await?;
            if !same_origin(&fetched.final_url, actor) {
                return Err(bad("it was served by another origin"));
            }
            let items = ["orderedItems", "items"].map(|name| fetched.value.get(name));
            let items = items.into_iter().flatten().next().and_then(Value::as_array);
            let id = fedsx_kernel::activity::id_of;
            let ids = items.into_iter().flatten().filter_map(id);
            listed.extend(ids.filter(|id| base.is_local(id)).map(str::to_owned));
            if listed.len() > MAX_FOLLOWERS {
                return Err(bad("it is too long"));
            }
            let follow = if items.is_some() { "next" } else { "first" };
            next = fetched.value.get(follow).and_then(id).map(str::to_owned);
            if items.is_none() && next.is_none() {
                return Err(bad("it is no collection"));
            }
        }
        if next.is_some() { Err(bad("it has too many pages")) } else { Ok(listed) }
    }
}

impl Inner {
    /// The followers here, where they are not those that the other instance means.
    fn differs(&self, actor: &str, said: &Statement) -> Result<Option<Vec<String>>, Refusal> {
        let state = self.kernel.log().state();
        let held = fedsx_genesis::actors::held(state, actor)?;
        let document = held.as_ref().map(|held| held.document());
        let collection = document.and_then(|document| document.get("followers"));
        let collection = collection.and_then(fedsx_kernel::activity::id_of);
        if collection != Some(said.collection.as_str()) || !same_origin(&said.url, actor) {
            return Err(Refusal::new(Problem::WrongOrigin, "that is not its collection"));
        }
        let base = self.kernel.options().base.as_str();
        let followers = followers_at(&Graph::new(GRAPH), state, actor, base)?;
        Ok(followers.filter(|ids| Partial::of(ids.iter().map(String::as_str)) != said.digest))
    }

    /// What brings both ends together: whoever followed before the list was made and is not in it
    /// ends that Follow; whoever is in it and does not follow says that.
    fn corrections(
        &self,
        actor: &str,
        before: &[String],
        listed: &BTreeSet<String>,
    ) -> Result<Vec<Publish>, Refusal> {
        let (graph, state) = (Graph::new(GRAPH), self.kernel.log().state());
        let day = self.kernel.runtime().clock.now_ms().div_euclid(DAY_MS);
        let mut requests = Vec::new();
        for follower in before.iter().filter(|id| !listed.contains(*id)) {
            if graph.relation(state, follower, actor)? != Relation::Accepted {
                continue;
            }
            let Some(follow) = graph.follow_id(state, follower, actor)? else { continue };
            let undo = json!({ "type": "Undo", "object": follow });
            requests.extend(self.as_actor(follower, undo, None)?);
        }
        for follower in listed {
            // What waits for an answer is not known to be unwanted, and may be answered yet.
            if graph.relation(state, follower, actor)? != Relation::None {
                continue;
            }
            // The id of the Follow that they mean is not known here any more. Once a day, for those
            // that do not listen.
            let follow = json!({ "type": "Follow", "actor": follower, "object": actor });
            let undo = json!({ "type": "Undo", "object": follow, "to": [actor] });
            let key = format!("synchronised\n{follower}\n{actor}\n{day}");
            let once = Once { key, fingerprint: None };
            requests.extend(self.as_actor(follower, undo, Some(once))?);
        }
        Ok(requests)
    }

    fn as_actor(
        &self,
        id: &str,
        request: Value,
        once: Option<Once>,
    ) -> Result<Option<Publish>, Refusal> {
        let Some(name) = self.kernel.options().base.name_of(id) else { return Ok(None) };
        if self.kernel.rules().hosted(self.kernel.log().state(), &name)? != Hosted::Active {
            return Ok(None);
        }
        let request = match request {
            Value::Object(request) => request,
            _ => Map::new(),
        };
        Ok(Some(Publish { actor: name, request, once, cause: None, defines: false }))
    }
}
