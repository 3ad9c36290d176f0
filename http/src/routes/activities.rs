//! Single activities and objects, for their audience.

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
use crate::negotiate::{self, Form};
use crate::pages;
use crate::visibility;

/// The same answer for what is not there and for what the caller may not see.
pub(super) fn nothing() -> Refusal {
    Refusal::new(Problem::NotFound, "there is nothing here, or nothing that you may see")
}

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
    Ok(negotiate::activity(&visibility::shown(&record)))
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
    if newest.deleted {
        return Ok(show(StatusCode::GONE, form, object)?);
    }
    Ok(show(StatusCode::OK, form, object)?)
}

/// The answer for what belongs to an object that was deleted.
pub(super) fn gone(record: &Record) -> Result<Response, Refusal> {
    let object = record.activity.object().cloned().unwrap_or_default();
    show(StatusCode::GONE, Form::Activity, object)
}

fn show(status: StatusCode, form: Form, mut object: Value) -> Result<Response, Refusal> {
    if form == Form::DagCbor {
        let block = fedsx_kernel::canonical::to_dag_cbor(&object)
            .map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
        return Ok(negotiate::bytes(status, negotiate::DAG_CBOR, block));
    }
    let contexts = object_contexts(&object);
    if let Some(members) = object.as_object_mut() {
        members.insert("@context".into(), contexts);
    }
    Ok(negotiate::json(status, negotiate::ACTIVITY_JSON, &object))
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
