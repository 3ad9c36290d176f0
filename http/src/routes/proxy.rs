//! What clients ask this server to do for them elsewhere: fetching (`proxyUrl`; ActivityPub, section
//! 4.1), and, reserved for later, uploading media.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;
use fedsx_delivery::discovery::{UPSTREAM_STATUS, budgeted};
use fedsx_kernel::address::origin_of;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::tokens::{Request, authorize, no_token};

use super::{Answer, nothing_here};
use crate::app::App;
use crate::{body, caller, negotiate};

/// Requests to other servers that one request may cause, redirects included.
const FETCHES: u32 = 5;
/// The longest address, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// `POST id=URL`: the object at its origin, fetched and signed as the actor of the token.
pub(crate) async fn fetch(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    let grant = caller::token(&app, &headers)?;
    let actor = grant.as_ref().map(|grant| grant.actor.clone());
    let actor = actor.ok_or_else(no_token)?;
    authorize(grant.as_ref(), Request::Read(&actor))?;
    super::actors::hosted(&app, &actor)?;
    let form = body::form(&headers, body).await?;
    let id = super::first(&form, "id").unwrap_or_default();
    if origin_of(id).is_none() || id.len() > MAX_URL_BYTES {
        let detail = "id: the http(s) address of an object";
        return Err(Refusal::new(Problem::InvalidParameter, detail).with("parameter", "id").into());
    }
    if app.base().is_local(id) {
        // What is here is read here, by the same token.
        let location = HeaderValue::from_str(id);
        let location =
            location.map_err(|_| Refusal::new(Problem::InvalidParameter, "id: not an address"))?;
        return Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response());
    }
    let reader = app.base().actor(&actor);
    app.kernel().rules().sender(app.kernel().log().state(), id, Some(&reader))?;
    let fetched = budgeted(FETCHES, app.parts.discovery.object(id, &reader)).await;
    let document = fetched.map_err(upstream)?;
    Ok(negotiate::activity(&document))
}

/// A refusal as the client of the proxy understands it: it did not sign anything itself.
fn upstream(refusal: Refusal) -> Refusal {
    let status = refusal.members.iter().find(|(name, _)| *name == UPSTREAM_STATUS);
    let gone = status.is_some_and(|(_, status)| matches!(status.as_u64(), Some(404 | 410)));
    let problem = match refusal.problem {
        _ if gone => Problem::NotFound,
        Problem::UnknownKey | Problem::WrongOrigin => Problem::UpstreamFailed,
        other => other,
    };
    Refusal { problem, ..refusal }
}

/// The address is kept free for uploads.
pub(crate) async fn media(State(app): State<App>, headers: HeaderMap) -> Answer {
    if caller::token(&app, &headers)?.is_none() {
        return nothing_here().await;
    }
    let detail = "media is not taken; attach files by their address";
    Err(Refusal::new(Problem::NotImplemented, detail).into())
}
