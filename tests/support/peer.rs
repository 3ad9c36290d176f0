//! A foreign ActivityPub server that the test plays itself: it serves actor documents, records
//! what is posted to its inboxes, answers as it is told, and signs deliveries of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fedsx_delivery::signature::{self, RequestToSign, Scheme, Signer};
use fedsx_kernel::Activity;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::proof::{self, SignOptions};
use fedsx_kernel::runtime::OsRandom;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::client::{Answer, Client};
use super::node::Node;
use super::poll::{PATIENCE, eventually};
use super::{ACTIVITY_JSON, PUBLIC};

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
        let found = shared.documents.get(&asked).or_else(|| shared.documents.get(&path));
        return match found {
            Some(document) => {
                let kind = if path.starts_with("/.well-known") {
                    "application/jrd+json"
                } else {
                    ACTIVITY_JSON
                };
                ([(header::CONTENT_TYPE, kind)], document.to_string()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
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

/// How a delivery of a foreign actor is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Not at all.
    Bare,
    /// RFC 9421 with Ed25519.
    Ed25519,
    /// RFC 9421 with RSA.
    Rsa,
    /// draft-cavage with RSA.
    Cavage,
}

/// An actor of another server, with its keys.
pub struct Foreign {
    pub id: String,
    pub name: String,
    pub base: String,
    pub key: SecretKey,
    pub key_id: String,
    pub rsa_id: String,
    seq: AtomicU64,
}

/// One RSA key for all foreign actors of a process, because making one is slow.
pub fn rsa() -> &'static SecretKey {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    KEY.get_or_init(|| SecretKey::generate_rsa(&OsRandom).expect("an RSA key"))
}

/// A key that signs requests, of any size.
pub enum SigningKey<'a> {
    /// One that every server here takes.
    Usual(&'a SecretKey),
    /// An RSA key that is too small to be taken.
    Small(&'a rsa::RsaPrivateKey),
}

impl SigningKey<'_> {
    /// The signature over a message, with SHA-256 for RSA.
    pub fn sign(&self, message: &[u8], random: &dyn fedsx_kernel::runtime::Random) -> Vec<u8> {
        match self {
            Self::Usual(key) => key.sign(message, random).expect("a signature"),
            Self::Small(key) => {
                let scheme = rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha256>();
                let digest = rsa::sha2::Digest::finalize(
                    <rsa::sha2::Sha256 as rsa::sha2::Digest>::new_with_prefix(message),
                );
                key.sign(scheme, &digest).expect("a signature")
            }
        }
    }

    /// Its name in RFC 9421.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Usual(key) => key.algorithm().name(),
            Self::Small(_) => "rsa-v1_5-sha256",
        }
    }
}

/// The present time as activities state it.
pub fn now() -> String {
    Timestamp::from_second(Timestamp::now().as_second()).expect("a time").to_string()
}

/// A new Ed25519 key and the id under which an actor has it.
pub fn new_key(actor: &str) -> (String, SecretKey) {
    let key = SecretKey::generate_ed25519(&OsRandom);
    let multikey = key.public().to_multibase().expect("a Multikey");
    (format!("{actor}#{multikey}"), key)
}

/// A key as `assertionMethod` lists it.
pub fn multikey(actor: &str, id: &str, key: &SecretKey) -> Value {
    json!({
        "id": id,
        "type": "Multikey",
        "controller": actor,
        "publicKeyMultibase": key.public().to_multibase().expect("a Multikey"),
    })
}

impl Foreign {
    fn new(base: &str, name: &str) -> Self {
        let id = format!("{base}/actors/{name}");
        let (key_id, key) = new_key(&id);
        let rsa_id = format!("{id}#main-key");
        Self {
            id,
            name: name.to_owned(),
            base: base.to_owned(),
            key,
            key_id,
            rsa_id,
            seq: AtomicU64::new(1),
        }
    }

    /// The actor document, with both keys.
    pub fn document(&self) -> Value {
        json!({
            "@context": [
                "https://www.w3.org/ns/activitystreams",
                "https://w3id.org/security/v1",
                "https://www.w3.org/ns/did/v1",
                "https://w3id.org/security/multikey/v1",
            ],
            "id": self.id,
            "type": "Person",
            "preferredUsername": self.name,
            "inbox": format!("{}/inbox", self.id),
            "outbox": format!("{}/outbox", self.id),
            "followers": format!("{}/followers", self.id),
            "following": format!("{}/following", self.id),
            "assertionMethod": [multikey(&self.id, &self.key_id, &self.key)],
            "publicKey": {
                "id": self.rsa_id,
                "owner": self.id,
                "publicKeyPem": rsa().public().to_pem().expect("PEM"),
            },
        })
    }

    /// The place of the next statement of this actor.
    pub fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::SeqCst)
    }

    /// The members of an activity of this actor, without identity.
    pub fn content(&self, kind: &str, object: Value, more: Value) -> Map<String, Value> {
        let mut content = Map::new();
        content.insert("@context".into(), json!("https://www.w3.org/ns/activitystreams"));
        content.insert("type".into(), kind.into());
        content.insert("actor".into(), self.id.clone().into());
        content.insert("published".into(), now().into());
        content.insert("epoch".into(), 0.into());
        content.insert("seq".into(), self.next_seq().into());
        content.insert("salt".into(), format!("{:032x}", unique()).into());
        content.insert("object".into(), object);
        for (name, value) in more.as_object().into_iter().flatten() {
            content.insert(name.clone(), value.clone());
        }
        content
    }

    /// A sealed activity with a proof by the actor's key.
    pub fn sealed(&self, content: Map<String, Value>) -> Value {
        self.sealed_by(content, &self.key_id, &self.key)
    }

    /// A sealed activity with a proof by some key.
    pub fn sealed_by(&self, content: Map<String, Value>, key_id: &str, key: &SecretKey) -> Value {
        let activity = Activity::seal(content).expect("an activity");
        let options = SignOptions { verification_method: key_id, created: Timestamp::now() };
        let proof = proof::sign(activity.document(), key, &options, &OsRandom).expect("a proof");
        activity.with_proof(proof).to_value()
    }

    /// A signed activity to everyone in `to`.
    pub fn activity(&self, kind: &str, object: Value, to: &[&str]) -> Value {
        self.sealed(self.content(kind, object, json!({ "to": to })))
    }

    /// A signed `Create` with a new Note.
    pub fn note(&self, content: &str, to: &[&str]) -> Value {
        self.activity("Create", self.note_object(content), to)
    }

    /// A new Note of this actor.
    pub fn note_object(&self, content: &str) -> Value {
        json!({
            "id": format!("{}/objects/{:032x}", self.base, unique()),
            "type": "Note",
            "attributedTo": self.id,
            "published": now(),
            "to": [PUBLIC],
            "content": content,
        })
    }

    /// An activity as servers without proofs send it: an id of its own, no numbering.
    pub fn plain(&self, kind: &str, object: Value, to: &[&str]) -> Value {
        json!({
            "@context": "https://www.w3.org/ns/activitystreams",
            "id": format!("{}/plain/{:032x}", self.base, unique()),
            "type": kind,
            "actor": self.id,
            "published": now(),
            "to": to,
            "object": object,
        })
    }

    /// Follows an actor of a node and waits until it counts.
    #[track_caller]
    pub fn follows(&self, node: &Node, name: &str) {
        let target = node.actor(name);
        let follow = self.activity("Follow", json!(target), &[&target]);
        let answer = self.deliver(node, &format!("/actors/{name}/inbox"), &follow, Sign::Bare);
        answer.expect(202, "a Follow");
        node.lists(name, "followers", &self.id);
    }

    /// Delivers to an inbox of a node.
    pub fn deliver(&self, node: &Node, path: &str, activity: &Value, sign: Sign) -> Answer {
        self.deliver_bytes(node, path, activity.to_string().into_bytes(), sign)
    }

    pub fn deliver_bytes(&self, node: &Node, path: &str, body: Vec<u8>, sign: Sign) -> Answer {
        let headers = self.signed_headers(&format!("{}{path}", node.base), &body, sign);
        send(node.client(), path, &headers, body)
    }

    /// Fetches from a node, the request signed by this actor.
    pub fn fetch(&self, node: &Node, path: &str, accept: &str) -> Answer {
        fetch_signed(node, path, accept, Scheme::Cavage, (&self.rsa_id, rsa()))
    }

    /// The headers of a signed delivery.
    pub fn signed_headers(&self, url: &str, body: &[u8], sign: Sign) -> HeaderMap {
        let (scheme, key_id, key) = match sign {
            Sign::Bare => return HeaderMap::new(),
            Sign::Ed25519 => (Scheme::Rfc9421, &self.key_id, &self.key),
            Sign::Rsa => (Scheme::Rfc9421, &self.rsa_id, rsa()),
            Sign::Cavage => (Scheme::Cavage, &self.rsa_id, rsa()),
        };
        signed_by(url, body, scheme, key_id, key)
    }
}

/// Fetches from a node, the request signed by some key.
pub fn fetch_signed(
    node: &Node,
    path: &str,
    accept: &str,
    scheme: Scheme,
    (key_id, key): (&str, &SecretKey),
) -> Answer {
    let headers =
        headers_signed(&Method::GET, &format!("{}{path}", node.base), None, scheme, key_id, key);
    let mut list = vec![("accept", accept)];
    for (name, value) in headers.iter().filter(|(name, _)| *name != header::HOST) {
        list.push((name.as_str(), value.to_str().expect("text")));
    }
    node.client().send("GET", path, &list, None)
}

/// The headers of a request that some key signed.
pub fn signed_by(
    url: &str,
    body: &[u8],
    scheme: Scheme,
    key_id: &str,
    key: &SecretKey,
) -> HeaderMap {
    headers_signed(&Method::POST, url, Some(body), scheme, key_id, key)
}

fn headers_signed(
    method: &Method,
    url: &str,
    body: Option<&[u8]>,
    scheme: Scheme,
    key_id: &str,
    key: &SecretKey,
) -> HeaderMap {
    let uri: Uri = url.parse().expect("a URL");
    let mut headers = HeaderMap::new();
    let authority = uri.authority().expect("a host").as_str();
    headers.insert(header::HOST, authority.parse().expect("a host"));
    let nonce = format!("{:032x}", unique());
    let request = RequestToSign { method, uri: &uri, body, now: Timestamp::now(), nonce: &nonce };
    let signer = Signer { key_id, key };
    signature::sign(scheme, &request, &signer, &mut headers, &OsRandom).expect("a signature");
    headers
}

/// Posts a delivery with these headers, byte for byte.
pub fn send(client: &Client, path: &str, headers: &HeaderMap, body: Vec<u8>) -> Answer {
    let mut list = vec![("content-type", ACTIVITY_JSON)];
    for (name, value) in headers {
        if name != header::HOST {
            list.push((name.as_str(), value.to_str().expect("text")));
        }
    }
    client.send("POST", path, &list, Some(body))
}

pub fn unique() -> u128 {
    let random: &dyn fedsx_kernel::runtime::Random = &OsRandom;
    u128::from_be_bytes(random.bytes())
}
