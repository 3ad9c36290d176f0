#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
//! Two instances over a network that loses, doubles and reorders: when everything was delivered
//! at least once, both see the same follow graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedsx_kernel::log::{Entry, Meta, Record, Stream};
use fedsx_kernel::refusal::Problem;
use fedsx_kernel::rules::{Direction, Rules};
use fedsx_kernel::state::MemoryState;
use fedsx_kernel::{Activity, Base};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::answers;
use crate::GenesisRules;
use crate::fold::{self, GRAPH};
use crate::graph::{Graph, Relation};

/// Two actors on each of two instances; the last decides on its followers.
const ACTORS: [&str; 4] = [
    "https://a.example/actors/ann",
    "https://a.example/actors/abe",
    "https://b.example/actors/bea",
    "https://b.example/actors/bob",
];
const DECIDES: usize = 3;

const fn side_of(actor: usize) -> usize {
    actor / 2
}

fn index_of(actor: &str) -> Option<usize> {
    ACTORS.iter().position(|known| *known == actor)
}

#[derive(Clone, Debug)]
enum Step {
    Follow(usize, usize),
    /// The author takes its Follow of another back.
    Unfollow(usize, usize),
    Judge(usize, usize, bool),
    Block(usize, usize),
    Unblock(usize, usize),
    /// A message arrives; it may arrive again.
    Arrive(prop::sample::Index, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let (a, b) = (0..4usize, 0..4usize);
    prop_oneof![
        4 => (a.clone(), b.clone()).prop_map(|(a, b)| Step::Follow(a, b)),
        2 => (a.clone(), b.clone()).prop_map(|(a, b)| Step::Unfollow(a, b)),
        3 => (a.clone(), b.clone(), any::<bool>()).prop_map(|(a, b, yes)| Step::Judge(a, b, yes)),
        1 => (a.clone(), b.clone()).prop_map(|(a, b)| Step::Block(a, b)),
        1 => (a, b).prop_map(|(a, b)| Step::Unblock(a, b)),
        8 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(i, n)| Step::Arrive(i, n)),
    ]
}

/// One instance: its rules, its admission state, and what it holds.
struct Side {
    base: Base,
    rules: GenesisRules,
    state: MemoryState,
    held: BTreeMap<String, (Activity, u64)>,
    head: u64,
}

/// A statement on its way to an actor.
#[derive(Clone)]
struct Message {
    to: usize,
    activity: Activity,
}

struct World {
    sides: [Side; 2],
    seqs: [u64; 4],
    underway: Vec<Message>,
    /// Refused because of a Block: tried again at the end, as an operator would.
    parked: Vec<Message>,
}

impl World {
    fn new() -> Self {
        let side = |base: &str| {
            let base: Base = base.parse().unwrap();
            let rules = GenesisRules::new(base.clone(), "instance".parse().unwrap());
            let (state, held) = (MemoryState::default(), BTreeMap::new());
            Side { base, rules, state, held, head: 0 }
        };
        let sides = [side("https://a.example"), side("https://b.example")];
        let mut world = Self { sides, seqs: [0; 4], underway: Vec::new(), parked: Vec::new() };
        for (actor, id) in ACTORS.iter().enumerate() {
            let decides = actor == DECIDES;
            let document =
                json!({"id": id, "type": "Person", "manuallyApprovesFollowers": decides});
            world.says(actor, "Create", document, None);
        }
        world
    }

    fn graph(&self, side: usize, follower: usize, followed: usize) -> Relation {
        let graph = Graph::new(GRAPH);
        graph.relation(&self.sides[side].state, ACTORS[follower], ACTORS[followed]).unwrap()
    }

    fn blocks(&self, actor: usize, other: usize) -> bool {
        let state = &self.sides[side_of(actor)].state;
        Graph::new(GRAPH).blocks(state, ACTORS[actor], ACTORS[other]).unwrap()
    }

    /// The newest statement of a kind that a side holds, by an actor about another.
    fn newest(&self, side: usize, kind: &str, actor: usize, other: usize) -> Option<&Activity> {
        let held = self.sides[side].held.values().map(|(activity, _)| activity);
        let fits = held.filter(|activity| {
            activity.kind() == kind
                && activity.actor() == ACTORS[actor]
                && activity.object_id() == Some(ACTORS[other])
        });
        fits.max_by_key(|activity| activity.order())
    }

    /// An actor publishes; what its rules refuse is not said.
    fn says(&mut self, actor: usize, kind: &str, object: Value, to: Option<usize>) {
        let (side, seq) = (side_of(actor), self.seqs[actor]);
        let content = json!({"type": kind, "actor": ACTORS[actor], "seq": seq, "object": object});
        let activity = Activity::seal(content.as_object().unwrap().clone()).unwrap();
        let Side { rules, state, .. } = &self.sides[side];
        // Without a registry every verb is unknown; who may say what is judged before that.
        let refused = rules.judge(state, &activity, Direction::Outbound).unwrap_err();
        if refused.problem != Problem::UnknownActivityType {
            return;
        }
        self.seqs[actor] += 1;
        let name = self.sides[side].base.name_of(ACTORS[actor]).unwrap();
        self.append(side, activity.clone(), Stream::Outbox(name), true);
        match to {
            Some(to) if side_of(to) == side => {
                let name = self.sides[side].base.name_of(ACTORS[to]).unwrap();
                self.append(side, activity, Stream::Inbox(name), false);
            }
            Some(to) => self.underway.push(Message { to, activity }),
            None => {}
        }
    }

    fn append(&mut self, side: usize, activity: Activity, stream: Stream, first: bool) {
        let Side { base, state, held, head, .. } = &mut self.sides[side];
        *head += 1;
        let entry = Entry {
            global_seq: *head,
            stream,
            stream_seq: 0,
            cid: *activity.cid(),
            first,
            meta: Meta::default(),
        };
        if first {
            held.insert(activity.id().to_owned(), (activity.clone(), *head));
        }
        let record = Record { entry, activity: Arc::new(activity) };
        if first {
            fold::fold(base, state, &record).unwrap();
        }
        let first_seq = |id: &str| Ok(held.get(id).map(|(_, seq)| *seq));
        for answer in answers::to(base, state, first_seq, &record).unwrap() {
            let actor = index_of(&self.sides[side].base.actor(&answer.actor)).unwrap();
            let kind = answer.request["type"].as_str().unwrap();
            let follow = answer.request["object"].as_str().unwrap();
            let follow = self.sides[side].held[follow].0.clone();
            self.about(actor, kind, &follow);
        }
    }

    /// A statement about a Follow goes to the other one whom it concerns.
    fn about(&mut self, actor: usize, kind: &str, follow: &Activity) {
        let embedded = json!({"id": follow.id(), "type": "Follow", "actor": follow.actor(),
            "object": follow.object_id()});
        let concerned = if kind == "Undo" { follow.object_id().unwrap() } else { follow.actor() };
        self.says(actor, kind, embedded, index_of(concerned));
    }

    fn arrive(&mut self, message: Message) {
        let side = side_of(message.to);
        let Side { base, rules, state, held, .. } = &self.sides[side];
        let activity = &message.activity;
        if rules.sender(state, activity.actor(), Some(ACTORS[message.to])).is_err() {
            self.parked.push(message);
            return;
        }
        let judged = rules.judge(state, activity, Direction::Inbound);
        let name = base.name_of(ACTORS[message.to]).unwrap();
        if judged.is_ok() && !held.contains_key(activity.id()) {
            self.append(side, message.activity, Stream::Inbox(name), true);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Follow(a, b) => self.says(a, "Follow", json!(ACTORS[b]), Some(b)),
            Step::Unfollow(a, b) => {
                if let Some(follow) = self.newest(side_of(a), "Follow", a, b).cloned() {
                    self.about(a, "Undo", &follow);
                }
            }
            Step::Judge(a, b, yes) => {
                if let Some(follow) = self.newest(side_of(a), "Follow", b, a).cloned() {
                    self.about(a, if yes { "Accept" } else { "Reject" }, &follow);
                }
            }
            Step::Block(a, b) if a != b => self.says(a, "Block", json!(ACTORS[b]), None),
            Step::Block(..) => {}
            Step::Unblock(a, b) => {
                if let Some(block) = self.newest(side_of(a), "Block", a, b) {
                    let object = json!({"id": block.id(), "type": "Block", "actor": ACTORS[a],
                        "object": ACTORS[b]});
                    self.says(a, "Undo", object, None);
                }
            }
            Step::Arrive(index, again) if !self.underway.is_empty() => {
                let index = index.index(self.underway.len());
                let message = self.underway[index].clone();
                if !again {
                    self.underway.swap_remove(index);
                }
                self.arrive(message);
            }
            Step::Arrive(..) => {}
        }
    }

    /// Delivers everything, the parked once more: what a Block refuses stays parked, since Blocks
    /// do not change by what arrives.
    fn settle(&mut self) {
        self.underway.append(&mut self.parked);
        while let Some(message) = self.underway.pop() {
            self.arrive(message);
        }
    }
}

fn converges(steps: Vec<Step>) {
    let mut world = World::new();
    for step in steps.iter().cloned() {
        world.take(step);
    }
    world.settle();
    let pairs = (0..4).flat_map(|a| (0..4).map(move |b| (a, b)));
    for (a, b) in pairs.filter(|(a, b)| side_of(*a) != side_of(*b)) {
        let [here, there] = [side_of(a), side_of(b)].map(|side| world.graph(side, a, b));
        // A Follow that a Block refuses waits where it was said.
        if world.blocks(b, a) && here == Relation::Pending {
            assert_eq!(there, Relation::None);
            continue;
        }
        assert_eq!(here, there, "{} and {} differ after {steps:?}", ACTORS[a], ACTORS[b]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn both_sides_see_the_same_graph(steps in prop::collection::vec(step(), 1..40)) {
        converges(steps);
    }
}

#[test]
fn a_block_that_is_not_told_ends_both_directions_on_both_sides() {
    let mut world = World::new();
    for (a, b) in [(0, 2), (2, 0)] {
        world.take(Step::Follow(a, b));
        world.settle();
        assert_eq!(world.graph(1, a, b), Relation::Accepted);
    }
    world.take(Step::Block(0, 2));
    world.settle();
    for (a, b) in [(0, 2), (2, 0)] {
        assert_eq!([0, 1].map(|side| world.graph(side, a, b)), [Relation::None; 2]);
    }
    world.take(Step::Follow(0, 2));
    assert_eq!(world.graph(0, 0, 2), Relation::None, "nobody follows whom it blocks");
    world.take(Step::Unblock(0, 2));
    world.settle();
    assert_eq!(world.graph(1, 2, 0), Relation::None, "nothing comes back by itself");
    world.take(Step::Follow(2, 0));
    world.settle();
    assert_eq!([0, 1].map(|side| world.graph(side, 2, 0)), [Relation::Accepted; 2]);
}

#[test]
fn who_was_accepted_and_asks_again_stays_accepted() {
    let mut world = World::new();
    world.take(Step::Follow(0, DECIDES));
    world.settle();
    assert_eq!(world.graph(1, 0, DECIDES), Relation::Pending, "it decides itself");
    world.take(Step::Judge(DECIDES, 0, true));
    world.settle();
    world.take(Step::Follow(0, DECIDES));
    world.settle();
    assert_eq!([0, 1].map(|side| world.graph(side, 0, DECIDES)), [Relation::Accepted; 2]);
    world.take(Step::Judge(DECIDES, 0, false));
    world.settle();
    world.take(Step::Follow(0, DECIDES));
    world.settle();
    assert_eq!([0, 1].map(|side| world.graph(side, 0, DECIDES)), [Relation::Pending; 2]);
}
