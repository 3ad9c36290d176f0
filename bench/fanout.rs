//! Sends what one actor says to many instances, and measures that.
//!
//! `fanout FEDSX [SINKS] [NOTES] [DELAY_MS]`: starts the program `FEDSX` and so many sinks, each of which is an
//! instance with one follower and answers after a while; says so many things to the followers, once with sinks that take
//! draft-cavage with RSA and once with sinks that announce RFC 9421 and a Multikey. With one sink every Note is changed
//! once, too, and the sink sees whether what concerns one object comes in order. In the same run it measures
//! how many signatures this machine makes. See `scripts/bench_fanout.sh`.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

#[allow(dead_code, reason = "other programs use the rest")]
#[path = "shared/mod.rs"]
mod shared;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::IntoResponse as _;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::runtime::{OsRandom, Runtime};
use serde_json::{Value, json};
use shared::author::Author;
use shared::node::Node;

const ACTOR: &str = "alice";
/// How long one part may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long signing is measured for.
const SIGNING: Duration = Duration::from_secs(1);
/// Threads that publish at once.
const PUBLISHERS: u64 = 8;

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
    /// The author's last position that came for each object.
    newest: Mutex<HashMap<String, u64>>,
    out_of_order: AtomicU64,
}

/// What is measured.
struct Plan {
    taking: Taking,
    sinks: usize,
    notes: u64,
    delay: Duration,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("usage: fanout FEDSX [SINKS] [NOTES] [DELAY_MS]")?;
    let sinks: usize = args.next().map_or(Ok(100), |n| n.parse())?;
    let notes: u64 = args.next().map_or(Ok(20), |n| n.parse())?;
    let delay = Duration::from_millis(args.next().map_or(Ok(0), |n| n.parse())?);
    let ed25519 = SecretKey::generate_ed25519(&OsRandom);
    let rsa = SecretKey::generate_rsa(&OsRandom)?;
    println!("sign ed25519 per_s={:.0}", signatures(&ed25519)?);
    println!("sign rsa-2048 per_s={:.0}", signatures(&rsa)?);
    for taking in [Taking::Rsa, Taking::Ed25519] {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        measure(Path::new(&program), &Plan { taking, sinks, notes, delay }, &runtime)?;
    }
    Ok(())
}

/// Signatures in a second of the processor by one thread, over what a request has to sign.
fn signatures(key: &SecretKey) -> Result<f64> {
    let message = [b'x'; 400];
    let (began, mut count) = (shared::node::thread_cpu()?, 0_u32);
    loop {
        key.sign(&message, &OsRandom)?;
        count += 1;
        let taken = shared::node::thread_cpu()?.saturating_sub(began);
        if taken >= SIGNING {
            return Ok(f64::from(count) / taken.as_secs_f64());
        }
    }
}

fn measure(program: &Path, plan: &Plan, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let counts = Arc::new(Counts::default());
    let directory = tempfile::tempdir()?;
    let node = Node::start(program, directory.path(), &[ACTOR.to_owned()], &[])?;
    let person = json!({ "type": "Create", "object": { "type": "Person", "name": "Alice" } });
    node.publish(ACTOR, &person)?;
    let alice = format!("{}/actors/{ACTOR}", node.base);
    for _ in 0..plan.sinks {
        let mut follower = sink(plan, counts.clone(), runtime)?;
        let follow = follower.say("Follow", json!(alice), &[&alice])?;
        node.post("/actors/alice/inbox", None, &follow.to_string())?;
    }
    // Each is sent the Accept.
    let answers = plan.sinks as u64;
    wait("the answers to the Follows", || counts.posts.load(Ordering::SeqCst) >= answers)?;
    node.rest()?;
    let before = counts.posts.load(Ordering::SeqCst);
    let said = if plan.sinks == 1 { 2 * plan.notes } else { plan.notes };
    let wanted = before + said * answers;
    let (began, cpu) = (Instant::now(), node.cpu()?);
    publish(&node, plan)?;
    let published = began.elapsed();
    wait("the sends", || counts.posts.load(Ordering::SeqCst) >= wanted)?;
    let (elapsed, cpu) = (began.elapsed(), node.cpu()?.saturating_sub(cpu));
    let sends = counts.posts.load(Ordering::SeqCst) - before;
    let name = match plan.taking {
        Taking::Rsa => "cavage-rsa",
        Taking::Ed25519 => "rfc9421-ed25519",
    };
    let right = counts.rfc9421.load(Ordering::SeqCst) > 0;
    if right != (plan.taking == Taking::Ed25519) {
        bail!("{name}: the requests were signed another way");
    }
    #[allow(clippy::cast_precision_loss)]
    let count = sends as f64;
    println!(
        "fanout {name} sinks={} delay_ms={} notes={} sends={sends} elapsed_s={:.2} published_s={:.2} \
         sends_per_s={:.0} server_cpu_s={:.2} cpu_ms_per_send={:.3} out_of_order={}",
        plan.sinks,
        plan.delay.as_millis(),
        plan.notes,
        elapsed.as_secs_f64(),
        published.as_secs_f64(),
        count / elapsed.as_secs_f64(),
        cpu.as_secs_f64(),
        1000.0 * cpu.as_secs_f64() / count,
        counts.out_of_order.load(Ordering::SeqCst)
    );
    Ok(())
}

/// Says everything, over several connections so that publishing is not what is measured.
fn publish(node: &Node, plan: &Plan) -> Result<()> {
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                scope.spawn(move || -> Result<()> {
                    for n in (0..plan.notes).filter(|n| n % PUBLISHERS == publisher) {
                        let content = format!("note {n}, {}", "x".repeat(300));
                        let note = json!({ "type": "Note", "content": content });
                        let answer =
                            node.publish(ACTOR, &json!({ "type": "Create", "object": note }))?;
                        if plan.sinks == 1 {
                            let id = answer.get("object").context("no object")?;
                            let change = json!({ "id": id, "type": "Note", "content": "changed" });
                            node.publish(ACTOR, &json!({ "type": "Update", "object": change }))?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for publisher in publishers {
            publisher.join().ok().context("a thread that publishes ended")??;
        }
        Ok(())
    })
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

impl Counts {
    /// Whatever comes of one object has to come in the order in which it was said.
    fn look(&self, body: &[u8]) {
        let Ok(activity) = serde_json::from_slice::<Value>(body) else { return };
        let object = activity.get("object").and_then(|object| object.get("id"));
        let seq = activity.get("seq").and_then(Value::as_u64);
        if let (Some(object), Some(seq)) = (object.and_then(Value::as_str), seq) {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            let before = newest.insert(object.to_owned(), seq);
            if before.is_some_and(|before| before > seq) {
                self.out_of_order.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// An instance that counts what is posted to it; the follower there.
fn sink(plan: &Plan, counts: Arc<Counts>, runtime: &tokio::runtime::Runtime) -> Result<Author> {
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
    let base = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    let follower = Author::new(&Runtime::system(), &base, "actor")?;
    let mut document = follower.document(None)?;
    if plan.taking == Taking::Ed25519 {
        let rfc9421 = "https://datatracker.ietf.org/doc/html/rfc9421";
        document.insert("generator".into(), json!({ "implements": [{ "href": rfc9421 }] }));
    }
    let document = Value::Object(document).to_string();
    let (delay, alone) = (plan.delay, plan.sinks == 1);
    let answer = move |method: Method, headers: HeaderMap, body: Bytes| {
        let (counts, document) = (counts.clone(), document.clone());
        async move {
            if method != Method::POST {
                let kind = [(header::CONTENT_TYPE, "application/activity+json")];
                return (kind, document).into_response();
            }
            if alone {
                counts.look(&body);
            }
            tokio::time::sleep(delay).await;
            if headers.contains_key("signature-input") {
                counts.rfc9421.fetch_add(1, Ordering::SeqCst);
            }
            counts.posts.fetch_add(1, Ordering::SeqCst);
            StatusCode::ACCEPTED.into_response()
        }
    };
    let app = axum::Router::new().fallback(answer);
    runtime.spawn(async move { axum::serve(listener, app).await });
    Ok(follower)
}
