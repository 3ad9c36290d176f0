//! The tokens of a running instance.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq as _;

use super::record::Record;
use super::{Grant, MAX_ISSUED, NewToken, TokenError, TokenInfo, TokenSpec};
use crate::log::Table;
use crate::refusal::{Problem, Refusal};
use crate::runtime::{Clock, Random};

/// Where issued tokens stand in the ledger, under their hashes.
const PREFIX: &[u8] = b"token\0";
/// What issued secrets begin with, so that they are recognised where they should not be.
const SECRET_PREFIX: &str = "fedsx_";
/// How exactly the ledger knows when a token was used.
const USE_IS_NOTED_EVERY: SignedDuration = SignedDuration::from_mins(15);
/// The longest secret that is looked up, in bytes.
const MAX_SECRET_BYTES: usize = 256;

type Hash = [u8; 32];

/// The tokens of an instance; cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    inner: Arc<Inner>,
    /// How many are kept at most.
    pub(super) most: usize,
}

struct Inner {
    key: Hash,
    ledger: Arc<dyn Table>,
    clock: Arc<dyn Clock>,
    held: RwLock<Held>,
}

#[derive(Default)]
struct Held {
    configured: HashMap<Hash, Grant>,
    issued: HashMap<Hash, Record>,
}

/// A token that was made just now.
pub struct Issued {
    /// What to present; it is shown this once.
    pub secret: String,
    /// Everything else.
    pub info: TokenInfo,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Loads the issued tokens from the ledger. `key` is a secret of the instance.
    ///
    /// # Errors
    /// Where the ledger cannot be read, or holds something else.
    pub fn load(
        ledger: Arc<dyn Table>,
        key: Hash,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TokenError> {
        let damaged = |what: &dyn fmt::Display| TokenError::Damaged(what.to_string());
        let mut issued = HashMap::new();
        let mut of_configurations = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = ledger.scan(PREFIX, after.as_deref(), 500)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (stored, value) in page {
                let hash = stored.get(PREFIX.len()..).and_then(|hash| Hash::try_from(hash).ok());
                let hash = hash.ok_or_else(|| damaged(&"a key is not a hash"))?;
                match serde_json::from_slice::<Record>(&value) {
                    Ok(record) => {
                        issued.insert(hash, record);
                    }
                    // Tokens of configurations were kept here once. They end with the
                    // configuration that has them.
                    Err(_) if serde_json::from_slice::<Grant>(&value).is_ok() => {
                        of_configurations.push((stored, None));
                    }
                    Err(e) => return Err(damaged(&e)),
                }
            }
        }
        if !of_configurations.is_empty() {
            ledger.apply(of_configurations)?;
        }
        let held = RwLock::new(Held { configured: HashMap::new(), issued });
        Ok(Self { inner: Arc::new(Inner { key, ledger, clock, held }), most: MAX_ISSUED })
    }

    /// Takes these tokens of the configuration in place of those that it had before.
    pub fn configure(&self, specs: &[TokenSpec]) {
        let configured = specs.iter().map(|spec| {
            let hash = self.hash(&spec.secret);
            let grant = Grant {
                token_id: id(&hash),
                actor: spec.actor.clone(),
                scopes: spec.scopes.clone(),
            };
            (hash, grant)
        });
        let configured = configured.collect();
        self.write().configured = configured;
    }

    /// Makes a token. Durable after the log's next sync.
    ///
    /// # Errors
    /// Where it cannot be as asked for, there are too many, or the ledger fails.
    pub fn issue(&self, new: NewToken, random: &dyn Random) -> Result<Issued, TokenError> {
        let now = self.inner.clock.now();
        let new = new.checked(now)?;
        let secret = format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(random.bytes::<32>()));
        let hash = self.hash(&secret);
        let record = Record {
            grant: Grant { token_id: id(&hash), actor: new.actor, scopes: new.scopes },
            label: new.label,
            created: now,
            expires: new.expires,
            last_used: None,
            revoked: None,
        };
        let mut held = self.write();
        if held.issued.len() >= self.most {
            self.forget_one(&mut held.issued, now)?;
        }
        self.store(&hash, &record)?;
        let info = TokenInfo::issued(&record);
        held.issued.insert(hash, record);
        Ok(Issued { secret, info })
    }

    /// Forgets the token that ended first: it is as invalid as if it had never been.
    fn forget_one(
        &self,
        issued: &mut HashMap<Hash, Record>,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let ended = |(hash, record): (&Hash, &Record)| Some((record.ended(now)?, *hash));
        let (_, first) =
            issued.iter().filter_map(ended).min().ok_or(TokenError::TooMany(self.most))?;
        self.inner.ledger.apply(vec![([PREFIX, &first].concat(), None)])?;
        issued.remove(&first);
        Ok(())
    }

    /// Ends an issued token at once. Durable after the log's next sync.
    ///
    /// # Errors
    /// Where there is none with this id, it is in the configuration, or the ledger fails.
    pub fn revoke(&self, token_id: &str) -> Result<TokenInfo, TokenError> {
        let mut held = self.write();
        if held.configured.values().any(|grant| grant.token_id == token_id) {
            return Err(TokenError::Configured(token_id.to_owned()));
        }
        let found = held.issued.iter_mut().find(|(_, record)| record.grant.token_id == token_id);
        let Some((hash, record)) = found else {
            return Err(TokenError::NotFound(token_id.chars().take(64).collect()));
        };
        if record.revoked.is_none() {
            let revoked = Record { revoked: Some(self.inner.clock.now()), ..record.clone() };
            self.store(hash, &revoked)?;
            *record = revoked;
        }
        Ok(TokenInfo::issued(record))
    }

    /// Ends every issued token; gives how many had not ended before. Durable after the log's next
    /// sync.
    ///
    /// # Errors
    /// Where the ledger fails.
    pub fn revoke_all(&self) -> Result<u64, TokenError> {
        let now = self.inner.clock.now();
        let mut held = self.write();
        let mut count = 0;
        for (hash, record) in held.issued.iter_mut().filter(|(_, held)| held.revoked.is_none()) {
            let revoked = Record { revoked: Some(now), ..record.clone() };
            self.store(hash, &revoked)?;
            *record = revoked;
            count += 1;
        }
        Ok(count)
    }

    /// Whether there is, or was, a token with this secret.
    pub fn knows(&self, secret: &str) -> bool {
        if secret.len() > MAX_SECRET_BYTES {
            return false;
        }
        let hash = self.hash(secret);
        let held = self.read();
        held.configured.contains_key(&hash) || held.issued.contains_key(&hash)
    }

    /// What a presented secret stands for. The refusal names the failed check.
    ///
    /// # Errors
    /// Where it is not known here, was revoked or has expired.
    pub fn find(&self, secret: &str) -> Result<Grant, Refusal> {
        let refuse = |check: &str, detail: String| {
            Err(Refusal::new(Problem::InvalidToken, detail).with("failed_check", check))
        };
        if secret.len() > MAX_SECRET_BYTES {
            return refuse("known", "the token is not known here".into());
        }
        let hash = self.hash(secret);
        let now = self.inner.clock.now();
        let held = self.read();
        if let Some((stored, grant)) = held.configured.get_key_value(&hash)
            && bool::from(stored.ct_eq(&hash))
        {
            return Ok(grant.clone());
        }
        let issued = held.issued.get_key_value(&hash);
        let Some((_, record)) = issued.filter(|(stored, _)| bool::from(stored.ct_eq(&hash))) else {
            return refuse("known", "the token is not known here".into());
        };
        if let Some(revoked) = record.revoked {
            return refuse("revocation", format!("the token was revoked at {revoked}"));
        }
        if let Some(expires) = record.expires.filter(|expires| *expires <= now) {
            return refuse("expiry", format!("the token expired at {expires}"));
        }
        let (grant, last_used) = (record.grant.clone(), record.last_used);
        drop(held);
        let noted = last_used.is_some_and(|used| now.duration_since(used) < USE_IS_NOTED_EVERY);
        if !noted {
            self.note_use(&hash, now);
        }
        Ok(grant)
    }

    /// Every token, without its secret: the configuration's, then issued ones by actor and time.
    pub fn list(&self) -> Vec<TokenInfo> {
        let held = self.read();
        let mut configured: Vec<_> = held.configured.values().map(TokenInfo::configured).collect();
        configured.sort_by(|a, b| {
            (&a.grant.actor, &a.grant.token_id).cmp(&(&b.grant.actor, &b.grant.token_id))
        });
        let mut issued: Vec<_> = held.issued.values().map(TokenInfo::issued).collect();
        issued.sort_by(|a, b| {
            let key = |info: &TokenInfo| (info.grant.actor.clone(), info.created);
            key(a).cmp(&key(b)).then_with(|| a.grant.token_id.cmp(&b.grant.token_id))
        });
        configured.into_iter().chain(issued).collect()
    }

    /// A fingerprint of a request that tells nothing to who lacks the instance's secret: an
    /// unkeyed hash of a short text could be guessed, also after the text was erased.
    pub fn fingerprint(&self, bytes: &[u8]) -> String {
        blake3::keyed_hash(&self.inner.key, bytes).to_hex().to_string()
    }

    fn note_use(&self, hash: &Hash, now: Timestamp) {
        let mut held = self.write();
        let Some(record) = held.issued.get_mut(hash) else { return };
        record.last_used = Some(now);
        // A request is not refused because its token's last use could not be written down.
        if let Err(error) = self.store(hash, record) {
            tracing::warn!(%error, token_id = %record.grant.token_id, "noting a use of a token");
        }
    }

    fn store(&self, hash: &Hash, record: &Record) -> Result<(), TokenError> {
        let value = serde_json::to_vec(record).map_err(|e| TokenError::Damaged(e.to_string()))?;
        self.inner.ledger.apply(vec![([PREFIX, hash].concat(), Some(value))])?;
        Ok(())
    }

    fn hash(&self, secret: &str) -> Hash {
        *blake3::keyed_hash(&self.inner.key, secret.as_bytes()).as_bytes()
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.inner.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.inner.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a token that is no secret.
fn id(hash: &Hash) -> String {
    hex::encode(hash.get(..8).unwrap_or_default())
}
