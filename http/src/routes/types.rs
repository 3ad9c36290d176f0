//! Definitions by their CID, for whom the activity that published them is for.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use fedsx_genesis::definition::{Definition, Kind};
use fedsx_genesis::registry::{Registry, Source};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::{Cid, canonical};
use serde_json::Value;

use super::Answer;
use crate::app::App;
use crate::negotiate::{self, Form};
use crate::{caller, visibility};

fn nothing() -> Refusal {
    Refusal::new(Problem::NotFound, "there is no such definition, or none that you may see")
}

/// The document: as JSON, or as the block whose hash is the CID.
pub(crate) async fn definition(
    State(app): State<App>,
    Path(cid): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let form = negotiate::choose(&headers, &[Form::Activity, Form::DagCbor])?;
    let cid: Cid = cid.parse().map_err(|_| nothing())?;
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    let reader = caller.reads_as(&app);
    let document = app
        .read(move |app| {
            let sources = Registry::ADMISSION.sources(app.kernel().log().state(), &cid)?;
            for source in sources {
                if let Some(document) = shown(app, &cid, &source, reader.as_deref())? {
                    return Ok(document);
                }
            }
            Err(nothing())
        })
        .await?;
    let mut response = if form == Form::DagCbor {
        let block = canonical::to_dag_cbor(&document)
            .map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
        negotiate::bytes(StatusCode::OK, negotiate::DAG_CBOR, block)
    } else {
        negotiate::json(StatusCode::OK, "application/json", &document)
    };
    // What a CID names never changes; who may read it can.
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("private, max-age=3600, immutable"),
    );
    Ok(response)
}

/// The document from one source, where the reader may see that source.
fn shown(
    app: &App,
    cid: &Cid,
    source: &Source,
    reader: Option<&str>,
) -> Result<Option<Value>, Refusal> {
    let log = app.kernel().log();
    let Some(activity) = &source.activity else {
        let bundle = app.parts.genesis.definitions.iter();
        let held = bundle.map(|entry| &entry.definition).find(|held| held.cid() == cid);
        if let Some(held) = held {
            return Ok(Some(held.document().clone()));
        }
        let standing = Registry::ADMISSION.standing(log.state(), source.kind, &source.name)?;
        return Ok(standing.into_iter().find(|held| held.cid == *cid).map(|held| held.document));
    };
    let Some(record) = log.first(activity)? else { return Ok(None) };
    if Kind::of_type(record.activity.kind()).is_none()
        || !visibility::may_see(app, reader, &record)?
    {
        return Ok(None);
    }
    let object = record.activity.object().unwrap_or(&Value::Null);
    let definition = Definition::published(record.activity.kind(), object).ok();
    Ok(definition.filter(|held| held.cid() == cid).map(|held| held.document().clone()))
}
