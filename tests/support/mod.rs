//! What the tests share: nodes, an HTTP client, foreign peers and polling.

pub mod client;
pub mod collector;
pub mod crates;
pub mod exposition;
pub mod files;
pub mod foreign;
pub mod inside;
pub mod matrix;
pub mod node;
pub mod npm;
pub mod peer;
pub mod pip;
pub mod poll;
pub mod program;
pub mod signing;
pub mod touchy;
pub mod verbs;

pub use client::{Answer, Client};
pub use node::secret;
pub use peer::{Peer, Posted, Sign};
pub use poll::{PATIENCE, at_once, eventually, holds_for};

pub const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";
pub const ACTIVITY_JSON: &str = "application/activity+json";
