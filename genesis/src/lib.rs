//! Genesis: the vocabulary that an instance starts with, and what its verbs mean.
//!
//! The bundle is data ([`bundle`], [`definition`], [`schema`]); [`rules`] and [`fold`] give the
//! kernel the meaning of the few verbs that decide who may do what; [`graph`] is the follow
//! graph; [`reactions`] and [`boot`] act for the instance; [`erasure`] takes content out of the log.

pub mod actor_keys;
pub mod actors;
pub mod boot;
pub mod bundle;
pub mod definition;
pub mod erasure;
pub mod fold;
pub mod follower;
pub mod forwarding;
pub mod fuzzing;
pub mod graph;
mod kept;
pub mod manifest;
pub mod moderation;
pub mod moves;
pub mod published;
pub mod reactions;
pub mod readers;
pub mod records;
pub mod registry;
pub mod rules;
pub mod schema;
pub mod script;
pub mod triggers;

pub use rules::GenesisRules;
