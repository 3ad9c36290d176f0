//! Starting, and doing nothing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Bench;
use crate::shared::node::Node;

/// How long an instance that does nothing is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// A directory of `bench_log` with many actors, and the address that it belongs to.
const DIRECTORY: &str = "BENCH_ACTORS_DIR";
const LISTEN: [&str; 4] = ["--listen", "127.0.0.1:9900", "--base-url", "http://localhost:9900"];

/// From the start of the process to its first answer that it is ready.
pub fn start(bench: &Bench) -> Result<()> {
    let directory = bench.directory()?;
    for name in ["first", "second", "third"] {
        let began = Instant::now();
        let node = Node::start(&bench.program, directory.path(), &[], &LISTEN)?;
        let ready = node.ready(began)?;
        println!(
            "start {name} log=empty listening_ms={} ready_ms={} cpu_ms={}",
            node.starting.as_millis(),
            ready.as_millis(),
            node.busy()?.as_millis()
        );
    }
    Ok(())
}

/// With an empty log, and with many actors where there is a directory of them.
pub fn idle(bench: &Bench) -> Result<()> {
    let directory = bench.directory()?;
    let empty = directory.path().to_owned();
    watch(bench, "first-start", &empty)?;
    watch(bench, "empty", &empty)?;
    if let Some(many) = std::env::var_os(DIRECTORY).map(PathBuf::from) {
        // The first start folds what the log's maker left to do.
        watch(bench, "many-actors-first-start", &many)?;
        watch(bench, "many-actors", &many)?;
    }
    Ok(())
}

fn watch(bench: &Bench, name: &str, directory: &std::path::Path) -> Result<()> {
    let began = Instant::now();
    let node = Node::start(&bench.program, directory, &[], &LISTEN)?;
    let ready = node.ready(began)?;
    node.rest()?;
    let (busy, switches) = (node.busy()?, node.switches()?);
    std::thread::sleep(WATCHED);
    let busy = node.busy()?.saturating_sub(busy);
    let switches = node.switches()?.saturating_sub(switches);
    let (resident_kib, most_kib) = node.resident_kib()?;
    println!(
        "idle {name} ready_ms={} cpu_percent={:.3} cpu_us={} switches={switches} watched_s={} \
         resident_mib={:.1} most_mib={:.1}",
        ready.as_millis(),
        busy.as_secs_f64() / WATCHED.as_secs_f64() * 100.0,
        busy.as_micros(),
        WATCHED.as_secs(),
        mib(resident_kib),
        mib(most_kib)
    );
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "memory is small")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
