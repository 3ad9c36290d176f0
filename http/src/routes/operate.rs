//! Operating projections: digests, rebuilds, records that were set aside.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use fedsx_kernel::Publish;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_projections::set_aside::{MAX_REASON_CHARS, Status};
use fedsx_projections::{Info, SetAside, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::admin::allowed;
use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::{body, negotiate};

fn answer(status: StatusCode, value: &Value) -> Answer {
    Ok(negotiate::json(status, "application/json", value))
}

/// All projections or the one with the `name`, each with its digest unless `digest=false`, and
/// with how its last rebuild ended.
pub(crate) async fn projections(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let digests = parameter::<bool>("digest", first(&query, "digest"))?.unwrap_or(true);
    let projections = &app.parts.projections;
    let chosen = match first(&query, "name") {
        Some(name) => vec![projections.info(name).map_err(Refusal::from)?],
        None => projections.list(),
    };
    let mut items = Vec::new();
    for info in chosen {
        let mut item = Map::from_iter([("projection".to_owned(), json!(info))]);
        if digests {
            let digest = projections.digest(&info.name).await.map_err(Refusal::from)?;
            item.insert("digest".into(), json!(digest));
        }
        if let Some(rebuilt) = projections.rebuilt(&info.name).map_err(Refusal::from)? {
            let rebuilt = json!({ "is_same": rebuilt.is_same(), "digests": rebuilt });
            item.insert("rebuilt".into(), rebuilt);
        }
        items.push(Value::Object(item));
    }
    answer(StatusCode::OK, &json!({ "items": items }))
}

/// Begins to build a projection anew beside the served state, which it then replaces.
pub(crate) async fn rebuild(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    allowed(&app, &headers)?;
    let info: Info = app.parts.projections.rebuild(&name).await.map_err(Refusal::from)?;
    answer(StatusCode::ACCEPTED, &json!({ "projection": info }))
}

/// Records that a projection set aside, and what was decided about them.
pub(crate) async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let after = parameter::<u64>("after", first(&query, "after"))?;
    let items = app.read(move |app| Ok(app.parts.projections.set_aside(&name, after)?)).await?;
    answer(StatusCode::OK, &json!({ "items": items }))
}

/// What is to be done with a record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    decision: Verdict,
    #[serde(default)]
    why: String,
}

/// Publishes a decision as the instance actor, and answers when the projection has folded it.
pub(crate) async fn decide(
    State(app): State<App>,
    Path((name, global_seq)): Path<(String, u64)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    allowed(&app, &headers)?;
    let wish = wish(&body::activity(&app, &headers, body).await?)?;
    let item = find(&app, &name, global_seq).await?;
    if item.status == Status::Retried {
        let detail = format!("the record at {global_seq} was folded by a retry");
        return Err(Refusal::new(Problem::Conflict, detail).into());
    }
    let published = app
        .kernel()
        .publish(Publish {
            actor: app.kernel().options().instance.clone(),
            request: item.decision(&name, wish.decision, &wish.why),
            once: None,
            cause: None,
            defines: false,
        })
        .await?;
    tracing::info!(projection = %name, global_seq, decision = %wish.decision,
        cid = %published.activity.cid(), "decided about a record that was set aside");
    let wait = app.parts.options.max_wait;
    app.parts.projections.wait(&name, published.global_seq, wait).await.map_err(Refusal::from)?;
    let item = find(&app, &name, global_seq).await?;
    let decided = json!({
        "id": published.activity.id(),
        "cid": published.activity.cid().to_string(),
        "seq": published.seq,
        "global_seq": published.global_seq,
        "item": item,
    });
    answer(StatusCode::CREATED, &decided)
}

fn wish(bytes: &[u8]) -> Result<Wish, Refusal> {
    let wish: Wish = body::wish(bytes)?;
    if wish.why.chars().count() > MAX_REASON_CHARS {
        let detail = format!("why: at most {MAX_REASON_CHARS} characters");
        return Err(Refusal::new(Problem::InvalidParameter, detail).with("parameter", "why"));
    }
    Ok(wish)
}

async fn find(app: &App, name: &str, global_seq: u64) -> Result<SetAside, Refusal> {
    let name = name.to_owned();
    app.read(move |app| {
        app.parts.projections.set_aside_at(&name, global_seq)?.ok_or_else(|| {
            let detail = format!("{name} has set aside no record at {global_seq}");
            Refusal::new(Problem::NotFound, detail)
        })
    })
    .await
}
