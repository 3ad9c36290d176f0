//! `fedsx verify`: everything that a data directory holds, checked offline.

mod checker;
mod projections;
mod proofs;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use fedsx_genesis::GenesisRules;
use fedsx_kernel::Base;
use fedsx_kernel::log::{LogStore, Salvage, SledStorage, Storage, Stream, Table};
use fedsx_kernel::merkle::CheckedTree;
use serde::Serialize;

use self::checker::Checker;
use self::projections::Rebuilt;
use self::proofs::Proofs;
use crate::args::VerifyArgs;
use crate::progress::Progress;
use crate::{archive, data};

/// Entries read at once.
const PAGE: usize = 512;
/// Unreadable places shown.
const SHOWN_PLACES: usize = 5;

/// What was checked.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    /// Entries in the log.
    pub entries: u64,
    /// Bodies, each at its first entry.
    pub activities: u64,
    /// Proofs that hold.
    pub verified: u64,
    /// Foreign activities that only their origin's HTTP signature or a fetch vouches for.
    pub attested: u64,
    /// Bodies of which a stub is left: nothing proves that, but the log says that they were erased.
    pub erased: u64,
    /// Activities that fit the definition by which they were judged when they came.
    pub judged: u64,
    /// Records of the instance itself.
    pub local: u64,
    /// Streams.
    pub streams: u64,
    /// Entries of the admission state, equal to a rebuild.
    pub admission: u64,
    /// Projections whose digest equals a rebuild.
    pub projections: u64,
    /// Projections that may hold what was erased since they were built. The next server builds them
    /// anew, or `fedsx projection rebuild` does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stale_projections: Vec<String>,
    /// The Merkle tree of each outbox, computed from the log; kept tiles are equal.
    pub trees: BTreeMap<Stream, CheckedTree>,
}

/// Runs the command.
pub fn run(args: &VerifyArgs) -> Result<ExitCode> {
    if let Some(file) = &args.file {
        return archive::verify(file, args.json);
    }
    let directory = args.data.as_deref().context("say what to check: --data DIR or FILE")?;
    if !directory.join("format").exists() {
        bail!("{} is not a data directory of fedsx", directory.display());
    }
    let base = data::recorded_base(directory)?
        .with_context(|| format!("{} does not say whose it is", directory.display()))?;
    // sled panics where its files are not what it expects; that is caught and told.
    std::panic::set_hook(Box::new(|_| {}));
    let storage = match SledStorage::open(directory) {
        Ok(storage) => storage,
        Err(error @ fedsx_kernel::log::OpenError::InUse(_)) => return Err(error.into()),
        Err(error) => {
            eprintln!("fedsx: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let verified = catch_unwind(AssertUnwindSafe(|| {
        storage.check().context("reading everything once")?;
        let scratch = tempfile::tempdir().context("a place for rebuilds")?;
        let rebuilds = SledStorage::open(scratch.path()).context("a place for rebuilds")?;
        verify(&storage, rebuilds.projections(), &base)
    }));
    match verified.unwrap_or_else(|_| Err(anyhow!("the store cannot be read"))) {
        Ok(counts) if args.json => {
            println!("{}", serde_json::to_string(&counts)?);
            Ok(ExitCode::SUCCESS)
        }
        Ok(counts) => {
            println!(
                "verified: {} entries in {} streams, {} activities ({} by proof, {} attested, {} \
                 erased), {} local records, {} admission entries, {} projections equal their rebuild, {} Merkle trees",
                counts.entries,
                counts.streams,
                counts.activities,
                counts.verified,
                counts.attested,
                counts.erased,
                counts.local,
                counts.admission,
                counts.projections,
                counts.trees.len()
            );
            for name in &counts.stale_projections {
                println!("{name} may hold what was erased; the next start builds it anew");
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("fedsx: verification failed: {error:#}");
            drop(storage);
            advise(directory);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Says which places of the store cannot be read, and what to do about it.
fn advise(directory: &Path) {
    let Ok(salvage) = Salvage::scan(directory, &mut |_, _| {}) else { return };
    for place in salvage.unreadable().iter().take(SHOWN_PLACES) {
        eprintln!("fedsx: {place}");
    }
    if salvage.is_holed() {
        eprintln!(
            "fedsx: restore a backup, or save what can be read: fedsx recover --data {} --out NEW",
            directory.display()
        );
    }
}

/// Checks the log, its admission state and its projections. `scratch` is an empty table, for
/// rebuilds.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(storage: &dyn Storage, scratch: Arc<dyn Table>, base: &Base) -> Result<Counts> {
    let (store, ledgers) = (storage.log(), storage.ledgers());
    let rules = GenesisRules::new(base.clone(), "instance".parse()?);
    let mut rebuilt = Rebuilt::new(storage, scratch, base)?;
    let (checked, proofs) = std::thread::scope(|scope| -> Result<_> {
        let proofs = Proofs::start(scope, &*store, &rules)?;
        let mut checker = Checker::new(&*store, &*ledgers, &rules, base, proofs);
        read(&*store, &mut checker, &mut rebuilt)?;
        Ok(checker.finish())
    })?;
    proofs.result()?;
    let mut counts = checked?;
    rebuilt.finish(&mut counts)?;
    Ok(counts)
}

/// Reads the log once, for everything.
fn read(store: &dyn LogStore, checker: &mut Checker<'_>, rebuilt: &mut Rebuilt) -> Result<()> {
    let bar = Progress::count("verifying", store.head()?);
    let mut after = 0;
    loop {
        let whole = store.read_whole(after, PAGE)?;
        if whole.is_empty() || checker.has_failed() {
            return Ok(());
        }
        let mut records = Vec::with_capacity(whole.len());
        for (entry, body) in whole {
            let place =
                format!("entry {} ({} {})", entry.global_seq, entry.stream, entry.stream_seq);
            after += 1;
            if entry.global_seq != after {
                bail!("{place}: entry {after} is missing");
            }
            let record = checker.entry(entry, &body, &place).with_context(|| place)?;
            records.push(Arc::new(record));
        }
        rebuilt.take(&records)?;
        bar.set(after);
    }
}
