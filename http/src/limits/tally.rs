//! How many things of one client there are at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Counts by address. An address without anything is not held.
#[derive(Clone)]
pub(crate) struct Tally {
    most: usize,
    held: Counts,
}

/// One thing that is counted, where there is a limit, until this is dropped.
pub(crate) struct Counted(Option<(IpAddr, Counts)>);

impl Tally {
    /// At most so many of one address; 0 means no limit.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, held: Arc::default() }
    }

    /// Counts one more, where there is a limit; none where there are as many as may be.
    pub(crate) fn enter(&self, network: IpAddr) -> Option<Counted> {
        if self.most == 0 {
            return Some(Counted(None));
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(network).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted(Some((network, self.held.clone()))))
    }

    /// Whether one more would be counted.
    pub(crate) fn has_room(&self, network: IpAddr) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.most == 0 || held.get(&network).is_none_or(|count| *count < self.most)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((network, held)) = &self.0 else { return };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_dropped_makes_room() {
        let tally = Tally::new(2);
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let (first, _second) = (tally.enter(a).unwrap(), tally.enter(a).unwrap());
        assert!(tally.enter(a).is_none() && !tally.has_room(a) && tally.has_room(b));
        assert!(tally.enter(b).is_some());
        drop(first);
        assert!(tally.enter(a).is_some());
        assert_eq!(tally.held.lock().unwrap().len(), 1, "nothing is held of who is gone");
    }
}
