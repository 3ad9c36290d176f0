//! Sends what one actor says to many instances, and measures that.
//!
//! `fanout FEDSX [SINKS] [NOTES]`: starts the program `FEDSX` and so many sinks, each of which is an
//! instance with one follower; says so many things to the followers, once with sinks that take
//! draft-cavage with RSA and once with sinks that announce RFC 9421 and a Multikey. In the same run it measures
//! how many signatures this machine makes. See `scripts/bench_fanout.sh`.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::IntoResponse as _;
use fedsx_kernel::Activity;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::proof::{self, SignOptions};
use fedsx_kernel::runtime::{OsRandom, Random};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const SECRET: &str = "alice-secret-0123456789";
/// How long one part may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long signing is measured for.
const SIGNING: Duration = Duration::from_secs(1);

/// How the sinks want requests signed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taking {
    Rsa,
    Ed25519,
}

/// What the sinks counted.
#[derive(Default)]
struct Counts {
    posts: AtomicU64,
    rfc9421: AtomicU64,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("usage: fanout FEDSX [SINKS] [NOTES]")?;
    let sinks: usize = args.next().map_or(Ok(100), |n| n.parse())?;
    let notes: u64 = args.next().map_or(Ok(20), |n| n.parse())?;
    let ed25519 = SecretKey::generate_ed25519(&OsRandom);
    let rsa = SecretKey::generate_rsa(&OsRandom)?;
    println!("sign ed25519 per_s={:.0}", signatures(&ed25519)?);
    println!("sign rsa-2048 per_s={:.0}", signatures(&rsa)?);
    for taking in [Taking::Rsa, Taking::Ed25519] {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        measure(&program, taking, sinks, notes, &runtime)?;
    }
    Ok(())
}

/// Signatures in a second by one thread, over what a request has to sign.
fn signatures(key: &SecretKey) -> Result<f64> {
    let message = [b'x'; 400];
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < SIGNING {
        key.sign(&message, &OsRandom)?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

fn measure(
    program: &str,
    taking: Taking,
    sinks: usize,
    notes: u64,
    runtime: &tokio::runtime::Runtime,
) -> Result<()> {
    let counts = Arc::new(Counts::default());
    let directory = tempfile::tempdir()?;
    let node = Node::start(program, directory.path())?;
    let person = json!({ "type": "Create", "object": { "type": "Person", "name": "Alice" } });
    node.publish(&person)?;
    for _ in 0..sinks {
        let sink = Sink::start(taking, counts.clone(), runtime)?;
        node.post("/actors/alice/inbox", &sink.follow(&node.base)?.to_string())?;
    }
    // Each is sent the Accept.
    wait("the answers to the Follows", || counts.posts.load(Ordering::SeqCst) >= sinks as u64)?;
    let before = counts.posts.load(Ordering::SeqCst);
    let wanted = before + notes * sinks as u64;
    let (began, cpu) = (Instant::now(), node.cpu_s()?);
    for n in 0..notes {
        let note = json!({ "type": "Note", "content": format!("note {n}, {}", "x".repeat(300)) });
        node.publish(&json!({ "type": "Create", "object": note }))?;
    }
    wait("the sends", || counts.posts.load(Ordering::SeqCst) >= wanted)?;
    let (elapsed_s, cpu_s) = (began.elapsed().as_secs_f64(), node.cpu_s()? - cpu);
    let sends = counts.posts.load(Ordering::SeqCst) - before;
    let name = match taking {
        Taking::Rsa => "cavage-rsa",
        Taking::Ed25519 => "rfc9421-ed25519",
    };
    let right = counts.rfc9421.load(Ordering::SeqCst) > 0;
    if right != (taking == Taking::Ed25519) {
        bail!("{name}: the requests were signed another way");
    }
    #[allow(clippy::cast_precision_loss)]
    let count = sends as f64;
    println!(
        "fanout {name} sinks={sinks} notes={notes} sends={sends} elapsed_s={elapsed_s:.2} \
         sends_per_s={:.0} server_cpu_s={cpu_s:.2} cpu_ms_per_send={:.3}",
        count / elapsed_s,
        1000.0 * cpu_s / count
    );
    Ok(())
}

fn wait(what: &str, mut is_done: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_done() {
        if began.elapsed() > PATIENCE {
            bail!("{what}: not within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The program under measurement.
struct Node {
    child: Child,
    base: String,
    agent: ureq::Agent,
}

impl Node {
    fn start(program: &str, data: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--allow-http", "--allow-private-network"])
            .args(["--requests-per-second", "0", "--peer-deliveries-per-second", "0"])
            .args(["--log", "error", "--token", &format!("alice={SECRET}"), "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().rsplit(':').next().unwrap_or_default();
        let agent = ureq::Agent::config_builder().proxy(None).build().into();
        Ok(Self { child, base: format!("http://localhost:{port}"), agent })
    }

    fn post(&self, path: &str, body: &str) -> Result<()> {
        self.agent
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/activity+json")
            .header("authorization", format!("Bearer {SECRET}"))
            .send(body)
            .with_context(|| format!("POST {path}"))?;
        Ok(())
    }

    fn publish(&self, request: &Value) -> Result<()> {
        self.post("/activity", &request.to_string())
    }

    /// The processor time that the program took, in seconds.
    fn cpu_s(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let rest = stat.rsplit_once(')').context("/proc has another form")?.1;
        // Fields 14 and 15 of the line, in ticks of 10 ms.
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.collect::<Result<Vec<_>, _>>()?.iter().sum::<f64>() / 100.0)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An instance that counts what is posted to it.
struct Sink {
    actor: String,
    key_id: String,
    key: SecretKey,
}

impl Sink {
    fn start(
        taking: Taking,
        counts: Arc<Counts>,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Self> {
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
        let actor = format!("http://127.0.0.1:{}/actor", listener.local_addr()?.port());
        let key = SecretKey::generate_ed25519(&OsRandom);
        let multikey = key.public().to_multibase().context("a Multikey")?;
        let key_id = format!("{actor}#{multikey}");
        let mut document = json!({
            "@context": "https://www.w3.org/ns/activitystreams",
            "id": actor,
            "type": "Person",
            "inbox": format!("{actor}/inbox"),
            "assertionMethod": [{
                "id": key_id, "type": "Multikey", "controller": actor, "publicKeyMultibase": multikey,
            }],
        });
        if let (Taking::Ed25519, Value::Object(members)) = (taking, &mut document) {
            let rfc9421 = "https://datatracker.ietf.org/doc/html/rfc9421";
            members.insert("generator".into(), json!({ "implements": [{ "href": rfc9421 }] }));
        }
        let document = document.to_string();
        let answer = move |method: Method, headers: HeaderMap| {
            let (counts, document) = (counts.clone(), document.clone());
            async move {
                if method == Method::POST {
                    if headers.contains_key("signature-input") {
                        counts.rfc9421.fetch_add(1, Ordering::SeqCst);
                    }
                    counts.posts.fetch_add(1, Ordering::SeqCst);
                    return StatusCode::ACCEPTED.into_response();
                }
                ([(header::CONTENT_TYPE, "application/activity+json")], document).into_response()
            }
        };
        let app = axum::Router::new().fallback(answer);
        runtime.spawn(async move { axum::serve(listener, app).await });
        Ok(Self { actor, key_id, key })
    }

    /// A signed Follow of Alice.
    fn follow(&self, base: &str) -> Result<Value> {
        let alice = format!("{base}/actors/alice");
        let random: &dyn Random = &OsRandom;
        let salt = format!("{:032x}", u128::from_be_bytes(random.bytes()));
        let content: Map<String, Value> = [
            ("@context", json!("https://www.w3.org/ns/activitystreams")),
            ("type", json!("Follow")),
            ("actor", json!(self.actor)),
            ("object", json!(alice)),
            ("to", json!([alice])),
            ("published", json!(Timestamp::from_second(Timestamp::now().as_second())?.to_string())),
            ("epoch", json!(0)),
            ("seq", json!(1)),
            ("salt", json!(salt)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let activity = Activity::seal(content)?;
        let options = SignOptions { verification_method: &self.key_id, created: Timestamp::now() };
        let proof = proof::sign(activity.document(), &self.key, &options, &OsRandom)?;
        Ok(activity.with_proof(proof).to_value())
    }
}
