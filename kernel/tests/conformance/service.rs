//! The log service over a provider.

use std::future::Future;
use std::sync::{Arc, Condvar, Mutex};

use fedsx_kernel::log::{
    Append, AppendError, Appended, Log, LogOptions, MemoryStorage, Once, Pending, Place, Storage,
    Stream,
};
use fedsx_kernel::runtime::{Blocking, Runtime, TokioBlocking};
use fedsx_kernel::{Activity, Problem, Refusal};

use crate::provider::Provider;
use crate::rules::{Open, counted};
use crate::samples::{activity, append, foreign, inbox, name, outbox, publish, sized};

/// Runs a test inside a runtime.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(test)
}

pub fn open(storage: Arc<dyn Storage>) -> Log {
    open_with(storage, &LogOptions::default(), Runtime::system())
}

pub fn open_with(storage: Arc<dyn Storage>, options: &LogOptions, runtime: Runtime) -> Log {
    Log::open(storage, Arc::new(Open::default()), runtime, options).unwrap()
}

/// Closes a log and gives its provider's data to a new one.
pub async fn reopen<P: Provider>(provider: P, log: Log) -> (P, Log) {
    log.close().await;
    drop(log);
    let provider = provider.reopen();
    let log = open(provider.storage());
    (provider, log)
}

/// A pool in which work waits until it is let go, so that what is enqueued meanwhile becomes one
/// group.
#[derive(Default)]
pub struct Held(Arc<(Mutex<bool>, Condvar)>);

impl Held {
    pub fn runtime(&self) -> Runtime {
        let blocking = Arc::new(Held(self.0.clone()));
        Runtime { blocking, ..Runtime::system() }
    }

    pub fn let_go(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Blocking for Held {
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        let gate = self.0.clone();
        TokioBlocking.spawn(Box::new(move || {
            let mut free = gate.0.lock().unwrap();
            while !*free {
                free = gate.1.wait(free).unwrap();
            }
            drop(free);
            work();
        }));
    }
}

/// Enqueues all of it so that it is committed as one group, and gives the answers in order.
pub async fn as_one_group(
    storage: Arc<dyn Storage>,
    appends: Vec<Append>,
) -> (Log, Vec<Result<Appended, AppendError>>) {
    let held = Held::default();
    let log = open_with(storage, &LogOptions::default(), held.runtime());
    // The writer takes this one and waits; the others queue up behind it.
    let first = log.enqueue(append(activity("first", 77, &[]), Place::Local)).unwrap();
    while log.free_places() < LogOptions::default().queue {
        tokio::task::yield_now().await;
    }
    let pending: Vec<Pending> =
        appends.into_iter().map(|append| log.enqueue(append).unwrap()).collect();
    held.let_go();
    // It may have been refused, where the provider fails.
    let _ = first.committed().await;
    let mut answers = Vec::new();
    for one in pending {
        answers.push(one.committed().await);
    }
    (log, answers)
}

fn lengths(log: &Log, streams: &[Stream]) -> Vec<u64> {
    streams.iter().map(|stream| log.store().stream_len(stream).unwrap()).collect()
}

fn once(mut append: Append, key: &str) -> Append {
    append.once = Some(Once { key: key.to_owned(), fingerprint: None });
    append
}

fn refused(mut append: Append) -> Append {
    append.guard = Some(Box::new(|_| Err(Refusal::new(Problem::Blocked, "no"))));
    append
}

pub fn appends_and_answers<P: Provider>() {
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        let mut watch = log.watch();
        let appended = log.append(publish("alice", 0, &["bob"])).await.unwrap();
        assert_eq!(appended.entries, [(outbox("alice"), 0, 1), (inbox("bob"), 0, 2)]);
        assert_eq!(appended.global_seq, 2);
        assert!(!appended.already());
        assert_eq!(log.head(), 2);
        assert_eq!(*watch.wait_for(|head| *head == 2).await.unwrap(), 2);
        let records = log.records(0, 10).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].activity, activity("alice", 0, &["bob"]));
        assert_eq!(log.first(&appended.cid).unwrap().unwrap().entry.global_seq, 1);
        let held = log.by_id(records[0].activity.id()).unwrap().unwrap();
        assert_eq!(*held.cid(), appended.cid);
        assert_eq!(counted(log.state()), 1);
        let (_provider, log) = reopen(provider, log).await;
        assert_eq!(log.head(), 2);
        assert_eq!(log.records(0, 10).unwrap()[1].activity.cid(), &appended.cid);
        assert_eq!(counted(log.state()), 1);
    });
}

/// However many append at once: positions are dense, the order of one actor is kept, and the
/// state has seen every body once.
pub fn bodies_once_and_positions_dense<P: Provider>() {
    const ACTORS: usize = 8;
    const EACH: u64 = 40;
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        let mut tasks = Vec::new();
        for actor in 0..ACTORS {
            let log = log.clone();
            tasks.push(tokio::spawn(async move {
                let author = format!("actor{actor}");
                let other = format!("actor{}", (actor + 1) % ACTORS);
                let mut pending = Vec::new();
                for seq in 0..EACH {
                    pending.push(log.enqueue(publish(&author, seq, &[&other])).unwrap());
                    if seq % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                let mut last = 0;
                for one in pending {
                    let appended = one.committed().await.unwrap();
                    assert!(appended.global_seq > last);
                    last = appended.global_seq;
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let (_provider, log) = reopen(provider, log).await;
        let bodies = ACTORS as u64 * EACH;
        assert_eq!(log.head(), bodies * 2);
        assert_eq!(counted(log.state()), bodies);
        let records = log.records(0, usize::MAX).unwrap();
        for (expected, record) in (1..).zip(&records) {
            assert_eq!(record.entry.global_seq, expected);
        }
        for actor in 0..ACTORS {
            let published = log.stream(&outbox(&format!("actor{actor}")), 0, 999).unwrap();
            let seqs: Vec<_> =
                published.iter().map(|one| one.activity.position().unwrap().1).collect();
            assert_eq!(seqs, (0..EACH).collect::<Vec<_>>());
        }
    });
}

pub fn repeated_bodies<P: Provider>() {
    run(async {
        let provider = P::open();
        let one = activity("zoe", 1, &[]);
        let to = |names: &[&str]| {
            append(one.clone(), Place::Inboxes(names.iter().map(|text| name(text)).collect()))
        };
        let group = vec![to(&["alice"]), to(&["alice"]), to(&["alice", "bob"]), to(&["bob"])];
        let (log, answers) = as_one_group(provider.storage(), group).await;
        let answers: Vec<Appended> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers[0].entries, [(inbox("alice"), 0, 2)]);
        assert!(answers[1].already() && answers[3].already());
        assert_eq!(answers[2].entries, [(inbox("bob"), 0, 3)]);
        let later = log.append(to(&["alice", "bob", "carol"])).await.unwrap();
        assert_eq!(later.entries, [(inbox("carol"), 0, 4)]);
        assert!(log.append(to(&["carol"])).await.unwrap().already());
        assert_eq!(log.head(), 4);
        assert_eq!(counted(log.state()), 2, "a body is folded once");
        // Twice in one request.
        let twice = log.append(to(&["dave", "dave"])).await.unwrap();
        assert_eq!(twice.entries, [(inbox("dave"), 0, 5)]);
    });
}

pub fn local_recipients_share_the_batch<P: Provider>() {
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        let mut request = publish("alice", 0, &["bob", "alice", "carol", "bob"]);
        request.meta.hidden = vec![format!("{}/actors/dave", crate::samples::BASE)];
        let appended = log.append(request).await.unwrap();
        let streams: Vec<Stream> =
            appended.entries.iter().map(|(stream, ..)| stream.clone()).collect();
        let expected = [outbox("alice"), inbox("bob"), inbox("carol"), inbox("dave")];
        assert_eq!(streams, expected);
        assert_eq!(log.commits(), 1);
        let nobody = append(activity("zoe", 9, &[]), Place::Concerned);
        assert!(matches!(log.append(nobody).await, Err(AppendError::NobodyConcerned)));
        let some = append(activity("zoe", 10, &["bob"]), Place::Concerned);
        assert_eq!(log.append(some).await.unwrap().entries, [(inbox("bob"), 1, 5)]);
    });
}

pub fn once_keys_race<P: Provider>() {
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        let mut tasks = Vec::new();
        for number in 0..40 {
            let log = log.clone();
            tasks.push(tokio::spawn(async move {
                log.append(once(append(activity("alice", number, &[]), Place::Local), "key")).await
            }));
        }
        let (mut won, mut lost) = (Vec::new(), Vec::new());
        for task in tasks {
            match task.await.unwrap() {
                Ok(appended) => won.push(appended.cid),
                Err(AppendError::OnceTaken(used)) => lost.push(used.cid),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((won.len(), lost.len()), (1, 39));
        assert!(lost.iter().all(|cid| *cid == won[0]));
        assert_eq!(log.head(), 1);
    });
}

pub fn once_keys_outlive_a_restart<P: Provider>() {
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        let local = |number| append(activity("alice", number, &[]), Place::Local);
        let first = log.append(once(local(1), "key")).await.unwrap();
        let (provider, log) = reopen(provider, log).await;
        let taken = log.append(once(local(2), "key")).await;
        assert!(matches!(taken, Err(AppendError::OnceTaken(used)) if used.cid == first.cid));
        log.append(once(local(3), "other key")).await.unwrap();
        // A refused append does not use its key up, nor does one that adds nothing.
        assert!(log.append(once(refused(local(4)), "free")).await.is_err());
        assert!(log.append(once(local(3), "free")).await.unwrap().already());
        let (_provider, log) = reopen(provider, log).await;
        log.append(once(local(5), "free")).await.unwrap();
    });
}

pub fn position_races<P: Provider>() {
    run(async {
        let provider = P::open();
        let at =
            |number, seq| append(activity("alice", number, &[]), Place::Outbox(name("alice"), seq));
        let group = vec![at(10, 0), at(11, 0), at(12, 1), at(13, 5), at(14, 2)];
        let (log, answers) = as_one_group(provider.storage(), group).await;
        let found: Vec<_> = answers
            .iter()
            .map(|answer| match answer {
                Ok(_) => None,
                Err(AppendError::Position { expected, found }) => Some((*expected, *found)),
                Err(other) => panic!("{other}"),
            })
            .collect();
        assert_eq!(found, [None, Some((0, 1)), None, Some((5, 2)), None]);
        let late = log.append(at(15, 2)).await;
        assert!(matches!(late, Err(AppendError::Position { expected: 2, found: 3 })));
        let numbers: Vec<_> = log
            .stream(&outbox("alice"), 0, 9)
            .unwrap()
            .iter()
            .map(|record| record.activity.position().unwrap().1)
            .collect();
        assert_eq!(numbers, [10, 12, 14]);
    });
}

pub fn refusals_leave_no_trace<P: Provider>() {
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        log.append(publish("alice", 0, &[])).await.unwrap();
        let id = "notes/1";
        let unwanted = once(append(foreign(id, "a"), Place::Inboxes(vec![name("bob")])), "key");
        let answer = log.append(refused(unwanted)).await;
        assert!(
            matches!(&answer, Err(AppendError::Refused(why)) if why.problem == Problem::Blocked)
        );
        let unwanted = log.append(refused(publish("alice", 1, &["bob"]))).await;
        assert!(unwanted.is_err());
        assert_eq!(log.head(), 1);
        assert_eq!(counted(log.state()), 1);
        assert_eq!(lengths(&log, &[outbox("alice"), inbox("bob")]), [1, 0]);
        assert!(log.by_id(foreign(id, "a").id()).unwrap().is_none());
        assert!(log.activity(foreign(id, "a").cid()).unwrap().is_none());
        assert_eq!(log.store().once("key").unwrap(), None);
        // The position, the id and the key are free.
        log.append(publish("alice", 1, &["bob"])).await.unwrap();
        let other = once(append(foreign(id, "b"), Place::Inboxes(vec![name("bob")])), "key");
        log.append(other).await.unwrap();
    });
}

pub fn a_panicking_guard<P: Provider>() {
    run(async {
        let provider = P::open();
        let mut bad = publish("alice", 0, &[]);
        bad.guard = Some(Box::new(|_| panic!("on purpose")));
        let group = vec![publish("bob", 0, &[]), bad, publish("carol", 0, &[])];
        let (log, answers) = as_one_group(provider.storage(), group).await;
        let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, true]);
        log.append(publish("alice", 0, &[])).await.unwrap();
        assert_eq!(log.head(), 4);
    });
}

/// What fails in a group does not show in its neighbours, and guards see those before them.
pub fn neighbours_in_a_group<P: Provider>() {
    run(async {
        let provider = P::open();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let looking = |mut append: Append| {
            let seen = seen.clone();
            append.guard = Some(Box::new(move |state| {
                seen.lock().unwrap().push(counted(state));
                Ok(Default::default())
            }));
            append
        };
        let group = vec![
            looking(publish("alice", 0, &["bob"])),
            refused(publish("alice", 1, &["bob"])),
            looking(publish("bob", 0, &["alice"])),
            publish("alice", 5, &[]),
            looking(once(publish("alice", 1, &[]), "key")),
            once(publish("alice", 2, &[]), "key"),
            looking(publish("alice", 2, &["carol"])),
        ];
        let (log, answers) = as_one_group(provider.storage(), group).await;
        let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, true, false, true, false, true]);
        assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 4]);
        let streams =
            [outbox("alice"), outbox("bob"), inbox("alice"), inbox("bob"), inbox("carol")];
        assert_eq!(lengths(&log, &streams), [3, 1, 1, 1, 1]);
        assert_eq!(log.head(), 8);
        assert_eq!(counted(log.state()), 5);
    });
}

pub fn foreign_ids_are_unique<P: Provider>() {
    run(async {
        let provider = P::open();
        let to_bob = |one: Arc<Activity>| append(one, Place::Inboxes(vec![name("bob")]));
        let group = vec![
            to_bob(foreign("n/1", "first")),
            to_bob(foreign("n/1", "second")),
            to_bob(foreign("n/1", "first")),
            to_bob(foreign("n/2", "second")),
        ];
        let (log, answers) = as_one_group(provider.storage(), group).await;
        let first = *foreign("n/1", "first").cid();
        let is_other = |answer: &Result<Appended, AppendError>| matches!(answer, Err(AppendError::OtherVersion { held, .. }) if *held == first);
        assert!(answers[0].is_ok() && answers[2].as_ref().unwrap().already() && answers[3].is_ok());
        assert!(is_other(&answers[1]), "in one group");
        let (_provider, log) = reopen(provider, log).await;
        assert!(is_other(&log.append(to_bob(foreign("n/1", "third"))).await), "across restarts");
        let held = log.by_id("https://there.example/n/1").unwrap().unwrap();
        assert_eq!(*held.cid(), first);
    });
}

pub fn the_largest_activity<P: Provider>() {
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        let largest = |number| sized("alice", number, &["bob", "carol"], 1024 * 1024);
        for seq in 0..3 {
            let request = append(largest(seq), Place::Outbox(name("alice"), seq));
            log.append(request).await.unwrap();
        }
        provider.check_files();
        let (provider, log) = reopen(provider, log).await;
        for (seq, record) in (0..).zip(log.stream(&inbox("carol"), 0, 9).unwrap()) {
            assert!(record.activity == largest(seq), "read as it was written");
        }
        provider.check_files();
    });
}

pub fn a_queue_has_an_end<P: Provider>() {
    run(async {
        let provider = P::open();
        let held = Held::default();
        let options = LogOptions { queue: 3, ..LogOptions::default() };
        let log = open_with(provider.storage(), &options, held.runtime());
        let mut pending = Vec::new();
        let mut busy = 0;
        for seq in 0..50 {
            match log.enqueue(append(activity("alice", seq, &[]), Place::Local)) {
                Ok(one) => pending.push(one),
                Err(AppendError::Busy) => busy += 1,
                Err(other) => panic!("{other}"),
            }
            tokio::task::yield_now().await;
        }
        assert!(busy > 0, "a queue of three takes no fifty");
        held.let_go();
        let accepted = pending.len() as u64;
        for one in pending {
            one.committed().await.unwrap();
        }
        assert_eq!(log.head(), accepted);
        log.append(append(activity("alice", 99, &[]), Place::Local)).await.unwrap();
    });
}

/// As many places as the queue has by default, and not one more.
#[test]
fn a_full_queue_refuses_appends() {
    run(async {
        let (held, options) = (Held::default(), LogOptions::default());
        let log = open_with(Arc::new(MemoryStorage::default()), &options, held.runtime());
        let one = || append(activity("alice", 0, &[]), Place::Local);
        // The writer takes this one and waits.
        let first = log.enqueue(one()).unwrap();
        while log.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        let enqueue = |_| log.enqueue(one()).unwrap();
        let pending: Vec<Pending> = (0..options.queue).map(enqueue).collect();
        let refusal = Refusal::from(log.enqueue(one()).err().unwrap());
        assert_eq!(refusal.problem, Problem::Busy);
        held.let_go();
        assert!(!first.committed().await.unwrap().already());
        for one in pending {
            assert!(one.committed().await.unwrap().already());
        }
        log.append(one()).await.unwrap();
    });
}

pub fn closing<P: Provider>() {
    run(async {
        let provider = P::open();
        let log = open(provider.storage());
        let pending: Vec<_> =
            (0..30).map(|seq| log.enqueue(publish("alice", seq, &[])).unwrap()).collect();
        log.close().await;
        for one in pending {
            one.committed().await.unwrap();
        }
        assert!(matches!(log.append(publish("alice", 30, &[])).await, Err(AppendError::Closed)));
        assert!(log.sync().await.is_err());
        log.close().await;
        assert_eq!(log.records(0, 99).unwrap().len(), 30, "reads are served");
    });
}

/// Many large bodies at once neither fill the memory with one batch nor fail.
pub fn a_large_group_is_cut<P: Provider>() {
    run(async {
        let provider = P::open();
        let group = (0..24)
            .map(|seq| {
                let one = sized("alice", seq, &["bob"], 1024 * 1024);
                append(one, Place::Outbox(name("alice"), seq))
            })
            .collect();
        let (log, answers) = as_one_group(provider.storage(), group).await;
        assert!(answers.iter().all(Result::is_ok));
        assert!(log.commits() > 3, "{} commits", log.commits());
        assert_eq!(lengths(&log, &[outbox("alice"), inbox("bob")]), [24, 24]);
        provider.check_files();
    });
}
