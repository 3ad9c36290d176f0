//! What is said to an instance about the followers there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::Graph;
use fedsx_kernel::state::{StateError, StateView};
use hyper::header::HeaderValue;

use super::{PARTIAL, Partial, Statement, followers_at};
use crate::audience::followers_of;

/// Statements that are kept; beyond that all are computed anew.
const MAX_KEPT: usize = 10_000;

/// What is said of followers by actor and instance; cheap to clone. One is computed from the graph
/// when it is first wanted and forgotten when a follower of that instance comes or goes.
#[derive(Clone, Default)]
pub(crate) struct Statements {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// By actor, then by instance.
    headers: HashMap<String, HashMap<String, Option<HeaderValue>>>,
    count: usize,
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
        let headers = kept.headers.get_mut(actor);
        if headers.is_some_and(|headers| headers.remove(origin).is_some()) {
            kept.count = kept.count.saturating_sub(1);
        }
    }

    /// The header where it is kept, also that there is none.
    pub fn kept(&self, actor: &str, origin: &str) -> Option<Option<HeaderValue>> {
        self.lock().headers.get(actor)?.get(origin).cloned()
    }

    /// The header for what an actor sends to its followers on an instance; `None` where they are
    /// too many. Blocks.
    pub fn header(
        &self,
        state: &dyn StateView,
        actor: &str,
        origin: &str,
    ) -> Result<Option<HeaderValue>, StateError> {
        let (known, changes) = {
            let kept = self.lock();
            let known = kept.headers.get(actor).and_then(|headers| headers.get(origin).cloned());
            (known, kept.changes)
        };
        if let Some(header) = known {
            return Ok(header);
        }
        let followers = followers_at(&Graph::new(GRAPH), state, actor, origin)?;
        let digest = followers.map(|ids| Partial::of(ids.iter().map(String::as_str)));
        let statement = digest.map(|digest| Statement {
            collection: followers_of(actor),
            url: format!("{actor}/{PARTIAL}"),
            digest,
        });
        let header = statement.and_then(|statement| statement.to_header());
        let mut kept = self.lock();
        if kept.changes == changes {
            if kept.count >= MAX_KEPT {
                kept.headers.clear();
                kept.count = 0;
            }
            let headers = kept.headers.entry(actor.to_owned()).or_default();
            if headers.insert(origin.to_owned(), header.clone()).is_none() {
                kept.count += 1;
            }
        }
        Ok(header)
    }
}
