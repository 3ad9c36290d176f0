//! Why a script gave nothing.

use thiserror::Error;

use super::limits::{REASON_CHARS, SOURCE_BYTES};

/// Why a script gave nothing. The same script with the same input fails with the same words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// No engine here runs the language.
    #[error("the script language {0:?} is not known here")]
    UnknownLanguage(String),
    /// The source is too long.
    #[error("the script has {0} bytes; at most {SOURCE_BYTES} are taken")]
    TooLong(usize),
    /// The source is not a script.
    #[error("the script cannot be read: {0}")]
    Syntax(String),
    /// It was stopped at one of the limits.
    #[error("the script was stopped: {0}")]
    Stopped(String),
    /// It failed by itself.
    #[error("the script failed: {0}")]
    Failed(String),
    /// What it gave cannot be kept.
    #[error("the script gave what cannot be kept: {0}")]
    Output(String),
}

/// A text of an engine, at most [`REASON_CHARS`] characters of it.
pub(super) fn bounded(text: &str) -> String {
    text.chars().take(REASON_CHARS).collect()
}
