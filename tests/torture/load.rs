//! The load: local actors publish, foreign actors deliver, follow and undo, all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::books::{Ack, Act, Books, Delivery, Fate, Matter, Pages};
use crate::dice::Dice;
use crate::foreign::{Foreign, PUBLIC, Sign};
use crate::peer::Peer;
use crate::wire::{ACTIVITY_JSON, Answer, Wire};

/// Hosted actors.
pub const ACTORS: usize = 8;
/// Threads that publish; some actors have two.
const PUBLISHERS: usize = 12;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One instance, its peer, and the books on both.
pub struct World {
    pub books: Books,
    pub base: String,
    pub foreign: Vec<Arc<Foreign>>,
    pub peer: Peer,
    /// How many of a hundred publishes are large.
    large: u64,
    markers: AtomicU64,
    label: String,
}

pub fn actor_name(index: usize) -> String {
    format!("actor{index}")
}

pub fn secret(name: &str) -> String {
    format!("{name}-secret-0123456789")
}

impl World {
    pub fn new(
        base: &str,
        label: &str,
        foreign: Vec<Arc<Foreign>>,
        peer: Peer,
        large: u64,
    ) -> Self {
        let (base, label) = (base.to_owned(), label.to_owned());
        let (books, markers) = (Books::default(), AtomicU64::new(0));
        Self { books, base, foreign, peer, large, markers, label }
    }

    pub fn actor(&self, index: usize) -> String {
        format!("{}/actors/{}", self.base, actor_name(index))
    }

    fn marker(&self) -> String {
        format!("{}-{}", self.label, self.markers.fetch_add(1, Ordering::SeqCst))
    }
}

/// The load of one round.
pub struct Load<'scope> {
    stop: Arc<AtomicBool>,
    threads: Vec<ScopedJoinHandle<'scope, Result<()>>>,
}

impl<'scope> Load<'scope> {
    /// Starts all threads. `calm` keeps the peer up.
    pub fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        world: &'env World,
        dice: &Dice,
        calm: bool,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..PUBLISHERS {
            let (dice, stop) = (dice.fork(), stop.clone());
            let publisher = Publisher {
                world,
                wire: Wire::new(&world.base, PATIENCE),
                actor: number % ACTORS,
                leads: number < ACTORS,
                dice,
            };
            threads.push(scope.spawn(move || publisher.run(&stop)));
        }
        for number in 0..world.foreign.len() {
            let (dice, stop) = (dice.fork(), stop.clone());
            let wire = Wire::new(&world.base, PATIENCE);
            let sender = Sender { world, wire, number, dice };
            threads.push(scope.spawn(move || sender.run(&stop)));
        }
        let (dice, stopped) = (dice.fork(), stop.clone());
        threads.push(scope.spawn(move || {
            if calm {
                return world.peer.set(crate::peer::Mood::Well);
            }
            world.peer.wander(&dice, || stopped.load(Ordering::SeqCst))
        }));
        Self { stop, threads }
    }

    /// Ends the load, once the instance is gone.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread of the load panicked"),
            }
        }
        Ok(())
    }
}

struct Publisher<'a> {
    world: &'a World,
    wire: Wire,
    actor: usize,
    /// Only one thread of an actor creates it, rotates its keys and follows.
    leads: bool,
    dice: Dice,
}

impl Publisher<'_> {
    fn run(&self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::SeqCst) {
            let answered = match self.next() {
                Some(index) => self.send(index),
                None => false,
            };
            let pause = if answered { self.dice.millis(0, 12) } else { Duration::from_millis(10) };
            thread::sleep(pause);
        }
        Ok(())
    }

    /// Enters what comes next.
    fn next(&self) -> Option<usize> {
        let dice = &self.dice;
        if !self.world.books.open().exist.contains(&self.actor) {
            return self.leads.then(|| self.create());
        }
        if let Some(again) = self.again() {
            return Some(again);
        }
        match dice.below(100) {
            0..10 => {
                let to = self.world.foreign.get(dice.index(self.world.foreign.len()))?;
                Some(self.note(Act::Foreign, std::slice::from_ref(&to.id), 0))
            }
            10..18 => {
                let mut to: Vec<usize> = self.world.books.open().exist.iter().copied().collect();
                to.retain(|other| *other != self.actor && dice.percent(40));
                if to.is_empty() {
                    return Some(self.note(Act::Public, &[], 0));
                }
                let ids: Vec<String> = to.iter().map(|other| self.world.actor(*other)).collect();
                Some(self.note(Act::Local(to), &ids, 0))
            }
            18..26 if self.leads => Some(self.follow()),
            26..28 if self.leads => Some(self.rotate()),
            roll if roll >= 100 - self.world.large => {
                let length = 20_000 + dice.index(600_000);
                Some(self.note(Act::Public, &[], length))
            }
            _ => Some(self.note(Act::Public, &[], 0)),
        }
    }

    /// A request with a key to send again: one without an answer, or one that has its answer.
    fn again(&self) -> Option<usize> {
        let pages = self.world.books.open();
        let mine = || {
            pages
                .publishes
                .iter()
                .enumerate()
                .rev()
                .take(2000)
                .filter(|(_, p)| p.actor == self.actor && p.key.is_some())
        };
        let open = mine().find(|(_, p)| {
            matches!(p.fate, Fate::Unknown | Fate::Void | Fate::Found) && self.dice.percent(30)
        });
        if open.is_some() {
            return open.map(|(index, _)| index);
        }
        if !self.dice.percent(4) {
            return None;
        }
        let all: Vec<usize> = mine().map(|(index, _)| index).collect();
        self.dice.pick(&all).copied()
    }

    fn enter(&self, act: Act, marker: String, request: &Value, keyed: bool) -> usize {
        let key = keyed.then(|| format!("key-{marker}"));
        let body = request.to_string().into_bytes();
        self.world.books.publish(self.actor, act, marker, key, body)
    }

    fn create(&self) -> usize {
        let known = self
            .world
            .books
            .open()
            .publishes
            .iter()
            .position(|p| p.actor == self.actor && p.act == Act::Person);
        if let Some(known) = known {
            return known;
        }
        let marker = self.world.marker();
        let person = json!({ "type": "Person", "name": actor_name(self.actor) });
        let request = json!({ "type": "Create", "summary": marker, "object": person });
        self.enter(Act::Person, marker, &request, true)
    }

    fn note(&self, act: Act, to: &[String], length: usize) -> usize {
        let marker = self.world.marker();
        let content = format!("{marker} {}", "x".repeat(length));
        let note = json!({ "type": "Note", "content": content });
        let mut request = json!({ "type": "Create", "summary": marker, "object": note });
        if let Some(members) = request.as_object_mut().filter(|_| !to.is_empty()) {
            members.insert("to".into(), json!(to));
        }
        self.enter(act, marker, &request, self.dice.percent(40))
    }

    fn follow(&self) -> usize {
        let number = self.dice.index(self.world.foreign.len());
        let place = (self.actor, number);
        let last = self.world.books.open().following.get(&place).copied();
        let acked = last.and_then(|(index, undone)| {
            match self.world.books.open().publishes.get(index).map(|p| p.fate.clone()) {
                Some(Fate::Acked(ack)) if !undone => Some((index, ack.cid)),
                _ => None,
            }
        });
        let marker = self.world.marker();
        if let Some((index, cid)) = acked {
            let request = json!({ "type": "Undo", "summary": marker, "object": cid });
            self.world.books.open().following.insert(place, (index, true));
            return self.enter(Act::Undo, marker, &request, self.dice.percent(40));
        }
        let object = self.world.foreign.get(number).map(|foreign| foreign.id.clone());
        let request = json!({ "type": "Follow", "summary": marker, "object": object });
        let index = self.enter(Act::Follow(number), marker, &request, self.dice.percent(40));
        self.world.books.open().following.insert(place, (index, false));
        index
    }

    fn rotate(&self) -> usize {
        let marker = self.world.marker();
        let request = json!({
            "type": "Update",
            "summary": marker,
            "object": actor_name(self.actor),
            "patch": { "add_publicKey": { "generate": true }, "supersede": {} },
        });
        self.enter(Act::Rotate, marker, &request, false)
    }

    /// Sends an entered request, some with a key twice at once. Whether an answer came.
    fn send(&self, index: usize) -> bool {
        let keyed = {
            let pages = self.world.books.open();
            pages.publishes.get(index).is_some_and(|p| p.key.is_some() && p.body.len() < 10_000)
        };
        if keyed && self.dice.percent(12) {
            let later = self.dice.millis(0, 8);
            return thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(later);
                    self.post(index)
                });
                self.post(index)
            });
        }
        self.post(index)
    }

    fn post(&self, index: usize) -> bool {
        let request = {
            let pages = self.world.books.open();
            pages.publishes.get(index).map(|p| (p.key.clone(), p.body.clone()))
        };
        let Some((key, body)) = request else { return false };
        let secret = secret(&actor_name(self.actor));
        let mut headers = vec![("content-type", ACTIVITY_JSON)];
        headers.extend(key.as_deref().map(|key| ("idempotency-key", key)));
        let answer = self.wire.send("POST", "/activity", Some(&secret), &headers, Some(&body));
        let at = self.world.books.tick();
        // Nobody knows what became of it.
        let Ok(answer) = answer else { return false };
        self.note_answer(index, &answer, at);
        true
    }

    fn note_answer(&self, index: usize, answer: &Answer, at: u64) {
        let mut pages = self.world.books.open();
        let pages = &mut *pages;
        let Some(publish) = pages.publishes.get_mut(index) else { return };
        match (answer.status, answer.problem()) {
            (200 | 201, _) => {
                let (Some(seq), Some(global_seq)) =
                    (answer.number("seq"), answer.number("global_seq"))
                else {
                    pages.odd.insert(format!("a publish answered {}", answer.body));
                    return;
                };
                let ack = Ack { cid: answer.text("cid"), seq, global_seq, at };
                match &publish.fate {
                    Fate::Acked(first) => {
                        if (&first.cid, first.seq) != (&ack.cid, ack.seq) {
                            let key = publish.key.clone().unwrap_or_default();
                            pages.odd.insert(format!(
                                "the key {key} made {} at {} and {} at {}",
                                first.cid, first.seq, ack.cid, ack.seq
                            ));
                        }
                    }
                    _ => publish.fate = Fate::Acked(ack),
                }
                if publish.act == Act::Person {
                    pages.exist.insert(publish.actor);
                }
            }
            // Its twin may have been taken.
            (503, "busy") if publish.key.is_some() => {}
            (503, "busy") => publish.fate = Fate::Refused,
            (status, problem) => {
                pages.odd.insert(format!(
                    "{:?} answered {status} {problem} {}",
                    publish.act,
                    answer.text("detail")
                ));
            }
        }
    }
}

/// One foreign actor that delivers.
struct Sender<'a> {
    world: &'a World,
    wire: Wire,
    number: usize,
    dice: Dice,
}

impl Sender<'_> {
    fn run(&self, stop: &AtomicBool) -> Result<()> {
        let Some(foreign) = self.world.foreign.get(self.number) else { return Ok(()) };
        while !stop.load(Ordering::SeqCst) {
            let answered = match self.next(foreign)? {
                Some(index) => self.post(foreign, index)?,
                None => false,
            };
            let pause = if answered { self.dice.millis(0, 15) } else { Duration::from_millis(10) };
            thread::sleep(pause);
        }
        Ok(())
    }

    fn next(&self, foreign: &Foreign) -> Result<Option<usize>> {
        let exist: Vec<usize> = self.world.books.open().exist.iter().copied().collect();
        if exist.is_empty() {
            return Ok(None);
        }
        match self.dice.below(100) {
            0..25 => {
                let Some(local) = self.dice.pick(&exist).copied() else { return Ok(None) };
                self.befriend(foreign, local).map(Some)
            }
            25..40 => self.accept(foreign),
            40..52 => Ok(self.again()),
            _ => self.note(foreign, &exist).map(Some),
        }
    }

    fn enter(
        &self,
        activity: &fedsx_kernel::Activity,
        path: String,
        to: Vec<usize>,
        matter: Matter,
    ) -> usize {
        self.world.books.deliver(Delivery {
            foreign: self.number,
            path,
            to,
            id: activity.id().to_owned(),
            cid: activity.cid().to_string(),
            proven: activity.proof().is_some(),
            body: activity.to_value().to_string().into_bytes(),
            matter,
            sent: 0,
            acked: None,
        })
    }

    fn inbox(local: usize) -> String {
        format!("/actors/{}/inbox", actor_name(local))
    }

    fn note(&self, foreign: &Foreign, exist: &[usize]) -> Result<usize> {
        let note = foreign.note(&self.world.marker())?;
        let mut to: Vec<usize> = exist.iter().copied().filter(|_| self.dice.percent(25)).collect();
        let one = self.dice.pick(exist).copied();
        if to.is_empty() {
            to.extend(one);
        }
        let mut ids: Vec<String> = to.iter().map(|local| self.world.actor(*local)).collect();
        ids.push(PUBLIC.to_owned());
        let activity = if self.dice.percent(10) {
            foreign.says_plainly("Create", note, &ids)?
        } else {
            foreign.says("Create", note, &ids)?
        };
        let path = match to.as_slice() {
            [local] => Self::inbox(*local),
            _ => "/inbox".to_owned(),
        };
        Ok(self.enter(&activity, path, to, Matter::Note))
    }

    /// Follows, or ends it. The next step waits until the last one is acknowledged.
    fn befriend(&self, foreign: &Foreign, local: usize) -> Result<usize> {
        let place = (self.number, local);
        let pages = self.world.books.open();
        let last = pages.followers.get(&place).copied();
        let state = last.map(|(follow, undo)| {
            let of = |index: usize| pages.deliveries.get(index).map(|d| (d.acked, d.id.clone()));
            (follow, of(follow), undo, undo.and_then(of))
        });
        drop(pages);
        let target = self.world.actor(local);
        match state {
            Some((follow, Some((None, _)), ..)) => return Ok(follow),
            Some((_, _, Some(undo), Some((None, _)))) => return Ok(undo),
            Some((follow, Some((Some(_), id)), None, _)) => {
                if !self.dice.percent(35) {
                    return Ok(follow);
                }
                let undo = foreign.says("Undo", json!(id), &[target])?;
                let undo = self.enter(&undo, Self::inbox(local), vec![local], Matter::Undo(follow));
                self.world.books.open().followers.insert(place, (follow, Some(undo)));
                return Ok(undo);
            }
            _ => {}
        }
        let follow = foreign.says("Follow", json!(target), std::slice::from_ref(&target))?;
        let follow = self.enter(&follow, Self::inbox(local), vec![local], Matter::Follow(local));
        self.world.books.open().followers.insert(place, (follow, None));
        Ok(follow)
    }

    /// Accepts a Follow that came to the peer.
    fn accept(&self, foreign: &Foreign) -> Result<Option<usize>> {
        let answered = self.world.books.open().answered.clone();
        let open = self
            .world
            .peer
            .follows()
            .into_iter()
            .find(|(id, _, followed)| *followed == foreign.id && !answered.contains(id));
        let Some((id, follower, _)) = open else { return Ok(None) };
        let local = (0..ACTORS).find(|local| self.world.actor(*local) == follower);
        let Some(local) = local else { return Ok(None) };
        let accept = foreign.says("Accept", json!(id), &[follower])?;
        let matter = Matter::Accept(id.clone());
        let accept = self.enter(&accept, Self::inbox(local), vec![local], matter);
        self.world.books.open().answered.insert(id);
        Ok(Some(accept))
    }

    /// Something that was not acknowledged, or, sometimes, something that was.
    fn again(&self) -> Option<usize> {
        let pages = self.world.books.open();
        let acked = self.dice.percent(30);
        let mine: Vec<usize> = pages
            .deliveries
            .iter()
            .enumerate()
            .filter(|(_, d)| d.foreign == self.number && d.acked.is_some() == acked)
            .map(|(index, _)| index)
            .collect();
        self.dice.pick(&mine).copied()
    }

    fn post(&self, foreign: &Foreign, index: usize) -> Result<bool> {
        let delivery = self.world.books.open().deliveries.get(index).cloned();
        let Some(delivery) = delivery else { return Ok(false) };
        let sign = match Sign::any(&self.dice) {
            Sign::Bare if !delivery.proven => Sign::Ed25519,
            sign => sign,
        };
        let url = format!("{}{}", self.world.base, delivery.path);
        let signed = foreign.headers(&url, &delivery.body, sign)?;
        let mut headers = vec![("content-type", ACTIVITY_JSON)];
        headers.extend(signed.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let answer = self.wire.send("POST", &delivery.path, None, &headers, Some(&delivery.body));
        let at = self.world.books.tick();
        let Ok(answer) = answer else { return Ok(false) };
        let mut pages = self.world.books.open();
        let pages = &mut *pages;
        let ignored = answer.text("outcome") == "ignored";
        match (answer.status, answer.problem()) {
            (200 | 202, _) if !ignored => {
                if let Some(delivery) = pages.deliveries.get_mut(index) {
                    delivery.acked.get_or_insert(at);
                }
            }
            // The peer was away when its key was asked for; or two draft-cavage signatures fell
            // into one second, and are the same then.
            (502, "upstream-failed") | (503, "busy") | (422, "replayed-request") => {}
            // The Follow was undone meanwhile, or another one took its place.
            (403, "not-authorised") if !still_asked(pages, &delivery) => {}
            (status, problem) => {
                let what = match &delivery.matter {
                    Matter::Note => "a Note".to_owned(),
                    other => format!("{other:?}"),
                };
                pages.odd.insert(format!(
                    "{what} ({sign:?}) to {} answered {status} {problem} {}",
                    delivery.path,
                    answer.text(if ignored { "outcome" } else { "detail" })
                ));
            }
        }
        Ok(true)
    }
}

/// Whether a delivery is not an Accept, or accepts a Follow that stands.
fn still_asked(pages: &Pages, delivery: &Delivery) -> bool {
    let Matter::Accept(id) = &delivery.matter else { return true };
    let Some(local) = delivery.to.first() else { return true };
    let last = pages.following.get(&(*local, delivery.foreign));
    last.is_some_and(|(follow, undone)| {
        let fate = pages.publishes.get(*follow).map(|publish| &publish.fate);
        !undone && matches!(fate, Some(Fate::Acked(ack)) if id.ends_with(&ack.cid))
    })
}
