#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use fedsx_kernel::log::{MemoryStorage, Storage as _};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::tokens::Scope;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::store::MAX_REVOKED;
use super::*;

fn capabilities() -> Capabilities {
    let ledger = MemoryStorage::default().ledgers();
    Capabilities::load(ledger, &[7; 32], Runtime::system()).expect("loaded")
}

fn issued(capabilities: &Capabilities, scopes: &[Scope]) -> String {
    capabilities.issue(&"alice".parse().unwrap(), scopes, None, "").expect("issued").0
}

fn request(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn check(refusal: &Refusal) -> String {
    let (_, check) = refusal.members.iter().find(|(name, _)| *name == "failed_check").unwrap();
    check.as_str().unwrap().to_owned()
}

fn note(to: Value) -> Map<String, Value> {
    request(json!({ "type": "Create", "to": to, "object": { "type": "Note", "content": "x" } }))
}

const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_token_allows_what_it_says_and_nothing_else() {
    let held = capabilities();
    let opened = held.open(&issued(&held, &[Scope::Read, Scope::Publish])).expect("opened");
    assert_eq!(opened.grant().actor.as_str(), "alice");
    assert_eq!(opened.grant().scopes, [Scope::Publish, Scope::Read]);
    assert!(held.spend(&opened, &note(json!(PUBLIC))).is_ok());

    let other = Capabilities::load(MemoryStorage::default().ledgers(), &[8; 32], Runtime::system());
    let foreign = issued(&other.expect("loaded"), &[Scope::Publish]);
    assert_eq!(check(&held.open(&foreign).expect_err("of another instance")), "signature");
    let mut changed = issued(&held, &[Scope::Publish]).into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    assert_eq!(
        check(&held.open(std::str::from_utf8(&changed).unwrap()).expect_err("")),
        "signature"
    );
    assert!(held.open(&"A".repeat(MAX_TOKEN_BYTES + 1)).is_err());
}

#[test]
fn narrowing_only_takes_away() {
    let held = capabilities();
    let whole = issued(&held, &[Scope::Publish, Scope::Read, Scope::Admin]);
    let wish = Narrowing {
        verbs: texts(&["Create", "Like"]),
        object_types: texts(&["Note"]),
        audience: texts(&["https://a.example/users/a", "default"]),
        operations: texts(&["publish", "read"]),
        ..Narrowing::default()
    };
    let narrow_one = held.open(&narrow(&whole, &wish).expect("narrowed")).expect("opened");
    assert_eq!(narrow_one.grant().scopes, [Scope::Publish, Scope::Read], "no admin any more");
    let judged = |request: Map<String, Value>| held.spend(&narrow_one, &request).map(|_| ());
    assert!(judged(note(json!([]))).is_ok());
    assert!(judged(note(json!("https://a.example/users/a"))).is_ok());
    for (case, refused) in [
        ("another reader", note(json!("https://b.example/users/b"))),
        ("one more reader", note(json!(["https://a.example/users/a", PUBLIC]))),
        ("another verb", request(json!({ "type": "Delete", "object": { "type": "Note" } }))),
        (
            "two verbs",
            request(json!({ "type": ["Create", "Delete"], "object": { "type": "Note" } })),
        ),
        ("another type", request(json!({ "type": "Create", "object": { "type": "Article" } }))),
        ("a type that is not told", request(json!({ "type": "Like", "object": "https://x/1" }))),
        ("no verb", request(json!({ "object": { "type": "Note" } }))),
        (
            "a reader of the object",
            request(json!({ "type": "Create", "object": { "type": "Note", "cc": PUBLIC } })),
        ),
    ] {
        let refusal = judged(refused).expect_err(case);
        assert!(check(&refusal).starts_with("block 1: "), "{case}: {refusal}");
    }
    // Who narrows further cannot get back what was taken, whatever the block states.
    let more = Narrowing { verbs: texts(&["Delete"]), ..Narrowing::default() };
    let text = narrow(&narrow(&whole, &wish).unwrap(), &more).expect("narrowed");
    let twice = held.open(&text).expect("opened");
    assert!(held.spend(&twice, &note(json!([]))).is_err());
    assert!(narrow(&whole, &Narrowing::default()).is_err(), "nothing would be narrowed");
}

#[test]
fn time_and_count_end_a_token() {
    let held = capabilities();
    let whole = issued(&held, &[Scope::Publish, Scope::Read]);
    let past = Timestamp::from_second(1_000_000_000).unwrap();
    let over = Narrowing { until: Some(past), ..Narrowing::default() };
    let over = narrow(&whole, &over).expect("narrowed");
    // Reading is decided when it is opened, publishing when it is known what is said.
    let opened = held.open(&over).expect("publishing is decided later");
    assert_eq!(opened.grant().scopes, [Scope::Publish]);
    assert!(held.spend(&opened, &note(json!([]))).is_err());

    let counted = Narrowing { count: Some((2, "0123".into())), ..Narrowing::default() };
    let counted = narrow(&whole, &counted).expect("narrowed");
    let opened = held.open(&counted).expect("opened");
    let spent = held.spend(&opened, &note(json!([]))).expect("the first");
    spent.give_back().expect("it was refused");
    for turn in 0..2 {
        assert!(held.spend(&opened, &note(json!([]))).is_ok(), "{turn}");
    }
    assert!(held.spend(&opened, &note(json!([]))).is_err(), "the third");
    let further = Narrowing { verbs: texts(&["Create"]), ..Narrowing::default() };
    let further = held.open(&narrow(&counted, &further).unwrap()).expect("opened");
    assert!(held.spend(&further, &note(json!([]))).is_err(), "the count is that of its origin");
    let whole = held.open(&whole).expect("opened");
    assert!(held.spend(&whole, &note(json!([]))).is_ok(), "whose own is not counted");
}

#[test]
fn a_block_ends_with_all_that_was_narrowed_from_it() {
    let ledger = MemoryStorage::default().ledgers();
    let held = Capabilities::load(Arc::clone(&ledger), &[7; 32], Runtime::system()).unwrap();
    let whole = issued(&held, &[Scope::Publish]);
    let create = Narrowing { verbs: texts(&["Create"]), ..Narrowing::default() };
    let narrowed = narrow(&whole, &create).unwrap();
    let ids = held.open(&narrowed).unwrap().revocation_ids();
    assert_eq!(ids.len(), 2);
    assert_eq!(inspect(&narrowed).unwrap()[1].0, ids[1]);
    held.revoke(&ids[1]).expect("revoked");
    let again = Capabilities::load(ledger, &[7; 32], Runtime::system()).unwrap();
    assert_eq!(check(&again.open(&narrowed).expect_err("revoked")), "revocation");
    assert!(again.open(&whole).is_ok(), "what it came from lives on");
    again.revoke(&ids[0]).expect("revoked");
    assert!(again.open(&whole).is_err());
    assert!(again.revoke("nonsense").is_err());
}

#[test]
fn names_are_kept_within_limits() {
    let held = capabilities();
    let whole = issued(&held, &[Scope::Publish]);
    let narrowed = |n: usize| {
        let wish = Narrowing { verbs: vec![format!("V{n}")], ..Narrowing::default() };
        narrow(&whole, &wish).expect("narrowed")
    };
    for n in 0..MAX_KNOWN_OF_ACTOR + 5 {
        held.open(&narrowed(n)).expect("those beyond are valid");
    }
    let alice = "alice".parse().unwrap();
    assert_eq!(held.of_actor(&alice).len(), MAX_KNOWN_OF_ACTOR);
    let last = held.open(&narrowed(MAX_KNOWN_OF_ACTOR + 4)).unwrap().revocation_ids();
    assert!(held.known(&last[1]).is_none() && held.known(&last[0]).is_some());
    let other = held.issue(&"bob".parse().unwrap(), &[Scope::Publish], None, "").unwrap().1;
    assert!(held.known(&other[0]).is_some(), "others have room of their own");
}

#[test]
fn so_many_blocks_are_revoked_and_no_more() {
    let mut held = capabilities();
    assert_eq!(held.most_revoked, MAX_REVOKED);
    held.most_revoked = 2;
    let whole = issued(&held, &[Scope::Publish]);
    let ids: Vec<_> = (0..3)
        .map(|n| {
            let wish = Narrowing { verbs: vec![format!("V{n}")], ..Narrowing::default() };
            let narrowed = narrow(&whole, &wish).expect("narrowed");
            held.open(&narrowed).expect("opened").revocation_ids().remove(1)
        })
        .collect();
    let at = held.revoke(&ids[0]).expect("revoked");
    held.revoke(&ids[1]).expect("revoked");
    let refusal = held.revoke(&ids[2]).expect_err("one more");
    assert_eq!(refusal.problem, Problem::Conflict);
    assert!(refusal.detail.contains("master key"), "{refusal}");
    assert!(held.revoked(&ids[2]).is_none() && held.revoked(&ids[1]).is_some());
    assert_eq!(held.revoke(&ids[0]).expect("it was before"), at);
}

#[test]
fn a_token_is_narrowed_so_often_and_no_more() {
    let held = capabilities();
    let wish = Narrowing { verbs: texts(&["Create"]), ..Narrowing::default() };
    let mut token = issued(&held, &[Scope::Publish]);
    for _ in 1..MAX_BLOCKS {
        token = narrow(&token, &wish).expect("narrowed");
    }
    assert_eq!(held.open(&token).expect("as many as it may have").revocation_ids().len(), 16);
    assert!(narrow(&token, &wish).is_err(), "one more");
    // Another library does not know of the limit.
    let block = biscuit_auth::BlockBuilder::new();
    let longer = biscuit_auth::UnverifiedBiscuit::from_base64(&token).unwrap().append(block);
    let longer = longer.unwrap().to_base64().unwrap();
    assert_eq!(check(&held.open(&longer).expect_err("too many")), "blocks");
}
