//! Scripts in definitions: keys and folds of projections, guards and bodies of triggers.
//!
//! A script is a pure function: it sees what it is given, and gives a value and, where it has
//! one, its changed state. It reads no clock, no randomness, no file and no network, and is
//! stopped at limits that are counted, not measured ([`limits`]). [`Language`] is what an engine
//! fulfils; definitions name theirs, so that what was published keeps its meaning when another
//! engine comes beside it.

mod error;
pub mod limits;
mod rhai_host;
mod rhai_values;
mod rhai_words;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use fedsx_kernel::Cid;
use moka::sync::Cache;
use serde_json::Value;

pub use error::ScriptError;
use limits::SOURCE_BYTES;

/// The language of definitions that name none. It stays this one when others come: what was
/// published keeps its meaning.
pub const LANGUAGE: &str = "rhai/1.27";
/// Bytes of source of all scripts that are kept compiled.
const CACHED_BYTES: u64 = 1024 * 1024;

/// What a script is run with.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The value of the variable `state`, which the script may change.
    pub state: Option<&'a Value>,
    /// Further variables, by name; the script may not change them.
    pub given: &'a [(&'a str, &'a Value)],
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The state as the script left it; `Null` where it was given none.
    pub state: Value,
    /// The value of the script: of its last expression, or of `return`.
    pub value: Value,
}

/// A script that is ready to run. Runs do not see each other.
pub trait Program: Send + Sync {
    /// Runs it once. Blocks for at most what the limits allow.
    ///
    /// # Errors
    /// Where the script is stopped, fails, or gives what is no JSON or too large.
    fn run(&self, input: Input<'_>) -> Result<Output, ScriptError>;
}

/// An engine for scripts of one language.
pub trait Language: Send + Sync {
    /// What definitions call it: a name, a slash, and the version that fixes its meaning.
    fn name(&self) -> &'static str;
    /// Makes a program of a source, without running any of it.
    ///
    /// # Errors
    /// [`ScriptError::Syntax`].
    fn compile(&self, source: &str) -> Result<Arc<dyn Program>, ScriptError>;
}

type Compiled = Result<Arc<dyn Program>, ScriptError>;

/// Compiled scripts, kept by the CID of their definition and the member that holds them.
///
/// Clones share one cache, whose size is bounded by the sources.
#[derive(Clone)]
pub struct Scripts {
    languages: Arc<BTreeMap<&'static str, Box<dyn Language>>>,
    compiled: Cache<(Cid, &'static str), (usize, Compiled)>,
}

impl Scripts {
    /// Every language that is known here, with an empty cache.
    pub fn new() -> Self {
        let all: [Box<dyn Language>; 1] = [Box::new(rhai_host::Rhai::new())];
        let languages = all.into_iter().map(|language| (language.name(), language)).collect();
        let compiled = Cache::builder()
            .max_capacity(CACHED_BYTES)
            .weigher(|_: &(Cid, &'static str), (bytes, _): &(usize, Compiled)| {
                u32::try_from(*bytes).unwrap_or(u32::MAX).max(256)
            })
            .build();
        Self { languages: Arc::new(languages), compiled }
    }

    /// Makes a program of a source.
    ///
    /// # Errors
    /// Where the language is unknown, or the source too long or not a script.
    pub fn compile(&self, language: &str, source: &str) -> Compiled {
        if source.len() > SOURCE_BYTES {
            return Err(ScriptError::TooLong(source.len()));
        }
        let unknown = || ScriptError::UnknownLanguage(error::bounded(language));
        self.languages.get(language).ok_or_else(unknown)?.compile(source)
    }

    /// The program in a member of the definition `cid`. One CID and member must always come with
    /// the same source: the compiled form is kept by them.
    ///
    /// # Errors
    /// As [`Scripts::compile`].
    pub fn program(
        &self,
        cid: &Cid,
        member: &'static str,
        language: &str,
        source: &str,
    ) -> Compiled {
        let make = || (source.len(), self.compile(language, source));
        self.compiled.get_with((*cid, member), make).1
    }
}

impl Default for Scripts {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts").field("entries", &self.compiled.entry_count()).finish()
    }
}
