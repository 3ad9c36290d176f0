//! The kinds of definitions that the registry keeps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::MAX_NAME_BYTES;

/// What a definition defines: one of the kinds that the registry keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
#[non_exhaustive]
pub enum Kind {
    /// Verbs.
    ActivityTypes,
    /// Types of objects, actors included.
    ObjectTypes,
    /// Folds over the log.
    Projections,
    /// Named schemas.
    Validators,
    /// Encodings of documents.
    Codecs,
    /// Ways of signing.
    SignatureSuites,
    /// Named sets of recipients.
    Audiences,
    /// Reactions to activities.
    Triggers,
    /// Which types are also of other types.
    Subtypes,
}

/// A text that names no registry kind.
#[derive(Debug, Error)]
#[error("{0:?} is not a kind of definition")]
pub struct KindError(String);

impl Kind {
    /// Every kind, in the order in which the registry lists them.
    pub const ALL: [Kind; 9] = [
        Self::ActivityTypes,
        Self::ObjectTypes,
        Self::Projections,
        Self::Validators,
        Self::Codecs,
        Self::SignatureSuites,
        Self::Audiences,
        Self::Triggers,
        Self::Subtypes,
    ];

    /// The registry's name of the kind; also the folder in the bundle.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActivityTypes => "activity-types",
            Self::ObjectTypes => "object-types",
            Self::Projections => "projections",
            Self::Validators => "validators",
            Self::Codecs => "codecs",
            Self::SignatureSuites => "signature-suites",
            Self::Audiences => "audiences",
            Self::Triggers => "triggers",
            Self::Subtypes => "subtypes",
        }
    }

    /// The kind that a `type` defines; `None` where the type defines nothing.
    ///
    /// `DefineType` is a second name of `DefineObject`. A subscription is an audience that actors
    /// join with `Subscribe`. `SubtypeOf` has the name of the type that it says something of.
    pub fn of_type(type_name: &str) -> Option<Self> {
        Some(match type_name {
            "DefineActivity" => Self::ActivityTypes,
            "DefineObject" | "DefineType" => Self::ObjectTypes,
            "DefineProjection" => Self::Projections,
            "DefineValidator" => Self::Validators,
            "DefineCodec" => Self::Codecs,
            "DefineSignatureSuite" => Self::SignatureSuites,
            "DefineAudience" | "DefineSubscription" => Self::Audiences,
            "DefineTrigger" => Self::Triggers,
            "SubtypeOf" => Self::Subtypes,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| KindError(text.chars().take(MAX_NAME_BYTES).collect()))
    }
}

impl TryFrom<String> for Kind {
    type Error = KindError;

    fn try_from(text: String) -> Result<Self, KindError> {
        text.parse()
    }
}

impl From<Kind> for &'static str {
    fn from(kind: Kind) -> Self {
        kind.as_str()
    }
}
