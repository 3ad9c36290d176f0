//! Futures that are begun aside: by the threads of a lane instead of those that wait for sockets.
//!
//! A future that first computes for long and then waits holds up all else that its thread is to do. Begun
//! aside, it computes in a lane until it has to wait; from there on whoever waits for it polls it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::lane::{Finish, Lane};
use super::{Blocking, BlockingFailed};

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A future that is begun aside; [`Runtime::aside`](super::Runtime::aside) makes it. Where it is dropped before a
/// thread takes it up, nothing of it is done.
pub struct Aside<T>(Stage<T>);

enum Stage<T> {
    New { work: Work<T>, lane: Lane, pool: Arc<dyn Blocking> },
    Away(Arc<Mutex<Place<T>>>),
    Back(Work<T>),
    Over,
}

/// Where the lane and whoever waits hand the work over.
enum Place<T> {
    /// With the lane. What is woken was woken in vain where it asked meanwhile.
    Away { waker: Waker, asked: bool },
    /// It waits for something.
    Begun(Work<T>),
    /// It did not have to wait.
    Done(T),
    /// It panicked, or the pool is gone.
    Failed,
}

impl<T: Send + 'static> Aside<T> {
    pub(super) fn new(
        work: impl Future<Output = T> + Send + 'static,
        lane: &Lane,
        pool: &Arc<dyn Blocking>,
    ) -> Self {
        Self(Stage::New { work: Box::pin(work), lane: lane.clone(), pool: pool.clone() })
    }
}

impl<T: Send + 'static> Future for Aside<T> {
    type Output = Result<T, BlockingFailed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.0, Stage::Over) {
            Stage::New { work, lane, pool } => {
                let (waker, asked) = (cx.waker().clone(), false);
                let place = Arc::new(Mutex::new(Place::Away { waker: waker.clone(), asked }));
                let job = Job { work: Some(work), place: place.clone() };
                lane.take(Box::new(move || job.begin(&waker)), pool.as_ref());
                self.0 = Stage::Away(place);
                // Pools of simulations have done it by now.
                self.poll(cx)
            }
            Stage::Away(place) => {
                let mut held = lock(&place);
                match &mut *held {
                    Place::Away { waker, asked } => {
                        waker.clone_from(cx.waker());
                        *asked = true;
                        drop(held);
                        self.0 = Stage::Away(place);
                        Poll::Pending
                    }
                    there => match std::mem::replace(there, Place::Failed) {
                        Place::Done(given) => Poll::Ready(Ok(given)),
                        Place::Begun(work) => {
                            drop(held);
                            self.0 = Stage::Back(work);
                            self.poll(cx)
                        }
                        _ => Poll::Ready(Err(BlockingFailed)),
                    },
                }
            }
            Stage::Back(mut work) => match work.as_mut().poll(cx) {
                Poll::Ready(given) => Poll::Ready(Ok(given)),
                Poll::Pending => {
                    self.0 = Stage::Back(work);
                    Poll::Pending
                }
            },
            Stage::Over => Poll::Ready(Err(BlockingFailed)),
        }
    }
}

/// What the lane is given.
struct Job<T> {
    work: Option<Work<T>>,
    place: Arc<Mutex<Place<T>>>,
}

impl<T: Send + 'static> Job<T> {
    fn begin(mut self, waker: &Waker) -> Finish {
        // Nobody waits for it any more.
        let is_wanted = Arc::strong_count(&self.place) > 1;
        let begun = self.work.take().filter(|_| is_wanted).map(|mut work| {
            match work.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Ready(given) => Place::Done(given),
                Poll::Pending => Place::Begun(work),
            }
        });
        Box::new(move || self.hand_over(begun.unwrap_or(Place::Failed)))
    }
}

impl<T> Job<T> {
    fn hand_over(&self, what: Place<T>) {
        let is_begun = matches!(what, Place::Begun(_));
        let before = std::mem::replace(&mut *lock(&self.place), what);
        // What waits is woken by what it waits for.
        if let Place::Away { waker, asked } = before
            && (asked || !is_begun)
        {
            waker.wake();
        }
    }
}

impl<T> Drop for Job<T> {
    /// What was not handed over never will be.
    fn drop(&mut self) {
        if matches!(*lock(&self.place), Place::Away { .. }) {
            self.hand_over(Place::Failed);
        }
    }
}

fn lock<T>(place: &Mutex<Place<T>>) -> MutexGuard<'_, Place<T>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::{ThreadId, current};

    use tokio::sync::oneshot;

    use super::super::{InlineBlocking, Runtime};
    use super::*;

    #[tokio::test]
    async fn it_begins_in_the_lane_and_goes_on_here() {
        let (runtime, lane, here) = (Runtime::system(), Lane::default(), current().id());
        for waits in [false, true] {
            let work = async move {
                let began = current().id();
                if waits {
                    tokio::task::yield_now().await;
                }
                (began, current().id())
            };
            let (began, ended): (ThreadId, ThreadId) = runtime.aside(&lane, work).await.unwrap();
            assert_ne!(began, here);
            assert_eq!(ended == here, waits);
        }
    }

    /// What it waits for may come before the lane has given it back.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_waking_is_lost() {
        let (runtime, lane) = (Runtime::system(), Lane::new(2, 4));
        let all: Vec<_> = (0..2_000)
            .map(|number| {
                let (send, wait) = oneshot::channel();
                let work = async move { wait.await.unwrap() };
                let aside = tokio::spawn(runtime.aside(&lane, work));
                tokio::spawn(async move { send.send(number).unwrap() });
                aside
            })
            .collect();
        for (number, aside) in all.into_iter().enumerate() {
            assert_eq!(aside.await.unwrap().unwrap(), number);
        }
    }

    #[tokio::test]
    async fn what_panics_fails_and_what_nobody_wants_is_not_begun() {
        let (runtime, lane) = (Runtime::system(), Lane::default());
        let failed = runtime.aside(&lane, async { panic!("on purpose") });
        assert!(tokio::spawn(async move { failed.await.map(|(): ()| ()) }).await.unwrap().is_err());
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let before = tokio::spawn({
            let (runtime, lane) = (runtime.clone(), lane.clone());
            async move { runtime.run_in(&lane, move || held.recv().is_ok()).await }
        });
        tokio::task::yield_now().await;
        let begun = Arc::new(AtomicUsize::new(0));
        let mut aside = Box::pin(runtime.aside(&lane, {
            let begun = begun.clone();
            async move { begun.fetch_add(1, Ordering::SeqCst) }
        }));
        assert!(futures::poll!(aside.as_mut()).is_pending());
        drop(aside);
        hold.send(()).unwrap();
        assert!(before.await.unwrap().unwrap());
        runtime.run_in(&lane, || ()).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn where_the_pool_is_inline_it_is_begun_at_once() {
        let runtime = Runtime { blocking: Arc::new(InlineBlocking), ..Runtime::system() };
        let aside = runtime.aside(&Lane::default(), async { 7 });
        assert_eq!(futures::FutureExt::now_or_never(aside).unwrap().unwrap(), 7);
    }
}
