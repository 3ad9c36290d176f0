//! A node over memory, virtual time and a network of in-memory servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedsx_genesis::GenesisRules;
use fedsx_kernel::kernel::{KernelOptions, Parts as KernelParts};
use fedsx_kernel::keys::{
    Key, KeyHistory, KeyRing, MasterKey, Material, Purpose, SecretKey, Vault,
};
use fedsx_kernel::log::{
    Append, Log, LogOptions, MemoryStorage, Meta, Place, Record, Storage, Stream,
};
use fedsx_kernel::order::Order;
use fedsx_kernel::proof::Suites;
use fedsx_kernel::rules::{Direction, Hosted, Judgement, KeyWish, Prepared, Preparing, Rules};
use fedsx_kernel::runtime::{InlineBlocking, ManualClock, Runtime, SeededRandom};
use fedsx_kernel::state::{State, StateError, StateView};
use fedsx_kernel::supervision::Supervisor;
use fedsx_kernel::trace::Traces;
use fedsx_kernel::{Activity, ActorName, Base, Cid, Kernel, Problem, Refusal};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};

use crate::client::{BoxedStream, Client, ClientOptions, Dial};
use crate::discovery::{Discovery, DiscoveryOptions, DiscoveryParts};
use crate::service::{Delivery, Options, Parts};
use crate::standings::Standings;

pub(crate) const BASE: &str = "http://here.example";
pub(crate) const ALICE: &str = "http://here.example/actors/alice";
const START_MS: i64 = 1_790_000_000_000;

/// A request that a server saw.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    /// Virtual milliseconds since the network began.
    pub at_ms: u64,
    pub host: String,
    pub method: String,
    /// Path and query.
    pub path: String,
    pub body: String,
    pub headers: hyper::HeaderMap,
}

impl Hit {
    pub fn object(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["object"]["id"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a server answers.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    pub delay: Duration,
}

pub(crate) fn status(status: u16) -> Answer {
    Answer { status, headers: Vec::new(), body: String::new(), delay: Duration::ZERO }
}

pub(crate) fn document(value: &Value) -> Answer {
    let kind = ("content-type", "application/activity+json".to_owned());
    Answer { headers: vec![kind], body: value.to_string(), ..status(200) }
}

type Handler = Arc<dyn Fn(&Hit) -> Answer + Send + Sync>;

/// Servers by host name. Those that are not set take everything with 202.
pub(crate) struct Net {
    began: tokio::time::Instant,
    handlers: Mutex<HashMap<String, Handler>>,
    down: Mutex<HashSet<String>>,
    hits: Mutex<Vec<Hit>>,
}

impl Net {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: tokio::time::Instant::now(),
            handlers: Mutex::default(),
            down: Mutex::default(),
            hits: Mutex::default(),
        })
    }

    pub fn serve(&self, host: &str, handler: impl Fn(&Hit) -> Answer + Send + Sync + 'static) {
        self.handlers.lock().unwrap().insert(host.to_owned(), Arc::new(handler));
    }

    pub fn set_down(&self, host: &str, down: bool) {
        let mut hosts = self.down.lock().unwrap();
        if down {
            hosts.insert(host.to_owned())
        } else {
            hosts.remove(host)
        };
    }

    pub fn hits(&self) -> Vec<Hit> {
        self.hits.lock().unwrap().clone()
    }

    pub fn posts(&self, host: &str) -> Vec<Hit> {
        let posts = |hit: &Hit| hit.method == "POST" && hit.host == host;
        self.hits().into_iter().filter(posts).collect()
    }

    async fn answer(
        &self,
        host: &str,
        request: hyper::Request<Incoming>,
    ) -> hyper::Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let hit = Hit {
            at_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap(),
            host: host.to_owned(),
            method: head.method.to_string(),
            path: head.uri.path_and_query().unwrap().to_string(),
            body: String::from_utf8(body.to_vec()).unwrap(),
            headers: head.headers,
        };
        self.hits.lock().unwrap().push(hit.clone());
        let handler = self.handlers.lock().unwrap().get(host).cloned();
        let answer = match handler {
            Some(handler) if hit.method == "POST" || !hit.path.starts_with("/u/") => handler(&hit),
            _ if hit.path.starts_with("/u/") && hit.method == "GET" => {
                document(&actor_at(host, hit.path.trim_start_matches("/u/")))
            }
            _ => status(202),
        };
        tokio::time::sleep(answer.delay).await;
        let mut response = hyper::Response::builder().status(answer.status);
        for (name, value) in answer.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(answer.body.into())).unwrap()
    }
}

/// The document of an actor elsewhere; names that start with `lone` have no shared inbox.
pub(crate) fn actor_at(host: &str, name: &str) -> Value {
    let id = format!("http://{host}/u/{name}");
    let mut actor = json!({
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": id,
        "type": "Person",
        "inbox": format!("{id}/inbox"),
        "outbox": format!("http://{host}/outbox"),
    });
    if !name.starts_with("lone") {
        actor["endpoints"] = json!({"sharedInbox": format!("http://{host}/inbox")});
    }
    actor
}

struct NetDial(Arc<Net>);

impl Dial for NetDial {
    fn dial<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, io::Result<BoxedStream>> {
        Box::pin(async move {
            if self.0.down.lock().unwrap().contains(host) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let (net, host) = (self.0.clone(), host.to_owned());
            let service = service_fn(move |request| {
                let (net, host) = (net.clone(), host.clone());
                async move { Ok::<_, io::Error>(net.answer(&host, request).await) }
            });
            tokio::spawn(async move {
                // The client may drop the connection at any time.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(theirs), service)
                    .await;
            });
            Ok(Box::new(ours) as BoxedStream)
        })
    }
}

/// Takes everything; every local actor has one Ed25519 key.
pub(crate) struct OpenRules {
    base: Base,
    genesis: GenesisRules,
    key: SecretKey,
}

impl Rules for OpenRules {
    fn keys_wanted(
        &self,
        _: &dyn StateView,
        _: &str,
        _: &Map<String, Value>,
    ) -> Result<Vec<KeyWish>, Refusal> {
        Ok(Vec::new())
    }

    fn prepare(&self, _: &Preparing<'_>, _: Map<String, Value>) -> Result<Prepared, Refusal> {
        Err(Refusal::new(Problem::Internal, "nothing is published in these tests"))
    }

    fn judge(&self, _: &dyn StateView, _: &Activity, _: Direction) -> Result<Judgement, Refusal> {
        Ok(Judgement::default())
    }

    fn confirm(
        &self,
        _: &dyn StateView,
        _: &Activity,
        _: Direction,
        _: &Judgement,
    ) -> Result<Judgement, Refusal> {
        Ok(Judgement::default())
    }

    fn fold(&self, state: &mut dyn State, record: &Record) -> Result<(), StateError> {
        self.genesis.fold(state, record)
    }

    fn recipients(
        &self,
        _: &dyn StateView,
        _: &Activity,
        _: &[String],
    ) -> Result<Vec<ActorName>, StateError> {
        Ok(Vec::new())
    }

    fn keys(&self, state: &dyn StateView, actor: &str) -> Result<Option<KeyHistory>, StateError> {
        if !self.base.is_local(actor) {
            return self.genesis.keys(state, actor);
        }
        let mut history = KeyHistory::default();
        let material =
            Material::Multikey { public_key_multibase: self.key.public().to_multibase().unwrap() };
        let key = Key {
            id: format!("{actor}#key"),
            controller: actor.to_owned(),
            material,
            purposes: vec![Purpose::HttpSignature],
            created: None,
            valid_from: Order::default(),
            revoked: None,
            valid_until: None,
            end_is_assumed: false,
        };
        history.introduce(key).unwrap();
        Ok(Some(history))
    }

    fn hosted(&self, _: &dyn StateView, _: &ActorName) -> Result<Hosted, StateError> {
        Ok(Hosted::Active)
    }

    fn sender(&self, _: &dyn StateView, _: &str, _: Option<&str>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ignorable(&self, _: &dyn StateView, _: &Activity) -> Result<bool, StateError> {
        Ok(false)
    }

    fn subjects<'a>(&self, activity: &'a Activity) -> Vec<&'a str> {
        std::iter::once(activity.id()).chain(activity.object_id()).collect()
    }
}

pub(crate) struct Node {
    pub kernel: Kernel,
    pub delivery: Delivery,
    pub discovery: Discovery,
    pub client: Client,
    pub storage: Arc<dyn Storage>,
    pub net: Arc<Net>,
    pub clock: Arc<ManualClock>,
}

impl Node {
    /// A node over empty storage.
    pub async fn new() -> Self {
        Self::over(Arc::new(MemoryStorage::default()), Net::new(), Options::default()).await
    }

    pub async fn over(storage: Arc<dyn Storage>, net: Arc<Net>, options: Options) -> Self {
        let elapsed = i64::try_from(net.began.elapsed().as_millis()).unwrap();
        let clock = Arc::new(ManualClock::new(START_MS + elapsed));
        let runtime = Runtime {
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(1)),
            blocking: Arc::new(InlineBlocking),
            traces: Traces::off(),
        };
        let kernel_options = KernelOptions::new(BASE.parse().unwrap());
        let key = SecretKey::generate_ed25519(&SeededRandom::new(5));
        let vault = Vault::new(MasterKey::generate(&SeededRandom::new(3)));
        let ring = KeyRing::new(vault, storage.ledgers());
        for name in ["alice", "dave", "instance"] {
            ring.keep(&format!("{BASE}/actors/{name}#key"), &key, &*runtime.random).unwrap();
        }
        let genesis =
            GenesisRules::new(kernel_options.base.clone(), kernel_options.instance.clone());
        let rules: Arc<dyn Rules> =
            Arc::new(OpenRules { base: kernel_options.base.clone(), genesis, key });
        let log =
            Log::open(storage.clone(), rules.clone(), runtime.clone(), &LogOptions::default())
                .unwrap();
        let client_options = ClientOptions { allow_http: true, ..ClientOptions::default() };
        let dial = Arc::new(NetDial(net.clone()));
        let client = Client::new(client_options, dial, runtime.clock.clone());
        let parts = DiscoveryParts {
            client: client.clone(),
            log: log.clone(),
            kernel_options: kernel_options.clone(),
            runtime: runtime.clone(),
            rules: rules.clone(),
            ring: ring.clone(),
        };
        let discovery = Discovery::new(parts, DiscoveryOptions::default());
        let supervisor = Supervisor::start(runtime.clock.clone()).await.unwrap();
        let standings = Standings::new(kernel_options.base.clone(), log.clone());
        let kernel = Kernel::new(KernelParts {
            options: kernel_options,
            log,
            rules,
            runtime,
            ring,
            suites: Suites::standard(),
            keys: Arc::new(discovery.clone()),
            supervisor: supervisor.clone(),
        });
        let parts = Parts {
            kernel: kernel.clone(),
            ledgers: storage.ledgers(),
            discovery: discovery.clone(),
            client: client.clone(),
            standings,
            supervisor,
        };
        let delivery = Delivery::open(parts, options).await.unwrap();
        Self { kernel, delivery, discovery, client, storage, net, clock }
    }

    /// A node that starts over what this one stored, after this one was shut down.
    pub async fn restart(self, options: Options) -> Self {
        self.delivery.quiesce(Duration::from_secs(30)).await;
        self.kernel.log().close().await;
        Self::over(self.storage.clone(), self.net.clone(), options).await
    }

    /// Alice says something about an object.
    pub async fn says(&self, kind: &str, object: &str, to: &[&str]) -> Cid {
        let object = json!({"id": format!("{BASE}/objects/{object}")});
        self.appends(json!({"type": kind, "actor": ALICE, "to": to, "object": object})).await
    }

    /// Appends to Alice's outbox.
    pub async fn appends(&self, mut content: Value) -> Cid {
        let alice: ActorName = "alice".parse().unwrap();
        let store = self.kernel.log().store();
        let seq = store.stream_len(&Stream::Outbox(alice.clone())).unwrap();
        content["seq"] = seq.into();
        let Value::Object(content) = content else { panic!("an object") };
        let activity = Arc::new(Activity::seal(content).unwrap());
        let received_ms = self.kernel.runtime().clock.now_ms();
        let append = Append {
            activity,
            place: Place::Outbox(alice, seq),
            meta: Meta { received_ms, ..Meta::default() },
            once: None,
            guard: None,
        };
        self.kernel.log().append(append).await.unwrap().cid
    }

    /// Appends to Alice's inbox.
    pub async fn receives(&self, content: Value) -> Cid {
        let activity = Arc::new(Activity::from_document(content).unwrap());
        let append = Append {
            activity,
            place: Place::Inboxes(vec!["alice".parse().unwrap()]),
            meta: Meta::default(),
            once: None,
            guard: None,
        };
        self.kernel.log().append(append).await.unwrap().cid
    }
}
