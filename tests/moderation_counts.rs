//! Moderation: those whom an instance hides are not counted, and not listed among those who follow.

use serde_json::{Value, json};

use crate::operator::As;
use crate::support::node::Node;
use crate::support::peer::Foreign;
use crate::support::verbs::ids;
use crate::support::{ACTIVITY_JSON, Client, PATIENCE, PUBLIC, Peer, Sign, eventually};

fn authority(peer: &Peer) -> String {
    format!("127.0.0.1:{}", peer.port())
}

/// How many a collection says that it has; the items of its first page are as many.
#[track_caller]
fn count(client: &Client, url: &str) -> u64 {
    let total = client.get(url).expect(200, url).json()["totalItems"].as_u64().expect("totalItems");
    let page = client.get(&format!("{url}?page=true")).expect(200, url).json();
    let items = if page["items"].is_array() { &page["items"] } else { &page["orderedItems"] };
    assert_eq!(items.as_array().map(Vec::len), usize::try_from(total).ok(), "{url}: {page}");
    total
}

/// A row of a public projection, as a client sees it.
#[track_caller]
fn row(client: &Client, name: &str, key: &[&str]) -> Value {
    let byte = |byte: u8| format!("%{byte:02X}");
    let part = |part: &&str| format!("key={}&", part.bytes().map(byte).collect::<String>());
    let keys: String = key.iter().map(part).collect();
    let page = client.get(&format!("/projections/{name}?{keys}limit=1000")).expect(200, name);
    let items = page.json()["items"].as_array().expect("items").clone();
    let found = items.into_iter().find(|item| item["key"] == json!(key));
    found.map_or(Value::Null, |item| item["value"].clone())
}

/// Likes, shares, replies and reactions with a cow.
#[track_caller]
fn counts(client: &Client, object: &str) -> [u64; 4] {
    let of = |what: &str| count(client, &format!("{object}/{what}"));
    let collections = [of("likes"), of("shares"), of("replies")];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let rows = [
        &row(client, "endorsements", &[object])["like"],
        &row(client, "announces", &[object])["count"],
        &row(client, "replies", &[object])["count"],
    ];
    assert_eq!(rows.map(number), collections, "projections count as collections do");
    let [likes, shares, replies] = collections;
    [likes, shares, replies, number(&row(client, "reactions", &[object, "🐄"])["count"])]
}

/// What somebody says of an object: a Like, an Announce, an answer and a reaction.
fn says(name: &str, object: &str) -> [(&'static str, Value); 4] {
    let content = format!("{name} answers");
    let note = json!({ "type": "Note", "content": content, "inReplyTo": object, "to": [PUBLIC],
        "tag": [{ "type": "Hashtag", "name": "#answer" }] });
    [
        ("Like", json!(object)),
        ("Announce", json!(object)),
        ("Create", note),
        ("EmojiReact", json!(object)),
    ]
}

fn from_elsewhere(node: &Node, who: &Foreign, object: &str) {
    for (kind, mut about) in says(&who.name, object) {
        if kind == "Create" {
            let note = who.note_object("");
            for member in ["id", "attributedTo"] {
                about[member] = note[member].clone();
            }
        }
        let mut more = json!({ "to": [PUBLIC, node.actor("alice")] });
        if kind == "EmojiReact" {
            more["content"] = json!("🐄");
        }
        let said = who.sealed(who.content(kind, about, more));
        who.deliver(node, "/inbox", &said, Sign::Bare).expect(202, kind);
    }
}

#[test]
fn what_the_hidden_say_is_not_counted() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let (one, other) = (Peer::start(), Peer::start());
    let (mallory, carol) = (one.actor("mallory"), other.actor("carol"));
    let note = node.note("alice", "what do you think?");
    let object = note.object().to_owned();
    from_elsewhere(&node, &mallory, &object);
    from_elsewhere(&node, &carol, &object);
    for (kind, about) in says("bob", &object) {
        let mut request = json!({ "type": kind, "object": about, "to": [PUBLIC] });
        if kind == "EmojiReact" {
            request["content"] = json!("🐄");
        }
        node.publish("bob", &request);
    }
    let (anyone, alice) = (node.client(), node.as_actor("alice"));
    let settled = || {
        let head = node.settled_head();
        for name in ["endorsements", "announces", "replies", "reactions", "hashtags"] {
            anyone.get(&format!("/projections/{name}?min_seq={head}")).expect(200, name);
        }
    };
    settled();
    let tagged = || row(anyone, "hashtags", &["answer"])["count"].as_u64().unwrap_or(0);
    assert_eq!((counts(anyone, &object), tagged()), ([3; 4], 3), "nothing is decided yet");
    let operator = As::operator(&node);
    let decided = |args: &[&str], left: u64, case: &str| {
        operator.works(args);
        settled();
        assert_eq!((counts(anyone, &object), tagged()), ([left; 4], left), "{case}");
        assert_eq!(counts(&alice, &object), [left; 4], "{case}: to whom it was said, too");
    };
    decided(&["moderation", "block", &authority(&one)], 2, "a domain is blocked");
    decided(&["actor", "suspend", "bob"], 1, "one of here is suspended");
    decided(&["moderation", "silence", &carol.id], 0, "nothing is left");
    let all = row(&node.admin(), "endorsements", &[&object]);
    assert_eq!(all["like"], 3, "who operates the instance sees what there is");
    decided(&["moderation", "undo", &carol.id], 1, "a silence ends");
    decided(&["actor", "unsuspend", "bob"], 2, "back again");
    decided(&["moderation", "undo", &authority(&one)], 3, "as it was");
}

#[test]
fn the_hidden_are_not_among_those_who_follow() {
    let node = Node::start();
    for name in ["alice", "bob", "dave"] {
        node.create(name);
    }
    let (one, other) = (Peer::start(), Peer::start());
    let (mallory, mia, carol) = (one.actor("mallory"), one.actor("mia"), other.actor("carol"));
    for follower in [&mallory, &mia, &carol] {
        follower.follows(&node, "alice");
    }
    let (alice, bob) = (node.actor("alice"), node.actor("bob"));
    for name in ["bob", "dave"] {
        node.follow(name, &alice);
    }
    node.follow("alice", &bob);
    let anyone = node.client();
    let listed = |what: &str| {
        let path = format!("/actors/alice/{what}");
        let total = count(anyone, &path);
        let page = anyone.get(&format!("{path}?page=true")).expect(200, what).json();
        let items = ids(&page["orderedItems"]);
        assert_eq!(node.listed("alice", what), items, "she sees what others see");
        // As its projection has it.
        node.settled_head();
        let graph = format!("/projections/follower-graph?min_seq={}&limit=1000", node.head());
        let rows = anyone.get(&graph).expect(200, "the graph").json();
        let rows = rows["items"].as_array().expect("items");
        let of_alice = rows.iter().filter(|row| row["key"][0] == what && row["key"][1] == *alice);
        let others: Vec<_> = of_alice.map(|row| row["key"][2].as_str().expect("an id")).collect();
        assert_eq!(others, items, "{what}");
        let counted = row(anyone, "follower-graph", &["counts", &alice])[what].as_u64();
        assert_eq!(counted.unwrap_or(0), total, "{what}");
        items
    };
    let without = |left_out: &[&str]| {
        let all = [&mallory.id, &mia.id, &carol.id, &bob, &node.actor("dave")];
        let mut left: Vec<_> = all.into_iter().filter(|id| !left_out.contains(&&***id)).collect();
        left.sort();
        left.into_iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(listed("followers"), without(&[]));
    let operator = As::operator(&node);
    operator.works(&["moderation", "block", &mallory.id]);
    assert_eq!(listed("followers"), without(&[&mallory.id]));
    // What is told her instance of those who follow there names her: a block ends no Follow, and who
    // is not named would be taken for one who follows no more.
    let path = "/actors/alice/followers/synchronization";
    let told = mia.fetch(&node, path, ACTIVITY_JSON).expect(200, "of their own").json();
    assert_eq!(ids(&told["orderedItems"]), [&*mallory.id, &*mia.id]);
    operator.works(&["actor", "suspend", "bob"]);
    assert_eq!(listed("followers"), without(&[&mallory.id, &bob]));
    assert_eq!(listed("following"), Vec::<String>::new());
    operator.works(&["moderation", "block", &authority(&one)]);
    assert_eq!(listed("followers"), without(&[&mallory.id, &mia.id, &bob]));
    // Pages go on behind those who are left out, and name none of them.
    let (mut pages, mut next) =
        (Vec::new(), Some("/actors/alice/followers?page=true&limit=1".to_owned()));
    while let Some(path) = next {
        let page = anyone.get(&path).expect(200, "a page");
        assert!(!page.text_whole().contains("mallory"), "{}", page.text());
        let page = page.json();
        assert_eq!(page["orderedItems"].as_array().map(Vec::len), Some(1), "{page}");
        pages.extend(ids(&page["orderedItems"]));
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(pages, listed("followers"));
    let note = node.note("alice", "to all who follow");
    other.receives(&note.id);
    // Lifted: they follow as before, and get what waited.
    for undone in [&*mallory.id, &authority(&one)] {
        operator.works(&["moderation", "undo", undone]);
    }
    operator.works(&["actor", "unsuspend", "bob"]);
    assert_eq!(listed("followers"), without(&[]));
    assert_eq!(listed("following"), [bob]);
    eventually(PATIENCE, "what waited arrives", || {
        (!one.posts_of(&note.id).is_empty()).then_some(())
    });
}
