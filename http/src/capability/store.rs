//! What the instance remembers of capability tokens: which were revoked, and how often counted
//! ones were used. The tokens themselves are kept by those who hold them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use biscuit_auth::{KeyPair, PublicKey};
use fedsx_kernel::ActorName;
use fedsx_kernel::log::{StoreError, Table};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::tokens::Scope;
use jiff::Timestamp;
use moka::sync::Cache;
use serde_json::{Map, Value};

use super::known::{Blocks, KNOWN, Known};
use super::{Capability, CapabilityError, MAX_TOKEN_BYTES, key_pair, make, refuse};

/// Where names of revoked blocks stand in the ledger.
const REVOKED: &[u8] = b"capability-revoked\0";
/// Where counters stand.
const USES: &[u8] = b"capability-uses\0";
/// No capability is as short as this: it has a signature and two keys.
const MIN_TOKEN_BYTES: usize = 150;
/// Revoked blocks at most.
pub(super) const MAX_REVOKED: usize = 100_000;
/// Tokens of which it is remembered for whom they speak.
const REMEMBERED: u64 = 4096;
/// The length of a block's name, in hexadecimal digits.
const ID_DIGITS: usize = 128;

/// The capability tokens of an instance; cheap to clone.
#[derive(Clone)]
pub struct Capabilities {
    pub(super) inner: Arc<Inner>,
    /// How many blocks are revoked at most.
    pub(super) most_revoked: usize,
}

pub(super) struct Inner {
    root: KeyPair,
    pub(super) ledger: Arc<dyn Table>,
    runtime: Runtime,
    /// The names of revoked blocks, with the time where it was kept.
    revoked: RwLock<HashMap<String, Option<Timestamp>>>,
    pub(super) known: RwLock<Blocks>,
    /// For whom tokens speak that were valid, by fingerprint.
    actors: Cache<String, ActorName>,
    counting: Mutex<()>,
}

/// Uses that were counted for a publish; counted back where it is refused.
#[must_use]
pub(crate) struct Spent {
    capabilities: Capabilities,
    keys: Vec<Vec<u8>>,
}

impl Capabilities {
    /// Loads what is remembered. `secret` is that of the root key, and of nothing else.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn load(
        ledger: Arc<dyn Table>,
        secret: &[u8; 32],
        runtime: Runtime,
    ) -> Result<Self, CapabilityError> {
        let mut revoked = HashMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = ledger.scan(REVOKED, after.as_deref(), 500)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            revoked.extend(page.iter().filter_map(|(key, at)| {
                let id = String::from_utf8_lossy(key.get(REVOKED.len()..)?).into_owned();
                Some((id, std::str::from_utf8(at).ok().and_then(|at| at.parse().ok())))
            }));
        }
        let root = key_pair(secret)?;
        let known = RwLock::new(Blocks::load(&*ledger)?);
        let inner = Inner {
            root,
            ledger,
            runtime,
            revoked: RwLock::new(revoked),
            known,
            actors: Cache::new(REMEMBERED),
            counting: Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner), most_revoked: MAX_REVOKED })
    }

    /// Forgets all that a ledger holds of capability tokens, which is right where the key that signed
    /// them is given up: none of them holds any more. Gives how many blocks were known.
    ///
    /// # Errors
    /// Where the ledger fails.
    pub fn forget(ledger: &dyn Table) -> Result<u64, StoreError> {
        let mut known = 0;
        for prefix in [REVOKED, USES, KNOWN] {
            let removed = ledger.remove_all(prefix)?;
            known += if prefix == KNOWN { removed } else { 0 };
        }
        Ok(known)
    }

    /// The key that checks tokens of this instance, as `ed25519/<hexadecimal>`.
    pub fn public_key(&self) -> String {
        self.public().print()
    }

    fn public(&self) -> PublicKey {
        self.inner.root.public()
    }

    /// Makes a token (base64url). Only the name of its block is kept, and what it was made for.
    ///
    /// # Errors
    /// Where the library refuses, or the ledger fails.
    pub fn issue(
        &self,
        actor: &ActorName,
        scopes: &[Scope],
        expires: Option<Timestamp>,
        label: &str,
    ) -> Result<(String, Vec<String>), CapabilityError> {
        let biscuit = make(&self.inner.root, actor, scopes, expires, &self.inner.runtime)?;
        let ids: Vec<_> = biscuit.revocation_identifiers().iter().map(hex::encode).collect();
        let known = Known {
            actor: actor.clone(),
            scopes: scopes.to_vec(),
            parent: None,
            label: label.to_owned(),
            since: self.inner.runtime.clock.now(),
            expires,
        };
        self.learn(&ids, &known)?;
        Ok((biscuit.to_base64()?, ids))
    }

    /// Whether a bearer token that is not known may be a capability: these are never short.
    pub(crate) fn may_be_one(text: &str) -> bool {
        text.len() > MIN_TOKEN_BYTES
    }

    /// Reads a token that was presented.
    pub(crate) fn open(&self, text: &str) -> Result<Capability, Refusal> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(refuse("known", "the token is not known here"));
        }
        let now = self.inner.runtime.clock.now();
        let capability = Capability::open(text, self.public(), now)?;
        let revoked = self.inner.revoked.read().unwrap_or_else(PoisonError::into_inner);
        let ids = capability.revocation_ids();
        if let Some(block) = ids.iter().position(|id| revoked.contains_key(id)) {
            return Err(refuse("revocation", format!("block {block} was revoked")));
        }
        drop(revoked);
        self.note(&capability, now);
        Ok(capability)
    }

    /// For whom a token speaks, where it is valid; remembered under a fingerprint of it.
    pub(crate) fn actor_of(&self, fingerprint: String, text: &str) -> Option<ActorName> {
        if let Some(actor) = self.inner.actors.get(&fingerprint) {
            return Some(actor);
        }
        let actor = self.open(text).ok()?.grant().actor.clone();
        self.inner.actors.insert(fingerprint, actor.clone());
        Some(actor)
    }

    /// When a block was revoked; the epoch where that was not kept.
    pub(crate) fn revoked(&self, id: &str) -> Option<Timestamp> {
        let revoked = self.inner.revoked.read().unwrap_or_else(PoisonError::into_inner);
        revoked.get(id).map(|at| at.unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// Ends every token with this block; gives when. Durable after the log's next sync.
    pub(crate) fn revoke(&self, id: &str) -> Result<Timestamp, Refusal> {
        let id = id.to_ascii_lowercase();
        if id.len() != ID_DIGITS || !id.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(Refusal::new(Problem::NotFound, "no block has such a name"));
        }
        let mut revoked = self.inner.revoked.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(at)) = revoked.get(&id) {
            return Ok(*at);
        }
        let most = self.most_revoked;
        if revoked.len() >= most {
            let detail = format!("{most} are revoked; change the master key instead");
            return Err(Refusal::new(Problem::Conflict, detail));
        }
        let key = [REVOKED, id.as_bytes()].concat();
        let now = self.inner.runtime.clock.now();
        self.inner.ledger.apply(vec![(key, Some(now.to_string().into_bytes()))])?;
        revoked.insert(id, Some(now));
        // A token that ended is nobody's any more.
        self.inner.actors.invalidate_all();
        Ok(now)
    }

    /// Whether a block's name has the form of one.
    pub(crate) fn is_id(id: &str) -> bool {
        id.len() == ID_DIGITS
    }

    /// Judges a publish, and counts it where blocks of the token count.
    pub(crate) fn spend(
        &self,
        capability: &Capability,
        request: &Map<String, Value>,
    ) -> Result<Spent, Refusal> {
        let _counting = self.counting();
        let now = self.inner.runtime.clock.now();
        // Counters of different tokens are apart, even where their names are the same.
        let family = capability.revocation_ids().into_iter().next().unwrap_or_default();
        let key = |name: &str| [USES, family.as_bytes(), b"\0", name.as_bytes()].concat();
        let mut uses = Vec::new();
        for name in &capability.counters {
            uses.push((name.clone(), self.uses(&key(name))?));
        }
        capability.publish(request, now, &uses)?;
        let writes = uses
            .iter()
            .map(|(name, uses)| (key(name), Some(uses.saturating_add(1).to_be_bytes().to_vec())));
        self.inner.ledger.apply(writes.collect())?;
        let keys = capability.counters.iter().map(|name| key(name)).collect();
        Ok(Spent { capabilities: self.clone(), keys })
    }

    fn uses(&self, key: &[u8]) -> Result<u64, StoreError> {
        let held = self.inner.ledger.get(key)?;
        Ok(held.and_then(|held| held.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    fn counting(&self) -> MutexGuard<'_, ()> {
        self.inner.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spent {
    /// Counts back what a refused request had counted.
    pub(crate) fn give_back(self) -> Result<(), StoreError> {
        let _counting = self.capabilities.counting();
        let mut writes = Vec::new();
        for key in self.keys {
            let uses = self.capabilities.uses(&key)?.saturating_sub(1);
            writes.push((key, Some(uses.to_be_bytes().to_vec())));
        }
        self.capabilities.inner.ledger.apply(writes)
    }
}
