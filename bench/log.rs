//! Fills a log with signed activities of many actors and measures it.
//!
//! `log DIR [ACTIVITIES] [ACTORS]`; see `scripts/bench_log.sh`, which also measures start-up,
//! memory and verification of the directory that this leaves behind.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use fedsx::node::verified_genesis;
use fedsx_genesis::GenesisRules;
use fedsx_genesis::records::GENESIS_ACTIVATED;
use fedsx_kernel::keys::{Purpose, SecretKey};
use fedsx_kernel::log::{Append, Log, LogOptions, Meta, Pending, Place, SledStorage, Storage};
use fedsx_kernel::pipeline::contexts;
use fedsx_kernel::proof::{self, SignOptions};
use fedsx_kernel::rules::{Direction, Rules};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::{Activity, ActorName, Base, KernelOptions};
use fedsx_projections::{Context, builtin, rebuild_digest};
use serde_json::{Map, Value, json};

/// Appends that wait for their commit at once.
const IN_FLIGHT: usize = 1024;

struct Author {
    name: ActorName,
    id: String,
    key: SecretKey,
    key_id: String,
    seq: u64,
}

struct Bench {
    log: Log,
    rules: Arc<GenesisRules>,
    runtime: Runtime,
    base: Base,
    payload_bytes: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let directory: PathBuf = args.next().context("log DIR [ACTIVITIES] [ACTORS]")?.into();
    let activities: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let actors: usize = args.next().map_or(Ok(1_000), |text| text.parse())?;
    let base: Base = "http://localhost:9900".parse()?;
    fedsx::data::prepare(&directory)?;
    fedsx::data::settle_base(&directory, &base)?;
    let runtime = Runtime::system();
    let storage: Arc<dyn Storage> = Arc::new(SledStorage::open(&directory)?);
    let options = KernelOptions::new(base.clone());
    let rules = Arc::new(GenesisRules::new(base.clone(), options.instance.clone()));
    let log_options =
        LogOptions { head_directory: Some(directory.clone()), ..LogOptions::default() };
    let log = Log::open(storage.clone(), rules.clone(), runtime.clone(), &log_options)?;
    activate(&log, &options, &runtime).await?;
    let mut bench = Bench { log, rules, runtime, base, payload_bytes: 0 };

    let mut authors = Vec::new();
    for number in 0..actors {
        authors.push(bench.create(number).await?);
    }
    let mut waiting: Vec<Pending> = Vec::new();
    let (mut from, mut start) = (0, Instant::now());
    let mut first_rate = 0.0;
    for number in 0..activities {
        let count = authors.len().max(1);
        let index = usize::try_from(number)? % count;
        let author = authors.get_mut(index).context("no author")?;
        waiting.push(bench.note(author, number)?);
        if waiting.len() >= IN_FLIGHT {
            for pending in waiting.drain(..) {
                pending.committed().await?;
            }
        }
        let done = number + 1;
        if done == 10_000 || done % 100_000 == 0 || done == activities {
            for pending in waiting.drain(..) {
                pending.committed().await?;
            }
            #[allow(clippy::cast_precision_loss)]
            let rate = (done - from) as f64 / start.elapsed().as_secs_f64();
            if done == 10_000 {
                first_rate = rate;
            }
            let ratio = if first_rate > 0.0 { rate / first_rate } else { 1.0 };
            println!("append up_to={done} per_second={rate:.0} of_first={ratio:.2}");
            (from, start) = (done, Instant::now());
        }
    }
    let head = bench.log.head();
    println!(
        "entries={head} commits={} payload_bytes={}",
        bench.log.commits(),
        bench.payload_bytes
    );
    let context = Context { base: bench.base.clone() };
    for fold in builtin() {
        let start = Instant::now();
        let digest = rebuild_digest(&bench.log, fold.as_ref(), &context)?;
        #[allow(clippy::cast_precision_loss)]
        let rate = digest.global_seq as f64 / start.elapsed().as_secs_f64();
        println!("rebuild {} per_second={rate:.0} entries={}", fold.name(), digest.entries);
    }
    bench.log.close().await;
    Ok(())
}

async fn activate(log: &Log, options: &KernelOptions, runtime: &Runtime) -> Result<()> {
    let verified = verified_genesis()?;
    let definitions: Map<String, Value> = verified
        .definitions
        .iter()
        .chain(&verified.runtime)
        .map(|entry| {
            let document = entry.definition.document();
            let value = json!({ "cid": entry.definition.cid().to_string(), "document": document });
            (entry.path.clone(), value)
        })
        .collect();
    let mut content = Map::new();
    content.insert("type".into(), GENESIS_ACTIVATED.into());
    content.insert("object".into(), json!({ "definitions": definitions }));
    fedsx_kernel::kernel::record(log, options, runtime, content, None).await?;
    Ok(())
}

impl Bench {
    async fn create(&mut self, number: usize) -> Result<Author> {
        let name: ActorName = format!("actor{number}").parse()?;
        let id = self.base.actor(&name);
        let key = SecretKey::generate_ed25519(self.runtime.random.as_ref());
        let multikey = key.public().to_multibase().context("a Multikey")?;
        let key_id = format!("{id}#{multikey}");
        let mut author = Author { name, id, key, key_id, seq: 0 };
        let object = json!({
            "id": author.id, "type": "Person", "preferredUsername": author.name.as_str(),
            "inbox": format!("{}/inbox", author.id), "outbox": format!("{}/outbox", author.id),
            "followers": format!("{}/followers", author.id),
            "assertionMethod": [{
                "id": author.key_id, "type": "Multikey", "controller": author.id,
                "publicKeyMultibase": multikey,
                "purposes": [Purpose::SignActivity, Purpose::HttpSignature],
            }],
        });
        self.publish(&mut author, "Create", object)?.committed().await?;
        Ok(author)
    }

    fn note(&mut self, author: &mut Author, number: u64) -> Result<Pending> {
        let object = json!({
            "id": format!("{}/objects/{number:032x}", self.base), "type": "Note",
            "attributedTo": author.id,
            "content": format!("Activity number {number}, about as long as a short remark is."),
        });
        self.publish(author, "Create", object)
    }

    fn publish(&mut self, author: &mut Author, kind: &str, object: Value) -> Result<Pending> {
        let now = self.runtime.clock.now();
        let content = json!({
            "@context": contexts(), "type": kind, "actor": author.id,
            "published": fedsx_kernel::pipeline::seconds(now),
            "epoch": 0, "seq": author.seq, "salt": format!("{:032x}", author.seq),
            "to": ["https://www.w3.org/ns/activitystreams#Public"],
            "cc": [format!("{}/followers", author.id)], "object": object,
        });
        let Value::Object(content) = content else { anyhow::bail!("not an object") };
        let activity = Activity::seal(content)?;
        let options = SignOptions { verification_method: &author.key_id, created: now };
        let random = self.runtime.random.as_ref();
        let proof = proof::sign(activity.document(), &author.key, &options, random)?;
        let activity = Arc::new(activity.with_proof(proof));
        self.payload_bytes += serde_json::to_string(&activity.to_value())?.len() as u64;
        let judgement = self.rules.judge(self.log.state(), &activity, Direction::Outbound)?;
        let (rules, judged, earlier) = (self.rules.clone(), activity.clone(), judgement.clone());
        let pending = self.log.enqueue(Append {
            activity,
            place: Place::Outbox(author.name.clone(), author.seq),
            meta: Meta {
                received_ms: now.as_millisecond(),
                judged_by: judgement.judged_by,
                ..Meta::default()
            },
            once: None,
            guard: Some(Box::new(move |state| {
                rules.confirm(state, &judged, Direction::Outbound, &earlier)
            })),
        })?;
        author.seq += 1;
        Ok(pending)
    }
}
