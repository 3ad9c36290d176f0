//! What this machine can do at most, measured in the same run: results are told as ratios to it.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::routing::post;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::runtime::OsRandom;

use crate::shared::node::thread_cpu;

/// How long each is measured, by the thread's own time on the processor.
const MEASURING: Duration = Duration::from_millis(400);
/// How often the device is made to sync.
const SYNCS: usize = 100;
/// What is written before each sync, in bytes: about a commit of one activity.
const WRITTEN: usize = 4096;

/// Costs on one core, in microseconds; syncs by the clock.
#[derive(Clone, Copy)]
pub struct Limits {
    /// One `verify_strict` of Ed25519.
    pub ed25519_verify_us: f64,
    /// The median `fdatasync` after a write, in the directory of the data.
    pub sync_us: f64,
}

/// Measures what results are compared with, where the data lies.
pub fn measure(directory: &Path) -> Result<Limits> {
    let key = SecretKey::generate_ed25519(&OsRandom);
    let limits =
        Limits { ed25519_verify_us: verify_us(&key)?, sync_us: percentile(&syncs(directory)?, 50) };
    Ok(limits)
}

/// Measures all of it, and tells it.
pub fn tell(directory: &Path) -> Result<()> {
    let ed25519 = SecretKey::generate_ed25519(&OsRandom);
    let rsa = SecretKey::generate_rsa(&OsRandom)?;
    for (name, key) in [("ed25519", &ed25519), ("rsa-2048", &rsa)] {
        let (sign, verify) = (sign_us(key)?, verify_us(key)?);
        println!(
            "limit {name} sign_us={sign:.1} verify_us={verify:.1} sign_per_core_s={:.0} verify_per_core_s={:.0}",
            1e6 / sign,
            1e6 / verify
        );
    }
    let syncs = syncs(directory)?;
    println!(
        "limit fdatasync of {WRITTEN} bytes p50_us={:.0} p90_us={:.0} p99_us={:.0}",
        percentile(&syncs, 50),
        percentile(&syncs, 90),
        percentile(&syncs, 99)
    );
    Ok(())
}

fn sign_us(key: &SecretKey) -> Result<f64> {
    let message = [7; 400];
    cost_us(|| Ok(key.sign(&message, &OsRandom).map(drop)?))
}

fn verify_us(key: &SecretKey) -> Result<f64> {
    // A proof signs two hashes.
    let message = [7; 64];
    let (public, signature) = (key.public(), key.sign(&message, &OsRandom)?);
    cost_us(|| Ok(public.verify(&message, &signature)?))
}

fn cost_us(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let (began, mut count) = (thread_cpu()?, 0_u32);
    loop {
        for _ in 0..16 {
            work()?;
        }
        count += 16;
        let taken = thread_cpu()?.saturating_sub(began);
        if taken > MEASURING {
            return Ok(taken.as_secs_f64() * 1e6 / f64::from(count));
        }
    }
}

/// Microseconds that syncs took, sorted.
fn syncs(directory: &Path) -> Result<Vec<f64>> {
    let path = directory.join("sync-limit");
    let mut file = std::fs::File::create(&path)?;
    let mut taken = Vec::new();
    for _ in 0..SYNCS {
        file.write_all(&[7; WRITTEN])?;
        let began = Instant::now();
        file.sync_data()?;
        taken.push(began.elapsed().as_secs_f64() * 1e6);
    }
    drop(file);
    std::fs::remove_file(path)?;
    taken.sort_by(f64::total_cmp);
    Ok(taken)
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

/// Serves a handler that reads a body and says yes, and nothing else: what HTTP itself costs.
pub fn serve_bare() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let answer = |body: Bytes| async move {
            let text = format!("{{\"bytes\":{}}}", body.len());
            (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], text)
        };
        Ok(axum::serve(listener, Router::new().route("/", post(answer))).await?)
    })
}
