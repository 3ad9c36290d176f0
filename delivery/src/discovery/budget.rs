//! A limit on the fetches that one request from outside may cause.

use std::cell::Cell;
use std::future::Future;

use fedsx_kernel::{Problem, Refusal};

tokio::task_local! {
    static LEFT: Cell<u32>;
}

/// Runs work that may fetch at most so often; further fetches are refused. The server
/// wraps the handling of each request in this (DESIGN, section 7: at most 20).
pub async fn budgeted<F: Future>(fetches: u32, work: F) -> F::Output {
    LEFT.scope(Cell::new(fetches), work).await
}

/// Takes one fetch out of the budget, where there is one.
pub(super) fn charge() -> Result<(), Refusal> {
    let charged = LEFT.try_with(|left| match left.get().checked_sub(1) {
        Some(rest) => {
            left.set(rest);
            true
        }
        None => false,
    });
    match charged {
        Ok(false) => {
            Err(Refusal::new(Problem::UpstreamFailed, "this request asks for too many fetches"))
        }
        // Work of our own has no budget.
        Ok(true) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_budget_ends() {
        let taken = budgeted(2, async { (0..4).filter(|_| charge().is_ok()).count() }).await;
        assert_eq!(taken, 2);
        assert!(charge().is_ok());
    }
}
