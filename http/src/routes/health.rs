//! Health, metrics, and the pages that problem documents name.

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::tokens::{Request, authorize};
use serde_json::json;

use super::Answer;
use crate::app::App;
use crate::limits::ClientAddress;
use crate::readiness::Report;
use crate::{caller, negotiate};

pub(crate) async fn live() -> Answer {
    Ok(negotiate::json(StatusCode::OK, "application/json", &json!({ "live": true })))
}

/// Ready when the store takes writes and what follows the log is at its end, or near it.
pub(crate) async fn ready(
    State(app): State<App>,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Answer {
    let report = app.read(|app| Ok(Report::of(app))).await?;
    let answer = report.answer(may_operate(&app, client, &headers));
    Ok(negotiate::json(report.status(), "application/json", &answer))
}

/// What Prometheus collects; for this machine, and for tokens that may operate.
pub(crate) async fn metrics(
    State(app): State<App>,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Answer {
    if !may_operate(&app, client, &headers) {
        let detail = "metrics are for this machine, and for tokens with the scope admin";
        return Err(Refusal::new(Problem::NotFound, detail).into());
    }
    let text = crate::metrics::page(&app).await?.into_bytes();
    Ok(negotiate::bytes(StatusCode::OK, "text/plain; version=0.0.4", text))
}

/// Whether the request comes from this machine, and not through a proxy on it, or has a token that
/// may operate the instance.
fn may_operate(app: &App, client: ClientAddress, headers: &HeaderMap) -> bool {
    if client.is_local() {
        return true;
    }
    let grant = caller::token(app, headers).ok().flatten();
    grant.is_some_and(|grant| authorize(Some(&grant), Request::Admin).is_ok())
}

/// The pages that explain the kinds of problem to people.
static PAGES: include_dir::Dir<'_> =
    include_dir::include_dir!("$CARGO_MANIFEST_DIR/../plans/errors");

/// The page to which the `type` of a problem document leads.
pub(crate) async fn problem(Path(slug): Path<String>) -> Answer {
    let known = Problem::ALL.iter().find(|problem| problem.slug() == slug);
    let page = known.and_then(|problem| PAGES.get_file(format!("{}.md", problem.slug())));
    let page = page.ok_or_else(|| Refusal::new(Problem::NotFound, "there is no such problem"))?;
    let text = page.contents().to_vec();
    Ok(negotiate::bytes(StatusCode::OK, "text/markdown; charset=utf-8", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_a_page_that_names_its_status() {
        for problem in Problem::ALL {
            let name = format!("{}.md", problem.slug());
            let page = PAGES.get_file(&name).and_then(|page| page.contents_utf8());
            let status = crate::problem::status(*problem).as_u16().to_string();
            assert!(page.is_some_and(|page| page.contains(&status)), "{name} names {status}");
        }
    }
}
