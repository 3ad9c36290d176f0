//! The other server: it serves its actors, records what it is sent, and goes up and down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::dice::Dice;
use crate::foreign::Foreign;
use crate::wire::ACTIVITY_JSON;

/// How long the peer may take to be away.
const GONE: Duration = Duration::from_secs(20);

/// How the peer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It takes everything.
    Well,
    /// Nobody listens.
    Away,
    /// It answers 503 and asks for a second.
    Overloaded,
    /// It answers 500 before it looks.
    Broken,
    /// It keeps what it is sent, and answers 500 all the same.
    Confused,
    /// It answers late.
    Slow,
}

impl Mood {
    fn any(dice: &Dice) -> Self {
        match dice.below(100) {
            0..50 => Self::Well,
            50..70 => Self::Away,
            70..77 => Self::Overloaded,
            77..84 => Self::Broken,
            84..92 => Self::Confused,
            _ => Self::Slow,
        }
    }
}

#[derive(Default)]
struct Seen {
    /// How often an activity was kept, by its id.
    kept: HashMap<String, u64>,
    /// Follows of actors of the peer: (id of the Follow, follower, followed).
    follows: Vec<(String, String, String)>,
}

struct Shared {
    mood: Mutex<Mood>,
    documents: HashMap<String, String>,
    seen: Mutex<Seen>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Peer {
    port: u16,
    shared: Arc<Shared>,
    server: Mutex<Option<Runtime>>,
}

impl Peer {
    pub fn start(port: u16, actors: &[Arc<Foreign>]) -> Result<Self> {
        let mut documents = HashMap::new();
        for actor in actors {
            documents.insert(format!("/actors/{}", actor.name), actor.document()?.to_string());
        }
        let shared = Shared { mood: Mutex::new(Mood::Well), documents, seen: Mutex::default() };
        let peer = Self { port, shared: Arc::new(shared), server: Mutex::new(None) };
        peer.listen()?;
        Ok(peer)
    }

    fn listen(&self) -> Result<()> {
        let mut server = lock(&self.server);
        if server.is_some() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("a runtime for the peer")?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(("127.0.0.1", self.port)))
            .context("a port for the peer")?;
        let app = axum::Router::new().fallback(answer).with_state(self.shared.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        *server = Some(runtime);
        Ok(())
    }

    pub fn set(&self, mood: Mood) -> Result<()> {
        *lock(&self.shared.mood) = mood;
        if mood == Mood::Away {
            if let Some(server) = lock(&self.server).take() {
                // The port is free again only when the listener is gone.
                server.shutdown_timeout(GONE);
            }
            return Ok(());
        }
        self.listen()
    }

    /// Goes up and down until told to stop.
    pub fn wander(&self, dice: &Dice, stopped: impl Fn() -> bool) -> Result<()> {
        while !stopped() {
            self.set(Mood::any(dice))?;
            std::thread::sleep(dice.millis(50, 500));
        }
        Ok(())
    }

    /// How often each activity was kept, by its id.
    pub fn kept(&self) -> HashMap<String, u64> {
        lock(&self.shared.seen).kept.clone()
    }

    pub fn follows(&self) -> Vec<(String, String, String)> {
        lock(&self.shared.seen).follows.clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(server) = lock(&self.server).take() {
            server.shutdown_background();
        }
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    if method == Method::GET {
        return match shared.documents.get(uri.path()) {
            Some(document) => {
                ([(header::CONTENT_TYPE, ACTIVITY_JSON)], document.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let mood = *lock(&shared.mood);
    match mood {
        Mood::Well | Mood::Away => keep(&shared, &body, StatusCode::ACCEPTED),
        Mood::Overloaded => {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
        }
        Mood::Broken => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Confused => keep(&shared, &body, StatusCode::INTERNAL_SERVER_ERROR),
        Mood::Slow => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            keep(&shared, &body, StatusCode::ACCEPTED)
        }
    }
}

fn keep(shared: &Shared, body: &[u8], status: StatusCode) -> Response {
    let Ok(activity) = serde_json::from_slice::<Value>(body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let text = |name: &str| activity.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(id), Some(kind)) = (text("id"), text("type")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut seen = lock(&shared.seen);
    let times = seen.kept.entry(id.clone()).or_default();
    *times += 1;
    if kind == "Follow"
        && *times == 1
        && let (Some(follower), Some(followed)) = (text("actor"), text("object"))
    {
        seen.follows.push((id, follower, followed));
    }
    status.into_response()
}
