//! One group of appends, planned against the committed log and committed as one batch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::entry::{Entry, Meta, Record, Stream};
use super::erasure::{Erasure, ErasureError};
use super::errors::AppendError;
use super::store::{Batch, LogStore, OnceValue};
use crate::activity::Activity;
use crate::address::ActorName;
use crate::cid::Cid;
use crate::refusal::Refusal;
use crate::rules::{Judgement, Rules};
use crate::state::{Overlay, State, StateView, Writes};

/// A decision taken in the writer, against the state at the append's very position.
pub type Guard = Box<dyn FnOnce(&dyn StateView) -> Result<Judgement, Refusal> + Send>;

/// A key that nothing else in the store may use: what is derived once, is derived once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// The key.
    pub key: String,
    /// Hash of the request, to tell a repetition from a mistake.
    pub fingerprint: Option<String>,
}

/// Where an append goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The author's outbox, at exactly this position, and the inboxes of local recipients.
    Outbox(ActorName, u64),
    /// These inboxes.
    Inboxes(Vec<ActorName>),
    /// The inboxes of whoever it concerns here (a shared inbox).
    Concerned,
    /// The instance's own stream.
    Local,
    /// The instance's own stream; what is appended records that a body is erased in the same
    /// batch, and this stub is left of it ([`Activity::stub`]).
    Erasing(Arc<Activity>),
}

impl Place {
    fn is_local(&self) -> bool {
        matches!(self, Self::Local | Self::Erasing(_))
    }
}

/// A request to append one body.
pub struct Append {
    /// The body.
    pub activity: Arc<Activity>,
    /// Where it goes.
    pub place: Place,
    /// What is known beside it.
    pub meta: Meta,
    /// Its once key.
    pub once: Option<Once>,
    /// The last check.
    pub guard: Option<Guard>,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The body.
    pub cid: Cid,
    /// The entries made; empty where every stream had the body before.
    pub entries: Vec<(Stream, u64, u64)>,
    /// The position from which on its effects are visible.
    pub global_seq: u64,
}

impl Appended {
    /// Whether nothing was appended because everything was there.
    pub fn already(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The plan for one group: the batch so far, and look-ups that see it on top of the store.
pub(super) struct Group<'a> {
    store: &'a dyn LogStore,
    rules: &'a dyn Rules,
    batch: Batch,
    state: GroupState<'a>,
    head: u64,
    lengths: HashMap<Stream, u64>,
    places: HashSet<(Stream, Cid)>,
    bodies: HashMap<Cid, u64>,
    ids: HashMap<String, Cid>,
    once: HashMap<String, OnceValue>,
    bytes: usize,
}

/// Committed state with the writes of the group on top.
struct GroupState<'a> {
    base: &'a dyn StateView,
    writes: Writes,
}

impl StateView for GroupState<'_> {
    fn get(&self, key: &str) -> Result<Option<Value>, crate::state::StateError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(key),
        }
    }

    fn get_shared(&self, key: &str) -> Result<Option<Arc<Value>>, crate::state::StateError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone().map(Arc::new)),
            None => self.base.get_shared(key),
        }
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, crate::state::StateError> {
        crate::state::scan_over(self.base, &self.writes, prefix, after, limit)
    }
}

impl<'a> Group<'a> {
    pub(super) fn new(store: &'a dyn LogStore, rules: &'a dyn Rules) -> Result<Self, AppendError> {
        Ok(Self {
            store,
            rules,
            batch: Batch::default(),
            state: GroupState { base: store.state(), writes: Writes::new() },
            head: store.head()?,
            lengths: HashMap::new(),
            places: HashSet::new(),
            bodies: HashMap::new(),
            ids: HashMap::new(),
            once: HashMap::new(),
            bytes: 0,
        })
    }

    pub(super) fn into_batch(mut self) -> Batch {
        self.batch.state = self.state.writes;
        self.batch
    }

    /// Bytes of the bodies in the batch.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Plans one append. What it returns holds once the batch is committed; an error leaves the
    /// plan as it was.
    pub(super) fn plan(&mut self, append: Append) -> Result<Appended, AppendError> {
        let Append { activity, place, mut meta, once, guard } = append;
        let cid = *activity.cid();
        if let Some(once) = &once
            && let Some(used) = self.once_value(&once.key)?
        {
            return Err(AppendError::OnceTaken(Box::new(used)));
        }
        let known = self.first_entry(&cid)?;
        let foreign_id =
            (!activity.certifies_itself() && !place.is_local()).then(|| activity.id().to_owned());
        if let Some(id) = &foreign_id
            && let Some(held) = self.by_id(id)?
            && held != cid
        {
            return Err(AppendError::OtherVersion { id: id.clone(), held });
        }
        if known.is_none()
            && let Some(guard) = guard
        {
            let judgement = guard(&self.state).map_err(AppendError::Refused)?;
            meta.judged_by = judgement.judged_by;
        }
        let streams = self.streams(&activity, &place, &meta)?;
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        for stream in streams {
            // No stream has a body that the log does not hold.
            let new = known.is_none() || !self.has(&stream, &cid)?;
            if seen.insert(stream.clone()) && new {
                missing.push(stream);
            }
        }
        if missing.is_empty() {
            return Ok(Appended {
                cid,
                entries: Vec::new(),
                global_seq: known.unwrap_or(self.head),
            });
        }
        let mut entries = Vec::new();
        for (index, stream) in missing.into_iter().enumerate() {
            let stream_seq = self.length(&stream)?;
            if let Place::Outbox(_, expected) = &place
                && matches!(stream, Stream::Outbox(_))
                && stream_seq != *expected
            {
                return Err(AppendError::Position { expected: *expected, found: stream_seq });
            }
            let global_seq = self.head + 1 + index as u64;
            let first = known.is_none() && index == 0;
            entries.push(Entry { global_seq, stream, stream_seq, cid, first, meta: meta.clone() });
        }
        // Everything that can fail comes before the first change to the plan.
        let body = activity.to_body().map_err(|e| AppendError::Unstorable(e.to_string()))?;
        let mut overlay = Overlay::new(&self.state);
        if let Some(first) = entries.iter().find(|entry| entry.first) {
            let record = Record { entry: first.clone(), activity: activity.clone() };
            self.rules.fold(&mut overlay as &mut dyn State, &record)?;
        }
        let writes = overlay.into_writes();
        let erasure = match &place {
            Place::Erasing(stub) => Some(self.erasure(stub)?),
            _ => None,
        };

        let appended = Appended {
            cid,
            entries: entries
                .iter()
                .map(|e| (e.stream.clone(), e.stream_seq, e.global_seq))
                .collect(),
            global_seq: entries.last().map_or(self.head, |e| e.global_seq),
        };
        self.state.writes.extend(writes);
        if known.is_none() {
            self.bodies.insert(cid, self.head + 1);
            if let Some(id) = &foreign_id {
                self.ids.insert(id.clone(), cid);
            }
            self.bytes += body.block.len() + body.proof.as_ref().map_or(0, String::len);
            self.batch.bodies.push((cid, body, foreign_id));
        }
        if let Some(once) = once {
            let value = OnceValue { global_seq: self.head + 1, cid, fingerprint: once.fingerprint };
            self.once.insert(once.key.clone(), value.clone());
            self.batch.once.push((once.key, value));
        }
        if let Some(erasure) = erasure {
            self.bytes += erasure.stub.block.len();
            self.batch.erasures.push(erasure);
        }
        for entry in entries {
            self.head = entry.global_seq;
            self.lengths.insert(entry.stream.clone(), entry.stream_seq + 1);
            self.places.insert((entry.stream.clone(), cid));
            self.batch.entries.push(entry);
        }
        Ok(appended)
    }

    fn erasure(&self, stub: &Activity) -> Result<Erasure, AppendError> {
        let cid = stub.cid();
        if self.batch.erasures.iter().any(|erasure| erasure.cid == *cid) {
            return Err(AppendError::NothingToErase(*cid));
        }
        Erasure::plan(self.store, stub).map_err(|error| match error {
            ErasureError::NothingLeft => AppendError::NothingToErase(*cid),
            ErasureError::NoStub => AppendError::Unstorable("the stub is none".into()),
            ErasureError::Unstorable(reason) => AppendError::Unstorable(reason),
            ErasureError::Store(error) => error.into(),
        })
    }

    fn streams(
        &self,
        activity: &Activity,
        place: &Place,
        meta: &Meta,
    ) -> Result<Vec<Stream>, AppendError> {
        let mut streams = Vec::new();
        match place {
            Place::Local | Place::Erasing(_) => streams.push(Stream::Local),
            Place::Inboxes(names) => {
                streams.extend(names.iter().cloned().map(Stream::Inbox));
                if !meta.backfilled && self.rules.is_spread(activity) {
                    let more = self.rules.recipients(&self.state, activity, &meta.hidden)?;
                    let more = more.into_iter().filter(|name| !names.contains(name));
                    streams.extend(more.map(Stream::Inbox));
                }
            }
            Place::Concerned => {
                let names = self.rules.recipients(&self.state, activity, &meta.hidden)?;
                streams.extend(names.into_iter().map(Stream::Inbox));
                if streams.is_empty() {
                    return Err(AppendError::NobodyConcerned);
                }
            }
            Place::Outbox(author, _) => {
                streams.push(Stream::Outbox(author.clone()));
                let names = self.rules.recipients(&self.state, activity, &meta.hidden)?;
                streams.extend(names.into_iter().filter(|n| n != author).map(Stream::Inbox));
            }
        }
        Ok(streams)
    }

    fn once_value(&self, key: &str) -> Result<Option<OnceValue>, AppendError> {
        match self.once.get(key) {
            Some(value) => Ok(Some(value.clone())),
            None => Ok(self.store.once(key)?),
        }
    }

    fn first_entry(&self, cid: &Cid) -> Result<Option<u64>, AppendError> {
        match self.bodies.get(cid) {
            Some(seq) => Ok(Some(*seq)),
            None => Ok(self.store.first_entry(cid)?),
        }
    }

    fn by_id(&self, id: &str) -> Result<Option<Cid>, AppendError> {
        match self.ids.get(id) {
            Some(cid) => Ok(Some(*cid)),
            None => Ok(self.store.by_id(id)?),
        }
    }

    fn has(&self, stream: &Stream, cid: &Cid) -> Result<bool, AppendError> {
        Ok(self.places.contains(&(stream.clone(), *cid))
            || self.store.position(stream, cid)?.is_some())
    }

    fn length(&self, stream: &Stream) -> Result<u64, AppendError> {
        match self.lengths.get(stream) {
            Some(length) => Ok(*length),
            None => Ok(self.store.stream_len(stream)?),
        }
    }
}
