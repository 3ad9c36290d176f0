use crate::metrics;

/// Work that may block a thread: storage and expensive cryptography.
pub type Work = Box<dyn FnOnce() + Send + 'static>;

/// A pool for blocking work.
pub trait Blocking: Send + Sync + 'static {
    /// Runs the work once, soon.
    fn spawn(&self, work: Work);
}

/// Tokio's pool of blocking threads.
pub struct TokioBlocking;

impl Blocking for TokioBlocking {
    fn spawn(&self, work: Work) {
        let waiting = metrics::JOBS.raise(&["waiting"]);
        drop(tokio::task::spawn_blocking(move || {
            drop(waiting);
            let _running = metrics::JOBS.raise(&["running"]);
            work();
        }));
    }
}

/// Runs the work at once on the calling thread: deterministic, for simulations.
pub struct InlineBlocking;

impl Blocking for InlineBlocking {
    fn spawn(&self, work: Work) {
        work();
    }
}
