//! One run of a backfill job.

use fedsx_kernel::Refusal;
use fedsx_kernel::activity::{id_of, kind_of, time_ms};
use fedsx_kernel::log::StoreError;
use fedsx_kernel::pipeline::inbound::Receivers;
use fedsx_kernel::runtime::BlockingFailed;
use serde_json::Value;
use thiserror::Error;

use super::offer::{Fetched, is_ours, offer};
use super::pages::{self, Page};
use super::{Context, Job, Wish};
use crate::discovery::{KeySigner, SignerError, fetch};

/// How many activities one page is asked for; a page may have 1 MiB, like every document.
const PAGE: u64 = 50;
/// The most bytes that a backfill from the newest on keeps in memory.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

/// How a run ended.
pub(super) enum Progress {
    Done,
    /// The node shuts down.
    Stopped,
}

/// Why a run ended early; it is tried again.
#[derive(Debug, Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blocking(#[from] BlockingFailed),
    #[error("the followed actor has no outbox")]
    NoOutbox,
}

/// Runs a job until it is done.
pub(super) async fn run(context: &Context, job: &mut Job) -> Result<Progress, RunError> {
    let actor = context.discovery.actor(&job.followed).await?;
    let outbox = actor.get("outbox").and_then(Value::as_str).ok_or(RunError::NoOutbox)?;
    if !fedsx_kernel::address::same_origin(outbox, &job.followed) {
        return Err(RunError::NoOutbox);
    }
    let base = &context.kernel.options().base;
    let signer = context.discovery.signer(&base.actor(&job.follower)).await?;
    let reader = Reader { context, signer };
    match job.wish {
        Wish::Full => reader.forward(job, outbox).await,
        Wish::Last(limit) => {
            let most = limit.min(context.options.backfill_items);
            reader.backward(job, outbox, most, None).await
        }
        Wish::Since(ms) => {
            let from_ms = job.accepted_ms.saturating_sub(ms);
            let most = context.options.backfill_items;
            reader.backward(job, outbox, most, Some(from_ms)).await
        }
    }
}

struct Reader<'a> {
    context: &'a Context,
    signer: KeySigner,
}

/// An activity and the URL from which it came.
type Found = (Value, String);

impl Reader<'_> {
    /// From the oldest on, page by page, each handed in before the next is fetched.
    async fn forward(&self, job: &mut Job, outbox: &str) -> Result<Progress, RunError> {
        let options = &self.context.options;
        let limit = PAGE.to_string();
        if job.next.is_none() {
            job.next = pages::with_query(outbox, &[("since", ""), ("limit", &limit)]);
        }
        while let Some(url) = job.next.clone() {
            if self.context.gate.is_closed() {
                return Ok(Progress::Stopped);
            }
            if job.pages >= options.backfill_pages || job.items >= options.backfill_items {
                tracing::warn!(followed = %job.followed, "a backfill ends at its limit");
                break;
            }
            let Page { items, next } = self.page(&url).await?;
            let left = options.backfill_items.saturating_sub(job.items);
            let mut found = self.resolve(job, items, &url).await;
            oldest_first(&mut found);
            found.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let last = found.last().and_then(|(item, _)| cid_of(item));
            self.hand_in(job, found).await?;
            job.pages = job.pages.saturating_add(1);
            job.failures = 0;
            job.next = match (next, last) {
                // An empty page may have a successor: what it has is withheld from us.
                (Some(next), _) => Some(next).filter(|next| *next != url),
                // A page without a link may still have a successor.
                (None, Some(cid)) if url.contains("since=") => {
                    let next = pages::with_query(outbox, &[("since", &cid), ("limit", &limit)]);
                    next.filter(|next| *next != url)
                }
                _ => None,
            };
            self.context.save(job).await?;
        }
        Ok(Progress::Done)
    }

    /// From the newest back, `most` activities or those from a time on; then the oldest of them
    /// is handed in first. A run that is interrupted begins anew.
    async fn backward(
        &self,
        job: &mut Job,
        outbox: &str,
        most: u64,
        from_ms: Option<i64>,
    ) -> Result<Progress, RunError> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let limit = PAGE.min(u64::try_from(most).unwrap_or(PAGE)).to_string();
        let (mut held, mut bytes, mut pages) = (Vec::new(), 0usize, 0);
        let mut next = pages::with_query(outbox, &[("limit", &limit)]);
        while let Some(url) = next.take() {
            if self.context.gate.is_closed() {
                return Ok(Progress::Stopped);
            }
            if pages >= self.context.options.backfill_pages || bytes >= MAX_HELD_BYTES {
                tracing::warn!(followed = %job.followed, "a backfill ends at its limit");
                break;
            }
            pages += 1;
            let page = self.page(&url).await?;
            let mut found = self.resolve(job, page.items, &url).await;
            oldest_first(&mut found);
            let mut past = false;
            while let Some((item, url)) = found.pop() {
                past = from_ms.is_some_and(|from| published_ms(&item).is_some_and(|at| at < from));
                if past || held.len() >= most {
                    break;
                }
                if self.answers(job, &item) {
                    continue;
                }
                bytes = bytes.saturating_add(item.to_string().len());
                held.push((item, url));
            }
            if past || held.len() >= most {
                break;
            }
            next = page.next.filter(|next| *next != url);
        }
        held.reverse();
        self.hand_in(job, held).await?;
        Ok(Progress::Done)
    }

    /// Whether an activity answers the very Follow that asked for history: it was delivered, and
    /// takes no place in what was asked for.
    fn answers(&self, job: &Job, item: &Value) -> bool {
        let kind = item.as_object().and_then(kind_of);
        let follower = self.context.kernel.options().base.actor(&job.follower);
        let by = item.get("object").and_then(|object| object.get("actor")).and_then(id_of);
        matches!(kind, Some("Accept" | "Reject")) && by == Some(follower.as_str())
    }

    async fn page(&self, url: &str) -> Result<Page, RunError> {
        let fetched = fetch::document(&self.context.client, url, Some(&self.signer)).await?;
        Ok(pages::read(&fetched.value, &fetched.final_url))
    }

    /// The followed actor's own activities on a page; where only ids stand there, fetched.
    async fn resolve(&self, job: &mut Job, items: Vec<Value>, page_url: &str) -> Vec<Found> {
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            let (item, url) = match item {
                Value::String(id) => {
                    let same = fedsx_kernel::address::same_origin(&id, &job.followed);
                    let client = &self.context.client;
                    let fetched = match same {
                        true => fetch::document(client, &id, Some(&self.signer)).await.ok(),
                        false => None,
                    };
                    match fetched {
                        Some(fetched) => (fetched.value, fetched.final_url),
                        None => {
                            job.refused = job.refused.saturating_add(1);
                            continue;
                        }
                    }
                }
                item => (item, page_url.to_owned()),
            };
            let own = item.get("actor").and_then(id_of) == Some(job.followed.as_str());
            if own && item.as_object().is_some_and(|members| kind_of(members).is_some()) {
                found.push((item, url));
            } else {
                job.refused = job.refused.saturating_add(1);
            }
        }
        found
    }

    /// Hands activities to the kernel. What it refuses for its own sake is counted and left out.
    async fn hand_in(&self, job: &mut Job, items: Vec<Found>) -> Result<(), RunError> {
        for (item, url) in items {
            let fetched = Fetched {
                body: item.to_string().into_bytes(),
                url,
                receivers: Receivers::Actor(job.follower.clone()),
                backfilled: true,
            };
            match offer(&self.context.kernel, &fetched).await {
                Ok(_) => job.items = job.items.saturating_add(1),
                Err(refusal) if is_ours(refusal.problem) => return Err(refusal.into()),
                Err(refusal) => {
                    let followed = &job.followed;
                    tracing::info!(%followed, %refusal, "an activity was not backfilled");
                    job.refused = job.refused.saturating_add(1);
                }
            }
        }
        Ok(())
    }
}

fn published_ms(item: &Value) -> Option<i64> {
    time_ms(item.get("published"))
}

fn cid_of(item: &Value) -> Option<String> {
    let (_, cid) = item.get("id")?.as_str()?.rsplit_once("/activities/")?;
    cid.parse::<fedsx_kernel::Cid>().ok().map(String::from)
}

/// Pages come newest first or oldest first; which of them shows by the author's numbering or
/// by time at their ends.
fn oldest_first(found: &mut [Found]) {
    let place = |(item, _): &Found| {
        let number = |name| item.get(name).and_then(Value::as_u64);
        let seq = number("seq").map(|seq| (number("epoch").unwrap_or(0), seq));
        (seq, published_ms(item))
    };
    let newest_first = match (found.first().map(place), found.last().map(place)) {
        (Some((Some(first), _)), Some((Some(last), _))) => first > last,
        (Some((_, Some(first))), Some((_, Some(last)))) if first != last => first > last,
        _ => true,
    };
    if newest_first {
        found.reverse();
    }
}
