//! Measures an instance over HTTP: deliveries, publishes, reads, starting, resting, overload.
//!
//! `http FEDSX [SECONDS] [SCENARIO...]` starts the program `FEDSX` for each scenario on an empty directory, and prints one line
//! for each figure. Scenarios: `limits`, `deliver`, `publish`, `read`, `start`, `idle`, `overload`; without any, all. See
//! `scripts/bench_http.sh`.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod deliver;
mod limits;
mod load;
mod overload;
mod publish;
mod read;
mod report;
mod rest;
#[path = "../shared/mod.rs"]
mod shared;
mod wire;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use load::{Arrivals, Requests};
use report::Measured;
use shared::node::Node;

/// All scenarios, in the order in which they run.
const ALL: [&str; 7] = ["limits", "deliver", "publish", "read", "start", "idle", "overload"];

/// What every scenario works with.
pub struct Bench {
    /// The program under measurement.
    program: PathBuf,
    /// How long a load lasts.
    lasting: Duration,
    /// The other server runs here.
    runtime: tokio::runtime::Runtime,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("usage: http FEDSX [SECONDS] [SCENARIO...]")?;
    if program == "--bare" {
        return limits::serve_bare();
    }
    let seconds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;
    let mut scenarios: Vec<String> = args.collect();
    if scenarios.is_empty() {
        scenarios = ALL.map(str::to_owned).to_vec();
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let bench =
        Bench { program: program.into(), lasting: Duration::from_secs(seconds.max(1)), runtime };
    for scenario in &scenarios {
        match scenario.as_str() {
            "limits" => bench.limits()?,
            "deliver" => deliver::measure(&bench)?,
            "publish" => publish::measure(&bench)?,
            "read" => read::measure(&bench)?,
            "start" => rest::start(&bench)?,
            "idle" => rest::idle(&bench)?,
            "overload" => overload::measure(&bench)?,
            other => bail!("{other} is none of {}", ALL.join(", ")),
        }
    }
    Ok(())
}

impl Bench {
    /// A directory for data, below the present one or where `TMPDIR` says.
    fn directory(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::tempdir()?)
    }

    /// An instance with these actors.
    fn node(&self, directory: &tempfile::TempDir, actors: &[String]) -> Result<Node> {
        let node = Node::start(&self.program, directory.path(), actors, &[])?;
        for actor in actors {
            let person = json!({ "type": "Create", "object": { "type": "Person", "name": actor } });
            node.publish(actor, &person)?;
        }
        node.rest()?;
        Ok(node)
    }

    /// Puts a load on an instance, and measures both until the instance rests again.
    fn load(&self, node: &Node, requests: Requests, arrivals: Arrivals) -> Result<Measured> {
        Measured::of(node, || load::run(node.port, &requests, arrivals))
    }

    /// What the machine can do, and what HTTP alone costs with this client.
    fn limits(&self) -> Result<()> {
        limits::tell(self.directory()?.path())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--bare");
        let node = Node::run(command)?;
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("content-type", "application/json".parse()?);
        let request = wire::request("POST", "/", node.port, &headers, &[b'x'; 1300]);
        let requests = Requests::Again(vec![request].into(), self.lasting);
        let measured = self.load(&node, requests, Arrivals::Closed(64))?;
        measured.tell("limit bare-axum clients=64", None);
        Ok(())
    }
}
