//! What several folds share.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fedsx_genesis::actors::is_actor_type;
use fedsx_genesis::readers::is_for_anyone;
use fedsx_genesis::rules;
use fedsx_kernel::activity::{Activity, ids_in, kind_of};
use fedsx_kernel::address::{origin_of, same_origin};
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::order::Order;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A statement's place among those of its author; the CID decides between statements at one
/// place, so that arrival never does.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) order: Order,
    pub(super) cid: String,
}

impl Stamp {
    pub(super) fn of(activity: &Activity) -> Self {
        Self { order: activity.order(), cid: activity.cid().to_string() }
    }

    /// A text that sorts like the stamp.
    pub(super) fn sortable(&self) -> String {
        let Order { epoch, seq, time_ms } = self.order;
        // Shifts the signed range onto the unsigned one without changing the order.
        let time = time_ms.cast_unsigned() ^ (1 << 63);
        format!("{epoch:016x}{seq:016x}{time:016x}{}", self.cid)
    }
}

/// Whether anyone may read an activity.
pub(crate) fn is_public(activity: &Activity) -> bool {
    is_for_anyone(activity)
}

/// Whether an object addresses everyone itself.
pub(super) fn is_public_object(document: &Map<String, Value>) -> bool {
    ["to", "cc", "audience"]
        .iter()
        .any(|member| ids_in(document.get(*member)).iter().any(|id| rules::is_public(id)))
}

/// Whether the instance itself made this record.
pub(super) fn is_local_record(record: &Record) -> bool {
    record.entry.stream == Stream::Local
}

/// The embedded object and its id.
pub(super) fn embedded(activity: &Activity) -> Option<(&str, &Map<String, Value>)> {
    let object = activity.object()?.as_object()?;
    Some((activity.object_id()?, object))
}

/// Whether a document is one of an actor.
pub(super) fn is_actor(document: &Map<String, Value>) -> bool {
    kind_of(document).is_some_and(is_actor_type)
}

/// Whether an actor deletes itself.
pub(super) fn is_farewell(activity: &Activity) -> bool {
    activity.kind() == "Delete" && activity.object_id() == Some(activity.actor())
}

/// Whether an author may speak of an object as its own: it is of the author's origin, and is
/// attributed to the author where it is attributed to anyone (FEP-fe34).
pub(super) fn is_own(author: &str, id: &str, document: &Map<String, Value>) -> bool {
    let attributed = ids_in(document.get("attributedTo"));
    same_origin(author, id) && (attributed.is_empty() || attributed.contains(&author))
}

/// A short name for a list of texts, for keys that are only looked up: 128 bits of a hash, which
/// nobody can make two lists share.
pub(super) fn tag(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // The length in front keeps neighbours apart.
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut hash = [0; 16];
    hasher.finalize_xof().fill(&mut hash);
    URL_SAFE_NO_PAD.encode(hash)
}

/// An id as it is stored beside another one: without the origin that they share.
pub(super) fn beside<'a>(id: &'a str, other: &str) -> &'a str {
    let rest = origin_of(other).and_then(|origin| id.strip_prefix(origin.as_str()));
    // What is left of a URL after its origin; anything else could be taken for a whole id.
    rest.filter(|rest| rest.starts_with('/')).unwrap_or(id)
}

/// The id that [`beside`] made short.
pub(super) fn beside_whole(short: &str, other: &str) -> String {
    let origin = origin_of(other).filter(|_| short.starts_with('/'));
    origin.map_or_else(|| short.to_owned(), |origin| format!("{origin}{short}"))
}
