//! Publishing: `POST /activity`, and the outbox of ActivityPub's client-to-server rules
//! (ActivityPub, section 6).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fedsx_delivery::discovery::budgeted;
use fedsx_kernel::activity::id_of;
use fedsx_kernel::address::origin_of;
use fedsx_kernel::kernel::KeySource as _;
use fedsx_kernel::log::Once;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::tokens::{Grant, Request, authorize, no_token};
use fedsx_kernel::{ActorName, Publish, Published, json};
use serde_json::{Map, Value};

use super::Answer;
use crate::app::App;
use crate::{body, caller};

/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// Requests to others that one publish may cause.
const FETCHES: u32 = 5;

pub(crate) async fn activity(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    let grant = caller::token(&app, &headers)?;
    authorize(
        grant.as_ref(),
        grant.as_ref().map_or(Request::Define, |g| Request::Publish(&g.actor)),
    )?;
    let actor = grant.as_ref().map(|grant| grant.actor.clone()).ok_or_else(no_token)?;
    publish(&app, actor, grant.as_ref(), &headers, body).await
}

pub(crate) async fn outbox(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let name = super::actors::name(&name)?;
    let grant = caller::token(&app, &headers)?;
    authorize(grant.as_ref(), Request::Publish(&name))?;
    publish(&app, name, grant.as_ref(), &headers, body).await
}

async fn publish(
    app: &App,
    actor: ActorName,
    grant: Option<&Grant>,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    let bytes = body::activity(app, headers, body).await?;
    let request = parse(&bytes)?;
    // What a request changes is known only when it is prepared; the rules refuse it there.
    let defines = authorize(grant, Request::Define).is_ok();
    let once = once(app, headers, &actor, &bytes)?;
    // What a narrowed token still allows depends on what is said.
    let spent = match caller::capability(app, headers)? {
        Some(capability) => Some(app.parts.capabilities.spend(&capability, &request)?),
        None => None,
    };
    let publish = Publish { actor, request, once, cause: None, defines };
    let published = match freshen(app, &publish.request).await {
        Ok(()) => app.kernel().publish(publish).await,
        Err(refusal) => Err(refusal),
    };
    if let Some(spent) = spent
        && published.as_ref().map_or(true, |published| published.already)
    {
        spent.give_back().map_err(Refusal::from)?;
    }
    let published = published?;
    Ok(answer(&published))
}

/// The rules judge a Move by what is known of its target; that is to be what its origin says now.
async fn freshen(app: &App, request: &Map<String, Value>) -> Result<(), Refusal> {
    let is_move = request.get("type").and_then(Value::as_str) == Some("Move");
    let target = request.get("target").and_then(id_of);
    let Some(target) = target.filter(|id| is_move && origin_of(id).is_some()) else {
        return Ok(());
    };
    match budgeted(FETCHES, app.parts.discovery.refresh(target)).await {
        Err(refusal) if refusal.problem == Problem::UnknownKey => Err(Refusal::new(
            Problem::UnknownReference,
            format!("target: there is no such actor: {}", refusal.detail),
        )),
        outcome => outcome,
    }
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match json::parse(bytes) {
        Ok(Value::Object(request)) => Ok(request),
        Ok(_) => Err(Refusal::new(Problem::InvalidActivity, "an activity is a JSON object")),
        Err(e @ json::JsonError::TooLarge(_)) => {
            Err(Refusal::new(Problem::TooLarge, e.to_string()))
        }
        Err(e) => Err(Refusal::new(Problem::MalformedJson, e.to_string())),
    }
}

/// The idempotency key of the request: unrepeatable for this actor, bound to these bytes.
fn once(
    app: &App,
    headers: &HeaderMap,
    actor: &ActorName,
    body: &[u8],
) -> Result<Option<Once>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Refusal::new(
            Problem::InvalidParameter,
            format!("Idempotency-Key: 1 to {MAX_KEY_BYTES} visible characters"),
        ));
    }
    Ok(Some(Once {
        key: format!("idempotency\n{actor}\n{key}"),
        fingerprint: Some(app.parts.tokens.fingerprint(body)),
    }))
}

/// What a publish answers.
pub(super) fn answer(published: &Published) -> Response {
    let activity = &published.activity;
    let mut members = Map::new();
    members.insert("id".into(), activity.id().into());
    members.insert("cid".into(), activity.cid().to_string().into());
    members.insert("seq".into(), published.seq.into());
    members.insert("global_seq".into(), published.global_seq.into());
    if let Some(Value::Object(object)) = activity.object()
        && let Some(id) = object.get("id")
    {
        members.insert("object".into(), id.clone());
    }
    let status = if published.already { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = (status, Value::Object(members).to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(location) = HeaderValue::from_str(activity.id()) {
        headers.insert(header::LOCATION, location);
    }
    response
}
