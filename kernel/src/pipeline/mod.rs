//! The two ways into the log.
//!
//! Outbound: shape, registry, construct, sign, append. Inbound: limits, shape, sender policy,
//! signature, replay, registry, append. The first failure stops, with its own problem type.

pub mod inbound;
pub(crate) mod outbound;
pub(crate) mod rates;
pub(crate) mod replays;

pub use outbound::{contexts, seconds};
pub use rates::Rates;
