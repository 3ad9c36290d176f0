//! How this instance stands to others, kept until something is decided.
//!
//! Each send asks four times: for the peer, the recipient, the author, and the address that is posted to. What
//! follows from the decisions of moderation is the same until there is another one.

use std::fmt;
use std::sync::Arc;

use fedsx_genesis::moderation::{self, Standing};
use fedsx_kernel::Base;
use fedsx_kernel::log::Log;
use fedsx_kernel::state::StateError;
use quick_cache::sync::Cache;

use crate::client::Gate;

/// Ids, origins and addresses that are kept.
const KEPT: usize = 16 * 1024;

/// The decisions by which something was worked out: the last one, and how often contents were erased.
type Version = (u64, u64);

/// Answers from memory where nothing was decided meanwhile; cheap to clone.
#[derive(Clone)]
pub struct Standings(Arc<Inner>);

struct Inner {
    base: Base,
    log: Log,
    kept: Cache<String, (Version, Standing)>,
}

impl fmt::Debug for Standings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standings")
    }
}

impl Standings {
    /// Those of an instance, by the state of its log.
    pub fn new(base: Base, log: Log) -> Self {
        Self(Arc::new(Inner { base, log, kept: Cache::new(KEPT) }))
    }

    /// How this instance stands to the actor or origin with this id, or to whom an address belongs.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn of(&self, id: &str) -> Result<Standing, StateError> {
        let Inner { base, log, kept } = &*self.0;
        // Read first: what is decided while this works makes what is kept void.
        let version = (moderation::last(log.state())?, log.erasures());
        if let Some((_, standing)) = kept.get(id).filter(|(at, _)| *at == version) {
            return Ok(standing);
        }
        let standing = moderation::standing(base, log.state(), id)?;
        kept.insert(id.to_owned(), (version, standing));
        Ok(standing)
    }
}

impl Gate for Standings {
    fn pass(&self, url: &str) -> Result<(), String> {
        match self.of(url) {
            Ok(standing) if standing.blocked => Err(format!("{url} is blocked here")),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
