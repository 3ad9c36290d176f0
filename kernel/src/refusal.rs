//! Why something was refused, in words that stay the same between releases.
//!
//! A [`Problem`] is a stable slug; the server turns it into an RFC 9457 problem
//! document and `plans/errors/<slug>.md` explains it to people.

use std::fmt;

use serde_json::Value;

/// The member of a problem document with the seconds to wait.
pub const RETRY_AFTER: &str = "retryAfter";

/// The stable name of a kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Problem {
    /// The bytes are not the JSON that we accept (syntax, duplicate keys, numbers, depth).
    MalformedJson,
    /// The document is larger than the limit.
    TooLarge,
    /// Path and query of the request are longer than the limit.
    UriTooLong,
    /// The header fields of the request are larger than the limit.
    HeadersTooLarge,
    /// The document is JSON but not an activity.
    InvalidActivity,
    /// The verb is not in the registry.
    UnknownActivityType,
    /// The object type is not in the registry.
    UnknownObjectType,
    /// The registered schema refuses the document.
    SchemaViolation,
    /// No token, or a token that we do not know.
    InvalidToken,
    /// The token is known, but may not do this.
    InsufficientScope,
    /// The actor does not exist here.
    UnknownActor,
    /// The actor was deleted.
    ActorGone,
    /// The actor was suspended by who operates the instance.
    ActorSuspended,
    /// The actor exists already.
    ActorExists,
    /// There is nothing at this address, or nothing that the caller may see.
    NotFound,
    /// What was here was erased.
    Erased,
    /// Only what its author deleted can be erased.
    NotDeleted,
    /// Neither a valid proof nor a valid HTTP signature.
    InvalidSignature,
    /// The signer's keys could not be had.
    UnknownKey,
    /// The same signed request was seen before.
    ReplayedRequest,
    /// The sender is blocked here.
    Blocked,
    /// The statement is about something that belongs to another origin or author.
    WrongOrigin,
    /// The author may not say this (not the owner, not the follower, not the followed).
    NotAuthorised,
    /// The activity lies too far in the future.
    FromTheFuture,
    /// The reference points to nothing that we hold.
    UnknownReference,
    /// An actor cannot follow itself.
    SelfFollow,
    /// The idempotency key was used for something else.
    IdempotencyConflict,
    /// The private key of the actor is not on this instance.
    PrivateKeyMissing,
    /// Another writer took this position.
    Conflict,
    /// None of the media types that the caller accepts can be served.
    NotAcceptable,
    /// The body has a media type that we do not take.
    UnsupportedMediaType,
    /// The method is not allowed at this address.
    MethodNotAllowed,
    /// A query parameter has an impossible value.
    InvalidParameter,
    /// Too many requests from this client or peer.
    TooManyRequests,
    /// The queue for this actor or for the log is full.
    Busy,
    /// The deadline passed before the state reached the asked position.
    NotCaughtUp,
    /// The request took too long to arrive.
    RequestTimeout,
    /// A remote server could not be reached or did not answer with what was asked.
    UpstreamFailed,
    /// The address is private or the scheme is not allowed here.
    ForbiddenAddress,
    /// What was asked for is reserved for later.
    NotImplemented,
    /// The disk is full.
    StorageFull,
    /// The store refused a write and takes no more.
    StorePoisoned,
    /// A fault of ours.
    Internal,
}

impl Problem {
    /// The slug used in problem documents and page names.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed-json",
            Self::TooLarge => "too-large",
            Self::UriTooLong => "uri-too-long",
            Self::HeadersTooLarge => "headers-too-large",
            Self::InvalidActivity => "invalid-activity",
            Self::UnknownActivityType => "unknown-activity-type",
            Self::UnknownObjectType => "unknown-object-type",
            Self::SchemaViolation => "schema-violation",
            Self::InvalidToken => "invalid-token",
            Self::InsufficientScope => "insufficient-scope",
            Self::UnknownActor => "unknown-actor",
            Self::ActorGone => "actor-gone",
            Self::ActorExists => "actor-exists",
            Self::NotFound => "not-found",
            Self::Erased => "erased",
            Self::NotDeleted => "not-deleted",
            Self::InvalidSignature => "invalid-signature",
            Self::UnknownKey => "unknown-key",
            Self::ReplayedRequest => "replayed-request",
            Self::ActorSuspended => "actor-suspended",
            Self::Blocked => "blocked",
            Self::WrongOrigin => "wrong-origin",
            Self::NotAuthorised => "not-authorised",
            Self::FromTheFuture => "from-the-future",
            Self::UnknownReference => "unknown-reference",
            Self::SelfFollow => "self-follow",
            Self::IdempotencyConflict => "idempotency-conflict",
            Self::PrivateKeyMissing => "private-key-missing",
            Self::Conflict => "conflict",
            Self::NotAcceptable => "not-acceptable",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::InvalidParameter => "invalid-parameter",
            Self::TooManyRequests => "too-many-requests",
            Self::Busy => "busy",
            Self::NotCaughtUp => "not-caught-up",
            Self::RequestTimeout => "request-timeout",
            Self::UpstreamFailed => "upstream-failed",
            Self::ForbiddenAddress => "forbidden-address",
            Self::NotImplemented => "not-implemented",
            Self::StorageFull => "storage-full",
            Self::StorePoisoned => "store-poisoned",
            Self::Internal => "internal",
        }
    }

    /// One sentence that holds for every refusal of this kind.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "The document is not acceptable JSON",
            Self::TooLarge => "The document is too large",
            Self::UriTooLong => "Path and query are too long",
            Self::HeadersTooLarge => "The header fields are too large",
            Self::InvalidActivity => "The document is not a valid activity",
            Self::UnknownActivityType => "The activity type is not registered here",
            Self::UnknownObjectType => "The object type is not registered here",
            Self::SchemaViolation => "The document does not fit the registered schema",
            Self::InvalidToken => "A valid bearer token is needed",
            Self::InsufficientScope => "The token does not allow this",
            Self::UnknownActor => "There is no such actor here",
            Self::ActorGone => "The actor was deleted",
            Self::ActorExists => "The actor exists already",
            Self::NotFound => "There is nothing here for you",
            Self::Erased => "The content was erased",
            Self::NotDeleted => "The object was not deleted",
            Self::InvalidSignature => "The signature is missing or does not hold",
            Self::UnknownKey => "The signer's keys could not be established",
            Self::ReplayedRequest => "This signed request was seen before",
            Self::ActorSuspended => "The actor is suspended",
            Self::Blocked => "This instance has nothing to do with that one",
            Self::WrongOrigin => "The statement concerns another origin",
            Self::NotAuthorised => "The author may not state this",
            Self::FromTheFuture => "The activity lies in the future",
            Self::UnknownReference => "The reference cannot be resolved",
            Self::SelfFollow => "An actor cannot follow itself",
            Self::IdempotencyConflict => "The idempotency key was used for another request",
            Self::PrivateKeyMissing => "The private key of the actor is not here",
            Self::Conflict => "The log moved on meanwhile",
            Self::NotAcceptable => "No acceptable representation exists",
            Self::UnsupportedMediaType => "This media type is not taken here",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::InvalidParameter => "A parameter has an impossible value",
            Self::TooManyRequests => "Too many requests",
            Self::Busy => "Too much work in flight",
            Self::NotCaughtUp => "The state has not reached the asked position",
            Self::RequestTimeout => "The request took too long",
            Self::UpstreamFailed => "A remote server did not give what was needed",
            Self::ForbiddenAddress => "The address may not be contacted",
            Self::NotImplemented => "This is not there yet",
            Self::StorageFull => "The disk is full",
            Self::StorePoisoned => "The store takes no more writes",
            Self::Internal => "Something failed here",
        }
    }

    /// Every kind, for documentation and tests.
    pub const ALL: &'static [Problem] = &[
        Self::MalformedJson,
        Self::TooLarge,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::InvalidActivity,
        Self::UnknownActivityType,
        Self::UnknownObjectType,
        Self::SchemaViolation,
        Self::InvalidToken,
        Self::InsufficientScope,
        Self::UnknownActor,
        Self::ActorGone,
        Self::ActorExists,
        Self::NotFound,
        Self::Erased,
        Self::NotDeleted,
        Self::InvalidSignature,
        Self::UnknownKey,
        Self::ReplayedRequest,
        Self::ActorSuspended,
        Self::Blocked,
        Self::WrongOrigin,
        Self::NotAuthorised,
        Self::FromTheFuture,
        Self::UnknownReference,
        Self::SelfFollow,
        Self::IdempotencyConflict,
        Self::PrivateKeyMissing,
        Self::Conflict,
        Self::NotAcceptable,
        Self::UnsupportedMediaType,
        Self::MethodNotAllowed,
        Self::InvalidParameter,
        Self::TooManyRequests,
        Self::Busy,
        Self::NotCaughtUp,
        Self::RequestTimeout,
        Self::UpstreamFailed,
        Self::ForbiddenAddress,
        Self::NotImplemented,
        Self::StorageFull,
        Self::StorePoisoned,
        Self::Internal,
    ];
}

/// A refusal: the kind, what exactly is wrong, and members for the problem document.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The kind.
    pub problem: Problem,
    /// What is wrong with this very request, for a person to read.
    pub detail: String,
    /// Further members of the problem document (RFC 9457, section 3.2).
    pub members: Vec<(&'static str, Value)>,
}

impl Refusal {
    /// A refusal without further members.
    pub fn new(problem: Problem, detail: impl Into<String>) -> Self {
        Self { problem, detail: detail.into(), members: Vec::new() }
    }

    /// The same refusal with one more member in its problem document.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }
}

impl Refusal {
    /// The same refusal with the member `retryAfter`: seconds after which another try makes sense.
    /// The server says so in a header too.
    #[must_use]
    pub fn retry_after_s(self, seconds: i64) -> Self {
        self.with(RETRY_AFTER, seconds.max(1))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem.slug(), self.detail)
    }
}

impl std::error::Error for Refusal {}
