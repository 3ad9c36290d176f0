//! Random sequences of operations against simple models.

use std::collections::{BTreeMap, HashMap};

use fedsx_kernel::log::{Append, AppendError, LogStore, Once, Place, StoreError, Stream};
use fedsx_kernel::{Cid, Problem, Refusal};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::provider::Provider;
use crate::rules::counted;
use crate::samples::{Batching, activity, append, body, inbox, name, outbox};
use crate::service::{open, run};
use crate::table::{scanned, scanned_back};

fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let tested = TestRunner::new(config).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    tested.unwrap_or_else(|e| panic!("{e}"));
}

fn streams() -> [Stream; 4] {
    [outbox("a"), inbox("a"), inbox("ab"), Stream::Local]
}

/// An operation on a bare store.
#[derive(Clone, Debug)]
enum Op {
    /// A batch: bodies, each with the streams that it goes to; a state change; a once key.
    Append(Vec<(u64, usize, Vec<usize>)>, Option<(u8, Option<u8>)>, Option<u8>),
    Reopen,
    Read(u64, usize),
    ReadStream(usize, u64, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let added = (0u64..40, 10usize..9000, prop::collection::vec(0usize..4, 1..4));
    prop_oneof![
        8 => (
            prop::collection::vec(added, 0..4),
            prop::option::of((0u8..6, prop::option::of(any::<u8>()))),
            prop::option::weighted(0.3, 0u8..8),
        )
            .prop_map(|(bodies, state, once)| Op::Append(bodies, state, once)),
        1 => Just(Op::Reopen),
        2 => (0u64..40, 0usize..20).prop_map(|(after, limit)| Op::Read(after, limit)),
        2 => (0usize..4, 0u64..20, 0usize..20).prop_map(|(s, from, limit)| Op::ReadStream(s, from, limit)),
    ]
}

#[derive(Default)]
struct Model {
    entries: Vec<(Stream, u64, Cid)>,
    sizes: HashMap<u64, usize>,
    state: BTreeMap<String, Value>,
    once: HashMap<String, Cid>,
}

impl Model {
    fn in_stream(&self, stream: &Stream) -> Vec<Cid> {
        self.entries.iter().filter(|(held, ..)| held == stream).map(|(.., cid)| *cid).collect()
    }

    fn holds(&self, stream: &Stream, cid: &Cid) -> bool {
        self.entries.iter().any(|(held, _, other)| held == stream && other == cid)
    }

    fn check(&self, log: &dyn LogStore) {
        assert_eq!(log.head().unwrap(), self.entries.len() as u64);
        let mut firsts: HashMap<Cid, u64> = HashMap::new();
        for (expected, (entry, (stream, seq, cid))) in
            (1..).zip(log.read(0, usize::MAX).unwrap().into_iter().zip(&self.entries))
        {
            let first = *firsts.entry(*cid).or_insert(expected) == expected;
            assert_eq!(entry.global_seq, expected);
            assert_eq!((&entry.stream, entry.stream_seq, entry.cid), (stream, *seq, *cid));
            assert_eq!(entry.first, first);
            assert_eq!(log.position(stream, cid).unwrap(), Some(*seq));
        }
        for (number, size) in &self.sizes {
            let (cid, held) = body(*number, *size);
            assert_eq!(log.first_entry(&cid).unwrap(), firsts.get(&cid).copied());
            assert!(log.body(&cid).unwrap() == Some(held));
            let id = format!("https://there.example/{number}");
            assert_eq!(log.by_id(&id).unwrap(), (number % 5 == 0).then_some(cid));
        }
        for stream in streams() {
            assert_eq!(log.stream_len(&stream).unwrap(), self.in_stream(&stream).len() as u64);
        }
        let state: BTreeMap<_, _> = log.state().scan("", None, 99).unwrap().into_iter().collect();
        assert_eq!(state, self.state);
        for key in (0..8).map(|key| format!("once {key}")) {
            let used = log.once(&key).unwrap().map(|used| used.cid);
            assert_eq!(used, self.once.get(&key).copied());
        }
    }

    /// Makes the batch and its outcome; `None` where the store has to refuse it.
    fn append(
        &mut self,
        log: &dyn LogStore,
        bodies: &[(u64, usize, Vec<usize>)],
        state: &Option<(u8, Option<u8>)>,
        once: &Option<u8>,
    ) {
        let mut batch = Batching::after(log);
        let mut refused = false;
        let mut entries = self.entries.clone();
        let mut sizes = self.sizes.clone();
        for (number, size, places) in bodies {
            let streams: Vec<Stream> =
                places.iter().map(|place| streams()[*place].clone()).collect();
            let size = *sizes.get(number).unwrap_or(size);
            let (cid, _) = body(*number, size);
            // Only what is new comes with a body; a number twice in a batch has to be refused.
            if self.sizes.contains_key(number) {
                for stream in &streams {
                    batch = batch.again(stream, *number, size);
                }
            } else {
                batch = batch.add(&streams, *number, size);
                refused |= sizes.insert(*number, size).is_some();
            }
            for stream in streams {
                let position = entries.iter().filter(|(held, ..)| *held == stream).count() as u64;
                refused |= entries.iter().any(|(held, _, other)| *held == stream && *other == cid);
                entries.push((stream, position, cid));
            }
        }
        let mut changed = self.state.clone();
        if let Some((key, value)) = state {
            let (key, value) = (format!("key {key}"), value.map(|value| json!(value)));
            batch = batch.state(&key, value.clone());
            match value {
                Some(value) => changed.insert(key, value),
                None => changed.remove(&key),
            };
        }
        let mut used = self.once.clone();
        if let Some(key) = once
            && !bodies.is_empty()
        {
            let key = format!("once {key}");
            batch = batch.once(&key);
            refused |= used.insert(key, entries.last().unwrap().2).is_some();
        }
        match log.append(&batch.batch()) {
            Ok(()) => {
                assert!(!refused, "it had to be refused");
                *self = Self { entries, sizes, state: changed, once: used };
            }
            Err(StoreError::NotContinuous(why)) => assert!(refused, "refused: {why}"),
            Err(other) => panic!("{other}"),
        }
    }
}

pub fn the_store_behaves_like_the_model<P: Provider>() {
    check(24, prop::collection::vec(op(), 1..40), |ops| {
        let mut provider = P::open();
        let mut model = Model::default();
        for op in ops {
            let log = provider.storage().log();
            match op {
                Op::Append(bodies, state, once) => model.append(&*log, &bodies, &state, &once),
                Op::Reopen => {
                    drop(log);
                    provider = provider.reopen();
                }
                Op::Read(after, limit) => {
                    let skip = usize::try_from(after).unwrap();
                    let found = log.read(after, limit).unwrap();
                    let found = found.into_iter().map(|e| (e.stream, e.stream_seq, e.cid));
                    assert!(found.eq(model.entries.iter().skip(skip).take(limit).cloned()));
                }
                Op::ReadStream(stream, from, limit) => {
                    let stream = streams()[stream].clone();
                    let skip = usize::try_from(from).unwrap();
                    let found = log.read_stream(&stream, from, limit).unwrap();
                    let expected = model.in_stream(&stream).into_iter().skip(skip).take(limit);
                    assert!(found.into_iter().map(|e| e.cid).eq(expected));
                }
            }
        }
        model.check(&*provider.storage().log());
        provider.check_files();
        let provider = provider.reopen();
        model.check(&*provider.storage().log());
        for stream in streams() {
            for cid in model.in_stream(&stream) {
                assert!(model.holds(&stream, &cid));
            }
        }
    });
}

/// An append to the service.
#[derive(Clone, Debug)]
enum Request {
    /// To inboxes, maybe with a once key, maybe refused by its guard.
    Deliver(u64, Vec<usize>, Option<u8>, bool),
    /// At the end of an outbox, or beside it.
    Publish(usize, u64, i8),
    Restart,
}

const NAMES: [&str; 3] = ["a", "ab", "b"];

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        6 => (
            0u64..12,
            prop::collection::vec(0usize..3, 1..4),
            prop::option::weighted(0.3, 0u8..4),
            prop::bool::weighted(0.1),
        )
            .prop_map(|(number, to, once, refused)| Request::Deliver(number, to, once, refused)),
        4 => (0usize..3, 100u64..200, prop_oneof![6 => Just(0i8), 1 => -1i8..2])
            .prop_map(|(author, number, beside)| Request::Publish(author, number, beside)),
        1 => Just(Request::Restart),
    ]
}

/// What the service answers, as far as the model knows it.
#[derive(Debug, PartialEq)]
enum Outcome {
    Appended(Vec<(Stream, u64)>),
    Taken(Cid),
    Refused,
    Position,
}

#[derive(Default)]
struct Served {
    streams: BTreeMap<Stream, Vec<Cid>>,
    once: HashMap<String, Cid>,
    bodies: Vec<Cid>,
}

impl Served {
    fn add(&mut self, cid: Cid, streams: Vec<Stream>) -> Outcome {
        let mut added = Vec::new();
        for stream in streams {
            let held = self.streams.entry(stream.clone()).or_default();
            if !held.contains(&cid) {
                added.push((stream, held.len() as u64));
                held.push(cid);
            }
        }
        if !self.bodies.contains(&cid) {
            self.bodies.push(cid);
        }
        Outcome::Appended(added)
    }

    fn expect(&mut self, request: &Request) -> (Append, Outcome) {
        match request {
            Request::Deliver(number, to, once, refused) => {
                let one = activity("zoe", *number, &[]);
                let cid = *one.cid();
                let names = to.iter().map(|to| name(NAMES[*to])).collect();
                let mut request = append(one, Place::Inboxes(names));
                let key = once.map(|key| format!("once {key}"));
                request.once = key.clone().map(|key| Once { key, fingerprint: None });
                if *refused {
                    request.guard =
                        Some(Box::new(|_| Err(Refusal::new(Problem::Blocked, "on purpose"))));
                }
                if let Some(used) = key.as_ref().and_then(|key| self.once.get(key)) {
                    return (request, Outcome::Taken(*used));
                }
                if *refused && !self.bodies.contains(&cid) {
                    return (request, Outcome::Refused);
                }
                let outcome = self.add(cid, to.iter().map(|to| inbox(NAMES[*to])).collect());
                if let (Some(key), Outcome::Appended(added)) = (key, &outcome)
                    && !added.is_empty()
                {
                    self.once.insert(key, cid);
                }
                (request, outcome)
            }
            Request::Publish(author, number, beside) => {
                let author = NAMES[*author];
                let stream = outbox(author);
                let next = self.streams.get(&stream).map_or(0, Vec::len) as u64;
                let at = next.saturating_add_signed(i64::from(*beside));
                let others: Vec<&str> =
                    NAMES.into_iter().filter(|other| *other != author).collect();
                let one = activity(author, *number, &others);
                let cid = *one.cid();
                let request = append(one, Place::Outbox(name(author), at));
                let known = self.streams.get(&stream).is_some_and(|held| held.contains(&cid));
                if at != next && !known {
                    return (request, Outcome::Position);
                }
                let mut streams = vec![stream];
                streams.extend(others.into_iter().map(inbox));
                (request, self.add(cid, streams))
            }
            Request::Restart => unreachable!(),
        }
    }
}

pub fn the_service_behaves_like_the_model<P: Provider>() {
    check(24, prop::collection::vec(request(), 1..60), |requests| {
        run(async {
            let mut provider = P::open();
            let mut log = open(provider.storage());
            let mut model = Served::default();
            let mut pending = Vec::new();
            let mut restarts = 0;
            for request in requests {
                if matches!(request, Request::Restart) {
                    restarts += 1;
                    if restarts > 3 {
                        continue;
                    }
                    log.close().await;
                    drop(log);
                    provider = provider.reopen();
                    log = open(provider.storage());
                    continue;
                }
                let (request, expected) = model.expect(&request);
                pending.push((log.enqueue(request).unwrap(), expected));
            }
            for (one, expected) in pending {
                let outcome = match one.committed().await {
                    Ok(appended) => Outcome::Appended(
                        appended
                            .entries
                            .into_iter()
                            .map(|(stream, seq, _)| (stream, seq))
                            .collect(),
                    ),
                    Err(AppendError::OnceTaken(used)) => Outcome::Taken(used.cid),
                    Err(AppendError::Refused(_)) => Outcome::Refused,
                    Err(AppendError::Position { .. }) => Outcome::Position,
                    Err(other) => panic!("{other}"),
                };
                assert_eq!(outcome, expected);
            }
            assert_eq!(counted(log.state()), model.bodies.len() as u64);
            for (stream, cids) in &model.streams {
                let held = log.stream(stream, 0, usize::MAX).unwrap();
                assert!(held.iter().map(|record| record.entry.cid).eq(cids.iter().copied()));
            }
            let entries: usize = model.streams.values().map(Vec::len).sum();
            assert_eq!(log.head(), entries as u64);
            log.close().await;
        });
    });
}

/// An operation on a table.
/// A key, and what it is set to: a byte repeated so many times; none removes it.
type Change = (Vec<u8>, Option<(u8, usize)>);

#[derive(Clone, Debug)]
enum TableOp {
    Apply(Vec<Change>),
    Scan(Vec<u8>, Option<Vec<u8>>, usize),
    Reopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(b'b'), Just(0xfe), Just(0xff)];
    prop::collection::vec(byte, 0..4)
}

fn table_op() -> impl Strategy<Value = TableOp> {
    let size = prop_oneof![4 => 0usize..20, 1 => 5900usize..6100, 1 => 0usize..40_000];
    let write = (key(), prop::option::weighted(0.7, (any::<u8>(), size)));
    prop_oneof![
        4 => prop::collection::vec(write, 0..8).prop_map(TableOp::Apply),
        4 => (key(), prop::option::of(key()), 0usize..12)
            .prop_map(|(prefix, edge, limit)| TableOp::Scan(prefix, edge, limit)),
        1 => Just(TableOp::Reopen),
    ]
}

pub fn the_table_behaves_like_the_model<P: Provider>() {
    check(24, prop::collection::vec(table_op(), 1..60), |ops| {
        let mut provider = P::open();
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut restarts = 0;
        for op in ops {
            let table = provider.storage().ledgers();
            match op {
                TableOp::Apply(writes) => {
                    let writes: Vec<_> = writes
                        .into_iter()
                        .map(|(key, value)| (key, value.map(|(fill, size)| vec![fill; size])))
                        .collect();
                    for (key, value) in &writes {
                        match value {
                            Some(value) => model.insert(key.clone(), value.clone()),
                            None => model.remove(key),
                        };
                    }
                    table.apply(writes).unwrap();
                }
                TableOp::Scan(prefix, edge, limit) => {
                    let edge = edge.as_deref();
                    let found = table.scan(&prefix, edge, limit).unwrap();
                    assert!(found == scanned(&model, &prefix, edge, limit));
                    let found = table.scan_back(&prefix, edge, limit).unwrap();
                    assert!(found == scanned_back(&model, &prefix, edge, limit));
                }
                TableOp::Reopen if restarts < 3 => {
                    restarts += 1;
                    drop(table);
                    provider.storage().sync().unwrap();
                    provider = provider.reopen();
                }
                TableOp::Reopen => {}
            }
        }
        provider.storage().sync().unwrap();
        provider.check_files();
        let provider = provider.reopen();
        let table = provider.storage().ledgers();
        assert!(
            table.scan(b"", None, usize::MAX).unwrap() == scanned(&model, b"", None, usize::MAX)
        );
        for (key, value) in &model {
            assert!(table.get(key).unwrap().as_ref() == Some(value));
        }
    });
}
