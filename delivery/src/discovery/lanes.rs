//! Signatures that take long, on as many threads as there are processors.
//!
//! A post to a thousand instances asks for a thousand at once. Handed to the blocking pool one by one, each would wake a
//! thread of its own, of which most could only wait for a processor.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedsx_kernel::runtime::{BlockingFailed, Runtime};
use tokio::sync::oneshot;

/// Tells who waits for it what some work gave.
type Finish = Box<dyn FnOnce() + Send>;
type Work = Box<dyn FnOnce() -> Finish + Send>;

/// The most that a thread does before it tells those who wait. Each may then go on at once with what the others do,
/// and one thread is woken for all of them.
const TOGETHER: usize = 8;

/// What waits, and how many threads work on it; cheap to clone.
#[derive(Clone)]
pub(super) struct Lanes {
    runtime: Runtime,
    lanes: usize,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    working: usize,
}

impl Lanes {
    pub fn new(runtime: Runtime) -> Self {
        let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { runtime, lanes, queue: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does some work when its turn comes.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingFailed> {
        let (answer, receive) = oneshot::channel();
        let opens = {
            let mut queue = self.lock();
            queue.waiting.push_back(Box::new(move || {
                let done = work();
                Box::new(move || {
                    // Nobody wants what it gives where the receiver is gone.
                    let _ = answer.send(done);
                })
            }));
            let opens = queue.working < self.lanes;
            queue.working += usize::from(opens);
            opens
        };
        if opens {
            let this = self.clone();
            self.runtime.blocking.spawn(Box::new(move || this.work()));
        }
        receive.await.map_err(|_| BlockingFailed)
    }

    fn work(&self) {
        loop {
            let some: Vec<Work> = {
                let mut queue = self.lock();
                // What waits is shared among the threads.
                let share = queue.waiting.len().div_ceil(self.lanes).min(TOGETHER);
                if share == 0 {
                    queue.working = queue.working.saturating_sub(1);
                    return;
                }
                queue.waiting.drain(..share).collect()
            };
            // Whoever waited for one that panicked learns it from the channel.
            let done = some.into_iter().map(|work| catch_unwind(AssertUnwindSafe(work)));
            let done: Vec<_> = done.collect();
            done.into_iter().flatten().for_each(|finish| finish());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_work_at_once_than_there_are_processors_and_a_panic_ends_none_of_it() {
        let lanes = Lanes { lanes: 2, ..Lanes::new(Runtime::system()) };
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |n: usize| {
            let (lanes, now, most) = (lanes.clone(), now.clone(), most.clone());
            async move {
                let done = lanes.run(move || {
                    assert_ne!(n, 7, "one of them panics");
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    (0..50).for_each(|_| std::thread::yield_now());
                    now.fetch_sub(1, Ordering::SeqCst);
                    n
                });
                done.await
            }
        };
        let done = futures::future::join_all((0..40).map(work)).await;
        for (n, done) in done.into_iter().enumerate() {
            assert_eq!(done.ok(), (n != 7).then_some(n));
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(lanes.run(|| 1).await.unwrap(), 1);
    }
}
