//! `fedsx define check`: definitions, tried one after the other on what a log holds.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use fedsx_genesis::GenesisRules;
use fedsx_genesis::bundle::Bundle;
use fedsx_genesis::definition::{Definition, Kind};
use fedsx_genesis::script::Scripts;
use fedsx_kernel::log::{LogStore, Record, Storage as _, Stream};
use fedsx_kernel::rules::Rules as _;
use fedsx_kernel::state::{MemoryState, Overlay, parts};
use fedsx_kernel::{Activity, Base};
use fedsx_projections::{Context, Fold, published};
use serde::Serialize;

use super::{CheckArgs, Request, requests};
use crate::data;

/// Entries read at once.
const PAGE: usize = 512;
/// The most refusals, rows and failures that are shown.
const SHOWN: usize = 5;

/// What was found out about one definition.
#[derive(Debug, Default, Serialize)]
struct Finding {
    place: String,
    kind: String,
    name: String,
    cid: String,
    /// Why it could not take effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Activities of the log that it would have been asked about, and taken.
    taken: u64,
    /// Those that it would have refused, with the reason of the first ones.
    refused: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<String>,
    /// What a projection would hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    folded: Option<Folded>,
}

/// What a projection makes of a log.
#[derive(Debug, Default, Serialize)]
struct Folded {
    /// Rows of its state.
    rows: u64,
    /// The first of them.
    first: BTreeMap<String, serde_json::Value>,
    /// Records that it would set aside, with the reason of the first ones.
    set_aside: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<String>,
}

pub(super) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let requests = requests(&args.files)?;
    let (records, base) = match &args.data {
        Some(directory) => {
            let base = data::recorded_base(directory)?
                .with_context(|| format!("{} does not say whose it is", directory.display()))?;
            let storage = data::open_offline(directory)?;
            (records(&*storage.log())?, base)
        }
        None => (Vec::new(), "https://instance.example".parse()?),
    };
    let rules = GenesisRules::new(base.clone(), "instance".parse()?);
    let mut state = MemoryState::default();
    for record in &records {
        let mut overlay = Overlay::new(&state);
        rules.fold(&mut overlay, record)?;
        let writes = overlay.into_writes();
        state.commit(writes);
    }
    if records.is_empty() {
        fedsx_genesis::boot::assume(&rules, &base, &mut state, &Bundle::embedded().verify()?)?;
    }
    let mut trial = Trial { rules, base, state, records };
    let findings: Vec<Finding> =
        requests.iter().map(|request| trial.of(request)).collect::<Result<_>>()?;
    let sound = findings.iter().all(|finding| finding.problem.is_none());
    if args.json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        findings.iter().for_each(print);
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The records of a log, each body at its first entry and wherever else it stands.
fn records(store: &dyn LogStore) -> Result<Vec<Record>> {
    let (mut records, mut after) = (Vec::new(), 0);
    loop {
        let entries = store.read(after, PAGE)?;
        let Some(last) = entries.last().map(|entry| entry.global_seq) else { return Ok(records) };
        for entry in entries {
            let body = store
                .body(&entry.cid)?
                .with_context(|| format!("entry {}: the body is missing", entry.global_seq))?;
            let activity = Arc::new(Activity::from_body(&body)?);
            records.push(Record { entry, activity });
        }
        after = last;
    }
}

struct Trial {
    rules: GenesisRules,
    base: Base,
    state: MemoryState,
    records: Vec<Record>,
}

impl Trial {
    /// Tries one definition; the next ones see it in force.
    fn of(&mut self, request: &Request) -> Result<Finding> {
        let definition = request.definition()?;
        let mut finding = Finding {
            place: request.place.clone(),
            kind: definition.kind().to_string(),
            name: definition.name().to_owned(),
            cid: definition.cid().to_string(),
            ..Finding::default()
        };
        if let Err(refusal) = self.rules.check_definition(&self.state, &definition) {
            finding.problem = Some(refusal.to_string());
            return Ok(finding);
        }
        self.rules.assume(&self.base, &mut self.state, &definition)?;
        match definition.kind() {
            Kind::Projections => finding.folded = Some(self.folded(&definition)?),
            Kind::ActivityTypes | Kind::ObjectTypes | Kind::Validators | Kind::Subtypes => {
                self.judged(&definition, &mut finding);
            }
            _ => {}
        }
        Ok(finding)
    }

    fn judged(&self, definition: &Definition, finding: &mut Finding) {
        for record in self.records.iter().filter(|record| record.entry.first) {
            let activity = &record.activity;
            if record.entry.stream == Stream::Local || activity.is_erased() {
                continue;
            }
            match self.rules.would_judge(&self.state, activity, definition) {
                None => {}
                Some(Ok(())) => finding.taken += 1,
                Some(Err(refusal)) => {
                    finding.refused += 1;
                    if finding.refusals.len() < SHOWN {
                        finding.refusals.push(format!("{}: {refusal}", activity.cid()));
                    }
                }
            }
        }
    }

    fn folded(&self, definition: &Definition) -> Result<Folded> {
        let fold = published::trial(definition, &Scripts::new())?;
        let context = Context { base: self.base.clone() };
        let (mut state, mut folded) = (MemoryState::default(), Folded::default());
        for record in &self.records {
            let mut overlay = Overlay::new(&state);
            match fold.fold(&context, &mut overlay, record) {
                Ok(()) => {
                    let writes = overlay.into_writes();
                    state.commit(writes);
                }
                Err(error) => {
                    folded.set_aside += 1;
                    if folded.failures.len() < SHOWN {
                        folded.failures.push(format!("{}: {error}", record.entry.cid));
                    }
                }
            }
        }
        folded.rows = u64::try_from(state.0.len()).unwrap_or(u64::MAX);
        let first = state.0.into_iter().take(SHOWN);
        folded.first = first.map(|(key, value)| (parts(&key).join(" "), value)).collect();
        Ok(folded)
    }
}

fn print(finding: &Finding) {
    let Finding { place, kind, name, cid, .. } = finding;
    println!("{place}: {kind} {name}  {cid}");
    if let Some(problem) = &finding.problem {
        println!("  it cannot take effect: {problem}");
        return;
    }
    println!("  it can take effect");
    if finding.taken + finding.refused > 0 {
        println!("  of the log it would take {} and refuse {}", finding.taken, finding.refused);
        finding.refusals.iter().for_each(|refusal| println!("    {refusal}"));
    }
    if let Some(folded) = &finding.folded {
        println!("  it would hold {} rows, and set {} aside", folded.rows, folded.set_aside);
        folded.first.iter().for_each(|(key, value)| println!("    {key}: {value}"));
        folded.failures.iter().for_each(|failure| println!("    {failure}"));
    }
}
