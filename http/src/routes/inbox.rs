//! Inboxes: deliveries of peers, and what an actor received (ActivityPub, sections 5.2 and 7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use fedsx_delivery::signature::{self, Claim};
use fedsx_delivery::synchronization::Statement;
use fedsx_kernel::address::origin_of;
use fedsx_kernel::keys::PublicKey;
use fedsx_kernel::log::Stream;
use fedsx_kernel::pipeline::inbound::{
    Delivery, Received, Receivers, Transport, TransportSignature,
};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::tokens::{Request, authorize};
use fedsx_kernel::trace::TRACEPARENT;
use serde_json::{Value, json};

use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::collection::{self, MAX_PAGE, PAGE};
use crate::{body, caller, metrics, negotiate, visibility};

/// Requests to other servers that one delivery may cause, redirects and pages included.
const FETCHES: u32 = 20;

pub(crate) async fn of_actor(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let receivers = Receivers::Actor(super::actors::name(&name)?);
    receive(&app, receivers, &method, &uri, &headers, body).await
}

pub(crate) async fn shared(
    State(app): State<App>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    receive(&app, Receivers::Shared, &method, &uri, &headers, body).await
}

async fn receive(
    app: &App,
    receivers: Receivers,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    let result = take(app, receivers, method, uri, headers, body).await;
    let outcome = match &result {
        Ok(Received::Accepted { .. }) => Ok("accepted"),
        Ok(Received::Already { .. }) => Ok("already"),
        Ok(Received::Ignored) => Ok("ignored"),
        Err(refusal) => Err(refusal.problem),
    };
    metrics::received(outcome);
    let (status, answer) = match result? {
        Received::Accepted { cid, global_seq } => (
            StatusCode::ACCEPTED,
            json!({ "outcome": "accepted", "cid": cid.to_string(), "global_seq": global_seq }),
        ),
        Received::Already { cid } => {
            (StatusCode::OK, json!({ "outcome": "already", "cid": cid.to_string() }))
        }
        Received::Ignored => (StatusCode::ACCEPTED, json!({ "outcome": "ignored" })),
    };
    Ok(negotiate::json(status, "application/json", &answer))
}

async fn take(
    app: &App,
    receivers: Receivers,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Received, Refusal> {
    let bytes = body::activity(app, headers, body).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let target = format!("{}{path}", app.base());
    let received = signature::Received { method, target_uri: &target, headers, body: &bytes };
    let claim = signature::claim(&received, app.kernel().runtime().clock.now())
        .map_err(|e| Refusal::new(Problem::InvalidSignature, format!("HTTP signature: {e}")))?;
    let signature = claim.map(|claim| Arc::new(HttpSignature { claim, held: false.into() }));
    let transport = match &signature {
        Some(signature) => Transport::Signed(signature.clone()),
        None => Transport::Bare,
    };
    let named = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let trace = named.and_then(|named| app.kernel().runtime().traces.named(named));
    let delivery = Delivery { body: bytes, receivers, transport, backfilled: false, trace };
    let received =
        fedsx_delivery::discovery::budgeted(FETCHES, app.kernel().receive(delivery)).await?;
    // Anybody can name a peer; only its own signature shows that the peer is there.
    let peer = signature.filter(|signature| signature.held.load(Ordering::Relaxed));
    if let Some(key_id) = peer.as_ref().map(|signature| &signature.claim.key_id) {
        if let Some(peer) = origin_of(key_id) {
            app.parts.delivery.contact(&peer);
        }
        if let (Some(statement), Received::Accepted { cid, .. } | Received::Already { cid }) =
            (Statement::of(headers), &received)
        {
            let actor = caller::owner_of(key_id);
            app.parts.delivery.heard_of_followers(actor, statement, *cid);
        }
    }
    Ok(received)
}

/// A parsed HTTP signature, for the kernel to judge.
struct HttpSignature {
    claim: Claim,
    /// Whether it was found to hold.
    held: AtomicBool,
}

impl TransportSignature for HttpSignature {
    fn key_id(&self) -> &str {
        &self.claim.key_id
    }

    fn verify(&self, key: &PublicKey) -> Result<(), String> {
        self.claim.verify(key).map_err(|e| e.to_string())?;
        self.held.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn replay_key(&self) -> [u8; 32] {
        self.claim.replay_key
    }
}

/// What an actor received, newest first; for its own token.
pub(crate) async fn read(
    State(app): State<App>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let name = super::actors::name(&name)?;
    authorize(caller::token(&app, &headers)?.as_ref(), Request::Read(&name))?;
    super::actors::resident(&app, &name)?;
    let query = parameters(&uri);
    let stream = Stream::Inbox(name.clone());
    let id = app.base().of_actor(&name, "inbox");
    let total = app.kernel().log().store().stream_len(&stream).map_err(Refusal::from)?;
    if first(&query, "page").is_none() && first(&query, "before").is_none() {
        return Ok(negotiate::activity(&collection::collection(&id, total)));
    }
    let limit = parameter::<usize>("limit", first(&query, "limit"))?.unwrap_or(PAGE);
    let limit = limit.clamp(1, MAX_PAGE);
    let before = parameter::<u64>("before", first(&query, "before"))?.unwrap_or(total).min(total);
    let from = before.saturating_sub(limit as u64);
    let count = usize::try_from(before - from).unwrap_or(MAX_PAGE);
    let reader = app.base().actor(&name);
    let records = app
        .read(move |app| {
            let mut records = Vec::new();
            for record in app.kernel().log().stream(&stream, from, count)? {
                if visibility::is_in_inbox(app, &reader, &record)? {
                    records.push(record);
                }
            }
            Ok(records)
        })
        .await?;
    let items: Vec<Value> = records.iter().rev().map(visibility::shown).collect();
    let next =
        (from > 0).then(|| ("next", json!(format!("{id}?page=true&before={from}&limit={limit}"))));
    let page = collection::page(&id, uri.query().unwrap_or("page=true"), items, next);
    Ok(negotiate::activity(&page))
}
