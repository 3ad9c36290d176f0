//! What many want of the disk at about the same time is done in one go of the blocking pool, and written at once.
//! A thread to wake and a write of its own for each send would cost more than what is read and written.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fedsx_kernel::log::StoreError;
use fedsx_kernel::runtime::{BlockingFailed, Runtime};
use tokio::sync::{mpsc, oneshot};

use super::{Ledger, Writes};

/// The most wishes that are seen to in one go; all their writes are in memory at once.
const TOGETHER: usize = 64;

/// Told what became of the write.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Reads the ledger, is given the time, and adds what is to be written.
type Wish = Box<dyn FnOnce(&Ledger, i64, &mut Writes) -> Finish + Send>;

/// Where wishes are handed in; cheap to clone. Whoever owns a queue, or makes an attempt, waits for one before the
/// next, so that there are never more than those, and none has to see what another one of its group writes.
#[derive(Clone)]
pub(crate) struct Desk(mpsc::UnboundedSender<Wish>);

impl Desk {
    /// Opens the desk; it closes when the last clone is gone. Must be called inside a tokio runtime.
    pub fn open(ledger: Ledger, runtime: Runtime) -> Self {
        let (sender, mut wishes) = mpsc::unbounded_channel::<Wish>();
        tokio::spawn(async move {
            let mut group = Vec::new();
            while wishes.recv_many(&mut group, TOGETHER).await > 0 {
                // Whatever else can go on now may have a wish as well.
                tokio::task::yield_now().await;
                while group.len() < TOGETHER
                    && let Ok(wish) = wishes.try_recv()
                {
                    group.push(wish);
                }
                let (ledger, group) = (ledger.clone(), std::mem::take(&mut group));
                let now_ms = runtime.clock.now_ms();
                let done = runtime.run(move || see_to(&ledger, now_ms, group)).await;
                if let Err(error) = done {
                    // Those who waited learn it from their channels.
                    tracing::error!(%error, "a group of writes to the ledger ended abnormally");
                }
            }
        });
        Self(sender)
    }

    /// Does some work on the ledger, and returns when what it wants written is.
    ///
    /// # Errors
    /// That of the work, of which nothing is written then, or of the write, which is that of all who are in it.
    /// [`BlockingFailed`] where the work panicked.
    pub async fn see_to<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger, i64, &mut Writes) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Result<T, StoreError>, BlockingFailed> {
        let (answer, receive) = oneshot::channel();
        let wish: Wish = Box::new(move |ledger, now_ms, writes| {
            let before = writes.0.len();
            let worked = catch_unwind(AssertUnwindSafe(|| work(ledger, now_ms, writes)));
            if !matches!(worked, Ok(Ok(_))) {
                writes.0.truncate(before);
            }
            Box::new(move |written| {
                // Who panicked gets no answer; whoever asked may be gone.
                if let Ok(worked) = worked {
                    let _ = answer.send(worked.and_then(|value| written.map(|()| value)));
                }
            })
        });
        self.0.send(wish).map_err(|_| BlockingFailed)?;
        receive.await.map_err(|_| BlockingFailed)
    }
}

fn see_to(ledger: &Ledger, now_ms: i64, group: Vec<Wish>) {
    let mut writes = Writes::default();
    let finish: Vec<Finish> =
        group.into_iter().map(|wish| wish(ledger, now_ms, &mut writes)).collect();
    let written = ledger.apply(writes);
    finish.into_iter().for_each(|finish| finish(written.clone()));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use fedsx_kernel::log::{MemoryStorage, Storage as _};
    use fedsx_kernel::runtime::Blocking;

    use super::super::PeerMemory;
    use super::*;

    /// Counts how often something is run.
    #[derive(Default)]
    struct Counted(std::sync::atomic::AtomicUsize);

    impl Blocking for Counted {
        fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            work();
        }
    }

    fn failures(count: u32) -> PeerMemory {
        PeerMemory { failures: count, ..PeerMemory::default() }
    }

    #[tokio::test]
    async fn wishes_are_seen_to_together_and_one_that_fails_takes_nobody_with_it() {
        let ledger = Ledger::new(MemoryStorage::default().ledgers());
        let pool = Arc::new(Counted::default());
        let runtime = Runtime { blocking: pool.clone(), ..Runtime::system() };
        let desk = Desk::open(ledger.clone(), runtime);
        let note = |peer: &'static str, fails: bool| {
            desk.see_to(move |_, _, writes| {
                writes.memory(peer, &failures(1))?;
                if fails { Err(StoreError::Io("no".to_owned())) } else { Ok(peer) }
            })
        };
        let (a, b, c) = tokio::join!(note("a", false), note("b", true), note("c", false));
        assert_eq!((a.unwrap().unwrap(), c.unwrap().unwrap()), ("a", "c"));
        assert!(matches!(b.unwrap(), Err(StoreError::Io(_))));
        let known = ["a", "b", "c"].map(|peer| ledger.memory(peer).unwrap().failures);
        assert_eq!(known, [1, 0, 1]);
        assert_eq!(pool.0.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}
