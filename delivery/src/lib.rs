//! Delivery: discovery, audiences, and signed push to the instances of others.
//!
//! [`client`], [`webfinger`] and [`signature`] speak with other servers. [`discovery`] brings their
//! actors here. [`index`] follows the log and keeps, for each peer instance, a durable ordered
//! queue of what is owed to it; one actor in [`peer`] sends it. [`backfill`] fetches
//! history that a Follow asked for, `gaps` what was lost on its way. [`Delivery`] is the handle on all of it.
//!
//! Invariant: nothing here decides whether an activity may be published; a dead peer never
//! slows a publish down.
#![forbid(unsafe_code)]

pub mod announced;
pub mod audience;
pub mod backfill;
pub mod client;
pub mod discovery;
mod gaps;
mod index;
mod ledger;
pub mod moves;
mod pause;
mod peer;
pub mod service;
pub mod signature;
pub mod standings;
pub mod synchronization;
pub mod webfinger;

#[cfg(test)]
mod testing;

pub use discovery::{Discovery, DiscoveryOptions};
pub use ledger::{Attempt, Grounds, Schemes, Signing, StatusKind};
pub use service::{
    DeadLetter, Delivery, DeliveryError, Options, PeerInfo, PeerStatus, Span, StatePage, StateRow,
};
