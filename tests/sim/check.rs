//! The properties that hold in a world that came to rest.

use std::collections::{BTreeMap, BTreeSet};

use fedsx::verify;
use fedsx_delivery::StatusKind;
use fedsx_kernel::Cid;
use fedsx_kernel::activity::id_of;
use fedsx_kernel::log::{MemoryStorage, Record, Storage as _, Stream};
use fedsx_kernel::state::key;
use serde_json::Value;

use super::model::{Known, Relation, addressed, subjects};
use super::world::World;

/// What was there to be checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Pairs of an activity and a recipient on another instance.
    pub owed: u64,
    /// Those of them that were dead letters when the world first came to rest.
    pub parked: u64,
    /// Those that are so for good.
    pub refused: u64,
}

/// What the first look at the deliveries found.
pub struct Found {
    /// Activities that were parked: instance, peer, activity.
    letters: BTreeSet<(usize, usize, Cid)>,
    counts: Counts,
}

/// One instance's log.
struct Log {
    records: Vec<Record>,
    /// Where an inbox holds an activity.
    inbox: BTreeMap<(String, Cid), Vec<u64>>,
}

impl Log {
    fn known(&self) -> Known<'_> {
        Known { log: &self.records, upto: u64::MAX }
    }
}

fn logs(world: &World) -> Vec<Log> {
    let read = |node: &std::sync::Arc<super::node::SimNode>| {
        let records = node.handles().unwrap().kernel.log().records(0, usize::MAX).unwrap();
        let mut inbox: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for record in &records {
            if let Stream::Inbox(name) = &record.entry.stream {
                let place = (name.to_string(), record.entry.cid);
                inbox.entry(place).or_default().push(record.entry.global_seq);
            }
        }
        Log { records, inbox }
    };
    world.nodes.iter().map(read).collect()
}

fn locate(world: &World, id: &str) -> Option<(usize, String)> {
    let found = world.cast.iter().find(|(node, name)| world.nodes[*node].actor(name) == id);
    found.cloned()
}

/// Every activity is at every addressed recipient exactly once, or in a dead letter with its
/// timeline. `before` is what an earlier look found; the letters were replayed since.
pub async fn deliveries(world: &World, before: Option<&Found>) -> Found {
    let logs = logs(world);
    let mut letters = BTreeSet::new();
    for node in &world.nodes {
        for letter in node.handles().unwrap().delivery.dead_letters(None, 1000).await.unwrap() {
            let peer = world.nodes.iter().find(|peer| peer.base.as_str() == letter.peer).unwrap();
            match letter.cid {
                Some(cid) if letter.timeline.is_empty() => world
                    .violation(format!("n{} {cid}: a dead letter without a timeline", node.index)),
                Some(cid) => {
                    letters.insert((node.index, peer.index, cid));
                }
                None => {
                    world.violation(format!("n{} has still given up n{}", node.index, peer.index))
                }
            }
        }
    }
    let mut counts = Counts::default();
    for (node, log) in logs.iter().enumerate() {
        for record in &log.records {
            let Stream::Outbox(_) = &record.entry.stream else { continue };
            for (to, name, wide) in owed(world, &logs, node, record) {
                let cid = record.entry.cid;
                counts.owed += u64::from(to != node);
                let held = logs[to].inbox.get(&(name.clone(), cid)).map_or(0, Vec::len);
                if held == 1 {
                    continue;
                }
                let activity = &record.activity;
                let what = format!("{} {cid} by {} for {name}", activity.kind(), activity.actor());
                if held > 1 {
                    world.violation(format!("{what} is there {held} times"));
                } else if letters.contains(&(node, to, cid)) {
                    counts.parked += 1;
                    if before.is_some() && !refusable(world, &logs, activity.actor(), to, &name) {
                        let status =
                            world.nodes[node].handles().unwrap().delivery.status(&cid).await;
                        let status = status.unwrap();
                        let last: Vec<_> =
                            status.iter().map(|s| (&s.peer, s.timeline.last())).collect();
                        world.violation(format!("{what} is still parked: {last:?}"));
                    }
                } else if !(refusable(world, &logs, activity.actor(), to, &name)
                    || wide && let_go(world, &logs, node, record, to, &name))
                {
                    let status = world.nodes[node].handles().unwrap().delivery.status(&cid).await;
                    let status: Vec<_> = status
                        .unwrap()
                        .into_iter()
                        .map(|s| (s.peer, s.status, s.timeline.last().cloned()))
                        .collect();
                    world.violation(format!("{what} is lost (wide: {wide}): {status:?}"));
                }
            }
            for status in world.nodes[node]
                .handles()
                .unwrap()
                .delivery
                .status(&record.entry.cid)
                .await
                .unwrap()
            {
                if status.status == StatusKind::Queued {
                    world.violation(format!("{} is still queued", record.entry.cid));
                }
            }
        }
    }
    if let Some(before) = before {
        counts.refused = counts.parked;
        counts.parked = before.counts.parked;
        letters.extend(before.letters.iter().cloned());
    }
    Found { letters, counts }
}

/// Whom an outbox entry is owed to: instance, name, and whether only as a follower.
fn owed(world: &World, logs: &[Log], node: usize, record: &Record) -> Vec<(usize, String, bool)> {
    let author = record.activity.actor();
    let (named, wide) = addressed(&record.activity, &record.entry.meta.hidden);
    let mut owed: BTreeMap<(usize, String), bool> = BTreeMap::new();
    if wide {
        let known = Known { log: &logs[node].records, upto: record.entry.global_seq };
        for (at, name) in &world.cast {
            let follower = world.nodes[*at].actor(name);
            if matches!(known.relation(&follower, author), Relation::Accepted(_)) {
                owed.insert((*at, name.clone()), true);
            }
        }
    }
    for id in named {
        if let Some((at, name)) = locate(world, &id) {
            owed.insert((at, name), false);
        }
    }
    if let Some(author) = locate(world, author) {
        owed.remove(&author);
    }
    owed.into_iter().map(|((at, name), wide)| (at, name, wide)).collect()
}

/// Whether the recipient's side may refuse what this author sends.
fn refusable(world: &World, logs: &[Log], author: &str, to: usize, name: &str) -> bool {
    let recipient = world.nodes[to].actor(name);
    logs[to].known().ever_blocked(&recipient, author)
}

/// Whether a follower had left by its own account when a post for all followers came.
fn let_go(
    world: &World,
    logs: &[Log],
    node: usize,
    record: &Record,
    to: usize,
    name: &str,
) -> bool {
    let (recipient, author) = (world.nodes[to].actor(name), record.activity.actor());
    let known = Known { log: &logs[node].records, upto: record.entry.global_seq };
    let then = known.relation(&recipient, author);
    logs[to].known().relation(&recipient, author) != then
}

/// All properties of running instances.
pub async fn everything(world: &World, first: Found) -> Counts {
    let second = deliveries(world, Some(&first)).await;
    let logs = logs(world);
    acknowledged(world, &logs);
    addressed_only(world, &logs);
    nothing_from_blocked(world, &logs);
    in_order(world, &logs, &second);
    graphs(world, &logs);
    objects(world, &logs);
    second.counts
}

/// What was acknowledged is in the outbox, once; and nothing else but answers is.
fn acknowledged(world: &World, logs: &[Log]) {
    let published = world.published.lock().unwrap();
    let said: BTreeSet<_> = published.iter().map(|one| (one.node, one.cid)).collect();
    if said.len() != published.len() {
        world.violation("two requests were answered with one activity".to_owned());
    }
    let mut found = BTreeSet::new();
    for (node, log) in logs.iter().enumerate() {
        for record in &log.records {
            let Stream::Outbox(name) = &record.entry.stream else { continue };
            let derived = record.entry.meta.cause.is_some() || name.as_str() == "instance";
            if !derived && !found.insert((node, record.entry.cid)) {
                world.violation(format!("{} is in {name} twice", record.entry.cid));
            }
        }
    }
    for (node, cid) in said.symmetric_difference(&found) {
        let where_ = if said.contains(&(*node, *cid)) { "lost" } else { "never asked for" };
        world.violation(format!("n{node} {cid} was {where_}"));
    }
}

/// Nobody holds what was not for them, and nothing that its author did not say.
fn addressed_only(world: &World, logs: &[Log]) {
    for (node, log) in logs.iter().enumerate() {
        for record in &log.records {
            let Stream::Inbox(name) = &record.entry.stream else { continue };
            let (cid, activity) = (record.entry.cid, &record.activity);
            let what = format!("{name} on n{node} holds {} {cid}", activity.kind());
            let Some((home, author)) = locate(world, activity.actor()) else {
                world.violation(format!("{what} by a stranger"));
                continue;
            };
            let said = logs[home].records.iter().find(|said| {
                said.entry.cid == cid
                    && said.entry.stream == Stream::Outbox(author.parse().unwrap())
            });
            let Some(said) = said else {
                world.violation(format!("{what}, which {author} never said"));
                continue;
            };
            let me = world.nodes[node].actor(name.as_str());
            let wide = addressed(activity, &said.entry.meta.hidden).1;
            let follows = || {
                let (known, author) = (log.known(), activity.actor());
                let follow = |record: &Record| {
                    let one = &record.activity;
                    one.kind() == "Follow" && one.actor() == me && one.object_id() == Some(author)
                };
                known.log.iter().any(follow)
            };
            // Answers, likes and changes concern whom or whose they are about; the instance itself
            // takes changes of what nobody is told any more.
            let of_mine = |id: &str| {
                log.records.iter().any(|record| {
                    let one = &record.activity;
                    one.kind() == "Create" && one.actor() == me && one.object_id() == Some(id)
                })
            };
            let concerns = || {
                let about = mentioned(activity.object());
                about.iter().any(|id| *id == me || of_mine(id))
                    || name.as_str() == "instance"
                        && matches!(activity.kind(), "Update" | "Delete" | "Undo")
            };
            let is_owed = || {
                owed(world, logs, home, said)
                    .iter()
                    .any(|(at, n, _)| *at == node && n == name.as_str())
            };
            if !(is_owed() || concerns() || wide && follows()) {
                world.violation(format!("{what}, which was not for it"));
            }
        }
    }
}

/// While a Block by the recipient stands, nothing comes from whom it blocks.
fn nothing_from_blocked(world: &World, logs: &[Log]) {
    for (node, log) in logs.iter().enumerate() {
        for record in &log.records {
            let Stream::Inbox(name) = &record.entry.stream else { continue };
            let me = world.nodes[node].actor(name.as_str());
            let before = Known { log: &log.records, upto: record.entry.global_seq - 1 };
            if before.blocks(&me, record.activity.actor()) {
                let (kind, cid) = (record.activity.kind(), record.entry.cid);
                world.violation(format!("{name} on n{node} got {kind} {cid} from whom it blocks"));
            }
        }
    }
}

/// The ids in an object, and in what that is about.
fn mentioned(object: Option<&Value>) -> Vec<String> {
    let Some(object) = object else { return Vec::new() };
    let inner = ["object", "actor", "inReplyTo"].into_iter();
    let inner = inner.filter_map(|name| object.get(name)).filter_map(id_of);
    id_of(object).into_iter().chain(inner).map(str::to_owned).collect()
}

/// What shares a subject is pushed in the order in which its author said it, but for what was
/// parked in between. What a peer fetches by itself may come earlier.
fn in_order(world: &World, logs: &[Log], found: &Found) {
    for (home, log) in logs.iter().enumerate() {
        for to in (0..logs.len()).filter(|to| *to != home) {
            let mut last: BTreeMap<(String, String), (usize, Cid)> = BTreeMap::new();
            for record in &log.records {
                let Stream::Outbox(name) = &record.entry.stream else { continue };
                let cid = record.entry.cid;
                let parked = found.letters.contains(&(home, to, cid));
                let arrival = world.net.arrival(home, to, &cid.to_string());
                let Some(at) = arrival.filter(|_| !parked) else { continue };
                for subject in subjects(&record.activity) {
                    let place = (name.to_string(), subject.clone());
                    if let Some((before, earlier)) = last.insert(place, (at, cid))
                        && before > at
                    {
                        world.violation(format!(
                            "n{to} got {cid} before {earlier}, both by {name} about {subject}"
                        ));
                    }
                }
            }
        }
    }
}

/// Both sides of every relation say the same, and what the statements say.
fn graphs(world: &World, logs: &[Log]) {
    let lists = |node: usize, listing: &str, actor: &str, other: &str| {
        let view = world.nodes[node].handles().unwrap().projections.view("follower-graph").unwrap();
        view.get(&key(&[listing, actor, other])).unwrap().is_some()
    };
    for (here, follower) in &world.cast {
        for (there, followed) in &world.cast {
            let (a, b) = (world.nodes[*here].actor(follower), world.nodes[*there].actor(followed));
            if a == b {
                continue;
            }
            let (following, followers) =
                (lists(*here, "following", &a, &b), lists(*there, "followers", &b, &a));
            let (out, inbound) = (
                lists(*here, "pending_outbound", &a, &b),
                lists(*there, "pending_inbound", &b, &a),
            );
            for (node, listed, waits) in [(*here, following, out), (*there, followers, inbound)] {
                let relation = logs[node].known().relation(&a, &b);
                let fits = listed == matches!(relation, Relation::Accepted(_))
                    && waits == matches!(relation, Relation::Pending(_));
                if !fits {
                    world.violation(format!(
                        "n{node} lists {a} -> {b} as {listed} (waiting: {waits}), but it is {relation:?}"
                    ));
                }
            }
            let blocked = logs[*here].known().ever_blocked(&a, &b)
                || logs[*there].known().ever_blocked(&a, &b);
            if (following, out) != (followers, inbound) && !blocked {
                world.violation(format!(
                    "{a} -> {b}: following {following} and pending {out} here, followers {followers} \
                     and pending {inbound} there"
                ));
            }
        }
    }
}

/// Whoever was told of the newest state of an object has it.
fn objects(world: &World, logs: &[Log]) {
    for (home, log) in logs.iter().enumerate() {
        let mut newest: BTreeMap<String, &Record> = BTreeMap::new();
        for record in &log.records {
            let outbox = matches!(&record.entry.stream, Stream::Outbox(_));
            let states = matches!(record.activity.kind(), "Create" | "Update" | "Delete");
            let id = record.activity.object_id().filter(|id| id.contains("/objects/"));
            if let Some(id) = id.filter(|_| outbox && states) {
                // A Delete is the last word.
                let ended = newest.get(id).is_some_and(|held| held.activity.kind() == "Delete");
                if !ended {
                    newest.insert(id.to_owned(), record);
                }
            }
        }
        for (id, record) in newest {
            let expected = shown(world, home, &id);
            let Some(expected) = expected else {
                world.violation(format!("n{home} does not know its own {id}"));
                continue;
            };
            let deleted = record.activity.kind() == "Delete";
            let content = record.activity.object().and_then(|object| object.get("content"));
            if expected.0 != deleted || (!deleted && expected.1.as_ref() != content) {
                world.violation(format!("n{home} shows {id} as {expected:?}, not {content:?}"));
            }
            for (to, peer) in logs.iter().enumerate() {
                let told = peer.records.iter().any(|held| {
                    held.entry.cid == record.entry.cid
                        && matches!(held.entry.stream, Stream::Inbox(_))
                });
                let created = peer.records.iter().any(|held| {
                    held.activity.kind() == "Create"
                        && held.activity.object_id() == Some(id.as_str())
                });
                let there = shown(world, to, &id);
                if told && created && there.as_ref() != Some(&expected) {
                    world.violation(format!(
                        "n{to} shows {id} as {there:?}, n{home} as {expected:?}"
                    ));
                }
            }
        }
    }
}

/// Whether an object is deleted, and its content.
fn shown(world: &World, node: usize, id: &str) -> Option<(bool, Option<Value>)> {
    let view = world.nodes[node].handles().unwrap().projections.view("objects").unwrap();
    let value = view.get(&key(&[id])).unwrap()?;
    let deleted = value.get("deleted").and_then(Value::as_bool).unwrap_or(false);
    Some((deleted, value.pointer("/latest/content").cloned()))
}

/// What is on the disks verifies, as `fedsx verify` does it: density, CIDs, proofs, indexes,
/// admission state and projections against a rebuild.
pub fn disks(world: &World) {
    for node in &world.nodes {
        let scratch = MemoryStorage::default().projections();
        if let Err(error) = verify::verify(&node.on_disk(), scratch, &node.base) {
            world.violation(format!("n{} does not verify: {error:#}", node.index));
        }
    }
}
