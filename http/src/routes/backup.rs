//! Backups of the running instance; the server itself writes them, to a directory of its machine.

use std::path::PathBuf;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fedsx_kernel::backup::BackupStatus;
use fedsx_kernel::json;
use fedsx_kernel::refusal::{Problem, Refusal};
use serde::Deserialize;

use super::Answer;
use super::admin::allowed;
use crate::app::App;
use crate::{body, negotiate};

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// An absolute path on the machine of the instance.
    directory: PathBuf,
    /// Whether the master key goes with it.
    #[serde(default)]
    with_master_key: bool,
}

/// Begins a backup; it goes on in the background, and `GET` on the same path shows it.
pub(crate) async fn start(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    allowed(&app, &headers)?;
    let bytes = body::activity(&app, &headers, body).await?;
    let wish =
        json::parse(&bytes).map_err(|e| Refusal::new(Problem::MalformedJson, e.to_string()))?;
    let wish: Wish = serde_json::from_value(wish)
        .map_err(|e| Refusal::new(Problem::InvalidParameter, e.to_string()))?;
    let status =
        app.read(move |app| app.parts.backups.start(wish.directory, wish.with_master_key)).await?;
    answer(StatusCode::ACCEPTED, &status)
}

/// The latest backup since the start.
pub(crate) async fn latest(State(app): State<App>, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let status = app.parts.backups.latest().ok_or_else(|| {
        Refusal::new(Problem::NotFound, "no backup was asked for since the instance started")
    })?;
    answer(StatusCode::OK, &status)
}

fn answer(code: StatusCode, status: &BackupStatus) -> Answer {
    let status =
        serde_json::to_value(status).map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
    Ok(negotiate::json(code, "application/json", &status))
}
