//! Telling those who follow the log that there is more.
//!
//! Some twenty actors follow it, and each wake-up costs every one of them about the same, however
//! much there is to read. So they are told at once when nothing was appended for a while, and
//! once in [`PAUSE`] while much is appended; sooner where somebody waits for one of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// The shortest time between two wake-ups that nobody waits for.
const PAUSE: Duration = Duration::from_millis(20);

/// Passes on the position of the newest entry, until the log is closed.
pub(super) async fn pace(
    mut head: watch::Receiver<u64>,
    told: watch::Sender<u64>,
    hurry: Arc<Notify>,
) {
    while head.changed().await.is_ok() {
        let news = *head.borrow_and_update();
        told.send_replace(news);
        tokio::select! {
            () = hurry.notified() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_many_are_told_together() {
        let (head, follow) = watch::channel(0);
        let (told, mut news) = watch::channel(0);
        let hurry = Arc::new(Notify::new());
        let pacing = tokio::spawn(pace(follow, told, hurry.clone()));
        let begun = tokio::time::Instant::now();
        head.send_replace(1);
        news.changed().await.unwrap();
        assert_eq!((*news.borrow_and_update(), begun.elapsed()), (1, Duration::ZERO));
        for seq in 2..=5 {
            head.send_replace(seq);
            tokio::task::yield_now().await;
        }
        news.changed().await.unwrap();
        assert_eq!((*news.borrow_and_update(), begun.elapsed()), (5, PAUSE));
        head.send_replace(6);
        hurry.notify_one();
        news.changed().await.unwrap();
        assert_eq!((*news.borrow_and_update(), begun.elapsed()), (6, PAUSE));
        // The last one is told before the end.
        head.send_replace(7);
        drop(head);
        news.changed().await.unwrap();
        assert_eq!(*news.borrow_and_update(), 7);
        pacing.await.unwrap();
        assert!(news.changed().await.is_err());
    }
}
