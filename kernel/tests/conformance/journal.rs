//! The journal before sled: files that are torn, damaged or missing, and moves that are interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fedsx_kernel::log::{
    Head, HeadFile, LogStore, OpenError, Salvage, SledOptions, SledStorage, Storage, StoreError,
};
use serde_json::json;

use crate::damage::{Dice, copy, put, rounds, try_open};
use crate::provider::{Provider, Sled, files};
use crate::rules::Open;
use crate::samples::{Batching, body, inbox, outbox};

const HEADER: usize = 24;

fn add(log: &dyn LogStore, number: u64) -> Result<(), StoreError> {
    let batch = Batching::after(log).add(&[outbox("alice"), inbox("bob")], number, 500);
    log.append(&batch.state("count", Some(json!(number))).batch())
}

/// The journals of a store, oldest first.
fn journals(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = files(&directory.join("store"))
        .into_keys()
        .filter(|name| name.starts_with("journal."))
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

/// Waits until everything that was written is in the database.
fn moved(directory: &Path) {
    for _ in 0..2000 {
        let left = journals(directory);
        if let [one] = &left[..]
            && fs::metadata(directory.join("store").join(one)).unwrap().len() == HEADER as u64
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{:?} are left", journals(directory));
}

/// A store with entries in its journal only, and where the frames of each entry begin and end.
fn sample(count: u64) -> (tempfile::TempDir, Vec<usize>) {
    let provider = Sled::plain();
    let storage = provider.storage();
    let log = storage.log();
    let path = provider.path().join("store/journal.1");
    let mut ends = vec![HEADER];
    for number in 1..=count {
        add(&*log, number).unwrap();
        ends.push(usize::try_from(fs::metadata(&path).unwrap().len()).unwrap());
    }
    drop((log, storage));
    (provider.into_directory(), ends)
}

fn head(directory: &Path) -> u64 {
    try_open(directory).unwrap().log().head().unwrap()
}

fn note(directory: &Path, numbers: u64) {
    let head = Head { global_seq: numbers * 2, root: body(numbers, 500).0 };
    HeadFile::new(directory).write(&head).unwrap();
}

#[test]
fn what_is_in_the_journal_only_is_there_after_a_restart() {
    let (directory, ends) = sample(9);
    assert_eq!(journals(directory.path()), ["journal.1"]);
    let storage = try_open(directory.path()).unwrap();
    assert_eq!(storage.log().head().unwrap(), 18);
    assert_eq!(storage.log().state().get("count").unwrap(), Some(json!(9)));
    add(&*storage.log(), 10).unwrap();
    drop(storage);
    let length = fs::metadata(directory.path().join("store/journal.1")).unwrap().len();
    assert!(length > *ends.last().unwrap() as u64, "the same journal goes on");
    assert_eq!(head(directory.path()), 20);
}

/// It is moved after a while, without anybody asking, and by an orderly end.
#[test]
fn the_journal_is_moved_into_the_database() {
    let options = SledOptions { move_after: Duration::from_millis(5), ..SledOptions::default() };
    let provider = Sled::with(options);
    let storage = provider.storage();
    for number in 1..4 {
        add(&*storage.log(), number).unwrap();
    }
    moved(&provider.path());
    assert_eq!(storage.log().head().unwrap(), 6);
    let provider = Sled::plain();
    let storage = provider.storage();
    add(&*storage.log(), 1).unwrap();
    storage.ledgers().apply(vec![put("a", b"b")]).unwrap();
    storage.settle().unwrap();
    moved(&provider.path());
    storage.settle().unwrap();
    assert_eq!(journals(&provider.path()), ["journal.2"], "there was nothing to move");
    drop(storage);
    let provider = provider.reopen();
    assert_eq!(provider.storage().log().head().unwrap(), 2);
    assert_eq!(provider.storage().ledgers().get(b"a").unwrap(), Some(b"b".to_vec()));
}

/// A frame that was being written when the power went was not acknowledged.
#[test]
fn a_torn_end_is_cut_off() {
    let (directory, ends) = sample(5);
    let path = directory.path().join("store/journal.1");
    let whole = fs::read(&path).unwrap();
    let (from, to) = (ends[4], ends[5]);
    let step = (to - from) / 12;
    for cut in (from..to).step_by(step) {
        for filled in [false, true] {
            let mut bytes = whole[..cut].to_vec();
            if filled {
                bytes.resize(to + 300, 0);
            }
            fs::write(&path, bytes).unwrap();
            note(directory.path(), 4);
            assert_eq!(head(directory.path()), 8, "cut at {cut}");
            assert_eq!(fs::metadata(&path).unwrap().len(), from as u64, "cut at {cut}");
        }
        // An entry that was noted as durable is missing: nothing is cut off then.
        fs::write(&path, &whole[..cut]).unwrap();
        note(directory.path(), 5);
        let refused = try_open(directory.path()).err().expect("refused").to_string();
        assert!(refused.contains("fedsx recover"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), whole[..cut], "cut at {cut}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(head(directory.path()), 10);
}

/// A place that cannot be read before frames that say that it was durable is damage, and is named.
#[test]
fn damage_is_named_and_what_is_good_is_saved() {
    let dice = Dice::new(41);
    let (directory, ends) = sample(6);
    let path = directory.path().join("store/journal.1");
    let whole = fs::read(&path).unwrap();
    for round in 0..rounds(60) {
        let frame = usize::try_from(dice.below(5)).unwrap();
        let length = (ends[frame + 1] - ends[frame]) as u64;
        let at = ends[frame] + usize::try_from(dice.below(length)).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << dice.below(8);
        fs::write(&path, &bytes).unwrap();
        let case = format!("round {round}: byte {at} of frame {frame}");
        let refused = try_open(directory.path()).err().expect("refused");
        let place = format!("store/journal.1 at byte {}", ends[frame]);
        assert!(
            matches!(&refused, OpenError::Damaged { place: found, .. } if *found == place),
            "{case}: {refused}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes, "{case}: it is not changed");
        let salvage = Salvage::scan(directory.path(), &mut |_, _| {}).unwrap();
        assert!(salvage.is_holed(), "{case}");
        assert_eq!(salvage.unreadable()[0].file, "store/journal.1");
        let target = tempfile::tempdir().unwrap();
        let into = SledStorage::open(target.path()).unwrap();
        // Bodies of the samples are no activities, so nothing is taken over; it is counted.
        let salvaged = salvage.restore(&into, &Open::default(), &mut |_, _| {}).unwrap();
        assert_eq!(salvaged.beyond, 10, "{case}: all but the two entries of one frame");
    }
    for round in 0..rounds(30) {
        let at = usize::try_from(dice.below(HEADER as u64)).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << dice.below(8);
        fs::write(&path, &bytes).unwrap();
        let refused = try_open(directory.path()).err().expect("refused").to_string();
        assert!(refused.contains("store/journal.1 at byte 0"), "round {round}: {refused}");
    }
}

/// Two journals: the rows of the first one wait to be moved.
fn two_journals() -> (Sled, Vec<String>) {
    let options = SledOptions { memory_bytes: 2000, reserve_bytes: 0, ..SledOptions::default() };
    let provider = Sled::with(SledOptions { compress: false, ..options });
    provider.device.room.store(0, Ordering::SeqCst);
    let storage = provider.storage();
    let mut number = 0;
    while journals(&provider.path()).len() < 2 {
        number += 1;
        add(&*storage.log(), number).unwrap();
    }
    add(&*storage.log(), number + 1).unwrap();
    let names = journals(&provider.path());
    (provider, names)
}

/// Where there is no room to move anything, so much is taken as memory may hold, and no more; with
/// room, it goes on.
#[test]
fn without_room_to_move_it_is_full_and_goes_on_later() {
    let (provider, names) = two_journals();
    assert_eq!(names, ["journal.1", "journal.2"]);
    let storage = provider.storage();
    let log = storage.log();
    let full = (100..200).find_map(|number| add(&*log, number).err()).expect("it is full");
    assert!(matches!(full, StoreError::Full(_)), "{full}");
    let held = log.head().unwrap();
    storage.sync().unwrap();
    assert_eq!(journals(&provider.path()).len(), 2);
    provider.device.room.store(u64::MAX, Ordering::SeqCst);
    storage.settle().unwrap();
    moved(&provider.path());
    add(&*log, 300).unwrap();
    assert_eq!(log.head().unwrap(), held + 2);
    let seen = log.read(0, 1000).unwrap();
    assert_eq!(seen.len() as u64, held + 2);
}

#[test]
fn journals_are_read_in_order_and_none_may_be_missing() {
    let (provider, names) = two_journals();
    let head_before = provider.storage().log().head().unwrap();
    let place = tempfile::tempdir().unwrap();
    copy(&provider.path(), place.path());
    let store = place.path().join("store");
    let first = fs::read(store.join(&names[0])).unwrap();
    fs::remove_file(store.join(&names[0])).unwrap();
    let refused = try_open(place.path()).err().expect("refused").to_string();
    assert!(refused.contains("journal.1 is missing"), "{refused}");
    // What ends early is damage where another one follows.
    fs::write(store.join(&names[0]), &first[..first.len() - 1]).unwrap();
    let refused = try_open(place.path()).err().expect("refused").to_string();
    assert!(refused.contains("store/journal.1 at byte"), "{refused}");
    fs::write(store.join(&names[0]), &first).unwrap();
    let storage = try_open(place.path()).unwrap();
    assert_eq!(storage.log().head().unwrap(), head_before);
    storage.settle().unwrap();
    drop(storage);
    let left = journals(place.path());
    assert_eq!(left.len(), 1, "{left:?}");
    // One that was moved and is there again is not read again.
    fs::write(store.join("journal.1"), &first).unwrap();
    let storage = try_open(place.path()).unwrap();
    assert_eq!(storage.log().state().get("count").unwrap(), Some(json!(head_before / 2)));
    drop(storage);
    assert_eq!(journals(place.path()), left);
    // The one that is written to belongs to the database.
    fs::remove_file(store.join(&left[0])).unwrap();
    let refused = try_open(place.path()).err().expect("refused").to_string();
    assert!(refused.contains("is missing"), "{refused}");
}

/// A journal whose header was being written when the power went.
#[test]
fn a_journal_that_was_being_made_is_made_again() {
    let (directory, _) = sample(3);
    let store = directory.path().join("store");
    for bytes in [&b""[..], b"fedsxjnl", &[0; HEADER]] {
        fs::write(store.join("journal.2"), bytes).unwrap();
        let storage = try_open(directory.path()).unwrap();
        assert_eq!(storage.log().head().unwrap(), 6);
        drop(storage);
    }
    fs::write(store.join("journal.2"), b"").unwrap();
    let storage = try_open(directory.path()).unwrap();
    storage.settle().unwrap();
    add(&*storage.log(), 4).unwrap();
    drop(storage);
    assert_eq!(head(directory.path()), 8);
}

/// A sync that fails poisons; what was written with it shows after a restart or never.
#[test]
fn a_move_that_fails_poisons_and_loses_nothing() {
    let provider = Sled::plain();
    let storage = provider.storage();
    for number in 1..4 {
        add(&*storage.log(), number).unwrap();
    }
    provider.device.sync_fails.store(true, Ordering::SeqCst);
    assert!(storage.settle().is_err());
    assert!(matches!(add(&*storage.log(), 4), Err(StoreError::Poisoned(_))));
    assert_eq!(storage.log().read(0, 99).unwrap().len(), 6, "reads go on");
    drop(storage);
    let provider = provider.reopen();
    assert_eq!(provider.storage().log().head().unwrap(), 6);
}

/// A power cut leaves any of the blocks that were not synced, also in the middle of a move: the log
/// opens and has everything that was acknowledged, and whole batches of the rest.
#[test]
fn torn_writes_open() {
    let dice = Dice::new(11);
    for start in 0..rounds(1) {
        torn_writes(&dice, start);
    }
}

fn torn_writes(dice: &Dice, start: u64) {
    let provider = Sled::plain();
    let storage = provider.storage();
    let log = storage.log();
    let (directory, store) = (provider.path(), provider.path().join("store"));
    let mut number = 0;
    for round in 0..10 {
        let before = tempfile::tempdir().unwrap();
        copy(&directory, before.path());
        let acknowledged = log.head().unwrap();
        if let Some(entry) = log.read(acknowledged.saturating_sub(1), 1).unwrap().first() {
            let noted = Head { global_seq: entry.global_seq, root: entry.cid };
            HeadFile::new(before.path()).write(&noted).unwrap();
        }
        // What an earlier round left without a sync may be lost in this one.
        storage.sync().unwrap();
        let mut durable = files(&store);
        *provider.device.watched.lock().unwrap() = Some((store.clone(), Vec::new()));
        for _ in 0..1 + dice.below(3) {
            let count = dice.below(if round % 3 == 0 { 900 } else { 60 });
            let fill = u8::try_from(dice.below(256)).unwrap();
            let row = |_| put(&format!("row {}", dice.below(2000)), &[fill; 700]);
            storage.ledgers().apply((0..count).map(row).collect()).unwrap();
        }
        if dice.below(3) == 0 {
            storage.settle().unwrap();
        }
        let mut batch = Batching::after(&*log);
        for _ in 0..1 + dice.below(if round % 5 == 0 { 400 } else { 12 }) {
            let size = usize::try_from(50 + dice.below(6000)).unwrap();
            batch = batch.add(&[outbox("alice"), inbox("bob")], number, size);
            number += 1;
        }
        batch.state("count", Some(json!(number))).append(&*log);
        let after = log.head().unwrap();
        if dice.below(2) == 0 {
            storage.settle().unwrap();
        }
        let (_, seen) = provider.device.watched.lock().unwrap().take().unwrap();
        let count = seen.len() as u64;
        for (index, seen) in seen.into_iter().enumerate() {
            // Some six for each round.
            for _ in 0..u64::from(dice.below(count) < 6) {
                let case = format!("start {start} round {round} sync {index} of {}", seen.synced);
                let torn = tempfile::tempdir().unwrap();
                copy(before.path(), torn.path());
                cut_power(dice, &durable, &seen.files, &torn.path().join("store"));
                let opened = try_open(torn.path()).unwrap_or_else(|e| panic!("{case}: {e}"));
                let found = opened.log().head().unwrap();
                assert!(
                    found == acknowledged || found == after,
                    "{case}: {acknowledged} {found} {after}"
                );
                opened.check().unwrap_or_else(|e| panic!("{case}: {e}"));
                for entry in opened.log().read(0, usize::MAX).unwrap() {
                    assert!(opened.log().body(&entry.cid).unwrap().is_some(), "{case}");
                }
            }
            durable.retain(|name, _| seen.files.contains_key(name));
            let synced = seen.files.get(&seen.synced).unwrap().clone();
            durable.insert(seen.synced, synced);
            for (name, bytes) in seen.files {
                durable.entry(name).or_insert(bytes);
            }
        }
    }
}

/// Leaves of each file some blocks as they were synced, some as they were written since.
fn cut_power(
    dice: &Dice,
    durable: &BTreeMap<String, Vec<u8>>,
    written: &BTreeMap<String, Vec<u8>>,
    store: &Path,
) {
    for name in files(store).keys() {
        fs::remove_file(store.join(name)).unwrap();
    }
    for (name, new) in written {
        let bytes = match durable.get(name) {
            Some(old) => mixed(dice, old, new),
            // The header of a new journal is durable before it is written to.
            None if name.starts_with("journal.") => mixed(dice, &new[..HEADER.min(new.len())], new),
            None => new.clone(),
        };
        fs::write(store.join(name), bytes).unwrap();
    }
}

/// Some blocks as they were at one sync, some as they were handed over before the next one.
fn mixed(dice: &Dice, old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut mixed = old.to_vec();
    if dice.below(4) > 0 {
        mixed.resize(new.len().max(old.len()), 0);
    }
    let keep = dice.below(5);
    for (index, block) in mixed.chunks_mut(4096).enumerate() {
        let from = index * 4096;
        if dice.below(4) < keep
            && let Some(new) = new.get(from..(from + block.len()).min(new.len()))
        {
            block[..new.len()].copy_from_slice(new);
        }
    }
    mixed
}
