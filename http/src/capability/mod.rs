//! Capability tokens: Biscuits (biscuitsec.org, version 3) that their holder can narrow without
//! asking anybody, and that are checked with the instance's public key alone.
//!
//! The authority block says for which actor a token speaks and what it allows:
//! `actor("alice"); scope("publish");`. Each further block only takes away, by checks over facts
//! that the instance states about a request:
//!
//! - `time(date)`, `operation(scope)`, where a scope is publish, read, define or admin;
//! - of a publish: `verb(type)`, `object_type(type)` for each type of an embedded object, and
//!   `audience(id)` for everyone whom the request names, `"public"` for the public collection and
//!   `"default"` where it names nobody;
//! - `uses(counter, n)` for each `counter(name)` that a block states: how often a publish by this
//!   token, or by one narrowed from it, was tried and not refused.

mod facts;
mod known;
mod narrow;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use biscuit_auth::builder::{Algorithm, Fact, Term, fact, int, string};
use biscuit_auth::error::{FailedCheck, Logic, Token as BiscuitError};
use biscuit_auth::{
    Authorizer, AuthorizerBuilder, AuthorizerLimits, Biscuit, KeyPair, PrivateKey, PublicKey,
};
use fedsx_kernel::ActorName;
use fedsx_kernel::log::StoreError;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::runtime::{RandomCore, Runtime};
use fedsx_kernel::tokens::{Grant, Scope};
use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

pub(crate) use self::known::Known;
pub use self::known::MAX_KNOWN_OF_ACTOR;
pub use self::narrow::{Narrowing, inspect, narrow};
pub use self::store::Capabilities;

/// The longest capability token, in bytes of its text.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The most blocks of a token, the authority block among them.
pub const MAX_BLOCKS: usize = 16;
/// Counters that the blocks of a token may state.
const MAX_COUNTERS: usize = 16;
/// What evaluating a token may cost. The time is a last resort for an overloaded machine; the
/// counted limits come first.
const LIMITS: AuthorizerLimits =
    AuthorizerLimits { max_facts: 500, max_iterations: 50, max_time: Duration::from_millis(500) };

/// Why there is no capability.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// The library refused.
    #[error(transparent)]
    Biscuit(#[from] BiscuitError),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be narrowed like that.
    #[error("{0}")]
    Wish(String),
}

/// A capability token that was signed here and not revoked.
pub struct Capability {
    biscuit: Biscuit,
    grant: Grant,
    /// The scopes that the authority block states.
    stated: Vec<Scope>,
    counters: Vec<String>,
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capability").field("grant", &self.grant).finish_non_exhaustive()
    }
}

fn refuse(check: impl Into<String>, detail: impl Into<String>) -> Refusal {
    Refusal::new(Problem::InvalidToken, detail).with("failed_check", check.into())
}

impl Capability {
    /// Reads and checks a token; what its blocks take away is missing from the grant, except that
    /// a publish is judged by [`Capability::publish`], when it is known what it says.
    fn open(text: &str, public: PublicKey, now: Timestamp) -> Result<Self, Refusal> {
        let biscuit = Biscuit::from_base64(text, public)
            .map_err(|_| refuse("signature", "the token is not known here, or was changed"))?;
        if biscuit.block_count() > MAX_BLOCKS {
            return Err(refuse("blocks", format!("a token has at most {MAX_BLOCKS} blocks")));
        }
        let mut reader = authorizer(&biscuit, &[]).map_err(|e| failed(&e))?;
        let actors: Vec<(String,)> =
            reader.query("data($name) <- actor($name)").map_err(|e| failed(&e))?;
        let [(actor,)] = actors.as_slice() else {
            return Err(refuse("actor", "the token speaks for no actor"));
        };
        let actor: ActorName = actor.parse().map_err(|_| refuse("actor", "no actor's name"))?;
        let stated: Vec<(String,)> =
            reader.query("data($scope) <- scope($scope)").map_err(|e| failed(&e))?;
        let mut counters: Vec<(String,)> =
            reader.query_all("data($name) <- counter($name)").map_err(|e| failed(&e))?;
        counters.sort();
        counters.dedup();
        if counters.len() > MAX_COUNTERS {
            return Err(refuse("counters", format!("at most {MAX_COUNTERS} counters")));
        }
        let root = biscuit.revocation_identifiers();
        let root = root.first().map(|id| hex::encode(id.get(..8).unwrap_or_default()));
        let mut capability = Self {
            biscuit,
            grant: Grant { token_id: root.unwrap_or_default(), actor, scopes: Vec::new() },
            stated: stated.iter().filter_map(|(scope,)| scope.parse().ok()).collect(),
            counters: counters.into_iter().map(|(name,)| name).collect(),
        };
        let mut last = None;
        capability.stated.sort_unstable();
        for scope in capability.stated.clone() {
            let judged = match scope {
                Scope::Publish => Ok(()),
                other => capability.judge(&facts::of(other, now)),
            };
            match judged {
                Ok(()) => capability.grant.scopes.push(scope),
                Err(refusal) => last = Some(refusal),
            }
        }
        if capability.grant.scopes.is_empty() {
            return Err(last.unwrap_or_else(|| refuse("scope", "the token allows nothing")));
        }
        Ok(capability)
    }

    /// For whom it speaks and what it allows, apart from what is decided for each publish.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The names by which the token, or what it was narrowed from, can be revoked: one for each
    /// block, the authority's first.
    pub fn revocation_ids(&self) -> Vec<String> {
        self.biscuit.revocation_identifiers().iter().map(hex::encode).collect()
    }

    /// Whether nothing was taken away since it was issued.
    pub(crate) fn is_whole(&self) -> bool {
        self.biscuit.block_count() == 1
    }

    /// What each block says, as Datalog.
    pub fn blocks(&self) -> Vec<String> {
        (0..self.biscuit.block_count())
            .map(|block| self.biscuit.print_block_source(block).unwrap_or_default())
            .collect()
    }

    /// Whether a request may be published; `uses` are the counters' values.
    fn publish(
        &self,
        request: &Map<String, Value>,
        now: Timestamp,
        uses: &[(String, u64)],
    ) -> Result<(), Refusal> {
        let mut facts = facts::of(Scope::Publish, now);
        facts.extend(facts::of_publish(request));
        facts.extend(uses.iter().map(|(name, uses)| {
            let uses = i64::try_from(*uses).unwrap_or(i64::MAX);
            fact("uses", &[string(name), int(uses)])
        }));
        self.judge(&facts)
    }

    fn judge(&self, facts: &[Fact]) -> Result<(), Refusal> {
        let judged =
            authorizer(&self.biscuit, facts).and_then(|mut authorizer| authorizer.authorize());
        judged.map(|_| ()).map_err(|error| failed(&error))
    }
}

fn authorizer(biscuit: &Biscuit, facts: &[Fact]) -> Result<Authorizer, BiscuitError> {
    let mut builder = AuthorizerBuilder::new().set_limits(LIMITS);
    for fact in facts {
        builder = builder.fact(fact.clone())?;
    }
    builder.code("allow if true")?.build(biscuit)
}

/// The refusal that names which check of which block failed.
fn failed(error: &BiscuitError) -> Refusal {
    let checks = match error {
        BiscuitError::FailedLogic(
            Logic::Unauthorized { checks, .. } | Logic::NoMatchingPolicy { checks },
        ) => checks.as_slice(),
        _ => &[],
    };
    let name = checks.first().map_or_else(
        || "limits".to_owned(),
        |check| match check {
            FailedCheck::Block(check) => format!("block {}: {}", check.block_id, check.rule),
            FailedCheck::Authorizer(check) => check.rule.clone(),
        },
    );
    let detail = format!("the token was narrowed: {error}");
    Refusal::new(Problem::InsufficientScope, detail).with("failed_check", name)
}

/// Makes a token; `expires` ends it and everything narrowed from it.
fn make(
    root: &KeyPair,
    actor: &ActorName,
    scopes: &[Scope],
    expires: Option<Timestamp>,
    runtime: &Runtime,
) -> Result<Biscuit, CapabilityError> {
    let mut builder = Biscuit::builder().fact(fact("actor", &[string(actor.as_str())]))?;
    for scope in scopes {
        builder = builder.fact(fact("scope", &[string(&scope.to_string())]))?;
    }
    if let Some(expires) = expires {
        builder = builder.check(narrow::until(expires)?)?;
    }
    Ok(builder.build_with_rng(
        root,
        biscuit_auth::datalog::SymbolTable::default(),
        &mut RandomCore(runtime.random.as_ref()),
    )?)
}

/// The root key of an instance, of 32 secret bytes.
fn key_pair(secret: &[u8; 32]) -> Result<KeyPair, CapabilityError> {
    let private = PrivateKey::from_bytes(secret, Algorithm::Ed25519).map_err(BiscuitError::from)?;
    Ok(KeyPair::from(&private))
}

/// A time as a term: whole seconds since 1970.
fn date(at: Timestamp) -> Term {
    Term::Date(u64::try_from(at.as_second()).unwrap_or(0))
}
