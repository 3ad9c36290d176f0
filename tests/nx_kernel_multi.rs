//! Step 1: one kernel hosts any number of actors, each with a log of its own.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::node::{Node, Spec};
use crate::support::secret;
use crate::support::verbs::{Published, kinds, note, proven, sealed, signer};

#[test]
fn actors_have_independent_logs() {
    let node = Node::start();

    for name in ["alice", "bob"] {
        let answer = node.client().get(&format!("/actors/{name}"));
        answer.refused(404, "unknown-actor", "a new kernel has no actors");
        let outbox = node.client().get(&format!("/actors/{name}/outbox"));
        outbox.refused(404, "unknown-actor", "an actor that is not there has no outbox");
    }

    let alice = node.create("alice");
    node.client().get("/actors/alice").expect(200, "an added actor is there");
    let bob = node.client().get("/actors/bob");
    bob.refused(404, "unknown-actor", "adding alice adds nobody else");
    let bob = node.create("bob");
    assert_eq!((alice.seq, bob.seq), (0, 0), "each log starts at 0");

    let of_alice: Vec<_> = (0..3).map(|i| node.note("alice", &format!("a{i}"))).collect();
    assert_eq!(of_alice.iter().map(|p| p.seq).collect::<Vec<_>>(), [1, 2, 3], "dense positions");
    assert_eq!(node.total("bob", "outbox"), 1, "alice's notes are not in bob's outbox");
    let of_bob = node.note("bob", "b0");
    assert_eq!(of_bob.seq, 1, "bob's position does not move with alice's");
    assert!(
        of_alice.windows(2).all(|pair| pair[0].global_seq < pair[1].global_seq)
            && of_bob.global_seq > of_alice[2].global_seq,
        "the global position rises over all actors"
    );

    let (alices, bobs) = (node.outbox("alice"), node.outbox("bob"));
    assert_eq!(kinds(&alices), ["Create"; 4], "alice's outbox");
    assert_eq!(kinds(&bobs), ["Create"; 2], "bob's outbox");
    for (name, outbox) in [("alice", &alices), ("bob", &bobs)] {
        let keys = node.keys(name);
        for (seq, activity) in outbox.iter().enumerate() {
            assert_eq!(activity["actor"], node.actor(name), "every entry is by the owner");
            assert_eq!(activity["seq"], seq, "positions are stated in the activity");
            let read = sealed(activity);
            assert!(read.certifies_itself(), "the id follows from the content: {activity}");
            assert!(proven(activity, signer(activity, &keys)), "the proof holds: {activity}");
        }
    }
    assert_eq!(sealed(&bobs[1]).cid().to_string(), of_bob.cid, "the CID can be recomputed");
    let other: Vec<Value> = node.keys("bob");
    assert!(
        !proven(&alices[1], &other[0]) || other[0].get("publicKeyPem").is_some(),
        "bob's key does not verify alice's statements"
    );

    let refused = node.as_actor("carol").post("/activity", &note("too early"));
    refused.refused(404, "unknown-actor", "publishing before the actor exists");
    assert_eq!(node.total("alice", "outbox"), 4, "a refused publish moves nobody's log");
}

#[test]
fn concurrent_publishes_keep_every_log_dense() {
    const EACH: usize = 8;
    let node = Node::start();
    let names = ["alice", "bob", "carol", "dave"];
    for name in names {
        node.create(name);
    }
    let node = &node;
    let published: Vec<(&str, Published)> = std::thread::scope(|scope| {
        let threads: Vec<_> = names
            .iter()
            .flat_map(|name| (0..2).map(move |half| (*name, half)))
            .map(|(name, half)| {
                scope.spawn(move || {
                    (0..EACH / 2)
                        .map(|i| (name, node.note(name, &format!("{half} {i}"))))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("publishing")).collect()
    });
    let mut globals: Vec<_> = published.iter().map(|(_, p)| p.global_seq).collect();
    globals.sort_unstable();
    globals.dedup();
    assert_eq!(globals.len(), names.len() * EACH, "no position was given twice");
    for name in names {
        let mut seqs: Vec<_> =
            published.iter().filter(|(by, _)| *by == name).map(|(_, p)| p.seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=EACH as u64).collect::<Vec<_>>(), "{name}'s log is dense");
        let stated: Vec<_> =
            node.outbox(name).iter().map(|a| a["seq"].as_u64().expect("seq")).collect();
        assert_eq!(stated, (0..=EACH as u64).collect::<Vec<_>>(), "{name}'s outbox is in order");
    }
}

/// Creating an actor generates an RSA key, the slowest thing that an actor does. Another actor's
/// publish that begins later must not have to wait for it.
#[test]
fn a_slow_actor_does_not_hold_up_another() {
    const TRIES: usize = 8;
    let mut spec = Spec::default();
    for i in 0..TRIES {
        spec = spec.token(&format!("slow{i}={}", secret(&format!("slow{i}"))));
    }
    let node = spec.start();
    node.create("alice");
    let overtaken = (0..TRIES).any(|i| {
        std::thread::scope(|scope| {
            let (begun, begins) = std::sync::mpsc::channel();
            let client = node.as_actor(&format!("slow{i}"));
            let slow = scope.spawn(move || {
                let create = json!({ "type": "Create", "object": { "type": "Person" } });
                begun.send(()).expect("the test listens");
                client.post("/activity", &create).expect(201, "the slow actor");
                Instant::now()
            });
            begins.recv().expect("the thread runs");
            // Two publishes: the second one began when the slow one was long under way.
            node.note("alice", "first");
            node.note("alice", "second");
            let alice_done = Instant::now();
            alice_done < slow.join().expect("creating")
        })
    });
    assert!(overtaken, "alice's publishes always waited for another actor's slow one");
}
