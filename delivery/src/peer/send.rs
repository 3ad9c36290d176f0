//! One attempt to deliver one item.

use std::collections::HashSet;
use std::sync::Arc;

use fedsx_kernel::trace::{Span, SpanKind, TRACEPARENT};
use fedsx_kernel::{Problem, Refusal};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};

use super::Context;
use super::prepare::{self, Prepared, prepare, signer};
use super::recipient::Recipient;
use super::verdict::{Objection, Outcome, Verdict, objection, of_answer, of_error};
use crate::client::Request;
use crate::discovery::{KeySigner, UPSTREAM_STATUS};
use crate::ledger::{Grounds, Item, Knock, Ledger, Lesson, Schemes, Signing, Writes, signing_of};
use crate::signature::Ask;
use crate::synchronization::COLLECTION_SYNCHRONIZATION;
use crate::webfinger::ACTIVITY_TYPE;

/// A POST has about so many fields.
const FIELDS: usize = 16;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub outcome: Outcome,
    /// How many recipients, in order, need nothing more.
    pub done: u32,
    /// Why one of those was refused for good.
    pub refused: Option<String>,
    /// What its requests taught about how the peer takes them signed.
    pub lessons: Vec<Lesson>,
}

impl Report {
    /// An attempt that came to nothing.
    pub fn failed(item: &Item, outcome: Outcome) -> Self {
        Self { outcome, done: item.done, refused: item.refused.clone(), lessons: Vec::new() }
    }
}

/// Sends an item to whoever of its recipients still needs it. `schemes` is what is known of how the
/// peer takes requests signed.
pub(super) async fn attempt(
    context: &Arc<Context>,
    peer: &str,
    seq: u64,
    item: &Arc<Item>,
    schemes: Schemes,
) -> Report {
    let traces = &context.kernel.runtime().traces;
    let mut span = traces.about(&item.cid, "deliver", SpanKind::Client);
    if let Some(span) = &mut span {
        span.set("fedsx.peer", peer.to_owned());
    }
    let traceparent = span.as_ref().and_then(Span::traceparent);
    let report = try_once(context, peer, seq, item, schemes, traceparent).await;
    if let Some(span) = &mut span
        && let Some(outcome) = report.outcome.verdict.name()
    {
        span.set("fedsx.outcome", outcome);
        if report.outcome.verdict != Verdict::Delivered {
            span.fail(outcome);
        }
    }
    report
}

async fn try_once(
    context: &Arc<Context>,
    peer: &str,
    seq: u64,
    item: &Arc<Item>,
    schemes: Schemes,
    traceparent: Option<String>,
) -> Report {
    let prepared = match prepare::from_memory(context, peer, item) {
        Some(prepared) => prepared,
        None => {
            let (reader, from, what) = (context.clone(), peer.to_owned(), item.clone());
            let read = move |_: &Ledger, _, _: &mut Writes| Ok(prepare(&reader, &from, &what));
            match context.reads.see_to(read).await {
                Ok(Ok(prepared)) => prepared,
                Ok(Err(error)) => Err(Outcome::local(error)),
                Err(error) => Err(Outcome::local(error)),
            }
        }
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(outcome) => return Report::failed(item, outcome),
    };
    let mut sending = Sending {
        context,
        peer,
        seq,
        item,
        prepared,
        traceparent: traceparent.and_then(|text| HeaderValue::try_from(text).ok()),
        schemes,
        report: Report::failed(item, Outcome::because(Verdict::Skipped, "nobody is left")),
    };
    sending.run().await;
    sending.report
}

struct Sending<'a> {
    context: &'a Arc<Context>,
    peer: &'a str,
    seq: u64,
    item: &'a Item,
    prepared: Prepared,
    /// The trace that the attempt belongs to, where peers are told.
    traceparent: Option<HeaderValue>,
    schemes: Schemes,
    report: Report,
}

impl Sending<'_> {
    async fn run(&mut self) {
        let share = self.item.shared;
        let mut posted = HashSet::new();
        let (done, mut blocked) = (self.report.done, 0_u32);
        let mut list = Recipients { start: 0, ids: self.item.recipients.clone(), chunk: 0 };
        while self.report.done < self.item.total {
            let id = match self.recipient(&mut list, self.report.done).await {
                Ok(Some(id)) => id,
                Ok(None) => break,
                Err(reason) => {
                    self.report.outcome = Outcome::local(reason);
                    return;
                }
            };
            if self.context.is_blocked(&id) {
                self.report.done = self.report.done.saturating_add(1);
                blocked = blocked.saturating_add(1);
                continue;
            }
            let known = self.prepared.first.take().filter(|(first, _)| *first == id);
            let recipient = match known {
                Some((_, recipient)) => Ok(recipient),
                None => {
                    let document = self.context.discovery.actor(&id).await;
                    document.map(|document| Recipient::of(&document, self.peer))
                }
            };
            let recipient = match recipient {
                Ok(recipient) => recipient,
                Err(refusal) => {
                    let outcome = undiscovered(&refusal);
                    if outcome.verdict != Verdict::Parked {
                        self.report.outcome = outcome;
                        return;
                    }
                    self.note(outcome, 1);
                    continue;
                }
            };
            if self.prepared.forwarded && !recipient.knows_proofs {
                self.report.done = self.report.done.saturating_add(1);
                continue;
            }
            let shared = recipient.shared.filter(|_| share);
            let rest = self.item.total.saturating_sub(self.report.done);
            let (inbox, covers) = match (shared, recipient.personal) {
                (Some(inbox), _) => (inbox, rest),
                (None, Some(inbox)) => (inbox, 1),
                (None, None) => {
                    self.note(Outcome::because(Verdict::Parked, format!("{id} has no inbox")), 1);
                    continue;
                }
            };
            if posted.contains(&inbox) {
                self.report.done = self.report.done.saturating_add(1);
                continue;
            }
            let outcome = self.post(&inbox, recipient.announced).await;
            posted.insert(inbox);
            match outcome.verdict {
                Verdict::Delivered | Verdict::Parked => self.note(outcome, covers),
                _ => {
                    self.report.outcome = outcome;
                    return;
                }
            }
        }
        if blocked > 0 && blocked == self.report.done.saturating_sub(done) {
            self.report.done = done;
            self.report.outcome = Outcome::because(Verdict::Held, "whom it is for is blocked here");
            return;
        }
        if let Some(refused) = &self.report.refused {
            let status = self.report.outcome.status;
            let reason = Some(refused.clone());
            self.report.outcome = Outcome { verdict: Verdict::Parked, status, reason };
        }
    }

    /// So many recipients need nothing more.
    fn note(&mut self, outcome: Outcome, recipients: u32) {
        self.report.done = self.report.done.saturating_add(recipients);
        if outcome.verdict == Verdict::Parked {
            self.report.refused = outcome.reason.clone();
        }
        self.report.outcome = outcome;
    }

    async fn recipient(&self, list: &mut Recipients, index: u32) -> Result<Option<String>, String> {
        loop {
            let at = usize::try_from(index.saturating_sub(list.start)).unwrap_or(usize::MAX);
            if let Some(id) = list.ids.get(at) {
                return Ok(Some(id.clone()));
            }
            if list.chunk >= self.item.chunks {
                return Ok(None);
            }
            let (ledger, peer) = (self.context.ledger.clone(), self.peer.to_owned());
            let (seq, chunk) = (self.seq, list.chunk);
            let read = move || ledger.chunk(&peer, seq, chunk);
            let ids = self.context.kernel.runtime().run(read).await;
            let ids = ids.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
            let passed = u32::try_from(list.ids.len()).unwrap_or(u32::MAX);
            *list = Recipients { start: list.start.saturating_add(passed), ids, chunk: chunk + 1 };
        }
    }

    /// Posts to one inbox; where the peer objects to the signature, once more with another one.
    async fn post(&mut self, inbox: &str, announced: Option<Signing>) -> Outcome {
        let [first, mut other] = self.schemes.knocks(announced, self.context.now_ms());
        let standing = self.schemes.asked.clone().filter(|_| first.grounds == Grounds::Asked);
        let (outcome, objects, asked) = self.knock(inbox, first.signing, standing.as_ref()).await;
        let ask = asked.clone();
        let learned = Lesson { asked, ..Lesson::default() };
        let tries_again = match objects {
            None => false,
            Some(Objection::Refused) => true,
            // One that took this way before has another trouble. Nobody fails on draft-cavage, and
            // there are servers that take RFC 9421 unread: what they fail on must not end there.
            Some(Objection::Failed) => {
                first.signing != Signing::Cavage && self.schemes.is_untried(first.signing)
            }
        };
        if !tries_again {
            let took = (outcome.verdict == Verdict::Delivered).then_some(first);
            self.learn(Lesson { took, ..learned });
            return outcome;
        }
        if let Some(ask) = ask.as_ref().filter(|_| objects == Some(Objection::Refused)) {
            // It says right now what it wants; a nonce of its own makes even the same way new.
            let signing = signing_of(ask, announced);
            if signing != first.signing || ask.nonce.is_some() || standing.as_ref() != Some(ask) {
                other = Knock { signing, grounds: Grounds::Asked };
            }
        }
        // Who has read newer keys of the author meanwhile refuses those that were current when this began.
        if let Some(signer) = self.renewed().await {
            self.prepared.signer = signer;
        }
        let (second, _, _) = self.knock(inbox, other.signing, ask.as_ref()).await;
        if second.verdict != Verdict::Delivered {
            self.learn(learned);
            return outcome;
        }
        let refused = Some(first.signing).filter(|first| *first != other.signing);
        self.learn(Lesson { took: Some(other), refused, ..learned });
        second
    }

    /// Who signs for the author by now; `None` where that cannot be read.
    async fn renewed(&self) -> Option<KeySigner> {
        let (reader, activity) = (self.context.clone(), self.prepared.outgoing.activity.clone());
        let read = move |_: &Ledger, _, _: &mut Writes| Ok(signer(&reader, &activity).ok());
        self.context.reads.see_to(read).await.ok()?.ok()?
    }

    fn learn(&mut self, lesson: Lesson) {
        if lesson != Lesson::default() {
            self.schemes.learn(lesson.clone(), self.context.now_ms());
            self.report.lessons.push(lesson);
        }
    }

    /// Posts once; also tells whether the peer objects to the signature, and what it asks for.
    async fn knock(
        &self,
        inbox: &str,
        way: Signing,
        ask: Option<&Ask>,
    ) -> (Outcome, Option<Objection>, Option<Ask>) {
        let request = match self.request(inbox, way, ask).await {
            Ok(request) => request,
            Err(outcome) => return (outcome, None, None),
        };
        match self.context.client.send(request).await {
            Ok(answer) => {
                let now = self.context.kernel.runtime().clock.now();
                let outcome = of_answer(&answer, now, &self.context.options);
                (outcome, objection(answer.status), Ask::of(&answer.headers))
            }
            Err(error) => (of_error(&error), None, None),
        }
    }

    async fn request(
        &self,
        inbox: &str,
        way: Signing,
        ask: Option<&Ask>,
    ) -> Result<Request, Outcome> {
        let target = self.context.client.target(inbox).map_err(|error| of_error(&error))?;
        let mut headers = HeaderMap::with_capacity(FIELDS);
        headers.insert(HOST, target.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(ACTIVITY_TYPE));
        let Prepared { outgoing, signer, statement, .. } = &self.prepared;
        if let Some(statement) = statement {
            headers.insert(COLLECTION_SYNCHRONIZATION, statement.clone());
        }
        if let Some(traceparent) = &self.traceparent {
            headers.insert(TRACEPARENT, traceparent.clone());
        }
        signer
            .sign_as(way, &Method::POST, &target.uri, Some(&outgoing.digest), &mut headers, ask)
            .await
            .map_err(Outcome::local)?;
        Ok(Request {
            method: Method::POST,
            url: inbox.to_owned(),
            headers,
            body: outgoing.body.clone(),
        })
    }
}

/// A window into the recipients: those from `start` on; `chunk` is the list to read next.
struct Recipients {
    start: u32,
    ids: Vec<String>,
    chunk: u32,
}

/// What it means that a recipient's document cannot be had.
fn undiscovered(refusal: &Refusal) -> Outcome {
    let answered = refusal.members.iter().find(|(name, _)| *name == UPSTREAM_STATUS);
    let status = answered.and_then(|(_, status)| status.as_u64()).and_then(|s| s.try_into().ok());
    let verdict = match (refusal.problem, status) {
        (Problem::UpstreamFailed, Some(429)) | (Problem::UpstreamFailed, None) => {
            Verdict::PeerFailed { retry_after: None }
        }
        (Problem::UpstreamFailed, Some(_)) => Verdict::Faulted,
        (Problem::Blocked, _) => Verdict::Held,
        (Problem::UnknownKey | Problem::ForbiddenAddress, _) => Verdict::Parked,
        _ => Verdict::LocalFailure,
    };
    Outcome { verdict, status, reason: Some(refusal.detail.clone()) }
}
