//! Issuing, listing and revoking bearer tokens; every route needs a token with the scope `admin`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use fedsx_kernel::ActorName;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::tokens::{NewToken, Scope, TokenError, check_label, no_token};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use super::admin::allowed;
use crate::app::App;
use crate::capability::Capabilities;
use crate::{body, caller, negotiate};

/// The longest time until a token expires, in seconds: a hundred years.
const MAX_EXPIRES_IN_S: i64 = 100 * 366 * 24 * 3600;

/// What the token shall be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// The actor that it acts for.
    actor: ActorName,
    /// What it allows.
    scopes: Vec<Scope>,
    /// What it is for.
    #[serde(default)]
    label: String,
    /// After how many seconds it ends by itself (as in RFC 6749, section 5.1); never without it.
    expires_in: Option<i64>,
    /// Whether it shall be one that its holder can narrow (a Biscuit), of which no secret is kept.
    #[serde(default)]
    capability: bool,
}

pub(super) fn refusal(error: TokenError) -> Refusal {
    let detail = error.to_string();
    let problem = match error {
        TokenError::Store(error) => return error.into(),
        TokenError::NotFound(_) => Problem::NotFound,
        TokenError::Configured(_) | TokenError::TooMany(_) => Problem::Conflict,
        TokenError::Damaged(_) => Problem::Internal,
        _ => Problem::InvalidParameter,
    };
    Refusal::new(problem, detail)
}

pub(super) fn answer(status: StatusCode, value: &Value) -> Answer {
    let mut response = negotiate::json(status, "application/json", value);
    // RFC 6749, section 5.1: what holds a token is not stored.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What the token of the request stands for, for its holder.
pub(crate) async fn own(State(app): State<App>, headers: HeaderMap) -> Answer {
    let grant = caller::token(&app, &headers)?.ok_or_else(no_token)?;
    let id = app.base().actor(&grant.actor);
    let mut shown = json!(grant);
    if let Value::Object(members) = &mut shown {
        members.insert("id".into(), id.into());
        if let Some(capability) = caller::capability(&app, &headers)? {
            members.insert("blocks".into(), json!(capability.blocks()));
            members.insert("revocation_ids".into(), json!(capability.revocation_ids()));
        }
    }
    answer(StatusCode::OK, &shown)
}

/// Every token, without its secret, with how and when it was used; of capabilities those that were
/// issued here, and narrowed ones that were used here.
pub(crate) async fn list(State(app): State<App>, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let mut items: Vec<Value> = app.parts.tokens.list().iter().map(|info| json!(info)).collect();
    let known = app.parts.capabilities.all_known(|_| true);
    items.extend(known.iter().map(|(id, known)| super::own_tokens::shown(&app, id, known)));
    answer(StatusCode::OK, &json!({ "items": items }))
}

/// Makes a token; the answer is the only place where its secret is ever shown. It is durable when
/// the answer comes.
pub(crate) async fn issue(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    allowed(&app, &headers)?;
    let bytes = body::activity(&app, &headers, body).await?;
    let wish: Wish = body::wish(&bytes)?;
    let runtime = app.kernel().runtime();
    let expires = wish
        .expires_in
        .map(|seconds| {
            (1..=MAX_EXPIRES_IN_S)
                .contains(&seconds)
                .then(|| runtime.clock.now().checked_add(SignedDuration::from_secs(seconds)).ok())
                .flatten()
                .ok_or_else(|| {
                    let detail = format!("expires_in: 1 to {MAX_EXPIRES_IN_S} seconds");
                    Refusal::new(Problem::InvalidParameter, detail).with("parameter", "expires_in")
                })
        })
        .transpose()?;
    if wish.capability {
        return capability(&app, &wish, expires);
    }
    let new = NewToken { actor: wish.actor, scopes: wish.scopes, label: wish.label, expires };
    let issued = app.parts.tokens.issue(new, runtime.random.as_ref()).map_err(refusal)?;
    app.kernel().log().sync().await.map_err(Refusal::from)?;
    tracing::info!(token_id = %issued.info.grant.token_id, actor = %issued.info.grant.actor,
        "a token was issued");
    let mut shown = json!(issued.info);
    if let Value::Object(members) = &mut shown {
        members.insert("secret".into(), issued.secret.into());
    }
    answer(StatusCode::CREATED, &shown)
}

fn capability(app: &App, wish: &Wish, expires: Option<Timestamp>) -> Answer {
    if wish.scopes.is_empty() {
        return Err(refusal(TokenError::NoScope).into());
    }
    check_label(&wish.label).map_err(refusal)?;
    let made = app.parts.capabilities.issue(&wish.actor, &wish.scopes, expires, &wish.label);
    let (secret, ids) = made.map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
    tracing::info!(block = ids.first(), actor = %wish.actor, "a capability was issued");
    let shown = json!({
        "actor": wish.actor,
        "scopes": wish.scopes,
        "expires": expires,
        "revocation_ids": ids,
        "secret": secret,
    });
    answer(StatusCode::CREATED, &shown)
}

/// Ends a token at once; a capability by the name of one of its blocks, with all that was narrowed
/// from that.
pub(crate) async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    allowed(&app, &headers)?;
    if Capabilities::is_id(&id) {
        let revoked = app.parts.capabilities.revoke(&id)?;
        app.kernel().log().sync().await.map_err(Refusal::from)?;
        tracing::info!(block = %id, "a capability was revoked");
        return answer(StatusCode::OK, &json!({ "revocation_id": id, "revoked": revoked }));
    }
    let revoked = app.parts.tokens.revoke(&id).map_err(refusal)?;
    app.kernel().log().sync().await.map_err(Refusal::from)?;
    tracing::info!(token_id = %id, "a token was revoked");
    answer(StatusCode::OK, &json!(revoked))
}
