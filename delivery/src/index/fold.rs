//! The fold itself. It reads the log and the ledger and nothing else; all of it blocks.

use std::collections::{BTreeMap, BTreeSet};

use fedsx_genesis::graph::{Change, Graph, Relation};
use fedsx_genesis::moderation;
use fedsx_kernel::log::{BODY_ERASED, Record, StoreError, Stream};
use fedsx_kernel::state::{Overlay, StateView};
use fedsx_kernel::{Activity, Base, Cid, origin_of};
use serde_json::Value;

use super::forward::Forwarded;
use super::{FoldError, Folding};
use crate::audience;
use crate::backfill::{Job, Wish};
use crate::gaps::Arrivals;
use crate::ledger::{Cursor, Item, Ledger, Status, StatusKind, Writes};

/// A batch ends early when it has this many writes.
const MAX_WRITES: usize = 8192;
/// The most bytes of recipients in one value: the store keeps small values best.
const MAX_RECIPIENT_BYTES: usize = 32 * 1024;
/// The most subjects of one item.
const MAX_SUBJECTS: usize = 8;

/// What a batch brought.
pub(super) struct Folded {
    /// The log is folded up to here.
    pub seq: u64,
    /// Something was queued for these.
    pub peers: Vec<String>,
    /// Backfills to begin.
    pub jobs: Vec<Job>,
    /// Authors among whose statements a hole has shown.
    pub holes: BTreeSet<String>,
    /// What is queued for a peer, at which position, and was erased.
    pub erased: Vec<(String, u64)>,
    /// Local actors and origins between which a Follow began or ended.
    pub followers: Vec<(String, String)>,
    /// Whether it was decided anew whom this instance has to do with.
    pub moderated: bool,
}

/// The cursor, after making the ledger fit a log that was cut back.
pub(super) fn open(ledger: &Ledger, head: u64) -> Result<u64, StoreError> {
    let cursor = ledger.cursor()?;
    if cursor.seq <= head {
        return Ok(cursor.seq);
    }
    tracing::warn!(folded = cursor.seq, head, "the log is shorter than before; folding it anew");
    ledger.rewind(head)?;
    Ok(0)
}

/// Folds the next records and writes the outcome at once.
pub(super) fn batch(folding: &Folding) -> Result<Folded, FoldError> {
    let ledger = &folding.ledger;
    let mut cursor = ledger.cursor()?;
    let records = folding.kernel.log().page(cursor.seq, folding.options.batch.max(1))?;
    let (graph, stored) = (Graph::new(""), ledger.graph());
    let mut batch = Batch {
        folding,
        graph,
        state: Overlay::new(&stored),
        writes: Writes::default(),
        peers: Vec::new(),
        jobs: BTreeMap::new(),
        arrivals: BTreeMap::new(),
        holes: BTreeSet::new(),
        erased: Vec::new(),
        followers: Vec::new(),
        moderated: false,
        forwarded: Forwarded::default(),
    };
    for record in records.iter() {
        let seq = record.entry.global_seq;
        batch.record(record, seq > cursor.queued_to)?;
        cursor.seq = seq;
        if batch.writes.0.len() >= MAX_WRITES {
            break;
        }
    }
    let Batch {
        state,
        mut writes,
        mut peers,
        jobs,
        arrivals,
        holes,
        erased,
        followers,
        moderated,
        forwarded,
        ..
    } = batch;
    forwarded.write(&mut writes)?;
    for (author, arrivals) in &arrivals {
        match arrivals {
            Some(arrivals) => writes.arrivals(author, arrivals)?,
            None => writes.forget_author(author),
        }
    }
    for ((followed, follower), job) in &jobs {
        writes.job(followed, follower, job)?;
    }
    writes.0.extend(stored.writes(state.into_writes()));
    writes.cursor(&Cursor { queued_to: cursor.queued_to, seq: cursor.seq })?;
    ledger.apply(writes)?;
    peers.sort_unstable();
    peers.dedup();
    let jobs = jobs.into_values().collect();
    Ok(Folded { seq: cursor.seq, peers, jobs, holes, erased, followers, moderated })
}

/// How what is owed is queued.
struct Owed {
    /// Whether shared inboxes serve.
    shared: bool,
    /// Whether they serve for one recipient too.
    wide: bool,
    changes: Vec<String>,
    waits_for: Vec<String>,
}

struct Batch<'a> {
    folding: &'a Folding,
    graph: Graph,
    state: Overlay<'a>,
    writes: Writes,
    peers: Vec<String>,
    jobs: BTreeMap<(String, String), Job>,
    /// What arrived of authors that this batch is about; `None` where nobody follows any more.
    arrivals: BTreeMap<String, Option<Arrivals>>,
    holes: BTreeSet<String>,
    erased: Vec<(String, u64)>,
    /// Local actors and origins between which a Follow began or ended.
    followers: Vec<(String, String)>,
    /// Whether it was decided anew whom this instance has to do with.
    moderated: bool,
    forwarded: Forwarded,
}

impl Batch<'_> {
    fn record(&mut self, record: &Record, news: bool) -> Result<(), FoldError> {
        let (entry, activity) = (&record.entry, &*record.activity);
        if entry.stream == Stream::Local {
            return if activity.kind() == BODY_ERASED { self.erased(activity) } else { Ok(()) };
        }
        self.moderated |= entry.stream.author().is_some()
            && (moderation::decided(activity).is_some() || moderation::undone(activity).is_some());
        let owed = news && entry.stream.author().is_some() && !entry.meta.backfilled;
        // An actor that deletes itself has no followers any more once that is folded.
        let farewell = owed && activity.object_id() == Some(activity.actor());
        if farewell {
            self.queue(record, false)?;
        }
        let mut judges = false;
        if entry.first {
            let changes = self.graph.apply(&mut self.state, activity)?;
            judges = changes.iter().any(|change| change.followed == activity.actor());
            if news && entry.stream.receiver().is_some() {
                for change in &changes {
                    self.accepted(record, change)?;
                }
            }
            for change in &changes {
                self.left(change)?;
                self.counted(change);
            }
            self.arrived(record)?;
        }
        if owed && !farewell {
            self.queue(record, judges)?;
        }
        if news && entry.first && entry.stream.receiver().is_some() {
            self.forward(record)?;
        }
        Ok(())
    }

    /// Notes whose followers on which instance changed.
    fn counted(&mut self, change: &Change) {
        let counts = [change.before, change.after].contains(&Relation::Accepted);
        if counts
            && self.base().is_local(&change.followed)
            && let Some(origin) = origin_of(&change.follower)
        {
            self.followers.push((change.followed.clone(), origin));
        }
    }

    /// What the ledger keeps of an activity must not tell what was erased of it.
    fn erased(&mut self, record: &Activity) -> Result<(), FoldError> {
        let about = record.object().and_then(|about| about.get("cid")).and_then(Value::as_str);
        let Some(cid) = about.and_then(|cid| cid.parse::<Cid>().ok()) else { return Ok(()) };
        let ledger = &self.folding.ledger;
        for (_, peer, mut status) in ledger.statuses(Some(&cid), None, usize::MAX)? {
            if status.kind == StatusKind::Queued {
                // The queue has an owner, who does it.
                self.erased.push((peer, status.seq));
                continue;
            }
            if let Some(letter) = ledger.letter(&peer, status.seq)? {
                self.writes.remove_letter(&peer, status.seq);
                self.writes.remove_chunks(&peer, status.seq, &letter.item);
            }
            status.erase();
            self.writes.status(&cid, &peer, &status)?;
        }
        Ok(())
    }

    /// Queues an activity for each peer that has recipients of it. Where it `judges`, it changes
    /// who follows its author. Of one that was erased before, nobody knows any more whom it was for.
    fn queue(&mut self, record: &Record, judges: bool) -> Result<(), FoldError> {
        if record.activity.is_erased() {
            return Ok(());
        }
        let (activity, hidden) = (&*record.activity, &record.entry.meta.hidden);
        let base = &self.folding.kernel.options().base;
        let known = self.folding.kernel.log().state();
        let states = (&self.state as &dyn StateView, known);
        let all = audience::recipients(&self.graph, states, base, activity, hidden)?;
        let followers = vec![audience::followers_of(activity.actor())];
        let wide = audience::is_wide(activity, hidden);
        let owed = Owed {
            shared: hidden.is_empty(),
            wide,
            changes: if judges { followers.clone() } else { Vec::new() },
            waits_for: if wide { followers } else { Vec::new() },
        };
        self.enqueue(record, all, &owed)
    }

    /// Forwards an activity from elsewhere to the followers of actors of ours.
    fn forward(&mut self, record: &Record) -> Result<(), FoldError> {
        let owners = self.forwarded.note(self.folding, record)?;
        if owners.is_empty() {
            return Ok(());
        }
        let base = &self.folding.kernel.options().base;
        let (graph, state) = (&self.graph, &self.state);
        let all = audience::forwarded(graph, state, base, &record.activity, &owners)?;
        let waits_for = owners.iter().map(|owner| audience::followers_of(owner)).collect();
        let owed = Owed { shared: true, wide: false, changes: Vec::new(), waits_for };
        self.enqueue(record, all, &owed)
    }

    /// Writes the queue entries.
    ///
    /// Behind a shared inbox, the peer itself works out who follows the author. So what is said to
    /// the followers waits for the answers that made them such, or made them none.
    fn enqueue(
        &mut self,
        record: &Record,
        recipients: Vec<String>,
        owed: &Owed,
    ) -> Result<(), FoldError> {
        let (activity, seq) = (&*record.activity, record.entry.global_seq);
        let mut by_peer: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for id in recipients {
            if let Some(peer) = origin_of(&id) {
                by_peer.entry(peer).or_default().push(id);
            }
        }
        if by_peer.is_empty() {
            return Ok(());
        }
        let subjects = self.folding.kernel.rules().subjects(activity);
        let subjects: Vec<_> = subjects.into_iter().take(MAX_SUBJECTS).map(str::to_owned).collect();
        for (peer, recipients) in by_peer {
            let total = u32::try_from(recipients.len()).unwrap_or(u32::MAX);
            let mut lists = split(recipients).into_iter();
            let first = lists.next().unwrap_or_default();
            let mut chunks = 0;
            for list in lists {
                self.writes.chunk(&peer, seq, chunks, &list)?;
                chunks += 1;
            }
            let shared = owed.shared && (owed.wide || total > 1);
            let item = Item {
                cid: *activity.cid(),
                recipients: first,
                total,
                chunks,
                shared,
                subjects: subjects.clone(),
                changes: owed.changes.clone(),
                waits_for: if shared { owed.waits_for.clone() } else { Vec::new() },
                attempts: 0,
                next_ms: 0,
                pause_ms: None,
                enqueued_ms: record.entry.meta.received_ms,
                done: 0,
                refused: None,
            };
            self.writes.item(&peer, seq, &item)?;
            self.writes.status(activity.cid(), &peer, &Status::queued(seq, total))?;
            self.peers.push(peer);
        }
        Ok(())
    }

    /// Notes the place of a statement by an author that somebody here follows.
    fn arrived(&mut self, record: &Record) -> Result<(), FoldError> {
        let (entry, author) = (&record.entry, record.activity.actor());
        let Some((epoch, seq)) = record.activity.position() else { return Ok(()) };
        if entry.stream.receiver().is_none() || self.base().is_local(author) {
            return Ok(());
        }
        let noted = self.arrivals.remove(author);
        let in_batch = noted.is_some();
        let mut held = match noted {
            Some(held) => held,
            None => self.folding.ledger.arrivals(author)?,
        };
        // What was said before the first news of someone who is followed is no hole.
        if held.is_none() && !entry.meta.backfilled && self.is_followed(author)? {
            held = Some(Arrivals::default());
        }
        if let Some(arrivals) = &mut held
            && arrivals.note(epoch, seq)
        {
            self.holes.insert(author.to_owned());
        }
        if held.is_some() || in_batch {
            self.arrivals.insert(author.to_owned(), held);
        }
        Ok(())
    }

    /// Forgets what arrived of an actor that nobody here follows any more.
    fn left(&mut self, change: &Change) -> Result<(), FoldError> {
        let base = self.base();
        let ours = base.is_local(&change.follower) && !base.is_local(&change.followed);
        if ours && change.after == Relation::None && !self.is_followed(&change.followed)? {
            self.arrivals.insert(change.followed.clone(), None);
            self.holes.remove(&change.followed);
        }
        Ok(())
    }

    /// Whether anybody here follows an actor elsewhere.
    fn is_followed(&self, actor: &str) -> Result<bool, FoldError> {
        let base = self.base().as_str();
        Ok(!self.graph.followers_at(&self.state, actor, base, None, 1)?.is_empty())
    }

    fn base(&self) -> &Base {
        &self.folding.kernel.options().base
    }

    /// Begins the backfill that an accepted Follow of ours asked for.
    fn accepted(&mut self, record: &Record, change: &Change) -> Result<(), FoldError> {
        let base = &self.folding.kernel.options().base;
        if change.after != Relation::Accepted || base.is_local(&change.followed) {
            return Ok(());
        }
        let Some(follower) = base.name_of(&change.follower) else { return Ok(()) };
        let (state, graph) = (&self.state, &self.graph);
        let Some(id) = graph.follow_id(state, &change.follower, &change.followed)? else {
            return Ok(());
        };
        let Some(follow) = self.folding.kernel.log().by_id(&id)? else { return Ok(()) };
        if let Some(wish) = wish(&follow) {
            let accepted_ms = record.entry.meta.received_ms;
            let job = Job::new(change.followed.clone(), follower.clone(), wish, accepted_ms);
            self.jobs.insert((change.followed.clone(), follower.to_string()), job);
        }
        Ok(())
    }
}

fn wish(follow: &Activity) -> Option<Wish> {
    let asked = follow.get("backfill")?;
    match Wish::parse(asked) {
        Ok(wish) => wish,
        Err(reason) => {
            tracing::warn!(cid = %follow.cid(), %reason, "a backfill that cannot be understood");
            None
        }
    }
}

/// Lists of recipients, each small enough for one value.
fn split(recipients: Vec<String>) -> Vec<Vec<String>> {
    let mut lists = vec![Vec::new()];
    let mut bytes = 0;
    for id in recipients {
        bytes += id.len();
        if bytes > MAX_RECIPIENT_BYTES {
            bytes = id.len();
            lists.push(Vec::new());
        }
        if let Some(list) = lists.last_mut() {
            list.push(id);
        }
    }
    lists
}
