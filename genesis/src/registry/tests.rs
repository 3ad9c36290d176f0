#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use fedsx_kernel::log::{Entry, Meta, Record, Stream};
use fedsx_kernel::state::MemoryState;
use fedsx_kernel::{Activity, ActorName};
use serde_json::json;

use super::*;
use crate::records::GENESIS_ACTIVATED;

const HERE: &str = "https://a.example";
const PEER: &str = "https://b.example/actors/bob";

/// A registry that is told one thing after the other.
struct Told {
    state: MemoryState,
    registry: Registry,
    seq: u64,
}

impl Told {
    fn new() -> Self {
        Self { state: MemoryState::default(), registry: Registry::ADMISSION, seq: 0 }
    }

    fn fold(&mut self, stream: Stream, activity: Activity) -> String {
        self.seq += 1;
        let entry = Entry {
            global_seq: self.seq,
            stream,
            stream_seq: self.seq,
            cid: *activity.cid(),
            first: true,
            meta: Meta::default(),
        };
        let id = activity.id().to_owned();
        let record = Record { entry, activity: Arc::new(activity) };
        let base: Base = HERE.parse().unwrap();
        self.registry.fold(&base, &mut self.state, &record).unwrap();
        id
    }

    fn says(&mut self, mut content: Value) -> String {
        let alice: ActorName = "alice".parse().unwrap();
        content["actor"] = format!("{HERE}/actors/alice").into();
        content["seq"] = self.seq.into();
        let Value::Object(content) = content else { panic!("an object") };
        self.fold(Stream::Outbox(alice), Activity::seal(content).unwrap())
    }

    fn hears(&mut self, content: Value) -> String {
        let alice: ActorName = "alice".parse().unwrap();
        self.fold(Stream::Inbox(alice), of_peer(content))
    }

    fn bundle(&mut self, definitions: &[&Value]) {
        let definitions: serde_json::Map<String, Value> = definitions
            .iter()
            .enumerate()
            .map(|(n, document)| (n.to_string(), json!({ "document": document })))
            .collect();
        let object = json!({ "bundle": "b", "definitions": definitions });
        let content = json!({ "type": GENESIS_ACTIVATED, "actor": HERE, "object": object });
        let Value::Object(content) = content else { panic!("an object") };
        self.fold(Stream::Local, Activity::seal(content).unwrap());
    }

    fn summary(&self, name: &str) -> Option<String> {
        let found = self.registry.find(&self.state, Kind::ActivityTypes, name).unwrap()?;
        Some(found.document["summary"].as_str().unwrap_or_default().to_owned())
    }
}

fn of_peer(mut content: Value) -> Activity {
    content["actor"] = PEER.into();
    let Value::Object(content) = content else { panic!("an object") };
    Activity::seal(content).unwrap()
}

fn verb(name: &str, summary: &str) -> Value {
    json!({ "type": "DefineActivity", "name": name, "summary": summary })
}

fn define(definition: &Value) -> Value {
    json!({ "type": definition["type"], "object": definition })
}

fn remove(definition: &Value) -> Value {
    let url = super::url(&HERE.parse().unwrap(), &Cid::of(definition).unwrap());
    json!({ "type": "Remove", "object": url })
}

#[test]
fn the_newest_that_stands_is_in_force() {
    let mut told = Told::new();
    let (one, two) = (verb("Pin", "one"), verb("Pin", "two"));
    told.says(define(&one));
    let id = told.says(define(&two));
    assert_eq!(told.summary("Pin").unwrap(), "two");
    let held = find(&told.state, Kind::ActivityTypes, "Pin").unwrap().unwrap();
    assert_eq!((held.version, held.since, held.standing), (2, 2, Standing::Local));
    told.says(
        json!({ "type": "Undo", "object": { "id": id, "type": "DefineActivity", "object": two } }),
    );
    assert_eq!(told.summary("Pin").unwrap(), "one", "the one before is in force again");
    told.says(define(&two));
    told.says(remove(&one));
    assert_eq!(told.summary("Pin").unwrap(), "two");
    told.says(remove(&two));
    assert_eq!(told.summary("Pin"), None);
}

#[test]
fn offers_have_no_effect_until_they_are_adopted() {
    let mut told = Told::new();
    let pin = verb("Pin", "of a peer");
    let id = told.hears(define(&pin));
    assert_eq!(told.summary("Pin"), None);
    let sources = told.registry.sources(&told.state, &Cid::of(&pin).unwrap()).unwrap();
    assert_eq!((sources.len(), sources[0].origin.as_str()), (1, id.as_str()));
    let add = json!({ "type": "Add", "object": pin, "origin": { "id": id, "actor": PEER } });
    told.hears(add.clone());
    assert_eq!(told.summary("Pin"), None, "the Add of a peer is not ours");
    let mut elsewhere = add.clone();
    elsewhere["target"] = "https://a.example/collections/1".into();
    told.says(elsewhere);
    assert_eq!(told.summary("Pin"), None, "an Add to a collection adopts nothing");
    told.says(add);
    assert_eq!(told.summary("Pin").unwrap(), "of a peer");
    let held = find(&told.state, Kind::ActivityTypes, "Pin").unwrap().unwrap();
    assert_eq!((held.standing, held.origin), (Standing::Adopted, id));
    told.hears(remove(&pin));
    assert_eq!(told.summary("Pin").unwrap(), "of a peer", "the Remove of a peer is not ours");
    told.says(remove(&pin));
    assert_eq!(told.summary("Pin"), None);
}

#[test]
fn an_offer_that_was_taken_back_is_withdrawn_in_any_order() {
    let pin = verb("Pin", "of a peer");
    let defined = of_peer(define(&pin));
    let undo =
        json!({ "type": "Undo", "object": { "id": defined.id(), "type": "DefineActivity" } });
    for undo_first in [false, true] {
        let mut told = Told::new();
        let mut both = [define(&pin), undo.clone()];
        if undo_first {
            both.reverse();
        }
        for one in both {
            told.hears(one);
        }
        let sources = told.registry.sources(&told.state, &Cid::of(&pin).unwrap()).unwrap();
        assert!(sources[0].withdrawn, "undo first: {undo_first}");
    }
}

#[test]
fn a_new_bundle_takes_the_place_of_the_last() {
    let mut told = Told::new();
    let (like, old, new) = (verb("Like", ""), verb("Move", "old"), verb("Move", "new"));
    told.bundle(&[&like, &old]);
    told.says(define(&verb("Pin", "ours")));
    told.bundle(&[&new]);
    assert_eq!(told.summary("Move").unwrap(), "new");
    assert_eq!(told.summary("Like"), None, "it is not in the bundle any more");
    assert_eq!(told.summary("Pin").unwrap(), "ours");
    told.says(remove(&new));
    assert_eq!(told.summary("Move").unwrap(), "new", "genesis is not removed");
    assert_eq!(told.registry.standing(&told.state, Kind::ActivityTypes, "Move").unwrap().len(), 1);
}

#[test]
fn lineages_end_and_name_each_type_once() {
    let mut told = Told::new();
    let object =
        |name: &str, of: Value| json!({ "type": "DefineType", "name": name, "subtypeOf": of });
    told.says(define(&json!({ "type": "DefineObject", "name": "Thing" })));
    told.says(define(&object("Note", json!("Thing"))));
    told.says(define(&object("Task", json!(["Note", "Thing"]))));
    told.says(define(&json!({ "type": "SubtypeOf", "name": "Note", "of": ["Text", "Task"] })));
    let of = |told: &Told, name: &str| {
        told.registry.lineage(&told.state, Kind::ObjectTypes, name).unwrap()
    };
    assert_eq!(of(&told, "Task"), ["Task", "Note", "Thing", "Text"]);
    assert_eq!(of(&told, "Thing"), ["Thing"]);
    assert_eq!(of(&told, "Unknown"), ["Unknown"]);
    for n in 0..2 * MAX_LINEAGE {
        told.says(define(&object(&format!("T{n}"), json!(format!("T{}", n + 1)))));
    }
    assert_eq!(of(&told, "T0").len(), MAX_LINEAGE);
}

#[test]
fn validators_are_found_by_type() {
    for registry in [Registry::ADMISSION, Registry::beside("~registry")] {
        let mut told = Told { registry, ..Told::new() };
        let validator = |validates: Value| json!({ "type": "DefineValidator", "name": "v", "schema": {}, "validates": validates });
        let first = validator(json!({ "object": "Note", "activity": ["Pin", "Like"] }));
        told.says(define(&first));
        let of = |told: &Told, what, name| registry.validators(&told.state, what, name).unwrap();
        assert_eq!(of(&told, Validated::Object, "Note"), ["v"]);
        assert_eq!(of(&told, Validated::Activity, "Pin"), ["v"]);
        assert!(of(&told, Validated::Object, "Pin").is_empty());
        let second = validator(json!({ "object": "Page" }));
        told.says(define(&second));
        assert!(of(&told, Validated::Object, "Note").is_empty());
        assert_eq!(of(&told, Validated::Object, "Page"), ["v"]);
        told.says(remove(&second));
        assert_eq!(of(&told, Validated::Activity, "Like"), ["v"], "the first is in force again");
        assert!(of(&told, Validated::Object, "Page").is_empty());
    }
}

/// A hash says what is in force: the same changes give the same one, a change another, and what
/// judges nothing leaves it.
#[test]
fn a_hash_says_what_is_in_force() {
    let verb = |name: &str| json!({ "type": "DefineActivity", "name": name });
    let (mut one, mut other) = (Told::new(), Told::new());
    let hash = |told: &Told| generation(&told.state).unwrap();
    assert_eq!(hash(&one), None);
    one.bundle(&[&verb("Wave")]);
    other.bundle(&[&verb("Wave")]);
    assert!(hash(&one).is_some());
    assert_eq!(hash(&one), hash(&other));
    // An offer of a peer is in force nowhere.
    one.hears(json!({ "type": "DefineActivity", "object": verb("Nod") }));
    assert_eq!(hash(&one), hash(&other));
    let mut seen = vec![hash(&one)];
    let bow = one.says(json!({ "type": "DefineActivity", "object": verb("Bow") }));
    seen.push(hash(&one));
    one.says(json!({ "type": "Undo", "object": {
        "id": bow, "type": "DefineActivity", "object": verb("Bow"),
    } }));
    // What is in force is as it was; the hash never comes back all the same.
    assert_eq!(one.registry.find(&one.state, Kind::ActivityTypes, "Bow").unwrap(), None);
    seen.push(hash(&one));
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

/// Types that are kept are those of the state that asks, also where a batch is only planned.
#[test]
fn types_are_those_of_the_state_that_asks() {
    let types = Types::new();
    let verb = |summary: &str, of: &[&str]| {
        let mut verb = json!({ "type": "DefineActivity", "name": "Wave", "summary": summary });
        if !of.is_empty() {
            verb["subtypeOf"] = json!(of);
        }
        verb
    };
    let mut told = Told::new();
    told.bundle(&[&json!({ "type": "DefineActivity", "name": "Greet" })]);
    let shown = |state: &dyn StateView| {
        let found = types.find(state, Kind::ActivityTypes, "Wave").unwrap();
        found.map(|found| {
            let summary = found.definition.summary().unwrap().to_owned();
            let beside = found.demands.iter().map(|d| d.definition.name().to_owned()).collect();
            (summary, beside)
        })
    };
    let some = |summary: &str, demands: &[&str]| {
        Some((summary.to_owned(), demands.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>()))
    };
    assert_eq!(shown(&told.state), None);
    told.says(json!({ "type": "DefineActivity", "object": verb("one", &[]) }));
    assert_eq!(shown(&told.state), some("one", &["Wave"]));
    let before = told.state.clone();
    told.says(json!({ "type": "DefineActivity", "object": verb("two", &["Greet"]) }));
    for _ in 0..2 {
        assert_eq!(shown(&told.state), some("two", &["Wave", "Greet"]));
        assert_eq!(shown(&before), some("one", &["Wave"]));
    }
    // A state that says nothing of what is in force is read as it stands.
    let mut silent = told.state.clone();
    silent.0.remove("~in_force");
    assert_eq!(shown(&silent), some("two", &["Wave", "Greet"]));
    told.says(json!({ "type": "DefineValidator", "object": {
        "type": "DefineValidator", "name": "short", "schema": { "maxProperties": 20 },
        "validates": { "activity": ["Greet"] },
    } }));
    assert_eq!(shown(&told.state), some("two", &["Wave", "Greet", "short"]));
}
