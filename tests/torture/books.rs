//! What was asked of the instance, and what it acknowledged.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a publish was acknowledged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub cid: String,
    pub seq: u64,
    pub global_seq: u64,
    pub at: u64,
}

/// What is known about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No answer came.
    Unknown,
    /// It was acknowledged: it must be there for good.
    Acked(Ack),
    /// It was refused: it must never be there.
    Refused,
    /// No answer came, and after the restart it was not there: it must stay away.
    Void,
    /// No answer came, and after the restart it was there.
    Found,
}

/// What a publish does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Person,
    /// To the public and the followers.
    Public,
    /// To one actor of the peer.
    Foreign,
    /// To actors of the instance itself.
    Local(Vec<usize>),
    /// Of an actor of the peer.
    Follow(usize),
    /// Of an earlier Follow.
    Undo,
    /// A new key in place of the present one.
    Rotate,
}

#[derive(Clone, Debug)]
pub struct Publish {
    pub actor: usize,
    /// Stands in the activity, and in no other.
    pub marker: String,
    pub key: Option<String>,
    pub body: Vec<u8>,
    pub act: Act,
    pub sent: u64,
    pub fate: Fate,
}

/// What a delivery of a foreign actor does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matter {
    Note,
    /// Follows a local actor.
    Follow(usize),
    /// Ends the Follow that is this delivery.
    Undo(usize),
    /// Accepts the Follow with this id.
    Accept(String),
}

#[derive(Clone, Debug)]
pub struct Delivery {
    pub foreign: usize,
    pub path: String,
    /// The actors whose inboxes must have it.
    pub to: Vec<usize>,
    pub id: String,
    pub cid: String,
    /// Whether it carries a proof; otherwise the request must be signed.
    pub proven: bool,
    pub body: Vec<u8>,
    pub matter: Matter,
    pub sent: u64,
    pub acked: Option<u64>,
}

#[derive(Default)]
pub struct Pages {
    pub publishes: Vec<Publish>,
    pub deliveries: Vec<Delivery>,
    /// Actors that exist.
    pub exist: BTreeSet<usize>,
    /// The latest Follow of (foreign, local), and its Undo.
    pub followers: HashMap<(usize, usize), (usize, Option<usize>)>,
    /// The latest Follow of (local, foreign), and whether it was undone.
    pub following: HashMap<(usize, usize), (usize, bool)>,
    /// Follows by local actors that a foreign actor answered.
    pub answered: BTreeSet<String>,
    /// Answers that nothing in the load explains.
    pub odd: BTreeSet<String>,
}

/// The books of one life of an instance.
#[derive(Default)]
pub struct Books {
    ticks: AtomicU64,
    pages: Mutex<Pages>,
}

impl Books {
    /// Logical time: of two events, the one that is known to be earlier has the lower tick.
    pub fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    pub fn open(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many publishes and deliveries were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let pages = self.open();
        let publishes = pages.publishes.iter().filter(|p| matches!(p.fate, Fate::Acked(_)));
        publishes.count() + pages.deliveries.iter().filter(|d| d.acked.is_some()).count()
    }

    /// Enters a request before it is sent.
    pub fn publish(
        &self,
        actor: usize,
        act: Act,
        marker: String,
        key: Option<String>,
        body: Vec<u8>,
    ) -> usize {
        let sent = self.tick();
        let mut pages = self.open();
        pages.publishes.push(Publish { actor, marker, key, body, act, sent, fate: Fate::Unknown });
        pages.publishes.len() - 1
    }

    pub fn deliver(&self, mut delivery: Delivery) -> usize {
        delivery.sent = self.tick();
        let mut pages = self.open();
        pages.deliveries.push(delivery);
        pages.deliveries.len() - 1
    }
}
