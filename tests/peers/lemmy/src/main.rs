//! A small ActivityPub server on Lemmy's crate `activitypub_federation`: what it gets, the crate
//! verifies and the types of [`statements`] take apart; then it is written down. What it shall
//! send, the test tells it over a second port.
//!
//! First line of standard output: `{"base": ..., "control": ...}`. It ends with its standard input.

mod control;
mod statements;
mod user;

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, MutexGuard};

use activitypub_federation::axum::inbox::{ActivityData, receive_activity};
use activitypub_federation::axum::json::FederationJson;
use activitypub_federation::config::{Data, FederationConfig, FederationMiddleware};
use activitypub_federation::fetch::webfinger::{
    Webfinger, build_webfinger_response, extract_webfinger_name,
};
use activitypub_federation::protocol::context::WithContext;
use activitypub_federation::traits::Object;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use url::Url;

use statements::{Note, Statement};
use user::{Person, User};

/// What went wrong, as text.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl<T: std::error::Error> From<T> for Error {
    fn from(what: T) -> Self {
        Self(what.to_string())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl IntoResponse for Error {
    /// As in the crate's own example.
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0).into_response()
    }
}

/// All that the server knows.
#[derive(Default)]
pub struct Inner {
    pub base: String,
    /// Whether Follows are left without an answer.
    pub manual: bool,
    pub users: HashMap<Url, User>,
    pub notes: HashMap<Url, Note>,
    pub received: Vec<Value>,
    pub requests: Vec<Value>,
    pub made: u32,
}

/// A handle on it.
#[derive(Clone, Default)]
pub struct Server(Arc<Mutex<Inner>>);

impl Server {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nobody panics with it")
    }

    pub fn user(&self, name: &str) -> Result<User, Error> {
        let inner = self.lock();
        let id = Url::parse(&format!("{}/users/{name}", inner.base))?;
        Ok(inner.users.get(&id).ok_or_else(|| Error::new("no such user"))?.clone())
    }
}

async fn get_user(
    Path(name): Path<String>,
    data: Data<Server>,
) -> Result<FederationJson<WithContext<Person>>, Error> {
    let user = data.user(&name)?;
    Ok(FederationJson(WithContext::new_default(user.into_json(&data).await?)))
}

async fn get_note(
    Path(name): Path<String>,
    data: Data<Server>,
) -> Result<FederationJson<WithContext<Note>>, Error> {
    let id = Url::parse(&format!("{}/notes/{name}", data.lock().base))?;
    let note = data.lock().notes.get(&id).ok_or_else(|| Error::new("no such note"))?.clone();
    Ok(FederationJson(WithContext::new_default(note)))
}

async fn inbox(data: Data<Server>, activity: ActivityData) -> Result<(), Error> {
    receive_activity::<WithContext<Statement>, User, Server>(activity, &data).await
}

async fn webfinger(
    Query(query): Query<HashMap<String, String>>,
    data: Data<Server>,
) -> Result<Json<Webfinger>, Error> {
    let resource = query.get("resource").ok_or_else(|| Error::new("no resource"))?;
    let user = data.user(extract_webfinger_name(resource, &data)?)?;
    Ok(Json(build_webfinger_response(resource.clone(), user.id().clone())))
}

/// Writes every request down, with the status that it was answered with.
async fn noted(State(server): State<Server>, request: Request, next: Next) -> Response {
    let mut note = {
        let has = |name: &str| request.headers().contains_key(name);
        let scheme = match (has("signature-input"), has("signature")) {
            (true, _) => "rfc9421",
            (_, true) => "cavage",
            _ => "none",
        };
        let method = request.method().as_str();
        json!({ "method": method, "path": request.uri().path(), "scheme": scheme })
    };
    let answer = next.run(request).await;
    note["status"] = answer.status().as_u16().into();
    server.lock().requests.push(note);
    answer
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let host = format!("localhost:{}", listener.local_addr()?.port());
    let server = Server::default();
    server.lock().base = format!("http://{host}");
    for name in ["ada", "bert", "eve"] {
        let user = User::local(&server.lock().base, name)?;
        server.lock().users.insert(user.id().clone(), user);
    }
    // eve signs with a key that is not the one in her document.
    let other = User::local(&server.lock().base, "eve")?;
    let mut eve = server.user("eve")?;
    eve.private_key = other.private_key;
    server.lock().users.insert(eve.id().clone(), eve);

    let config = FederationConfig::builder()
        .domain(&host)
        .signed_fetch_actor(&server.user("ada")?)
        .app_data(server.clone())
        .http_signature_compat(std::env::args().any(|argument| argument == "--compat"))
        .debug(true)
        .build()
        .await?;
    let app = Router::new()
        .route("/users/{name}", get(get_user))
        .route("/users/{name}/inbox", post(inbox))
        .route("/inbox", post(inbox))
        .route("/notes/{name}", get(get_note))
        .route("/.well-known/webfinger", get(webfinger))
        .layer(FederationMiddleware::new(config.clone()))
        .layer(from_fn_with_state(server.clone(), noted));
    let control = TcpListener::bind("127.0.0.1:0").await?;
    let commands = format!("http://{}", control.local_addr()?);
    println!("{}", json!({ "base": format!("http://{host}"), "control": commands }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    tokio::spawn(async move { axum::serve(control, control::commands(config)).await });
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    Ok(())
}
