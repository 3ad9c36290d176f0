//! From a delivery to an entry in an inbox.

use std::sync::Arc;

use serde_json::Value;

use crate::activity::Activity;
use crate::address::{ActorName, origin_of, same_origin};
use crate::cid::Cid;
use crate::kernel::Shared;
use crate::keys::{HistoryError, KeyHistory, PublicKey, Purpose};
use crate::log::{Append, AppendError, Meta, Place};
use crate::proof::{self, ProofError, ProofHead};
use crate::refusal::{Problem, Refusal};
use crate::rules::{Direction, Hosted};
use crate::trace::{Parent, Span, SpanKind};

/// How far `published` may lie ahead of our clock, in milliseconds.
pub const MAX_AHEAD_MS: i64 = 5 * 60 * 1000;

/// A signature around a delivery that the server parsed, for the pipeline to judge.
pub trait TransportSignature: Send + Sync {
    /// The id of the key that signed.
    fn key_id(&self) -> &str;
    /// Whether the signature is by this key.
    fn verify(&self, key: &PublicKey) -> Result<(), String>;
    /// The same for every copy of one signed request, different for every other.
    fn replay_key(&self) -> [u8; 32];
}

/// How an activity came.
#[derive(Clone)]
pub enum Transport {
    /// Pushed without an HTTP signature.
    Bare,
    /// Pushed with an HTTP signature.
    Signed(Arc<dyn TransportSignature>),
    /// Fetched by us from this URL.
    Fetched(String),
}

/// For whom it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receivers {
    /// The inbox of one actor.
    Actor(ActorName),
    /// The shared inbox: whoever it concerns.
    Shared,
}

/// An activity that came from outside.
pub struct Delivery {
    /// The bytes.
    pub body: Vec<u8>,
    /// For whom.
    pub receivers: Receivers,
    /// How.
    pub transport: Transport,
    /// Whether it is history that we asked for.
    pub backfilled: bool,
    /// The span under which it came, where the sender named one and may.
    pub trace: Option<Parent>,
}

/// What became of a delivery that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Appended; durable.
    Accepted {
        /// The activity.
        cid: Cid,
        /// From this position on its effects are visible.
        global_seq: u64,
    },
    /// Held before, in every inbox that it came for.
    Already {
        /// The activity that is held.
        cid: Cid,
    },
    /// Well formed, and of no consequence: it ends something that was never here.
    Ignored,
}

/// Checks an activity that was fetched as a delivery of it would be, and appends nothing.
pub(crate) async fn vouch(
    shared: &Arc<Shared>,
    body: &[u8],
    url: &str,
) -> Result<(Activity, String), Refusal> {
    let activity = shape(body)?;
    let state = shared.log.state();
    shared.rules.sender(state, activity.actor(), None)?;
    ahead(shared, &activity)?;
    let vouched = verify(shared, &activity, &Transport::Fetched(url.to_owned())).await?;
    shared.rules.judge(state, &activity, Direction::Inbound)?;
    Ok((activity, vouched.by))
}

pub(crate) async fn receive(shared: &Arc<Shared>, delivery: Delivery) -> Result<Received, Refusal> {
    let Ok(_permit) = shared.deliveries.try_acquire() else {
        return Err(Refusal::new(Problem::Busy, "too many deliveries are under way"));
    };
    let traces = &shared.runtime.traces;
    let mut span = traces.start("inbox", SpanKind::Server, delivery.trace.as_ref());
    let received = take(shared, delivery, &mut span).await;
    match &received {
        Ok(Received::Accepted { .. }) => span.set("fedsx.outcome", "accepted"),
        Ok(Received::Already { .. }) => span.set("fedsx.outcome", "already"),
        Ok(Received::Ignored) => span.set("fedsx.outcome", "ignored"),
        Err(refusal) => span.fail(refusal.problem.slug()),
    }
    received
}

async fn take(
    shared: &Arc<Shared>,
    delivery: Delivery,
    span: &mut Span,
) -> Result<Received, Refusal> {
    let Delivery { body, receivers, transport, backfilled, trace: _ } = delivery;
    let activity = shape(&body)?;
    span.set("fedsx.cid", activity.cid().to_string());
    let state = shared.log.state();
    let receiver = receiver_id(shared, &receivers)?;
    if shared.options.base.is_local(activity.actor()) {
        return own_words(shared, &activity);
    }
    shared.rules.sender(state, activity.actor(), receiver.as_deref())?;
    // What we fetch ourselves is limited by us.
    let peer = origin_of(activity.actor()).filter(|_| !matches!(transport, Transport::Fetched(_)));
    if let Some(peer) = &peer {
        shared.rates.check(peer)?;
    }
    if shared.rules.ignorable(state, &activity)? {
        return Ok(Received::Ignored);
    }
    ahead(shared, &activity)?;
    let Vouched { by: verified_by, request } = verify(shared, &activity, &transport).await?;
    if let Some(peer) = &peer {
        shared.rates.take(peer)?;
    }
    let judgement = shared.rules.judge(state, &activity, Direction::Inbound)?;
    // Only what would else be taken is remembered: whatever was refused may be sent again, and
    // nobody can spoil a request that is still to come by copying a signature that is not checked.
    let replay_key = replay(shared, request)?;

    let activity = Arc::new(activity);
    shared.runtime.traces.remember(activity.cid(), span);
    let (rules, judged, earlier) = (shared.rules.clone(), activity.clone(), judgement.clone());
    let append = Append {
        activity: activity.clone(),
        place: match receivers {
            _ if shared.rules.is_confined(&activity) => Place::Concerned,
            Receivers::Actor(name) => Place::Inboxes(vec![name]),
            Receivers::Shared => Place::Concerned,
        },
        meta: Meta {
            received_ms: shared.runtime.clock.now_ms(),
            origin: origin_of(activity.actor()),
            verified_by: Some(verified_by),
            judged_by: judgement.judged_by,
            backfilled,
            ..Meta::default()
        },
        once: None,
        guard: Some(Box::new(move |state| {
            rules.confirm(state, &judged, Direction::Inbound, &earlier)
        })),
    };
    let appended = shared.log.append(append).await;
    if let (Err(_), Some(key)) = (&appended, replay_key) {
        // What was not taken may be tried again, even by the very same request.
        shared.replays.forget(&key);
    }
    match appended {
        Ok(appended) if appended.already() => Ok(Received::Already { cid: appended.cid }),
        Ok(appended) => {
            Ok(Received::Accepted { cid: appended.cid, global_seq: appended.global_seq })
        }
        Err(AppendError::OtherVersion { id, held }) => {
            tracing::warn!(%id, %held, differing = %activity.cid(), "a foreign id came with other content");
            Ok(Received::Already { cid: held })
        }
        Err(AppendError::NobodyConcerned) => Ok(Received::Ignored),
        Err(error) => Err(error.into()),
    }
}

fn shape(body: &[u8]) -> Result<Activity, Refusal> {
    let document = crate::json::parse(body).map_err(|e| match e {
        crate::json::JsonError::TooLarge(_) => Refusal::new(Problem::TooLarge, e.to_string()),
        other => Refusal::new(Problem::MalformedJson, other.to_string()),
    })?;
    let activity = Activity::from_document(document)
        .map_err(|e| Refusal::new(Problem::InvalidActivity, e.to_string()))?;
    if !same_origin(activity.id(), activity.actor()) {
        return Err(Refusal::new(
            Problem::WrongOrigin,
            format!("{} is not of the origin of {}", activity.id(), activity.actor()),
        ));
    }
    Ok(activity)
}

fn receiver_id(shared: &Shared, receivers: &Receivers) -> Result<Option<String>, Refusal> {
    let Receivers::Actor(name) = receivers else { return Ok(None) };
    match shared.rules.hosted(shared.log.state(), name)? {
        Hosted::Active => Ok(Some(shared.options.base.actor(name))),
        Hosted::Absent => Err(Refusal::new(Problem::UnknownActor, format!("there is no {name}"))),
        Hosted::Deleted => Err(Refusal::new(Problem::ActorGone, format!("{name} was deleted"))),
        Hosted::Suspended => {
            Err(Refusal::new(Problem::ActorSuspended, format!("{name} is suspended")))
        }
    }
}

/// Words of our own actors that come back. Whoever here they were for has had them since they
/// were published, and what is not in our log was never said.
fn own_words(shared: &Shared, activity: &Activity) -> Result<Received, Refusal> {
    match shared.log.store().first_entry(activity.cid())? {
        Some(_) => Ok(Received::Already { cid: *activity.cid() }),
        None => Err(Refusal::new(
            Problem::WrongOrigin,
            "it claims an author of this instance, who never said it",
        )),
    }
}

/// Nothing may lie ahead by which the author's statements are ordered: it would outdo whatever the
/// author says until then.
fn ahead(shared: &Shared, activity: &Activity) -> Result<(), Refusal> {
    let latest = shared.runtime.clock.now_ms().saturating_add(MAX_AHEAD_MS);
    let stated = activity.published_ms().max(Some(activity.order().time_ms));
    match stated {
        Some(stated) if stated > latest => Err(Refusal::new(
            Problem::FromTheFuture,
            "published or updated lies more than five minutes ahead",
        )),
        _ => Ok(()),
    }
}

/// Remembers a signed request; a second one like it is a replay.
fn replay(shared: &Shared, request: Option<[u8; 32]>) -> Result<Option<[u8; 32]>, Refusal> {
    let Some(key) = request else { return Ok(None) };
    if shared.replays.first(key, shared.runtime.clock.now_ms()) {
        Ok(Some(key))
    } else {
        Err(Refusal::new(Problem::ReplayedRequest, "sign every attempt anew, with a new nonce"))
    }
}

/// What vouches for an activity.
struct Vouched {
    /// What established that the author said it.
    by: String,
    /// The signed request, where its signature is by the author and holds.
    request: Option<[u8; 32]>,
}

/// Establishes that the author said it; what vouches for it is the answer.
async fn verify(
    shared: &Shared,
    activity: &Activity,
    transport: &Transport,
) -> Result<Vouched, Refusal> {
    let author = activity.actor();
    let head = proof::head(activity.document()).map_err(|e| bad(&e.to_string()))?;
    let mut unknown_suite = None;
    let head = match head {
        Some(head) if shared.suites.knows(&head.cryptosuite) => Some(head),
        Some(head) => {
            unknown_suite = Some(head.cryptosuite);
            None
        }
        None => None,
    };
    let mut keys = Keys { shared, author, history: None, refreshed: false };
    let (by_transport, request) = match transport {
        Transport::Signed(signature) => {
            let by = keys.transport(signature.as_ref(), head.is_none()).await?;
            let request = by.is_some().then(|| signature.replay_key());
            (by, request)
        }
        _ => (None, None),
    };
    if let Some(head) = head {
        let signed = by_transport.is_some();
        let by = verify_proof(&mut keys, activity, &head, transport, signed).await?;
        return Ok(Vouched { by, request });
    }
    if let Some(suite) = unknown_suite
        && by_transport.is_none()
        && !matches!(transport, Transport::Fetched(_))
    {
        return Err(bad(&format!("the signature suite {suite} is not known here")));
    }
    if activity.certifies_itself() {
        return Err(bad("an activity that certifies itself carries a proof"));
    }
    match (by_transport, transport) {
        (Some(key_id), _) => Ok(Vouched { by: format!("http-signature:{key_id}"), request }),
        (None, Transport::Fetched(url)) if same_origin(url, activity.id()) => {
            Ok(Vouched { by: format!("fetch:{url}"), request })
        }
        _ => Err(bad("neither a proof nor an HTTP signature by the author")),
    }
}

async fn verify_proof(
    keys: &mut Keys<'_>,
    activity: &Activity,
    head: &ProofHead,
    transport: &Transport,
    current_key_signed: bool,
) -> Result<String, Refusal> {
    let method = head.verification_method.as_str();
    let now = keys.shared.runtime.clock.now();
    if head.expires.is_some_and(|expires| expires <= now) {
        return Err(bad("the proof has expired"));
    }
    let from_origin =
        matches!(transport, Transport::Fetched(url) if same_origin(url, activity.actor()));
    loop {
        let key = keys.signer(method, activity).await?;
        let is_vouched_for = current_key_signed || from_origin || !key.superseded;
        if !is_vouched_for && !keys.newly_signed(transport).await? {
            return Err(bad(
                "the proof is by a superseded key: sign the request by a current key as well",
            ));
        }
        let verdict = keys.shared.suites.verify(activity.document(), &key.public);
        match verdict {
            Ok(()) => return Ok(format!("proof:{method}")),
            // Servers that rotate in place give a new key the id of the old one.
            Err(ProofError::Invalid) if keys.refresh().await.is_ok_and(|news| news) => {}
            Err(error) => return Err(bad(&error.to_string())),
        }
    }
}

fn bad(detail: &str) -> Refusal {
    Refusal::new(Problem::InvalidSignature, detail)
}

struct Signer {
    public: Arc<PublicKey>,
    superseded: bool,
}

/// The author's keys: known ones first, fetched at most once.
struct Keys<'a> {
    shared: &'a Shared,
    author: &'a str,
    history: Option<KeyHistory>,
    refreshed: bool,
}

impl Keys<'_> {
    async fn history(&mut self) -> Result<&KeyHistory, Refusal> {
        if self.history.is_none() {
            let known = self.shared.rules.keys(self.shared.log.state(), self.author)?;
            match known {
                Some(history) if !history.all().is_empty() => self.history = Some(history),
                _ => {
                    self.refresh().await?;
                }
            }
        }
        self.history.as_ref().ok_or_else(|| self.unknown("no keys"))
    }

    /// Fetches the keys again, once.
    async fn refresh(&mut self) -> Result<bool, Refusal> {
        if self.refreshed {
            return Ok(false);
        }
        self.refreshed = true;
        let Ok(_permit) = self.shared.introductions.try_acquire() else {
            let detail = "too many deliveries wait for the keys of their authors";
            return Err(Refusal::new(Problem::Busy, detail));
        };
        self.shared.keys.refresh(self.author).await?;
        self.history = self.shared.rules.keys(self.shared.log.state(), self.author)?;
        Ok(true)
    }

    fn unknown(&self, what: &str) -> Refusal {
        Refusal::new(Problem::UnknownKey, format!("{} of {} is not known", what, self.author))
    }

    async fn signer(&mut self, key_id: &str, activity: &Activity) -> Result<Signer, Refusal> {
        let (rules, parsed) = (self.shared.rules.clone(), &self.shared.parsed);
        loop {
            let history = self.history().await?;
            // An author that was restored from a backup may have lost a rotation that we saw.
            let restored = activity.order().epoch > history.last_epoch();
            let error = match rules.signer(history, key_id, activity) {
                Ok(key) => {
                    let public = parsed.public(key).map_err(|e| bad(&e.to_string()))?;
                    return Ok(Signer { public, superseded: !key.is_current() });
                }
                Err(error) => error,
            };
            let perhaps_news = match &error {
                HistoryError::UnknownKey { .. } => true,
                // Nor is the end of a key known where its author's history could not be read.
                HistoryError::NotValidThen { .. } => {
                    restored || history.find(key_id).is_some_and(|key| key.end_is_assumed)
                }
                _ => false,
            };
            if !perhaps_news || !self.refresh().await? {
                return Err(match error {
                    HistoryError::UnknownKey { .. } => self.unknown(key_id),
                    HistoryError::WrongPurpose(_) => {
                        Refusal::new(Problem::NotAuthorised, error.to_string())
                    }
                    other => bad(&other.to_string()),
                });
            }
        }
    }

    /// Whether the request is signed by a current key of the author that was not known before: the
    /// author may have rotated again since its keys were fetched.
    async fn newly_signed(&mut self, transport: &Transport) -> Result<bool, Refusal> {
        let Transport::Signed(signature) = transport else { return Ok(false) };
        let key_id = signature.key_id();
        let known = self.history().await?.find(key_id).is_some();
        if known || !same_origin(key_id, self.author) || !self.refresh().await? {
            return Ok(false);
        }
        Ok(self.transport(signature.as_ref(), false).await?.is_some())
    }

    /// Checks the signature around the request. `None` where its key is not the author's; that
    /// is an error only where nothing else vouches for the activity.
    async fn transport(
        &mut self,
        signature: &dyn TransportSignature,
        needed: bool,
    ) -> Result<Option<String>, Refusal> {
        let key_id = signature.key_id().to_owned();
        let (author, parsed) = (self.author, &self.shared.parsed);
        let own = same_origin(&key_id, author);
        if !own {
            return if needed {
                Err(bad("the key of the HTTP signature is not the author's"))
            } else {
                Ok(None)
            };
        }
        loop {
            let found = self
                .history()
                .await?
                .find(&key_id)
                .filter(|key| key.is_current() && key.serves(Purpose::HttpSignature));
            match found {
                Some(key) if key.controller == author => {
                    let public = parsed.public(key).map_err(|e| bad(&e.to_string()))?;
                    let Err(reason) = signature.verify(&public) else { return Ok(Some(key_id)) };
                    // Servers that rotate in place give a new key the id of the old one.
                    if !self.refresh().await.is_ok_and(|news| news) {
                        return Err(bad(&format!("HTTP signature: {reason}")));
                    }
                }
                Some(_) => return Err(bad("the key of the HTTP signature is not the author's")),
                None if needed => {
                    if !self.refresh().await? {
                        return Err(self.unknown(&key_id));
                    }
                }
                // The instance actor or another actor of that origin: the proof decides.
                None => return Ok(None),
            }
        }
    }
}

/// The members that a served copy leaves out: what only the author may see.
pub fn without_hidden(document: &mut serde_json::Map<String, Value>) {
    document.remove("bto");
    document.remove("bcc");
    let objects = match document.get_mut("object") {
        Some(Value::Array(objects)) => objects.as_mut_slice(),
        Some(object) => std::slice::from_mut(object),
        None => &mut [],
    };
    for object in objects.iter_mut().filter_map(Value::as_object_mut) {
        object.remove("bto");
        object.remove("bcc");
    }
}
