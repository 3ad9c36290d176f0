//! The timer that ends connections whose next request does not come.
//!
//! hyper asks for a new sleep for each head that it waits for, and drops it when the head is there.
//! A sleep of tokio's is entered into the runtime's wheel and taken out again each time. Here, those
//! of one connection share one, which fires at the first of their deadlines and is set again for the
//! one that counts then: once in the time that a head may take, however many requests come.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

/// The timer of one connection.
#[derive(Clone, Default)]
pub(crate) struct HeadTimer(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { deadline: Instant::now() + duration, shared: self.clone() })
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { deadline: Instant::from_std(deadline), shared: self.clone() })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// Ends at a time.
struct Until {
    deadline: Instant,
    shared: HeadTimer,
}

impl Sleep for Until {}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sleep = shared.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        if sleep.deadline() > self.deadline {
            sleep.as_mut().reset(self.deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(self.deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_sleep_ends_at_its_own_time() {
        let (timer, began) = (HeadTimer::default(), Instant::now());
        let after = |seconds| timer.sleep(Duration::from_secs(seconds));
        // One that was given up leaves nothing behind that ends the next one early.
        tokio::select! {
            biased;
            () = after(10) => {}
            () = tokio::time::sleep(Duration::from_secs(4)) => {}
        }
        after(10).await;
        assert_eq!(began.elapsed().as_secs(), 14);
        after(1).await;
        assert_eq!(began.elapsed().as_secs(), 15);
        timer.sleep_until((began + Duration::from_secs(20)).into_std()).await;
        assert_eq!(began.elapsed().as_secs(), 20);
    }
}
