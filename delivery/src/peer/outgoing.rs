//! What is the same in every send of one activity, made once: a post to a thousand instances is one text, not a
//! thousand.

use std::sync::Arc;

use fedsx_kernel::log::{Log, StoreError};
use fedsx_kernel::pipeline::inbound::without_hidden;
use fedsx_kernel::{Activity, Base, Cid};
use hyper::body::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;

use crate::audience::followers_of;
use crate::signature::BodyDigest;

/// How much text is kept, in bytes.
const KEPT_BYTES: u64 = 8 * 1024 * 1024;
/// Activities that this is, about.
const KEPT: usize = 4096;
/// What an entry takes beside its text, about, in bytes.
const OVERHEAD_BYTES: usize = 256;

/// An activity as it is sent.
pub(super) struct Outgoing {
    pub activity: Arc<Activity>,
    /// Its JSON, without hidden recipients.
    pub body: Bytes,
    /// What requests say of the body.
    pub digest: BodyDigest,
    /// Whether an actor of ours says it.
    pub is_ours: bool,
    /// Whether it goes to the followers of that actor. Whoever is deleted has none, and nobody is to look for them.
    pub is_for_followers: bool,
    /// How many bodies were erased before it was read.
    erasures: u64,
}

/// Activities that were sent a short while ago; cheap to clone.
#[derive(Clone)]
pub(crate) struct Outgoings(Arc<Cache<Cid, Arc<Outgoing>, ByBytes>>);

/// Counts what entries take in memory.
#[derive(Clone)]
struct ByBytes;

impl Weighter<Cid, Arc<Outgoing>> for ByBytes {
    fn weight(&self, _: &Cid, outgoing: &Arc<Outgoing>) -> u64 {
        outgoing.body.len().saturating_add(OVERHEAD_BYTES) as u64
    }
}

impl Outgoings {
    pub fn new() -> Self {
        Self(Arc::new(Cache::with_weighter(KEPT, KEPT_BYTES, ByBytes)))
    }

    /// An activity that was made ready before, where nothing was erased since.
    pub(super) fn kept(&self, log: &Log, cid: &Cid) -> Option<Arc<Outgoing>> {
        let erasures = log.erasures();
        self.0.get(cid).filter(|kept| kept.erasures == erasures)
    }

    /// An activity as it is to be sent now; `None` where the log has none. What was erased is never taken from
    /// what is kept. Blocks.
    pub(super) fn of(
        &self,
        base: &Base,
        log: &Log,
        cid: &Cid,
    ) -> Result<Option<Arc<Outgoing>>, StoreError> {
        let erasures = log.erasures();
        if let Some(kept) = self.kept(log, cid) {
            return Ok(Some(kept));
        }
        let Some(activity) = log.activity(cid)? else { return Ok(None) };
        let mut document = activity.document().clone();
        without_hidden(&mut document);
        let body = Bytes::from(Value::Object(document).to_string());
        let digest = BodyDigest::of(&body);
        let is_ours = base.is_local(activity.actor());
        let is_farewell =
            activity.kind() == "Delete" && activity.object_id() == Some(activity.actor());
        let followers = followers_of(activity.actor());
        let is_for_followers =
            is_ours && !is_farewell && activity.audience().contains(&followers.as_str());
        let outgoing =
            Arc::new(Outgoing { activity, body, digest, is_ours, is_for_followers, erasures });
        self.0.insert(*cid, outgoing.clone());
        Ok(Some(outgoing))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::testing::{ALICE, Node};

    #[tokio::test(start_paused = true)]
    async fn it_is_made_once_and_what_was_erased_is_not_kept() {
        let node = Node::new().await;
        let (base, log, outgoings) =
            (&node.kernel.options().base, node.kernel.log(), Outgoings::new());
        let to = ["http://b.example/u/bob"];
        let object =
            json!({"id": "http://here.example/objects/1", "content": "a secret", "bto": to});
        let said = json!({"type": "Note", "actor": ALICE, "to": to, "object": object});
        let cid = node.appends(said).await;
        let first = outgoings.of(base, log, &cid).unwrap().unwrap();
        let text = String::from_utf8(first.body.to_vec()).unwrap();
        assert!(text.contains("a secret") && !text.contains("bto"), "{text}");
        assert_eq!(first.digest, BodyDigest::of(text.as_bytes()));
        assert!(Arc::ptr_eq(&first, &outgoings.of(base, log, &cid).unwrap().unwrap()));

        let mut left = first.activity.document().clone();
        left.insert("object".into(), json!({"id": "http://here.example/objects/1"}));
        let stub = first.activity.stub(left).unwrap();
        node.kernel.erase(stub, "http://here.example/objects/1", ALICE, "a test").await.unwrap();
        let after = outgoings.of(base, log, &cid).unwrap().unwrap();
        assert!(after.activity.is_erased() && !after.body.windows(8).any(|w| w == b"a secret"));
        assert!(outgoings.of(base, log, &Cid::of_block(b"another")).unwrap().is_none());
    }
}
