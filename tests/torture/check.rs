//! After each round: is everything there that was acknowledged, once and in order, and nothing
//! that was not asked for?

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use fedsx_kernel::Activity;
use serde_json::Value;

use crate::books::{Ack, Act, Fate, Pages};
use crate::load::{ACTORS, World, actor_name, secret};
use crate::wire::Wire;

/// The token that may operate the instance.
pub const OPERATOR: &str = "operator";

/// What the checks of one life found.
#[derive(Default)]
pub struct Findings {
    pub acknowledged: u64,
    pub found: u64,
    pub lost: BTreeSet<String>,
    pub doubled: BTreeSet<String>,
    /// What else must not be.
    pub wrong: BTreeSet<String>,
    /// Activities that the peer must get, those that it got, and how often it got one again.
    pub owed: u64,
    pub arrived: u64,
    pub again: u64,
}

impl Findings {
    pub fn is_well(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.wrong.is_empty()
    }
}

/// One entry of a stream, as served.
pub struct Entry {
    pub cid: String,
    pub activity: Activity,
}

/// What was in the streams at the last check: it must stay there.
#[derive(Default)]
pub struct Checker {
    outboxes: BTreeMap<usize, Vec<String>>,
    inboxes: BTreeMap<usize, Vec<String>>,
    /// Follows that are accepted.
    pub accepted: HashSet<String>,
    pub findings: Findings,
}

#[derive(Default)]
struct Counted {
    acknowledged: u64,
    found: u64,
}

/// All streams at one check.
#[derive(Default)]
pub struct Streams {
    pub outboxes: BTreeMap<usize, Vec<Entry>>,
    pub inboxes: BTreeMap<usize, Vec<Entry>>,
}

impl Checker {
    /// Checks everything on the running instance.
    pub fn check(&mut self, world: &World) -> Result<()> {
        let wire = Wire::new(&world.base, Duration::from_secs(120));
        let mut streams = Streams::default();
        {
            // An instance that loses an actor must be noticed; one that never had it is well.
            let exist = &mut world.books.open().exist;
            for actor in 0..ACTORS {
                let path = format!("/actors/{}", actor_name(actor));
                let status = wire.send("GET", &path, None, &[], None)?.status;
                match (status, exist.contains(&actor)) {
                    (200, _) => {
                        exist.insert(actor);
                    }
                    (404, false) => {}
                    (status, _) => {
                        self.findings
                            .lost
                            .insert(format!("{} answers {status}", actor_name(actor)));
                    }
                }
            }
        }
        let exist = world.books.open().exist.clone();
        for actor in exist {
            let (name, secret) = (actor_name(actor), secret(&actor_name(actor)));
            let outbox =
                wire.collection(&format!("/actors/{name}/outbox?since=&limit=200"), &secret)?;
            streams.outboxes.insert(actor, self.read(&name, outbox));
            let inbox =
                wire.collection(&format!("/actors/{name}/inbox?page=true&limit=200"), &secret)?;
            let mut inbox = self.read(&name, inbox);
            inbox.reverse();
            streams.inboxes.insert(actor, inbox);
        }
        self.stays(&streams);
        let mut pages = world.books.open();
        let mut counted = Counted::default();
        self.outboxes(&mut pages, &streams, &mut counted);
        self.inboxes(&pages, &streams, &mut counted);
        self.numbers(&pages);
        self.findings.wrong.extend(std::mem::take(&mut pages.odd));
        self.findings.acknowledged = counted.acknowledged;
        self.findings.found = counted.found;
        drop(pages);
        self.deliveries(world, &wire, &streams)?;
        Ok(())
    }

    /// Reads the items of a stream as every receiver does: whole, and with the CID they claim.
    fn read(&mut self, name: &str, items: Vec<Value>) -> Vec<Entry> {
        let mut entries = Vec::new();
        for item in items {
            let id = item.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            match Activity::from_document(item) {
                Ok(activity) => {
                    let cid = activity.cid().to_string();
                    entries.push(Entry { cid, activity });
                }
                Err(error) => {
                    self.findings.wrong.insert(format!("{name}: {id} is not whole: {error}"));
                }
            }
        }
        entries
    }

    /// Streams only grow.
    fn stays(&mut self, streams: &Streams) {
        let Findings { lost, doubled, .. } = &mut self.findings;
        for (kind, before, now) in [
            ("outbox", &mut self.outboxes, &streams.outboxes),
            ("inbox", &mut self.inboxes, &streams.inboxes),
        ] {
            for (actor, entries) in now {
                let name = format!("the {kind} of {}", actor_name(*actor));
                let held = before.entry(*actor).or_default();
                for (at, cid) in held.iter().enumerate() {
                    match entries.get(at) {
                        Some(entry) if entry.cid == *cid => {}
                        Some(entry) => {
                            lost.insert(format!("{name} had {cid} at {at}, now {}", entry.cid));
                        }
                        None => {
                            lost.insert(format!("{name} had {cid} at {at}, now it ends before"));
                        }
                    }
                }
                let mut seen = HashSet::new();
                for entry in entries {
                    if !seen.insert(&entry.cid) {
                        doubled.insert(format!("{name} has {} twice", entry.cid));
                    }
                }
                *held = entries.iter().map(|entry| entry.cid.clone()).collect();
            }
        }
    }

    fn outboxes(&mut self, pages: &mut Pages, streams: &Streams, counted: &mut Counted) {
        let Findings { lost, doubled, wrong, .. } = &mut self.findings;
        // Where each marker stands.
        let mut places: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        let known: HashSet<&str> = pages.publishes.iter().map(|p| p.marker.as_str()).collect();
        for (actor, entries) in &streams.outboxes {
            let mut accepts = HashSet::new();
            for (at, entry) in entries.iter().enumerate() {
                let name =
                    || format!("{} at {at} in the outbox of {}", entry.cid, actor_name(*actor));
                if entry.activity.position() != Some((0, at as u64)) {
                    wrong.insert(format!("{} says {:?}", name(), entry.activity.position()));
                }
                if entry.activity.proof().is_none() || !entry.activity.certifies_itself() {
                    wrong.insert(format!("{} has no proof", name()));
                }
                match entry.activity.get("summary").and_then(Value::as_str) {
                    Some(marker) if known.contains(marker) => {
                        places.entry(marker.to_owned()).or_default().push((*actor, at));
                    }
                    None if entry.activity.kind() == "Accept" => {
                        let follow = entry.activity.object_id().unwrap_or_default().to_owned();
                        if !accepts.insert(follow.clone()) {
                            doubled
                                .insert(format!("{} answered {follow} twice", actor_name(*actor)));
                        }
                        self.accepted.insert(follow);
                    }
                    _ => {
                        wrong.insert(format!("nobody asked for {}", name()));
                    }
                }
            }
        }
        for publish in &mut pages.publishes {
            let found = places.get(&publish.marker).map_or(&[][..], Vec::as_slice);
            if found.len() > 1 {
                doubled.insert(format!("{} stands at {found:?}", publish.marker));
            }
            let what = || format!("{:?} {}", publish.act, publish.marker);
            match (&publish.fate, found) {
                (Fate::Acked(ack), _) => {
                    counted.acknowledged += 1;
                    let at = usize::try_from(ack.seq).unwrap_or(usize::MAX);
                    let entry = streams.outboxes.get(&publish.actor).and_then(|all| all.get(at));
                    if entry.is_some_and(|entry| entry.cid == ack.cid) {
                        counted.found += 1;
                    } else {
                        lost.insert(format!("{}, acknowledged as {} at {at}", what(), ack.cid));
                    }
                }
                (Fate::Unknown, []) => publish.fate = Fate::Void,
                (Fate::Unknown, _) => publish.fate = Fate::Found,
                // With a key it may have been sent again and not been answered.
                (Fate::Void, [_, ..]) if publish.key.is_some() => publish.fate = Fate::Found,
                (Fate::Void | Fate::Refused, [_, ..]) => {
                    wrong.insert(format!("{} came late or was refused", what()));
                }
                (Fate::Found, []) => {
                    lost.insert(format!("{}, which was there without an answer", what()));
                }
                _ => {}
            }
        }
        // What was answered before something else was sent comes before it.
        for (actor, entries) in &streams.outboxes {
            let by_marker: HashMap<&str, (u64, Option<u64>)> = pages
                .publishes
                .iter()
                .filter(|p| p.actor == *actor)
                .map(|p| (p.marker.as_str(), (p.sent, acked(&p.fate).map(|ack| ack.at))))
                .collect();
            let times = entries.iter().filter_map(|entry| {
                by_marker.get(entry.activity.get("summary")?.as_str()?).copied()
            });
            if let Some(at) = disorder(times) {
                wrong.insert(format!(
                    "the outbox of {} is out of order at {at}",
                    actor_name(*actor)
                ));
            }
        }
    }

    fn inboxes(&mut self, pages: &Pages, streams: &Streams, counted: &mut Counted) {
        let Findings { lost, wrong, .. } = &mut self.findings;
        let mut sets: HashMap<usize, HashSet<&str>> = HashMap::new();
        for (actor, entries) in &streams.inboxes {
            sets.insert(*actor, entries.iter().map(|entry| entry.cid.as_str()).collect());
        }
        let has = |actor: &usize, cid: &str| sets.get(actor).is_some_and(|set| set.contains(cid));
        for delivery in &pages.deliveries {
            if delivery.acked.is_none() {
                continue;
            }
            counted.acknowledged += 1;
            let missing: Vec<&usize> =
                delivery.to.iter().filter(|actor| !has(actor, &delivery.cid)).collect();
            if missing.is_empty() {
                counted.found += 1;
            } else {
                lost.insert(format!("{} in the inboxes of {missing:?}", delivery.id));
            }
        }
        // A publish and the inbox entries of its local recipients are one batch.
        for publish in &pages.publishes {
            let (Act::Local(to), Some(ack)) = (&publish.act, acked(&publish.fate)) else {
                continue;
            };
            for actor in to.iter().filter(|actor| !has(actor, &ack.cid)) {
                lost.insert(format!("{} in the inbox of {}", ack.cid, actor_name(*actor)));
            }
        }
        for (actor, entries) in &streams.inboxes {
            // What was for others can come here later, when its author is followed.
            let times: HashMap<&str, (u64, Option<u64>)> = pages
                .deliveries
                .iter()
                .filter(|delivery| delivery.to.contains(actor))
                .map(|delivery| (delivery.cid.as_str(), (delivery.sent, delivery.acked)))
                .collect();
            let known = entries.iter().filter_map(|entry| times.get(entry.cid.as_str()).copied());
            if let Some(at) = disorder(known) {
                wrong
                    .insert(format!("the inbox of {} is out of order at {at}", actor_name(*actor)));
            }
        }
    }

    /// Positions in the whole log rise with time, and none is given twice.
    fn numbers(&mut self, pages: &Pages) {
        let mut acks: Vec<(&Ack, u64)> =
            pages.publishes.iter().filter_map(|p| Some((acked(&p.fate)?, p.sent))).collect();
        acks.sort_unstable_by_key(|(ack, _)| ack.global_seq);
        for pair in acks.windows(2) {
            if let [(one, _), (other, _)] = pair
                && one.global_seq == other.global_seq
            {
                let both = format!("{} and {} at {}", one.cid, other.cid, one.global_seq);
                self.findings.doubled.insert(both);
            }
        }
        let times = acks.iter().map(|(ack, sent)| (*sent, Some(ack.at)));
        if let Some(at) = disorder(times) {
            self.findings.wrong.insert(format!("global_seq is out of order at {at}"));
        }
    }
}

pub fn acked(fate: &Fate) -> Option<&Ack> {
    match fate {
        Fate::Acked(ack) => Some(ack),
        _ => None,
    }
}

/// The first place, of items given as (sent, acknowledged), at which one stands behind another
/// that was not even sent when the first was acknowledged.
fn disorder(times: impl Iterator<Item = (u64, Option<u64>)>) -> Option<usize> {
    let mut latest = 0;
    for (at, (sent, acked)) in times.enumerate() {
        if acked.is_some_and(|acked| acked < latest) {
            return Some(at);
        }
        latest = latest.max(sent);
    }
    None
}
