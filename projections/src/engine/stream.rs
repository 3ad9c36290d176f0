//! Live streams: what changed in a projection, as it changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fedsx_genesis::moderation;
use fedsx_kernel::state::{StateView as _, key, parts, prefix};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::handle::Projections;
use super::shared::{Served, Shared};
use crate::changes::{self, Reach};
use crate::error::QueryError;
use crate::fold::Visibility;
use crate::layout::{Build, Layout};
use crate::query::NOTES;
use crate::reader::Reader;
use crate::render::{Rendered, UpTo};
use crate::table_state::TableState;

/// Streams that may be open, and those of one client.
const MAX_STREAMS: usize = 256;
const MAX_STREAMS_OF_CLIENT: usize = 32;
/// However many decisions of moderation are made, a client reads anew at most so often for them.
const BETWEEN_RESETS: Duration = Duration::from_secs(2);
/// Changes that are read in one step.
const PAGE: usize = 256;

/// What somebody wants to be told.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    /// Tell what changed after this position first; without it only what changes from now on.
    pub since: Option<u64>,
    /// The first parts of the keys of the rows that count.
    pub key_prefix: Option<Vec<String>>,
    /// For whom.
    pub reader: Reader,
    /// By which names the client counts, for the limit on streams of one client: its address, and
    /// the actor whose token it bears.
    pub clients: Vec<String>,
}

/// One row that changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The parts of its key.
    pub key: Vec<String>,
    /// The row as it is now, none where it is gone (or the reader may not see it any more). A row
    /// that changed again since is told again.
    pub value: Option<Value>,
    /// The position of the change.
    pub global_seq: u64,
    /// Whether nothing more of that position follows: who goes on from it later misses nothing.
    #[serde(skip)]
    pub is_last: bool,
}

/// What a stream tells.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Rows that changed, in the order of positions; may be empty where what changed is not for
    /// the reader.
    Changes(Vec<Change>),
    /// What changed since the client's position is not known any more, or it was decided anew whom
    /// this instance hides: the client must read everything anew, at this position or later. What
    /// changes after it follows.
    Reset(u64),
}

/// A live stream of one projection.
pub struct Changes {
    projections: Projections,
    shared: Arc<Shared>,
    served: watch::Receiver<Served>,
    closed: watch::Receiver<bool>,
    ended: watch::Receiver<bool>,
    subscription: Arc<Subscription>,
    /// The build that the client reads; none where that is not known and must be settled.
    build: Option<Build>,
    /// The place of the last change that was told.
    place: Place,
    position: u64,
    /// The last decision of moderation that what the client reads is in line with.
    decided: u64,
    /// Until it ends, no decision makes the client read anew; nothing is told after one.
    rest: Option<Instant>,
    _permit: Permit,
}

impl Projections {
    /// Opens a live stream.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], and [`QueryError::Busy`] where too many are open.
    pub fn changes(&self, name: &str, wanted: Subscription) -> Result<Changes, QueryError> {
        let shared = self.shared(name)?;
        let permit = self.streams().open(&wanted.clients)?;
        let (served, closed) = (shared.follow(), self.streams().closed.subscribe());
        let ended = shared.ended();
        let now = shared.served();
        let position = wanted.since.unwrap_or(now.global_seq);
        let sees_all = wanted.reader.is_admin() && shared.fold.visibility() == Visibility::Public;
        let decided = match wanted.since {
            _ if sees_all => u64::MAX,
            Some(since) => since,
            None => moderation::last(self.log().state())?,
        };
        Ok(Changes {
            projections: self.clone(),
            shared,
            served,
            closed,
            ended,
            build: wanted.since.is_none().then_some(now.build),
            place: (position, u32::MAX),
            position,
            decided,
            rest: None,
            subscription: Arc::new(wanted),
            _permit: permit,
        })
    }

    /// Ends all live streams, and lets none be opened any more.
    pub fn end_streams(&self) {
        self.streams().closed.send_replace(true);
    }
}

impl Changes {
    /// Everything up to this position was told.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Waits until there may be news; `false` where the projections stop, or this one ends or is
    /// given another fold, and none come any more.
    pub async fn changed(&mut self) -> bool {
        let (rest, clock) = (self.rest, self.projections.runtime().clock.clone());
        let rested = async {
            match rest {
                Some(end) => clock.sleep(end.saturating_duration_since(Instant::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => false,
            _ = self.ended.wait_for(|ended| *ended) => false,
            changed = self.served.changed() => changed.is_ok(),
            () = rested => true,
        }
    }

    /// What there is to tell now; none where nothing changed. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn news(&mut self) -> Result<Option<News>, QueryError> {
        self.rest = self.rest.filter(|end| *end > Instant::now());
        let reading = Reading {
            decided: self.decided,
            rests: self.rest.is_some(),
            projections: self.projections.clone(),
            shared: self.shared.clone(),
            subscription: self.subscription.clone(),
            build: self.build,
            place: self.place,
        };
        // What is published after this is seen by the next call.
        let served = *self.served.borrow_and_update();
        let runtime = self.projections.runtime().clone();
        let read = runtime.run(move || reading.read(served)).await;
        let read =
            read.map_err(|_| QueryError::Unavailable(self.shared.fold.name().to_owned()))??;
        self.build = Some(read.build);
        self.place = read.place;
        self.position = read.position.max(self.position);
        if matches!(read.news, Some(News::Reset(_))) {
            self.position = read.position;
            self.decided = self.decided.max(read.decided);
            self.rest = Instant::now().checked_add(BETWEEN_RESETS);
        }
        Ok(read.news)
    }
}

struct Reading {
    decided: u64,
    rests: bool,
    projections: Projections,
    shared: Arc<Shared>,
    subscription: Arc<Subscription>,
    build: Option<Build>,
    place: Place,
}

/// A position, and the number of a change among those of the position.
type Place = (u64, u32);

/// What is known of the changes of a row.
#[derive(Default)]
struct Row {
    /// Whether anyone could see it before one of them.
    was_public: bool,
    /// The last one.
    place: Place,
    /// The last one after which anyone saw something else than before.
    public_place: Option<Place>,
}

struct Read {
    news: Option<News>,
    /// The last decision of moderation.
    decided: u64,
    build: Build,
    place: Place,
    position: u64,
}

impl Reading {
    fn read(&self, served: Served) -> Result<Read, QueryError> {
        let Served { build, global_seq } = served;
        // Before the rows are read, which are shown as it was decided by then.
        let decided = moderation::last(self.projections.log().state())?;
        let moved = decided > self.decided;
        if moved && self.rests {
            // Nothing is told meanwhile: by a later position the client would seem to know.
            let (build, place) = (self.build.unwrap_or(build), self.place);
            return Ok(Read { news: None, decided, build, place, position: 0 });
        }
        let layout = Layout::new(self.shared.fold.name(), build);
        let table = &*self.shared.table;
        let found = changes::read(table, &layout, self.place, PAGE)?;
        let reach = Reach::read(table, &layout)?;
        let lost = match self.build {
            // A client that comes back: it may have read another build, or wait for a log that is
            // not there any more.
            None => {
                let head = self.projections.log().head();
                self.place.0 < reach.floor.max(reach.start) || self.place.0 > head
            }
            Some(read) => read != build || self.place.0 < reach.floor,
        };
        // The build may have been replaced and removed while it was read.
        if lost || moved || self.shared.live() != build {
            let now = self.shared.served();
            return Ok(Read {
                news: Some(News::Reset(now.global_seq)),
                decided,
                build: now.build,
                place: (now.global_seq, u32::MAX),
                position: now.global_seq,
            });
        }
        let more = found.len() == PAGE;
        let place = found.last().map(|last| (last.global_seq, last.number));
        let position = match place {
            // The next page may begin with the same position.
            Some((last, _)) if more => last.saturating_sub(1),
            Some((last, _)) => last.max(global_seq),
            None => global_seq,
        };
        let news = if found.is_empty() {
            None
        } else {
            Some(News::Changes(self.tell(build, found, more)?))
        };
        Ok(Read { news, decided, build, place: place.unwrap_or(self.place), position })
    }

    /// Each row once, at its last change, as the reader may see it.
    fn tell(
        &self,
        build: Build,
        found: Vec<changes::Change>,
        more: bool,
    ) -> Result<Vec<Change>, QueryError> {
        // More of the last position may follow on the next page.
        let open = found.last().map(|change| change.global_seq).filter(|_| more);
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for change in found.into_iter().filter(|change| self.is_below(&change.key)) {
            let place = (change.global_seq, change.number);
            let row = rows.entry(change.key).or_default();
            row.was_public |= change.was_public;
            row.place = place;
            if !change.same_to_anyone {
                row.public_place = Some(place);
            }
        }
        let state = self.shared.state(build);
        let mut told = Vec::new();
        for (key, row) in rows {
            let (held, parts) = (state.get(&key)?, parts(&key));
            if let Some((place, value)) = self.view(&state, &row, &parts, held)? {
                told.push((place, parts, value));
            }
        }
        told.sort_by_key(|(place, ..)| *place);
        let mut changes: Vec<Change> = Vec::with_capacity(told.len());
        for ((global_seq, _), key, value) in told {
            if let Some(before) =
                changes.last_mut().filter(|before| before.global_seq == global_seq)
            {
                before.is_last = false;
            }
            let is_last = open != Some(global_seq);
            changes.push(Change { key, value, global_seq, is_last });
        }
        Ok(changes)
    }

    /// What is told of a changed row, if anything: the place of the change, and the value or that
    /// it is gone.
    fn view(
        &self,
        state: &TableState,
        row: &Row,
        key: &[String],
        held: Option<Value>,
    ) -> Result<Option<(Place, Option<Value>)>, QueryError> {
        let bodies = UpTo::now(self.projections.log());
        let rendered = Rendered { fold: &*self.shared.fold, state, bodies: &bodies };
        let value = match held {
            Some(held) => rendered.row(key, held)?,
            None => None,
        };
        let shown_to = |reader: &Reader, value: Option<Value>| match value {
            Some(value) => self.projections.judge(&self.shared, reader).counted(state, key, value),
            None => Ok(None),
        };
        let reader = &self.subscription.reader;
        let now = shown_to(reader, value.clone())?;
        let Some(now) = now else {
            // Gone for whoever could see it. A row that was removed tells by its key whose it was.
            let knew = match (row.public_place.filter(|_| row.was_public), &value) {
                (Some(place), _) => Some(place),
                (None, None) => shown_to(reader, Some(Value::Null))?.map(|_| row.place),
                (None, Some(_)) => None,
            };
            return Ok(knew.map(|place| (place, None)));
        };
        // Who sees no more than anyone is not told of changes to what only some see.
        let place = if Some(&now) == shown_to(&Reader::Anyone, value)?.as_ref() {
            row.public_place
        } else {
            Some(row.place)
        };
        Ok(place.map(|place| (place, Some(now))))
    }

    fn is_below(&self, row: &str) -> bool {
        let Some(first) = &self.subscription.key_prefix else { return true };
        if first.iter().any(|part| part.starts_with(NOTES)) {
            return false;
        }
        let first: Vec<&str> = first.iter().map(String::as_str).collect();
        first.is_empty() || row == key(&first) || row.starts_with(&prefix(&first))
    }
}

/// The open streams of all projections.
pub(super) struct Streams {
    open: Arc<Mutex<Open>>,
    pub(super) closed: watch::Sender<bool>,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { open: Arc::default(), closed: watch::Sender::new(false) }
    }

    fn open(&self, clients: &[String]) -> Result<Permit, QueryError> {
        if *self.closed.borrow() {
            return Err(QueryError::Unavailable("streams".into()));
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |client: &String| open.of_client.get(client).copied().unwrap_or(0);
        if open.all >= MAX_STREAMS || clients.iter().any(|one| held(one) >= MAX_STREAMS_OF_CLIENT) {
            return Err(QueryError::Busy("live streams"));
        }
        open.all += 1;
        for client in clients {
            *open.of_client.entry(client.clone()).or_default() += 1;
        }
        Ok(Permit { open: self.open.clone(), clients: clients.to_vec() })
    }
}

/// The place of a stream; given back when it ends.
struct Permit {
    open: Arc<Mutex<Open>>,
    clients: Vec<String>,
}

/// How many streams there are.
#[derive(Default)]
struct Open {
    all: usize,
    of_client: HashMap<String, usize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        for client in &self.clients {
            if let Some(count) = open.of_client.get_mut(client) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    open.of_client.remove(client);
                }
            }
        }
    }
}
