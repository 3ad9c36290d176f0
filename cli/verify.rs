//! `fedsx verify`: everything that a data directory holds, checked offline.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use fedsx_genesis::GenesisRules;
use fedsx_genesis::script::Scripts;
use fedsx_kernel::keys::KeyHistory;
use fedsx_kernel::log::{BODY_ERASED, LogStore, Record, Salvage, SledStorage, Storage, Stream};
use fedsx_kernel::merkle::{CheckedTree, TreeChecks};
use fedsx_kernel::proof::Suites;
use fedsx_kernel::rules::Rules;
use fedsx_kernel::state::{MemoryState, Overlay};
use fedsx_kernel::{Activity, Base, Cid};
use fedsx_projections::digest::rebuild;
use fedsx_projections::{Context, Fold, builtin, is_stale, published, stored_digest};
use serde::Serialize;

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
        verify(&storage, &base)
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
    for (at, bytes) in salvage.unreadable().iter().take(SHOWN_PLACES) {
        eprintln!("fedsx: {bytes} bytes of store/db cannot be read at byte {at}");
    }
    if salvage.is_holed() {
        eprintln!(
            "fedsx: restore a backup, or save what can be read: fedsx recover --data {} --out NEW",
            directory.display()
        );
    }
}

/// Checks the log, its admission state and its projections.
pub fn verify(storage: &dyn Storage, base: &Base) -> Result<Counts> {
    let (store, ledgers) = (storage.log(), storage.ledgers());
    let rules = GenesisRules::new(base.clone(), "instance".parse()?);
    let mut checker = Checker {
        store: &*store,
        rules: &rules,
        base,
        suites: Suites::standard(),
        lengths: HashMap::new(),
        trees: TreeChecks::new(&*ledgers),
        state: MemoryState::default(),
        erasures: Erasures::default(),
        counts: Counts::default(),
    };
    let bar = Progress::count("verifying", store.head()?);
    let mut after = 0;
    loop {
        let entries = store.read(after, PAGE)?;
        let Some(last) = entries.last().map(|entry| entry.global_seq) else { break };
        for entry in entries {
            let place =
                format!("entry {} ({} {})", entry.global_seq, entry.stream, entry.stream_seq);
            after += 1;
            if entry.global_seq != after {
                bail!("{place}: entry {after} is missing");
            }
            checker.entry(entry).with_context(|| place)?;
        }
        after = last;
        bar.set(after);
    }
    drop(bar);
    checker.streams()?;
    checker.admission()?;
    checker.erasures.check()?;
    let mut counts = checker.counts;
    counts.trees = checker.trees.finish().context("fedsx log rebuild computes it anew")?;
    projections(storage, base, &mut counts)?;
    Ok(counts)
}

struct Checker<'a> {
    store: &'a dyn LogStore,
    rules: &'a GenesisRules,
    base: &'a Base,
    suites: Suites,
    lengths: HashMap<Stream, u64>,
    trees: TreeChecks<'a>,
    state: MemoryState,
    erasures: Erasures,
    counts: Counts,
}

impl Checker<'_> {
    fn entry(&mut self, entry: fedsx_kernel::log::Entry) -> Result<()> {
        self.counts.entries += 1;
        let length = self.lengths.entry(entry.stream.clone()).or_default();
        if entry.stream_seq != *length {
            bail!("the stream is at {length}");
        }
        *length += 1;
        if self.store.position(&entry.stream, &entry.cid)? != Some(entry.stream_seq) {
            bail!("the index of positions does not name it");
        }
        self.trees.entry(&entry).context("fedsx log rebuild computes it anew")?;
        if !entry.first {
            return Ok(());
        }
        if self.store.first_entry(&entry.cid)? != Some(entry.global_seq) {
            bail!("the index of first entries does not name it");
        }
        let body = self.store.body(&entry.cid)?.context("the body is missing")?;
        let activity = Activity::from_body(&body)?;
        if *activity.cid() != entry.cid {
            bail!("the body has the CID {}, not {}", activity.cid(), entry.cid);
        }
        let record = Record { entry, activity: Arc::new(activity) };
        self.vouched(&record)?;
        self.judged(&record)?;
        let mut overlay = Overlay::new(&self.state);
        self.rules.fold(&mut overlay, &record)?;
        let writes = overlay.into_writes();
        self.state.commit(writes);
        Ok(())
    }

    /// Judges a body by the definition that was in force when it came.
    fn judged(&mut self, record: &Record) -> Result<()> {
        let Some(by) = &record.entry.meta.judged_by else { return Ok(()) };
        if record.activity.is_erased() {
            return Ok(());
        }
        if self.rules.judged_by(&self.state, &record.activity, by)? {
            self.counts.judged += 1;
        }
        Ok(())
    }

    /// Checks what vouches for a body.
    fn vouched(&mut self, record: &Record) -> Result<()> {
        let (entry, activity) = (&record.entry, &record.activity);
        self.erasures.note(record);
        if entry.stream == Stream::Local {
            self.counts.local += 1;
            return Ok(());
        }
        self.counts.activities += 1;
        let own = self.base.is_local(activity.actor());
        if let Stream::Outbox(name) = &entry.stream {
            if activity.actor() != self.base.actor(name) {
                bail!("it is by {}", activity.actor());
            }
            if activity.position().map(|(_, seq)| seq) != Some(entry.stream_seq) {
                bail!("its seq is {:?}", activity.position());
            }
        }
        if activity.is_erased() {
            self.counts.erased += 1;
            return Ok(());
        }
        let by_proof = entry.meta.verified_by.as_deref().is_some_and(|by| by.starts_with("proof:"));
        if !own && !by_proof {
            self.counts.attested += 1;
            return Ok(());
        }
        let head = fedsx_kernel::proof::head(activity.document())?.context("it has no proof")?;
        // What the log knew then may lack a key that was learnt later; the newest history holds
        // every key with its interval.
        let keys = self.keys(activity)?;
        let key = self.rules.signer(&keys, &head.verification_method, activity)?;
        self.suites.verify(activity.document(), &key.public()?)?;
        self.counts.verified += 1;
        Ok(())
    }

    fn keys(&self, activity: &Activity) -> Result<KeyHistory> {
        self.rules
            .keys(self.store.state(), activity.actor())?
            .with_context(|| format!("the keys of {} are not known", activity.actor()))
    }

    fn streams(&mut self) -> Result<()> {
        let stored = self.store.streams()?;
        self.counts.streams = stored.len() as u64;
        for (stream, length) in stored {
            let found = self.lengths.get(&stream).copied().unwrap_or(0);
            if found != length {
                bail!("{stream}: {found} entries, but its length says {length}");
            }
        }
        Ok(())
    }

    /// The stored admission state must be what the log gives.
    fn admission(&mut self) -> Result<()> {
        if fedsx_kernel::log::rules_of(self.store.state())? != self.rules.version() {
            // The next start computes it anew; there is nothing to compare.
            return Ok(());
        }
        let mut rebuilt = self.state.0.iter();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.state().scan("", after.as_deref(), PAGE)?;
            for (key, value) in &page {
                match rebuilt.next() {
                    Some((expected, same)) if expected == key && same == value => {}
                    Some((expected, _)) => {
                        bail!(
                            "the admission state at {key:?} differs from the log's ({expected:?})"
                        )
                    }
                    None => bail!("the admission state holds {key:?}, which the log does not give"),
                }
                self.counts.admission += 1;
            }
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => break,
            }
        }
        match rebuilt.next() {
            None => Ok(()),
            Some((key, _)) => bail!("the admission state lacks {key:?}"),
        }
    }
}

/// What was erased, and what the log says of it: the one is never without the other.
#[derive(Default)]
struct Erasures {
    erased: HashSet<Cid>,
    recorded: HashSet<Cid>,
}

impl Erasures {
    fn note(&mut self, record: &Record) {
        let activity = &record.activity;
        if activity.is_erased() {
            self.erased.insert(record.entry.cid);
        }
        if record.entry.stream == Stream::Local && activity.kind() == BODY_ERASED {
            let cid = activity.object().and_then(|about| about.get("cid")?.as_str());
            self.recorded.extend(cid.and_then(|cid| cid.parse::<Cid>().ok()));
        }
    }

    fn check(&self) -> Result<()> {
        if let Some(cid) = self.erased.difference(&self.recorded).next() {
            bail!("the body {cid} was erased, and no record says so");
        }
        match self.recorded.difference(&self.erased).next() {
            Some(cid) => bail!("the log says that {cid} was erased, but its body is there"),
            None => Ok(()),
        }
    }
}

fn projections(storage: &dyn Storage, base: &Base, counts: &mut Counts) -> Result<()> {
    let (table, store) = (storage.projections(), storage.log());
    let context = Context { base: base.clone() };
    let mut folds = builtin();
    let published = published::published(&*store, base, &Scripts::new())?;
    folds.extend(published.into_iter().map(|fold| fold as Arc<dyn Fold>));
    let bar = Progress::count("rebuilding", store.head()?.saturating_mul(folds.len() as u64));
    for fold in folds {
        let stored = stored_digest(&table, fold.as_ref())?;
        if is_stale(&*table, fold.as_ref())? {
            counts.stale_projections.push(fold.name().to_owned());
            continue;
        }
        // A projection that had not caught up when the server stopped is compared where it is.
        let rebuilt = rebuild(fold.as_ref(), &context, |after| {
            let left = usize::try_from(stored.global_seq.saturating_sub(after)).unwrap_or(PAGE);
            let page = records(&*store, after, left.min(PAGE))?;
            bar.add(page.len() as u64);
            Ok(page)
        })?;
        if stored != rebuilt {
            bail!(
                "the projection {} has the digest {} at {}, a rebuild gives {}",
                fold.name(),
                stored.digest,
                stored.global_seq,
                rebuilt.digest
            );
        }
        counts.projections += 1;
    }
    Ok(())
}

fn records(
    store: &dyn LogStore,
    after: u64,
    limit: usize,
) -> Result<Vec<Record>, fedsx_kernel::log::StoreError> {
    use fedsx_kernel::log::StoreError;
    let damaged = |place: String, reason: String| StoreError::Damaged { place, reason };
    store
        .read(after, limit)?
        .into_iter()
        .map(|entry| {
            let place = || format!("entry {}", entry.global_seq);
            let body = store
                .body(&entry.cid)?
                .ok_or_else(|| damaged(place(), "the body is missing".into()))?;
            let activity =
                Activity::from_body(&body).map_err(|e| damaged(place(), e.to_string()))?;
            Ok(Record { entry, activity: Arc::new(activity) })
        })
        .collect()
}
