//! Health, metrics, and the pages that problem documents name.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use fedsx_kernel::refusal::{Problem, Refusal};
use serde_json::json;

use super::Answer;
use crate::app::App;
use crate::limits::ClientAddress;
use crate::metrics::{EQUIVOCATIONS, HOSTED, LOG_COMMITS, LOG_HEAD, PROJECTION_SEQ};
use crate::negotiate;

pub(crate) async fn live() -> Answer {
    Ok(negotiate::json(StatusCode::OK, "application/json", &json!({ "live": true })))
}

/// Ready when projections, delivery's index and the instance's own answers stand at the end of
/// the log as it was when the question came, and the store takes writes.
pub(crate) async fn ready(State(app): State<App>) -> Answer {
    let head = app.kernel().log().head();
    let mut reasons: Vec<String> = app
        .parts
        .projections
        .list()
        .iter()
        .filter(|info| info.global_seq < head)
        .map(|info| format!("projection {} is at {} of {head}", info.name, info.global_seq))
        .collect();
    let cursor = app.parts.delivery.cursor();
    if cursor < head {
        reasons.push(format!("delivery is at {cursor} of {head}"));
    }
    let reactions = *app.parts.readiness.reactions.borrow();
    if reactions < head {
        reasons.push(format!("reactions are at {reactions} of {head}"));
    }
    if let Some(why) = app.kernel().log().failure() {
        reasons.push(format!("the store takes no more writes until a restart: {why}"));
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let answer = json!({ "ready": ready, "reasons": reasons, "global_seq": head });
    Ok(negotiate::json(status, "application/json", &answer))
}

pub(crate) async fn metrics(
    State(app): State<App>,
    Extension(client): Extension<ClientAddress>,
) -> Answer {
    if !client.0.ip().to_canonical().is_loopback() {
        return Err(Refusal::new(Problem::NotFound, "metrics are for this machine").into());
    }
    let equivocations = app
        .read(|app| Ok(fedsx_genesis::fold::equivocation_count(app.kernel().log().state())?))
        .await?;
    metrics::counter!(EQUIVOCATIONS).absolute(equivocations);
    #[allow(clippy::cast_precision_loss)]
    {
        metrics::gauge!(LOG_HEAD).set(app.kernel().log().head() as f64);
        metrics::counter!(LOG_COMMITS).absolute(app.kernel().log().commits());
        metrics::gauge!(HOSTED).set(app.kernel().hosted_in_memory() as f64);
        for info in app.parts.projections.list() {
            metrics::gauge!(PROJECTION_SEQ, "projection" => info.name).set(info.global_seq as f64);
        }
    }
    let text = app.parts.metrics.render().into_bytes();
    Ok(negotiate::bytes(StatusCode::OK, "text/plain; version=0.0.4", text))
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
