//! Turns of those who catch up with the log.
//!
//! A few at a time, so that they stay together and share what is read. Whoever waits longest is
//! next, unless another one is a little behind it: who was held up by a long commit gets back to the others
//! instead of reading on alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Followers that have a turn at the same time; more would drift apart.
const TURNS: usize = 2;
/// Who is more records than this behind another one does not go before it: that one would wait for
/// as long as the whole way takes.
const NEAR: u64 = 32_768;

/// Who has a turn, and who waits for one.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

struct State {
    free: usize,
    /// Where they stand, and how they are told, in the order in which they came.
    waiting: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// A turn, which ends when it is dropped.
pub struct Turn(Turns);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { free: TURNS, waiting: VecDeque::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of one that stands at a position.
    pub(super) async fn turn(&self, at: u64) -> Option<Turn> {
        let granted = {
            let mut state = self.lock();
            if let Some(free) = state.free.checked_sub(1) {
                state.free = free;
                return Some(Turn(self.clone()));
            }
            let (grant, granted) = oneshot::channel();
            state.waiting.push_back((at, grant));
            granted
        };
        // Nobody drops what grants it but to grant it.
        granted.await.ok()
    }

    fn end(&self) {
        let next = {
            let mut state = self.lock();
            // Whoever does not wait any more takes no turn.
            state.waiting.retain(|(_, grant)| !grant.is_closed());
            match next(state.waiting.iter().map(|(at, _)| *at)) {
                Some(index) => state.waiting.remove(index),
                None => {
                    state.free += 1;
                    None
                }
            }
        };
        if let Some((_, grant)) = next {
            // One that is not taken ends at once, and the next one gets it.
            drop(grant.send(Turn(self.clone())));
        }
    }
}

/// Who is next of those who wait at these positions.
fn next(waiting: impl Iterator<Item = u64> + Clone) -> Option<usize> {
    let first = waiting.clone().next()?;
    let near = waiting.enumerate().filter(|(_, at)| first.saturating_sub(*at) <= NEAR);
    near.min_by_key(|(index, at)| (*at, *index)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::pin::pin;
    use std::task::Poll;

    use futures::poll;

    use super::*;

    fn of(waiting: &[u64]) -> Option<usize> {
        next(waiting.iter().copied())
    }

    #[test]
    fn who_is_a_little_behind_goes_first() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some(0));
        assert_eq!(of(&[512, 512, 512]), Some(0));
        assert_eq!(of(&[1024, 512, 2048, 512]), Some(1));
        assert_eq!(of(&[NEAR, 0]), Some(1));
        // One that has all of the way to go does not hold up the others.
        assert_eq!(of(&[NEAR + 1, 0]), Some(0));
        assert_eq!(of(&[0, NEAR + 1]), Some(0));
    }

    #[tokio::test]
    async fn turns_go_round() {
        let turns = Turns::new();
        let (first, second) = (turns.turn(1).await.unwrap(), turns.turn(2).await.unwrap());
        let mut waits = pin!(turns.turn(30));
        let mut is_behind = pin!(turns.turn(3));
        assert!(poll!(waits.as_mut()).is_pending() && poll!(is_behind.as_mut()).is_pending());
        drop(first);
        assert!(poll!(waits.as_mut()).is_pending());
        let Poll::Ready(third) = poll!(is_behind.as_mut()) else { unreachable!("its turn") };
        drop(second);
        assert!(poll!(waits.as_mut()).is_ready());
        drop(third);
        assert_eq!(turns.lock().free, TURNS);
    }

    #[tokio::test]
    async fn who_does_not_wait_any_more_takes_no_turn() {
        let turns = Turns::new();
        let (first, second) = (turns.turn(1).await.unwrap(), turns.turn(2).await.unwrap());
        {
            let mut gone = pin!(turns.turn(3));
            assert!(poll!(gone.as_mut()).is_pending());
        }
        let mut told = Box::pin(turns.turn(4));
        assert!(poll!(told.as_mut()).is_pending());
        drop(first);
        // It was told, and goes before it looks.
        drop(told);
        drop(second);
        assert_eq!(turns.lock().free, TURNS);
    }
}
