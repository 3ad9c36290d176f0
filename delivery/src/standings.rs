//! How this instance stands to others, for whoever sends to them and fetches from them.

use std::fmt;
use std::sync::Arc;

use fedsx_genesis::moderation::{self, Standing};
use fedsx_kernel::Base;
use fedsx_kernel::log::Log;
use fedsx_kernel::state::StateError;

use crate::client::Gate;

/// Answers by the state of a log, kept until something is decided; cheap to clone. Each send asks four
/// times: for the peer, the recipient, the author, and the address that is posted to.
#[derive(Clone)]
pub struct Standings(Arc<Inner>);

struct Inner {
    base: Base,
    log: Log,
    kept: moderation::Standings,
}

impl fmt::Debug for Standings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standings")
    }
}

impl Standings {
    /// Those of an instance, by the state of its log.
    pub fn new(base: Base, log: Log) -> Self {
        Self(Arc::new(Inner { base, log, kept: moderation::Standings::default() }))
    }

    /// How this instance stands to the actor or origin with this id, or to whom an address belongs.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn of(&self, id: &str) -> Result<Standing, StateError> {
        let Inner { base, log, kept } = &*self.0;
        kept.of(base, log.state(), id)
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
