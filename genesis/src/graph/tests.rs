#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use fedsx_kernel::order::Order;
use fedsx_kernel::state::MemoryState;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The last one's server sends neither numbers nor, mostly, times.
const ACTORS: [&str; 3] =
    ["https://a.example/actors/ann", "https://b.example/actors/bob", "https://c.example/cy"];

#[derive(Clone, Debug)]
enum Op {
    Follow(usize),
    Block(usize),
    /// About an earlier activity; how it is named.
    About(&'static str, prop::sample::Index, Naming),
    Delete,
}

#[derive(Clone, Copy, Debug)]
enum Naming {
    Bare,
    Embedded,
    WithoutId,
    OtherId,
}

fn op() -> impl Strategy<Value = Op> {
    let naming = prop::sample::select(vec![
        Naming::Bare,
        Naming::Embedded,
        Naming::WithoutId,
        Naming::OtherId,
    ]);
    let verb = prop::sample::select(vec!["Undo", "Accept", "Accept", "Reject"]);
    prop_oneof![
        6 => (0..3usize).prop_map(Op::Follow),
        2 => (0..3usize).prop_map(Op::Block),
        12 => (verb, any::<prop::sample::Index>(), naming)
            .prop_map(|(verb, about, naming)| Op::About(verb, about, naming)),
        1 => Just(Op::Delete),
    ]
}

/// Builds activities; most statements about others come from whoever may make them.
fn build(ops: &[(usize, Op)]) -> Vec<Activity> {
    let mut all: Vec<Activity> = Vec::new();
    for (index, (author, op)) in ops.iter().enumerate() {
        let (author, kind, object) = match op {
            Op::Follow(other) => (*author, "Follow", json!(ACTORS[*other])),
            Op::Block(other) => (*author, "Block", json!(ACTORS[*other])),
            Op::Delete => (*author, "Delete", json!(ACTORS[*author])),
            Op::About(verb, about, naming) => {
                let Some(inner) = all.get(about.index(all.len().max(1))) else { continue };
                let mut embedded = json!({"type": inner.kind(), "actor": inner.actor(),
                    "object": inner.object(), "id": inner.id()});
                let object = match naming {
                    Naming::Bare => json!(inner.id()),
                    Naming::Embedded => embedded,
                    Naming::WithoutId => {
                        embedded.as_object_mut().unwrap().remove("id");
                        embedded
                    }
                    Naming::OtherId => {
                        embedded["id"] = json!(format!("{}#other", inner.id()));
                        embedded
                    }
                };
                let rightful =
                    if *verb == "Undo" { Some(inner.actor()) } else { inner.object_id() };
                let rightful = ACTORS.iter().position(|actor| Some(*actor) == rightful);
                // One in eight comes from somebody else and must not count.
                let author = rightful.filter(|_| index % 8 != 0).unwrap_or(*author);
                (author, *verb, object)
            }
        };
        let mut content = json!({"type": kind, "actor": ACTORS[author], "object": object});
        let activity = if author == 2 {
            content["id"] = json!(format!("https://c.example/{index}"));
            if index % 3 == 0 {
                content["published"] = json!(format!("2026-01-01T00:00:{index:02}Z"));
            }
            Activity::from_document(content)
        } else {
            content["seq"] = json!(index);
            Activity::seal(content.as_object().unwrap().clone())
        };
        all.push(activity.unwrap());
    }
    all
}

fn fold(graph: &Graph, activities: impl IntoIterator<Item = Activity>) -> MemoryState {
    let mut state = MemoryState::default();
    for activity in activities {
        graph.fold(&mut state, &activity).unwrap();
    }
    state
}

/// The rules of the module's documentation, read off the whole set at once.
struct Model<'a>(&'a [Activity]);

impl<'m> Model<'m> {
    fn of<'a>(
        &self,
        kind: &'a str,
        actor: &'a str,
    ) -> impl Iterator<Item = &'m Activity> + use<'a, 'm> {
        self.0.iter().filter(move |a| a.kind() == kind && a.actor() == actor)
    }

    fn deleted(&self, actor: &str) -> bool {
        self.of("Delete", actor).any(|a| a.object_id() == Some(actor))
    }

    fn newest(&self, kind: &str, actor: &str, object: &str) -> Option<Order> {
        self.of(kind, actor).filter(|a| a.object_id() == Some(object)).map(Activity::order).max()
    }

    fn standing(&self, kind: &str, actor: &str, object: &str) -> Vec<&'m str> {
        let newest = self.newest(kind, actor, object);
        self.of(kind, actor)
            .filter(|a| a.object_id() == Some(object) && Some(a.order()) == newest)
            .filter(|a| {
                !self.of("Undo", actor).any(|undo| {
                    let inner = undo.object().unwrap();
                    let foreign = inner.get("actor").is_some_and(|by| by != actor);
                    let of_pair = inner.get("type") == Some(&json!(kind))
                        && inner.get("object") == Some(&json!(object));
                    let other = inner.get("type").is_some_and(|t| t != "Follow" && t != "Block");
                    !foreign
                        && !other
                        && (id_of(inner) == Some(a.id()) || (of_pair && a.order() < undo.order()))
                })
            })
            .map(Activity::id)
            .collect()
    }

    fn verdict(&self, judge: &str, follower: &str, follow: &str) -> Option<(Order, bool)> {
        let spoken = |verb: &'static str| {
            self.of(verb, judge).filter(move |verdict: &&Activity| {
                let inner = verdict.object().unwrap();
                let fits = |name: &str, wanted: &str| inner.get(name).is_none_or(|v| v == wanted);
                fits("type", "Follow")
                    && fits("object", judge)
                    && match id_of(inner) {
                        Some(id) => id == follow,
                        None => inner.get("actor") == Some(&json!(follower)),
                    }
            })
        };
        let accepts = spoken("Accept").map(|a| (a.order(), false));
        accepts.chain(spoken("Reject").map(|a| (a.order(), true))).max()
    }

    fn relation(&self, follower: &str, followed: &str) -> Relation {
        let blocked = |a, b| !self.standing("Block", a, b).is_empty();
        if follower == followed
            || self.deleted(follower)
            || self.deleted(followed)
            || blocked(follower, followed)
            || blocked(followed, follower)
            || self.newest("Follow", follower, followed) < self.newest("Block", follower, followed)
        {
            return Relation::None;
        }
        let mut best = Relation::None;
        for id in self.standing("Follow", follower, followed) {
            match self.verdict(followed, follower, id) {
                Some((_, true)) => {}
                Some((at, false)) if Some(at) >= self.newest("Block", followed, follower) => {
                    return Relation::Accepted;
                }
                _ => best = Relation::Pending,
            }
        }
        best
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_arrival_gives_the_same_state(
        (ops, orders) in prop::collection::vec((0..3usize, op()), 1..24).prop_flat_map(|ops| {
            let indices: Vec<usize> = (0..ops.len()).collect();
            (Just(ops), prop::collection::vec(Just(indices).prop_shuffle(), 3))
        })
    ) {
        let graph = Graph::new("graph");
        let activities = build(&ops);
        let state = fold(&graph, activities.iter().cloned());
        for order in orders {
            let arrived = order.iter().filter_map(|index| activities.get(*index).cloned());
            prop_assert_eq!(&fold(&graph, arrived), &state);
        }
        // What arrives again changes nothing.
        let twice = activities.iter().chain(&activities).cloned();
        prop_assert_eq!(&fold(&graph, twice), &state);

        let model = Model(&activities);
        for a in ACTORS {
            let with = |relation, inbound| -> Vec<String> {
                let fits = |b: &&&str| {
                    let (x, y) = if inbound { (**b, a) } else { (a, **b) };
                    model.relation(x, y) == relation
                };
                ACTORS.iter().filter(fits).map(|b| (*b).to_owned()).collect()
            };
            let (accepted, pending) = (Relation::Accepted, Relation::Pending);
            prop_assert_eq!(graph.followers(&state, a, None, 9).unwrap(), with(accepted, true));
            prop_assert_eq!(graph.following(&state, a, None, 9).unwrap(), with(accepted, false));
            prop_assert_eq!(graph.pending_inbound(&state, a, None, 9).unwrap(), with(pending, true));
            prop_assert_eq!(graph.pending_outbound(&state, a, None, 9).unwrap(), with(pending, false));
        }
    }

    #[test]
    fn changes_add_up_to_the_state(ops in prop::collection::vec((0..3usize, op()), 1..24)) {
        let graph = Graph::new("");
        let mut state = MemoryState::default();
        let mut relations: BTreeMap<(String, String), Relation> = BTreeMap::new();
        for activity in build(&ops) {
            for change in graph.apply(&mut state, &activity).unwrap() {
                let held = relations.insert((change.follower, change.followed), change.after);
                prop_assert_eq!(held.unwrap_or_default(), change.before);
            }
        }
        for a in ACTORS {
            for b in ACTORS {
                let held = relations.get(&(a.to_owned(), b.to_owned())).copied();
                prop_assert_eq!(graph.relation(&state, a, b).unwrap(), held.unwrap_or_default());
                prop_assert_eq!(
                    graph.follow_id(&state, a, b).unwrap().is_some(),
                    held.unwrap_or_default() != Relation::None
                );
            }
        }
    }
}

fn numbered(actor: &str, seq: u64, kind: &str, object: Value) -> Activity {
    let content = json!({"type": kind, "actor": actor, "seq": seq, "object": object});
    Activity::seal(content.as_object().unwrap().clone()).unwrap()
}

#[test]
fn a_block_undone_leaves_the_follow_pending() {
    let [ann, bob, _] = ACTORS;
    let graph = Graph::new("");
    let follow = numbered(ann, 0, "Follow", json!(bob));
    let accept = numbered(bob, 0, "Accept", json!(follow.id()));
    let block = numbered(bob, 1, "Block", json!(ann));
    let undo = numbered(bob, 2, "Undo", json!(block.id()));
    let again = numbered(bob, 3, "Accept", json!(follow.id()));
    let steps = [
        (follow.clone(), Relation::Pending),
        (accept, Relation::Accepted),
        (block, Relation::None),
        (undo, Relation::Pending),
        (again, Relation::Accepted),
    ];
    let mut state = MemoryState::default();
    for (activity, relation) in steps {
        graph.fold(&mut state, &activity).unwrap();
        assert_eq!(graph.relation(&state, ann, bob).unwrap(), relation, "{}", activity.kind());
    }
    assert_eq!(graph.follow_id(&state, ann, bob).unwrap().as_deref(), Some(follow.id()));
}

#[test]
fn a_server_without_times_may_follow_again() {
    let [ann, _, cy] = ACTORS;
    let graph = Graph::new("");
    let say = |id: &str, kind: &str, object: Value| {
        let id = format!("https://c.example/{id}");
        Activity::from_document(json!({"type": kind, "actor": cy, "id": id, "object": object}))
            .unwrap()
    };
    let first = say("z", "Follow", json!(ann));
    let undo = say("u", "Undo", first.to_value());
    let second = say("a", "Follow", json!(ann));
    let accept = numbered(ann, 4, "Accept", second.to_value());
    let state = fold(&graph, [first, undo, second, accept]);
    assert_eq!(graph.followers(&state, ann, None, 9).unwrap(), [cy]);
}

#[test]
fn listings_are_paged() {
    let graph = Graph::new("p");
    let bob = ACTORS[1];
    let follower = |n: u32| format!("https://x.example/{n:04}");
    let mut state = MemoryState::default();
    for n in 0..1100 {
        graph.fold(&mut state, &numbered(&follower(n), 0, "Follow", json!(bob))).unwrap();
    }
    let page = graph.pending_inbound(&state, bob, Some(&follower(1)), 2).unwrap();
    assert_eq!(page, [follower(2), follower(3)]);
    let changes = graph.apply(&mut state, &numbered(bob, 0, "Delete", json!(bob))).unwrap();
    assert_eq!(changes.len(), 1100);
    assert!(graph.pending_inbound(&state, bob, None, 1).unwrap().is_empty());
    assert!(graph.pending_outbound(&state, &follower(7), None, 1).unwrap().is_empty());
}
