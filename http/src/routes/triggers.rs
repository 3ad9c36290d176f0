//! What triggers do, and what went wrong with them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::json;

use super::admin::allowed;
use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::negotiate;

/// Failures in one answer.
const USUAL_LIMIT: usize = 100;

/// Every trigger in force, how far they are, and the newest failures (`before` a position, at most
/// `limit`).
pub(crate) async fn list(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let before = parameter::<u64>("before", first(&query, "before"))?;
    let limit = parameter("limit", first(&query, "limit"))?.unwrap_or(USUAL_LIMIT).clamp(1, 1000);
    let head = app.kernel().log().head();
    let global_seq = *app.parts.readiness.triggers.borrow();
    let (items, failures) = app
        .read(move |app| {
            let triggers = &app.parts.triggers;
            Ok((triggers.list()?, triggers.failures(before, limit)?))
        })
        .await?;
    let answer =
        json!({ "items": items, "global_seq": global_seq, "head": head, "failures": failures });
    Ok(negotiate::json(StatusCode::OK, "application/json", &answer))
}
