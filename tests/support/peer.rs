//! A foreign ActivityPub server that the test plays itself: it serves actor documents, records
//! what is posted to its inboxes, and answers as it is told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::ACTIVITY_JSON;
pub use super::foreign::{Foreign, Sign, multikey, new_key, now, rsa, unique};
use super::poll::{PATIENCE, eventually};
pub use super::signing::{SigningKey, fetch_signed, send, signed_by};

/// A request that the peer got.
#[derive(Clone, Debug)]
pub struct Posted {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// The status that it was answered with.
    pub status: u16,
    pub at: Instant,
}

#[derive(Default)]
struct Shared {
    documents: HashMap<String, Value>,
    posted: Vec<Posted>,
    gets: HashMap<String, usize>,
    /// The headers of the last fetch of each path.
    got: HashMap<String, HeaderMap>,
    /// Whether documents are given to signed requests only.
    secure: bool,
    /// Statuses for the next posts; after them `status`.
    next: VecDeque<u16>,
    status: u16,
    /// How long an answer to a post is held back.
    delay: Duration,
    retry_after: Option<String>,
    /// The problem document of answers that are no success.
    problem: Option<Value>,
    /// Further headers of answers to posts.
    says: Vec<(&'static str, String)>,
    /// What posts that are signed so are answered with, by whether that is RFC 9421.
    by_scheme: HashMap<bool, u16>,
    /// By how many seconds the clock is ahead by which documents are dated.
    ahead_s: i64,
    /// What posts with a text in them are answered with.
    by_text: Vec<(String, u16)>,
    concurrent: usize,
    most_concurrent: usize,
}

type Locked = Arc<Mutex<Shared>>;

/// The server of foreign actors.
pub struct Peer {
    pub base: String,
    shared: Locked,
    _runtime: tokio::runtime::Runtime,
}

impl Peer {
    pub fn start() -> Self {
        Self::start_on(0)
    }

    /// Under a name instead of an address, which some servers insist on.
    pub fn start_named() -> Self {
        let mut peer = Self::start();
        peer.base = format!("http://localhost:{}", peer.port());
        peer
    }

    /// On a given port, to come back after having been away.
    pub fn start_on(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let shared = Locked::new(Mutex::new(Shared { status: 202, ..Shared::default() }));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(("127.0.0.1", port)))
            .expect("a port to listen on");
        let port = listener.local_addr().expect("an address").port();
        let app = axum::Router::new().fallback(answer).with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { base: format!("http://127.0.0.1:{port}"), shared, _runtime: runtime }
    }

    pub fn port(&self) -> u16 {
        self.base.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("the peer's state")
    }

    /// Serves a document at a path.
    pub fn serve(&self, path: &str, document: Value) {
        self.lock().documents.insert(path.to_owned(), document);
    }

    pub fn remove(&self, path: &str) {
        self.lock().documents.remove(path);
    }

    /// Answers every post with this status from now on.
    pub fn answer_with(&self, status: u16) {
        self.lock().status = status;
    }

    /// Answers the next posts with these statuses.
    pub fn answer_next(&self, statuses: &[u16]) {
        self.lock().next.extend(statuses);
    }

    /// Answers posts that contain a text with this status.
    pub fn choke_on(&self, text: &str, status: u16) {
        self.lock().by_text.insert(0, (text.to_owned(), status));
    }

    pub fn hold_answers(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    pub fn retry_after(&self, value: &str) {
        self.lock().retry_after = Some(value.to_owned());
    }

    /// Explains answers that are no success by a problem document.
    pub fn explain(&self, problem: Value) {
        self.lock().problem = Some(problem);
    }

    /// Answers posts with a further header from now on.
    pub fn say(&self, name: &'static str, value: &str) {
        self.lock().says.push((name, value.to_owned()));
    }

    /// Answers posts that are signed by RFC 9421, or by draft-cavage, with this status.
    pub fn answer_signed(&self, rfc9421: bool, status: u16) {
        self.lock().by_scheme.insert(rfc9421, status);
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.lock().posted.clone()
    }

    /// The posts of one activity, by its id.
    pub fn posts_of(&self, id: &str) -> Vec<Posted> {
        self.posted().into_iter().filter(|post| post.body["id"] == id).collect()
    }

    /// How often a path was fetched.
    pub fn fetched(&self, path: &str) -> usize {
        self.lock().gets.get(path).copied().unwrap_or(0)
    }

    /// Gives documents to signed requests only, as servers in secure mode do.
    pub fn demand_signatures(&self) {
        self.lock().secure = true;
    }

    /// Dates documents by a clock that is ahead by so many seconds.
    pub fn clock_ahead(&self, seconds: i64) {
        self.lock().ahead_s = seconds;
    }

    /// The headers of the last fetch of a path.
    pub fn fetched_with(&self, path: &str) -> HeaderMap {
        self.lock().got.get(path).cloned().expect("it was fetched")
    }

    /// The most posts that were under way at once.
    pub fn most_concurrent(&self) -> usize {
        self.lock().most_concurrent
    }

    /// Waits until an activity was posted and answered with a success.
    #[track_caller]
    pub fn receives(&self, id: &str) -> Posted {
        self.receives_where(id, |post| post.body["id"] == id)
    }

    /// Waits for a taken post that fits.
    #[track_caller]
    pub fn receives_where(&self, what: &str, fits: impl Fn(&Posted) -> bool) -> Posted {
        eventually(PATIENCE, &format!("{what} at the foreign peer {}", self.base), || {
            self.posted().into_iter().find(|post| post.status < 300 && fits(post))
        })
    }

    /// Makes an actor and serves its document and its account.
    pub fn actor(&self, name: &str) -> Foreign {
        let foreign = Foreign::new(&self.base, name);
        self.serve(&format!("/actors/{name}"), foreign.document());
        foreign
    }
}

/// A Date (RFC 9110, section 6.6.1) by a clock that is ahead.
fn dated(ahead_s: i64) -> String {
    let said = Timestamp::now() + SignedDuration::from_secs(ahead_s);
    rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&said).expect("a date")
}

async fn answer(
    State(shared): State<Locked>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    if method == Method::GET {
        let mut shared = shared.lock().expect("the peer's state");
        let asked = uri.path_and_query().map_or(path.as_str(), |both| both.as_str()).to_owned();
        *shared.gets.entry(path.clone()).or_default() += 1;
        shared.got.insert(path.clone(), headers.clone());
        if shared.secure && !headers.contains_key("signature") {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let date = dated(shared.ahead_s);
        let found = shared.documents.get(&asked).or_else(|| shared.documents.get(&path));
        return match found {
            Some(document) => {
                let kind = if path.starts_with("/.well-known") {
                    "application/jrd+json"
                } else {
                    ACTIVITY_JSON
                };
                let fields = [(header::CONTENT_TYPE, kind), (header::DATE, &date)];
                (fields, document.to_string()).into_response()
            }
            None => (StatusCode::NOT_FOUND, [(header::DATE, date)]).into_response(),
        };
    }
    let (delay, status, retry_after, problem, says) = {
        let mut shared = shared.lock().expect("the peer's state");
        shared.concurrent += 1;
        shared.most_concurrent = shared.most_concurrent.max(shared.concurrent);
        let usual = shared.by_scheme.get(&headers.contains_key("signature-input"));
        let usual = usual.copied().unwrap_or(shared.status);
        let text = String::from_utf8_lossy(&body);
        let chokes = shared.by_text.iter().find(|(part, _)| text.contains(part)).map(|one| one.1);
        let status = chokes.or_else(|| shared.next.pop_front()).unwrap_or(usual);
        let says = shared.says.clone();
        (shared.delay, status, shared.retry_after.clone(), shared.problem.clone(), says)
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    {
        let mut shared = shared.lock().expect("the peer's state");
        shared.concurrent -= 1;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        shared.posted.push(Posted { path, headers, body, status, at: Instant::now() });
    }
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = match problem.filter(|_| !status.is_success()) {
        Some(problem) => {
            let kind = [(header::CONTENT_TYPE, "application/problem+json")];
            (status, kind, problem.to_string()).into_response()
        }
        None => status.into_response(),
    };
    for (name, value) in says {
        response.headers_mut().insert(name, value.parse().expect("a header value"));
    }
    if let Some(value) = retry_after.filter(|_| !status.is_success()) {
        let value = value.parse().expect("a header value");
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}
