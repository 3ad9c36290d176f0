//! What a decision would have hit in the log.

use std::collections::BTreeMap;

use fedsx_kernel::Base;
use fedsx_kernel::log::{Log, Record, Stream};
use fedsx_kernel::state::{Overlay, StateError, StateView};
use serde::Serialize;

use super::record::{self, Stands};
use super::{Action, Decision, standing};

/// Records that are read at once.
const PAGE: usize = 512;
/// Actors that are counted one by one.
const MAX_ACTORS: usize = 10_000;
/// Actors that the answer names, and the last activities.
const NAMED: usize = 20;

/// What a decision would have hit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hits {
    /// Activities by its actors: received here, or published here.
    pub activities: u64,
    /// Entries of the inboxes here that hold them.
    pub delivered_to: BTreeMap<String, u64>,
    /// How many actors said them; beyond 10,000 it is not counted further.
    pub actors: usize,
    /// Those who said most, with how much.
    pub loudest: Vec<(String, u64)>,
    /// Activities by verb.
    pub by_type: BTreeMap<String, u64>,
    /// Activities of actors here that name one of its actors as audience or object.
    pub addressed: u64,
    /// The last of them, the newest first.
    pub last: Vec<Hit>,
    /// The last position of the log that was looked at.
    pub global_seq: u64,
}

/// One activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Its CID.
    pub cid: String,
    /// Its id.
    pub id: String,
    /// Its verb.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who said it.
    pub actor: String,
    /// Where the log holds it.
    pub global_seq: u64,
    /// When it was received, in milliseconds since 1970.
    pub received_ms: i64,
}

/// Looks through the log from its beginning for what a decision covers, as other decisions stand
/// now. It blocks, for as long as reading the log takes.
///
/// # Errors
/// Where log or state cannot be read.
pub fn simulate(base: &Base, log: &Log, decision: &Decision) -> Result<Hits, StateError> {
    let mut assumed = Overlay::new(log.state());
    let mut row = record::row(&assumed, &decision.subject)?;
    let standing = Stands { cid: String::new(), id: String::new(), source: None };
    row.entry(decision.action).or_default().push(standing);
    record::put(&mut assumed, &decision.subject, &row)?;
    let mut scan = Scan { base, decision, assumed: &assumed, known: BTreeMap::new() };
    let (mut hits, mut actors, mut after) = (Hits::default(), BTreeMap::new(), 0);
    let head = log.head();
    while after < head {
        let records = log.sweep(after, PAGE)?;
        let Some(last) = records.last() else { break };
        after = last.entry.global_seq;
        for record in &records {
            scan.record(record, &mut hits, &mut actors)?;
        }
    }
    hits.last.reverse();
    hits.last.truncate(NAMED);
    hits.actors = actors.len();
    hits.loudest = actors.into_iter().collect();
    hits.loudest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    hits.loudest.truncate(NAMED);
    hits.global_seq = after;
    Ok(hits)
}

struct Scan<'a> {
    base: &'a Base,
    decision: &'a Decision,
    assumed: &'a dyn StateView,
    known: BTreeMap<String, bool>,
}

impl Scan<'_> {
    /// Whether the decision would have an effect on this actor.
    fn covers(&mut self, id: &str) -> Result<bool, StateError> {
        if let Some(known) = self.known.get(id) {
            return Ok(*known);
        }
        let Decision { action, subject } = self.decision;
        let standing = standing(self.base, self.assumed, id)?;
        let covers = match action {
            Action::AllowList => standing.blocked,
            _ if !subject.covers(id) => false,
            Action::Block => standing.blocked,
            Action::Allow => !standing.blocked,
            Action::Silence => standing.silenced,
            Action::RejectMedia => standing.rejects_media,
            Action::Suspend => standing.suspended,
        };
        // Most ids come again and again.
        if self.known.len() >= MAX_ACTORS {
            self.known.clear();
        }
        self.known.insert(id.to_owned(), covers);
        Ok(covers)
    }

    fn record(
        &mut self,
        record: &Record,
        hits: &mut Hits,
        actors: &mut BTreeMap<String, u64>,
    ) -> Result<(), StateError> {
        let (entry, activity) = (&record.entry, &record.activity);
        let author = activity.actor();
        match &entry.stream {
            Stream::Local => return Ok(()),
            Stream::Outbox(_) if !self.covers(author)? => {
                for id in activity.audience().into_iter().chain(activity.object_id()) {
                    if self.covers(id)? {
                        hits.addressed += 1;
                        break;
                    }
                }
                return Ok(());
            }
            // What is said here is counted once, where it was said.
            Stream::Inbox(_) if self.base.is_local(author) || !self.covers(author)? => {
                return Ok(());
            }
            Stream::Inbox(receiver) => {
                *hits.delivered_to.entry(receiver.to_string()).or_default() += 1;
            }
            Stream::Outbox(_) => {}
        }
        if !entry.first {
            return Ok(());
        }
        hits.activities += 1;
        *hits.by_type.entry(activity.kind().to_owned()).or_default() += 1;
        if actors.len() < MAX_ACTORS || actors.contains_key(author) {
            *actors.entry(author.to_owned()).or_default() += 1;
        }
        hits.last.push(Hit {
            cid: activity.cid().to_string(),
            id: activity.id().to_owned(),
            kind: activity.kind().to_owned(),
            actor: author.to_owned(),
            global_seq: entry.global_seq,
            received_ms: entry.meta.received_ms,
        });
        if hits.last.len() > 2 * NAMED {
            hits.last.drain(..NAMED);
        }
        Ok(())
    }
}
