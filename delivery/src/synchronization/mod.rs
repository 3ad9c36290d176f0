//! Followers collection synchronisation (FEP-8fcf): both ends of a Follow notice when they do not
//! agree on it any more.
//!
//! What goes to an actor's followers says, in the header `Collection-Synchronization`, which of its
//! followers the sender believes to be on the receiving instance: as a digest, and where to read
//! the list. That list is for the instance alone whom it is about. A receiver whose digest differs
//! fetches it, and ends what the other does not know of.

mod incoming;
mod outgoing;

use fedsx_genesis::graph::Graph;
use fedsx_kernel::address::same_origin;
use fedsx_kernel::state::{StateError, StateView};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::signature::Parameters;

pub(crate) use incoming::Synchronizer;
pub(crate) use outgoing::Statements;

/// The header's name.
pub const COLLECTION_SYNCHRONIZATION: HeaderName =
    HeaderName::from_static("collection-synchronization");
/// Where an actor's followers of the asking instance are listed, below the actor's id.
pub const PARTIAL: &str = "followers/synchronization";
/// The most followers of one instance that are compared. Beyond that nothing is said: the list
/// would have to be whole, and no receiver would take it.
pub const MAX_FOLLOWERS: usize = 20_000;
/// The longest header that is read, in bytes.
const MAX_HEADER_BYTES: usize = 4096;
/// Followers are read in pages of this size.
const PAGE: usize = 1024;

/// The exclusive or of the SHA-256 hashes of ids: in whatever order they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partial([u8; 32]);

impl Partial {
    pub fn add(&mut self, id: &str) {
        for (own, other) in self.0.iter_mut().zip(Sha256::digest(id.as_bytes())) {
            *own ^= other;
        }
    }

    pub fn of<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let mut partial = Self::default();
        ids.into_iter().for_each(|id| partial.add(id));
        partial
    }

    fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// What a sender says of its followers on the receiving instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The sender's followers collection.
    collection: String,
    /// Where the part of it is listed that is on the receiving instance.
    url: String,
    digest: Partial,
}

impl Statement {
    /// The statement of a request; `None` where there is none that can be read.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(COLLECTION_SYNCHRONIZATION)?;
        let text = value.to_str().ok().filter(|text| text.len() <= MAX_HEADER_BYTES)?;
        let parameters = Parameters::parse(text).ok()?;
        let (collection, url) = (parameters.get("collectionid")?, parameters.get("url")?);
        let digest = Partial::from_hex(parameters.get("digest")?)?;
        // Both are of the sender, which the caller compares with one of them.
        let fits = same_origin(collection, url);
        fits.then(|| Self { collection: collection.to_owned(), url: url.to_owned(), digest })
    }

    fn to_header(&self) -> Option<HeaderValue> {
        let Self { collection, url, digest } = self;
        let digest = digest.to_hex();
        let text = format!(r#"collectionId="{collection}", url="{url}", digest="{digest}""#);
        HeaderValue::try_from(text).ok()
    }
}

/// The followers of an actor that are of one origin, all of them; `None` where there are too many.
///
/// # Errors
/// Where the state cannot be read.
pub fn followers_at(
    graph: &Graph,
    state: &dyn StateView,
    actor: &str,
    origin: &str,
) -> Result<Option<Vec<String>>, StateError> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let after = all.last().cloned();
        let page = graph.followers_at(state, actor, origin, after.as_deref(), PAGE)?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if all.len() > MAX_FOLLOWERS {
            return Ok(None);
        }
        if is_last {
            return Ok(Some(all));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use fedsx_genesis::fold::GRAPH;
    use fedsx_kernel::Activity;
    use fedsx_kernel::state::MemoryState;
    use serde_json::json;

    use super::*;

    const BOB: &str = "https://b.example/bob";
    const BEN: &str = "https://b.example/ben";
    const ALICE: &str = "https://a.example/actors/alice";

    #[test]
    fn digests() {
        // SHA-256 of "https://testing.example.org/users/1" and of ".../2", as the FEP has them.
        let one = "https://testing.example.org/users/1";
        let two = "https://testing.example.org/users/2";
        let both = Partial::of([one, two]);
        assert_eq!(
            both.to_hex(),
            "c33f48cd341ef046a206b8a72ec97af65079f9a3a9b90eef79c5920dce45c61f"
        );
        assert_eq!(both, Partial::of([two, one]));
        assert_eq!(Partial::of([one, one]), Partial::default());
        assert_eq!(Partial::default().to_hex(), "0".repeat(64));
        assert_eq!(Partial::from_hex(&both.to_hex().to_uppercase()), Some(both));
        for bad in ["", "0", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Partial::from_hex(bad), None, "{bad}");
        }
    }

    /// A state in which so many of Bob's instance follow Alice: what one Follow makes
    /// of the listing that is read, under other names.
    fn followed_by(count: usize) -> MemoryState {
        let say = |content: serde_json::Value| Activity::from_document(content).unwrap();
        let follow =
            json!({ "type": "Follow", "id": "https://b.example/f", "actor": BOB, "object": ALICE });
        let accept = json!({ "type": "Accept", "id": "https://a.example/a", "actor": ALICE, "object": follow });
        let mut one = MemoryState::default();
        for content in [follow, accept] {
            Graph::new(GRAPH).fold(&mut one, &say(content)).unwrap();
        }
        let of = |n: usize| {
            let rows =
                one.0.iter().filter(|(key, _)| key.contains("followers") && key.contains(BOB));
            let named = move |key: &String| key.replace(BOB, &format!("https://b.example/u/{n}"));
            rows.map(move |(key, value)| (named(key), value.clone()))
        };
        MemoryState((0..count).flat_map(of).collect())
    }

    #[test]
    fn so_many_followers_are_compared() {
        let bobs = "https://b.example";
        let (all, more) = (followed_by(MAX_FOLLOWERS), followed_by(MAX_FOLLOWERS + 1));
        let followers = |state| followers_at(&Graph::new(GRAPH), state, ALICE, bobs).unwrap();
        assert_eq!(followers(&all).unwrap().len(), MAX_FOLLOWERS);
        assert_eq!(followers(&more), None);
        let says = |state| Statements::default().header(state, ALICE, bobs).unwrap().is_some();
        assert!(says(&all));
        assert!(!says(&more), "nothing is said of more");
    }

    fn read(text: &str) -> Option<Statement> {
        let mut headers = HeaderMap::new();
        headers.insert(COLLECTION_SYNCHRONIZATION, text.parse().unwrap());
        Statement::of(&headers)
    }

    #[test]
    fn headers() {
        let statement = Statement {
            collection: "https://a.example/u/alice/followers".into(),
            url: "https://a.example/u/alice/followers_synchronization".into(),
            digest: Partial::of([BOB, BEN]),
        };
        let text = statement.to_header().unwrap();
        assert_eq!(read(text.to_str().unwrap()), Some(statement));
        let digest = "0".repeat(64);
        let of = |collection: &str, url: &str, digest: &str| {
            read(&format!(r#"collectionId="{collection}", digest="{digest}", url="{url}""#))
        };
        let (here, there) = ("https://a.example/f", "https://b.example/f");
        assert!(of(here, here, &digest).is_some());
        assert!(of(here, there, &digest).is_none(), "another origin");
        assert!(of(here, here, "00").is_none());
        assert!(of(here, &format!("{here}?{}", "x".repeat(5000)), &digest).is_none());
        for bad in ["", "x", "collectionId", r#"url="https://a.example/f""#] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(Statement::of(&HeaderMap::new()), None);
    }
}
