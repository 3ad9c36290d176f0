//! Reports: open ones and those that were dealt with, for those who moderate.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use fedsx_genesis::moderation::report;
use fedsx_genesis::readers::is_confidential;
use fedsx_kernel::activity::ids_in;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::{Activity, Cid, Publish, Published};
use fedsx_projections::{Query, Reader};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::history::statement;
use super::{
    allowed, answer, first, invalid, limit, noted, operator, parameters, publish, retract,
};
use crate::app::App;
use crate::body;
use crate::routes::Answer;

/// Why a report is dealt with, or is not any more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    reason: Option<String>,
}

/// What another instance is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forwarding {
    /// What those who moderate here say.
    comment: Option<String>,
    /// Whether what the reporter wrote is passed on as well, which may tell who that is.
    #[serde(default)]
    with_content: bool,
}

/// What was reported, newest first, and what became of it; `state` asks for `open`, `resolved` or
/// `forward` (what this instance reported itself).
pub(crate) async fn list(
    axum::extract::State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let wanted = Query {
        key_prefix: None,
        after: first(&query, "after").map(str::to_owned),
        limit: limit(&query)?,
        newest_first: true,
    };
    let only = match first(&query, "state") {
        Some(state @ ("open" | "resolved" | "forward")) => Some(state.to_owned()),
        Some(_) => return Err(invalid("state", "open, resolved or forward").into()),
        None => None,
    };
    let page = app
        .read(move |app| {
            let page = app.parts.projections.query("reports", &wanted, &Reader::Admin(None))?;
            let mut items = Vec::new();
            for row in page.items {
                let item = described(app, row.value)?;
                let state = item.get("state").and_then(Value::as_str);
                if only.is_none() || only.as_deref() == state {
                    items.push(item);
                }
            }
            Ok(json!({ "items": items, "next": page.next }))
        })
        .await?;
    answer(StatusCode::OK, &page)
}

/// A report with what became of it.
fn described(app: &App, mut report: Value) -> Result<Value, Refusal> {
    let instance = app.base().actor(&app.kernel().options().instance);
    let id = report.get("id").and_then(Value::as_str).unwrap_or_default();
    let resolution = report::resolution(app.kernel().log().state(), id)?;
    let state = match &resolution {
        _ if report.get("actor").and_then(Value::as_str) == Some(&instance) => "forward",
        Some(_) => "resolved",
        None => "open",
    };
    let said = match resolution.as_ref().and_then(|one| one.cid.parse::<Cid>().ok()) {
        Some(cid) => app.kernel().log().activity(&cid)?,
        None => None,
    };
    let said = said.map(|activity| statement(app, &activity)).transpose()?;
    if let Some(members) = report.as_object_mut() {
        members.insert("state".into(), state.into());
        members.insert("resolution".into(), json!(said));
    }
    Ok(report)
}

/// The report with a CID.
async fn reported(app: &App, cid: &str) -> Result<std::sync::Arc<Activity>, Refusal> {
    let nothing = || Refusal::new(Problem::NotFound, "there is no such report");
    let cid: Cid = cid.parse().map_err(|_| nothing())?;
    let found = app.read(move |app| Ok(app.kernel().log().activity(&cid)?)).await?;
    found.filter(|activity| is_confidential(activity)).ok_or_else(nothing)
}

/// Says that a report is dealt with.
pub(crate) async fn resolve(
    State(app): State<App>,
    Path(cid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let grant = operator(&app, &headers)?;
    let wish: Wish = body::wish(&body::activity(&app, &headers, body).await?)?;
    let note = noted(&app, &grant, wish.reason)?;
    let report = reported(&app, &cid).await?;
    if let Some(held) =
        report::resolution(app.kernel().log().state(), report.id()).map_err(Refusal::from)?
    {
        let answered = json!({ "report": cid, "cid": held.cid, "id": held.id });
        return answer(StatusCode::OK, &answered);
    }
    let published = publish(&app, report::resolving(report.id()), note, false, false).await?;
    said(&cid, &published)
}

/// What was published about a report.
fn said(report: &str, published: &Published) -> Answer {
    let shown = json!({
        "report": report,
        "cid": published.activity.cid().to_string(),
        "id": published.activity.id(),
    });
    answer(StatusCode::CREATED, &shown)
}

/// Says that a report is not dealt with after all.
pub(crate) async fn reopen(
    State(app): State<App>,
    Path(cid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let grant = operator(&app, &headers)?;
    let wish: Wish = body::wish(&body::activity(&app, &headers, body).await?)?;
    let note = noted(&app, &grant, wish.reason)?;
    let report = reported(&app, &cid).await?;
    let held =
        report::resolution(app.kernel().log().state(), report.id()).map_err(Refusal::from)?;
    let held = held.ok_or_else(|| Refusal::new(Problem::NotFound, "the report is open"))?;
    let undone = retract(&app, &held.cid, note).await?;
    answer(StatusCode::CREATED, &undone)
}

/// Tells the instances of what is reported, as the instance actor: nothing names the reporter.
pub(crate) async fn forward(
    State(app): State<App>,
    Path(cid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let grant = operator(&app, &headers)?;
    let wish: Forwarding = body::wish(&body::activity(&app, &headers, body).await?)?;
    // The same limits as for reasons.
    noted(&app, &grant, wish.comment.clone())?;
    let report = reported(&app, &cid).await?;
    let elsewhere: Vec<&str> =
        ids_in(report.object()).into_iter().filter(|id| !app.base().is_local(id)).collect();
    if elsewhere.is_empty() {
        let detail = "everything that is reported is of this instance";
        return Err(Refusal::new(Problem::InvalidActivity, detail).into());
    }
    let told = report.get("content").and_then(Value::as_str).filter(|_| wish.with_content);
    let content: Vec<&str> = wish.comment.as_deref().into_iter().chain(told).collect();
    let mut request = Map::new();
    request.insert("type".into(), "Flag".into());
    request.insert("object".into(), json!(elsewhere));
    if !content.is_empty() {
        request.insert("content".into(), content.join("\n\n").into());
    }
    let actor = app.kernel().options().instance.clone();
    let publish = Publish { actor, request, once: None, cause: None, defines: false };
    let published = app.kernel().publish(publish).await?;
    tracing::info!(report = %cid, cid = %published.activity.cid(), by = %grant.token_id, "forwarded");
    said(&cid, &published)
}
