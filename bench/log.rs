//! Fills a log with signed activities of many actors and measures it.
//!
//! `log DIR [ACTIVITIES] [ACTORS]`; see `scripts/bench_log.sh`, which also measures start-up,
//! memory and verification of the directory that this leaves behind.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use fedsx_projections::digest::rebuild;
use fedsx_projections::{Context, Projections, builtin};
use serde_json::{Map, Value, json};

/// That of the program.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Appends that wait for their commit at once.
const IN_FLIGHT: usize = 1024;
/// After so many it is told what they cost, too. What the first ones cost is no measure for a log of their
/// length, since some of what they wrote is in memory yet: others are compared with the next ones.
const TOLD_AT: [u64; 2] = [10_000, 20_000];
/// Records read at once.
const PAGE: usize = 512;
/// Projections that are rebuilt one by one, too.
const ALONE: [&str; 3] = ["objects", "feed", "actor-state"];
/// Records that are folded in memory.
const IN_MEMORY: usize = 20_000;

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

/// Times a part, by the clock and by the processor: on a machine that others use, too, the second
/// tells more.
struct Timer {
    wall: Instant,
    cpu: f64,
}

impl Timer {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    /// Per second of the clock, and microseconds of processor for each.
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    fn rates(&self, count: u64) -> (f64, f64) {
        let count = count.max(1) as f64;
        (count / self.wall.elapsed().as_secs_f64(), (cpu_seconds() - self.cpu) * 1e6 / count)
    }
}

/// What this process and its threads used so far, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    // utime and stime, in hundredths of a second on Linux.
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Resident memory, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Bytes that the files below a directory take on the device.
fn disk_bytes(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() {
            disk_bytes(&entry.path())
        } else {
            std::os::unix::fs::MetadataExt::blocks(&metadata) * 512
        };
    }
    bytes
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
    let storage: Arc<dyn Storage> = Arc::new(SledStorage::open(&directory)?);
    let mut bench = Bench::open(&directory, &storage, &base).await?;
    bench.fill(&directory, activities, actors).await?;
    bench.in_memory()?;
    bench.stored(&directory, &storage).await?;
    bench.log.close().await;
    println!(
        "disk store_bytes={} projections_bytes={} payload_bytes={}",
        disk_bytes(&directory.join("store")),
        disk_bytes(&directory.join("projections")),
        bench.payload_bytes
    );
    Ok(())
}

impl Bench {
    async fn open(directory: &Path, storage: &Arc<dyn Storage>, base: &Base) -> Result<Self> {
        let runtime = Runtime::system();
        let options = KernelOptions::new(base.clone());
        let rules = Arc::new(GenesisRules::new(base.clone(), options.instance.clone()));
        let log_options =
            LogOptions { head_directory: Some(directory.to_owned()), ..LogOptions::default() };
        let log = Log::open(storage.clone(), rules.clone(), runtime.clone(), &log_options)?;
        activate(&log, &options, &runtime).await?;
        Ok(Self { log, rules, runtime, base: base.clone(), payload_bytes: 0 })
    }

    /// Appends everything, and tells the rate of each part.
    async fn fill(&mut self, directory: &Path, activities: u64, actors: usize) -> Result<()> {
        let (mut authors, mut waiting): (_, Vec<Pending>) = (Vec::new(), Vec::new());
        for number in 0..actors {
            let (author, pending) = self.create(number)?;
            authors.push(author);
            waiting.push(pending);
            if waiting.len() >= IN_FLIGHT || number + 1 == actors {
                for pending in waiting.drain(..) {
                    pending.committed().await?;
                }
            }
        }
        let (mut from, mut timer, mut first) = (0, Timer::start(), None);
        for number in 0..activities {
            let index = usize::try_from(number)? % authors.len().max(1);
            let author = authors.get_mut(index).context("no author")?;
            waiting.push(self.note(author, number)?);
            let done = number + 1;
            let told = TOLD_AT.contains(&done) || done % 100_000 == 0 || done == activities;
            if waiting.len() >= IN_FLIGHT || told {
                for pending in waiting.drain(..) {
                    pending.committed().await?;
                }
            }
            if told {
                let (rate, cpu) = timer.rates(done - from);
                if from > 0 {
                    first.get_or_insert((rate, cpu));
                }
                let (first_rate, first_cpu) = first.unwrap_or((rate, cpu));
                let disk = disk_bytes(&directory.join("store"));
                println!(
                    "append up_to={done} per_second={rate:.0} of_first={:.2} cpu_us={cpu:.0} \
                     cpu_of_first={:.2} disk_bytes={disk} of_payload={:.2} resident_mib={}",
                    rate / first_rate,
                    cpu / first_cpu,
                    ratio(disk, self.payload_bytes),
                    resident_mib()
                );
                (from, timer) = (done, Timer::start());
            }
        }
        println!(
            "entries={} commits={} payload_bytes={}",
            self.log.head(),
            self.log.commits(),
            self.payload_bytes
        );
        Ok(())
    }

    /// Reads everything, and folds each projection in memory over a part of the log.
    fn in_memory(&self) -> Result<()> {
        let timer = Timer::start();
        let mut after = 0;
        while let Some(last) = self.log.sweep(after, PAGE)?.last() {
            after = last.entry.global_seq;
        }
        let (rate, cpu) = timer.rates(after);
        println!("read per_second={rate:.0} cpu_us={cpu:.1}");
        let records = self.log.sweep(0, IN_MEMORY)?;
        let context = Context { base: self.base.clone() };
        for fold in builtin() {
            let timer = Timer::start();
            let digest = rebuild(fold.as_ref(), &context, |after| {
                let from = usize::try_from(after).unwrap_or(usize::MAX);
                let page = records.iter().skip(from).take(PAGE);
                Ok(page.cloned().collect())
            })?;
            let (rate, cpu) = timer.rates(digest.global_seq);
            println!(
                "fold {} per_second={rate:.0} cpu_us={cpu:.1} rows={}",
                fold.name(),
                digest.entries
            );
        }
        Ok(())
    }

    /// Folds the log into all stored projections at once, from nothing, as a start does.
    async fn stored(&self, directory: &Path, storage: &Arc<dyn Storage>) -> Result<()> {
        let (head, timer) = (self.log.head(), Timer::start());
        let projections = Projections::open(
            storage.projections(),
            self.log.clone(),
            self.runtime.clone(),
            Context { base: self.base.clone() },
            builtin(),
        )
        .await?;
        while !projections.caught_up() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (rate, cpu) = timer.rates(head);
        println!(
            "rebuild all={} per_second={rate:.0} cpu_us={cpu:.1} of_payload={:.2} resident_mib={}",
            builtin().len(),
            ratio(disk_bytes(&directory.join("projections")), self.payload_bytes),
            resident_mib()
        );
        for name in ALONE {
            let timer = Timer::start();
            projections.rebuild(name).await?;
            while projections.rebuilt(name)?.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let (rate, cpu) = timer.rates(head);
            println!("rebuild {name} per_second={rate:.0} cpu_us={cpu:.1}");
        }
        projections.shutdown().await;
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "two figures are shown of it")]
fn ratio(bytes: u64, of: u64) -> f64 {
    bytes as f64 / of.max(1) as f64
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
    fn create(&mut self, number: usize) -> Result<(Author, Pending)> {
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
        let pending = self.publish(&mut author, "Create", object)?;
        Ok((author, pending))
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
