//! Tokens of one actor, for who holds one of them: looking at them and ending them, without the
//! scope `admin`.
//!
//! A token may end itself. A capability may end what was narrowed from it. One that is not narrowed
//! may end every token of its actor that allows nothing which it does not allow itself, so that a
//! bot's token cannot end its owner's.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::tokens::{Grant, Scope, TokenInfo, no_token};
use serde_json::{Value, json};

use super::Answer;
use super::tokens::{answer, refusal};
use crate::app::App;
use crate::caller;
use crate::capability::{Capabilities, Capability, Known};

/// Who holds a token of this instance.
struct Holder {
    grant: Grant,
    capability: Option<Capability>,
}

impl Holder {
    fn of(app: &App, headers: &HeaderMap) -> Result<Self, Refusal> {
        let capability = caller::capability(app, headers)?;
        let grant = match &capability {
            Some(capability) => Some(capability.grant().clone()),
            None => caller::token(app, headers)?,
        };
        let grant = grant.ok_or_else(no_token)?;
        Ok(Self { grant, capability })
    }

    /// Whether nothing was taken away from its token, and that allows all of this.
    fn covers(&self, scopes: &[Scope]) -> Result<(), Refusal> {
        let refuse = |check: &str, detail: &str| {
            let refusal = Refusal::new(Problem::InsufficientScope, detail);
            Err(refusal.with("failed_check", check))
        };
        if self.capability.as_ref().is_some_and(|capability| !capability.is_whole()) {
            return refuse("narrowed", "a narrowed token ends itself and what comes from it alone");
        }
        if !scopes.iter().all(|scope| self.grant.scopes.contains(scope)) {
            return refuse("scopes", "that token allows more than this one");
        }
        Ok(())
    }

    /// Whether the holder may end a capability.
    fn may_end(&self, app: &App, id: &str, known: &Known) -> Result<(), Refusal> {
        let own = self.capability.as_ref().and_then(|held| held.revocation_ids().pop());
        match own {
            Some(own) if app.parts.capabilities.comes_from(id, &own) => Ok(()),
            _ => self.covers(&known.scopes),
        }
    }

    /// Whether the holder may end a token that is no capability.
    fn may_end_issued(&self, info: &TokenInfo) -> Result<(), Refusal> {
        if self.capability.is_none() && info.grant.token_id == self.grant.token_id {
            return Ok(());
        }
        self.covers(&info.grant.scopes)
    }
}

/// A known capability, in the members that other tokens are shown with.
pub(super) fn shown(app: &App, id: &str, known: &Known) -> Value {
    let origin = if known.parent.is_some() { "narrowed" } else { "capability" };
    let mut shown = json!({
        "token_id": id, "actor": known.actor, "scopes": known.scopes, "origin": origin,
        "created": known.since,
    });
    if let Value::Object(members) = &mut shown {
        for (name, value) in [
            ("parent", json!(known.parent)),
            ("expires", json!(known.expires)),
            ("revoked", json!(app.parts.capabilities.revoked(id))),
            ("label", (!known.label.is_empty()).then(|| known.label.clone()).into()),
        ] {
            if !value.is_null() {
                members.insert(name.into(), value);
            }
        }
    }
    shown
}

/// The tokens that the holder of the request's token may end, and those of the configuration that
/// allow no more than it.
pub(crate) async fn list(State(app): State<App>, headers: HeaderMap) -> Answer {
    let holder = Holder::of(&app, &headers)?;
    let actor = &holder.grant.actor;
    let issued = app.parts.tokens.list().into_iter().filter(|info| info.grant.actor == *actor);
    let issued = issued.filter(|info| holder.may_end_issued(info).is_ok()).map(|info| json!(info));
    let mut items: Vec<Value> = issued.collect();
    for (id, known) in app.parts.capabilities.of_actor(actor) {
        if holder.may_end(&app, &id, &known).is_ok() {
            items.push(shown(&app, &id, &known));
        }
    }
    answer(StatusCode::OK, &json!({ "items": items }))
}

/// Ends a token of the same actor at once; a capability with all that was narrowed from it.
pub(crate) async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let holder = Holder::of(&app, &headers)?;
    let actor = &holder.grant.actor;
    let absent = || Refusal::new(Problem::NotFound, format!("no token of {actor} has this id"));
    let ended = if Capabilities::is_id(&id) {
        let known = app.parts.capabilities.known(&id).filter(|known| known.actor == *actor);
        let known = known.ok_or_else(absent)?;
        holder.may_end(&app, &id, &known)?;
        app.parts.capabilities.revoke(&id)?;
        shown(&app, &id, &known)
    } else {
        let mut own = app.parts.tokens.list().into_iter();
        let info = own.find(|info| info.grant.token_id == id && info.grant.actor == *actor);
        holder.may_end_issued(&info.ok_or_else(absent)?)?;
        json!(app.parts.tokens.revoke(&id).map_err(refusal)?)
    };
    app.kernel().log().sync().await.map_err(Refusal::from)?;
    tracing::info!(token_id = %id, %actor, "a token was revoked by its owner");
    answer(StatusCode::OK, &ended)
}
