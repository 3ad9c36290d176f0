use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// Wall clock and timers.
///
/// Timers go through tokio, so a simulator that advances tokio's time advances them.
pub trait Clock: Send + Sync + 'static {
    /// The wall-clock time.
    fn now(&self) -> Timestamp;

    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64 {
        self.now().as_millisecond()
    }

    /// Waits for a while.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The clock of the operating system.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that starts at a given time and follows tokio's (pausable) time.
pub struct ManualClock {
    start_ms: AtomicI64,
    anchor: tokio::time::Instant,
}

impl ManualClock {
    /// A clock that shows `start_ms` now. Must be called inside a tokio runtime.
    pub fn new(start_ms: i64) -> Self {
        Self { start_ms: AtomicI64::new(start_ms), anchor: tokio::time::Instant::now() }
    }

    /// Sets the wall clock forward or back without any timer firing.
    pub fn jump_ms(&self, by_ms: i64) {
        self.start_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.anchor.elapsed().as_millis()).unwrap_or(i64::MAX);
        let now_ms = self.start_ms.load(Ordering::SeqCst).saturating_add(elapsed);
        Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::MAX)
    }
}
