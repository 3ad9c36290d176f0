//! What foreign actors do: they deliver, follow, undo, accept, and send things again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::books::{Act, Delivery, Fate, Matter, Pages};
use crate::dice::Dice;
use crate::foreign::{Foreign, PUBLIC, Sign};
use crate::load::{ACTORS, World, actor_name};
use crate::wire::{ACTIVITY_JSON, Wire};

/// One foreign actor that delivers.
pub struct Sender<'a> {
    pub world: &'a World,
    pub wire: Wire,
    pub number: usize,
    pub dice: Dice,
}

impl Sender<'_> {
    pub fn run(&self, stop: &AtomicBool) -> Result<()> {
        let Some(foreign) = self.world.foreign.get(self.number) else {
            return Ok(());
        };
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
                let Some(local) = self.dice.pick(&exist).copied() else {
                    return Ok(None);
                };
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
        let Some((id, follower, _)) = open else {
            return Ok(None);
        };
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
        let Some(delivery) = delivery else {
            return Ok(false);
        };
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
    let Matter::Accept(id) = &delivery.matter else {
        return true;
    };
    let Some(local) = delivery.to.first() else {
        return true;
    };
    let place = (*local, delivery.foreign);
    let Some((last, false)) = pages.following.get(&place).copied() else {
        return false;
    };
    let Some(Fate::Acked(ack)) = pages.publishes.get(last).map(|publish| &publish.fate) else {
        return false;
    };
    // One that got no answer is sent again later, and may come after the latest one.
    let replaced = pages.publishes.iter().enumerate().any(|(index, other)| {
        index != last
            && (other.actor, &other.act) == (place.0, &Act::Follow(place.1))
            && match &other.fate {
                Fate::Acked(other) => other.seq > ack.seq,
                Fate::Unknown | Fate::Found => true,
                Fate::Refused | Fate::Void => false,
            }
    });
    id.ends_with(&ack.cid) && !replaced
}
