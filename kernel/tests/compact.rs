//! A sled store that is written anew: nothing of what was replaced is left in its files, and an
//! interruption at any moment loses nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use fedsx_kernel::activity::Body;
use fedsx_kernel::log::{
    Batch, CompactError, Copied, Entry, Erasure, LogStore, Meta, OnceValue, OpenError, SledOptions,
    SledStorage, Storage as _, Stream,
};
use fedsx_kernel::{Activity, Cid};
use serde_json::{Value, json};

const SECRET: &str = "plugh-4d5e-plugh";

fn activity(seq: u64, text: &str) -> Activity {
    let salt = if text.contains(SECRET) { SECRET } else { "another" };
    let content = json!({
        "type": "Create", "actor": "https://here.example/actors/alice", "seq": seq,
        "salt": salt, "object": { "type": "Note", "content": text },
    });
    Activity::seal(content.as_object().unwrap().clone()).unwrap()
}

fn stub(of: &Activity) -> Body {
    let left = json!({
        "type": "Create", "actor": of.actor(), "seq": of.get("seq"), "object": { "type": "Note" },
    });
    of.stub(left.as_object().unwrap().clone()).unwrap().to_body().unwrap()
}

fn add(log: &dyn LogStore, stream: Stream, of: &Activity, more: impl FnOnce(&mut Batch)) {
    let global_seq = log.head().unwrap() + 1;
    let entry = Entry {
        global_seq,
        stream_seq: log.stream_len(&stream).unwrap(),
        stream,
        cid: *of.cid(),
        first: true,
        meta: Meta::default(),
    };
    let mut batch = Batch { entries: vec![entry], ..Batch::default() };
    batch.bodies.push((*of.cid(), of.to_body().unwrap(), None));
    let fingerprint = Some(format!("fingerprint-{global_seq}"));
    let used = OnceValue { global_seq, cid: *of.cid(), fingerprint };
    batch.once.push((format!("once {global_seq}"), used));
    more(&mut batch);
    log.append(&batch).unwrap();
}

/// A store with two bodies that were erased, one of them in pieces, and one that was not.
fn erased() -> (tempfile::TempDir, [Cid; 3]) {
    let directory = tempfile::tempdir().unwrap();
    // Texts are looked for in the files.
    let options = SledOptions { compress: false, ..SledOptions::default() };
    let storage = SledStorage::open_with(directory.path(), options).unwrap();
    let log = storage.log();
    let alice = Stream::Outbox("alice".parse().unwrap());
    let small = activity(0, &format!("a {SECRET}"));
    let large = activity(1, &format!("{SECRET} {}", "x".repeat(20_000)));
    let kept = activity(2, "kept");
    for of in [&small, &large, &kept] {
        add(&*log, alice.clone(), of, |_| ());
    }
    storage.ledgers().apply(vec![(b"k".to_vec(), Some(b"v".to_vec()))]).unwrap();
    storage.ledgers().apply(vec![(b"gone".to_vec(), Some(SECRET.into()))]).unwrap();
    storage.ledgers().apply(vec![(b"gone".to_vec(), None)]).unwrap();
    storage.projections().apply(vec![(b"p".to_vec(), Some(SECRET.into()))]).unwrap();
    for (number, of) in [&small, &large].into_iter().enumerate() {
        add(&*log, Stream::Local, &activity(10 + number as u64, "a record"), |batch| {
            let cid = *of.cid();
            batch.bodies[0].1 = activity(10 + number as u64, "a record").to_body().unwrap();
            batch.erasures = vec![Erasure { cid, stub: stub(of), entries: Vec::new() }];
        });
    }
    storage.sync().unwrap();
    (directory, [*small.cid(), *large.cid(), *kept.cid()])
}

fn holds(directory: &Path, needle: &str) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        let bytes = fs::read(&path).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    })
}

fn compact(directory: &Path) -> Result<fedsx_kernel::log::Compacted, CompactError> {
    // What was just closed may still be held by threads that are about to end.
    for _ in 0..2000 {
        match SledStorage::compact(directory, &mut |_| ControlFlow::Continue(())) {
            Err(CompactError::Open(OpenError::InUse(_))) => {
                std::sync::mpsc::channel::<()>()
                    .1
                    .recv_timeout(std::time::Duration::from_millis(5))
                    .unwrap_err();
            }
            other => return other,
        }
    }
    panic!("the store stays in use");
}

fn is_whole(directory: &Path, cids: &[Cid; 3]) {
    let storage = SledStorage::open(directory).unwrap();
    let log = storage.log();
    assert_eq!(log.head().unwrap(), 5);
    let body = |cid: &Cid| log.body(cid).unwrap().unwrap();
    assert!(body(&cids[0]).erased.is_some() && body(&cids[1]).erased.is_some());
    assert_eq!(
        Activity::from_body(&body(&cids[2])).unwrap().get("object").unwrap()["content"],
        "kept"
    );
    assert_eq!(storage.ledgers().get(b"k").unwrap(), Some(b"v".to_vec()));
    assert_eq!(storage.ledgers().get(b"gone").unwrap(), None);
    let fingerprint = |n: u64| log.once(&format!("once {n}")).unwrap().unwrap().fingerprint;
    assert_eq!((fingerprint(1), fingerprint(2)), (None, None), "of what was erased");
    assert!(fingerprint(3).is_some());
    storage.check().unwrap();
}

#[test]
fn nothing_is_left_in_the_files() {
    let (directory, cids) = erased();
    let path = directory.path();
    let compacted = compact(path).unwrap();
    assert_eq!(compacted.global_seq, 5);
    assert!(compacted.bytes_before > 0 && compacted.bytes_after > 0);
    for needle in [SECRET, "fingerprint-1", "fingerprint-2"] {
        assert!(!holds(path, needle), "{needle} is left");
    }
    assert!(holds(path, "fingerprint-3"), "the search finds what is there");
    assert!(!path.join("compact").exists());
    is_whole(path, &cids);
    let again = compact(path).unwrap();
    assert_eq!(again.rows, compacted.rows);
    is_whole(path, &cids);
}

#[test]
fn a_store_in_use_is_left_alone() {
    let (directory, cids) = erased();
    let path = directory.path();
    compact(path).unwrap();
    let storage = SledStorage::open(path).unwrap();
    let refused = SledStorage::compact(path, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(CompactError::Open(OpenError::InUse(_)))));
    drop(storage);
    compact(path).unwrap();
    is_whole(path, &cids);
}

#[test]
fn interruptions_lose_nothing() {
    let (directory, cids) = erased();
    let path = directory.path();
    // Stopped while it copies.
    let stopped = SledStorage::compact(path, &mut |_: Copied| ControlFlow::Break(()));
    assert!(stopped.is_err() && !path.join("compact").exists());
    // Killed while it copies: what is left is of no use.
    fs::create_dir_all(path.join("compact/store")).unwrap();
    fs::write(path.join("compact/store/db"), b"half").unwrap();
    compact(path).unwrap();
    is_whole(path, &cids);
    fs::create_dir_all(path.join("compact/old")).unwrap();
    fs::write(path.join("compact/old/db"), SECRET).unwrap();
    is_whole(path, &cids);
    assert!(!path.join("compact").exists(), "the next opening tidies up");
    // Killed between the two renames.
    fs::create_dir_all(path.join("compact")).unwrap();
    fs::rename(path.join("store"), path.join("compact/store")).unwrap();
    is_whole(path, &cids);
    assert!(path.join("store").exists() && !path.join("compact").exists());
    let state: Option<Value> = SledStorage::open(path).unwrap().log().state().get("x").unwrap();
    assert_eq!(state, None);
}
