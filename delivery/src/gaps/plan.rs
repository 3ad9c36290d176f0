//! What is to be asked for, and as whom. All of this blocks.

use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::Graph;
use fedsx_kernel::log::StoreError;
use fedsx_kernel::state::StateError;
use fedsx_kernel::{ActorName, Kernel};

use super::Ranges;
use crate::ledger::{Ledger, Writes};

/// The most ranges that are kept as settled; beyond them the lowest are joined.
const MAX_RANGES: usize = 256;

/// The positions that are missing before one that arrived, and not settled.
pub(super) fn open(ledger: &Ledger, author: &str) -> Result<Ranges, StoreError> {
    let Some(arrivals) = ledger.arrivals(author)? else { return Ok(Ranges::default()) };
    let mut known = arrivals.ranges().clone();
    let (Some(first), Some(last)) = (known.first(), known.last()) else {
        return Ok(Ranges::default());
    };
    known.insert_all(&ledger.settled(author)?);
    Ok(known.missing(first, last))
}

/// Up to `limit` actors here that follow an actor elsewhere.
pub(super) fn followers(
    kernel: &Kernel,
    author: &str,
    limit: usize,
) -> Result<Vec<ActorName>, StateError> {
    let base = &kernel.options().base;
    let graph = Graph::new(GRAPH);
    let ids = graph.followers_at(kernel.log().state(), author, base.as_str(), None, limit)?;
    Ok(ids.iter().filter_map(|id| base.name_of(id)).collect())
}

/// Nothing more is to be asked about these positions.
pub(super) fn settle(ledger: &Ledger, author: &str, ranges: &Ranges) -> Result<(), StoreError> {
    let Some(arrivals) = ledger.arrivals(author)? else { return Ok(()) };
    let mut settled = ledger.settled(author)?;
    settled.insert_all(ranges);
    // What lies before the first hole needs no remembering.
    if let Some([_, first_end]) = arrivals.ranges().all().first() {
        let mut kept = Ranges::default();
        for [from, to] in settled.all().iter().filter(|[_, to]| to > first_end) {
            kept.insert(*from, *to);
        }
        settled = kept;
    }
    settled.join_lowest(MAX_RANGES);
    let mut writes = Writes::default();
    writes.settled(author, &settled)?;
    ledger.apply(writes)
}
