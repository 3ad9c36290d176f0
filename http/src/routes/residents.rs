//! The actors of this instance, for who operates it; every route needs a token with the scope
//! `admin`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use fedsx_genesis::actors::{self, is_actor_type};
use fedsx_genesis::moderation;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::{ActorName, Publish};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::admin::allowed;
use super::{Answer, first, parameter, parameters, publish};
use crate::app::App;
use crate::{body, negotiate};

/// The actor that shall be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// Its name in its id.
    actor: ActorName,
    /// Its type.
    #[serde(rename = "type", default = "person")]
    kind: String,
    /// The name that people see.
    name: Option<String>,
    /// What it says about itself.
    summary: Option<String>,
}

fn person() -> String {
    "Person".to_owned()
}

/// Creates an actor: makes its keys, and publishes its first activity.
pub(crate) async fn create(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    allowed(&app, &headers)?;
    let bytes = body::activity(&app, &headers, body).await?;
    let wish: Wish = body::wish(&bytes)?;
    if !is_actor_type(&wish.kind) {
        let detail = format!("type: {:?} is no type of actor", wish.kind);
        return Err(Refusal::new(Problem::InvalidParameter, detail)
            .with("parameter", "type")
            .into());
    }
    let name = wish.name.unwrap_or_else(|| wish.actor.to_string());
    let mut object = Map::new();
    object.insert("type".into(), wish.kind.into());
    object.insert("preferredUsername".into(), wish.actor.as_str().into());
    object.insert("name".into(), name.into());
    if let Some(summary) = wish.summary {
        object.insert("summary".into(), summary.into());
    }
    let request = Map::from_iter([
        ("type".to_owned(), "Create".into()),
        ("object".to_owned(), Value::Object(object)),
    ]);
    let published = app
        .kernel()
        .publish(Publish { actor: wish.actor, request, once: None, cause: None, defines: false })
        .await?;
    Ok(publish::answer(&published))
}

/// The actors of this instance, deleted ones among them, in the order of their names.
pub(crate) async fn list(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let limit = parameter("limit", first(&query, "limit"))?.unwrap_or(100usize).clamp(1, 1000);
    let after = parameter::<ActorName>("after", first(&query, "after"))?;
    let page = app
        .read(move |app| {
            let state = app.kernel().log().state();
            let found = actors::hosted(state, app.base(), after.as_ref(), limit)?;
            let next = found.last().filter(|_| found.len() == limit).map(|(name, _)| name.clone());
            let mut items = Vec::new();
            for (name, actor) in &found {
                let member = |member: &str| actor.document.get(member);
                let suspended = moderation::is_suspended(state, &app.base().actor(name))?;
                items.push(json!({
                        "actor": name,
                        "id": app.base().actor(name),
                        "type": member("type"),
                        "name": member("name"),
                        "created": member("published"),
                    "state": match (actor.deleted, suspended) {
                        (true, _) => "deleted",
                        (false, true) => "suspended",
                        (false, false) => "active",
                    },
                }));
            }
            Ok(json!({ "items": items, "next": next }))
        })
        .await?;
    Ok(negotiate::json(StatusCode::OK, "application/json", &page))
}
