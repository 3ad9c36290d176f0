//! Writing down what became of an attempt. All of this blocks.

use std::sync::Arc;

use fedsx_kernel::log::StoreError;
use fedsx_kernel::runtime::Random;

use super::health::Health;
use super::schedule::{after, pause};
use super::send::Report;
use super::verdict::Verdict;
use super::{Selection, Wanted};
use crate::ledger::{Attempt, Item, Ledger, Letter, PeerMemory, Status, StatusKind, Writes};
use crate::service::Options;

/// Letters are replayed and dropped in batches of this size.
const PAGE: usize = 256;

/// One peer's part of the ledger.
pub(super) struct Books<'a> {
    pub ledger: &'a Ledger,
    pub peer: &'a str,
    pub now_ms: i64,
}

/// An attempt that ended.
pub(super) struct Ended {
    pub seq: u64,
    pub generation: u64,
    pub item: Arc<Item>,
    pub report: Report,
    /// How the peer was doing.
    pub health: Health,
    /// Items whose failures were held against them, in case they get acquitted.
    pub suspects: Vec<(u64, Item)>,
}

/// What is different from now on: it is written already.
pub(super) struct Settled {
    pub health: Health,
    /// Items with their new content; `None` where they left the queue.
    pub items: Vec<(u64, Option<Item>)>,
}

impl Books<'_> {
    fn status(&self, seq: u64, item: &Item) -> Result<Status, StoreError> {
        let status = self.ledger.status(&item.cid, self.peer)?;
        Ok(status.unwrap_or_else(|| Status::queued(seq, item.total)))
    }

    /// Settles an attempt: adds all that follows from it to what is written.
    pub fn settle(
        &self,
        ended: Ended,
        options: &Options,
        random: &dyn Random,
        writes: &mut Writes,
    ) -> Result<Settled, StoreError> {
        let Ended { seq, generation, mut item, report, mut health, suspects } = ended;
        let before = health.memory.clone();
        let mut items = Vec::new();
        let mut status = self.status(seq, &item)?;
        let (code, reason) = (report.outcome.status, report.outcome.reason.clone());
        status.note(Attempt { at_ms: self.now_ms, status: code, reason: reason.clone() });
        let reason = reason.unwrap_or_default();
        for lesson in report.lessons {
            health.memory.schemes.learn(lesson, self.now_ms);
        }
        let blamed = health.blames_peer(seq, &report.outcome.verdict);
        // The queue shares it, and what leaves is not copied.
        if !matches!(report.outcome.verdict, Verdict::Delivered | Verdict::Skipped) {
            let item = Arc::make_mut(&mut item);
            (item.done, item.refused) = (report.done, report.refused);
        }
        match report.outcome.verdict {
            Verdict::Delivered | Verdict::Skipped => {
                let delivered = report.outcome.verdict == Verdict::Delivered;
                if delivered {
                    health.answered();
                }
                status.kind = if delivered { StatusKind::Delivered } else { StatusKind::Skipped };
                status.next_ms = None;
                writes.remove_item(self.peer, seq);
                writes.remove_chunks(self.peer, seq, &item);
                items.push((seq, None));
            }
            Verdict::Erased => {
                status.erase();
                writes.remove_item(self.peer, seq);
                writes.remove_chunks(self.peer, seq, &item);
                items.push((seq, None));
            }
            Verdict::Parked => {
                if code.is_some() {
                    health.answered();
                }
                self.park(writes, seq, Item::clone(&item), &mut status, reason)?;
                items.push((seq, None));
            }
            Verdict::PeerFailed { .. } | Verdict::Faulted if blamed => {
                let wait = match report.outcome.verdict {
                    Verdict::PeerFailed { retry_after } => retry_after,
                    _ => None,
                };
                health.failed.insert(seq);
                health.peer_failed(generation, wait, self.now_ms, options, random);
                // It was the peer after all.
                let acquitted = std::mem::take(&mut health.counted);
                for (seq, mut suspect) in suspects {
                    if acquitted.contains(&seq) {
                        suspect.attempts = suspect.attempts.saturating_sub(1);
                        suspect.next_ms = 0;
                        writes.item(self.peer, seq, &suspect)?;
                        items.push((seq, Some(suspect)));
                    }
                }
                if acquitted.contains(&seq) {
                    let item = Arc::make_mut(&mut item);
                    item.attempts = item.attempts.saturating_sub(1);
                    item.next_ms = 0;
                }
                status.next_ms = health.memory.until_ms;
                writes.item(self.peer, seq, &item)?;
                items.push((seq, Some(Item::clone(&item))));
            }
            Verdict::Abandoned | Verdict::Held => {
                items.push((seq, Some(Item::clone(&item))));
                return Ok(Settled { health, items });
            }
            Verdict::PeerFailed { .. } | Verdict::Faulted | Verdict::LocalFailure => {
                let item = Arc::make_mut(&mut item);
                item.attempts = item.attempts.saturating_add(1);
                if report.outcome.verdict == Verdict::Faulted {
                    health.failed.insert(seq);
                    health.counted.insert(seq);
                }
                match pause(options, item.attempts, random) {
                    Some(pause) => {
                        item.next_ms = after(self.now_ms, pause);
                        item.pause_ms = Some(after(0, pause));
                        status.next_ms = Some(item.next_ms);
                        writes.item(self.peer, seq, item)?;
                        items.push((seq, Some(item.clone())));
                    }
                    None => {
                        health.failed.remove(&seq);
                        health.counted.remove(&seq);
                        self.park(writes, seq, item.clone(), &mut status, reason)?;
                        items.push((seq, None));
                    }
                }
            }
        }
        writes.status(&item.cid, self.peer, &status)?;
        if health.memory != before {
            writes.memory(self.peer, &health.memory)?;
        }
        Ok(Settled { health, items })
    }

    fn park(
        &self,
        writes: &mut Writes,
        seq: u64,
        item: Item,
        status: &mut Status,
        reason: String,
    ) -> Result<(), StoreError> {
        status.kind = StatusKind::Parked;
        status.next_ms = None;
        writes.remove_item(self.peer, seq);
        let timeline = status.timeline.clone();
        tracing::info!(peer = %self.peer, cid = %item.cid, global_seq = seq, %reason, "parked");
        writes.letter(self.peer, seq, &Letter { item, timeline, parked_ms: self.now_ms, reason })
    }

    /// Parks items that have waited too long for a peer that was given up.
    pub fn expire(&self, items: Vec<(u64, Item)>, writes: &mut Writes) -> Result<(), StoreError> {
        for (seq, item) in items {
            let (cid, mut status) = (item.cid, self.status(seq, &item)?);
            let reason = "the peer was not reached for too long".to_owned();
            self.park(writes, seq, item, &mut status, reason)?;
            writes.status(&cid, self.peer, &status)?;
        }
        Ok(())
    }

    /// Does what an operator wants, and answers how many activities that concerned.
    pub fn operate(&self, wanted: Wanted) -> Result<u64, StoreError> {
        let (selection, again) = match wanted {
            Wanted::Replay(selection) => (selection, true),
            Wanted::Discard(selection) => (selection, false),
            Wanted::Erase(seq) => return self.erase(seq),
        };
        let mut count = 0;
        match selection {
            Selection::One(seq) => {
                if let Some(letter) = self.ledger.letter(self.peer, seq)? {
                    self.resolve(vec![(seq, letter)], again)?;
                    count += 1;
                }
            }
            // A whole queue is dropped, but not the letters beside it.
            Selection::All if !again => count += self.drop_queue()?,
            Selection::All => loop {
                let page = self.ledger.letters(Some(self.peer), None, PAGE)?;
                if page.is_empty() {
                    break;
                }
                count += u64::try_from(page.len()).unwrap_or(0);
                let letters = page.into_iter().map(|(_, seq, letter)| (seq, letter)).collect();
                self.resolve(letters, again)?;
            },
        }
        Ok(count)
    }

    /// Takes an activity out of the queue whose content was erased.
    fn erase(&self, seq: u64) -> Result<u64, StoreError> {
        let found = self.ledger.items(self.peer, seq.checked_sub(1), 1)?.pop();
        let Some((_, item)) = found.filter(|(at, _)| *at == seq) else { return Ok(0) };
        let mut status = self.status(seq, &item)?;
        status.erase();
        let mut writes = Writes::default();
        writes.status(&item.cid, self.peer, &status)?;
        writes.remove_item(self.peer, seq);
        writes.remove_chunks(self.peer, seq, &item);
        self.ledger.apply(writes)?;
        Ok(1)
    }

    fn resolve(&self, letters: Vec<(u64, Letter)>, again: bool) -> Result<(), StoreError> {
        let mut writes = Writes::default();
        for (seq, Letter { mut item, .. }) in letters {
            writes.remove_letter(self.peer, seq);
            if !again {
                writes.remove_chunks(self.peer, seq, &item);
                continue;
            }
            (item.attempts, item.next_ms, item.enqueued_ms) = (0, 0, self.now_ms);
            item.pause_ms = None;
            // Who refused it before may think better of it; the others answer "already".
            if item.refused.take().is_some() {
                item.done = 0;
            }
            let mut status = self.status(seq, &item)?;
            status.kind = StatusKind::Queued;
            status.next_ms = Some(self.now_ms);
            writes.status(&item.cid, self.peer, &status)?;
            writes.item(self.peer, seq, &item)?;
        }
        self.ledger.apply(writes)
    }

    fn drop_queue(&self) -> Result<u64, StoreError> {
        let mut count = 0;
        loop {
            let page = self.ledger.items(self.peer, None, PAGE)?;
            if page.is_empty() {
                return Ok(count);
            }
            let mut writes = Writes::default();
            for (seq, item) in page {
                let mut status = self.status(seq, &item)?;
                status.kind = StatusKind::Parked;
                status.next_ms = None;
                writes.status(&item.cid, self.peer, &status)?;
                writes.remove_item(self.peer, seq);
                writes.remove_chunks(self.peer, seq, &item);
                count += 1;
            }
            self.ledger.apply(writes)?;
        }
    }

    /// Writes down that a peer is to be tried at once.
    pub fn revive(&self, memory: &PeerMemory) -> Result<PeerMemory, StoreError> {
        let revived = PeerMemory { schemes: memory.schemes.clone(), ..PeerMemory::default() };
        let mut writes = Writes::default();
        writes.memory(self.peer, &revived)?;
        self.ledger.apply(writes)?;
        Ok(revived)
    }
}
