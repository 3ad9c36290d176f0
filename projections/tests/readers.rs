//! Who is shown what, by queries, in past state and in live streams.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::log::{Append, Log, MemoryStorage, Meta, Place};
use fedsx_kernel::runtime::Runtime;
use fedsx_projections::{
    Change, News, Projections, Query, QueryError, Reader, Subscription, builtin,
};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(10);
const ANN: &str = ACTORS[0];
const BOB: &str = ACTORS[1];
const DAN: &str = ACTORS[2];

struct World {
    log: Log,
    projections: Projections,
    _storage: Arc<MemoryStorage>,
}

impl World {
    async fn of(said: &[Said]) -> Self {
        let (storage, log) = open_log();
        let (table, of_log) = (table(&storage), log.clone());
        let opened =
            Projections::open(table, of_log, Runtime::system(), context(), builtin()).await;
        let world = Self { log, projections: opened.unwrap(), _storage: storage };
        for item in said {
            world.append(item).await;
        }
        world
    }

    async fn append(&self, said: &Said) -> u64 {
        let at = append(&self.log, said).await;
        self.settled().await;
        at
    }

    async fn settled(&self) {
        for info in self.projections.list() {
            self.projections.wait(&info.name, self.log.head(), WAIT).await.unwrap();
        }
    }

    fn rows(&self, name: &str, reader: &Reader) -> Vec<(Vec<String>, Value)> {
        let query = Query { limit: 1000, ..Query::default() };
        let now = self.projections.query(name, &query, reader).unwrap();
        let then = self.projections.past(name, self.log.head(), &query, reader).unwrap();
        assert_eq!(now.items, then.items, "past state at the end of the log shows {name} alike");
        now.items.into_iter().map(|item| (item.key, item.value)).collect()
    }

    fn keys(&self, name: &str, reader: &Reader) -> Vec<Vec<String>> {
        self.rows(name, reader).into_iter().map(|(key, _)| key).collect()
    }

    fn value(&self, name: &str, key: &[&str], reader: &Reader) -> Value {
        let found = self.rows(name, reader).into_iter().find(|(held, _)| held == key);
        found.map_or(Value::Null, |(_, value)| value)
    }
}

fn reads(id: &str) -> Reader {
    Reader::Actor(id.to_owned())
}

/// Anyone, each local actor, a stranger elsewhere, and who operates the instance.
fn readers() -> [(&'static str, Reader); 5] {
    [
        ("anyone", Reader::Anyone),
        ("ann", reads(ANN)),
        ("bob", reads(BOB)),
        ("cy", reads(ACTORS[3])),
        ("admin", Reader::Admin(None)),
    ]
}

fn says(author: usize, seq: usize, kind: &str, to: &[&str], object: &Value) -> Activity {
    let mut content = json!({"type": kind, "object": object});
    if !to.is_empty() {
        content["to"] = json!(to);
    }
    if kind == "Endorse" {
        content["kind"] = json!("share");
    }
    say(author, seq, content)
}

#[tokio::test]
async fn private_statements_are_shown_to_whom_they_reached() {
    let target = note_id(2, 0);
    for (name, kind, member) in [
        ("announces", "Announce", "count"),
        ("endorsements", "Like", "like"),
        ("endorsements", "Endorse", "share"),
    ] {
        let of = |author, to: &[&str]| (says(author, 1, kind, to, &json!(target)), false);
        // By ann to bob; by dan to everyone.
        let world = World::of(&[of(0, &[BOB]), of(2, &[PUBLIC])]).await;
        for (who, reader) in readers() {
            let keys = world.keys(name, &reader);
            let shows = |actor: &str| keys.iter().any(|key| key.last().unwrap() == actor);
            let sees = matches!(who, "ann" | "bob" | "admin");
            assert_eq!(shows(ANN), sees, "{name}: {who} and ann's {kind} to bob");
            assert!(shows(DAN), "{name}: {who} and the public {kind}");
            let count = if who == "admin" { 2 } else { 1 };
            let counts = world.value(name, &[&target], &reader);
            assert_eq!(counts, json!({ member: count }), "{name}: what {who} sees counted");
        }
        world.projections.shutdown().await;
        // Where nothing is public, there is no count either.
        let world = World::of(&[of(0, &[BOB])]).await;
        assert!(world.rows(name, &Reader::Anyone).is_empty());
        assert_eq!(world.keys(name, &reads(BOB)).len(), 1);
        world.projections.shutdown().await;
    }
}

#[tokio::test]
async fn whoever_received_it_may_see_it() {
    let world = World::of(&[]).await;
    // To nobody by name, as followers get things: delivered into bob's inbox.
    let like = says(2, 1, "Like", &[&format!("{DAN}/followers")], &json!(note_id(2, 0)));
    let (activity, inboxes) = (Arc::new(like), vec![name("bob")]);
    let append = Append {
        activity,
        place: Place::Inboxes(inboxes),
        meta: Meta { hidden: vec![ACTORS[3].to_owned()], ..Meta::default() },
        once: None,
        guard: None,
    };
    world.log.append(append).await.unwrap();
    world.settled().await;
    for (who, reader) in readers() {
        let sees = !world.rows("endorsements", &reader).is_empty();
        assert_eq!(sees, matches!(who, "bob" | "cy" | "admin"), "{who}");
    }
    world.projections.shutdown().await;
}

#[tokio::test]
async fn pending_follows_are_for_the_two() {
    let follow = |author, of: &str| (says(author, 0, "Follow", &[of], &json!(of)), false);
    let asked = follow(0, DAN);
    let accept = says(2, 5, "Accept", &[ANN], &json!(asked.0.id()));
    let world = World::of(&[asked, (accept, false), follow(1, DAN), follow(2, BOB)]).await;
    for (who, reader) in readers() {
        let keys = world.keys("follower-graph", &reader);
        let shows = |parts: &[&str]| keys.iter().any(|key| key == parts);
        assert!(shows(&["followers", DAN, ANN]), "{who}: what was accepted is public");
        let concerned = matches!(who, "bob" | "admin");
        for (listing, actor, other) in [
            ("pending_outbound", BOB, DAN),
            ("pending_inbound", DAN, BOB),
            ("pending_inbound", BOB, DAN),
        ] {
            assert_eq!(shows(&[listing, actor, other]), concerned, "{who} {listing} {actor}");
        }
        // Bob has pending ones only.
        assert_eq!(shows(&["counts", BOB]), concerned, "{who}");
        let counts = world.value("follower-graph", &["counts", DAN], &reader);
        assert_eq!(counts["followers"], 1, "{who}");
        assert_eq!(counts.get("pending_inbound").is_some(), who == "admin", "{who}: {counts}");
    }
    world.projections.shutdown().await;
}

#[tokio::test]
async fn objects_are_for_author_and_audience() {
    let mut secret = note(2, 1, "for bob");
    secret["bcc"] = json!([ACTORS[3]]);
    let world = World::of(&[
        (says(2, 0, "Create", &[PUBLIC], &note(2, 0, "for all")), false),
        (says(0, 0, "Create", &[DAN], &note(0, 0, "for dan")), false),
    ])
    .await;
    let only_bob = Append {
        activity: Arc::new(says(2, 1, "Create", &[BOB], &secret)),
        place: Place::Inboxes(vec![name("bob")]),
        meta: Meta::default(),
        once: None,
        guard: None,
    };
    world.log.append(only_bob).await.unwrap();
    world.settled().await;
    for (who, reader) in readers() {
        let keys = world.keys("objects", &reader);
        let shows = |id: String| keys.contains(&vec![id]);
        assert!(shows(note_id(2, 0)), "{who}");
        assert_eq!(shows(note_id(0, 0)), who == "ann", "{who}: ann's own");
        assert_eq!(shows(note_id(2, 1)), who == "bob", "{who}: to bob");
    }
    assert!(world.keys("objects", &reads(DAN)).contains(&vec![note_id(0, 0)]), "named in to");
    let shown = world.value("objects", &[&note_id(2, 1)], &reads(BOB));
    assert!(!shown.to_string().contains(ACTORS[3]), "hidden recipients stay hidden: {shown}");
    // Who operates the instance and reads as bob sees what bob sees.
    let keys = world.keys("objects", &Reader::Admin(Some(BOB.into())));
    assert!(keys.contains(&vec![note_id(2, 1)]));
    world.projections.shutdown().await;
}

#[tokio::test]
async fn definitions_have_an_audience() {
    let verb = |name: &str| json!({"type": "DefineActivity", "name": name});
    let offered = (says(2, 0, "DefineActivity", &[PUBLIC], &verb("Pin")), false);
    let adopted = (says(0, 1, "Add", &[BOB], &verb("Pin")), false);
    let secret = (says(0, 0, "DefineActivity", &[BOB], &verb("Conspire")), false);
    let world = World::of(&[offered, adopted, secret]).await;
    for (who, reader) in readers() {
        let rows = world.rows("define-registry", &reader);
        let of = |name: &str| -> Vec<&Value> {
            rows.iter()
                .filter(|(key, _)| key[1] == name)
                .map(|(_, value)| &value["status"])
                .collect()
        };
        let entitled = matches!(who, "ann" | "bob" | "admin");
        assert_eq!(of("Conspire").len(), usize::from(entitled), "{who}");
        assert_eq!(of("Pin")[0], "offered", "{who}: what was offered to everyone");
        assert_eq!(of("Pin").get(1), entitled.then_some(&&json!("adopted")), "{who}");
    }
    world.projections.shutdown().await;
}

#[tokio::test]
async fn a_private_move_is_not_told() {
    let born = (says(0, 0, "Create", &[PUBLIC], &person(0, "Ann")), false);
    let mut moved = json!({"type": "Move", "object": ANN, "target": ACTORS[3], "to": [BOB]});
    moved["cc"] = json!([]);
    let world = World::of(&[born, (say(0, 1, moved), false)]).await;
    for (who, reader) in readers() {
        let shown = world.value("actor-state", &[ANN], &reader);
        assert_eq!(shown["counts"]["published"], 2, "{who}: counts are of everything");
        let told = shown.to_string().contains(ACTORS[3]);
        assert_eq!(told, matches!(who, "admin" | "ann"), "{who}: {shown}");
    }
    world.projections.shutdown().await;
}

#[tokio::test]
async fn a_feed_is_its_owners() {
    let world = World::of(&[(says(2, 0, "Create", &[ANN], &note(2, 0, "hello")), false)]).await;
    for (who, reader) in readers() {
        // The helper delivers to ann and bob.
        let owners: Vec<String> =
            world.keys("feed", &reader).into_iter().map(|key| key[0].clone()).collect();
        let expected: &[&str] = if matches!(who, "ann" | "bob") { &[who] } else { &[] };
        assert_eq!(owners, expected, "{who}");
    }
    world.projections.shutdown().await;
}

#[tokio::test]
async fn cursors_tell_nothing_of_hidden_rows() {
    let (storage, log) = open_log();
    let like = |n: usize, to: &[&str]| {
        (says(0, n, "Like", to, &json!(format!("https://a.example/{n:05}"))), false)
    };
    for n in 0..5_100 {
        append(&log, &like(n, &[])).await;
    }
    append(&log, &like(99_999, &[PUBLIC])).await;
    let projections =
        Projections::open(table(&storage), log.clone(), Runtime::system(), context(), builtin())
            .await
            .unwrap();
    projections.wait("endorsements", log.head(), WAIT * 6).await.unwrap();
    let (mut shown, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let query = Query { after, limit: 5, ..Query::default() };
        let page = projections.query("endorsements", &query, &Reader::Anyone).unwrap();
        shown.extend(page.items.into_iter().map(|item| item.key));
        pages += 1;
        after = page.next;
        match &after {
            Some(next) => assert!(!next.contains("a.example"), "{next}"),
            None => break,
        }
    }
    assert_eq!(shown.len(), 2, "the public Like and its count: {shown:?}");
    assert!(pages > 1, "there is a limit on rows that are looked at");
    let query = Query { after: Some("~0123".into()), ..Query::default() };
    let gone = projections.query("endorsements", &query, &Reader::Anyone);
    assert!(matches!(gone, Err(QueryError::Forgotten)));
    // Also the key of the last row that was shown does not lead into hidden ones.
    let query = Query { limit: 1, newest_first: true, ..Query::default() };
    let page = projections.query("endorsements", &query, &Reader::Anyone).unwrap();
    assert_eq!(page.items.len(), 1);
    assert!(page.next.unwrap().contains("99999"));
    projections.shutdown().await;
}

async fn told(world: &World, name: &str, since: u64, reader: Reader) -> Vec<Change> {
    let wanted = Subscription { since: Some(since), reader, ..Subscription::default() };
    let mut stream = world.projections.changes(name, wanted).unwrap();
    let mut all = Vec::new();
    while let Some(news) = stream.news().await.unwrap() {
        let News::Changes(changes) = news else { panic!("a reset") };
        all.extend(changes);
    }
    all
}

#[tokio::test]
async fn streams_tell_each_reader_its_own() {
    let target = note_id(2, 0);
    let like = |author, seq, to: &[&str]| (says(author, seq, "Like", to, &json!(target)), false);
    let world = World::of(&[like(2, 1, &[PUBLIC])]).await;
    let start = world.log.head();
    let private_at = world.append(&like(0, 1, &[BOB])).await;
    let told_to = |reader| told(&world, "endorsements", start, reader);
    assert!(told_to(Reader::Anyone).await.is_empty(), "anyone is told nothing");
    assert!(told_to(reads(ACTORS[3])).await.is_empty());
    let row = vec![target.clone(), "like".to_owned(), ANN.to_owned()];
    let to_bob = told_to(reads(BOB)).await;
    assert_eq!(to_bob.iter().map(|change| &change.key).collect::<Vec<_>>(), [&row]);
    assert_eq!(to_bob[0].global_seq, private_at);
    let to_admin = told_to(Reader::Admin(None)).await;
    assert_eq!(to_admin[0].value, Some(json!({"like": 2})), "the whole count, too");

    // It becomes public, and private again: what anyone could see is told to be gone.
    let public_at = world.append(&like(0, 2, &[PUBLIC])).await;
    let told_now = told_to(Reader::Anyone).await;
    assert_eq!(told_now.len(), 2);
    assert!(told_now.iter().all(|change| change.global_seq == public_at));
    assert_eq!(told_now[0].value, Some(json!({"like": 2})));
    let between = world.log.head();
    let again_at = world.append(&like(0, 3, &[BOB])).await;
    let told_now = told(&world, "endorsements", between, Reader::Anyone).await;
    let gone: Vec<_> = told_now.iter().filter(|change| change.key == row).collect();
    assert_eq!((gone.len(), &gone[0].value, gone[0].global_seq), (1, &None, again_at));
    // What is changed in private afterwards is not told, nor does it move what was.
    world.append(&like(0, 4, &[BOB])).await;
    world.append(&like(1, 1, &[ANN])).await;
    let told_now = told(&world, "endorsements", start, Reader::Anyone).await;
    assert!(told_now.iter().all(|change| change.global_seq <= again_at), "{told_now:?}");
    world.projections.shutdown().await;
}

#[tokio::test]
async fn streams_tell_of_pending_follows_to_the_two() {
    let follow = says(0, 0, "Follow", &[DAN], &json!(DAN));
    let undo = says(0, 1, "Undo", &[DAN], &json!(follow.id()));
    let world = World::of(&[(follow, false)]).await;
    let start = world.log.head();
    world.append(&(undo, false)).await;
    let gone = told(&world, "follower-graph", start, reads(ANN)).await;
    assert!(
        gone.iter().any(|change| change.key[0] == "pending_outbound" && change.value.is_none())
    );
    for reader in [Reader::Anyone, reads(BOB)] {
        assert!(told(&world, "follower-graph", start, reader).await.is_empty());
    }
    world.projections.shutdown().await;
}

#[tokio::test]
async fn past_state_shows_nothing_that_was_withdrawn() {
    let world = World::of(&[(says(2, 0, "Create", &[PUBLIC], &note(2, 0, "regret")), false)]).await;
    let then = world.log.head();
    let past = |reader: &Reader, name: &str| {
        world.projections.past(name, then, &Query::default(), reader).unwrap().items
    };
    assert_eq!(past(&Reader::Anyone, "objects").len(), 1);
    assert_eq!(past(&reads(ANN), "feed").len(), 1);
    let delete = (says(2, 1, "Delete", &[PUBLIC], &json!(note_id(2, 0))), false);
    world.append(&delete).await;
    assert!(past(&Reader::Anyone, "objects").is_empty(), "deleted since");
    assert!(past(&reads(ANN), "feed").is_empty());

    let like = |seq, to: &[&str]| (says(0, seq, "Like", to, &json!(note_id(2, 5))), false);
    world.append(&like(5, &[PUBLIC])).await;
    let public = world.log.head();
    world.append(&like(6, &[BOB])).await;
    let past = |reader: &Reader| {
        let page = world.projections.past("endorsements", public, &Query::default(), reader);
        page.unwrap().items.iter().filter(|item| item.key.len() == 3).count()
    };
    assert_eq!((past(&Reader::Anyone), past(&reads(BOB))), (0, 1), "private by now");
    world.projections.shutdown().await;
}
