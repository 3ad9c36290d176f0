//! Operating the instance; every route needs a token with the scope `admin`.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use fedsx_delivery::service::DeliveryError;
use fedsx_kernel::Cid;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::tokens::{Request, authorize};
use serde_json::{Value, json};

use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::{caller, negotiate};

pub(super) fn allowed(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    authorize(caller::token(app, headers)?.as_ref(), Request::Admin)
}

fn answer(value: &Value) -> Response {
    negotiate::json(StatusCode::OK, "application/json", value)
}

pub(crate) fn refusal(error: DeliveryError) -> Refusal {
    match error {
        DeliveryError::NoSuchLetter(_) => Refusal::new(Problem::NotFound, error.to_string()),
        DeliveryError::NoAnswer(_) => Refusal::new(Problem::Busy, error.to_string()),
        DeliveryError::Store(error) => error.into(),
        DeliveryError::Record(refusal) => refusal,
        other => Refusal::new(Problem::Internal, other.to_string()),
    }
}

pub(crate) async fn dead_letters(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let limit = parameter("limit", first(&query, "limit"))?.unwrap_or(100usize).clamp(1, 1000);
    let after = first(&query, "after");
    let items = app.parts.delivery.dead_letters(after, limit).await.map_err(refusal)?;
    let next = items.last().filter(|_| items.len() == limit).map(|last| last.id.clone());
    Ok(answer(&json!({ "items": items, "next": next })))
}

pub(crate) async fn replay(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    allowed(&app, &headers)?;
    app.parts.delivery.replay(&id).await.map_err(refusal)?;
    Ok(answer(&json!({ "replayed": id })))
}

pub(crate) async fn replay_peer(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let peer = first(&query, "peer")
        .ok_or_else(|| Refusal::new(Problem::InvalidParameter, "peer: the origin of a peer"))?;
    let count = app.parts.delivery.replay_peer(peer).await.map_err(refusal)?;
    Ok(answer(&json!({ "peer": peer, "replayed": count })))
}

pub(crate) async fn drop_letter(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    allowed(&app, &headers)?;
    app.parts.delivery.drop_letter(&id).await.map_err(refusal)?;
    Ok(answer(&json!({ "dropped": id })))
}

pub(crate) async fn peers(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let limit = parameter("limit", first(&query, "limit"))?.unwrap_or(100usize).clamp(1, 1000);
    let peers = app.parts.delivery.peers(first(&query, "after"), limit).await.map_err(refusal)?;
    let next = peers.last().filter(|_| peers.len() == limit).map(|last| last.peer.clone());
    Ok(answer(&json!({ "items": peers, "next": next })))
}

/// Asks a peer whether it is there, and tries what waits for it where it is.
pub(crate) async fn probe(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let peer = first(&query, "peer").and_then(fedsx_kernel::origin_of).ok_or_else(|| {
        Refusal::new(Problem::InvalidParameter, "peer: the origin of a peer")
            .with("parameter", "peer")
    })?;
    let probed = app.parts.delivery.probe(&peer).await;
    let (status, error) = match &probed {
        Ok(status) => (Some(*status), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let reached = probed.is_ok();
    Ok(answer(&json!({ "peer": peer, "reached": reached, "status": status, "error": error })))
}

/// Two statements of one author under one number, as they were received here.
pub(crate) async fn equivocations(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let limit = parameter("limit", first(&query, "limit"))?.unwrap_or(100usize).clamp(1, 1000);
    let after = first(&query, "after").map(str::to_owned);
    let page = app
        .read(move |app| {
            let state = app.kernel().log().state();
            let items = fedsx_genesis::fold::equivocations(state, after.as_deref(), limit)?;
            let total = fedsx_genesis::fold::equivocation_count(state)?;
            let next = items.last().filter(|_| items.len() == limit).map(|last| last.id.clone());
            Ok(json!({ "items": items, "next": next, "total": total }))
        })
        .await?;
    Ok(answer(&page))
}

pub(crate) async fn delivery(
    State(app): State<App>,
    Path(cid): Path<String>,
    headers: HeaderMap,
) -> Answer {
    allowed(&app, &headers)?;
    let cid: Cid = cid
        .parse()
        .map_err(|_| Refusal::new(Problem::InvalidParameter, "not the CID of an activity"))?;
    let items = app.parts.delivery.status(&cid).await.map_err(refusal)?;
    Ok(answer(&json!({ "cid": cid.to_string(), "items": items })))
}
