//! Handing an activity that was fetched to the kernel.

use fedsx_kernel::pipeline::inbound::{Delivery, Received, Receivers, Transport};
use fedsx_kernel::{Kernel, Problem, Refusal};

/// How often an activity is offered to a kernel that is busy.
const MAX_OFFERS: u32 = 30;
/// How long a busy kernel is left alone.
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// A fetched activity.
pub(crate) struct Fetched {
    pub body: Vec<u8>,
    /// Where it was fetched.
    pub url: String,
    pub receivers: Receivers,
    /// Whether it is history, not news.
    pub backfilled: bool,
}

/// Offers an activity until the kernel has time for it.
///
/// # Errors
/// The kernel's refusal; [`is_ours`] tells whether it says anything about the activity.
pub(crate) async fn offer(kernel: &Kernel, fetched: &Fetched) -> Result<Received, Refusal> {
    let mut offers = 0;
    loop {
        let delivery = Delivery {
            body: fetched.body.clone(),
            receivers: fetched.receivers.clone(),
            transport: Transport::Fetched(fetched.url.clone()),
            trace: None,
            backfilled: fetched.backfilled,
        };
        match kernel.receive(delivery).await {
            Err(refusal) if refusal.problem == Problem::Busy && offers < MAX_OFFERS => {
                offers += 1;
                kernel.runtime().clock.sleep(BUSY_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Whether a refusal says nothing about the activity.
pub(crate) fn is_ours(problem: Problem) -> bool {
    matches!(
        problem,
        Problem::Busy
            | Problem::Internal
            | Problem::StorageFull
            | Problem::StorePoisoned
            | Problem::UpstreamFailed
    )
}
