//! The kinds of record in the `local` stream: what an instance observed and decided itself.

/// A genesis bundle took effect. `object`: `{bundle, definitions: {path: {cid, document}}}`.
pub const GENESIS_ACTIVATED: &str = "GenesisActivated";
/// The document of an actor elsewhere was fetched. `object`: the document; `keyHistory`: its
/// keys with their intervals, where its instance serves them.
pub const ACTOR_FETCHED: &str = "ActorFetched";
/// An activity that an Announce passes on was fetched from its origin. `object`: the activity;
/// `vouchedBy`: what vouches for it; `wrapped`: whether its origin served the object alone, so that
/// the `Create` around it is ours.
pub const ACTIVITY_FETCHED: &str = "ActivityFetched";
/// A Move from elsewhere counts: its target lists the old actor. `object`: `{cid, actor, target,
/// public}`, the Move, both actors, and whether the Move is for everyone.
pub const MOVE_CONFIRMED: &str = "MoveConfirmed";
/// Dead letters were put back into their queue. `object`: which.
pub const DEAD_LETTER_REPLAYED: &str = "DeadLetterReplayed";
pub use fedsx_kernel::log::BODY_ERASED;
