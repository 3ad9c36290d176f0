//! The part of a peer's queue that is in memory, and what of it may be sent now.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::wall::due_ms;
use crate::ledger::Item;

/// An item, and what it is compared by with others: hashes, since each send compares many. Two that are the
/// same by chance only wait for each other.
struct Held {
    item: Arc<Item>,
    /// What it waits for where an earlier item holds it, and of that what it holds itself.
    awaited: Box<[u64]>,
    subjects: usize,
    /// What it holds beside that.
    changes: Box<[u64]>,
}

impl Held {
    fn new(item: Arc<Item>) -> Self {
        let mark = |text: &String| {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        };
        let awaited = item.subjects.iter().chain(&item.waits_for).map(mark).collect();
        let (subjects, changes) = (item.subjects.len(), item.changes.iter().map(mark).collect());
        Self { item, awaited, subjects, changes }
    }

    fn holds(&self) -> impl Iterator<Item = u64> {
        self.awaited.iter().take(self.subjects).chain(&self.changes).copied()
    }
}

/// The first items of the queue, in the order of the log.
#[derive(Default)]
pub(super) struct Queue {
    items: BTreeMap<u64, Held>,
    in_flight: HashMap<u64, u64>,
    /// The last position that was read from the ledger.
    pub read_to: Option<u64>,
    /// Whether the ledger may hold items after it.
    pub more: bool,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_done(&self) -> bool {
        self.items.is_empty() && self.in_flight.is_empty() && !self.more
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many items do not wait for a time to come.
    pub fn due(&self, now_ms: i64) -> usize {
        self.items.values().filter(|held| held.item.next_ms <= now_ms).count()
    }

    pub fn get(&self, seq: u64) -> Option<&Arc<Item>> {
        self.items.get(&seq).map(|held| &held.item)
    }

    pub fn put(&mut self, seq: u64, item: impl Into<Arc<Item>>) {
        self.items.insert(seq, Held::new(item.into()));
    }

    pub fn remove(&mut self, seq: u64) {
        self.items.remove(&seq);
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &Item)> {
        self.items.iter().map(|(seq, held)| (*seq, &*held.item))
    }

    /// Forgets what is not under way, so that it is read anew.
    pub fn reread(&mut self) {
        let in_flight = &self.in_flight;
        self.items.retain(|seq, _| in_flight.contains_key(seq));
        self.read_to = None;
        self.more = true;
    }

    /// Takes in what was read.
    pub fn extend(&mut self, page: Vec<(u64, Item)>, now_ms: i64) {
        for (seq, mut item) in page {
            self.read_to = self.read_to.max(Some(seq));
            item.next_ms = due_ms(item.next_ms, item.pause_ms, now_ms);
            if !self.in_flight.contains_key(&seq) {
                self.put(seq, item);
            }
        }
    }

    /// The clock was set back by so much.
    pub fn set_back(&mut self, back_ms: i64) {
        for held in self.items.values_mut() {
            let item = Arc::make_mut(&mut held.item);
            item.next_ms = item.next_ms.saturating_sub(back_ms);
        }
    }

    /// Marks an item as under way, sent while the peer had failed `generation` times.
    pub fn start(&mut self, seq: u64, generation: u64) {
        self.in_flight.insert(seq, generation);
    }

    /// The item is not under way any more; answers its generation.
    pub fn end(&mut self, seq: u64) -> Option<u64> {
        self.in_flight.remove(&seq)
    }

    pub fn is_in_flight(&self, seq: u64) -> bool {
        self.in_flight.contains_key(&seq)
    }

    /// What may be sent now, in order, up to so many: nothing that waits for its time, or that shares a
    /// subject with an earlier unfinished item or waits for what that changes.
    pub fn ready(&self, now_ms: i64, most: usize) -> Vec<u64> {
        self.unblocked()
            .filter(|(seq, item)| item.next_ms <= now_ms && !self.in_flight.contains_key(seq))
            .map(|(seq, _)| seq)
            .take(most)
            .collect()
    }

    /// When the next item is due that waits for nothing but a time that has not come.
    pub fn next_due_ms(&self, now_ms: i64) -> Option<i64> {
        // Each event asks, and mostly nothing waits for a time.
        if !self.items.values().any(|held| held.item.next_ms > now_ms) {
            return None;
        }
        self.unblocked()
            .filter(|(seq, item)| item.next_ms > now_ms && !self.in_flight.contains_key(seq))
            .map(|(_, item)| item.next_ms)
            .min()
    }

    fn unblocked(&self) -> impl Iterator<Item = (u64, &Item)> {
        let mut taken: HashSet<u64> = HashSet::with_capacity(64);
        let items = self.items.iter().filter(move |(_, held)| {
            let free = held.awaited.iter().all(|mark| !taken.contains(mark));
            taken.extend(held.holds());
            free
        });
        items.map(|(seq, held)| (*seq, &*held.item))
    }
}

#[cfg(test)]
mod tests {
    use fedsx_kernel::Cid;

    use super::*;

    fn item(subjects: &[&str], next_ms: i64) -> Item {
        Item {
            cid: Cid::of_block(b"x"),
            recipients: Vec::new(),
            total: 0,
            chunks: 0,
            shared: false,
            subjects: subjects.iter().map(|s| (*s).to_owned()).collect(),
            changes: Vec::new(),
            waits_for: Vec::new(),
            attempts: 0,
            next_ms,
            pause_ms: None,
            enqueued_ms: 0,
            done: 0,
            refused: None,
        }
    }

    #[test]
    fn subjects_keep_their_order() {
        let mut queue = Queue::default();
        queue.put(1, item(&["like"], 0));
        queue.put(2, item(&["undo", "like"], 0));
        queue.put(3, item(&["other"], 0));
        queue.put(4, item(&["undo"], 0));
        assert_eq!(queue.ready(0, 9), [1, 3]);
        assert_eq!(queue.ready(0, 1), [1]);
        queue.start(1, 0);
        assert_eq!(queue.ready(0, 9), [3]);
        queue.end(1);
        queue.remove(1);
        assert_eq!(queue.ready(0, 9), [2, 3]);
    }

    #[test]
    fn what_waits_for_a_change_holds_up_nothing_and_changes_wait_for_nothing() {
        let mut queue = Queue::default();
        let followers = || vec!["followers".to_owned()];
        let post = |own| Item { waits_for: followers(), ..item(&[own], 0) };
        let accept = |own| Item { changes: followers(), ..item(&[own], 0) };
        queue.put(1, post("a"));
        queue.put(2, accept("b"));
        queue.put(3, accept("c"));
        queue.put(4, post("d"));
        queue.put(5, post("e"));
        assert_eq!(queue.ready(0, 9), [1, 2, 3]);
        queue.remove(2);
        assert_eq!(queue.ready(0, 9), [1, 3]);
        queue.remove(3);
        assert_eq!(queue.ready(0, 9), [1, 4, 5]);
    }

    #[test]
    fn an_item_that_waits_holds_its_subjects_only() {
        let mut queue = Queue::default();
        queue.put(1, item(&["a"], 100));
        queue.put(2, item(&["a"], 0));
        queue.put(3, item(&["b"], 0));
        queue.put(4, item(&["c"], 50));
        assert_eq!(queue.ready(0, 9), [3]);
        assert_eq!(queue.next_due_ms(0), Some(50));
        queue.remove(3);
        assert_eq!(queue.next_due_ms(49), Some(50));
        assert_eq!(queue.next_due_ms(50), Some(100));
        queue.remove(4);
        assert_eq!(queue.next_due_ms(0), Some(100));
        assert_eq!(queue.next_due_ms(100), None);
        assert_eq!(queue.ready(100, 9), [1]);
    }

    #[test]
    fn reading_anew_keeps_what_is_under_way() {
        let mut queue = Queue::default();
        queue.extend(vec![(5, item(&["a"], 0)), (6, item(&["b"], 0))], 0);
        queue.start(5, 0);
        queue.reread();
        assert_eq!((queue.len(), queue.read_to, queue.more), (1, None, true));
        queue.extend(vec![(2, item(&["c"], 0)), (5, item(&["a"], 7)), (6, item(&["b"], 0))], 0);
        assert_eq!(queue.get(5).map(|item| item.next_ms), Some(0));
        assert_eq!(queue.ready(0, 9), [2, 6]);
    }
}
