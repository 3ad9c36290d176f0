//! What is said to an instance about the followers there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::Graph;
use fedsx_kernel::state::{StateError, StateView};
use hyper::header::HeaderValue;

use super::{PARTIAL, Partial, Statement, followers_at};
use crate::audience::followers_of;

/// Digests that are kept; beyond that all are computed anew.
const MAX_KEPT: usize = 10_000;

/// The digests of followers by actor and instance; cheap to clone. One is computed from the graph
/// when it is first wanted and forgotten when a follower of that instance comes or goes.
#[derive(Clone, Default)]
pub(crate) struct Statements {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    digests: HashMap<(String, String), Option<Partial>>,
    /// Rises with each change of the graph: what was read before one is not kept after it.
    changes: u64,
}

impl Statements {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A follower of this origin came or went.
    pub fn changed(&self, actor: &str, origin: &str) {
        let mut kept = self.lock();
        kept.changes = kept.changes.wrapping_add(1);
        kept.digests.remove(&(actor.to_owned(), origin.to_owned()));
    }

    /// The header for what an actor sends to its followers on an instance; `None` where they are
    /// too many. Blocks.
    pub fn header(
        &self,
        state: &dyn StateView,
        actor: &str,
        origin: &str,
    ) -> Result<Option<HeaderValue>, StateError> {
        let key = (actor.to_owned(), origin.to_owned());
        let (known, changes) = {
            let kept = self.lock();
            (kept.digests.get(&key).copied(), kept.changes)
        };
        let digest = match known {
            Some(digest) => digest,
            None => {
                let followers = followers_at(&Graph::new(GRAPH), state, actor, origin)?;
                let digest = followers.map(|ids| Partial::of(ids.iter().map(String::as_str)));
                let mut kept = self.lock();
                if kept.changes == changes {
                    if kept.digests.len() >= MAX_KEPT {
                        kept.digests.clear();
                    }
                    kept.digests.insert(key, digest);
                }
                digest
            }
        };
        let statement = digest.map(|digest| Statement {
            collection: followers_of(actor),
            url: format!("{actor}/{PARTIAL}"),
            digest,
        });
        Ok(statement.and_then(|statement| statement.to_header()))
    }
}
