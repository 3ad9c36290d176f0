//! Pauses before something is tried again, which end with the node.

use std::time::Duration;

use fedsx_kernel::Kernel;

/// Waits for so long; `false` where the node stops before. What is still to be done is in the ledger then, and the next
/// start goes on with it.
pub(crate) async fn pause(kernel: &Kernel, duration: Duration) -> bool {
    tokio::select! {
        biased;
        () = kernel.log().closed() => false,
        () = kernel.runtime().clock.sleep(duration) => true,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::testing::Node;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_with_the_node() {
        let (node, day) = (Node::new().await, Duration::from_secs(24 * 3600));
        let began = Instant::now();
        assert!(pause(&node.kernel, day).await);
        assert!(began.elapsed() >= day);
        let kernel = node.kernel.clone();
        let waiting = tokio::spawn(async move { pause(&kernel, day).await });
        tokio::task::yield_now().await;
        node.kernel.log().close().await;
        assert_eq!(waiting.await.ok(), Some(false));
        assert!(began.elapsed() < day * 2);
    }
}
