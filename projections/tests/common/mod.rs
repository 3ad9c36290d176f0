//! Actors, activities and records for the tests of projections.
#![allow(dead_code, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use fedsx_genesis::GenesisRules;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::log::{
    Append, Entry, Log, LogOptions, MemoryStorage, Meta, Place, Record, Storage, Stream,
};
use fedsx_kernel::runtime::{Runtime, SeededRandom};
use fedsx_kernel::state::{MemoryState, Overlay};
use fedsx_kernel::{ActorName, Base};
use fedsx_projections::{Context, Fold, Scope};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

pub const BASE: &str = "https://here.example";
/// Two actors of this instance, one of another that numbers its statements, one that does not.
pub const ACTORS: [&str; 4] = [
    "https://here.example/actors/ann",
    "https://here.example/actors/bob",
    "https://there.example/actors/dan",
    "https://old.example/users/cy",
];
pub const UNNUMBERED: usize = 3;
pub const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

pub fn context() -> Context {
    Context { base: BASE.parse().unwrap() }
}

pub fn name(text: &str) -> ActorName {
    text.parse().unwrap()
}

/// Says something; the unnumbered actor's statements get a time of their own.
pub fn say(author: usize, seq: usize, mut content: Value) -> Activity {
    content["actor"] = json!(ACTORS[author]);
    if author == UNNUMBERED {
        content["id"] = json!(format!("https://old.example/activities/{seq}"));
        content["published"] = json!(format!("2026-01-01T00:{:02}:00Z", seq % 60));
        Activity::from_document(content).unwrap()
    } else {
        content["seq"] = json!(seq);
        content["published"] = json!(format!("2026-01-01T00:{:02}:30Z", seq % 60));
        Activity::seal(content.as_object().unwrap().clone()).unwrap()
    }
}

pub fn note_id(author: usize, number: usize) -> String {
    format!("{}/notes/{number}", fedsx_kernel::origin_of(ACTORS[author]).unwrap())
}

pub fn note(author: usize, number: usize, text: &str) -> Value {
    json!({"type": "Note", "id": note_id(author, number), "attributedTo": ACTORS[author],
        "content": text})
}

pub fn multikey(author: usize, seed: u64) -> Value {
    let key = SecretKey::generate_ed25519(&SeededRandom::new(seed + 1000 * author as u64));
    json!({"id": format!("{}#key-{seed}", ACTORS[author]), "type": "Multikey",
        "controller": ACTORS[author], "publicKeyMultibase": key.public().to_multibase()})
}

pub fn person(author: usize, label: &str) -> Value {
    json!({"type": "Person", "id": ACTORS[author], "name": label, "preferredUsername": "x",
        "inbox": format!("{}/inbox", ACTORS[author]), "assertionMethod": [multikey(author, 0)]})
}

#[derive(Clone, Debug)]
pub enum Op {
    Create(usize),
    Update(usize, usize),
    Delete(usize, usize),
    About(&'static str, Index),
    Undo(Index, u8),
    Person(&'static str),
    Rotate,
    Fetched(usize),
    Move(usize),
    Leave,
    Odd(&'static str),
}

/// Sequences of what actors say, as `(author, op)`.
pub fn ops() -> impl Strategy<Value = Vec<(usize, Op)>> {
    let about = prop::sample::select(vec![
        "Announce", "Announce", "Like", "Endorse", "Follow", "Accept", "Reject", "Block",
    ]);
    let op = prop_oneof![
        4 => (0..3usize).prop_map(Op::Create),
        2 => (0..4usize, 0..3usize).prop_map(|(of, number)| Op::Update(of, number)),
        1 => (0..4usize, 0..3usize).prop_map(|(of, number)| Op::Delete(of, number)),
        8 => (about, any::<Index>()).prop_map(|(verb, about)| Op::About(verb, about)),
        4 => (any::<Index>(), 0..3u8).prop_map(|(about, naming)| Op::Undo(about, naming)),
        2 => prop::sample::select(vec!["Create", "Update"]).prop_map(Op::Person),
        2 => Just(Op::Rotate),
        1 => (2..4usize).prop_map(Op::Fetched),
        1 => (0..4usize).prop_map(Op::Move),
        1 => Just(Op::Leave),
        2 => prop::sample::select(vec!["Pin", "Endorse", "DefineActivity", "Like"]).prop_map(Op::Odd),
    ];
    prop::collection::vec((0..4usize, op), 1..30)
}

/// What is appended: the activity, and whether it is a record of the instance's own.
pub type Said = (Activity, bool);

pub fn build(ops: &[(usize, Op)]) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    let mut key = [0u64; 4];
    for (seq, (author, op)) in ops.iter().enumerate() {
        let (author, to) = (*author, json!([PUBLIC]));
        let earlier = |index: &Index| all.get(index.index(all.len().max(1))).map(|(said, _)| said);
        let content = match op {
            Op::Create(number) => {
                json!({"type": "Create", "to": to, "object": note(author, *number, &format!("{seq}"))})
            }
            Op::Update(of, number) => {
                json!({"type": "Update", "object": note(*of, *number, &format!("changed {seq}"))})
            }
            Op::Delete(of, number) => json!({"type": "Delete", "object": note_id(*of, *number)}),
            Op::About(verb @ ("Follow" | "Block"), index) => {
                json!({"type": verb, "object": ACTORS[index.index(4)]})
            }
            Op::About(verb, index) => {
                let Some(about) = earlier(index) else { continue };
                let object = about.object_id().filter(|_| seq % 2 == 0).unwrap_or(about.id());
                json!({"type": verb, "object": object, "kind": (*verb == "Endorse").then_some("share")})
            }
            Op::Undo(index, naming) => {
                let Some(about) = earlier(index) else { continue };
                let mut embedded = about.to_value();
                if *naming == 1 {
                    embedded.as_object_mut().unwrap().remove("id");
                }
                let object = if *naming == 0 { json!(about.id()) } else { embedded };
                let author = ACTORS.iter().position(|actor| *actor == about.actor()).unwrap();
                all.push((say(author, seq, json!({"type": "Undo", "object": object})), false));
                continue;
            }
            Op::Person(verb) => {
                json!({"type": verb, "object": person(author, &format!("name {seq}"))})
            }
            Op::Rotate => {
                key[author] += 1;
                let old = format!("{}#key-{}", ACTORS[author], key[author] - 1);
                json!({"type": "Update", "object": person(author, "rotated"), "patch": {
                    "add_publicKey": multikey(author, key[author]), "supersede": {"old": old}}})
            }
            Op::Fetched(of) => {
                let document = person(*of, &format!("fetched {seq}"));
                let content = json!({"type": "ActorFetched", "object": document});
                all.push((say(0, seq, content), true));
                continue;
            }
            Op::Move(target) => {
                json!({"type": "Move", "object": ACTORS[author], "target": ACTORS[*target]})
            }
            Op::Leave if seq % 3 == 0 => json!({"type": "Delete", "object": ACTORS[author]}),
            Op::Leave => continue,
            Op::Odd(verb) => json!({"type": verb, "object": {"type": "Thing"}}),
        };
        all.push((say(author, seq, content), false));
    }
    all
}

/// Records as a log would hold them after this arrival.
pub fn records<'a>(arrival: impl IntoIterator<Item = &'a Said>) -> Vec<Record> {
    let base: Base = BASE.parse().unwrap();
    arrival
        .into_iter()
        .enumerate()
        .map(|(index, (activity, local))| {
            let stream = match base.name_of(activity.actor()) {
                _ if *local => Stream::Local,
                Some(author) => Stream::Outbox(author),
                None => Stream::Inbox(name("ann")),
            };
            let meta = Meta { received_ms: activity.published_ms().unwrap(), ..Meta::default() };
            let (seq, cid) = (index as u64, *activity.cid());
            let entry =
                Entry { global_seq: seq + 1, stream, stream_seq: seq, cid, first: true, meta };
            Record { entry, activity: Arc::new(activity.clone()) }
        })
        .collect()
}

/// The state after folding, and the bodies that the fold could not digest.
pub fn fold(fold: &dyn Fold, records: &[Record]) -> (MemoryState, Vec<String>) {
    let (mut state, mut aside) = (MemoryState::default(), Vec::new());
    for record in records {
        if fold.scope() == Scope::EachCid && !record.entry.first {
            continue;
        }
        let mut overlay = Overlay::new(&state);
        match fold.fold(&context(), &mut overlay, record) {
            Ok(()) => {
                let writes = overlay.into_writes();
                state.commit(writes);
            }
            Err(_) => aside.push(record.entry.cid.to_string()),
        }
    }
    aside.sort();
    (state, aside)
}

/// A log in memory.
pub fn open_log() -> (Arc<MemoryStorage>, Log) {
    let storage = Arc::new(MemoryStorage::default());
    let rules = Arc::new(GenesisRules::new(BASE.parse().unwrap(), name("instance")));
    let log = Log::open(storage.clone(), rules, Runtime::system(), &LogOptions::default()).unwrap();
    (storage, log)
}

/// Appends where the activity belongs; gives the position.
pub async fn append(log: &Log, said: &Said) -> u64 {
    let (activity, local) = said;
    let base: Base = BASE.parse().unwrap();
    let place = match base.name_of(activity.actor()) {
        _ if *local => Place::Local,
        Some(author) => {
            let at = log.store().stream_len(&Stream::Outbox(author.clone())).unwrap();
            Place::Outbox(author, at)
        }
        None => Place::Inboxes(vec![name("ann"), name("bob")]),
    };
    let meta = Meta { received_ms: activity.published_ms().unwrap(), ..Meta::default() };
    let activity = Arc::new(activity.clone());
    let append = Append { activity, place, meta, once: None, guard: None };
    log.append(append).await.unwrap().global_seq
}

pub fn table(storage: &MemoryStorage) -> Arc<dyn fedsx_kernel::log::Table> {
    storage.projections()
}
