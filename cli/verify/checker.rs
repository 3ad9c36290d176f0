//! The log entry by entry, its indexes and the admission state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use fedsx_genesis::GenesisRules;
use fedsx_genesis::records::ACTOR_FETCHED;
use fedsx_kernel::activity::Body;
use fedsx_kernel::keys::KeyHistory;
use fedsx_kernel::log::{BODY_ERASED, Entry, LogStore, Record, Stream, Table};
use fedsx_kernel::merkle::TreeChecks;
use fedsx_kernel::rules::Rules as _;
use fedsx_kernel::state::{MemoryState, Overlay};
use fedsx_kernel::{Activity, Base, Cid};

use super::proofs::{KEPT_ACTORS, Outcome, Proofs};
use super::{Counts, PAGE};

/// Checks entries in the order of the log.
pub(super) struct Checker<'a> {
    store: &'a dyn LogStore,
    rules: &'a GenesisRules,
    base: &'a Base,
    proofs: Proofs<'a>,
    lengths: HashMap<Stream, u64>,
    trees: TreeChecks<'a>,
    state: MemoryState,
    /// The keys of authors elsewhere, as they were known up to here.
    keys: HashMap<String, Arc<KeyHistory>>,
    erasures: Erasures,
    counts: Counts,
}

impl<'a> Checker<'a> {
    pub(super) fn new(
        store: &'a dyn LogStore,
        ledgers: &'a dyn Table,
        rules: &'a GenesisRules,
        base: &'a Base,
        proofs: Proofs<'a>,
    ) -> Self {
        Self {
            store,
            rules,
            base,
            proofs,
            lengths: HashMap::new(),
            trees: TreeChecks::new(ledgers),
            state: MemoryState::default(),
            keys: HashMap::new(),
            erasures: Erasures::default(),
            counts: Counts::default(),
        }
    }

    /// Whether a proof does not hold.
    pub(super) fn has_failed(&self) -> bool {
        self.proofs.has_failed()
    }

    /// Checks the next entry, and gives it with its activity.
    pub(super) fn entry(&mut self, entry: Entry, body: &Body, place: &str) -> Result<Record> {
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
        let activity = Activity::from_body(body)?;
        if *activity.cid() != entry.cid {
            bail!("the body has the CID {}, not {}", activity.cid(), entry.cid);
        }
        let record = Record { entry, activity: Arc::new(activity) };
        if !record.entry.first {
            return Ok(record);
        }
        if self.store.first_entry(&record.entry.cid)? != Some(record.entry.global_seq) {
            bail!("the index of first entries does not name it");
        }
        self.vouched(&record, place)?;
        self.judged(&record)?;
        let mut overlay = Overlay::new(&self.state);
        self.rules.fold(&mut overlay, &record)?;
        let writes = overlay.into_writes();
        self.state.commit(writes);
        // Whose keys this may have changed.
        let (activity, fetched) = (&record.activity, record.activity.kind() == ACTOR_FETCHED);
        let changed = activity.object_id().filter(|id| fetched || *id == activity.actor());
        if let Some(changed) = changed {
            self.keys.remove(changed);
        }
        Ok(record)
    }

    /// What was found, and what will come of the proofs that are still being checked.
    pub(super) fn finish(mut self) -> (Result<Counts>, Outcome) {
        let rest = self.rest();
        let Self { mut counts, trees, proofs, .. } = self;
        let trees =
            rest.and_then(|()| trees.finish().context("fedsx log rebuild computes it anew"));
        let counts = trees.map(|trees| {
            counts.trees = trees;
            counts
        });
        (counts, proofs.finish())
    }

    /// What can be checked only when everything was read.
    fn rest(&mut self) -> Result<()> {
        self.streams()?;
        self.admission()?;
        self.erasures.check()
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
    fn vouched(&mut self, record: &Record, place: &str) -> Result<()> {
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
        self.counts.verified += 1;
        let then = if own { None } else { Some(self.keys_of(activity.actor())?) };
        self.proofs.check(entry.global_seq, place, activity, then)
    }

    fn keys_of(&mut self, actor: &str) -> Result<Arc<KeyHistory>> {
        if let Some(keys) = self.keys.get(actor) {
            return Ok(keys.clone());
        }
        if self.keys.len() >= KEPT_ACTORS {
            self.keys.clear();
        }
        let keys = Arc::new(self.rules.keys(&self.state, actor)?.unwrap_or_default());
        self.keys.insert(actor.to_owned(), keys.clone());
        Ok(keys)
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
