//! What a node takes from its surroundings, injected so that it also runs in a simulator:
//! clock, randomness and the pool for blocking work.

mod aside;
mod blocking;
mod clock;
mod lane;
mod random;

pub use aside::Aside;
pub use blocking::{Blocking, InlineBlocking, TokioBlocking};
pub use clock::{Clock, ManualClock, SystemClock};
pub use lane::Lane;
pub use random::{OsRandom, Random, RandomCore, SeededRandom};

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::trace::Traces;

/// The surroundings of a node.
#[derive(Clone)]
pub struct Runtime {
    /// Wall clock and timers.
    pub clock: Arc<dyn Clock>,
    /// Source of random bytes.
    pub random: Arc<dyn Random>,
    /// Where blocking work runs.
    pub blocking: Arc<dyn Blocking>,
    /// Where traces go.
    pub traces: Traces,
}

impl Runtime {
    /// The real surroundings: system clock, operating system randomness, tokio's blocking pool.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            blocking: Arc::new(TokioBlocking),
            traces: Traces::off(),
        }
    }

    /// Runs blocking work in the pool and returns what it gives. What it logs is logged as part of
    /// what the caller does.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingFailed> {
        let (step, receive) = answered(work);
        self.blocking.spawn(Box::new(move || step()()));
        receive.await.map_err(|_| BlockingFailed)
    }

    /// The same, by a thread that does what waits in a lane.
    pub async fn run_in<T: Send + 'static>(
        &self,
        lane: &Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingFailed> {
        let (step, receive) = answered(work);
        lane.take(step, self.blocking.as_ref());
        receive.await.map_err(|_| BlockingFailed)
    }

    /// A future that is polled by a thread of a lane first, and from when it has to wait for something by whoever
    /// waits for it.
    pub fn aside<T: Send + 'static>(
        &self,
        lane: &Lane,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Aside<T> {
        Aside::new(work, lane, &self.blocking)
    }
}

fn answered<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> (lane::Step, oneshot::Receiver<T>) {
    let (answer, receive) = oneshot::channel();
    let span = tracing::Span::current();
    let step = move || -> lane::Finish {
        let done = span.in_scope(work);
        Box::new(move || {
            // The receiver is gone only where its future was dropped; nobody wants the answer.
            let _ = answer.send(done);
        })
    };
    (Box::new(step), receive)
}

/// The blocking work panicked or the pool is gone.
#[derive(Debug, thiserror::Error)]
#[error("blocking work did not finish")]
pub struct BlockingFailed;
