//! Reading a stream of an archive entry by entry, with every check that needs no other entry.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context as _, Result, bail, ensure};
use fedsx_kernel::activity::{Activity, Body};
use fedsx_kernel::keys::KeyHistory;
use fedsx_kernel::log::Meta;
use fedsx_kernel::{Cid, canonical};
use serde_json::Value;

use super::car::Car;
use super::format::{self, Chunk, MAX_CHUNKS, MAX_LINKS, StreamList};

/// An entry of an archive.
pub(super) struct ArchiveEntry {
    pub position: u64,
    pub cid: Cid,
    pub meta: Meta,
    pub content: Content,
}

/// What stands at an entry.
pub(super) enum Content {
    /// The activity and the form in which a log stores it.
    Activity(Box<Activity>, Body),
    /// Its body was erased; this stub is left.
    Erased(Box<Activity>, Body),
}

/// The entries of one stream.
pub(super) struct Entries<'a> {
    car: &'a mut Car,
    stream: &'static str,
    list: &'a StreamList,
    next_chunk: usize,
    position: u64,
    waiting: VecDeque<(Cid, Meta, Option<Value>)>,
    proofs: BTreeMap<Cid, String>,
    /// Keys of authors that were listed so far.
    pub authors: BTreeMap<String, KeyHistory>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(
        car: &'a mut Car,
        stream: &'static str,
        list: &'a StreamList,
    ) -> Result<Self> {
        ensure!(list.chunks.len() <= MAX_CHUNKS, "the {stream} has too many chunks");
        Ok(Self {
            car,
            stream,
            list,
            next_chunk: 0,
            position: 0,
            waiting: VecDeque::new(),
            proofs: BTreeMap::new(),
            authors: BTreeMap::new(),
        })
    }

    /// The next entry; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<ArchiveEntry>> {
        while self.waiting.is_empty() {
            let Some(link) = self.list.chunks.get(self.next_chunk) else {
                let (found, length) = (self.position, self.list.length);
                ensure!(
                    found == length,
                    "the {} has {found} entries, the root says {length}",
                    self.stream
                );
                return Ok(None);
            };
            let place = format!("chunk {} of the {}", self.next_chunk, self.stream);
            self.next_chunk += 1;
            self.chunk(link).and_then(|chunk| self.unpack(chunk)).context(place)?;
        }
        let Some((cid, meta, stub)) = self.waiting.pop_front() else { return Ok(None) };
        let position = self.position;
        self.position += 1;
        let content = match stub {
            Some(stub) => erased(&cid, &stub)
                .with_context(|| format!("{} {position} ({cid})", self.stream))?,
            None => self
                .activity(&cid)
                .with_context(|| format!("{} {position} ({cid})", self.stream))?,
        };
        Ok(Some(ArchiveEntry { position, cid, meta, content }))
    }

    fn chunk(&mut self, link: &format::Link) -> Result<Chunk> {
        let block = self.car.block(&format::target(link)?)?;
        Ok(format::decode(&block)?)
    }

    fn unpack(&mut self, chunk: Chunk) -> Result<()> {
        let Chunk { stream, from, links, meta, proofs, erased, authors } = chunk;
        ensure!(stream == self.stream, "it belongs to {stream:?}");
        ensure!(from == self.position, "it begins at {from}, not at {}", self.position);
        ensure!(!links.is_empty() && links.len() <= MAX_LINKS, "it has {} links", links.len());
        ensure!(meta.len() == links.len(), "links and meta differ in number");
        let mut erased = erased.into_iter();
        for ((position, link), meta) in (from..).zip(links).zip(meta) {
            let entry = match link {
                Some(link) => (format::target(&link)?, meta, None),
                None => match erased.next() {
                    Some(stub) if stub.position == position => (stub.cid, meta, Some(stub.stub)),
                    _ => bail!("entry {position} has neither a link nor a stub"),
                },
            };
            self.waiting.push_back(entry);
        }
        ensure!(erased.next().is_none(), "it has a stub of no entry");
        let held: std::collections::BTreeSet<_> =
            self.waiting.iter().filter(|(.., stub)| stub.is_none()).map(|(cid, ..)| *cid).collect();
        if let Some(cid) = proofs.keys().find(|cid| !held.contains(*cid)) {
            bail!("it has a proof of {cid}, which is none of its entries");
        }
        self.proofs = proofs;
        for (author, keys) in authors {
            let keys =
                KeyHistory::try_from(keys).with_context(|| format!("the keys of {author}"))?;
            self.authors.entry(author).or_insert(keys);
        }
        Ok(())
    }

    /// Reads an activity as strictly as one that is delivered.
    fn activity(&mut self, cid: &Cid) -> Result<Content> {
        let block = self.car.block(cid)?;
        let document = canonical::from_dag_cbor(&block)?;
        // Only ids that follow from the content are left out of a block.
        let certifies_itself = document.get("id").is_none();
        let proof = self.proofs.get(cid).cloned();
        let body = Body { block, certifies_itself, proof, erased: None };
        let activity = Activity::from_body(&body)?;
        let received = Activity::from_document(activity.to_value())?;
        ensure!(
            received.cid() == cid && received.certifies_itself() == certifies_itself,
            "as a document it is {}",
            received.cid()
        );
        Ok(Content::Activity(Box::new(activity), body))
    }
}

/// Reads a stub. It has no id where that follows from the CID, and nothing that would vouch for
/// what is gone.
fn erased(cid: &Cid, stub: &Value) -> Result<Content> {
    let certifies_itself = stub.get("id").is_none();
    let body = Body {
        block: canonical::to_dag_cbor(stub)?,
        certifies_itself,
        proof: None,
        erased: Some(*cid),
    };
    let activity = Activity::from_body(&body)?;
    let same = activity.stub(activity.document().clone()).context("the stub")?;
    ensure!(same == activity, "the stub holds more than a stub does");
    Ok(Content::Erased(Box::new(activity), body))
}
