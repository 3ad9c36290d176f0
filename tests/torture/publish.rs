//! What local actors do: they come to be, publish, follow, undo and rotate their keys.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::books::{Ack, Act, Fate};
use crate::dice::Dice;
use crate::load::{World, actor_name, secret};
use crate::wire::{ACTIVITY_JSON, Answer, Wire};

/// One thread that publishes for an actor.
pub struct Publisher<'a> {
    pub world: &'a World,
    pub wire: Wire,
    pub actor: usize,
    /// Only one thread of an actor creates it, rotates its keys and follows.
    pub leads: bool,
    pub dice: Dice,
}

impl Publisher<'_> {
    pub fn run(&self, stop: &AtomicBool) -> Result<()> {
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
        let Some((key, body)) = request else {
            return false;
        };
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
        let Some(publish) = pages.publishes.get_mut(index) else {
            return;
        };
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
