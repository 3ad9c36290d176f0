//! One run for the holes of one author.

use fedsx_kernel::activity::id_of;
use fedsx_kernel::address::same_origin;
use fedsx_kernel::log::StoreError;
use fedsx_kernel::pipeline::inbound::{Received, Receivers};
use fedsx_kernel::runtime::BlockingFailed;
use fedsx_kernel::state::StateError;
use fedsx_kernel::{ActorName, Problem, Refusal};
use serde_json::Value;
use thiserror::Error;

use super::{Context, Ranges, plan};
use crate::backfill::offer::{Fetched, is_ours, offer};
use crate::backfill::pages;
use crate::discovery::{KeySigner, fetch};

/// How many positions one page is asked for.
const PAGE: u64 = 50;

/// How a run ended.
pub(super) enum Progress {
    /// Nothing is left to be asked for.
    Done,
    /// Something is left; not before the next pause.
    More,
    /// The node shuts down.
    Stopped,
}

/// Why a run ended early; it is tried again.
#[derive(Debug, Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Blocking(#[from] BlockingFailed),
}

/// Asks for what is open.
pub(super) async fn run(context: &Context, author: &str) -> Result<Progress, RunError> {
    let (ledger, kernel, name) =
        (context.ledger.clone(), context.kernel.clone(), author.to_owned());
    let most = context.options.heal_askers.max(1);
    let read = move || {
        let open = plan::open(&ledger, &name)?;
        let followers = plan::followers(&kernel, &name, most)?;
        Ok::<_, RunError>((open, followers))
    };
    let (open, followers) = context.kernel.runtime().run(read).await??;
    if open.is_empty() || followers.is_empty() {
        return Ok(Progress::Done);
    }
    let outbox = match outbox(context, author).await {
        Ok(outbox) => outbox,
        Err(refusal) if is_ours(refusal.problem) => return Err(refusal.into()),
        Err(refusal) => {
            tracing::info!(%author, %refusal, "a gap stays: its author has no outbox for us");
            settle(context, author, open).await?;
            return Ok(Progress::Done);
        }
    };
    let mut askers = Vec::with_capacity(followers.len());
    for name in followers {
        match context.discovery.signer(&context.kernel.options().base.actor(&name)).await {
            Ok(signer) => askers.push(Asker { name, signer }),
            Err(error) => tracing::warn!(%name, %error, "a follower cannot ask for a gap"),
        }
    }
    if askers.is_empty() {
        return Ok(Progress::Done);
    }
    let mut run = Run { context, author, outbox, askers, pages: 0, healed: 0, withheld: 0 };
    match run.heal(open.clone()).await {
        // The origin refuses to tell; asking again would be of no use.
        Err(RunError::Refused(refusal)) if !is_ours(refusal.problem) => {
            tracing::info!(%author, %refusal, "a gap stays: its origin does not tell");
            settle(context, author, open).await?;
            Ok(Progress::Done)
        }
        other => other,
    }
}

async fn outbox(context: &Context, author: &str) -> Result<String, Refusal> {
    let document = context.discovery.actor(author).await?;
    let outbox = document.get("outbox").and_then(id_of).filter(|url| same_origin(url, author));
    let none = || Refusal::new(Problem::UnknownKey, "it names no outbox of its origin");
    outbox.map(str::to_owned).ok_or_else(none)
}

async fn settle(context: &Context, author: &str, ranges: Ranges) -> Result<(), RunError> {
    let (ledger, author) = (context.ledger.clone(), author.to_owned());
    let write = move || plan::settle(&ledger, &author, &ranges);
    Ok(context.kernel.runtime().run(write).await??)
}

/// A follower here, as whom is asked.
struct Asker {
    name: ActorName,
    signer: KeySigner,
}

/// What one page says about the positions from where it was asked for.
struct Page {
    /// The author's activities there.
    items: Vec<(u64, Value)>,
    /// What the asker may not see.
    withheld: Ranges,
    /// The last position of which it speaks.
    last: Option<u64>,
    url: String,
}

struct Run<'a> {
    context: &'a Context,
    author: &'a str,
    outbox: String,
    askers: Vec<Asker>,
    pages: u32,
    healed: u64,
    withheld: u64,
}

impl Run<'_> {
    async fn heal(&mut self, open: Ranges) -> Result<Progress, RunError> {
        let Some(asker) = self.askers.first() else { return Ok(Progress::Done) };
        let length = self.length(asker).await?;
        // Positions beyond the end of the outbox are a claim that its origin does not back.
        let mut open = open;
        open.cut(length);
        let oldest = length.saturating_sub(self.context.options.heal_range);
        if let Some(first) = open.first().filter(|first| *first < oldest) {
            tracing::warn!(author = %self.author, from = first, to = oldest, "a gap is too old");
            let mut given_up = open.clone();
            given_up.cut(oldest);
            settle(self.context, self.author, given_up).await?;
        }
        for [from, to] in open.all() {
            let mut next = (*from).max(oldest);
            while next <= *to {
                if self.context.gate.is_closed() {
                    return Ok(Progress::Stopped);
                }
                if self.pages >= self.context.options.heal_pages.max(1) {
                    return Ok(Progress::More);
                }
                next = self.step(next, *to).await?.saturating_add(1);
            }
        }
        tracing::info!(author = %self.author, healed = self.healed, withheld = self.withheld, "gaps were healed");
        Ok(Progress::Done)
    }

    /// How many positions the outbox has, as its origin says.
    async fn length(&self, asker: &Asker) -> Result<u64, RunError> {
        let signer = Some(&asker.signer);
        let fetched = fetch::document(&self.context.client, &self.outbox, signer).await?;
        let length = fetched.value.get("totalItems").and_then(Value::as_u64);
        let none = || Refusal::new(Problem::UnknownKey, "its outbox tells no length");
        length.ok_or_else(|| none().into())
    }

    /// Settles the positions from `from` on of which one page speaks; the last of them.
    async fn step(&mut self, from: u64, to: u64) -> Result<u64, RunError> {
        let mut asked = Ranges::default();
        let page = self.page(0, from, to).await?;
        let last = page.last.map_or(to, |last| last.clamp(from, to));
        asked.insert(from, last);
        self.hand_in(0, &page, &asked).await?;
        let mut hidden = within(&page.withheld, from, last);
        for asker in 1..self.askers.len() {
            let (Some(from), Some(to)) = (hidden.first(), hidden.last()) else { break };
            let page = self.page(asker, from, to).await?;
            self.hand_in(asker, &page, &hidden).await?;
            for (seq, _) in &page.items {
                hidden.remove(*seq);
            }
        }
        let count = |[from, to]: &[u64; 2]| to - from + 1;
        self.withheld = self.withheld.saturating_add(hidden.all().iter().map(count).sum());
        settle(self.context, self.author, asked).await?;
        Ok(last)
    }

    async fn page(&mut self, asker: usize, from: u64, to: u64) -> Result<Page, RunError> {
        self.pages = self.pages.saturating_add(1);
        let (first, limit) = (from.to_string(), (to - from).saturating_add(1).min(PAGE));
        let parameters = [("from", first.as_str()), ("limit", &limit.to_string())];
        let url = pages::with_query(&self.outbox, &parameters);
        let url = url.ok_or_else(|| Refusal::new(Problem::UnknownKey, "its outbox is no URL"))?;
        let signer = self.askers.get(asker).map(|asker| &asker.signer);
        let fetched = fetch::document(&self.context.client, &url, signer).await?;
        Ok(self.read(&fetched.value, fetched.final_url))
    }

    fn read(&self, document: &Value, url: String) -> Page {
        let mut page = Page { items: Vec::new(), withheld: Ranges::default(), last: None, url };
        for item in pages::read(document, &page.url).items {
            let own = item.get("actor").and_then(id_of) == Some(self.author);
            let Some(seq) = item.get("seq").and_then(Value::as_u64).filter(|_| own) else {
                continue;
            };
            page.last = page.last.max(Some(seq));
            page.items.push((seq, item));
        }
        let ranges = document.get("withheld").and_then(Value::as_array).into_iter().flatten();
        for range in ranges {
            let number = |index: usize| range.get(index).and_then(Value::as_u64);
            let (Some(from), Some(to)) = (number(1), number(2)) else { continue };
            page.withheld.insert(from, to);
        }
        page.last = page.last.max(page.withheld.last());
        page.items.sort_by_key(|(seq, _)| *seq);
        page
    }

    /// Hands in what a page has at the wanted positions, to everybody here whom it concerns.
    async fn hand_in(
        &mut self,
        asker: usize,
        page: &Page,
        wanted: &Ranges,
    ) -> Result<(), RunError> {
        let asker = self.askers.get(asker).map(|asker| asker.name.clone());
        for (seq, item) in page.items.iter().filter(|(seq, _)| wanted.contains(*seq)) {
            let mut fetched = Fetched {
                body: item.to_string().into_bytes(),
                url: page.url.clone(),
                receivers: Receivers::Shared,
                // It is late, but no history: it was meant to come when it was said.
                backfilled: false,
            };
            let kernel = &self.context.kernel;
            let mut received = offer(kernel, &fetched).await;
            // What was shown to the asker alone names nobody.
            if let (Ok(Received::Ignored), Some(asker)) = (&received, &asker) {
                fetched.receivers = Receivers::Actor(asker.clone());
                received = offer(kernel, &fetched).await;
            }
            match received {
                Ok(_) => self.healed = self.healed.saturating_add(1),
                Err(refusal) if is_ours(refusal.problem) => return Err(refusal.into()),
                Err(refusal) => {
                    tracing::info!(author = %self.author, seq, %refusal, "it was not taken");
                }
            }
        }
        Ok(())
    }
}

/// The part of the ranges from `from` to `to`.
fn within(ranges: &Ranges, from: u64, to: u64) -> Ranges {
    let mut part = Ranges::default();
    for [start, end] in ranges.all() {
        part.insert((*start).max(from), (*end).min(to));
    }
    part
}
