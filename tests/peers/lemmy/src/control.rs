//! What the test tells the server.

use activitypub_federation::config::FederationConfig;
use activitypub_federation::fetch::object_id::ObjectId;
use activitypub_federation::fetch::webfinger::webfinger_resolve_actor;
use activitypub_federation::traits::Actor;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::statements::{Note, Statement, send};
use crate::user::User;
use crate::{Error, Server};

type Config = State<FederationConfig<Server>>;

/// - `GET /received`: what the crate verified, in order, and as which type it was taken
/// - `GET /requests`: every request that came
/// - `POST /send {as, to: [actor], activity, shared?}`
/// - `POST /manual {on}`: whether Follows are left without an answer
/// - `POST /note {note}`: a Note that this server serves
/// - `POST /lookup {actor | note | account}`: fetched and typed
pub fn commands(config: FederationConfig<Server>) -> Router {
    Router::new()
        .route("/received", get(async |State(config): Config| Json(config.lock().received.clone())))
        .route("/requests", get(async |State(config): Config| Json(config.lock().requests.clone())))
        .route("/send", post(told_to_send))
        .route("/manual", post(manual))
        .route("/note", post(note))
        .route("/lookup", post(lookup))
        .with_state(config)
}

#[derive(Deserialize)]
struct Send {
    #[serde(rename = "as")]
    by: String,
    to: Vec<ObjectId<User>>,
    #[serde(default)]
    shared: bool,
    activity: Statement,
}

async fn told_to_send(
    State(config): Config,
    Json(command): Json<Send>,
) -> Result<Json<Value>, Error> {
    let data = config.to_request_data();
    let user = config.user(&command.by)?;
    let mut inboxes = Vec::new();
    for id in command.to {
        let recipient = id.dereference(&data).await?;
        let inbox =
            if command.shared { recipient.shared_inbox_or_inbox() } else { recipient.inbox() };
        inboxes.push(inbox);
    }
    send(command.activity, &user, inboxes, &data).await?;
    Ok(Json(json!({ "sent": true })))
}

async fn manual(State(config): Config, Json(command): Json<Value>) -> Json<Value> {
    config.lock().manual = command["on"] == true;
    Json(command)
}

async fn note(State(config): Config, Json(command): Json<Value>) -> Result<Json<Value>, Error> {
    let note: Note = serde_json::from_value(command["note"].clone())?;
    config.lock().notes.insert(note.id.inner().clone(), note);
    Ok(Json(command))
}

async fn lookup(State(config): Config, Json(command): Json<Value>) -> Result<Json<Value>, Error> {
    let data = config.to_request_data();
    let url = |name: &str| -> Option<Result<Url, Error>> {
        command[name].as_str().map(|url| Url::parse(url).map_err(Error::from))
    };
    if let Some(account) = command["account"].as_str() {
        let user: User = webfinger_resolve_actor(account, &data).await?;
        return Ok(Json(json!({ "id": user.id, "name": user.name })));
    }
    if let Some(id) = url("note") {
        let note = ObjectId::<Note>::from(id?).dereference_forced(&data).await?;
        return Ok(Json(serde_json::to_value(note)?));
    }
    let id = url("actor").ok_or_else(|| Error::new("actor, note or account"))??;
    let user = ObjectId::<User>::from(id).dereference_forced(&data).await?;
    Ok(Json(json!({ "id": user.id, "name": user.name, "inbox": user.inbox,
        "shared": user.shared_inbox })))
}
