//! What each fold shows, and how queries read it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::state::{MemoryState, StateView, key};
use fedsx_projections::folds::{
    ActorState, DefineRegistry, Endorsements, Feed, FollowerGraph, Hashtags, KeyHistory, Objects,
    PeerActors,
};
use fedsx_projections::{Fold, Item, Page, Projections, Query, Reader, builtin};
use serde_json::{Value, json};

fn state(one: &dyn Fold, said: &[Said]) -> MemoryState {
    let (state, aside) = shown(one, &records(said));
    assert!(aside.is_empty(), "{aside:?}");
    state
}

fn at(state: &MemoryState, parts: &[&str]) -> Value {
    state.get(&key(parts)).unwrap().unwrap_or(Value::Null)
}

fn create(author: usize, seq: usize, to: &str, text: &str) -> Said {
    let object = note(author, seq, text);
    (say(author, seq, json!({"type": "Create", "to": [to], "object": object})), false)
}

/// Everything in the inbox of ann, her own things in her outbox.
fn to_ann(said: &[Said]) -> Vec<Record> {
    let mut records = records(said);
    for record in &mut records {
        if !matches!(record.entry.stream, Stream::Local) && record.activity.actor() != ACTORS[0] {
            record.entry.stream = Stream::Inbox(name("ann"));
        }
    }
    records
}

fn feed(said: &[Said]) -> Vec<Value> {
    let (state, _) = shown(&Feed, &to_ann(said));
    let items = state.scan("ann\n", None, 100).unwrap();
    items.into_iter().map(|(_, value)| value).collect()
}

#[test]
fn the_feed_shows_notes_announces_and_unknown_verbs() {
    let announce = |seq, id: &str| (say(1, seq, json!({"type": "Announce", "object": id})), false);
    let pin = (say(3, 7, json!({"type": "Pin", "object": note_id(2, 0)})), false);
    let like = (say(3, 8, json!({"type": "Like", "object": note_id(2, 0)})), false);
    let note = create(2, 0, PUBLIC, "hello");
    // The second Announce names the activity, and comes before it.
    let said = [announce(1, note.0.id()), note.clone(), announce(2, &note_id(2, 0)), pin, like];
    let items = feed(&said);
    assert_eq!(items.len(), 4);
    assert_eq!(items[0]["announced"]["content"], "hello");
    assert_eq!(items[1]["object"]["content"], "hello");
    assert_eq!(items[1]["backfilled"], false);
    assert_eq!(items[2]["announced"]["attributedTo"], ACTORS[2]);
    assert_eq!((&items[3]["type"], &items[3]["unknown"]), (&json!("Pin"), &json!(true)));

    let stranger = (say(3, 9, json!({"type": "Delete", "object": note_id(2, 0)})), false);
    let author = (say(2, 9, json!({"type": "Delete", "object": note_id(2, 0)})), false);
    let mut more = said.to_vec();
    more.push(stranger);
    assert_eq!(feed(&more), items);
    more.push(author.clone());
    let gone = feed(&more);
    assert_eq!(gone[0]["announced"]["type"], "Tombstone");
    assert_eq!(gone[1]["deleted"], true);
    assert!(!json!(gone).to_string().contains("hello"));
    // The same where the Delete comes first.
    more.rotate_right(1);
    assert!(!json!(feed(&more)).to_string().contains("hello"));
}

#[test]
fn a_delete_marks_the_items_of_all_receivers() {
    let delete = (say(2, 9, json!({"type": "Delete", "object": note_id(2, 0)})), false);
    for to in [PUBLIC, ACTORS[0]] {
        let note = create(2, 0, to, "hello");
        for said in [[&note, &note, &delete], [&delete, &note, &note]] {
            let mut all = records(said);
            let mut copies = all.iter_mut().filter(|record| record.activity.kind() == "Create");
            copies.next().unwrap();
            let second = copies.next().unwrap();
            second.entry.stream = Stream::Inbox(name("bob"));
            second.entry.first = false;
            let (state, _) = shown(&Feed, &all);
            assert_eq!(state.0.len(), 2);
            assert!(state.0.values().all(|item| item["deleted"] == true), "{state:?}");
        }
    }
}

/// What is stored for an activity is what it costs: rows are few.
#[test]
fn a_note_that_is_delivered_takes_few_rows() {
    let said = [create(2, 0, PUBLIC, "hello")];
    let rows = |one: &dyn Fold| fold(one, &to_ann(&said)).0.0.len();
    let all: Vec<(String, usize)> = builtin()
        .iter()
        .map(|one| (one.name().to_owned(), rows(&**one)))
        .filter(|(_, rows)| *rows > 0)
        .collect();
    let all: Vec<(&str, usize)> = all.iter().map(|(name, rows)| (name.as_str(), *rows)).collect();
    assert_eq!(all, [("actor-state", 1), ("feed", 2), ("objects", 1)]);
}

/// Nothing is kept of an object that is created without hashtags, and yet an Update may have some.
#[test]
fn hashtags_come_with_any_version() {
    let create = |tag: Value| {
        let mut object = note(2, 0, "hello");
        object["published"] = json!("2026-01-01T00:00:07Z");
        object["tag"] = tag;
        (say(2, 5, json!({"type": "Create", "to": [PUBLIC], "object": object})), false)
    };
    let update = |seq: usize, tag: &str| {
        let mut object = note(2, 0, "changed");
        object["published"] = json!("2026-01-01T00:00:07Z");
        object["tag"] = json!([{"type": "Hashtag", "name": tag}]);
        (say(2, seq, json!({"type": "Update", "to": [PUBLIC], "object": object})), false)
    };
    let listed = |said: &[Said]| -> Vec<String> {
        let rows = fold(&Hashtags, &records(said)).0.0.into_keys();
        rows.filter(|key| key.contains("notes")).map(|key| key.replace('\n', " ")).collect()
    };
    let expected = |tag: &str| vec![format!("{tag} 001767225607000 {}", note_id(2, 0))];
    let plain = create(Value::Null);
    assert!(fold(&Hashtags, &records([&plain])).0.0.is_empty());
    // An author may number as it likes: a Create is the oldest version.
    for first in [plain, create(json!([{"type": "Hashtag", "name": "#old"}]))] {
        for seq in [3, 7] {
            let said = [first.clone(), update(seq, "#new")];
            assert_eq!(listed(&said), expected("new"), "{seq}");
            assert_eq!(listed(&[said[1].clone(), said[0].clone()]), expected("new"));
        }
    }
}

#[test]
fn announces_of_activities_show_their_objects() {
    let announce = |seq, id: &str| (say(1, seq, json!({"type": "Announce", "object": id})), false);
    let note = create(2, 0, PUBLIC, "hello");
    let fetched = json!({"type": "ActivityFetched", "object": note.0.to_value()});
    let fetched = (say(0, 9, fetched), true);
    let delete = (say(2, 9, json!({"type": "Delete", "object": note_id(2, 0)})), false);
    for source in [note.clone(), fetched] {
        // By the id of the activity, before and after it is known, and by that of the object.
        let (id, object) = (note.0.id(), note_id(2, 0));
        let mut said =
            vec![announce(1, id), source, announce(2, id), announce(3, &object), announce(4, id)];
        let announced = |said: &[Said]| -> Vec<Value> {
            let items = feed(said).into_iter().filter(|item| item["type"] == "Announce");
            items.map(|item| item["announced"].clone()).collect()
        };
        let shown = announced(&said);
        assert_eq!(shown.len(), 4);
        for item in &shown {
            assert_eq!((&item["content"], &item["cid"]), (&json!("hello"), &json!(note.0.cid())));
        }
        said.push(delete.clone());
        for item in announced(&said) {
            let gone = json!({"id": object, "type": "Tombstone", "attributedTo": ACTORS[2]});
            assert_eq!(item, gone);
        }
    }
}

#[test]
fn an_announce_does_not_show_what_is_not_public() {
    let note = create(2, 0, ACTORS[1], "for bob only");
    let embedded = json!({"type": "Note", "id": note_id(2, 0), "attributedTo": ACTORS[2],
        "content": "for bob only"});
    let announces = [json!(note_id(2, 0)), json!(note.0.id()), embedded]
        .map(|object| (say(3, 5, json!({"type": "Announce", "object": object})), false));
    for announce in announces {
        for said in [[note.clone(), announce.clone()], [announce, note.clone()]] {
            let items = feed(&said);
            let item = items.iter().find(|item| item["type"] == "Announce").unwrap();
            assert!(!item.to_string().contains("for bob"), "{item}");
        }
    }
}

#[test]
fn objects_belong_to_whoever_created_them() {
    let created = create(2, 0, PUBLIC, "first");
    let own = note_id(2, 0);
    let update = |author, seq, text: &str| {
        let mut object = note(2, 0, text);
        object["attributedTo"] = json!(ACTORS[author]);
        (say(author, seq, json!({"type": "Update", "object": object})), false)
    };
    let shown = state(&Objects, &[update(2, 5, "newer"), created.clone(), update(3, 9, "forged")]);
    let shown = at(&shown, &[&own]);
    assert_eq!((&shown["latest"]["content"], &shown["versions"]), (&json!("newer"), &json!(2)));
    assert_eq!(shown["attributedTo"], ACTORS[2]);
    let delete = (say(2, 9, json!({"type": "Delete", "object": own})), false);
    let shown = at(&state(&Objects, &[delete, created]), &[&own]);
    assert_eq!((&shown["type"], &shown["formerType"]), (&json!("Tombstone"), &json!("Note")));
    assert!(shown.get("latest").is_none());
}

#[test]
fn actors_have_profile_keys_and_counts() {
    let born = (say(2, 0, json!({"type": "Create", "object": person(2, "Dan")})), false);
    let rotated = (
        say(
            2,
            2,
            json!({"type": "Update", "object": person(2, "Daniel"), "patch": {
            "add_publicKey": multikey(2, 1),
            "supersede": {"old": format!("{}#key-0", ACTORS[2])}}}),
        ),
        false,
    );
    let moved = say(
        2,
        3,
        json!({"type": "Move", "to": [PUBLIC], "object": ACTORS[2], "target": ACTORS[3]}),
    );
    let said = [rotated, born, create(2, 1, PUBLIC, "x"), (moved, false)];
    let shown = at(&state(&ActorState, &said), &[ACTORS[2]]);
    assert_eq!(shown["name"], "Daniel");
    assert!(shown.get("movedTo").is_none(), "a Move from elsewhere counts once it was checked");
    assert_eq!(shown["counts"], json!({"published": 4, "notes": 1}));
    let keys = state(&KeyHistory, &said);
    let old = at(&keys, &[ACTORS[2], &format!("{}#key-0", ACTORS[2])]);
    let new = at(&keys, &[ACTORS[2], &format!("{}#key-1", ACTORS[2])]);
    assert_eq!(old["validUntil"]["seq"], 2);
    assert_eq!(new["validFrom"]["seq"], 3);
    assert_eq!(shown["keys"], json!([old, new]));

    let gone = (say(2, 4, json!({"type": "Delete", "object": ACTORS[2]})), false);
    let shown = at(&state(&ActorState, &[&[gone][..], &said[..]].concat()), &[ACTORS[2]]);
    assert_eq!((&shown["deleted"], shown.get("name")), (&json!(true), None));
}

#[test]
fn peers_are_known_by_fetching_and_by_their_updates() {
    let fetched = (say(0, 0, json!({"type": "ActorFetched", "object": person(3, "Cy")})), true);
    let own = (say(0, 1, json!({"type": "Update", "object": person(0, "Ann")})), false);
    let peers = state(&PeerActors, &[fetched.clone(), own.clone()]);
    let shown = at(&peers, &[ACTORS[3]]);
    assert_eq!(shown["document"]["name"], "Cy");
    assert_eq!(shown["inbox"], format!("{}/inbox", ACTORS[3]));
    assert_eq!(shown["keys"][0]["id"], format!("{}#key-0", ACTORS[3]));
    assert!(shown["fetched_ms"].is_i64());
    assert_eq!(at(&peers, &[ACTORS[0]]), Value::Null);
    let later = (say(3, 9, json!({"type": "Update", "object": person(3, "Cyril")})), false);
    let peers = state(&PeerActors, &[later, fetched, own]);
    assert_eq!(at(&peers, &[ACTORS[3]])["document"]["name"], "Cyril");
}

#[test]
fn endorsements_are_counted_once() {
    let target = note_id(2, 0);
    let first = (like(0, 0, &target), false);
    let again = (like(0, 1, &target), false);
    let share = (say(1, 0, json!({"type": "Endorse", "kind": "share", "object": target})), false);
    let undo = (say(0, 2, json!({"type": "Undo", "object": again.0.id()})), false);
    let said = [first, again, share];
    // What does not address everyone is counted apart.
    let counts = json!({"like": 1, "private": {"share": 1}});
    assert_eq!(at(&state(&Endorsements, &said), &[&target]), counts);
    let undone = state(&Endorsements, &[&[undo][..], &said[..]].concat());
    assert_eq!(at(&undone, &[&target]), json!({"private": {"share": 1}}));
    assert_eq!(at(&undone, &[&target, "like", ACTORS[0]])["undone"], true);
    let privately = (say(0, 5, json!({"type": "Like", "object": target})), false);
    let now = state(&Endorsements, &[&[privately][..], &said[..]].concat());
    assert_eq!(at(&now, &[&target]), json!({"private": {"like": 1, "share": 1}}));
    let odd = (say(0, 3, json!({"type": "Endorse", "kind": "odd", "object": target})), false);
    assert_eq!(fold(&Endorsements, &records(&[odd])).1.len(), 1);
}

/// Whoever deleted itself likes nothing any more, in whatever order that comes.
#[test]
fn nothing_counts_of_who_left() {
    let target = note_id(2, 0);
    let stays = (like(1, 0, &target), false);
    let mut said = vec![(like(0, 0, &target), false), stays];
    // More than one page of what an actor stated.
    said.extend((1..600).map(|seq| (like(0, seq, &format!("{target}/{seq}")), false)));
    said.push((say(0, 700, json!({"type": "Delete", "object": ACTORS[0]})), false));
    for turn in [0, 1, 300] {
        said.rotate_right(turn);
        let left = state(&Endorsements, &said);
        assert_eq!(at(&left, &[&target]), json!({"like": 1}));
        assert_eq!(at(&left, &[&target, "like", ACTORS[0]])["undone"], true);
        for seq in 1..600 {
            let other = format!("{target}/{seq}");
            assert_eq!(at(&left, &[&other]), Value::Null, "{seq}");
            assert_eq!(at(&left, &[&other, "like", ACTORS[0]])["undone"], true, "{seq}");
        }
    }
    let other = (say(3, 1, json!({"type": "Delete", "object": ACTORS[1]})), false);
    said.push(other);
    assert_eq!(at(&state(&Endorsements, &said), &[&target]), json!({"like": 1}), "not by others");
}

#[test]
fn the_graph_has_counts() {
    let follow = (say(0, 0, json!({"type": "Follow", "object": ACTORS[2]})), false);
    let accept = (say(2, 0, json!({"type": "Accept", "object": follow.0.id()})), false);
    let graph = state(&FollowerGraph, &[accept, follow.clone()]);
    assert_eq!(at(&graph, &["counts", ACTORS[2]])["followers"], 1);
    assert_eq!(at(&graph, &["followers", ACTORS[2], ACTORS[0]])["follow"], follow.0.id());
}

fn definition(name: &str) -> Value {
    json!({"type": "DefineActivity", "name": name, "summary": "A verb."})
}

#[test]
fn the_registry_says_where_definitions_come_from() {
    let cid = |value: &Value| fedsx_kernel::Cid::of(value).unwrap().to_string();
    let (create, pin) = (definition("Create"), definition("Pin"));
    let bundle = |seq, definitions: Value| {
        let object = json!({"bundle": format!("bundle-{seq}"), "definitions": definitions});
        (say(0, seq, json!({"type": "GenesisActivated", "object": object})), true)
    };
    let define = |author, seq, definition: &Value| {
        let content = json!({"type": "DefineActivity", "to": [PUBLIC], "object": definition});
        (say(author, seq, content), false)
    };
    let first = bundle(0, json!({"a": {"cid": cid(&create), "document": create}}));
    let offered = define(2, 0, &pin);
    let add =
        json!({"type": "Add", "to": [PUBLIC], "object": pin, "origin": {"id": offered.0.id()}});
    let add = (say(0, 1, add), false);
    let status = |said: &[Said], name: &str, of: &Value| {
        at(&state(&DefineRegistry, said), &["activity-types", name, &cid(of)])["status"].clone()
    };
    let mut said = vec![first, offered];
    assert_eq!(status(&said, "Create", &create), "genesis");
    assert_eq!(status(&said, "Pin", &pin), "offered");
    said.push(add);
    assert_eq!(status(&said, "Pin", &pin), "adopted");
    said.push(define(1, 2, &pin));
    assert_eq!(status(&said, "Pin", &pin), "local");
    said.push(bundle(5, json!({"b": {"cid": cid(&pin), "document": pin}})));
    assert_eq!(status(&said, "Pin", &pin), "genesis");
    assert_eq!(status(&said, "Create", &create), "withdrawn");
    let newer = json!({"type": "DefineActivity", "name": "Pin", "summary": "Another verb."});
    said.push(bundle(6, json!({"b": {"cid": cid(&newer), "document": newer}})));
    assert_eq!(status(&said, "Pin", &newer), "genesis");
    // What a hosted actor published still stands below it.
    assert_eq!(status(&said, "Pin", &pin), "superseded");
    let remove = |seq, cid: String| {
        let url = format!("https://a.example/types/{cid}");
        (say(0, seq, json!({"type": "Remove", "to": [PUBLIC], "object": url})), false)
    };
    said.push(remove(7, cid(&pin)));
    assert_eq!(status(&said, "Pin", &newer), "genesis");
    said.push(bundle(8, json!({})));
    assert_eq!(status(&said, "Pin", &pin), "withdrawn", "nothing of it stands any more");
    let like = define(2, 9, &definition("Cheer"));
    let undo = json!({"type": "Undo", "object": {"id": like.0.id(), "type": "DefineActivity"}});
    let undo = (say(2, 10, undo), false);
    for order in [[like.clone(), undo.clone()], [undo, like]] {
        assert_eq!(status(&order, "Cheer", &definition("Cheer")), "withdrawn");
    }
}

fn like(author: usize, seq: usize, target: &str) -> Activity {
    say(author, seq, json!({"type": "Like", "to": [PUBLIC], "object": target}))
}

fn keys(page: &Page) -> Vec<Vec<String>> {
    page.items.iter().map(|Item { key, .. }| key.clone()).collect()
}

#[tokio::test]
async fn queries_page_in_both_directions() {
    let (storage, log) = open_log();
    let target = note_id(2, 0);
    let mut said: Vec<Said> = (0..3).map(|author| (like(author, 0, &target), false)).collect();
    said.push((like(0, 1, "https://a.example/1"), false));
    for item in &said {
        append(&log, item).await;
    }
    let projections =
        Projections::open(table(&storage), log.clone(), Runtime::system(), context(), builtin())
            .await
            .unwrap();
    projections.wait("endorsements", log.head(), Duration::from_secs(10)).await.unwrap();
    let query = |query: Query| projections.query("endorsements", &query, &Reader::Anyone).unwrap();
    let all = query(Query::default());
    assert_eq!((all.items.len(), all.next.clone()), (6, None), "notes of the fold are hidden");
    for newest_first in [false, true] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = query(Query { limit: 1, newest_first, after, ..Query::default() });
            seen.extend(keys(&page));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if newest_first {
            seen.reverse();
        }
        assert_eq!(seen, keys(&all));
    }
    let below = |parts: &[&str], newest_first| {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        keys(&query(Query { key_prefix: Some(parts), newest_first, ..Query::default() }))
    };
    let mut about = below(&[&target], false);
    assert_eq!((about.len(), &about[0]), (4, &vec![target.clone()]));
    about.reverse();
    assert_eq!(below(&[&target], true), about);
    assert_eq!(below(&[&target, "like"], false).len(), 3);
    assert!(below(&["~id"], false).is_empty());
    projections.shutdown().await;
}

#[tokio::test]
async fn queries_show_only_public_objects() {
    let (storage, log) = open_log();
    for said in [create(2, 0, PUBLIC, "for all"), create(2, 1, ACTORS[1], "for bob")] {
        append(&log, &said).await;
    }
    let projections =
        Projections::open(table(&storage), log.clone(), Runtime::system(), context(), builtin())
            .await
            .unwrap();
    projections.wait("objects", log.head(), Duration::from_secs(10)).await.unwrap();
    let page = projections.query("objects", &Query::default(), &Reader::Anyone).unwrap();
    assert_eq!(keys(&page), [[note_id(2, 0)]]);
    let view = projections.view("objects").unwrap();
    assert!(view.get(&key(&[&note_id(2, 1)])).unwrap().is_some());
    projections.shutdown().await;
}

#[test]
fn hostile_documents_are_digested_or_set_aside() {
    let odd = [
        json!({"type": "Create", "object": {"id": 5, "type": {}}}),
        json!({"type": "Update", "object": ACTORS[3], "patch": {"supersede": 3}}),
        json!({"type": "Undo", "object": {"type": "Follow", "actor": 1, "object": []}}),
        json!({"type": "Delete"}),
        json!({"type": "Announce", "object": {"type": "Note"}}),
        json!({"type": "Add", "object": {"type": "DefineActivity"}}),
        json!({"type": "Move", "object": ACTORS[3], "target": {"id": []}}),
        json!({"type": "DefineProjection", "object": 7}),
    ];
    let said: Vec<Said> =
        odd.into_iter().enumerate().map(|(seq, content)| (say(3, seq, content), false)).collect();
    for one in builtin() {
        let one: Arc<dyn Fold> = one;
        let (_, aside) = fold(&*one, &to_ann(&said));
        assert!(aside.len() <= 2, "{}: {aside:?}", one.name());
    }
}
