//! Bearer tokens: who may do what, kept hashed.
//!
//! Tokens come from the configuration, and are valid as long as they stand there, or are issued by
//! the running instance, and are valid until they expire or are revoked. A token is looked up by a
//! hash that is keyed with a secret of the instance, so that neither a copy of the ledger nor the
//! time of a look-up tells anything about a token.

mod ledger;
mod record;
mod scope;
mod spec;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use self::ledger::{Issued, Tokens};
pub use self::record::{NewToken, Origin, TokenInfo, check_label};
pub use self::scope::{Grant, Request, Scope, authorize, no_token};
pub use self::spec::TokenSpec;
use crate::log::StoreError;

/// The longest label, in characters.
pub const MAX_LABEL_CHARS: usize = 100;
/// Tokens in the ledger. Those that ended make room for new ones, the longest ended first.
pub const MAX_ISSUED: usize = 100_000;

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
    /// No scope at all.
    #[error("a token needs a scope: publish, read, define or admin")]
    NoScope,
    /// A label that is too long or cannot be shown.
    #[error("the label of a token has at most {MAX_LABEL_CHARS} printable characters")]
    Label,
    /// It would be over before it began, or outlive what can be told.
    #[error("a token expires at some time in the future")]
    Expiry,
    /// There are too many.
    #[error("there are {0} tokens that have not ended; revoke some")]
    TooMany(usize),
    /// There is no such token.
    #[error("there is no token {0:?}")]
    NotFound(String),
    /// It is not in the ledger but in the configuration.
    #[error("the token {0:?} is in the configuration: take it out there, and reload (SIGHUP)")]
    Configured(String),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger holds something else.
    #[error("the token ledger is damaged: {0}")]
    Damaged(String),
}
