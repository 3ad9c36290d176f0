//! What tokens allow, and the one place that decides it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::TokenError;
use crate::address::ActorName;
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

/// The refusal of a request without a token.
pub fn no_token() -> Refusal {
    Refusal::new(Problem::InvalidToken, "send a bearer token in the Authorization header")
        .with("failed_check", "token")
}

/// The one place that decides what a token allows; the refusal names the failed check.
pub fn authorize(grant: Option<&Grant>, request: Request<'_>) -> Result<(), Refusal> {
    let grant = grant.ok_or_else(no_token)?;
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
