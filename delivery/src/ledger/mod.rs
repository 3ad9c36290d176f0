//! Delivery's part of the ledgers table.
//!
//! All keys start with `delivery\0`, then a letter says what stands there:
//!
//! | key | value |
//! |---|---|
//! | `c` | [`Cursor`] |
//! | `g\0<state key>` | the index's own copy of the follow graph |
//! | `q\0<peer>\0<seq>` | [`Item`], in the order of the log |
//! | `r\0<peer>\0<seq><chunk>` | further recipients of an item |
//! | `s\0<cid>\0<peer>` | [`Status`] |
//! | `d\0<peer>\0<seq>` | [`Letter`] |
//! | `p\0<peer>` | [`PeerMemory`] |
//! | `b\0<followed>\0<follower>` | a backfill job |
//! | `h\0<author>` | which of a followed author's statements have arrived; by the index alone |
//! | `w\0<author>` | what of its holes is settled; by the author's healer alone |
//! | `f\0<peer>` | [`Passed`]: how much of what it said was forwarded lately |
//! | `o\0<author>\0<id>` | to whose followers what the author said under this id was forwarded |
//!
//! A peer is an origin and a sequence number 8 bytes big-endian. The index creates items; from
//! then on only the peer's actor writes them, so that writes need no reading of what they replace.

mod desk;
mod graph_state;
mod schemes;
mod types;

use std::sync::Arc;

use fedsx_kernel::Cid;
use fedsx_kernel::log::{StoreError, Table, TableWrite};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::gaps::{Arrivals, Ranges};
pub(crate) use desk::Desk;
pub(crate) use graph_state::GraphState;
pub use schemes::{Grounds, Schemes, Signing};
pub(crate) use schemes::{Knock, Lesson, signing_of};
pub use types::{Attempt, StatusKind};
pub(crate) use types::{Cursor, ERASED, Item, Letter, Passed, PeerMemory, Status};

const ROOT: &[u8] = b"delivery\0";
const PAGE: usize = 512;

/// Typed access; cheap to clone. All methods block.
#[derive(Clone)]
pub(crate) struct Ledger {
    table: Arc<dyn Table>,
}

/// One key below [`ROOT`].
fn place(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = [ROOT, &[kind]].concat();
    for part in parts {
        key.push(0);
        key.extend_from_slice(part);
    }
    key
}

fn below(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut prefix = place(kind, parts);
    prefix.push(0);
    prefix
}

/// A set of writes that is applied at once.
#[derive(Default)]
pub(crate) struct Writes(pub Vec<TableWrite>);

impl Writes {
    fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|e| StoreError::Io(e.to_string()))?;
        self.0.push((key, Some(bytes)));
        Ok(())
    }

    pub fn cursor(&mut self, cursor: &Cursor) -> Result<(), StoreError> {
        self.put(place(b'c', &[]), cursor)
    }

    pub fn item(&mut self, peer: &str, seq: u64, item: &Item) -> Result<(), StoreError> {
        self.put(place(b'q', &[peer.as_bytes(), &seq.to_be_bytes()]), item)
    }

    pub fn chunk(
        &mut self,
        peer: &str,
        seq: u64,
        chunk: u32,
        recipients: &[String],
    ) -> Result<(), StoreError> {
        self.put(chunk_place(peer, seq, chunk), &recipients)
    }

    pub fn status(&mut self, cid: &Cid, peer: &str, status: &Status) -> Result<(), StoreError> {
        self.put(place(b's', &[cid.to_string().as_bytes(), peer.as_bytes()]), status)
    }

    pub fn memory(&mut self, peer: &str, memory: &PeerMemory) -> Result<(), StoreError> {
        self.put(place(b'p', &[peer.as_bytes()]), memory)
    }

    pub fn letter(&mut self, peer: &str, seq: u64, letter: &Letter) -> Result<(), StoreError> {
        self.put(place(b'd', &[peer.as_bytes(), &seq.to_be_bytes()]), letter)
    }

    pub fn job<T: Serialize>(
        &mut self,
        followed: &str,
        follower: &str,
        job: &T,
    ) -> Result<(), StoreError> {
        self.put(job_place(followed, follower), job)
    }

    pub fn remove_job(&mut self, followed: &str, follower: &str) {
        self.0.push((job_place(followed, follower), None));
    }

    pub fn arrivals(&mut self, author: &str, arrivals: &Arrivals) -> Result<(), StoreError> {
        self.put(place(b'h', &[author.as_bytes()]), arrivals)
    }

    pub fn settled(&mut self, author: &str, settled: &Ranges) -> Result<(), StoreError> {
        self.put(place(b'w', &[author.as_bytes()]), settled)
    }

    pub fn passed(&mut self, peer: &str, passed: &Passed) -> Result<(), StoreError> {
        self.put(place(b'f', &[peer.as_bytes()]), passed)
    }

    pub fn forwarded(
        &mut self,
        author: &str,
        id: &str,
        owners: &[String],
    ) -> Result<(), StoreError> {
        self.put(place(b'o', &[author.as_bytes(), id.as_bytes()]), &owners)
    }

    /// Nobody here follows the author any more.
    pub fn forget_author(&mut self, author: &str) {
        for kind in [b'h', b'w'] {
            self.0.push((place(kind, &[author.as_bytes()]), None));
        }
    }

    pub fn remove_item(&mut self, peer: &str, seq: u64) {
        self.0.push((place(b'q', &[peer.as_bytes(), &seq.to_be_bytes()]), None));
    }

    pub fn remove_letter(&mut self, peer: &str, seq: u64) {
        self.0.push((place(b'd', &[peer.as_bytes(), &seq.to_be_bytes()]), None));
    }

    pub fn remove_chunks(&mut self, peer: &str, seq: u64, item: &Item) {
        for chunk in 0..item.chunks {
            self.0.push((chunk_place(peer, seq, chunk), None));
        }
    }
}

fn chunk_place(peer: &str, seq: u64, chunk: u32) -> Vec<u8> {
    place(b'r', &[peer.as_bytes(), &[seq.to_be_bytes().as_slice(), &chunk.to_be_bytes()].concat()])
}

fn job_place(followed: &str, follower: &str) -> Vec<u8> {
    place(b'b', &[followed.as_bytes(), follower.as_bytes()])
}

fn read<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Damaged {
        place: format!("ledger {}", String::from_utf8_lossy(key)),
        reason: e.to_string(),
    })
}

fn seq_of(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Ledger {
    pub fn new(table: Arc<dyn Table>) -> Self {
        Self { table }
    }

    pub fn graph(&self) -> GraphState {
        GraphState::new(self.table.clone(), below(b'g', &[]))
    }

    pub fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        if writes.0.is_empty() { Ok(()) } else { self.table.apply(writes.0) }
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.table.get(key)?.map(|bytes| read(key, &bytes)).transpose()
    }

    pub fn cursor(&self) -> Result<Cursor, StoreError> {
        Ok(self.get(&place(b'c', &[]))?.unwrap_or_default())
    }

    pub fn memory(&self, peer: &str) -> Result<PeerMemory, StoreError> {
        Ok(self.get(&place(b'p', &[peer.as_bytes()]))?.unwrap_or_default())
    }

    pub fn status(&self, cid: &Cid, peer: &str) -> Result<Option<Status>, StoreError> {
        self.get(&place(b's', &[cid.to_string().as_bytes(), peer.as_bytes()]))
    }

    pub fn letter(&self, peer: &str, seq: u64) -> Result<Option<Letter>, StoreError> {
        self.get(&place(b'd', &[peer.as_bytes(), &seq.to_be_bytes()]))
    }

    pub fn chunk(&self, peer: &str, seq: u64, chunk: u32) -> Result<Vec<String>, StoreError> {
        Ok(self.get(&chunk_place(peer, seq, chunk))?.unwrap_or_default())
    }

    pub fn arrivals(&self, author: &str) -> Result<Option<Arrivals>, StoreError> {
        self.get(&place(b'h', &[author.as_bytes()]))
    }

    pub fn settled(&self, author: &str) -> Result<Ranges, StoreError> {
        Ok(self.get(&place(b'w', &[author.as_bytes()]))?.unwrap_or_default())
    }

    pub fn passed(&self, peer: &str) -> Result<Passed, StoreError> {
        Ok(self.get(&place(b'f', &[peer.as_bytes()]))?.unwrap_or_default())
    }

    /// To whose followers what an author said under an id was forwarded.
    pub fn forwarded(&self, author: &str, id: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.get(&place(b'o', &[author.as_bytes(), id.as_bytes()]))?.unwrap_or_default())
    }

    /// Up to `limit` authors whose statements are watched for holes, after an author.
    pub fn watched(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        let prefix = below(b'h', &[]);
        let after = after.map(|author| place(b'h', &[author.as_bytes()]));
        let page = self.table.scan(&prefix, after.as_deref(), limit)?;
        Ok(page.iter().map(|(key, _)| text(key.get(prefix.len()..).unwrap_or_default())).collect())
    }

    /// Every backfill job.
    pub fn jobs<T: DeserializeOwned>(&self) -> Result<Vec<T>, StoreError> {
        let (prefix, mut jobs, mut after) = (below(b'b', &[]), Vec::new(), None);
        loop {
            let page = self.table.scan(&prefix, after.as_deref(), PAGE)?;
            for (key, value) in &page {
                jobs.push(read(key, value)?);
            }
            match page.into_iter().nth(PAGE - 1) {
                Some((key, _)) => after = Some(key),
                None => return Ok(jobs),
            }
        }
    }

    /// Up to `limit` items of a peer after a position (`None`: from the first).
    pub fn items(
        &self,
        peer: &str,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Item)>, StoreError> {
        let prefix = below(b'q', &[peer.as_bytes()]);
        let after = after.map(|seq| place(b'q', &[peer.as_bytes(), &seq.to_be_bytes()]));
        let page = self.table.scan(&prefix, after.as_deref(), limit)?;
        page.iter().map(|(key, value)| Ok((seq_of(key), read(key, value)?))).collect()
    }

    /// First and last position and number of the items of a peer.
    pub fn span(&self, peer: &str) -> Result<Option<(u64, u64, u64)>, StoreError> {
        let prefix = below(b'q', &[peer.as_bytes()]);
        let mut span: Option<(u64, u64, u64)> = None;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.table.scan(&prefix, after.as_deref(), PAGE)?;
            for (key, _) in &page {
                let (first, count) = span.map_or((seq_of(key), 0), |(f, _, n)| (f, n));
                span = Some((first, seq_of(key), count + 1));
            }
            match page.into_iter().nth(PAGE - 1) {
                Some((key, _)) => after = Some(key),
                None => return Ok(span),
            }
        }
    }

    /// Up to `limit` peers that something is queued for, after a peer.
    pub fn queued_peers(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let prefix = below(b'q', &[]);
        let mut peers = Vec::new();
        let mut after = after.map(past);
        while peers.len() < limit {
            let Some((key, _)) = self.table.scan(&prefix, after.as_deref(), 1)?.pop() else {
                break;
            };
            let rest = key.get(prefix.len()..key.len().saturating_sub(9)).unwrap_or_default();
            let peer = text(rest);
            after = Some(past(&peer));
            peers.push(peer);
        }
        Ok(peers)
    }

    /// Up to `limit` remembered peers after a peer.
    pub fn memories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, PeerMemory)>, StoreError> {
        let prefix = below(b'p', &[]);
        let after = after.map(|peer| place(b'p', &[peer.as_bytes()]));
        let page = self.table.scan(&prefix, after.as_deref(), limit)?;
        page.iter()
            .map(|(key, value)| {
                Ok((text(key.get(prefix.len()..).unwrap_or_default()), read(key, value)?))
            })
            .collect()
    }

    /// Up to `limit` dead letters, of one peer or of all, after one of them.
    pub fn letters(
        &self,
        peer: Option<&str>,
        after: Option<(&str, u64)>,
        limit: usize,
    ) -> Result<Vec<(String, u64, Letter)>, StoreError> {
        let all = below(b'd', &[]);
        let prefix = peer.map_or(all.clone(), |peer| below(b'd', &[peer.as_bytes()]));
        let after = after.map(|(peer, seq)| place(b'd', &[peer.as_bytes(), &seq.to_be_bytes()]));
        let page = self.table.scan(&prefix, after.as_deref(), limit)?;
        page.iter()
            .map(|(key, value)| {
                let peer = key.get(all.len()..key.len().saturating_sub(9)).unwrap_or_default();
                Ok((text(peer), seq_of(key), read(key, value)?))
            })
            .collect()
    }

    /// How many dead letters there are.
    pub fn count_letters(&self) -> Result<u64, StoreError> {
        let (prefix, mut count, mut after) = (below(b'd', &[]), 0, None::<Vec<u8>>);
        loop {
            let page = self.table.scan(&prefix, after.as_deref(), PAGE)?;
            count += page.len() as u64;
            match page.into_iter().nth(PAGE - 1) {
                Some((key, _)) => after = Some(key),
                None => return Ok(count),
            }
        }
    }

    /// Up to `limit` statuses, of one activity or of all, after one of them.
    pub fn statuses(
        &self,
        cid: Option<&Cid>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<(String, String, Status)>, StoreError> {
        let all = below(b's', &[]);
        let prefix = cid.map_or(all.clone(), |cid| below(b's', &[cid.to_string().as_bytes()]));
        let after = after.map(|(cid, peer)| place(b's', &[cid.as_bytes(), peer.as_bytes()]));
        let page = self.table.scan(&prefix, after.as_deref(), limit)?;
        let mut rows = Vec::with_capacity(page.len());
        for (key, value) in &page {
            let rest = text(key.get(all.len()..).unwrap_or_default());
            let (cid, peer) = rest.split_once('\0').unwrap_or((&rest, ""));
            rows.push((cid.to_owned(), peer.to_owned(), read(key, value)?));
        }
        Ok(rows)
    }

    /// Makes the ledger fit a log that ends at `head`, before where it was folded to: the graph and
    /// what arrived are folded anew, and what came after is forgotten.
    pub fn rewind(&self, head: u64) -> Result<(), StoreError> {
        for kind in [b'g', b'h', b'q', b'r', b'd'] {
            let prefix = below(kind, &[]);
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = self.table.scan(&prefix, after.as_deref(), PAGE)?;
                let last = page.last().map(|(key, _)| key.clone());
                let gone = page.into_iter().map(|(key, _)| key).filter(|key| match kind {
                    b'g' | b'h' => true,
                    b'r' => seq_of(key.get(..key.len().saturating_sub(4)).unwrap_or(key)) > head,
                    _ => seq_of(key) > head,
                });
                self.apply(Writes(gone.map(|key| (key, None)).collect()))?;
                match last {
                    Some(key) => after = Some(key),
                    None => break,
                }
            }
        }
        let mut writes = Writes::default();
        writes.cursor(&Cursor { seq: 0, queued_to: head })?;
        self.apply(writes)
    }
}

/// A key after every item of a peer and before those of the next.
fn past(peer: &str) -> Vec<u8> {
    place(b'q', &[peer.as_bytes(), &[0xff; 9]])
}
