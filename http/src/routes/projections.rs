//! Projection queries: present and past state.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use fedsx_delivery::Schemes;
use fedsx_kernel::ActorName;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::tokens::{Grant, Request, Scope, authorize, no_token};
use fedsx_projections::{Query, Reader, Visibility};
use serde_json::{Value, json};

use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::caller::{self, Caller};
use crate::hot::{Asked, Stamp};
use crate::negotiate;

/// Wait for `min_seq` where the client names none, in milliseconds.
const USUAL_WAIT_MS: u64 = 5000;
/// Served like a projection, from delivery's ledger.
pub(crate) const DELIVERY_STATE: &str = "delivery-state";
/// Likewise: how each peer takes requests signed.
pub(crate) const PEER_SCHEMES: &str = "peer-schemes";

pub(crate) async fn list(State(app): State<App>) -> Answer {
    let mut list: Vec<Value> = app
        .parts
        .projections
        .list()
        .iter()
        .map(|info| serde_json::to_value(info).unwrap_or(Value::Null))
        .collect();
    let (cursor, head) = (app.parts.delivery.cursor(), app.kernel().log().head());
    list.extend([DELIVERY_STATE, PEER_SCHEMES].map(|name| {
        json!({
            "name": name,
            "version": 1,
            "visibility": "private",
            "global_seq": cursor,
            "head": head,
            "set_aside": 0,
            "caught_up": cursor >= head,
        })
    }));
    Ok(negotiate::json(StatusCode::OK, "application/json", &json!({ "projections": list })))
}

pub(crate) async fn query(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    let query = parameters(&uri);
    if name == DELIVERY_STATE {
        return delivery_state(&app, caller.grant(), &query).await;
    }
    if name == PEER_SCHEMES {
        return peer_schemes(&app, caller.grant(), &query).await;
    }
    defined(&app, &name, &query).await?;
    let key = key(&app, &name, &caller, &query)?;
    wait(&app, &name, &query).await?;
    let reader = reader(&app, &caller);
    let is_open = reader == Reader::Anyone && first(&query, "at").is_none();
    let asked = Asked::Projection(name.clone(), uri.query().unwrap_or_default().to_owned());
    let head = app.kernel().log().head();
    let point = app.parts.projections.point(&name).map_err(Refusal::from)?;
    let stamp = Stamp::Log { head, point };
    if is_open && let Some(kept) = app.hot.get(&asked, &stamp) {
        return Ok(negotiate::bytes(StatusCode::OK, "application/json", kept.json));
    }
    let at = parameter::<u64>("at", first(&query, "at"))?;
    let wanted = Query {
        key_prefix: (!key.is_empty()).then_some(key),
        after: first(&query, "after").map(str::to_owned),
        limit: parameter("limit", first(&query, "limit"))?.unwrap_or(100),
        newest_first: match first(&query, "order") {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => {
                return Err(Refusal::new(Problem::InvalidParameter, "order: asc or desc").into());
            }
        },
    };
    let page = app
        .read(move |app| {
            let projections = &app.parts.projections;
            Ok(match at {
                Some(at) => projections.past(&name, at, &wanted, &reader)?,
                None => projections.query(&name, &wanted, &reader)?,
            })
        })
        .await?;
    let json =
        serde_json::to_vec(&page).map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
    let json = Bytes::from(json);
    if is_open && page.lasts() {
        app.hot.keep(asked, stamp, None, json.clone());
    }
    Ok(negotiate::bytes(StatusCode::OK, "application/json", json))
}

/// The keys that are asked for; of a private projection those of the caller.
pub(super) fn key(
    app: &App,
    name: &str,
    caller: &Caller,
    query: &[(String, String)],
) -> Result<Vec<String>, Refusal> {
    let info = app.parts.projections.info(name).map_err(Refusal::from)?;
    let key = query.iter().filter(|(name, _)| name == "key").map(|(_, key)| key.clone()).collect();
    if info.visibility == Visibility::Private { own_key(caller.grant(), key) } else { Ok(key) }
}

/// For whom a caller reads. A token with the scope `read` reads for its actor, one with `admin`
/// for who operates the instance, and one with both for both.
pub(super) fn reader(app: &App, caller: &Caller) -> Reader {
    let actor = caller.reads_as(app);
    let operates = caller.grant().is_some_and(|grant| grant.scopes.contains(&Scope::Admin));
    match actor {
        _ if operates => Reader::Admin(actor),
        Some(actor) => Reader::Actor(actor),
        None => Reader::Anyone,
    }
}

/// Private state is keyed by its owner: only the owner's token reads it.
fn own_key(grant: Option<&Grant>, key: Vec<String>) -> Result<Vec<String>, Refusal> {
    let owner = match key.first() {
        Some(owner) => owner
            .parse::<ActorName>()
            .map_err(|_| Refusal::new(Problem::NotFound, "there is nothing here for you"))?,
        None => match grant {
            Some(grant) => grant.actor.clone(),
            None => return Err(no_token()),
        },
    };
    authorize(grant, Request::Read(&owner))?;
    if key.is_empty() { Ok(vec![owner.to_string()]) } else { Ok(key) }
}

/// Waits for a projection that is defined at the position that the client asks for.
async fn defined(app: &App, name: &str, query: &[(String, String)]) -> Result<(), Refusal> {
    let min_seq = parameter::<u64>("min_seq", first(query, "min_seq"))?;
    let projections = &app.parts.projections;
    if let Some(min_seq) = min_seq.filter(|_| projections.info(name).is_err()) {
        projections.settled(min_seq, wait_time(app, query)?).await?;
    }
    Ok(())
}

async fn wait(app: &App, name: &str, query: &[(String, String)]) -> Result<(), Refusal> {
    let Some(min_seq) = parameter::<u64>("min_seq", first(query, "min_seq"))? else {
        return Ok(());
    };
    app.parts.projections.wait(name, min_seq, wait_time(app, query)?).await?;
    Ok(())
}

fn wait_time(app: &App, query: &[(String, String)]) -> Result<Duration, Refusal> {
    let wait_ms = parameter::<u64>("wait_ms", first(query, "wait_ms"))?.unwrap_or(USUAL_WAIT_MS);
    Ok(Duration::from_millis(wait_ms).min(app.parts.options.max_wait))
}

/// Keys `[peer]` with what is remembered of how that peer takes requests signed.
async fn peer_schemes(app: &App, grant: Option<&Grant>, query: &[(String, String)]) -> Answer {
    authorize(grant, Request::Admin)?;
    only_present(query)?;
    let delivery = &app.parts.delivery;
    let limit = parameter("limit", first(query, "limit"))?.unwrap_or(100usize).clamp(1, 1000);
    let (rows, next) = match first(query, "key") {
        Some(peer) => {
            let known = delivery.schemes(peer).await.map_err(super::admin::refusal)?;
            (known.map(|schemes| (peer.to_owned(), schemes)).into_iter().collect(), None)
        }
        None => {
            let peers = delivery.peers(first(query, "after"), limit).await;
            let peers = peers.map_err(super::admin::refusal)?;
            let next = peers.last().filter(|_| peers.len() == limit).map(|last| last.peer.clone());
            let rows = peers.into_iter().map(|info| (info.peer, info.schemes));
            (rows.filter(|(_, known)| *known != Schemes::default()).collect::<Vec<_>>(), next)
        }
    };
    let items: Vec<Value> =
        rows.iter().map(|(peer, value)| json!({ "key": [peer], "value": value })).collect();
    let mut answer = json!({
        "name": PEER_SCHEMES,
        "version": 1,
        "global_seq": delivery.cursor(),
        "items": items,
    });
    if let (Some(next), Some(members)) = (next, answer.as_object_mut()) {
        members.insert("next".into(), next.into());
    }
    Ok(negotiate::json(StatusCode::OK, "application/json", &answer))
}

fn only_present(query: &[(String, String)]) -> Result<(), Refusal> {
    if first(query, "at").is_none() {
        return Ok(());
    }
    let detail = "at: deliveries are a ledger, which has no past state";
    Err(Refusal::new(Problem::InvalidParameter, detail).with("parameter", "at"))
}

async fn delivery_state(app: &App, grant: Option<&Grant>, query: &[(String, String)]) -> Answer {
    authorize(grant, Request::Admin)?;
    only_present(query)?;
    if let Some(min_seq) = parameter::<u64>("min_seq", first(query, "min_seq"))? {
        let patience = app.kernel().runtime().clock.sleep(wait_time(app, query)?);
        let mut head = app.kernel().log().watch();
        let reached = async {
            // The log's writer lives as long as the node; its end ends the wait by time.
            let _ = head.wait_for(|head| *head >= min_seq).await;
            app.parts.delivery.caught_up().await;
        };
        tokio::select! {
            biased;
            () = reached => {}
            () = patience => {
                return Err(Refusal::new(Problem::NotCaughtUp, "delivery has not come so far").into());
            }
        }
    }
    let limit = parameter("limit", first(query, "limit"))?.unwrap_or(100usize).clamp(1, 1000);
    let after = first(query, "after").map(str::to_owned);
    let page =
        app.parts.delivery.state(after.as_deref(), limit).await.map_err(super::admin::refusal)?;
    let items: Vec<Value> = page
        .rows
        .iter()
        .map(|row| json!({ "key": [row.cid, row.status.peer], "value": row }))
        .collect();
    let mut answer = json!({
        "name": DELIVERY_STATE,
        "version": 1,
        "global_seq": app.parts.delivery.cursor(),
        "items": items,
    });
    if let (Some(next), Some(members)) = (page.next, answer.as_object_mut()) {
        members.insert("next".into(), next.into());
    }
    Ok(negotiate::json(StatusCode::OK, "application/json", &answer))
}
