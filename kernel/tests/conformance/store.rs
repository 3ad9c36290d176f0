//! The bare log store.

use std::sync::atomic::{AtomicBool, Ordering};

use fedsx_kernel::log::{Batch, LogStore, StoreError, Stream};
use serde_json::{Value, json};

use crate::provider::Provider;
use crate::samples::{Batching, body, inbox, outbox};

fn is_refused(log: &dyn LogStore, batch: &Batch) -> bool {
    matches!(log.append(batch), Err(StoreError::NotContinuous(_)))
}

pub fn an_empty_log<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    assert_eq!(log.head().unwrap(), 0);
    assert!(log.read(0, 10).unwrap().is_empty());
    assert!(log.streams().unwrap().is_empty());
    assert_eq!(log.stream_len(&Stream::Local).unwrap(), 0);
    assert!(log.read_stream(&Stream::Local, 0, 10).unwrap().is_empty());
    let (cid, _) = body(1, 100);
    assert_eq!(log.first_entry(&cid).unwrap(), None);
    assert_eq!(log.position(&Stream::Local, &cid).unwrap(), None);
    assert!(log.body(&cid).unwrap().is_none());
    assert_eq!(log.by_id("https://there.example/1").unwrap(), None);
    assert_eq!(log.once("key").unwrap(), None);
    assert_eq!(log.state().get("key").unwrap(), None);
    log.append(&Batch::default()).unwrap();
    assert_eq!(log.head().unwrap(), 0);
}

/// A batch that is refused for its last part leaves nothing of its other parts.
pub fn batches_are_atomic<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    Batching::after(&*log).add(&[outbox("alice")], 1, 100).once("taken").append(&*log);
    let good = || {
        Batching::after(&*log)
            .add(&[outbox("alice"), inbox("bob")], 5, 100)
            .state("key", Some(json!("value")))
    };
    let mut hole = good().batch();
    hole.entries.last_mut().unwrap().stream_seq = 7;
    assert!(is_refused(&*log, &hole));
    assert!(is_refused(&*log, &good().once("taken").batch()));
    let mut doubled = good().batch();
    doubled.entries.push(doubled.entries[1].clone());
    assert!(is_refused(&*log, &doubled));

    let (cid, _) = body(5, 100);
    assert_eq!(log.head().unwrap(), 1);
    assert_eq!(log.stream_len(&outbox("alice")).unwrap(), 1);
    assert_eq!(log.stream_len(&inbox("bob")).unwrap(), 0);
    assert!(log.body(&cid).unwrap().is_none());
    assert_eq!(log.first_entry(&cid).unwrap(), None);
    assert_eq!(log.by_id("https://there.example/5").unwrap(), None);
    assert_eq!(log.state().get("key").unwrap(), None);
    good().once("free").append(&*log);
    assert_eq!(log.head().unwrap(), 3);
    assert_eq!(log.state().get("key").unwrap(), Some(json!("value")));
    assert_eq!(log.by_id("https://there.example/5").unwrap(), Some(cid));
}

pub fn positions_are_dense<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    for number in 1..=5 {
        Batching::after(&*log).add(&[outbox("alice"), inbox("bob")], number, 50).append(&*log);
    }
    let next = || Batching::after(&*log).add(&[outbox("alice")], 6, 50).batch();
    for (global, stream) in [(10, 5), (12, 5), (11, 4), (11, 6), (0, 5), (u64::MAX, 5), (11, 0)] {
        let mut batch = next();
        batch.entries[0].global_seq = global;
        batch.entries[0].stream_seq = stream;
        assert!(is_refused(&*log, &batch), "{global} {stream}");
    }
    let entries = log.read(0, 100).unwrap();
    let globals: Vec<u64> = entries.iter().map(|entry| entry.global_seq).collect();
    assert_eq!(globals, (1..=10).collect::<Vec<_>>());
    for stream in [outbox("alice"), inbox("bob")] {
        let entries = log.read_stream(&stream, 0, 100).unwrap();
        let seqs: Vec<u64> = entries.iter().map(|entry| entry.stream_seq).collect();
        assert_eq!(seqs, (0..5).collect::<Vec<_>>(), "{stream}");
        assert!(entries.iter().all(|entry| entry.stream == stream));
    }
    log.append(&next()).unwrap();
}

pub fn duplicates_are_refused<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    Batching::after(&*log).add(&[outbox("alice")], 1, 50).append(&*log);
    let again = Batching::after(&*log).again(&outbox("alice"), 1, 50).batch();
    assert!(is_refused(&*log, &again), "across batches");
    let twice = Batching::after(&*log).add(&[inbox("bob"), inbox("bob")], 2, 50).batch();
    assert!(is_refused(&*log, &twice), "in one batch");
    let body_twice =
        Batching::after(&*log).add(&[inbox("bob")], 2, 50).add(&[inbox("carol")], 2, 50).batch();
    assert!(is_refused(&*log, &body_twice), "two first entries");
    Batching::after(&*log).again(&inbox("bob"), 1, 50).append(&*log);
    let (cid, _) = body(1, 50);
    assert_eq!(log.first_entry(&cid).unwrap(), Some(1));
    assert_eq!(log.position(&outbox("alice"), &cid).unwrap(), Some(0));
    assert_eq!(log.position(&inbox("bob"), &cid).unwrap(), Some(0));
    assert_eq!(log.position(&inbox("carol"), &cid).unwrap(), None);
    let entries = log.read(0, 9).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.first).collect::<Vec<_>>(), [true, false]);
}

pub fn firsts_and_bodies_are_checked<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    let batch = || Batching::after(&*log).add(&[inbox("bob")], 1, 50).batch();
    let mut not_first = batch();
    not_first.entries[0].first = false;
    assert!(is_refused(&*log, &not_first));
    let mut bodiless = batch();
    bodiless.bodies.clear();
    assert!(is_refused(&*log, &bodiless));
    let mut loose = batch();
    let (cid, more) = body(2, 50);
    loose.bodies.push((cid, more, None));
    assert!(is_refused(&*log, &loose));
    assert!(is_refused(&*log, &Batching::after(&*log).again(&inbox("bob"), 9, 50).batch()));
    log.append(&batch()).unwrap();
    let mut first_again = Batching::after(&*log).again(&inbox("carol"), 1, 50).batch();
    first_again.entries[0].first = true;
    assert!(is_refused(&*log, &first_again));
}

pub fn reads_at_every_boundary<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    // Names that are each other's beginning, and neighbours in any order of keys.
    let streams = [outbox("a"), outbox("a.b"), outbox("aa"), inbox("a"), Stream::Local];
    for number in 0..40 {
        let stream = streams[usize::try_from(number % 5).unwrap()].clone();
        Batching::after(&*log).add(&[stream], number, 60).append(&*log);
    }
    let all = log.read(0, usize::MAX).unwrap();
    assert_eq!(all.len(), 40);
    for after in (0..=42).chain([u64::MAX - 1, u64::MAX]) {
        for limit in [0, 1, 2, 39, 40, 41, usize::MAX] {
            let skip = usize::try_from(after).unwrap_or(usize::MAX);
            let expected: Vec<_> = all.iter().skip(skip).take(limit).cloned().collect();
            assert_eq!(log.read(after, limit).unwrap(), expected, "{after} {limit}");
        }
    }
    for stream in &streams {
        let own: Vec<_> = all.iter().filter(|entry| entry.stream == *stream).cloned().collect();
        assert_eq!(log.stream_len(stream).unwrap(), 8, "{stream}");
        for from in (0..=9).chain([u64::MAX - 1, u64::MAX]) {
            for limit in [0, 1, 7, 8, 9, usize::MAX] {
                let skip = usize::try_from(from).unwrap_or(usize::MAX);
                let expected: Vec<_> = own.iter().skip(skip).take(limit).cloned().collect();
                let found = log.read_stream(stream, from, limit).unwrap();
                assert_eq!(found, expected, "{stream} {from} {limit}");
            }
        }
    }
    let mut listed = log.streams().unwrap();
    listed.sort();
    let mut expected: Vec<_> = streams.iter().map(|stream| (stream.clone(), 8)).collect();
    expected.sort();
    assert_eq!(listed, expected);
}

/// Whoever reads while batches come in sees whole batches only.
pub fn reads_while_writing<P: Provider>() {
    const BATCHES: u64 = 60;
    const EACH: u64 = 20;
    let provider = P::open();
    let storage = provider.storage();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let log = storage.log();
                let mut before = 0;
                while !done.load(Ordering::SeqCst) {
                    let counted = log.state().get("count").unwrap();
                    let counted = counted.as_ref().and_then(Value::as_u64).unwrap_or(0);
                    let head = log.head().unwrap();
                    assert!(head >= before && head >= counted, "{head} {before} {counted}");
                    assert_eq!(head % EACH, 0, "a part of a batch shows");
                    let entries = log.read(head.saturating_sub(EACH), usize::MAX).unwrap();
                    for (expected, entry) in (head.saturating_sub(EACH) + 1..).zip(&entries) {
                        assert_eq!(entry.global_seq, expected);
                        assert!(log.body(&entry.cid).unwrap().is_some());
                        let position = log.position(&entry.stream, &entry.cid).unwrap();
                        assert_eq!(position, Some(entry.stream_seq));
                        assert_eq!(log.first_entry(&entry.cid).unwrap(), Some(expected));
                        let key = format!("key {}", (expected - 1) / EACH);
                        assert!(log.once(&key).unwrap().is_some(), "{key}");
                    }
                    let lengths: u64 =
                        log.streams().unwrap().into_iter().map(|(_, length)| length).sum();
                    assert!(lengths >= head, "{lengths} {head}");
                    before = head;
                }
            });
        }
        let log = storage.log();
        for number in 0..BATCHES {
            let mut batch = Batching::after(&*log);
            for each in 0..EACH {
                let stream = inbox(["alice", "bob", "carol"][usize::try_from(each % 3).unwrap()]);
                batch = batch.add(&[stream], number * EACH + each, 300);
            }
            let count = json!((number + 1) * EACH);
            batch.once(&format!("key {number}")).state("count", Some(count)).append(&*log);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(storage.log().head().unwrap(), BATCHES * EACH);
}

pub fn reopening<P: Provider>() {
    let mut provider = P::open();
    let mut expected = Vec::new();
    for round in 0..4 {
        let log = provider.storage().log();
        for number in round * 10..round * 10 + 10 {
            Batching::after(&*log)
                .add(&[outbox("alice"), inbox("bob")], number, 400)
                .once(&format!("once {number}"))
                .state(&format!("key {}", number % 7), (number % 3 > 0).then(|| json!(number)))
                .append(&*log);
        }
        expected = log.read(0, usize::MAX).unwrap();
        let (head, streams) = (log.head().unwrap(), log.streams().unwrap());
        let state = log.state().scan("", None, 100).unwrap();
        drop(log);
        provider = provider.reopen();
        let log = provider.storage().log();
        assert_eq!(log.head().unwrap(), head);
        assert_eq!(log.read(0, usize::MAX).unwrap(), expected);
        assert_eq!(log.streams().unwrap(), streams);
        assert_eq!(log.state().scan("", None, 100).unwrap(), state);
        for number in 0..round * 10 + 10 {
            let (cid, held) = body(number, 400);
            assert_eq!(log.body(&cid).unwrap(), Some(held));
            assert_eq!(log.first_entry(&cid).unwrap(), Some(number * 2 + 1));
            assert_eq!(log.once(&format!("once {number}")).unwrap().unwrap().cid, cid);
        }
    }
    assert_eq!(expected.len(), 80);
    provider.check_files();
}

pub fn a_batch_of_one<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    Batching::after(&*log).add(&[Stream::Local], 1, 16).append(&*log);
    let entries = log.read(0, 10).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(log.body(&entries[0].cid).unwrap().unwrap(), body(1, 16).1);
}

pub fn a_batch_of_ten_thousand<P: Provider>() {
    const COUNT: u64 = 10_000;
    let provider = P::open();
    let log = provider.storage().log();
    let mut batch = Batching::after(&*log);
    for number in 0..COUNT {
        batch = batch.add(&[inbox(&format!("actor{}", number % 100))], number, 120);
    }
    batch.append(&*log);
    let check = |log: &dyn LogStore| {
        assert_eq!(log.head().unwrap(), COUNT);
        assert_eq!(log.streams().unwrap().len(), 100);
        let mut after = 0;
        while after < COUNT {
            for entry in log.read(after, 512).unwrap() {
                assert_eq!(entry.global_seq, after + 1);
                after += 1;
            }
        }
        for number in (0..COUNT).step_by(97) {
            let (cid, held) = body(number, 120);
            assert_eq!(log.body(&cid).unwrap(), Some(held));
            assert_eq!(
                log.position(&inbox(&format!("actor{}", number % 100)), &cid).unwrap(),
                Some(number / 100)
            );
        }
    };
    check(&*log);
    drop(log);
    let provider = provider.reopen();
    provider.check_files();
    check(&*provider.storage().log());
}

/// Bodies around every size at which a provider may cut them, up to the largest.
pub fn bodies_of_every_size<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    let mut sizes: Vec<usize> = (5900..6010).collect();
    for edge in [2, 3, 10, 11, 20, 21].map(|pieces| pieces * 5981) {
        sizes.extend(edge - 90..edge + 10);
    }
    for power in 10..=20 {
        sizes.extend([(1 << power) - 1, 1 << power, (1 << power) + 1]);
    }
    for (number, sizes) in sizes.chunks(64).enumerate() {
        let mut batch = Batching::after(&*log);
        for (index, size) in sizes.iter().enumerate() {
            batch = batch.add(&[inbox("bob")], (number * 64 + index) as u64, *size);
        }
        batch.append(&*log);
    }
    let check = |log: &dyn LogStore| {
        for (number, size) in sizes.iter().enumerate() {
            let (cid, held) = body(number as u64, *size);
            assert!(log.body(&cid).unwrap() == Some(held), "{size} bytes");
        }
    };
    check(&*log);
    provider.check_files();
    drop(log);
    let provider = provider.reopen();
    check(&*provider.storage().log());
    provider.check_files();
}

pub fn one_body_in_many_streams<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    let names: Vec<String> = (0..200).map(|n| format!("reader{n}")).collect();
    let mut streams = vec![outbox("alice")];
    streams.extend(names.iter().map(|name| inbox(name)));
    Batching::after(&*log).add(&streams, 5, 20_000).append(&*log);
    Batching::after(&*log).again(&inbox("late"), 5, 20_000).append(&*log);
    let (cid, held) = body(5, 20_000);
    let entries = log.read(0, usize::MAX).unwrap();
    assert_eq!(entries.len(), 202);
    assert!(entries.iter().all(|entry| entry.cid == cid));
    assert_eq!(entries.iter().filter(|entry| entry.first).count(), 1);
    for stream in streams.iter().chain([&inbox("late")]) {
        assert_eq!(log.position(stream, &cid).unwrap(), Some(0), "{stream}");
    }
    assert_eq!(log.body(&cid).unwrap(), Some(held));
    provider.check_files();
}

pub fn once_keys<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    let keys = ["", "a", "a\0b", "ключ", &"long".repeat(3000)];
    for (number, key) in keys.iter().enumerate() {
        Batching::after(&*log).add(&[Stream::Local], number as u64, 30).once(key).append(&*log);
    }
    for key in keys {
        let again = Batching::after(&*log).add(&[Stream::Local], 99, 30).once(key).batch();
        assert!(is_refused(&*log, &again), "across batches");
    }
    let twice = Batching::after(&*log).add(&[Stream::Local], 99, 30).once("new").once("new");
    assert!(is_refused(&*log, &twice.batch()), "in one batch");
    drop(log);
    let log = provider.reopen().storage().log();
    for (number, key) in keys.iter().enumerate() {
        let used = log.once(key).unwrap().unwrap();
        assert_eq!(used.global_seq, number as u64 + 1);
        assert_eq!(used.fingerprint.as_deref(), Some("f"));
    }
    assert_eq!(log.once("new").unwrap(), None);
}

pub fn the_admission_state<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    let large = json!({ "text": "y".repeat(50_000), "list": [1, 2.5, null, true] });
    Batching::after(&*log)
        .add(&[Stream::Local], 1, 30)
        .state("a", Some(json!(1)))
        .state("b", Some(large.clone()))
        .state("b\u{10ffff}", Some(json!("high")))
        .state("c", None)
        .append(&*log);
    let state = log.state();
    let keys = |prefix: &str, after: Option<&str>, limit: usize| -> Vec<String> {
        state.scan(prefix, after, limit).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(state.get("b").unwrap(), Some(large));
    assert_eq!(keys("", None, 9), ["a", "b", "b\u{10ffff}"]);
    assert_eq!(keys("b", None, 9), ["b", "b\u{10ffff}"]);
    assert_eq!(keys("b", Some("b"), 9), ["b\u{10ffff}"]);
    assert_eq!(keys("b", Some("a"), 1), ["b"]);
    assert!(keys("b", Some("c"), 9).is_empty());
    assert!(keys("", None, 0).is_empty());
    // A state can change without any entry.
    let change = Batching::after(&*log).state("b", Some(json!("small"))).state("a", None);
    change.append(&*log);
    assert_eq!(keys("", None, 9), ["b", "b\u{10ffff}"]);
    drop(log);
    let provider = provider.reopen();
    provider.check_files();
    let log = provider.storage().log();
    assert_eq!(log.state().get("a").unwrap(), None);
    assert_eq!(log.state().get("b").unwrap(), Some(json!("small")));
}
