//! What is kept of a token, and what is shown of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Grant, MAX_LABEL_CHARS, Scope, TokenError};
use crate::address::ActorName;

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The configuration.
    Configuration,
    /// This instance made it.
    Issued,
}

/// What a new token shall be.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The actor that it may act for.
    pub actor: ActorName,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// What it is for, in the words of who asked for it.
    pub label: String,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
}

impl NewToken {
    /// Checks everything that can be checked without a ledger; scopes come out in order, once each.
    pub(super) fn checked(mut self, now: Timestamp) -> Result<Self, TokenError> {
        self.scopes.sort_unstable();
        self.scopes.dedup();
        if self.scopes.is_empty() {
            return Err(TokenError::NoScope);
        }
        check_label(&self.label)?;
        if self.expires.is_some_and(|expires| expires <= now) {
            return Err(TokenError::Expiry);
        }
        Ok(self)
    }
}

/// Whether a token may have this label.
///
/// # Errors
/// [`TokenError::Label`] where it is too long or cannot be shown.
pub fn check_label(label: &str) -> Result<(), TokenError> {
    let is_shown = !label.chars().any(char::is_control);
    if is_shown && label.chars().count() <= MAX_LABEL_CHARS {
        return Ok(());
    }
    Err(TokenError::Label)
}

/// What the ledger holds under the hash of an issued token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(flatten)]
    pub grant: Grant,
    #[serde(default)]
    pub label: String,
    pub created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

impl Record {
    /// When it ended, where it has.
    pub fn ended(&self, now: Timestamp) -> Option<Timestamp> {
        let expired = self.expires.filter(|expires| *expires <= now);
        [self.revoked, expired].into_iter().flatten().min()
    }
}

/// A token without its secret.
#[derive(Clone, Debug, Serialize)]
pub struct TokenInfo {
    /// Who and what.
    #[serde(flatten)]
    pub grant: Grant,
    /// Where it came from.
    pub origin: Origin,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// When it was issued (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it ends, or ended, by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was last presented, to a quarter of an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

impl TokenInfo {
    pub(super) fn configured(grant: &Grant) -> Self {
        Self {
            grant: grant.clone(),
            origin: Origin::Configuration,
            label: String::new(),
            created: None,
            expires: None,
            last_used: None,
            revoked: None,
        }
    }

    pub(super) fn issued(record: &Record) -> Self {
        Self {
            grant: record.grant.clone(),
            origin: Origin::Issued,
            label: record.label.clone(),
            created: Some(record.created),
            expires: record.expires,
            last_used: record.last_used,
            revoked: record.revoked,
        }
    }
}
