//! The built-in folds.

mod actor_state;
mod announces;
mod collections;
pub(crate) mod common;
mod define_registry;
mod endorsements;
mod feed;
mod follower_graph;
mod hashtags;
mod key_history;
mod key_log;
mod objects;
mod peer_actors;
mod profiles;
mod reactions;
mod replies;
mod reports;
mod said;
mod tally;

pub use actor_state::ActorState;
pub use announces::Announces;
pub use collections::{Collections, featured, liked};
pub use define_registry::DefineRegistry;
pub use endorsements::Endorsements;
pub use feed::Feed;
pub use follower_graph::{FollowerGraph, GRAPH};
pub use hashtags::Hashtags;
pub use key_history::KeyHistory;
pub use objects::Objects;
pub use peer_actors::PeerActors;
pub use reactions::Reactions;
pub use replies::Replies;
pub use reports::Reports;

use std::sync::Arc;

use crate::fold::Fold;

/// The name of the instance actor.
pub(crate) const INSTANCE: &str = "instance";

/// Every fold that an instance has without anyone publishing it.
pub fn builtin() -> Vec<Arc<dyn Fold>> {
    vec![
        Arc::new(ActorState),
        Arc::new(Announces),
        Arc::new(Collections),
        Arc::new(DefineRegistry),
        Arc::new(Endorsements),
        Arc::new(Feed),
        Arc::new(FollowerGraph),
        Arc::new(Hashtags),
        Arc::new(KeyHistory),
        Arc::new(Objects),
        Arc::new(PeerActors),
        Arc::new(Reactions),
        Arc::new(Replies),
        Arc::new(Reports),
    ]
}
