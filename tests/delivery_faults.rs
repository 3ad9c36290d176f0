//! What goes wrong with peers: one that sends too much, one that chokes on a single activity, one
//! that is away for long, one that lies about what another passes on; and what is erased before
//! it could be sent.

use serde_json::{Value, json};

use crate::support::node::{Node, Spec};
use crate::support::peer::Foreign;
use crate::support::verbs::Published;
use crate::support::{PATIENCE, PUBLIC, Peer, Sign, eventually};

fn letters(node: &Node) -> Vec<Value> {
    let answer = node.admin().get("/admin/dead-letter").expect(200, "dead letters").json();
    answer["items"].as_array().expect("items").clone()
}

/// A Note to everyone and one foreign actor.
fn tell(node: &Node, to: &Foreign, content: &str) -> Published {
    let object = json!({ "type": "Note", "content": content });
    node.publish("alice", &json!({ "type": "Create", "to": [PUBLIC, to.id], "object": object }))
}

fn status(node: &Node, published: &Published) -> Value {
    let answer = node.admin().get(&format!("/admin/delivery/{}", published.cid));
    answer.expect(200, "the ledger").json()["items"][0].clone()
}

#[track_caller]
fn becomes(node: &Node, published: &Published, wanted: &str) -> Value {
    eventually(PATIENCE, &format!("{} is {wanted}", published.id), || {
        Some(status(node, published)).filter(|status| status["status"] == wanted)
    })
}

/// Fifty at once and one a second: who sends more is told to wait, and nobody else is.
#[test]
fn a_peer_that_sends_too_much_waits() {
    let mut spec = Spec::default();
    for option in ["--peer-deliveries-per-second", "1", "--requests-per-second", "0"] {
        spec.args.push(option.into());
    }
    let node = spec.start();
    node.create("alice");
    let alice = node.actor("alice");
    let (busy, calm) = (Peer::start(), Peer::start());
    let (mallory, trent) = (busy.actor("mallory"), calm.actor("trent"));
    let inbox = "/actors/alice/inbox";
    let post = |by: &Foreign, words: &str| {
        by.deliver(&node, inbox, &by.note(words, &[&alice]), Sign::Bare)
    };
    let mut taken = 0u64;
    let refused = loop {
        let answer = post(&mallory, &format!("number {taken}"));
        if answer.status != 202 {
            break answer;
        }
        taken += 1;
        assert!(taken < 1000, "no limit");
    };
    refused.refused(429, "too-many-requests", "beyond the share");
    assert!(taken >= 50, "a burst is taken: {taken}");
    let wait = refused.header("retry-after").parse::<u64>();
    assert!(wait.as_ref().is_ok_and(|wait| (1..=60).contains(wait)), "{wait:?}");
    assert_eq!(node.total("alice", "inbox"), taken, "what was refused is not kept");
    post(&trent, "from elsewhere").expect(202, "the share of another peer");
    eventually(PATIENCE, "the share grows again", || {
        (post(&mallory, "later").status == 202).then_some(())
    });
}

/// One activity that a peer cannot take: it becomes a dead letter, and all others are delivered.
#[test]
fn an_activity_that_a_peer_cannot_take_harms_no_other() {
    for code in [422, 400, 500] {
        let node = Spec::default().schedule("100ms,100ms").start();
        node.create("alice");
        let peer = Peer::start();
        let mallory = peer.actor("mallory");
        peer.choke_on("poison", code);
        let texts = ["one", "two", "poison", "three", "four"];
        let notes: Vec<_> = texts.iter().map(|text| tell(&node, &mallory, text)).collect();
        for (text, note) in texts.iter().zip(&notes) {
            if *text != "poison" {
                becomes(&node, note, "delivered");
            }
        }
        becomes(&node, &notes[2], "parked");
        let listed = letters(&node);
        assert_eq!(listed.len(), 1, "{code}: {listed:?}");
        assert_eq!(listed[0]["cid"], notes[2].cid.as_str(), "{code}: {listed:?}");
        let reason = listed[0]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(&code.to_string()), "{code}: {reason}");
        let later = tell(&node, &mallory, "later");
        becomes(&node, &later, "delivered");
        peer.choke_on("poison", 202);
        let id = listed[0]["id"].as_str().expect("an id");
        let path = format!("/admin/dead-letter/{}/replay", crate::actor_lifecycle::encoded(id));
        node.admin().post(&path, &Value::Null).expect(200, "tried again");
        peer.receives(&notes[2].id);
    }
}

/// A peer that stays away: its queue is one dead letter, and goes on when it is heard of.
#[test]
fn a_peer_that_stays_away_keeps_its_queue_as_one_range() {
    let mut node = Spec::default().schedule("100ms,100ms").start();
    node.create("alice");
    let alice = node.actor("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    mallory.follows(&node, "alice");
    let (port, document) = (peer.port(), mallory.document());
    let before = node.note("alice", "while all is well");
    becomes(&node, &before, "delivered");
    drop(peer);
    let missed: Vec<_> =
        (0..6).map(|number| node.note("alice", &format!("missed {number}"))).collect();
    let letter = eventually(PATIENCE, "the queue is given up but for probes", || {
        let listed = letters(&node);
        listed.iter().find(|one| one["span"]["count"] == missed.len()).cloned()
    });
    assert_eq!(letters(&node), std::slice::from_ref(&letter), "one letter for all of it");
    assert_eq!(letter["span"]["from"], missed[0].global_seq, "{letter}");
    assert_eq!(letter["span"]["to"], missed[5].global_seq, "{letter}");
    let more = node.note("alice", "missed as well");
    node.restart();
    eventually(PATIENCE, "what comes later joins it, over a restart", || {
        let listed = letters(&node);
        let joined = listed.len() == 1 && listed[0]["span"]["to"] == more.global_seq;
        joined.then_some(())
    });
    let peer = Peer::start_on(port);
    peer.serve("/actors/mallory", document);
    assert_eq!(peer.posted().len(), 0, "nothing is tried before the next probe");
    // Only a signed request shows that the peer itself is there; one that comes while the queues
    // are still being read after the restart may go unnoticed.
    eventually(PATIENCE, "the peer is tried again when it is heard of", || {
        let hello = mallory.note("back again", &[&alice]);
        let answer = mallory.deliver(&node, "/actors/alice/inbox", &hello, Sign::Cavage);
        answer.expect(202, "contact");
        (!peer.posted().is_empty()).then_some(())
    });
    peer.receives(&more.id);
    for note in missed.iter().chain([&more]) {
        becomes(&node, note, "delivered");
        assert_eq!(peer.posts_of(&note.id).len(), 1, "{}: once", note.id);
    }
    eventually(PATIENCE, "no letter is left", || letters(&node).is_empty().then_some(()));
}

/// What an Announce passes on is fetched from its origin, which may lie.
#[test]
fn an_origin_that_lies_about_what_is_announced_is_not_believed() {
    let node = Node::start();
    node.create("alice");
    let (host, origin) = (Peer::start(), Peer::start());
    let (mallory, trent) = (host.actor("mallory"), origin.actor("trent"));
    let follow = node.publish("alice", &json!({ "type": "Follow", "object": mallory.id }));
    let alice = node.actor("alice");
    let accept = mallory.activity("Accept", json!(follow.id), &[&alice]);
    mallory.deliver(&node, "/actors/alice/inbox", &accept, Sign::Bare).expect(202, "Accept");
    node.lists("alice", "following", &mallory.id);

    let path = |activity: &Value| {
        let id = activity["id"].as_str().expect("an id");
        id.strip_prefix(&origin.base).expect("of the origin").to_owned()
    };
    let announce = |activity: &Value| {
        let id = activity["id"].as_str().expect("an id");
        let cid = id.rsplit('/').next().expect("a CID");
        let more = json!({ "to": [PUBLIC], "cc": [alice], "objectCid": cid });
        let announce =
            mallory.sealed(mallory.content("Announce", activity["object"]["id"].clone(), more));
        let answer = mallory.deliver(&node, "/actors/alice/inbox", &announce, Sign::Bare);
        answer.expect(202, "an Announce");
        announce["id"].as_str().expect("an id").to_owned()
    };
    let wanted = |words: &str| trent.note(words, &[PUBLIC]);
    let other = wanted("another statement of trent");
    let mut lies = Vec::new();
    // Other words under the same id.
    let mut changed = wanted("what was said first");
    let first = changed.clone();
    changed["object"]["content"] = json!("LIE by other words");
    lies.push((first, changed));
    // Another statement, which is well signed.
    lies.push((wanted("replaced"), other));
    // Signed by a key that is not the author's.
    let (_, key) = crate::support::peer::new_key(&trent.id);
    let content =
        trent.content("Create", trent.note_object("LIE by another key"), json!({ "to": [PUBLIC] }));
    let forged = trent.sealed_by(content, &trent.key_id, &key);
    lies.push((forged.clone(), forged));
    let before: Vec<_> = lies
        .iter()
        .map(|(announced, served)| {
            origin.serve(&path(announced), served.clone());
            (path(announced), announce(announced))
        })
        .collect();
    for (path, _) in &before {
        eventually(PATIENCE, &format!("{path} is asked for"), || {
            (origin.fetched(path) > 0).then_some(())
        });
    }
    // One that is true, last: when it shows, the others were judged.
    let honest = wanted("true words");
    origin.serve(&path(&honest), honest.clone());
    let shown = announce(&honest);
    let feed = || node.as_actor("alice").get("/projections/feed?limit=100").expect(200, "the feed");
    eventually(PATIENCE, "what is true is shown", || {
        let items = feed().json()["items"].as_array().expect("items").clone();
        let item = items.into_iter().find(|item| item["value"]["id"] == shown.as_str())?;
        (item["value"]["announced"]["content"] == "true words").then_some(())
    });
    for (_, id) in &before {
        let items = feed().json()["items"].as_array().expect("items").clone();
        let item = items.into_iter().find(|item| item["value"]["id"] == id.as_str());
        let item = item.expect("the Announce itself is in the feed");
        let passed_on = &item["value"]["announced"]["content"];
        assert_eq!(*passed_on, Value::Null, "{item}");
    }
    assert!(!feed().text_whole().contains("LIE"), "{}", feed().text_whole());
    for projection in ["objects", "announces"] {
        let rows = json!(node.projection(projection, "?limit=1000")).to_string();
        assert!(!rows.contains("LIE"), "{projection}: {rows}");
    }
}

/// What waits in a queue and is erased meanwhile is never sent; what was said after it is.
#[test]
fn what_is_erased_before_it_was_sent_stays_here() {
    let node = Spec::default().schedule("200ms,200ms,60s").start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let first = tell(&node, &mallory, "first contact");
    becomes(&node, &first, "delivered");
    let (port, document) = (peer.port(), mallory.document());
    drop(peer);
    let note = tell(&node, &mallory, "quuxly, said too early");
    eventually(PATIENCE, "a failed attempt", || {
        let tried = status(&node, &note)["timeline"].as_array().is_some_and(|all| !all.is_empty());
        tried.then_some(())
    });
    let delete = json!({ "type": "Delete", "to": [PUBLIC, mallory.id], "object": note.object() });
    let delete = node.publish("alice", &delete);
    let erased = json!({ "object": note.object(), "why": "a test" });
    node.admin().post("/admin/erase", &erased).expect(200, "it is erased");
    let after = tell(&node, &mallory, "said later");
    let peer = Peer::start_on(port);
    peer.serve("/actors/mallory", document);
    let hello = mallory.note("back again", &[&node.actor("alice")]);
    // Only a signed request shows that the peer itself is there.
    mallory.deliver(&node, "/actors/alice/inbox", &hello, Sign::Cavage).expect(202, "contact");
    peer.receives(&delete.id);
    peer.receives(&after.id);
    becomes(&node, &note, "erased");
    assert_eq!(peer.posts_of(&note.id).len(), 0, "it never left");
    assert!(peer.posted().iter().all(|post| !post.body.to_string().contains("quuxly")));
    assert!(letters(&node).is_empty(), "{:?}", letters(&node));
}
