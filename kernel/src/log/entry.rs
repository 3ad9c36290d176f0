use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::activity::Activity;
use crate::address::ActorName;
use crate::cid::Cid;

/// A stream of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Stream {
    /// What a hosted actor published.
    Outbox(ActorName),
    /// What a hosted actor received.
    Inbox(ActorName),
    /// What this instance observed and decided itself.
    Local,
}

/// Why a text names no stream.
#[derive(Debug, Error)]
#[error("{0:?} names no stream")]
pub struct StreamError(String);

impl Stream {
    /// The actor whose outbox this is.
    pub fn author(&self) -> Option<&ActorName> {
        match self {
            Self::Outbox(name) => Some(name),
            _ => None,
        }
    }

    /// The actor whose inbox this is.
    pub fn receiver(&self) -> Option<&ActorName> {
        match self {
            Self::Inbox(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbox(name) => write!(f, "outbox/{name}"),
            Self::Inbox(name) => write!(f, "inbox/{name}"),
            Self::Local => f.write_str("local"),
        }
    }
}

impl FromStr for Stream {
    type Err = StreamError;

    fn from_str(text: &str) -> Result<Self, StreamError> {
        let fail = || StreamError(text.to_owned());
        match text.split_once('/') {
            None if text == "local" => Ok(Self::Local),
            Some(("outbox", name)) => name.parse().map(Self::Outbox).map_err(|_| fail()),
            Some(("inbox", name)) => name.parse().map(Self::Inbox).map_err(|_| fail()),
            _ => Err(fail()),
        }
    }
}

impl TryFrom<String> for Stream {
    type Error = StreamError;

    fn try_from(text: String) -> Result<Self, StreamError> {
        text.parse()
    }
}

impl From<Stream> for String {
    fn from(stream: Stream) -> Self {
        stream.to_string()
    }
}

/// What is known about an entry beside the signed body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// When it came, in milliseconds since 1970, by our clock.
    pub received_ms: i64,
    /// The origin that it came from; `None` for what was made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What vouches for it: `proof:<key id>`, `http-signature:<key id>` or `fetch:<url>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_by: Option<String>,
    /// The definition by which it was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<Cid>,
    /// Whether it is history that was fetched, not news that was delivered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfilled: bool,
    /// Recipients that nobody else may see (`bto`, `bcc`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
    /// The activity that caused this one, for what the instance derived itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cid>,
}

/// One place of one body in one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the whole log, from 1.
    pub global_seq: u64,
    /// The stream.
    pub stream: Stream,
    /// Position in the stream, from 0.
    pub stream_seq: u64,
    /// The body.
    pub cid: Cid,
    /// Whether the body was not in the log before this entry.
    pub first: bool,
    /// What else is known.
    pub meta: Meta,
}

/// An entry with its body.
#[derive(Clone, Debug)]
pub struct Record {
    /// The entry.
    pub entry: Entry,
    /// The body.
    pub activity: Arc<Activity>,
}

/// Records that follow each other, shared by all who read them.
pub type Records = Arc<[Arc<Record>]>;
