use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocking::Blocking;

/// Tells who waits for it what some work gave.
pub(super) type Finish = Box<dyn FnOnce() + Send>;
/// Work, which gives how to tell what it gave.
pub(super) type Step = Box<dyn FnOnce() -> Finish + Send>;

/// Pieces of blocking work that come together: a few threads of the pool do them in the order in which they came,
/// instead of waking a thread for each.
///
/// Whatever takes long holds up all that waits behind it, and belongs into the pool by itself. Clones share a lane.
#[derive(Clone)]
pub struct Lane {
    queue: Arc<Mutex<Queue>>,
    threads: usize,
    together: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Step>,
    /// How many threads are at it, or on their way.
    serving: usize,
}

impl Default for Lane {
    /// One thread, which tells of each piece of work when it is done.
    fn default() -> Self {
        Self::new(1, 1)
    }
}

impl Lane {
    /// A lane for so many threads, of which each does up to `together` pieces of work before it tells those who
    /// wait: they are then woken at once.
    pub fn new(threads: usize, together: usize) -> Self {
        Self { queue: Arc::default(), threads: threads.max(1), together: together.max(1) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes work, and a thread of the pool where more may be at it.
    pub(super) fn take(&self, step: Step, pool: &dyn Blocking) {
        {
            let mut queue = self.queue();
            queue.waiting.push_back(step);
            if queue.serving >= self.threads {
                return;
            }
            queue.serving += 1;
        }
        let turn = Turn { lane: self.clone(), ended: false };
        pool.spawn(Box::new(move || turn.serve()));
    }
}

/// The turn of a thread that does the work.
struct Turn {
    lane: Lane,
    ended: bool,
}

impl Turn {
    fn serve(mut self) {
        loop {
            let some: Vec<Step> = {
                let mut queue = self.lane.queue();
                // What waits is shared among the threads.
                let share = queue.waiting.len().div_ceil(self.lane.threads);
                let share = share.min(self.lane.together);
                if share == 0 {
                    queue.serving -= 1;
                    self.ended = true;
                    return;
                }
                queue.waiting.drain(..share).collect()
            };
            // Whoever waits for what panicked learns that it failed; the others get their turn.
            let done = some.into_iter().map(|step| catch_unwind(AssertUnwindSafe(step)));
            let done: Vec<_> = done.collect();
            done.into_iter().flatten().for_each(|finish| finish());
        }
    }
}

impl Drop for Turn {
    /// A pool that ends drops what it did not begin: then nobody does what waits.
    fn drop(&mut self) {
        if !self.ended {
            let mut queue = self.lane.queue();
            queue.serving -= 1;
            if queue.serving == 0 {
                queue.waiting.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::blocking::Work;
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
        let nothing = || Box::new(|| ()) as Finish;
        for number in 0..3 {
            let done = done.clone();
            let step = move || {
                assert_eq!(done.fetch_add(1, Ordering::SeqCst), number, "in order");
                nothing()
            };
            lane.take(Box::new(step), &pool);
        }
        let turns = std::mem::take(&mut *pool.0.lock().unwrap());
        assert_eq!(turns.len(), 1);
        turns.into_iter().for_each(|turn| turn());
        assert_eq!(done.load(Ordering::SeqCst), 3);
        lane.take(Box::new(nothing), &pool);
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
        for lane in [Lane::default(), Lane::new(2, 8)] {
            let pool = Arc::new(Later::default());
            let runtime = Runtime { blocking: pool.clone(), ..Runtime::system() };
            let some = (0..3).map(|_| runtime.run_in(&lane, || ()));
            let end = async { pool.0.lock().unwrap().clear() };
            let (done, ()) = tokio::join!(futures::future::join_all(some), end);
            assert!(done.iter().all(Result::is_err));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_threads_than_it_has_and_a_panic_ends_none_of_it() {
        let (lane, runtime) = (Lane::new(2, 8), Runtime::system());
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |n: usize| {
            let (now, most) = (now.clone(), most.clone());
            runtime.run_in(&lane, move || {
                assert_ne!(n, 7, "one of them panics");
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                (0..50).for_each(|_| std::thread::yield_now());
                now.fetch_sub(1, Ordering::SeqCst);
                n
            })
        };
        let done = futures::future::join_all((0..40).map(work)).await;
        for (n, done) in done.into_iter().enumerate() {
            assert_eq!(done.ok(), (n != 7).then_some(n));
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }
}
