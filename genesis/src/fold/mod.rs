//! The admission folds: what pipelines must know at once, applied by the writer in commit order.

mod actors;
mod blocks;
mod erasures;
mod follows;
mod moves;
mod objects;
mod positions;
mod subscriptions;

use fedsx_kernel::Base;
use fedsx_kernel::log::Record;
use fedsx_kernel::rules::RULES_VERSION;
use fedsx_kernel::state::{State, StateError};

use crate::registry::Registry;

pub use blocks::blocks;
pub use follows::was_follower;
pub use objects::{Owned, owned};
pub use positions::{Equivocation, equivocation_count, equivocations};

/// Where the follow graph stands in the admission state.
pub const GRAPH: &str = "graph";

/// The version of these folds: 2 since definitions can be adopted and withdrawn, 3 since Moves count,
/// 4 since the state says by a hash what is in force, 5 since it says which decisions stand,
/// 6 since it says when it was decided last, 7 since it says which ends of keys are assumed.
pub const VERSION: u64 = 7;

/// Changes the admission state by a record.
pub fn fold(base: &Base, state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    if record.entry.global_seq == 1 {
        state.put(RULES_VERSION, VERSION.into());
    }
    positions::fold(base, state, record)?;
    actors::fold(base, state, record)?;
    Registry::ADMISSION.fold(base, state, record)?;
    objects::fold(state, record)?;
    blocks::fold(state, record)?;
    crate::moderation::fold(base, state, record)?;
    erasures::fold(state, record)?;
    moves::fold(state, record)?;
    subscriptions::fold(state, record)?;
    if record.entry.stream != fedsx_kernel::log::Stream::Local {
        follows::fold(base, state, record)?;
    }
    Ok(())
}
