#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

use super::*;
use crate::log::{MemoryStorage, Storage as _, Table};
use crate::refusal::Refusal;
use crate::runtime::{Clock, SeededRandom};

struct At(AtomicI64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

fn at(second: i64) -> Arc<At> {
    Arc::new(At(AtomicI64::new(second)))
}

fn check(refusal: &Refusal) -> String {
    let (_, check) = refusal.members.iter().find(|(name, _)| *name == "failed_check").unwrap();
    check.as_str().unwrap().to_owned()
}

fn new(label: &str, expires: Option<i64>) -> NewToken {
    NewToken {
        actor: "alice".parse().unwrap(),
        scopes: vec![Scope::Read, Scope::Publish, Scope::Read],
        label: label.to_owned(),
        expires: expires.map(|second| Timestamp::from_second(second).unwrap()),
    }
}

fn stored(ledger: &Arc<dyn Table>) -> Vec<u8> {
    let pairs = ledger.scan(b"", None, 100).unwrap();
    pairs.into_iter().flat_map(|(key, value)| [key, value].concat()).collect()
}

#[test]
fn specs() {
    let spec: TokenSpec = "alice=correct-horse:publish,admin".parse().expect("spec");
    assert_eq!(spec.scopes, [Scope::Publish, Scope::Admin]);
    assert!(!format!("{spec:?}").contains("horse"));
    for bad in
        ["alice", "alice=short", "Alice=correct-horse", "alice=correct-horse:root", "a=with space1"]
    {
        assert!(bad.parse::<TokenSpec>().is_err(), "{bad}");
    }
}

#[test]
fn configured_tokens_end_with_their_configuration() {
    let ledger = MemoryStorage::default().ledgers();
    let tokens = Tokens::load(ledger.clone(), [1; 32], at(0)).expect("load");
    tokens.configure(&["alice=correct-horse".parse().expect("spec")]);
    let grant = tokens.find("correct-horse").expect("found");
    assert_eq!(check(&tokens.find("correct-hors").expect_err("another")), "known");
    let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    assert!(authorize(Some(&grant), Request::Publish(&alice)).is_ok());
    assert!(authorize(Some(&grant), Request::Publish(&bob)).is_err());
    assert!(authorize(Some(&grant), Request::Admin).is_err());
    assert!(authorize(None, Request::Publish(&alice)).is_err());
    assert!(matches!(tokens.revoke(&grant.token_id), Err(TokenError::Configured(_))));
    tokens.configure(&["bob=battery-staple".parse().expect("spec")]);
    assert!(tokens.find("correct-horse").is_err());
    assert!(stored(&ledger).is_empty(), "nothing is kept of them");
}

#[test]
fn tokens_that_older_versions_kept_end() {
    let ledger = MemoryStorage::default().ledgers();
    let old = br#"{"token_id":"00","actor":"alice","scopes":["publish"]}"#.to_vec();
    ledger.apply(vec![([b"token\0".as_slice(), &[7; 32]].concat(), Some(old))]).unwrap();
    let tokens = Tokens::load(ledger.clone(), [1; 32], at(0)).expect("load");
    assert!(tokens.list().is_empty());
    assert!(stored(&ledger).is_empty());
}

#[test]
fn issued_tokens_are_kept_hashed_and_survive_until_they_end() {
    let (ledger, clock, random) =
        (MemoryStorage::default().ledgers(), at(1_000), SeededRandom::new(1));
    let tokens = Tokens::load(ledger.clone(), [1; 32], clock.clone()).expect("load");
    let forever = tokens.issue(new("a phone", None), &random).expect("issued");
    let short = tokens.issue(new("", Some(1_100)), &random).expect("issued");
    assert_eq!(forever.info.grant.scopes, [Scope::Publish, Scope::Read]);
    assert!(!format!("{forever:?}").contains(&forever.secret));
    let secret = forever.secret.as_bytes();
    assert!(!stored(&ledger).windows(secret.len()).any(|window| window == secret));

    let again = Tokens::load(ledger.clone(), [1; 32], clock.clone()).expect("load");
    assert_eq!(again.find(&forever.secret).unwrap(), forever.info.grant);
    assert!(again.find(&short.secret).is_ok());
    assert!(again.list()[0].last_used.is_some());
    let other = Tokens::load(ledger.clone(), [2; 32], clock.clone()).expect("load");
    assert_eq!(check(&other.find(&forever.secret).expect_err("another instance")), "known");

    clock.0.store(1_100, Ordering::Relaxed);
    assert_eq!(check(&again.find(&short.secret).expect_err("over")), "expiry");
    again.revoke(&forever.info.grant.token_id).expect("revoked");
    assert_eq!(check(&again.find(&forever.secret).expect_err("over")), "revocation");
    let later = Tokens::load(ledger, [1; 32], clock).expect("load");
    assert_eq!(check(&later.find(&forever.secret).expect_err("still")), "revocation");
    assert!(matches!(later.revoke("nothing"), Err(TokenError::NotFound(_))));
}

#[test]
fn impossible_tokens_are_refused() {
    let ledger = MemoryStorage::default().ledgers();
    let tokens = Tokens::load(ledger, [1; 32], at(1_000)).expect("load");
    let random = SeededRandom::new(1);
    for new in [
        NewToken { scopes: Vec::new(), ..new("", None) },
        new("", Some(1_000)),
        new(&"x".repeat(101), None),
        new("two\nlines", None),
    ] {
        assert!(tokens.issue(new.clone(), &random).is_err(), "{new:?}");
    }
    assert!(tokens.list().is_empty());
}

#[test]
fn tokens_that_ended_make_room_for_new_ones() {
    let (ledger, clock, random) =
        (MemoryStorage::default().ledgers(), at(1_000), SeededRandom::new(1));
    let mut tokens = Tokens::load(ledger.clone(), [1; 32], clock.clone()).expect("load");
    assert_eq!(tokens.most, MAX_ISSUED);
    tokens.most = 3;
    let issue = |expires| tokens.issue(new("", expires), &random);
    let [short, long, forever] =
        [Some(1_100), Some(1_200), None].map(|expires| issue(expires).expect("there is room"));
    let refusal = issue(None).expect_err("there is none");
    assert!(matches!(refusal, TokenError::TooMany(3)), "{refusal}");
    assert!([&short, &long, &forever].iter().all(|held| tokens.find(&held.secret).is_ok()));
    clock.0.store(1_100, Ordering::Relaxed);
    tokens.revoke(&forever.info.grant.token_id).expect("revoked");
    clock.0.store(1_150, Ordering::Relaxed);
    let newer = [None, None].map(|expires| issue(expires).expect("two ended"));
    assert!(issue(None).is_err(), "and no more");
    for ended in [&short, &forever] {
        assert_eq!(check(&tokens.find(&ended.secret).expect_err("it ended")), "known");
    }
    let again = Tokens::load(ledger, [1; 32], clock).expect("load");
    assert_eq!(again.list().len(), 3, "what was forgotten is not in the ledger either");
    assert!(newer.iter().chain([&long]).all(|held| again.find(&held.secret).is_ok()));
}
