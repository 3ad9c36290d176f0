//! What only sled has: files that are damaged, cut back, torn or full.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use fedsx_kernel::log::{
    Head, HeadFile, OpenError, Salvage, Salvaged, SledOptions, SledStorage, Storage, StoreError,
    Stream, TableWrite,
};
use fedsx_kernel::runtime::{Random, SeededRandom};
use serde_json::json;

use crate::provider::{Provider, Sled, open_patiently};
use crate::rules::{Open, counted};
use crate::samples::{Batching, append, body, foreign, inbox, name, outbox, sized};
use crate::service::{open, run};

pub fn rounds(usual: u64) -> u64 {
    std::env::var("FEDSX_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

pub struct Dice(SeededRandom);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    pub fn below(&self, bound: u64) -> u64 {
        u64::from_be_bytes((&self.0 as &dyn Random).bytes()) % bound
    }
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn try_open(directory: &Path) -> Result<SledStorage, OpenError> {
    open_patiently(directory, &SledOptions { compress: false, ..SledOptions::default() })
}

pub fn put(key: &str, value: &[u8]) -> TableWrite {
    (key.as_bytes().to_vec(), Some(value.to_vec()))
}

/// While a batch is not durable it does not show; where its sync failed it never does, until a
/// restart finds out what the device holds.
#[test]
fn what_is_not_durable_does_not_show() {
    let provider = Sled::plain();
    let storage = provider.storage();
    let log = storage.log();
    Batching::after(&*log)
        .add(&[outbox("alice")], 1, 100)
        .state("kept", Some(json!(1)))
        .state("gone", Some(json!(2)))
        .append(&*log);
    provider.device.sync_fails.store(true, Ordering::SeqCst);
    let batch = Batching::after(&*log)
        .add(&[outbox("alice"), inbox("bob")], 5, 100)
        .once("key")
        .again(&inbox("bob"), 1, 100)
        .state("kept", Some(json!(3)))
        .state("gone", None)
        .state("new", Some(json!(4)))
        .batch();
    let failed = log.append(&batch).unwrap_err();
    assert!(matches!(&failed, StoreError::Poisoned(why) if why.contains("injected")), "{failed}");
    provider.device.sync_fails.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = log.append(&batch).unwrap_err().to_string();
        assert!(refused.contains("injected"), "{refused}");
        assert!(storage.sync().unwrap_err().to_string().contains("injected"));
        let refused = storage.ledgers().apply(vec![put("a", b"b")]).unwrap_err().to_string();
        assert!(refused.contains("injected"), "{refused}");
    }
    let ((old, held), (new, _)) = (body(1, 100), body(5, 100));
    assert_eq!(log.head().unwrap(), 1);
    assert_eq!(log.read(0, 9).unwrap().len(), 1);
    assert_eq!(log.read_stream(&outbox("alice"), 0, 9).unwrap().len(), 1);
    assert_eq!(log.streams().unwrap(), [(outbox("alice"), 1)]);
    assert_eq!(log.stream_len(&inbox("bob")).unwrap(), 0);
    assert_eq!(log.position(&outbox("alice"), &old).unwrap(), Some(0));
    assert_eq!(log.position(&outbox("alice"), &new).unwrap(), None);
    assert_eq!(log.position(&inbox("bob"), &old).unwrap(), None);
    assert_eq!(log.first_entry(&new).unwrap(), None);
    assert_eq!((log.body(&old).unwrap(), log.body(&new).unwrap()), (Some(held), None));
    assert_eq!(log.by_id("https://there.example/5").unwrap(), None);
    assert_eq!(log.once("key").unwrap(), None);
    let state = log.state().scan("", None, 9).unwrap();
    assert_eq!(state, [("gone".to_owned(), json!(2)), ("kept".to_owned(), json!(1))]);
    assert_eq!(log.state().scan("", Some("gone"), 1).unwrap().len(), 1);
    assert_eq!(log.state().get("new").unwrap(), None);
    drop((log, storage));

    let log = provider.reopen().storage().log();
    match log.head().unwrap() {
        1 => assert_eq!(log.state().get("kept").unwrap(), Some(json!(1))),
        4 => assert_eq!(log.state().get("kept").unwrap(), Some(json!(3))),
        other => panic!("{other} entries: a part of a batch"),
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    const MIB: u64 = 1024 * 1024;
    let provider = Sled::plain();
    let storage = provider.storage();
    let log = storage.log();
    let add = |number| {
        let batch = Batching::after(&*log).add(&[outbox("alice")], number, 1000).batch();
        log.append(&batch)
    };
    add(1).unwrap();
    for round in 0..3 {
        provider.device.room.store(63 * MIB, Ordering::SeqCst);
        assert!(matches!(add(round + 2), Err(StoreError::Full(_))));
        storage.sync().unwrap();
        // What follows the log may still catch up.
        storage.projections().apply(vec![put("a", &[1; 100])]).unwrap();
        provider.device.room.store(15 * MIB, Ordering::SeqCst);
        let full = storage.ledgers().apply(vec![put("b", &vec![1; MIB as usize])]);
        assert!(matches!(full, Err(StoreError::Full(_))));
        assert_eq!(storage.ledgers().get(b"b").unwrap(), None);
        provider.device.room.store(u64::MAX, Ordering::SeqCst);
        add(round + 2).unwrap();
    }
    // A batch that is larger than the room that is left beside the reserve.
    provider.device.room.store(66 * MIB, Ordering::SeqCst);
    let large = Batching::after(&*log).add(&[outbox("alice")], 99, MIB as usize).batch();
    assert!(matches!(log.append(&large), Err(StoreError::Full(_))));
    add(98).unwrap();
    assert_eq!(log.head().unwrap(), 5);
}

#[test]
fn a_log_that_was_cut_back_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let storage = try_open(directory.path()).unwrap();
    let log = storage.log();
    for number in 0..3 {
        Batching::after(&*log).add(&[Stream::Local], number, 100).append(&*log);
    }
    let last = log.read(2, 1).unwrap().remove(0);
    drop((log, storage));
    let file = HeadFile::new(directory.path());
    file.write(&Head { global_seq: 3, root: last.cid }).unwrap();
    drop(try_open(directory.path()).unwrap());
    file.write(&Head { global_seq: 2, root: body(1, 100).0 }).unwrap();
    drop(try_open(directory.path()).unwrap());
    for (global_seq, root) in [(4, last.cid), (3, body(1, 100).0), (2, last.cid), (9, last.cid)] {
        file.write(&Head { global_seq, root }).unwrap();
        let refused = try_open(directory.path()).err().expect("refused");
        assert!(matches!(refused, OpenError::CutBack { found: 3, .. }), "{refused}");
        assert!(refused.to_string().contains("fedsx recover"), "{refused}");
    }
    fs::write(directory.path().join("head.json"), "{\"global_seq\":3").unwrap();
    assert!(matches!(try_open(directory.path()), Err(OpenError::Head(_))));
}

#[test]
fn formats_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    drop(try_open(directory.path()).unwrap());
    let format = directory.path().join("format");
    assert_eq!(fs::read_to_string(&format).unwrap(), "4\n");
    fs::write(&format, "5\n").unwrap();
    let refused = try_open(directory.path()).err().expect("refused");
    assert!(matches!(refused, OpenError::Newer { found: 5, .. }), "{refused}");
    assert!(refused.to_string().contains("newer version"), "{refused}");
    for other in ["0\n", "one", "", "\u{0}\u{ff}", "99999999999"] {
        fs::write(&format, other).unwrap();
        assert!(matches!(try_open(directory.path()), Err(OpenError::Format { .. })), "{other:?}");
    }
    fs::remove_file(&format).unwrap();
    assert!(matches!(try_open(directory.path()), Err(OpenError::Format { .. })));
    fs::write(&format, "1\n").unwrap();
    drop(try_open(directory.path()).unwrap());
    assert_eq!(fs::read_to_string(&format).unwrap(), "4\n", "it was an older one");
}

#[test]
fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let storage = SledStorage::open(directory.path()).unwrap();
    let again = SledStorage::open(directory.path());
    assert!(matches!(again, Err(OpenError::InUse(_))));
    let salvage = Salvage::scan(directory.path(), &mut |_, _| {});
    assert!(salvage.is_err(), "a store in use is not salvaged");
    drop(storage);
}

/// A log with everything in it, over several starts; what it holds, entry by entry.
struct Sample {
    directory: tempfile::TempDir,
    entries: Vec<(Stream, u64, fedsx_kernel::activity::Body)>,
}

fn sample(starts: u64, each: u64) -> Sample {
    run(async {
        let mut provider = Sled::plain();
        let mut entries = Vec::new();
        let mut seq = 0;
        for start in 0..starts {
            let log = open(provider.storage());
            for _ in 0..each {
                let size = if seq % 9 == 0 { 20_000 } else { 300 };
                let one = sized("alice", seq, &["bob", "carol"], size);
                let mut request = append(one, fedsx_kernel::log::Place::Outbox(name("alice"), seq));
                let key = format!("once {seq}");
                request.once = Some(fedsx_kernel::log::Once { key, fingerprint: None });
                log.append(request).await.unwrap();
                let text = format!("{seq}");
                let one = foreign(&text, &"from elsewhere ".repeat(20));
                log.append(append(one, fedsx_kernel::log::Place::Inboxes(vec![name("bob")])))
                    .await
                    .unwrap();
                let storage = provider.storage();
                let writes = (0..6).map(|n| put(&format!("row {} {n}", seq % 40), &[7; 400]));
                storage.projections().apply(writes.collect()).unwrap();
                storage.ledgers().apply(vec![put(&format!("key {seq}"), &[3; 60])]).unwrap();
                seq += 1;
            }
            log.sync().await.unwrap();
            if start + 1 == starts {
                let store = log.store();
                for entry in store.read(0, usize::MAX).unwrap() {
                    let held = store.body(&entry.cid).unwrap().unwrap();
                    entries.push((entry.stream, entry.stream_seq, held));
                }
                let last = store.read(log.head() - 1, 1).unwrap().remove(0);
                let head = Head { global_seq: last.global_seq, root: last.cid };
                HeadFile::new(provider.directory().unwrap()).write(&head).unwrap();
            }
            log.close().await;
            drop(log);
            provider = provider.reopen();
        }
        Sample { directory: provider.into_directory(), entries }
    })
}

impl Sample {
    /// The log is a beginning of what was written, and all of it can be read.
    fn check(&self, storage: &SledStorage) -> u64 {
        let log = storage.log();
        let entries = log.read(0, usize::MAX).unwrap();
        assert_eq!(entries.len() as u64, log.head().unwrap());
        for (entry, (stream, seq, held)) in entries.iter().zip(&self.entries) {
            assert_eq!((&entry.stream, entry.stream_seq), (stream, *seq));
            assert!(log.body(&entry.cid).unwrap().as_ref() == Some(held));
            assert_eq!(log.position(stream, &entry.cid).unwrap(), Some(*seq));
        }
        assert!(entries.len() <= self.entries.len());
        entries.len() as u64
    }

    fn salvage(&self, damaged: &Path) -> (Salvaged, SledStorage, tempfile::TempDir) {
        let salvage = Salvage::scan(damaged, &mut |_, _| {}).unwrap();
        let target = tempfile::tempdir().unwrap();
        let into = SledStorage::open(target.path()).unwrap();
        let salvaged = salvage.restore(&into, &Open::default(), &mut |_, _| {}).unwrap();
        let kept = self.check(&into);
        assert_eq!(kept, salvaged.entries);
        assert_eq!(salvaged.is_whole(), kept == self.entries.len() as u64, "{salvaged:?}");
        let firsts = into.log().read(0, usize::MAX).unwrap();
        let firsts = firsts.iter().filter(|entry| entry.first).count() as u64;
        assert_eq!(counted(into.log().state()), firsts);
        for (key, value) in salvage.ledger(b"key ") {
            let text = String::from_utf8(key).unwrap();
            assert!(value.is_none_or(|value| value == [3; 60]), "{text}");
        }
        (salvaged, into, target)
    }
}

#[test]
fn a_healthy_store_is_salvaged_whole() {
    for (starts, each) in [(1, 3), (3, 40), (2, 400)] {
        let sample = sample(starts, each);
        let (salvaged, into, _target) = sample.salvage(sample.directory.path());
        assert!(salvaged.is_whole(), "{salvaged:?}");
        assert_eq!(salvaged.once, starts * each);
        assert!(salvaged.unreadable.is_empty(), "{salvaged:?}");
        assert!(salvaged.streams.iter().all(|stream| stream.kept == stream.of));
        let original = try_open(sample.directory.path()).unwrap();
        let state = |storage: &SledStorage| -> BTreeMap<_, _> {
            storage.log().state().scan("", None, usize::MAX).unwrap().into_iter().collect()
        };
        assert_eq!(state(&into), state(&original));
        for seq in 0..starts * each {
            let key = format!("once {seq}");
            assert_eq!(into.log().once(&key).unwrap(), original.log().once(&key).unwrap());
        }
    }
}

/// Bits flip and files end early, anywhere: either nothing of the log is lost and everything can
/// be read, or it is refused with the place. What can be read of it is saved, and is true.
#[test]
fn damage_is_noticed_and_what_is_good_is_saved() {
    let dice = Dice::new(7);
    let samples = [sample(1, 4), sample(3, 40), sample(2, 300)];
    let (mut fine, mut refused, mut found) = (0, 0, 0);
    for round in 0..rounds(48) {
        let sample = &samples[usize::try_from(round % 3).unwrap()];
        let damaged = tempfile::tempdir().unwrap();
        copy(sample.directory.path(), damaged.path());
        let files: Vec<_> = fs::read_dir(damaged.path().join("store"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .collect();
        // Mostly the database; now and then what stands beside it.
        let path = match round % 10 {
            0 => &files[usize::try_from(dice.below(files.len() as u64)).unwrap()],
            _ => files.iter().find(|path| path.ends_with("db")).unwrap(),
        };
        let mut bytes = fs::read(path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
        let what = match round % 4 {
            0 => {
                bytes.truncate(at);
                "cut"
            }
            1 => {
                let end = (at + 4096).min(bytes.len());
                bytes[at..end].fill(0);
                "zeroed"
            }
            _ => {
                bytes[at] ^= 1 << dice.below(8);
                "flipped"
            }
        };
        fs::write(path, &bytes).unwrap();
        let case = format!("round {round}: {} {what} at {at}", path.display());
        let untouched = tempfile::tempdir().unwrap();
        copy(damaged.path(), untouched.path());
        match try_open(damaged.path()) {
            Ok(storage) => match storage.check() {
                Ok(_) => {
                    // Nothing that was acknowledged is missing or altered.
                    assert_eq!(sample.check(&storage), sample.entries.len() as u64, "{case}");
                    fine += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    found += 1;
                }
            },
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("fedsx recover"), "{case}: {text}");
                refused += 1;
            }
        }
        let (salvaged, ..) = sample.salvage(untouched.path());
        if what == "flipped" {
            // A flip spoils one record.
            assert!(salvaged.unreadable.len() <= 1, "{case}: {salvaged:?}");
        }
    }
    eprintln!("{fine} harmless, {refused} refused, {found} found while reading");
    assert!(refused + found > fine / 4, "damage shows");
}

/// What is derived from the log is never a reason not to start: damage to it costs its content, at
/// the start or, where it shows later, at the next one.
#[test]
fn damaged_projections_are_made_anew() {
    let dice = Dice::new(23);
    let sample = sample(3, 120);
    let rows = {
        let storage = try_open(sample.directory.path()).unwrap();
        storage.projections().scan(b"", None, usize::MAX).unwrap()
    };
    let (mut whole, mut anew, mut later) = (0, 0, 0);
    for round in 0..rounds(24) {
        let damaged = tempfile::tempdir().unwrap();
        copy(sample.directory.path(), damaged.path());
        let path = damaged.path().join("projections/db");
        let mut bytes = fs::read(&path).unwrap();
        let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
        match round % 4 {
            0 => bytes.truncate(at),
            1 => {
                let end = (at + 40_000).min(bytes.len());
                bytes[at..end].fill(0);
            }
            2 => bytes[at..].fill(0xa5),
            _ => bytes[at] ^= 1 << dice.below(8),
        }
        fs::write(&path, &bytes).unwrap();
        let case = format!("round {round} at {at}");
        let storage = try_open(damaged.path()).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert_eq!(sample.check(&storage), sample.entries.len() as u64, "{case}");
        let found = storage.projections().scan(b"", None, usize::MAX);
        match found {
            Ok(found) if found == rows => whole += 1,
            // An earlier state, up to none at all.
            Ok(_) => anew += 1,
            Err(error) => {
                assert!(error.to_string().contains("next start"), "{case}: {error}");
                later += 1;
                drop(storage);
                let storage = try_open(damaged.path()).unwrap();
                assert!(storage.projections().scan(b"", None, 1).unwrap().is_empty(), "{case}");
                storage.projections().apply(vec![put("a", b"b")]).unwrap();
            }
        }
        assert!(!damaged.path().join("projections.damaged").exists(), "{case}");
    }
    eprintln!("{whole} harmless, {anew} made anew or cut, {later} found while reading");
    assert!(anew > 0 && anew + later > rounds(24) / 4, "damage shows");
}
