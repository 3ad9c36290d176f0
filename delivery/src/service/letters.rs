//! Dead letters: list, replay, drop.

use fedsx_kernel::log::StoreError;
use serde_json::{Map, Value, json};

use super::{DeadLetter, Delivery, DeliveryError, Span};
use crate::ledger::{Ledger, Letter};
use crate::peer::Selection;

/// The most letters that one page has.
const MAX_PAGE: usize = 1000;
/// What stands for the position in the id of a whole queue.
const WHOLE: &str = "*";

impl Delivery {
    /// Up to `limit` dead letters after the one with the id `after`: first single ones in the order
    /// of peer and position, then the queues of peers that were given up.
    ///
    /// # Errors
    /// Where the ledger cannot be read; [`DeliveryError::NoSuchLetter`] where `after` is no id.
    pub async fn dead_letters(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeliveryError> {
        let (ledger, limit) = (self.ledger.clone(), limit.clamp(1, MAX_PAGE));
        let after = after.map(parse).transpose()?;
        Ok(self.kernel.runtime().run(move || list(&ledger, after, limit)).await??)
    }

    /// Queues a dead letter again, as if it had never been tried. The decision is recorded in the
    /// log first.
    ///
    /// # Errors
    /// [`DeliveryError::NoSuchLetter`] where there is none.
    pub async fn replay(&self, id: &str) -> Result<(), DeliveryError> {
        let (peer, seq) = parse(id)?;
        self.exists(id, &peer, seq).await?;
        self.decided("DeadLetterReplayed", json!({ "id": id, "peer": peer })).await?;
        let selection = seq.map_or(Selection::All, Selection::One);
        self.peers.replay(&peer, selection).await.map(drop)
    }

    /// Queues everything again that was parked for a peer, in order, and tries the peer at once.
    /// Answers how many letters were queued.
    ///
    /// # Errors
    /// Where the decision cannot be recorded or the ledger fails.
    pub async fn replay_peer(&self, peer: &str) -> Result<u64, DeliveryError> {
        self.decided("DeadLetterReplayed", json!({ "peer": peer })).await?;
        self.peers.replay(peer, Selection::All).await
    }

    /// Gives a dead letter up for good; its status stays `parked`. The decision is recorded in the
    /// log first.
    ///
    /// # Errors
    /// [`DeliveryError::NoSuchLetter`] where there is none.
    pub async fn drop_letter(&self, id: &str) -> Result<(), DeliveryError> {
        let (peer, seq) = parse(id)?;
        self.exists(id, &peer, seq).await?;
        self.decided("DeadLetterDropped", json!({ "id": id, "peer": peer })).await?;
        let selection = seq.map_or(Selection::All, Selection::One);
        self.peers.discard(&peer, selection).await.map(drop)
    }

    async fn decided(&self, kind: &str, object: Value) -> Result<(), DeliveryError> {
        let mut content = Map::new();
        content.insert("type".into(), kind.into());
        content.insert("object".into(), object);
        self.kernel.record(content, None).await.map(drop).map_err(DeliveryError::Record)
    }

    async fn exists(&self, id: &str, peer: &str, seq: Option<u64>) -> Result<(), DeliveryError> {
        let (ledger, peer) = (self.ledger.clone(), peer.to_owned());
        let found = self.kernel.runtime().run(move || match seq {
            Some(seq) => Ok(ledger.letter(&peer, seq)?.is_some()),
            None => Ok::<_, StoreError>(ledger.memory(&peer)?.down_since_ms.is_some()),
        });
        if found.await?? { Ok(()) } else { Err(DeliveryError::NoSuchLetter(id.to_owned())) }
    }
}

/// Peer and position; no position for a whole queue.
fn parse(id: &str) -> Result<(String, Option<u64>), DeliveryError> {
    let fail = || DeliveryError::NoSuchLetter(id.chars().take(200).collect());
    let (peer, position) = id.rsplit_once('#').ok_or_else(fail)?;
    let seq = match position {
        WHOLE => None,
        digits => Some(digits.parse().map_err(|_| fail())?),
    };
    Ok((peer.to_owned(), seq))
}

fn list(
    ledger: &Ledger,
    after: Option<(String, Option<u64>)>,
    limit: usize,
) -> Result<Vec<DeadLetter>, StoreError> {
    let mut letters = Vec::new();
    let mut queues_after = None;
    match &after {
        Some((peer, None)) => queues_after = Some(peer.clone()),
        Some((peer, Some(seq))) => {
            letters = ledger.letters(None, Some((peer, *seq)), limit)?;
        }
        None => letters = ledger.letters(None, None, limit)?,
    }
    let mut listed: Vec<_> = letters.into_iter().map(single).collect();
    while listed.len() < limit {
        let page = ledger.memories(queues_after.as_deref(), limit)?;
        let Some((last, _)) = page.last() else { break };
        queues_after = Some(last.clone());
        for (peer, memory) in page {
            let Some(since_ms) = memory.down_since_ms else { continue };
            if listed.len() < limit
                && let Some(queue) = queue(ledger, peer, since_ms)?
            {
                listed.push(queue);
            }
        }
    }
    Ok(listed)
}

fn single((peer, seq, letter): (String, u64, Letter)) -> DeadLetter {
    DeadLetter {
        id: format!("{peer}#{seq}"),
        peer,
        cid: Some(letter.item.cid),
        span: None,
        recipients: letter.item.recipients,
        timeline: letter.timeline,
        parked_ms: letter.parked_ms,
        reason: letter.reason,
    }
}

fn queue(ledger: &Ledger, peer: String, since_ms: i64) -> Result<Option<DeadLetter>, StoreError> {
    let Some((from, to, count)) = ledger.span(&peer)? else { return Ok(None) };
    let first = ledger.items(&peer, None, 1)?.pop();
    let timeline = match &first {
        Some((_, item)) => ledger.status(&item.cid, &peer)?.map(|status| status.timeline),
        None => None,
    };
    let timeline = timeline.unwrap_or_default();
    let reason = timeline.last().and_then(|attempt| attempt.reason.clone()).unwrap_or_default();
    Ok(Some(DeadLetter {
        id: format!("{peer}#{WHOLE}"),
        peer,
        cid: None,
        span: Some(Span { from, to, count }),
        recipients: Vec::new(),
        timeline,
        parked_ms: since_ms,
        reason,
    }))
}
