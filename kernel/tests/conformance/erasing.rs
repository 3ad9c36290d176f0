//! Bodies that are erased: in the bare store, and through the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fedsx_kernel::Activity;
use fedsx_kernel::log::{
    Append, AppendError, Batch, Erasure, LogStore, Meta, Once, Place, StoreError, Stream,
};
use serde_json::json;

use crate::provider::Provider;
use crate::rules::counted;
use crate::samples::{Batching, activity, append, inbox, name, outbox, sized};
use crate::service::{open, reopen, run};

/// What is left of an activity of these tests.
fn stub(activity: &Activity) -> Arc<Activity> {
    let left = json!({
        "type": activity.kind(),
        "actor": activity.actor(),
        "seq": activity.get("seq"),
        "object": { "type": "Note" },
    });
    Arc::new(activity.stub(left.as_object().unwrap().clone()).unwrap())
}

/// A batch that erases a body, and says so.
fn erasing(log: &dyn LogStore, of: &Activity, record: u64) -> Batch {
    let mut batch = Batching::after(log).add(&[Stream::Local], record, 60).batch();
    let cid = *of.cid();
    batch.erasures = vec![Erasure { cid, stub: stub(of).to_body().unwrap(), entries: Vec::new() }];
    batch
}

fn is_refused(log: &dyn LogStore, batch: &Batch) -> bool {
    matches!(log.append(batch), Err(StoreError::NotContinuous(_)))
}

/// Appends an activity to the store, with a recipient that nobody else may see.
fn hold(log: &dyn LogStore, of: &Activity) {
    let mut batch = Batching::after(log).add(&[outbox("alice"), inbox("bob")], 1, 60).batch();
    batch.bodies = vec![(*of.cid(), of.to_body().unwrap(), None)];
    for entry in &mut batch.entries {
        entry.cid = *of.cid();
        entry.meta.hidden = vec!["https://there.example/hidden".into()];
    }
    log.append(&batch).unwrap();
}

pub fn a_stub_takes_the_place<P: Provider>() {
    for bytes in [10, 7_000, 200_000] {
        let provider = P::open();
        let storage = provider.storage();
        let log = storage.log();
        let of = sized("alice", 0, &["bob"], bytes);
        hold(&*log, &of);
        let before = log.read(0, 10).unwrap();
        let mut batch = erasing(&*log, &of, 2);
        batch.erasures[0].entries = before.clone();
        for entry in &mut batch.erasures[0].entries {
            entry.meta.hidden.clear();
        }
        log.append(&batch).unwrap();
        let body = log.body(of.cid()).unwrap().unwrap();
        assert_eq!(body, stub(&of).to_body().unwrap());
        let left = Activity::from_body(&body).unwrap();
        assert!(left.is_erased());
        assert_eq!((left.cid(), left.id(), left.order()), (of.cid(), of.id(), of.order()));
        for (held, was) in log.read(0, 2).unwrap().iter().zip(&before) {
            assert!(held.meta.hidden.is_empty());
            assert_eq!(
                (held.cid, held.first, held.stream_seq),
                (was.cid, was.first, was.stream_seq)
            );
            assert_eq!(held.meta.received_ms, was.meta.received_ms);
        }
        assert_eq!(log.head().unwrap(), 3);
        drop((log, storage));
        let provider = provider.reopen();
        let log = provider.storage().log();
        assert_eq!(log.body(of.cid()).unwrap().unwrap(), body);
        assert_eq!(log.first_entry(of.cid()).unwrap(), Some(1));
        provider.check_files();
    }
}

pub fn what_cannot_be_erased<P: Provider>() {
    let provider = P::open();
    let log = provider.storage().log();
    let (of, other) = (activity("alice", 0, &["bob"]), activity("alice", 9, &[]));
    hold(&*log, &of);
    let held = log.body(of.cid()).unwrap();
    assert!(is_refused(&*log, &erasing(&*log, &other, 2)), "a body that is not held");
    let mut silent = erasing(&*log, &of, 2);
    (silent.entries, silent.bodies) = (Vec::new(), Vec::new());
    assert!(is_refused(&*log, &silent), "an erasure that nothing records");
    let mut whole = erasing(&*log, &of, 2);
    whole.erasures[0].stub = of.to_body().unwrap();
    assert!(is_refused(&*log, &whole), "what is left is no stub");
    let mut twice = erasing(&*log, &of, 2);
    twice.erasures.push(twice.erasures[0].clone());
    assert!(is_refused(&*log, &twice), "twice in one batch");
    let entries = log.read(0, 10).unwrap();
    let changes: [fn(&mut fedsx_kernel::log::Entry); 4] = [
        |entry| entry.stream_seq += 1,
        |entry| entry.meta.received_ms += 1,
        |entry| entry.cid = fedsx_kernel::Cid::of_block(b"another"),
        |entry| entry.global_seq = 77,
    ];
    for change in changes {
        let mut batch = erasing(&*log, &of, 2);
        let mut entry = entries[1].clone();
        change(&mut entry);
        batch.erasures[0].entries = vec![entry];
        assert!(is_refused(&*log, &batch), "an entry becomes another one");
    }
    assert_eq!(log.body(of.cid()).unwrap(), held);
    assert_eq!(log.read(0, 10).unwrap(), entries);
    log.append(&erasing(&*log, &of, 2)).unwrap();
}

/// Records the erasure of a body.
fn record(of: &Activity, number: u64) -> Append {
    let key = format!("erased\n{}", of.cid());
    let once = Some(Once { key, fingerprint: None });
    let place = Place::Erasing(stub(of));
    Append { once, ..append(activity("instance", number, &[]), place) }
}

pub fn the_service_erases<P: Provider>() {
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        let of = sized("alice", 0, &["bob"], 500);
        let meta = Meta { hidden: vec!["https://there.example/hidden".into()], ..Meta::default() };
        let place = Place::Outbox(name("alice"), 0);
        log.append(Append { meta, ..append(of.clone(), place) }).await.unwrap();
        assert_eq!(*log.activity(of.cid()).unwrap().unwrap(), *of);
        let done = log.append(record(&of, 5)).await.unwrap();
        assert_eq!(done.global_seq, 3);
        assert_eq!((log.erasures(), counted(log.state())), (1, 2), "the state counts the record");
        let left = log.activity(of.cid()).unwrap().unwrap();
        assert_eq!(*left, *stub(&of), "nothing of it stays in the cache");
        for entry in log.store().read(0, 2).unwrap() {
            assert!(entry.meta.hidden.is_empty());
        }
        let again = log.append(record(&of, 6)).await;
        assert!(matches!(again, Err(AppendError::OnceTaken(used)) if used.global_seq == 3));
        let unrecorded = Append { once: None, ..record(&of, 7) };
        let again = log.append(unrecorded).await;
        assert!(matches!(again, Err(AppendError::NothingToErase(cid)) if cid == *of.cid()));
        let unknown = log.append(record(&activity("alice", 4, &[]), 8)).await;
        assert!(matches!(unknown, Err(AppendError::NothingToErase(_))));
        // The same activity comes to one more inbox: the stub is all that stands there.
        let place = Place::Inboxes(vec![name("carol")]);
        log.append(append(of.clone(), place)).await.unwrap();
        assert_eq!(log.store().head().unwrap(), 4);
        assert_eq!(*log.activity(of.cid()).unwrap().unwrap(), *stub(&of));
        let (_provider, log) = reopen(provider, log).await;
        let record = log.stream(&inbox("carol"), 0, 1).unwrap().pop().unwrap();
        assert_eq!(*record.activity, *stub(&of));
    });
}

/// Readers that run beside erasures never bring back what is gone.
pub fn readers_beside_erasures<P: Provider>() {
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        let mut bodies = Vec::new();
        for seq in 0..40 {
            let of = sized("alice", seq, &[], 50);
            log.append(append(of.clone(), Place::Outbox(name("alice"), seq))).await.unwrap();
            bodies.push(of);
        }
        // A new log over the same store begins with an empty cache.
        let (provider, log) = reopen(provider, log).await;
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (log, bodies, stop) = (log.clone(), bodies.clone(), stop.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        for of in &bodies {
                            assert_eq!(log.activity(of.cid()).unwrap().unwrap().cid(), of.cid());
                        }
                    }
                })
            })
            .collect();
        for (of, number) in bodies.iter().zip(100..) {
            log.append(record(of, number)).await.unwrap();
            assert!(log.activity(of.cid()).unwrap().unwrap().is_erased());
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert!(bodies.iter().all(|of| log.activity(of.cid()).unwrap().unwrap().is_erased()));
        drop(provider);
    });
}
