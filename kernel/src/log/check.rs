//! Whether a batch continues the log: what every provider checks before it writes anything.

use std::collections::{HashMap, HashSet};

use super::entry::{Entry, Meta, Stream};
use super::store::{Batch, StoreError};
use crate::cid::Cid;

/// What a log holds already.
pub(super) trait Known {
    /// The last `global_seq`.
    fn head(&self) -> Result<u64, StoreError>;
    /// The next position of a stream.
    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError>;
    /// Whether a stream has a body.
    fn is_in(&self, stream: &Stream, cid: &Cid) -> Result<bool, StoreError>;
    /// Whether any stream has it.
    fn holds(&self, cid: &Cid) -> Result<bool, StoreError>;
    /// Whether a once key was used.
    fn used(&self, once: &str) -> Result<bool, StoreError>;
    /// The entry at a position.
    fn entry_at(&self, global_seq: u64) -> Result<Option<Entry>, StoreError>;
}

/// Refuses a batch that would leave a hole in the log or in a stream, double a place, a body or a
/// once key, or lack a body.
pub(super) fn continues(batch: &Batch, known: &impl Known) -> Result<(), StoreError> {
    let refuse = |reason: String| Err(StoreError::NotContinuous(reason));
    let mut next: HashMap<&Stream, u64> = HashMap::new();
    let mut places: HashSet<(&Stream, &Cid)> = HashSet::new();
    let mut begun: HashSet<&Cid> = HashSet::new();
    let bodies: HashSet<&Cid> = batch.bodies.iter().map(|(cid, ..)| cid).collect();
    for (next_global, entry) in (known.head()? + 1..).zip(&batch.entries) {
        let (stream, cid) = (&entry.stream, &entry.cid);
        let expected = match next.get(stream) {
            Some(seq) => *seq,
            None => known.stream_len(stream)?,
        };
        if entry.global_seq != next_global || entry.stream_seq != expected {
            return refuse(format!(
                "{stream} {} at {}, expected {expected} at {next_global}",
                entry.stream_seq, entry.global_seq
            ));
        }
        next.insert(stream, expected + 1);
        let held = known.holds(cid)?;
        // No stream has a body that the log does not hold.
        if !places.insert((stream, cid)) || (held && known.is_in(stream, cid)?) {
            return refuse(format!("{stream} has {cid} already"));
        }
        let new = !held && begun.insert(cid);
        if entry.first != new {
            return refuse(format!("entry {next_global} is not the first one of {cid}, or is"));
        }
        if new && !bodies.contains(cid) {
            return refuse(format!("entry {next_global} comes without the body {cid}"));
        }
    }
    if let Some(cid) = bodies.into_iter().find(|cid| !begun.contains(cid)) {
        return refuse(format!("the body {cid} has no first entry"));
    }
    let mut used = HashSet::new();
    for (key, _) in &batch.once {
        if !used.insert(key) || known.used(key)? {
            return refuse(format!("the once key {key:?} was used before"));
        }
    }
    erases(batch, known)
}

/// Refuses an erasure of what is not held, one that nothing in the batch records, and one that
/// changes more of an entry than who was hidden in it.
fn erases(batch: &Batch, known: &impl Known) -> Result<(), StoreError> {
    let refuse = |reason: String| Err(StoreError::NotContinuous(reason));
    let mut seen = HashSet::new();
    for erasure in &batch.erasures {
        let cid = &erasure.cid;
        if erasure.stub.erased != Some(*cid) {
            return refuse(format!("the stub of {cid} is not one"));
        }
        if !known.holds(cid)? || !seen.insert(cid) {
            return refuse(format!("there is no body {cid} to erase"));
        }
        if !batch.entries.iter().any(|entry| entry.stream == Stream::Local) {
            return refuse(format!("nothing says that {cid} is erased"));
        }
        for entry in &erasure.entries {
            let same = known.entry_at(entry.global_seq)?.is_some_and(|held| {
                let meta = Meta { hidden: entry.meta.hidden.clone(), ..held.meta.clone() };
                held.cid == *cid && Entry { meta, ..held } == *entry
            });
            if !same {
                return refuse(format!("entry {} becomes another one", entry.global_seq));
            }
        }
    }
    Ok(())
}
