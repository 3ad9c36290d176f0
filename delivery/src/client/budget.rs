//! A limit on the requests that one request from outside may cause.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ClientError;

tokio::task_local! {
    static LEFT: Arc<AtomicU32>;
}

/// Runs work that may send at most so many requests, each redirect and each page counted; further
/// ones are refused. The server wraps the handling of each request in this (DESIGN, section 7:
/// at most 20).
pub async fn budgeted<F: Future>(requests: u32, work: F) -> F::Output {
    LEFT.scope(Arc::new(AtomicU32::new(requests)), work).await
}

/// The same work with the budget of whoever asks for it, to be run in a task of its own.
pub(crate) fn inherited<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let left = LEFT.try_with(Arc::clone).ok();
    async move {
        match left {
            Some(left) => LEFT.scope(left, work).await,
            None => work.await,
        }
    }
}

/// Takes one request out of the budget, where there is one: work of our own has none.
pub(super) fn charge() -> Result<(), ClientError> {
    let charged = LEFT.try_with(|left| {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    });
    if charged.unwrap_or(true) { Ok(()) } else { Err(ClientError::BudgetSpent) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_budget_ends() {
        let taken = budgeted(2, async { (0..4).filter(|_| charge().is_ok()).count() }).await;
        assert_eq!(taken, 2);
        assert!(charge().is_ok());
    }

    #[tokio::test]
    async fn a_task_takes_the_budget_along() {
        let left = budgeted(3, async {
            let task = inherited(async { (0..2).filter(|_| charge().is_ok()).count() });
            assert_eq!(tokio::spawn(task).await.unwrap(), 2);
            (0..4).filter(|_| charge().is_ok()).count()
        });
        assert_eq!(left.await, 1);
    }
}
