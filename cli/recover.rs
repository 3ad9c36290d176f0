//! `fedsx recover`: a data directory to run on, out of one that is damaged.
//!
//! The log is taken over up to its first damage, and with it the once keys, the private keys and
//! the tokens. Projections, Merkle tiles and the delivery queues are built anew from the log, so
//! peers get again what they may not have got; they answer that they have it. Where nothing of the
//! store is damaged, all ledgers are kept.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use fedsx_genesis::GenesisRules;
use fedsx_kernel::Base;
use fedsx_kernel::keys::{KeyRing, Vault};
use fedsx_kernel::log::{
    Head, HeadFile, Salvage, Salvaged, SledStorage, Storage, Stream, TableWrite,
};
use fedsx_kernel::rules::{Hosted, Rules};
use serde::Serialize;

use crate::fresh::Fresh;
use crate::progress::Progress;
use crate::{data, restore};

/// Options of `fedsx recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// The damaged data directory; it is left as it is. No server may be running on it.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR")]
    pub data: PathBuf,
    /// The data directory to make; new or empty.
    #[arg(long, value_name = "NEWDIR")]
    pub out: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Ledger rows written at once.
const BATCH: usize = 256;
/// Where private keys and tokens stand in the ledgers.
const KEYS: &[u8] = b"key\0";
const TOKENS: &[u8] = b"token\0";

/// What was saved and what is missing.
#[derive(Debug, Serialize)]
struct Report {
    data: PathBuf,
    base: String,
    epoch: u64,
    #[serde(flatten)]
    log: Salvaged,
    /// Private keys that were kept.
    private_keys: u64,
    /// Keys in force whose private halves are lost.
    missing_keys: Vec<String>,
    tokens: u64,
    master_key: bool,
    /// Whether the delivery queues were kept.
    deliveries_kept: bool,
}

impl Report {
    fn is_whole(&self) -> bool {
        self.log.is_whole() && self.log.unreadable.is_empty() && self.missing_keys.is_empty()
    }
}

/// Runs the command.
pub fn run(args: &RecoverArgs) -> Result<ExitCode> {
    if !args.data.join("store").join("db").exists() {
        bail!("{} holds no database of fedsx", args.data.display());
    }
    let words = ("--out", "the damaged directory", "recover");
    let fresh = Fresh::at(&args.out, &args.data, words)?;
    let mut report = fresh.fill(|partial| recover(&args.data, partial))?;
    report.data = fresh.target().to_owned();
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn recover(from: &Path, into: &Path) -> Result<Report> {
    let base = data::recorded_base(from)?.with_context(|| {
        let path = from.join("base");
        format!("{} is missing; put the base URL of the instance into it", path.display())
    })?;
    let bar = Progress::bytes("reading", 1);
    let salvage = Salvage::scan(from, &mut |done, all| {
        bar.expect(all);
        bar.set(done);
    })?;
    drop(bar);
    data::prepare(into)?;
    data::settle_base(into, &base)?;
    let storage = SledStorage::open(into)?;
    let rules = GenesisRules::new(base.clone(), "instance".parse()?);
    let bar = Progress::count("taking entries over", 1);
    let log = salvage.restore(&storage, &rules, &mut |done, all| {
        bar.expect(all);
        bar.set(done);
    })?;
    drop(bar);
    let deliveries_kept = log.is_whole() && !salvage.is_holed();
    let kept: &[&[u8]] = if deliveries_kept { &[b""] } else { &[KEYS, TOKENS] };
    for prefix in kept {
        keep(&storage, salvage.ledger(prefix))?;
    }
    storage.sync()?;
    let master_key = keep_master_key(from, into)?;
    let (private_keys, missing_keys) = private_keys(&storage, &rules, &base, from)?;
    let tokens = storage.ledgers().scan(TOKENS, None, usize::MAX)?.len() as u64;
    let epoch = restore::next_epoch(last_epoch(from, &storage)?);
    data::raise_epoch(into, epoch)?;
    note_head(into, &storage)?;
    drop(storage);
    Ok(Report {
        data: into.to_owned(),
        base: base.to_string(),
        epoch,
        log,
        private_keys,
        missing_keys,
        tokens,
        master_key,
        deliveries_kept,
    })
}

fn keep(storage: &SledStorage, rows: Vec<TableWrite>) -> Result<()> {
    let readable: Vec<TableWrite> = rows.into_iter().filter(|(_, value)| value.is_some()).collect();
    for some in readable.chunks(BATCH) {
        storage.ledgers().apply(some.to_vec())?;
    }
    Ok(())
}

/// Copies the master key, where it is a file and one.
fn keep_master_key(from: &Path, into: &Path) -> Result<bool> {
    let path = from.join("master.key");
    if !path.exists() {
        return Ok(std::env::var(data::MASTER_KEY_VARIABLE).is_ok());
    }
    match data::copy_master_key(&path, into) {
        Ok(()) => Ok(true),
        Err(error) => {
            eprintln!("fedsx: the master key was not taken over: {error}");
            Ok(false)
        }
    }
}

/// Counts the private keys that can be used, and names those in force that are lost.
fn private_keys(
    storage: &SledStorage,
    rules: &GenesisRules,
    base: &Base,
    from: &Path,
) -> Result<(u64, Vec<String>)> {
    let (log, ledgers) = (storage.log(), storage.ledgers());
    let kept = ledgers.scan(KEYS, None, usize::MAX)?.len() as u64;
    // A master key that cannot be read was reported before.
    let master = data::existing_master_key(from).unwrap_or_default();
    let ring = master.map(|key| KeyRing::new(Vault::new(key), ledgers.clone()));
    let mut missing = Vec::new();
    for (stream, _) in log.streams()? {
        let Stream::Outbox(name) = stream else { continue };
        if rules.hosted(log.state(), &name)? == Hosted::Absent
            || rules.hosted(log.state(), &name)? == Hosted::Deleted
        {
            continue;
        }
        let keys = rules.keys(log.state(), &base.actor(&name))?.unwrap_or_default();
        for key in keys.all().iter().filter(|key| key.is_current()) {
            let usable = match &ring {
                Some(ring) => ring.secret(&key.id).is_ok(),
                None => KeyRing::holds(&*ledgers, &key.id)?,
            };
            if !usable {
                missing.push(key.id.clone());
            }
        }
    }
    Ok((kept, missing))
}

/// The highest epoch that the instance is known to have had.
fn last_epoch(from: &Path, storage: &SledStorage) -> Result<u64> {
    let log = storage.log();
    let mut last = data::recorded_epoch(from).unwrap_or(0);
    for (stream, length) in log.streams()? {
        let Stream::Outbox(_) = stream else { continue };
        for entry in log.read_stream(&stream, length.saturating_sub(1), 1)? {
            if let Some(body) = log.body(&entry.cid)? {
                let activity = fedsx_kernel::Activity::from_body(&body)?;
                last = last.max(activity.position().map_or(0, |(epoch, _)| epoch));
            }
        }
    }
    Ok(last)
}

fn note_head(into: &Path, storage: &SledStorage) -> Result<()> {
    let log = storage.log();
    let Some(before) = log.head()?.checked_sub(1) else { return Ok(()) };
    for entry in log.read(before, 1)? {
        HeadFile::new(into).write(&Head { global_seq: entry.global_seq, root: entry.cid })?;
    }
    Ok(())
}

fn print(report: &Report) {
    let (log, data) = (&report.log, report.data.display());
    let noted = log.noted.map_or_else(String::new, |noted| format!(" of {noted}"));
    println!(
        "recovered {}{noted} entries of {} into {data}; its epoch is now {}",
        log.entries, report.base, report.epoch
    );
    for place in &log.unreadable {
        println!("  unreadable: {} bytes of {} at byte {}", place.bytes, place.file, place.at);
    }
    if let Some(damage) = &log.first_damage {
        let stream = damage.stream.as_deref().unwrap_or("stream unknown");
        println!("  first damage: entry {} ({stream}): {}", damage.global_seq, damage.reason);
        println!("  readable after it, and left out: {} entries", log.beyond);
    }
    for stream in log.streams.iter().filter(|stream| stream.kept < stream.of) {
        println!("  {}: {} of {} entries", stream.stream, stream.kept, stream.of);
    }
    println!("  private keys: {}, tokens: {}", report.private_keys, report.tokens);
    for key in &report.missing_keys {
        println!("  the private half of {key} is lost");
    }
    if !report.master_key {
        println!(
            "  the master key is missing: put it into {data}/master.key (mode 0600) or give it by {}",
            data::MASTER_KEY_VARIABLE
        );
    }
    if !report.deliveries_kept {
        println!("  deliveries start anew: peers get everything again, and say what they have");
    }
    println!("check it with: fedsx verify --data {data}");
}
