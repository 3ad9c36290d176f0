//! Bearer tokens: who may do what, kept hashed.
//!
//! A token is looked up by a hash that is keyed with a secret of the instance, so that neither a
//! copy of the ledger nor the time of a look-up tells anything about a token.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::address::ActorName;
use crate::log::{StoreError, Table};
use crate::refusal::{Problem, Refusal};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Publish as the actor.
    Publish,
    /// Read what only the actor may see.
    Read,
    /// Publish definitions that take effect here.
    Define,
    /// Operate the instance.
    Admin,
}

impl FromStr for Scope {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        match text {
            "publish" => Ok(Self::Publish),
            "read" => Ok(Self::Read),
            "define" => Ok(Self::Define),
            "admin" => Ok(Self::Admin),
            other => Err(TokenError::Scope(other.chars().take(32).collect())),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Define => "define",
            Self::Admin => "admin",
        })
    }
}

/// Why a token was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not of the form `NAME=SECRET[:scope,scope]`.
    #[error("a token is given as NAME=SECRET or NAME=SECRET:scope,scope")]
    Form,
    /// The name is not an actor name.
    #[error(transparent)]
    Name(#[from] crate::address::NameError),
    /// The secret is too short or too long.
    #[error("the secret of a token has 8 to 256 printable characters without spaces")]
    Secret,
    /// No such scope.
    #[error("{0:?} is not a scope; there are publish, read, define and admin")]
    Scope(String),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger holds something else.
    #[error("the token ledger is damaged: {0}")]
    Damaged(String),
}

/// A token as given on the command line or in the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSpec {
    /// The actor that it may act for.
    pub actor: ActorName,
    secret: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
}

impl FromStr for TokenSpec {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (name, rest) = text.split_once('=').ok_or(TokenError::Form)?;
        let (secret, scopes) = match rest.split_once(':') {
            Some((secret, scopes)) => (
                secret,
                scopes.split(',').map(str::trim).map(Scope::from_str).collect::<Result<_, _>>()?,
            ),
            None => (rest, vec![Scope::Publish, Scope::Read]),
        };
        let printable = secret.bytes().all(|c| c.is_ascii_graphic());
        if !(8..=256).contains(&secret.len()) || !printable {
            return Err(TokenError::Secret);
        }
        Ok(Self { actor: name.trim().parse()?, secret: secret.to_owned(), scopes })
    }
}

impl fmt::Debug for TokenSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSpec({}, {:?})", self.actor, self.scopes)
    }
}

/// What a presented token stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// A name for the token that is no secret.
    pub token_id: String,
    /// The actor that it may act for.
    pub actor: ActorName,
    /// What it allows.
    pub scopes: Vec<Scope>,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Publish as this actor.
    Publish(&'a ActorName),
    /// Let definitions take effect.
    Define,
    /// Read what only this actor may see.
    Read(&'a ActorName),
    /// Operate the instance.
    Admin,
}

/// The one place that decides what a token allows; the refusal names the failed check.
pub fn authorize(grant: Option<&Grant>, request: Request<'_>) -> Result<(), Refusal> {
    let grant = grant.ok_or_else(|| {
        Refusal::new(Problem::InvalidToken, "send a bearer token in the Authorization header")
    })?;
    let (scope, actor) = match request {
        Request::Publish(actor) => (Scope::Publish, Some(actor)),
        Request::Define => (Scope::Define, None),
        Request::Read(actor) => (Scope::Read, Some(actor)),
        Request::Admin => (Scope::Admin, None),
    };
    if let Some(actor) = actor
        && *actor != grant.actor
    {
        return Err(Refusal::new(
            Problem::InsufficientScope,
            format!("the token acts for {}, not for {actor}", grant.actor),
        )
        .with("failed_check", "actor"));
    }
    if !grant.scopes.contains(&scope) {
        return Err(Refusal::new(
            Problem::InsufficientScope,
            format!("the token lacks the scope {scope}"),
        )
        .with("failed_check", format!("scope:{scope}")));
    }
    Ok(())
}

/// The tokens of an instance.
#[derive(Clone)]
pub struct Tokens {
    inner: Arc<Inner>,
}

struct Inner {
    key: [u8; 32],
    ledger: Arc<dyn Table>,
    grants: RwLock<HashMap<[u8; 32], Grant>>,
}

/// Where tokens stand in the ledger.
const PREFIX: &[u8] = b"token\0";

impl Tokens {
    /// Loads the tokens from the ledger. `key` is a secret of the instance.
    pub fn load(ledger: Arc<dyn Table>, key: [u8; 32]) -> Result<Self, TokenError> {
        let mut grants = HashMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = ledger.scan(PREFIX, after.as_deref(), 500)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (stored, value) in page {
                let hash = stored
                    .get(PREFIX.len()..)
                    .and_then(|hash| hash.try_into().ok())
                    .ok_or_else(|| TokenError::Damaged("a key is not a hash".into()))?;
                let grant = serde_json::from_slice(&value)
                    .map_err(|e| TokenError::Damaged(e.to_string()))?;
                grants.insert(hash, grant);
            }
        }
        Ok(Self { inner: Arc::new(Inner { key, ledger, grants: RwLock::new(grants) }) })
    }

    /// Adds a token, or changes what it allows. Durable after the log's next sync.
    pub fn put(&self, spec: &TokenSpec) -> Result<Grant, TokenError> {
        let hash = self.hash(&spec.secret);
        let grant = Grant {
            token_id: hex::encode(hash.get(..8).unwrap_or_default()),
            actor: spec.actor.clone(),
            scopes: spec.scopes.clone(),
        };
        let value = serde_json::to_vec(&grant).map_err(|e| TokenError::Damaged(e.to_string()))?;
        self.inner.ledger.apply(vec![([PREFIX, &hash].concat(), Some(value))])?;
        let mut grants = self.inner.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.insert(hash, grant.clone());
        Ok(grant)
    }

    /// What a presented secret stands for.
    pub fn find(&self, secret: &str) -> Option<Grant> {
        if secret.len() > 256 {
            return None;
        }
        let hash = self.hash(secret);
        let grants = self.inner.grants.read().unwrap_or_else(PoisonError::into_inner);
        let (held, grant) = grants.get_key_value(&hash)?;
        bool::from(held.ct_eq(&hash)).then(|| grant.clone())
    }

    /// Every token, without its secret.
    pub fn list(&self) -> Vec<Grant> {
        let grants = self.inner.grants.read().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = grants.values().cloned().collect();
        list.sort_by(|a, b| (&a.actor, &a.token_id).cmp(&(&b.actor, &b.token_id)));
        list
    }

    /// A fingerprint of a request that tells nothing to who lacks the instance's secret: an
    /// unkeyed hash of a short text could be guessed, also after the text was erased.
    pub fn fingerprint(&self, bytes: &[u8]) -> String {
        blake3::keyed_hash(&self.inner.key, bytes).to_hex().to_string()
    }

    fn hash(&self, secret: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.inner.key, secret.as_bytes()).as_bytes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::log::{MemoryStorage, Storage};

    #[test]
    fn specs() {
        let spec: TokenSpec = "alice=correct-horse:publish,admin".parse().expect("spec");
        assert_eq!(spec.scopes, [Scope::Publish, Scope::Admin]);
        assert!(!format!("{spec:?}").contains("horse"));
        for bad in [
            "alice",
            "alice=short",
            "Alice=correct-horse",
            "alice=correct-horse:root",
            "a=with space1",
        ] {
            assert!(bad.parse::<TokenSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_kept_hashed_and_survive() {
        let ledger = MemoryStorage::default().ledgers();
        let spec: TokenSpec = "alice=correct-horse".parse().expect("spec");
        let tokens = Tokens::load(ledger.clone(), [1; 32]).expect("load");
        tokens.put(&spec).expect("put");
        for (key, value) in ledger.scan(b"", None, 10).expect("scan") {
            let stored = [key, value].concat();
            assert!(!stored.windows(7).any(|w| w == b"correct"));
        }
        let again = Tokens::load(ledger.clone(), [1; 32]).expect("load");
        let grant = again.find("correct-horse").expect("found");
        assert!(again.find("correct-hors").is_none());
        assert!(Tokens::load(ledger, [2; 32]).expect("load").find("correct-horse").is_none());
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        assert!(authorize(Some(&grant), Request::Publish(&alice)).is_ok());
        assert!(authorize(Some(&grant), Request::Publish(&bob)).is_err());
        assert!(authorize(Some(&grant), Request::Admin).is_err());
        assert!(authorize(None, Request::Publish(&alice)).is_err());
    }
}
