//! The newest records, in memory.
//!
//! Some twenty projections and other followers read each record soon after it was appended. The
//! writer leaves here what it appended; what is not here is read from the store.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use super::entry::{Record, Records};

/// Most records that are kept.
const MAX_RECORDS: usize = 2048;
/// The kept records take so many bytes in memory, about; the newest one is kept in any case.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The last records of the log, as far back as they are kept.
#[derive(Default)]
pub(super) struct Recent(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    /// Each follows the one before it, and has its weight beside it.
    records: VecDeque<(Arc<Record>, usize)>,
    bytes: usize,
}

impl Kept {
    fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }

    fn push(&mut self, record: Arc<Record>) {
        let last = self.records.back().map(|(last, _)| last.entry.global_seq);
        if last.is_some_and(|last| last + 1 != record.entry.global_seq) {
            self.clear();
        }
        let weight = record.activity.weight();
        self.bytes += weight;
        self.records.push_back((record, weight));
        while self.records.len() > MAX_RECORDS || self.bytes > MAX_BYTES && self.records.len() > 1 {
            let Some((_, weight)) = self.records.pop_front() else { break };
            self.bytes -= weight;
        }
    }
}

impl Recent {
    /// Takes what was appended. What does not follow what is kept takes its place.
    pub(super) fn add(&self, records: Vec<Arc<Record>>) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            kept.push(record);
        }
    }

    /// Forgets everything, since something of it was erased.
    pub(super) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Up to `limit` records above a position; `None` where the first of them is not kept.
    pub(super) fn after(&self, position: u64, limit: usize) -> Option<Records> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (first, _) = kept.records.front()?;
        let at = position.checked_add(1)?.checked_sub(first.entry.global_seq)?;
        let at = usize::try_from(at).ok().filter(|at| *at < kept.records.len())?;
        Some(kept.records.iter().skip(at).take(limit).map(|(record, _)| record.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;
    use crate::activity::Activity;
    use crate::log::{Entry, Meta, Stream};

    fn record(global_seq: u64, text: &str) -> Arc<Record> {
        let content = json!({
            "type": "Create", "actor": "https://a.example/a", "content": text, "n": global_seq
        });
        let serde_json::Value::Object(content) = content else { panic!("no object") };
        let activity = Arc::new(Activity::seal(content).unwrap());
        let (stream, cid) = (Stream::Local, *activity.cid());
        let entry = Entry {
            global_seq,
            stream,
            stream_seq: global_seq - 1,
            cid,
            first: true,
            meta: Meta::default(),
        };
        Arc::new(Record { entry, activity })
    }

    fn seqs(recent: &Recent, after: u64, limit: usize) -> Option<Vec<u64>> {
        let records = recent.after(after, limit)?;
        Some(records.iter().map(|record| record.entry.global_seq).collect())
    }

    #[test]
    fn what_follows_a_position_is_kept_without_a_gap() {
        let recent = Recent::default();
        assert_eq!(seqs(&recent, 0, 5), None);
        recent.add((3..=6).map(|seq| record(seq, "")).collect());
        assert_eq!(seqs(&recent, 1, 5), None, "3 is no answer to who wants 2");
        assert_eq!(seqs(&recent, 2, 2).unwrap(), [3, 4]);
        assert_eq!(seqs(&recent, 5, 9).unwrap(), [6]);
        assert_eq!(seqs(&recent, 6, 9), None, "the store knows whether there is more");
        assert_eq!(seqs(&recent, u64::MAX, 9), None);
        recent.add(vec![record(8, "")]);
        assert_eq!(seqs(&recent, 2, 9), None);
        assert_eq!(seqs(&recent, 7, 9).unwrap(), [8]);
        recent.clear();
        assert_eq!(seqs(&recent, 7, 9), None);
    }

    #[test]
    fn neither_many_nor_large_records_are_kept_without_end() {
        let recent = Recent::default();
        let most = MAX_RECORDS as u64;
        recent.add((1..=most + 1).map(|seq| record(seq, "")).collect());
        assert_eq!(seqs(&recent, 0, 1), None);
        assert_eq!(seqs(&recent, 1, 9999).unwrap().len(), MAX_RECORDS);
        let large = "x".repeat(MAX_BYTES / 4);
        recent.add((most + 2..=most + 9).map(|seq| record(seq, &large)).collect());
        assert_eq!(seqs(&recent, most + 6, 9).unwrap(), [most + 7, most + 8, most + 9]);
        assert_eq!(seqs(&recent, most + 5, 9), None, "four are more than there is room for");
        recent.add(vec![record(most + 10, &"x".repeat(2 * MAX_BYTES))]);
        assert_eq!(seqs(&recent, most + 9, 9).unwrap(), [most + 10]);
    }
}
