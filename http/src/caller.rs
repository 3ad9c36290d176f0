//! Who asks: nobody in particular, the holder of a token, or an actor elsewhere.

use axum::http::{HeaderMap, Method, Uri, header};
use fedsx_delivery::signature;
use fedsx_kernel::metrics;
use fedsx_kernel::refusal::{Problem, RETRY_AFTER, Refusal};
use fedsx_kernel::tokens::{Grant, Scope};
use fedsx_kernel::{ActorName, origin_of};

use crate::app::App;
use crate::capability::{Capabilities, Capability};

/// Requests that one read may cause: for an actor document and its key history.
const FETCHES: u32 = 5;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Anyone.
    Anyone,
    /// The holder of a token of this instance.
    Token(Grant),
    /// An actor elsewhere, by a signed request.
    Peer(String),
}

impl Caller {
    /// The token's grant.
    pub(crate) fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Token(grant) => Some(grant),
            _ => None,
        }
    }

    /// The id of the actor for whom is read.
    pub(crate) fn reads_as(&self, app: &App) -> Option<String> {
        match self {
            Self::Token(grant) if grant.scopes.contains(&Scope::Read) => {
                Some(app.base().actor(&grant.actor))
            }
            Self::Peer(actor) => Some(actor.clone()),
            _ => None,
        }
    }
}

/// The grant of the bearer token; `None` where there is no token.
pub(crate) fn token(app: &App, headers: &HeaderMap) -> Result<Option<Grant>, Refusal> {
    let found = grant_of(app, headers);
    match &found {
        Ok(None) => {}
        Ok(Some(_)) => metrics::TOKENS.count(1, &["accepted"]),
        Err(_) => metrics::TOKENS.count(1, &["refused"]),
    }
    found
}

fn grant_of(app: &App, headers: &HeaderMap) -> Result<Option<Grant>, Refusal> {
    let Some(secret) = bearer(headers)? else { return Ok(None) };
    match capability(app, headers)? {
        Some(capability) => Ok(Some(capability.grant().clone())),
        None => app.parts.tokens.find(secret).map(Some),
    }
}

/// The capability token of a request, where its bearer token is one.
pub(crate) fn capability(app: &App, headers: &HeaderMap) -> Result<Option<Capability>, Refusal> {
    match bearer(headers)? {
        // A secret of the configuration may be long, too.
        Some(secret) if Capabilities::may_be_one(secret) && !app.parts.tokens.knows(secret) => {
            app.parts.capabilities.open(secret).map(Some)
        }
        _ => Ok(None),
    }
}

/// The actor whose share of requests this one is counted against: that of its token, where it has
/// a valid one.
pub(crate) fn charged(app: &App, headers: &HeaderMap) -> Option<ActorName> {
    let secret = bearer(headers).ok()??;
    if Capabilities::may_be_one(secret) && !app.parts.tokens.knows(secret) {
        let name = app.parts.tokens.fingerprint(secret.as_bytes());
        return app.parts.capabilities.actor_of(name, secret);
    }
    app.parts.tokens.find(secret).ok().map(|grant| grant.actor)
}

/// What is presented as a bearer token (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let Some((scheme, secret)) = text.split_once(' ') else {
        return Err(no_bearer());
    };
    if scheme.eq_ignore_ascii_case("signature") {
        return Ok(None);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(no_bearer());
    }
    Ok(Some(secret.trim()))
}

fn no_bearer() -> Refusal {
    Refusal::new(Problem::InvalidToken, "Authorization: Bearer <token>")
        .with("failed_check", "scheme")
}

/// Only a current key that is for this signs requests.
fn usable(key: &fedsx_kernel::keys::Key) -> bool {
    key.is_current() && key.serves(fedsx_kernel::keys::Purpose::HttpSignature)
}

/// Who asks for something to read. A bad token or signature is an error, not "anyone"; with
/// authorized fetch, "anyone" is an error too.
///
/// # Errors
/// `invalid-token`, `invalid-signature`, `unknown-key`; `too-many-requests` where the share of the
/// peer of who asks is used up; `blocked` where this instance or, with
/// authorized fetch, the actor below whose address the request reads, blocks who asks.
pub(crate) async fn of_read(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    match asking(app, method, uri, headers).await? {
        Caller::Anyone if app.parts.options.authorized_fetch => Err(Refusal::new(
            Problem::InvalidSignature,
            "this instance answers requests that an actor signed",
        )),
        caller => Ok(caller),
    }
}

/// Who asks, where anyone may: what is wrong with a signature makes the caller "anyone". Where it
/// holds, a block still counts, and so does the peer's share.
///
/// Servers that check the signature of a request have to read who signed it, and sign that request
/// themselves: were it refused for its signature, two of them would ask each other forever.
pub(crate) async fn of_open_read(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    match asking(app, method, uri, headers).await {
        Err(refusal) if !is_turned_away(&refusal) => Ok(Caller::Anyone),
        other => other,
    }
}

/// Whether it is known who asks, or at least for whom one gives oneself out, and the answer is no. A
/// fetch that was one too many for this request says nothing of when to come back.
fn is_turned_away(refusal: &Refusal) -> bool {
    refusal.problem == Problem::Blocked
        || refusal.members.iter().any(|(name, _)| *name == RETRY_AFTER)
}

async fn asking(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    if let Some(grant) = token(app, headers)? {
        return Ok(Caller::Token(grant));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let target = format!("{}{path}", app.base());
    let received = signature::Received { method, target_uri: &target, headers, body: &[] };
    let bad = |e: &dyn std::fmt::Display| Refusal::new(Problem::InvalidSignature, e.to_string());
    let Some(claim) =
        signature::claim(&received, app.kernel().runtime().clock.now()).map_err(|e| bad(&e))?
    else {
        return Ok(Caller::Anyone);
    };
    let actor = owner_of(&claim.key_id).to_owned();
    let (rules, state) = (app.kernel().rules(), app.kernel().log().state());
    // Nothing is fetched for whom the instance blocks, or for a peer whose share is used up.
    rules.sender(state, &actor, None)?;
    let peer = origin_of(&actor).unwrap_or_default();
    app.peer_rates.check(&peer)?;
    let mut refreshed = false;
    loop {
        let keys = rules.keys(state, &actor)?.unwrap_or_default();
        if let Some(key) = keys.find(&claim.key_id).filter(|key| usable(key)) {
            let public = key.public().map_err(|e| bad(&e))?;
            claim.verify(&public).map_err(|e| bad(&e))?;
            app.peer_rates.take(&peer)?;
            let caller = Caller::Peer(actor);
            if let Some(owner) = owner(app, uri.path()) {
                not_blocked(app, &caller, &owner)?;
            }
            return Ok(caller);
        }
        if refreshed {
            return Err(Refusal::new(
                Problem::UnknownKey,
                format!("{} is not known", claim.key_id),
            ));
        }
        refreshed = true;
        let fetch = fedsx_kernel::kernel::KeySource::refresh(&app.parts.discovery, &actor);
        fedsx_delivery::discovery::budgeted(FETCHES, fetch).await?;
    }
}

/// The actor that a key id names: a key is named by its actor's id and a fragment, or by a path
/// below the actor.
pub(crate) fn owner_of(key_id: &str) -> &str {
    match key_id.split_once('#') {
        Some((actor, _)) => actor,
        None => key_id.rsplit_once('/').map_or(key_id, |(actor, _)| actor),
    }
}

/// The actor of ours below whose address a path lies.
fn owner(app: &App, path: &str) -> Option<String> {
    let name = path.strip_prefix("/actors/")?.split('/').next()?;
    Some(app.base().actor(&name.parse().ok()?))
}

/// Refuses, with authorized fetch, whom the author of what is read blocks. Without it, whoever is
/// blocked could read the same without a signature.
pub(crate) fn not_blocked(app: &App, caller: &Caller, author: &str) -> Result<(), Refusal> {
    match caller {
        Caller::Peer(actor) if app.parts.options.authorized_fetch => {
            app.kernel().rules().sender(app.kernel().log().state(), actor, Some(author))
        }
        _ => Ok(()),
    }
}
