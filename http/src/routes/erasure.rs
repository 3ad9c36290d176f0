//! Erasing the content of objects that their authors deleted.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fedsx_kernel::refusal::{Problem, Refusal};
use serde::Deserialize;
use serde_json::Value;

use super::Answer;
use super::admin::allowed;
use crate::app::App;
use crate::{body, caller, negotiate};

/// The longest reason, in characters.
const MAX_WHY: usize = 500;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// The id of the object, or the CID of an activity that states it.
    object: String,
    /// Why, for the record.
    #[serde(default)]
    why: String,
}

/// Erases, and answers when the erasure is durable. Projections that held the content are built
/// anew after that.
pub(crate) async fn erase(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    allowed(&app, &headers)?;
    let by = match caller::token(&app, &headers)? {
        Some(grant) => app.base().actor(&grant.actor),
        None => String::new(),
    };
    let bytes = body::activity(&app, &headers, body).await?;
    let wish: Wish = body::wish(&bytes)?;
    if wish.why.chars().count() > MAX_WHY {
        let detail = format!("why: at most {MAX_WHY} characters");
        return Err(Refusal::new(Problem::InvalidParameter, detail)
            .with("parameter", "why")
            .into());
    }
    let eraser = app.parts.eraser.clone();
    // It goes on to its end, whether or not the client waits.
    let erased = tokio::spawn(async move { eraser.erase(&wish.object, &by, &wish.why).await });
    let erased = erased.await.map_err(|e| Refusal::new(Problem::Internal, e.to_string()))??;
    Ok(negotiate::json(StatusCode::OK, "application/json", &Value::from(&erased)))
}
