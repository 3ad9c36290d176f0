//! Single activities and objects, for their audience.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use fedsx_genesis::fold::owned;
use fedsx_genesis::rules::object_contexts;
use fedsx_kernel::Cid;
use fedsx_kernel::log::Record;
use fedsx_kernel::refusal::{Problem, Refusal};
use serde_json::{Value, json};

use super::Answer;
use crate::app::App;
use crate::caller::{self, Caller};
use crate::hot::{Asked, Stamp};
use crate::negotiate::{self, Form};
use crate::pages;
use crate::visibility;
pub(super) use crate::visibility::nothing;

pub(crate) async fn activity(
    State(app): State<App>,
    Path(cid): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let form = negotiate::choose(&headers, &[Form::Activity, Form::DagCbor])?;
    let cid: Cid = cid.parse().map_err(|_| nothing())?;
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    let (asked, stamp) = (Asked::Activity(cid), stamp(&app));
    if form == Form::Activity
        && let Some(json) = visibility::kept(&app, &caller, &asked, &stamp)?
    {
        return Ok(negotiate::written(json));
    }
    let record = visible(&app, &caller, cid).await?;
    caller::not_blocked(&app, &caller, record.activity.actor())?;
    if record.activity.is_erased() {
        let refusal = Refusal::new(Problem::Erased, "the author deleted what this said");
        let object = record.activity.object_id().map(str::to_owned);
        return Err(refusal.with("cid", cid.to_string()).with("object", object).into());
    }
    if form == Form::DagCbor {
        let body = record
            .activity
            .to_body()
            .map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
        return Ok(negotiate::bytes(StatusCode::OK, negotiate::DAG_CBOR, body.block));
    }
    let json = Bytes::from(visibility::shown(&record).to_string());
    visibility::keep(&app, asked, stamp, &record, &json);
    Ok(negotiate::written(json))
}

/// What the answers are made of that are about to be read.
fn stamp(app: &App) -> Stamp {
    Stamp::Bodies { erasures: app.kernel().log().erasures() }
}

pub(crate) async fn object(
    State(app): State<App>,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let form = negotiate::choose(&headers, &[Form::Activity, Form::DagCbor, Form::Html])?;
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    let url = format!("{}/objects/{id}", app.base());
    let newest =
        owned(app.kernel().log().state(), &url).map_err(Refusal::from)?.ok_or_else(nothing)?;
    let (asked, stamp) = (Asked::Object(newest.cid), stamp(&app));
    let as_json = form == Form::Activity && !newest.deleted;
    if as_json && let Some(json) = visibility::kept(&app, &caller, &asked, &stamp)? {
        return Ok(negotiate::written(json));
    }
    let record = visible(&app, &caller, newest.cid).await?;
    caller::not_blocked(&app, &caller, record.activity.actor())?;
    let mut object = record.activity.object().cloned().unwrap_or_else(|| json!({ "id": url }));
    if let Some(members) = object.as_object_mut() {
        members.remove("bto");
        members.remove("bcc");
    }
    if let (Form::Html, Some(document), false) = (form, object.as_object(), newest.deleted) {
        return Ok(pages::object(document, record.activity.actor())?);
    }
    if as_json {
        let json = Bytes::from(in_context(object).to_string());
        visibility::keep(&app, asked, stamp, &record, &json);
        return Ok(negotiate::written(json));
    }
    let status = if newest.deleted { StatusCode::GONE } else { StatusCode::OK };
    Ok(show(status, form, object)?)
}

/// The answer for what belongs to an object that was deleted.
pub(super) fn gone(record: &Record) -> Result<Response, Refusal> {
    let object = record.activity.object().cloned().unwrap_or_default();
    show(StatusCode::GONE, Form::Activity, object)
}

/// An object with what its members mean.
fn in_context(mut object: Value) -> Value {
    let contexts = object_contexts(&object);
    if let Some(members) = object.as_object_mut() {
        members.insert("@context".into(), contexts);
    }
    object
}

fn show(status: StatusCode, form: Form, object: Value) -> Result<Response, Refusal> {
    if form == Form::DagCbor {
        let block = fedsx_kernel::canonical::to_dag_cbor(&object)
            .map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
        return Ok(negotiate::bytes(status, negotiate::DAG_CBOR, block));
    }
    Ok(negotiate::json(status, negotiate::ACTIVITY_JSON, &in_context(object)))
}

pub(super) async fn visible(app: &App, caller: &Caller, cid: Cid) -> Result<Record, Refusal> {
    let reader = caller.reads_as(app);
    app.read(move |app| {
        let record = app.kernel().log().first(&cid)?.ok_or_else(nothing)?;
        if visibility::may_see(app, reader.as_deref(), &record)? {
            Ok(record)
        } else {
            Err(nothing())
        }
    })
    .await
}
