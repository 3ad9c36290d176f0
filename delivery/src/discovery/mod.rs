//! Finding actors of other instances: WebFinger, actor documents, key histories.
//!
//! A document that differs from the last one is recorded in the log, from where the admission
//! folds take the actor's keys; what is known is therefore state, and the caches here only
//! say when to ask again.

mod document;
pub(crate) mod fetch;
mod flights;
mod history;
mod lifetime;
mod memory;
mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fedsx_kernel::kernel::{KernelOptions, KeySource};
use fedsx_kernel::keys::KeyRing;
use fedsx_kernel::log::Log;
use fedsx_kernel::rules::{Hosted, Rules};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::{Problem, Refusal, origin_of};
use serde_json::Value;

use crate::client::{Client, ClientError};
use crate::webfinger::{self, Account, LookupError};
use flights::Flights;
use lifetime::Bounds;
pub(crate) use memory::Memory;

pub use crate::client::budgeted;
pub use sign::{KeySigner, SignerError};

/// The member of a refusal that holds the status with which the origin answered.
pub const UPSTREAM_STATUS: &str = "upstreamStatus";

/// Configuration of discovery.
#[derive(Clone, Debug)]
pub struct DiscoveryOptions {
    /// How long a document is taken for current whose server does not say.
    pub actor_ttl: Duration,
    /// How long a failure is remembered.
    pub negative_ttl: Duration,
    /// How long an account's actor is remembered where its server does not say.
    pub account_ttl: Duration,
    /// The shortest of the lifetimes that servers may ask for.
    pub least_ttl: Duration,
    /// The longest of them.
    pub most_ttl: Duration,
    /// How long fetching one actor may take, key history included.
    pub fetch_timeout: Duration,
    /// The least time between two fetches of one actor; who asks sooner waits.
    pub fetch_pause: Duration,
    /// Entries in each cache.
    pub cached: u64,
    /// The largest actor document, in bytes.
    pub max_document_bytes: usize,
}

impl Default for DiscoveryOptions {
    fn default() -> Self {
        Self {
            actor_ttl: Duration::from_secs(24 * 3600),
            negative_ttl: Duration::from_secs(60),
            account_ttl: Duration::from_secs(3600),
            least_ttl: Duration::from_secs(300),
            most_ttl: Duration::from_secs(24 * 3600),
            fetch_timeout: Duration::from_secs(5),
            fetch_pause: Duration::from_secs(1),
            cached: 50_000,
            max_document_bytes: 256 * 1024,
        }
    }
}

impl DiscoveryOptions {
    fn bounds_of_actors(&self) -> Bounds {
        Bounds { usual: self.actor_ttl, least: self.least_ttl, most: self.most_ttl }
    }

    fn bounds_of_accounts(&self) -> Bounds {
        Bounds { usual: self.account_ttl, least: self.least_ttl, most: self.most_ttl }
    }
}

/// What discovery works with.
pub struct DiscoveryParts {
    /// The way out.
    pub client: Client,
    /// The log, where documents are recorded.
    pub log: Log,
    /// Who the instance is.
    pub kernel_options: KernelOptions,
    /// Clock, randomness, blocking pool.
    pub runtime: Runtime,
    /// Who knows the keys of actors.
    pub rules: Arc<dyn Rules>,
    /// The private keys, to sign fetches.
    pub ring: KeyRing,
}

/// Finds actors of other instances; cheap to clone.
#[derive(Clone)]
pub struct Discovery {
    inner: Arc<Inner>,
}

struct Inner {
    options: DiscoveryOptions,
    parts: DiscoveryParts,
    flights: Flights<Result<(), Refusal>>,
    /// When actors were fetched last, in milliseconds since 1970.
    fetched: Memory<i64>,
    failed: Memory<Refusal>,
    accounts: Memory<String>,
    unresolved: Memory<Refusal>,
    secrets: sign::Secrets,
}

impl Discovery {
    /// Puts discovery together.
    pub fn new(parts: DiscoveryParts, options: DiscoveryOptions) -> Self {
        let clock = || parts.runtime.clock.clone();
        let inner = Inner {
            flights: Flights::default(),
            fetched: Memory::new(options.cached, options.actor_ttl, clock()),
            failed: Memory::new(options.cached, options.negative_ttl, clock()),
            accounts: Memory::new(options.cached, options.account_ttl, clock()),
            unresolved: Memory::new(options.cached, options.negative_ttl, clock()),
            secrets: sign::Secrets::new(&parts.runtime),
            options,
            parts,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The document of an actor, local or not: the one that is known while it is current, else
    /// a fetched one. Where fetching fails, a known one still serves.
    ///
    /// # Errors
    /// `upstream-failed` where the origin cannot be reached, `forbidden-address` where it may not
    /// be, `unknown-key` where it has no fitting document (with [`UPSTREAM_STATUS`] where it
    /// said so), `unknown-actor` for an absent actor of ours.
    pub async fn actor(&self, id: &str) -> Result<Value, Refusal> {
        if self.inner.parts.kernel_options.base.is_local(id) {
            return self.known(id).await?.ok_or_else(|| {
                Refusal::new(Problem::UnknownActor, format!("there is no actor {id}"))
            });
        }
        if self.inner.fetched.get(id).is_some()
            && let Some(document) = self.known(id).await?
        {
            return Ok(document);
        }
        match self.refresh(id).await {
            Ok(()) => self.known(id).await?.ok_or_else(|| {
                Refusal::new(Problem::UnknownKey, format!("the document of {id} was not taken"))
            }),
            Err(refusal) if refusal.problem == Problem::UpstreamFailed => {
                self.known(id).await?.ok_or(refusal)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// The actor of an account. That the actor names the account in return is still to be seen
    /// from its document.
    ///
    /// # Errors
    /// `unknown-actor` where the host knows no such account, `upstream-failed` and
    /// `forbidden-address` as for [`Discovery::actor`].
    pub async fn resolve(&self, account: &Account) -> Result<String, Refusal> {
        let (parts, key) = (&self.inner.parts, account.to_string());
        let base = &parts.kernel_options.base;
        if account.host.eq_ignore_ascii_case(base.authority()) {
            let unknown = || Refusal::new(Problem::UnknownActor, format!("there is no {key}"));
            let name = account.name.parse().map_err(|_| unknown())?;
            return match parts.rules.hosted(parts.log.state(), &name)? {
                Hosted::Active | Hosted::Suspended => Ok(base.actor(&name)),
                Hosted::Absent => Err(unknown()),
                Hosted::Deleted => {
                    Err(Refusal::new(Problem::ActorGone, format!("{key} was deleted")))
                }
            };
        }
        if let Some(refusal) = self.inner.unresolved.get(&key) {
            return Err(refusal);
        }
        if let Some(found) = self.inner.accounts.get(&key) {
            return Ok(found);
        }
        match webfinger::lookup(&parts.client, account).await {
            Ok(found) => {
                let ttl = self.inner.options.bounds_of_accounts().lifetime(&found.headers);
                self.inner.accounts.put_for(&key, found.actor_url.clone(), ttl);
                Ok(found.actor_url)
            }
            Err(error) => {
                let refusal = match &error {
                    LookupError::Client(
                        error @ (ClientError::BudgetSpent | ClientError::Blocked { .. }),
                    ) => return Err(fetch::refusal_of(&key, error)),
                    LookupError::Client(error) => fetch::refusal_of(&key, error),
                    LookupError::NotFound(_) => {
                        Refusal::new(Problem::UnknownActor, error.to_string())
                    }
                    other => Refusal::new(Problem::UpstreamFailed, other.to_string()),
                };
                self.inner.unresolved.put(&key, refusal.clone());
                Err(refusal)
            }
        }
    }

    /// Fetches one activity or object from its origin, signed by the instance actor. The `id`
    /// inside is the URL that was fetched.
    ///
    /// # Errors
    /// As for [`Discovery::actor`], and `wrong-origin` where the id is another one.
    pub async fn activity(&self, url: &str) -> Result<Vec<u8>, Refusal> {
        let signer = self.instance_signer().await;
        let fetched = fetch::document(&self.inner.parts.client, url, signer.as_ref()).await?;
        document::check_identity(&fetched.value, url, &fetched.final_url)
            .map_err(|reason| Refusal::new(Problem::WrongOrigin, format!("{url}: {reason}")))?;
        Ok(fetched.bytes)
    }

    /// Fetches one document from its origin for an actor of ours, whose request it is signed as.
    /// The `id` inside is the URL that was fetched.
    ///
    /// # Errors
    /// As for [`Discovery::activity`].
    pub async fn object(&self, url: &str, reader: &str) -> Result<Value, Refusal> {
        let signer = self.signer(reader).await;
        let signer = signer.map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
        let fetched = fetch::document(&self.inner.parts.client, url, Some(&signer)).await?;
        document::check_identity(&fetched.value, url, &fetched.final_url)
            .map_err(|reason| Refusal::new(Problem::WrongOrigin, format!("{url}: {reason}")))?;
        Ok(fetched.value)
    }

    /// What signs requests as the instance; `None` while the instance has no key.
    pub async fn instance_signer(&self) -> Option<KeySigner> {
        let options = &self.inner.parts.kernel_options;
        let signer = self.signer(&options.base.actor(&options.instance)).await;
        signer.inspect_err(|error| tracing::debug!(%error, "requests are not signed")).ok()
    }

    /// As [`Discovery::instance_signer`]. Blocks.
    pub(crate) fn instance_signer_now(&self) -> Option<KeySigner> {
        let options = &self.inner.parts.kernel_options;
        let signer = self.signer_now(&options.base.actor(&options.instance));
        signer.inspect_err(|error| tracing::debug!(%error, "requests are not signed")).ok()
    }

    /// As [`Discovery::signer`]. Blocks.
    pub(crate) fn signer_now(&self, actor: &str) -> Result<KeySigner, SignerError> {
        self.inner.secrets.signer(&self.inner.parts, actor)
    }

    /// What signs requests as an actor of ours, where that was asked since the log grew last.
    pub(crate) fn signer_kept(&self, actor: &str) -> Option<KeySigner> {
        self.inner.secrets.kept(&self.inner.parts, actor)
    }

    /// What something reads of the document of an actor elsewhere while that is current; `None` where it would be
    /// fetched. Blocks.
    pub(crate) fn current<T>(
        &self,
        id: &str,
        read: impl FnOnce(&Value) -> T,
    ) -> Result<Option<T>, Refusal> {
        if self.inner.fetched.get(id).is_none() {
            return Ok(None);
        }
        let held = fedsx_genesis::actors::held(self.inner.parts.log.state(), id)?;
        Ok(held.map(|held| read(held.document())))
    }

    /// What signs requests as an actor of ours, by its current keys for HTTP signatures.
    ///
    /// # Errors
    /// Where it has no such key, or the private half cannot be had.
    pub async fn signer(&self, actor: &str) -> Result<KeySigner, SignerError> {
        let (inner, actor) = (self.inner.clone(), actor.to_owned());
        let runtime = inner.parts.runtime.clone();
        runtime.run(move || inner.secrets.signer(&inner.parts, &actor)).await?
    }

    /// The last document that is known of an actor.
    async fn known(&self, id: &str) -> Result<Option<Value>, Refusal> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        let runtime = inner.parts.runtime.clone();
        let read = move || fedsx_genesis::actors::document(inner.parts.log.state(), &id);
        let read = runtime.run(read).await;
        Ok(read.map_err(|e| Refusal::new(Problem::Internal, e.to_string()))??)
    }
}

#[async_trait]
impl KeySource for Discovery {
    async fn refresh(&self, actor: &str) -> Result<(), Refusal> {
        if origin_of(actor).is_none() {
            return Err(Refusal::new(Problem::UnknownKey, format!("{actor:?} is no actor id")));
        }
        if self.inner.parts.kernel_options.base.is_local(actor) {
            return Ok(());
        }
        if let Some(refusal) = self.inner.failed.get(actor) {
            return Err(refusal);
        }
        let (this, id) = (self.clone(), actor.to_owned());
        let flight = || async move { document::bring(&this.inner, &id).await };
        let landed = self.inner.flights.join(actor, flight).await;
        landed.unwrap_or_else(|| {
            Err(Refusal::new(Problem::Internal, "fetching the actor ended abnormally"))
        })
    }
}
