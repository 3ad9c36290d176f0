//! Shedding load: how much work is taken at a time, and what of it is refused while the instance is
//! behind.
//!
//! Requests under way are limited in number. Beyond a part of that number, the time that work waits
//! for its turn is measured (for the executor, for the blocking pool, for the log's writer), and
//! such a share of requests is refused that it stays near its target. What health checks and
//! operators ask has places of its own.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fedsx_kernel::Kernel;
use fedsx_kernel::metrics::{QUEUEING_SECONDS, SHED_SHARE};
use fedsx_kernel::runtime::{BlockingFailed, Lane as Threads};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::controller::Controller;

/// How often the delay is measured while there is much to do.
const UPDATE: Duration = Duration::from_millis(50);
/// Measuring ends after so many updates with little to do.
const CALM_UPDATES: u32 = 40;
/// Beyond this part of the requests that may be under way, some may be refused.
const SHED_FROM_PART: usize = 16;
/// Places of health checks and operators.
const RESERVED: usize = 64;
/// Deliveries that a thread aside begins before it tells of them.
const TOGETHER: usize = 4;
/// A whole share, in the fixed point that it is kept in.
const WHOLE: f64 = u32::MAX as f64;

/// Whose work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Anybody's.
    Common,
    /// A health check's or an operator's.
    Reserved,
}

impl Lane {
    /// The lane of a path.
    pub(crate) fn of(path: &str) -> Self {
        let reserved = ["/livez", "/readyz", "/metrics", "/token"].contains(&path)
            || path.starts_with("/admin/")
            || path.starts_with("/tokens");
        if reserved { Self::Reserved } else { Self::Common }
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// As much is under way as may be.
    Full,
    /// The instance is behind; this request is of the share that is refused.
    Behind {
        /// Seconds after which another try makes sense.
        retry_after_s: u64,
    },
}

/// What is under way, and how far behind the instance is.
pub(crate) struct Load {
    places: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    most: usize,
    shed_from: usize,
    target: Duration,
    kernel: Kernel,
    aside: Threads,
    /// Deliveries that wait for one of these.
    coming: Arc<AtomicUsize>,
    controller: Mutex<Controller>,
    /// The share of requests that is refused.
    share: AtomicU32,
    /// Shares add up here; a request at which a whole is reached is refused. So refusals are spread
    /// evenly, and need no randomness.
    sum: AtomicU64,
    measuring: AtomicBool,
}

impl Load {
    /// At most so many requests at a time; `target` is how long work should wait for its turn at
    /// most.
    pub(crate) fn new(most: usize, target: Duration, kernel: Kernel) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            places: Arc::new(Semaphore::new(most)),
            reserved: Arc::new(Semaphore::new(RESERVED)),
            most,
            shed_from: most / SHED_FROM_PART,
            target,
            kernel,
            aside: Threads::new(threads, TOGETHER),
            coming: Arc::default(),
            controller: Mutex::default(),
            share: AtomicU32::new(0),
            sum: AtomicU64::new(0),
            measuring: AtomicBool::new(false),
        }
    }

    /// Decides whether a request is refused before anything is done for it.
    pub(crate) fn shed(self: &Arc<Self>, lane: Lane) -> Result<(), Shed> {
        if lane == Lane::Reserved {
            return Ok(());
        }
        if self.places.available_permits() == 0 {
            return Err(Shed::Full);
        }
        if self.is_busy() {
            self.measure();
            let share = self.share.load(Ordering::Relaxed);
            if share > 0 && self.is_of_share(share) {
                return Err(Shed::Behind { retry_after_s: patience(share) });
            }
        }
        Ok(())
    }

    /// A place for a request, until it is dropped.
    pub(crate) fn admit(&self, lane: Lane) -> Result<OwnedSemaphorePermit, Shed> {
        let places = match lane {
            Lane::Common => &self.places,
            Lane::Reserved => &self.reserved,
        };
        places.clone().try_acquire_owned().map_err(|_| Shed::Full)
    }

    /// Works on a delivery: aside while there is much to do, so that the threads that wait for sockets are free
    /// to refuse the others soon.
    pub(crate) async fn deliver<T: Send + 'static>(
        &self,
        answering: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BlockingFailed> {
        if !self.is_busy() {
            return Ok(answering.await);
        }
        let coming = Coming::one(&self.coming);
        let work = async move {
            drop(coming);
            answering.await
        };
        self.kernel.runtime().aside(&self.aside, work).await
    }

    /// Whether a delivery would be taken up.
    pub(crate) fn takes_deliveries(&self) -> bool {
        self.kernel.takes_deliveries(self.coming.load(Ordering::Relaxed))
    }

    /// Whether so much is under way that some of it may be refused.
    fn is_busy(&self) -> bool {
        self.most.saturating_sub(self.places.available_permits()) > self.shed_from
    }

    fn is_of_share(&self, share: u32) -> bool {
        let before = self.sum.fetch_add(u64::from(share), Ordering::Relaxed);
        (before >> 32) != (before.wrapping_add(u64::from(share)) >> 32)
    }

    /// Starts measuring, unless that is under way.
    fn measure(self: &Arc<Self>) {
        if self.measuring.swap(true, Ordering::Relaxed) {
            return;
        }
        let load = self.clone();
        tokio::spawn(async move {
            let mut calm = 0;
            while calm < CALM_UPDATES {
                let delay = load.delay().await;
                let share = load.take(delay);
                calm = if load.is_busy() || share > 0.0 { 0 } else { calm + 1 };
                load.kernel.runtime().clock.sleep(UPDATE).await;
            }
            load.measuring.store(false, Ordering::Relaxed);
        });
    }

    /// How long work waits for its turn just now.
    async fn delay(&self) -> Duration {
        let began = Instant::now();
        tokio::task::yield_now().await;
        // Where the pool is gone, the node ends.
        let runtime = self.kernel.runtime();
        let _ = futures::join!(runtime.run(|| ()), runtime.run_in(&self.aside, || ()));
        began.elapsed().max(self.kernel.log().longest_wait())
    }

    fn take(&self, delay: Duration) -> f64 {
        let mut controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        let share = controller.update(delay.as_secs_f64() / self.target.as_secs_f64());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.share.store((share * WHOLE) as u32, Ordering::Relaxed);
        QUEUEING_SECONDS.record(delay.as_secs_f64(), &[]);
        SHED_SHARE.set(share, &[]);
        share
    }
}

/// A delivery that waits to be begun, until this is dropped.
struct Coming(Arc<AtomicUsize>);

impl Coming {
    fn one(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(all.clone())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The more is refused, the later another try makes sense: 1 to 5 seconds.
fn patience(share: u32) -> u64 {
    1 + u64::from(share >> 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_operators_have_places_of_their_own() {
        for path in ["/livez", "/readyz", "/metrics", "/admin/peers", "/token", "/tokens/00"] {
            assert_eq!(Lane::of(path), Lane::Reserved, "{path}");
        }
        for path in ["/", "/admin", "/livezz", "/actors/admin/inbox", "/activity"] {
            assert_eq!(Lane::of(path), Lane::Common, "{path}");
        }
    }

    #[test]
    fn who_is_refused_waits_longer_the_more_are() {
        assert_eq!((patience(1), patience(u32::MAX)), (1, 4));
    }
}
