//! Answers that are kept as bytes while they are asked for.
//!
//! Only what anyone may read is kept, or what anyone may read of a page: nothing here depends on
//! who asks. Each answer is kept with what it was made of, its stamp, and is void as soon as that
//! is another: so nothing has to be told when something changes. What a stamp does not hold, such
//! as how moderation stands to an author, is looked at for each request.

use std::sync::Arc;

use axum::body::Bytes;
use fedsx_kernel::{ActorName, Cid};
use fedsx_projections::Point;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;

/// Answers that are kept, about.
const KEPT: usize = 4096;
/// What they take together at most, in bytes.
const KEPT_BYTES: u64 = 8 * 1024 * 1024;
/// What an answer takes beside its bytes.
const OVERHEAD_BYTES: usize = 256;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// The document of an actor that lives here.
    Actor(ActorName),
    /// An activity.
    Activity(Cid),
    /// The object that an activity states.
    Object(Cid),
    /// A page of an actor's outbox, by its query.
    Outbox(ActorName, String),
    /// A page of a projection, by its query.
    Projection(String, String),
}

impl Asked {
    fn bytes(&self) -> usize {
        match self {
            Self::Actor(_) | Self::Activity(_) | Self::Object(_) => 0,
            Self::Outbox(_, query) => query.len(),
            Self::Projection(name, query) => name.len() + query.len(),
        }
    }
}

/// What an answer was made of.
#[derive(Clone, Debug)]
pub(crate) enum Stamp {
    /// A row of the admission state: the very same one, which is another after each change.
    Row(Arc<Value>),
    /// Bodies, none of which was erased since so many were ([`fedsx_kernel::log::Log::erasures`]).
    Bodies { erasures: u64 },
    /// The same, of an outbox of so many positions.
    Outbox { erasures: u64, total: u64 },
    /// The whole log up to a position, and a projection as it stood.
    Log { head: u64, point: Point },
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Row(one), Self::Row(other)) => Arc::ptr_eq(one, other),
            (Self::Bodies { erasures: one }, Self::Bodies { erasures: other }) => one == other,
            (
                Self::Outbox { erasures, total },
                Self::Outbox { erasures: others, total: of_other },
            ) => (erasures, total) == (others, of_other),
            (Self::Log { head, point }, Self::Log { head: others, point: of_other }) => {
                (head, point) == (others, of_other)
            }
            _ => false,
        }
    }
}

/// An answer: JSON, and whose words it is where that is one actor's.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) json: Bytes,
    pub(crate) author: Option<Arc<str>>,
    stamp: Stamp,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Asked, Kept> for ByBytes {
    fn weight(&self, asked: &Asked, kept: &Kept) -> u64 {
        // A row is held decoded, beside the text that was made of it.
        let times = if matches!(kept.stamp, Stamp::Row(_)) { 4 } else { 1 };
        (asked.bytes() + times * kept.json.len() + OVERHEAD_BYTES) as u64
    }
}

/// The answers that are kept.
pub(crate) struct Hot(Cache<Asked, Kept, ByBytes>);

impl Default for Hot {
    fn default() -> Self {
        Self(Cache::with_weighter(KEPT, KEPT_BYTES, ByBytes))
    }
}

impl Hot {
    /// The answer, where it was made of the same.
    pub(crate) fn get(&self, asked: &Asked, stamp: &Stamp) -> Option<Kept> {
        self.0.get(asked).filter(|kept| kept.stamp == *stamp)
    }

    /// Keeps an answer. The stamp is from before anything was read for it.
    pub(crate) fn keep(&self, asked: Asked, stamp: Stamp, author: Option<&str>, json: Bytes) {
        self.0.insert(asked, Kept { json, author: author.map(Arc::from), stamp });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_is_void_when_what_it_was_made_of_is_another() {
        let (hot, cid) = (Hot::default(), Cid::of_block(b"x"));
        let asked = Asked::Activity(cid);
        let bodies = |erasures| Stamp::Bodies { erasures };
        hot.keep(asked.clone(), bodies(1), Some("alice"), Bytes::from_static(b"{}"));
        assert_eq!(hot.get(&asked, &bodies(1)).unwrap().author.as_deref(), Some("alice"));
        assert!(hot.get(&asked, &bodies(2)).is_none());
        assert!(hot.get(&Asked::Object(cid), &bodies(1)).is_none());
        let (row, same) = (Arc::new(Value::Null), Arc::new(Value::Null));
        let asked = Asked::Actor("alice".parse().unwrap());
        hot.keep(asked.clone(), Stamp::Row(row.clone()), None, Bytes::from_static(b"{}"));
        assert!(hot.get(&asked, &Stamp::Row(row)).is_some());
        assert!(hot.get(&asked, &Stamp::Row(same)).is_none(), "another row of the same content");
    }

    #[test]
    fn memory_is_bounded() {
        let hot = Hot::default();
        for number in 0..3000_u64 {
            let asked = Asked::Projection("feed".into(), number.to_string());
            let stamp = Stamp::Bodies { erasures: 0 };
            hot.keep(asked, stamp, None, Bytes::from(vec![0; 10 * 1024]));
        }
        assert!(hot.0.weight() <= KEPT_BYTES && !hot.0.is_empty(), "{}", hot.0.weight());
    }
}
