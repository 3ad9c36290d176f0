use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocking::{Blocking, Work};

/// Short pieces of blocking work that come together: one thread of the pool does them, one after the
/// other, instead of waking a thread for each.
///
/// Whatever takes long holds up all that waits behind it, and belongs into the pool by itself.
#[derive(Clone, Default)]
pub struct Lane(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    /// Whether a thread is at it, or on its way.
    served: bool,
}

impl Lane {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes work, and a thread of the pool where none is at it.
    pub(super) fn take(&self, work: Work, pool: &dyn Blocking) {
        {
            let mut queue = self.queue();
            queue.waiting.push_back(work);
            if std::mem::replace(&mut queue.served, true) {
                return;
            }
        }
        let turn = Turn { lane: self.clone(), ended: false };
        pool.spawn(Box::new(move || turn.serve()));
    }
}

/// The turn of the thread that does the work.
struct Turn {
    lane: Lane,
    ended: bool,
}

impl Turn {
    fn serve(mut self) {
        loop {
            let work = {
                let mut queue = self.lane.queue();
                match queue.waiting.pop_front() {
                    Some(work) => work,
                    None => {
                        queue.served = false;
                        self.ended = true;
                        return;
                    }
                }
            };
            // Whoever waits for it learns that it failed; the others get their turn.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }
}

impl Drop for Turn {
    /// A pool that ends drops what it did not begin: then nobody does what waits.
    fn drop(&mut self) {
        if !self.ended {
            let mut queue = self.lane.queue();
            queue.served = false;
            queue.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::{InlineBlocking, Runtime};
    use super::*;

    /// Keeps the work that it is given.
    #[derive(Default)]
    struct Later(Mutex<Vec<Work>>);

    impl Blocking for Later {
        fn spawn(&self, work: Work) {
            self.0.lock().unwrap().push(work);
        }
    }

    #[test]
    fn one_turn_does_all_that_waits() {
        let (lane, pool, done) = (Lane::default(), Later::default(), Arc::new(AtomicUsize::new(0)));
        for number in 0..3 {
            let done = done.clone();
            let work = move || assert_eq!(done.fetch_add(1, Ordering::SeqCst), number, "in order");
            lane.take(Box::new(work), &pool);
        }
        let turns = std::mem::take(&mut *pool.0.lock().unwrap());
        assert_eq!(turns.len(), 1);
        turns.into_iter().for_each(|turn| turn());
        assert_eq!(done.load(Ordering::SeqCst), 3);
        lane.take(Box::new(|| ()), &pool);
        assert_eq!(pool.0.lock().unwrap().len(), 1, "the next turn");
    }

    #[tokio::test]
    async fn what_fails_fails_alone() {
        let runtime = Runtime { blocking: Arc::new(InlineBlocking), ..Runtime::system() };
        let lane = Lane::default();
        assert!(runtime.run_in(&lane, || panic!("on purpose")).await.is_err());
        assert_eq!(runtime.run_in(&lane, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_pool_that_ended() {
        let pool = Arc::new(Later::default());
        let runtime = Runtime { blocking: pool.clone(), ..Runtime::system() };
        let lane = Lane::default();
        let (one, two) = (runtime.run_in(&lane, || ()), runtime.run_in(&lane, || ()));
        let end = async { pool.0.lock().unwrap().clear() };
        let (one, two, ()) = tokio::join!(one, two, end);
        assert!(one.is_err() && two.is_err());
    }
}
