//! WebFinger (RFC 7033): from an account such as `acct:alice@example.org` to its actor.
//!
//! [`answer`] serves our own accounts, [`lookup`] asks other hosts. Types and the serving side
//! come from the `webfinger` crate. Its fetching side is never used, and what it lacks
//! is added here: documents without `links`, properties and titles, resources that are
//! URLs, `@name@host`, percent-encoding, hosts in any case, and a limit on everything.

mod answer;
mod jrd;
mod lookup;
mod resource;

#[cfg(test)]
mod tests;

pub use answer::{Directory, DirectoryError, Subject, answer};
pub use jrd::{JrdError, parse_jrd};
pub use lookup::{Found, LookupError, lookup};
pub use resource::{Account, MAX_RESOURCE_BYTES, Resource, ResourceError};

/// The media type of a WebFinger answer.
pub const JRD_TYPE: &str = "application/jrd+json";
/// The media type that the link to an actor has.
pub(crate) const ACTIVITY_TYPE: &str = "application/activity+json";
