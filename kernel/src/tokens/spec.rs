//! Tokens as a configuration states them.

use std::fmt;
use std::str::FromStr;

use super::{Scope, TokenError};
use crate::address::ActorName;

/// A token as given on the command line or in the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSpec {
    /// The actor that it may act for.
    pub actor: ActorName,
    pub(super) secret: String,
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
