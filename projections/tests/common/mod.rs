//! Actors, activities and records for the tests of projections.
#![allow(dead_code, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use fedsx_genesis::GenesisRules;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::log::{
    Append, Entry, Log, LogOptions, MemoryStorage, Meta, Place, Record, Storage, StoreError, Stream,
};
use fedsx_kernel::runtime::{Runtime, SeededRandom};
use fedsx_kernel::state::{MemoryState, Overlay, State, get_as, key, parts, put_as};
use fedsx_kernel::{ActorName, Base, Cid};
use fedsx_projections::{Bodies, Context, Fold, FoldError, Scope, Visibility};
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
    Define(&'static str, usize),
    Adopt(Index),
    Activate(usize),
    Hostile(Index),
}

/// Documents that make no sense to one fold or another, or that pretend something.
fn hostile() -> Vec<Value> {
    let retry =
        |object: Value| json!({"type": "DecideSetAside", "object": object, "decision": "retry"});
    vec![
        json!({"type": "Announce", "object": {"type": "Note"}}),
        json!({"type": "Like", "object": [ACTORS[0], {"id": 7}]}),
        json!({"type": "Endorse", "object": note_id(2, 0), "kind": "hate"}),
        json!({"type": "Endorse", "object": note_id(2, 0), "kind": {"like": true}}),
        json!({"type": "Create", "object": {"id": note_id(2, 1), "type": ["Note", 5], "bto": [ACTORS[1]]}}),
        json!({"type": "Create", "object": {"id": 5, "type": {}}}),
        json!({"type": "Update", "object": ACTORS[3], "patch": {"supersede": 3}}),
        json!({"type": "Update", "object": {"id": ACTORS[0], "type": "Person", "assertionMethod": "x"}}),
        json!({"type": "Undo", "object": {"type": "Follow", "actor": 1, "object": []}}),
        json!({"type": "Undo", "object": {"type": ["Like", "Announce"], "actor": ACTORS[3], "object": note_id(2, 0)}}),
        json!({"type": "Undo"}),
        json!({"type": "Accept", "object": {"type": "Follow", "actor": ACTORS[2], "object": ACTORS[1]}}),
        json!({"type": "Follow", "object": {"id": "\n~facts"}}),
        json!({"type": "Block", "object": "https://there.example"}),
        json!({"type": "Delete", "object": {"id": ACTORS[1]}}),
        json!({"type": "Move", "object": ACTORS[3], "target": {"id": []}}),
        json!({"type": "DefineProjection", "object": 7}),
        json!({"type": "DefineActivity", "object": {"type": "DefineObject", "name": "x"}}),
        json!({"type": "Add", "object": {"type": "DefineActivity"}}),
        json!({"type": "GenesisActivated", "object": {"bundle": "x", "definitions": {}}}),
        json!({"type": "ActorFetched", "object": person(1, "forged")}),
        retry(json!({"projection": "announces", "global_seq": 1, "cid": "x"})),
        retry(json!({"projection": "announces", "global_seq": -1})),
        json!({"type": "\u{0}", "object": {"\n": "\u{0}"}}),
        json!({"type": ["Pin", "Create"], "object": {"id": "~undone", "type": "Note"}}),
    ]
}

/// Sequences of what actors say, as `(author, op, for whom)`.
pub fn ops() -> impl Strategy<Value = Vec<(usize, Op, usize)>> {
    let about = prop::sample::select(vec![
        "Announce",
        "Announce",
        "Like",
        "Endorse",
        "Follow",
        "Accept",
        "Reject",
        "Block",
        "Flag",
        "Add",
        "Remove",
        "EmojiReact",
    ]);
    let define = prop::sample::select(vec!["DefineActivity", "DefineObject"]);
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
        2 => (define, 0..3usize).prop_map(|(verb, number)| Op::Define(verb, number)),
        1 => any::<Index>().prop_map(Op::Adopt),
        1 => (0..3usize).prop_map(Op::Activate),
        3 => any::<Index>().prop_map(Op::Hostile),
    ];
    prop::collection::vec((0..4usize, op, 0..6usize), 1..30)
}

fn hashtag(seq: usize) -> Value {
    match seq % 5 {
        3 => json!([]),
        4 => Value::Null,
        named => json!([{"type": "Hashtag", "name": format!("#{named}")}]),
    }
}

/// For everyone, for one actor, or for nobody in particular.
fn addressed(mut content: Value, audience: usize) -> Value {
    match audience {
        0..=2 => content["to"] = json!([PUBLIC]),
        3 => content["to"] = json!([ACTORS[1]]),
        4 => content["cc"] = json!([ACTORS[0], format!("{}/followers", ACTORS[2])]),
        _ => {}
    }
    content
}

/// Something that the instance actor says.
pub fn instance_says(seq: u64, content: &serde_json::Map<String, Value>) -> Activity {
    let mut content = content.clone();
    content.insert("actor".into(), json!(format!("{BASE}/actors/instance")));
    content.insert("published".into(), json!("2026-01-01T00:00:30Z"));
    content.insert("seq".into(), json!(seq));
    Activity::seal(content).unwrap()
}

/// What is appended: the activity, and whether it is a record of the instance's own.
pub type Said = (Activity, bool);

pub fn build(ops: &[(usize, Op, usize)]) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    let mut key = [0u64; 4];
    let hostile = hostile();
    for (seq, (author, op, audience)) in ops.iter().enumerate() {
        let (author, audience) = (*author, *audience);
        let earlier = |index: &Index| all.get(index.index(all.len().max(1))).map(|(said, _)| said);
        let content = match op {
            Op::Create(number) => {
                let mut object = note(author, *number, &format!("{seq}"));
                object["tag"] = hashtag(seq);
                if seq % 2 == 0 {
                    object["inReplyTo"] = json!(note_id(2, seq % 3));
                }
                json!({"type": "Create", "object": object})
            }
            Op::Update(of, number) => {
                let mut object = note(*of, *number, &format!("changed {seq}"));
                object["tag"] = hashtag(seq);
                json!({"type": "Update", "object": object})
            }
            Op::Delete(of, number) => json!({"type": "Delete", "object": note_id(*of, *number)}),
            Op::About(verb @ ("Follow" | "Block"), index) => {
                json!({"type": verb, "object": ACTORS[index.index(4)]})
            }
            Op::About(verb, index) => {
                let Some(about) = earlier(index) else { continue };
                let object = about.object_id().filter(|_| seq % 2 == 0).unwrap_or(about.id());
                let mut content = json!({"type": verb, "object": object});
                match *verb {
                    "Endorse" => content["kind"] = json!("share"),
                    "EmojiReact" => content["content"] = json!(["🔥", ":x:"][seq % 2]),
                    "Like" if seq % 3 == 0 => content["content"] = json!("🔥"),
                    "Add" | "Remove" => {
                        content["object"] = json!(note_id(author, seq % 2));
                        content["target"] = json!(format!("{}/featured", ACTORS[author]));
                    }
                    _ => {}
                }
                content
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
            Op::Define(verb, number) => {
                json!({"type": verb, "object": {"type": verb, "name": format!("Verb{number}")}})
            }
            Op::Adopt(index) => {
                let Some(about) = earlier(index) else { continue };
                json!({"type": "Add", "object": about.id()})
            }
            Op::Activate(number) => {
                let document = json!({"type": "DefineActivity", "name": format!("Verb{number}")});
                let definitions = json!({"a": {"cid": "x", "document": document}});
                let object = json!({"bundle": format!("b{number}"), "definitions": definitions});
                let content = json!({"type": "GenesisActivated", "object": object});
                all.push((say(0, seq, content), true));
                continue;
            }
            Op::Hostile(index) => index.get(&hostile).clone(),
        };
        all.push((say(author, seq, addressed(content, audience)), false));
    }
    all
}

/// Digests a Like only once a Follow was seen: what is set aside can be retried with success.
/// Keys `[verb]` with how often it was seen, and `[verb, global_seq]`.
pub struct Gate;

impl Fold for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }
    fn version(&self) -> u32 {
        1
    }
    fn scope(&self) -> Scope {
        Scope::EachCid
    }
    fn visibility(&self) -> Visibility {
        Visibility::Public
    }
    fn fold(&self, _: &Context, state: &mut dyn State, record: &Record) -> Result<(), FoldError> {
        let verb = record.activity.kind();
        let count: u64 = get_as(state, &key(&[verb]))?.unwrap_or(0);
        put_as(state, &key(&[verb]), &(count + 1))?;
        let place = format!("{:020}", record.entry.global_seq);
        state.put(&key(&[verb, &place]), json!(true));
        if verb == "Like" && state.get("Follow")?.is_none() {
            return Err(FoldError::Undigestible("nobody follows anybody".into()));
        }
        Ok(())
    }
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

/// Records that rows refer to.
pub struct Held(pub Vec<Record>);

impl Held {
    fn find(&self, is: impl Fn(&Record) -> bool) -> Result<Option<Record>, StoreError> {
        Ok(self.0.iter().find(|record| is(record)).cloned())
    }
}

impl Bodies for Held {
    fn at(&self, global_seq: u64) -> Result<Option<Record>, StoreError> {
        self.find(|record| record.entry.global_seq == global_seq)
    }
    fn first(&self, cid: &Cid) -> Result<Option<Record>, StoreError> {
        self.find(|record| record.entry.first && record.entry.cid == *cid)
    }
    fn by_id(&self, id: &str) -> Result<Option<Record>, StoreError> {
        let local = |record: &Record| record.entry.stream == Stream::Local;
        self.find(|record| record.entry.first && !local(record) && record.activity.id() == id)
    }
}

/// The state after folding as it is shown, without the fold's notes.
pub fn shown(one: &dyn Fold, records: &[Record]) -> (MemoryState, Vec<String>) {
    let (state, aside) = fold(one, records);
    let held = Held(records.to_vec());
    let mut shown = MemoryState::default();
    for (key, value) in state.0.iter().filter(|(key, _)| !key.starts_with('~')) {
        if let Some(value) = one.render(&state, &held, &parts(key), value.clone()).unwrap() {
            shown.put(key, value);
        }
    }
    (shown, aside)
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
