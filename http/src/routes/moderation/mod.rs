//! Moderation: what the instance decides, what stands, and what was; every route needs a token with
//! the scope `admin`.
//!
//! A decision is an activity of the instance actor (`genesis::moderation`). Who decided it and why
//! stands in it where it is for nobody else; where it is for everyone, that is kept in a record
//! before it, which no route serves but these.

mod history;
pub(super) mod lists;
pub(super) mod reports;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use fedsx_genesis::moderation::{
    self, Action, Decision, MAX_REASON_CHARS, MODERATION_NOTED, Note, Subject,
};
use fedsx_genesis::rules::PUBLIC;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::tokens::{Grant, Request, authorize};
use fedsx_kernel::{Cid, Publish, Published};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::admin::allowed;
use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::{body, caller, negotiate};

pub(crate) use history::{history, list};

/// What shall be decided.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    action: Action,
    /// A domain, the id of an actor, or the name of one that lives here; this instance itself for
    /// what is about that.
    object: Option<String>,
    reason: Option<String>,
    /// Whether anyone may read the decision.
    #[serde(default)]
    public: bool,
    /// Whether anyone may read why.
    #[serde(default)]
    public_reason: bool,
}

/// What shall be taken back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retraction {
    /// The decision, by CID or id.
    decision: Option<String>,
    /// Or all about this domain or actor that stand,
    object: Option<String>,
    /// of this kind only.
    action: Option<Action>,
    reason: Option<String>,
}

fn answer(status: StatusCode, value: &Value) -> Answer {
    Ok(negotiate::json(status, "application/json", value))
}

fn invalid(parameter: &'static str, detail: impl std::fmt::Display) -> Refusal {
    Refusal::new(Problem::InvalidParameter, format!("{parameter}: {detail}"))
        .with("parameter", parameter)
}

/// The grant of a token that may operate the instance.
pub(super) fn operator(app: &App, headers: &HeaderMap) -> Result<Grant, Refusal> {
    let grant = caller::token(app, headers)?;
    authorize(grant.as_ref(), Request::Admin)?;
    grant.ok_or_else(|| Refusal::new(Problem::InvalidToken, "a token is needed"))
}

/// Who decides, and why.
pub(super) fn noted(app: &App, grant: &Grant, reason: Option<String>) -> Result<Note, Refusal> {
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS) {
        return Err(invalid("reason", format!("at most {MAX_REASON_CHARS} characters")));
    }
    let reason = reason.filter(|reason| !reason.is_empty());
    let (by, token) = (app.base().actor(&grant.actor), grant.token_id.clone());
    Ok(Note { by: Some(by), token: Some(token), reason })
}

/// A domain or actor as a person names it, for what `action` is about.
pub(super) fn subject(app: &App, action: Option<Action>, text: &str) -> Result<Subject, Refusal> {
    // `localhost` may be the name of an actor here, and a domain. Only actors here are suspended.
    if let Ok(name) = text.parse() {
        let id = app.base().actor(&name);
        let is_actor = !text.contains('.')
            && fedsx_genesis::actors::deleted(app.kernel().log().state(), &id)?.is_some();
        if is_actor || action == Some(Action::Suspend) {
            return Ok(Subject::Actor(id));
        }
    }
    text.parse().map_err(|e| invalid("object", e))
}

/// Records who decides and why, and gives the CID of the record.
async fn keep(app: &App, note: &Note) -> Result<Cid, Refusal> {
    let record = Map::from_iter([
        ("type".to_owned(), MODERATION_NOTED.into()),
        ("object".to_owned(), json!(note)),
    ]);
    let at = app.kernel().record(record, None).await?;
    let found =
        app.read(move |app| Ok(app.kernel().log().store().read(at.saturating_sub(1), 1)?));
    let entry = found.await?.pop().filter(|entry| entry.global_seq == at);
    let entry = entry.ok_or_else(|| Refusal::new(Problem::Internal, "a record is not in the log"));
    Ok(entry?.cid)
}

/// Publishes as the instance actor. Where anyone may read it, only what is asked to be public stands
/// in it. Who decided and why is recorded first, and is its cause, which is kept beside it in the
/// log: whatever interrupts this, no decision is there without that.
pub(super) async fn publish(
    app: &App,
    mut request: Map<String, Value>,
    note: Note,
    public: bool,
    public_reason: bool,
) -> Result<Published, Refusal> {
    if public {
        request.insert("to".into(), json!([PUBLIC]));
        if let Some(reason) = note.reason.clone().filter(|_| public_reason) {
            request.insert("reason".into(), reason.into());
        }
    } else {
        for (name, value) in
            [("attributedTo", &note.by), ("token", &note.token), ("reason", &note.reason)]
        {
            if let Some(value) = value {
                request.insert(name.into(), value.clone().into());
            }
        }
    }
    let cause = if public { Some(keep(app, &note).await?) } else { None };
    let actor = app.kernel().options().instance.clone();
    let publish = Publish { actor, request, once: None, cause, defines: false };
    app.kernel().publish(publish).await
}

/// Decides. What stands already is not decided again.
pub(crate) async fn decide(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    let grant = operator(&app, &headers)?;
    let wish: Wish = body::wish(&body::activity(&app, &headers, body).await?)?;
    let named = match (&wish.object, wish.action) {
        (Some(object), _) => object.clone(),
        (None, Action::AllowList) => app.base().to_string(),
        (None, _) => return Err(invalid("object", "a domain or an actor").into()),
    };
    let decision =
        Decision { action: wish.action, subject: subject(&app, Some(wish.action), &named)? };
    let note = noted(&app, &grant, wish.reason)?;
    if let Some(held) = own(&app, &decision)? {
        return answer(StatusCode::OK, &history::decision(&app, &decision, &held)?);
    }
    let request = decision.request();
    let published = publish(&app, request, note, wish.public, wish.public_reason).await?;
    tracing::info!(action = %decision.action, subject = %decision.subject,
        cid = %published.activity.cid(), "decided");
    let held = published.activity.cid().to_string();
    let mut shown = history::decision(&app, &decision, &held)?;
    if let Some(members) = shown.as_object_mut() {
        members.insert("global_seq".into(), published.global_seq.into());
    }
    answer(StatusCode::CREATED, &shown)
}

/// The same decision by this instance itself, where it stands.
fn own(app: &App, decision: &Decision) -> Result<Option<String>, Refusal> {
    let row = moderation::row(app.kernel().log().state(), &decision.subject)?;
    let standing = row.get(&decision.action).into_iter().flatten();
    Ok(standing.filter(|one| one.source.is_none()).map(|one| one.cid.clone()).next())
}

/// Takes decisions back: one, or all about a subject.
pub(crate) async fn undo(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    let grant = operator(&app, &headers)?;
    let wish: Retraction = body::wish(&body::activity(&app, &headers, body).await?)?;
    let note = noted(&app, &grant, wish.reason.clone())?;
    let undone = matching(&app, &wish)?;
    if undone.is_empty() {
        return Err(Refusal::new(Problem::NotFound, "no such decision stands").into());
    }
    let mut items = Vec::new();
    for cid in undone {
        items.push(retract(&app, &cid, note.clone()).await?);
    }
    answer(StatusCode::CREATED, &json!({ "undone": items }))
}

/// Takes one decision back.
pub(super) async fn retract(app: &App, cid: &str, note: Note) -> Result<Value, Refusal> {
    let damaged = || Refusal::new(Problem::Internal, "a decision is not in the log");
    let parsed: Cid = cid.parse().map_err(|_| damaged())?;
    let held = app.kernel().log().activity(&parsed)?.ok_or_else(damaged)?;
    let public = fedsx_genesis::readers::is_for_anyone(&held);
    let request = Map::from_iter([
        ("type".to_owned(), "Undo".into()),
        ("object".to_owned(), held.id().into()),
    ]);
    let published = publish(app, request, note, public, false).await?;
    tracing::info!(decision = %cid, cid = %published.activity.cid(), "a decision was taken back");
    Ok(json!({
        "decision": cid,
        "cid": published.activity.cid().to_string(),
        "id": published.activity.id(),
        "global_seq": published.global_seq,
    }))
}

/// The CIDs of the standing decisions that a retraction means.
fn matching(app: &App, wish: &Retraction) -> Result<Vec<String>, Refusal> {
    let state = app.kernel().log().state();
    let about = match (&wish.decision, &wish.object) {
        (Some(decision), None) => {
            let held = match decision.parse::<Cid>() {
                Ok(cid) => app.kernel().log().activity(&cid)?,
                Err(_) => app.kernel().log().by_id(decision)?,
            };
            held.as_deref().and_then(moderation::decided).map(|decided| decided.subject)
        }
        (None, Some(object)) => Some(subject(app, wish.action, object)?),
        (None, None) if wish.action == Some(Action::AllowList) => {
            Some(subject(app, wish.action, app.base().as_str())?)
        }
        _ => return Err(invalid("decision", "either this or object")),
    };
    let Some(about) = about else { return Ok(Vec::new()) };
    let named = |cid: &str, id: &str| {
        wish.decision.as_deref().is_none_or(|wanted| wanted == cid || wanted == id)
    };
    let row = moderation::row(state, &about)?;
    let of_kind = row.iter().filter(|(action, _)| wish.action.is_none_or(|one| one == **action));
    let standing = of_kind.flat_map(|(_, standing)| standing);
    Ok(standing.filter(|one| named(&one.cid, &one.id)).map(|one| one.cid.clone()).collect())
}

/// What a decision would have hit, had it always stood.
pub(crate) async fn simulate(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let action = match first(&query, "action") {
        None => Action::Block,
        Some(text) => text.parse().map_err(|e| invalid("action", e))?,
    };
    let subject = match (first(&query, "object"), action) {
        (Some(text), _) => subject(&app, Some(action), text)?,
        (None, Action::AllowList) => subject(&app, Some(action), app.base().as_str())?,
        (None, _) => return Err(invalid("object", "a domain or an actor").into()),
    };
    let Ok(_turn) = app.sweeps.clone().try_acquire_owned() else {
        let detail = "the log is being looked through for another request";
        return Err(Refusal::new(Problem::Busy, detail).retry_after_s(5).into());
    };
    let decision = Decision { action, subject };
    let about = decision.clone();
    let hits = app
        .read(move |app| {
            Ok(moderation::simulation::simulate(app.base(), app.kernel().log(), &decision)?)
        })
        .await?;
    let shown =
        json!({ "action": about.action, "subject": about.subject.to_string(), "hits": hits });
    answer(StatusCode::OK, &shown)
}

/// The most items of a page that a request asks for.
fn limit(query: &[(String, String)]) -> Result<usize, Refusal> {
    Ok(parameter("limit", first(query, "limit"))?.unwrap_or(100usize).clamp(1, 1000))
}
