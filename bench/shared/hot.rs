//! What an instance does for every activity, each path with an input of its own: measured by
//! the clock in `micro`, counted in instructions in `counts`. Nothing here is left to chance: keys, salts and
//! times are the same in every run.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use axum::http::{HeaderMap, Method};
use fedsx_delivery::signature::{self, Received};
use fedsx_genesis::records::ACTOR_FETCHED;
use fedsx_genesis::{GenesisRules, boot};
use fedsx_kernel::activity::Body;
use fedsx_kernel::canonical::{self, Without};
use fedsx_kernel::kernel::{KeySource, Parts, Publish};
use fedsx_kernel::keys::{
    Algorithm, KeyError, KeyMaker, KeyRing, MasterKey, PublicKey, SecretKey, Vault,
};
use fedsx_kernel::log::{Log, LogOptions, MemoryStorage, Record, Storage};
use fedsx_kernel::pipeline::inbound::{self, Delivery, Receivers, Transport};
use fedsx_kernel::proof::{self, SignOptions, Suites};
use fedsx_kernel::rules::Rules;
use fedsx_kernel::runtime::{InlineBlocking, ManualClock, Random, Runtime, SeededRandom};
use fedsx_kernel::supervision::Supervisor;
use fedsx_kernel::trace::Traces;
use fedsx_kernel::{Activity, Base, Cid, Kernel, KernelOptions, Problem, Refusal, json};
use fedsx_projections::digest::rebuild;
use fedsx_projections::{Context, builtin};
use serde_json::{Map, Value, json};

use crate::author::{Author, PUBLIC};

const BASE: &str = "http://localhost:9900";
const ELSEWHERE: &str = "http://localhost:9901";
const URL: &str = "http://localhost:9900/actors/alice/inbox";
/// When everything happens, in milliseconds since 1970.
const NOW_MS: i64 = 1_790_000_000_000;
/// Deliveries that wait to be received.
const DELIVERIES: usize = 8;
/// Records that one run of the folds takes.
const RECORDS: u64 = 16;

/// A path: its name, and what runs it once.
pub type Path = (&'static str, fn(&mut Hot) -> Result<()>);

/// Paths that change nothing and may run as often as one likes.
pub const PURE: [Path; 13] = [
    ("body-parse", |hot| json::parse(&hot.body).map(drop).map_err(Into::into)),
    ("body-parse-and-identity", |hot| {
        Activity::from_document(json::parse(&hot.body)?).map(drop).map_err(Into::into)
    }),
    ("dag-cbor", |hot| {
        canonical::members_to_dag_cbor(Without::new(hot.activity.document(), &["proof", "id"]))
            .map(drop)
            .map_err(Into::into)
    }),
    ("cid", |hot| {
        if Cid::of_block(&hot.stored.block) == *hot.activity.cid() {
            Ok(())
        } else {
            bail!("another hash")
        }
    }),
    ("jcs", |hot| {
        canonical::members_to_jcs(Without::new(hot.activity.document(), &["proof"]))
            .map(drop)
            .map_err(Into::into)
    }),
    ("proof-make", |hot| {
        let options = SignOptions {
            verification_method: "http://localhost:9900/actors/alice#key",
            created: hot.around.clock.now(),
        };
        let (key, random) = (&hot.author.key, hot.around.random.as_ref());
        proof::sign(hot.activity.document(), key, &options, random).map(drop).map_err(Into::into)
    }),
    ("proof-verify", |hot| {
        hot.suites.verify(hot.activity.document(), &hot.ed25519).map_err(Into::into)
    }),
    ("rfc9421-sign", |hot| hot.author.rfc9421(URL, &hot.body).map(drop)),
    ("rfc9421-verify", |hot| hot.verify(&hot.rfc9421, &hot.ed25519)),
    ("cavage-verify", |hot| hot.verify(&hot.cavage, &hot.rsa)),
    ("stored-read", |hot| Activity::from_body(&hot.stored).map(drop).map_err(Into::into)),
    ("serve", |hot| serde_json::to_vec(hot.activity.document()).map(drop).map_err(Into::into)),
    ("fold-16-records", |hot| hot.fold()),
];

/// Paths of the whole kernel over a store in memory; each run takes an input of its own.
pub const WHOLE: [Path; 2] = [("receive", Hot::receive), ("publish", Hot::publish)];

/// The inputs.
pub struct Hot {
    around: Runtime,
    author: Author,
    body: Vec<u8>,
    activity: Activity,
    stored: Body,
    rfc9421: HeaderMap,
    cavage: HeaderMap,
    ed25519: PublicKey,
    rsa: PublicKey,
    suites: Suites,
    records: Vec<Record>,
    deliveries: VecDeque<Vec<u8>>,
    kernel: Kernel,
    runtime: tokio::runtime::Runtime,
}

impl Hot {
    /// Makes all of it, among it a kernel that knows the author of the deliveries.
    pub fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        let _guard = runtime.enter();
        let around = Runtime {
            clock: Arc::new(ManualClock::new(NOW_MS)),
            random: Arc::new(SeededRandom::new(7)),
            blocking: Arc::new(InlineBlocking),
            traces: Traces::off(),
        };
        let rsa = SecretKey::generate_rsa(&SeededRandom::new(7))?;
        let mut author = Author::new(&around, ELSEWHERE, "actors/author")?;
        let document = author.document(Some(&rsa))?;
        let kernel = runtime.block_on(kernel(&around, &rsa, document))?;
        let activity = author.note(&[PUBLIC])?;
        let body = activity.to_string().into_bytes();
        let activity = Activity::from_document(activity)?;
        let mut hot = Self {
            stored: activity.to_body()?,
            rfc9421: author.rfc9421(URL, &body)?,
            cavage: author.cavage(&rsa, URL, &body)?,
            ed25519: author.key.public(),
            rsa: rsa.public(),
            suites: Suites::standard(),
            records: Vec::new(),
            deliveries: VecDeque::new(),
            around,
            author,
            body,
            activity,
            kernel,
            runtime,
        };
        for _ in 0..DELIVERIES {
            let note = hot.author.note(&[PUBLIC])?;
            hot.deliveries.push_back(note.to_string().into_bytes());
        }
        let from = hot.kernel.log().head();
        for _ in 0..RECORDS {
            hot.publish()?;
        }
        hot.records = hot.kernel.log().sweep(from, usize::try_from(RECORDS)?)?;
        Ok(hot)
    }

    fn verify(&self, headers: &HeaderMap, key: &PublicKey) -> Result<()> {
        let received =
            Received { method: &Method::POST, target_uri: URL, headers, body: &self.body };
        let claim = signature::claim(&received, self.around.clock.now())?;
        Ok(claim.context("no signature")?.verify(key)?)
    }

    fn fold(&self) -> Result<()> {
        let context = Context { base: BASE.parse()? };
        for fold in builtin() {
            rebuild(fold.as_ref(), &context, |after| {
                let later = |record: &&Record| record.entry.global_seq > after;
                Ok(self.records.iter().filter(later).cloned().collect())
            })?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let delivery = Delivery {
            body: self.deliveries.pop_front().context("no more deliveries")?,
            receivers: Receivers::Actor("alice".parse()?),
            transport: Transport::Bare,
            backfilled: false,
            trace: None,
        };
        match self.runtime.block_on(self.kernel.receive(delivery))? {
            inbound::Received::Accepted { .. } => Ok(()),
            other => bail!("{other:?}"),
        }
    }

    fn publish(&mut self) -> Result<()> {
        let content = "as long as such remarks are, ".repeat(10);
        let note = json!({ "type": "Note", "content": content, "to": [PUBLIC] });
        self.runtime.block_on(publish(&self.kernel, "alice", note))
    }
}

async fn publish(kernel: &Kernel, actor: &str, request: Value) -> Result<()> {
    let Value::Object(request) = request else { bail!("not an object") };
    let actor = actor.parse()?;
    kernel.publish(Publish { actor, request, once: None, cause: None, defines: false }).await?;
    Ok(())
}

/// A kernel over a store in memory, with genesis in force, an actor, and one elsewhere that it knows.
async fn kernel(
    around: &Runtime,
    rsa: &SecretKey,
    elsewhere: Map<String, Value>,
) -> Result<Kernel> {
    let base: Base = BASE.parse()?;
    let options = KernelOptions::new(base.clone());
    let rules: Arc<dyn Rules> = Arc::new(GenesisRules::new(base, options.instance.clone()));
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let log_options = LogOptions::default();
    let log = Log::open(storage.clone(), rules.clone(), around.clone(), &log_options)?;
    let vault = Vault::new(MasterKey::generate(around.random.as_ref()));
    let maker = Arc::new(ReadyKeys(SecretKey::from_secret_bytes(
        Algorithm::RsaV15Sha256,
        &rsa.to_secret_bytes(),
    )?));
    let kernel = Kernel::new(Parts {
        options,
        log,
        rules,
        runtime: around.clone(),
        ring: KeyRing::new(vault, storage.ledgers()).with_maker(maker),
        suites: Suites::standard(),
        keys: Arc::new(Nowhere),
        supervisor: Supervisor::start(around.clock.clone()).await?,
    });
    boot::boot(&kernel, &fedsx::node::verified_genesis()?).await?;
    let person = json!({ "type": "Create", "object": { "type": "Person", "name": "Alice" } });
    publish(&kernel, "alice", person).await?;
    let mut content = Map::new();
    content.insert("type".into(), ACTOR_FETCHED.into());
    content.insert("object".into(), Value::Object(elsewhere));
    kernel.record(content, None).await?;
    Ok(kernel)
}

/// Making an RSA key takes long; one is enough.
struct ReadyKeys(SecretKey);

impl KeyMaker for ReadyKeys {
    fn make(&self, algorithm: Algorithm, random: &dyn Random) -> Result<SecretKey, KeyError> {
        match algorithm {
            Algorithm::Ed25519 => Ok(SecretKey::generate_ed25519(random)),
            algorithm => SecretKey::from_secret_bytes(algorithm, &self.0.to_secret_bytes()),
        }
    }
}

/// Nobody else can be asked.
struct Nowhere;

#[async_trait]
impl KeySource for Nowhere {
    async fn refresh(&self, actor: &str) -> Result<(), Refusal> {
        Err(Refusal::new(Problem::UnknownActor, format!("{actor} cannot be asked")))
    }
}
