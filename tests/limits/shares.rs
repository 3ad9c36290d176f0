//! Shares of requests: of addresses, of actors by their tokens, of peers by what they sign.

use fedsx_delivery::signature::Scheme;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::runtime::OsRandom;
use serde_json::{Value, json};

use super::{passed_on, with};
use crate::support::client::Answer;
use crate::support::peer::{Foreign, fetch_signed};
use crate::support::{ACTIVITY_JSON, PATIENCE, Peer, Sign, eventually};

/// Asks until that is too often; gives how often it was not, and the refusal.
#[track_caller]
fn until_refused(mut ask: impl FnMut(usize) -> Answer) -> (usize, Value) {
    for asked in 0..400 {
        let answer = ask(asked);
        if answer.status == 429 {
            let wait = answer.header("retry-after").parse::<u64>();
            assert!(wait.as_ref().is_ok_and(|wait| (1..=10).contains(wait)), "{wait:?}");
            return (asked, answer.refused(429, "too-many-requests", "too often"));
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    panic!("no limit");
}

#[test]
fn addresses_and_actors_have_shares_of_requests() {
    let node = with(&[
        ("trusted-proxies", "127.0.0.1"),
        ("requests-per-second", "1"),
        ("actor-requests-per-second", "3"),
    ]);
    let (anyone, path) = (node.client(), "/nodeinfo/2.1");
    let (asked, _) = until_refused(|_| passed_on(anyone, path, "2001:db8::1"));
    assert!(asked >= 10, "ten seconds' worth at once: {asked}");
    let refused = |for_whom: &str, case: &str| {
        // As the share grows again all the while, it is used up first.
        until_refused(|_| passed_on(anyone, path, "2001:db8::1"));
        passed_on(anyone, path, for_whom).refused(429, "too-many-requests", case);
    };
    refused("2001:db8::ffff:2", "another address of its network");
    refused("198.51.100.1, 2001:db8::1", "what a client writes itself does not count");
    passed_on(anyone, path, "2001:db8:0:1::1").expect(200, "another network");
    passed_on(anyone, path, "198.51.100.1").expect(200, "another address");
    for path in ["/livez", "/readyz"] {
        passed_on(anyone, path, "2001:db8::1").expect(200, "health is not counted");
    }
    passed_on(anyone, "/metrics", "127.0.0.1").refused(404, "not-found", "through a proxy");

    // Tokens of one actor count together, wherever they are presented.
    let from = |n: usize| format!("192.0.2.{}", n % 250);
    let wish = json!({ "actor": "alice", "scopes": ["publish", "read"], "capability": true });
    let headers = [("x-forwarded-for", "198.51.100.9")];
    let made = node.admin().post_with("/admin/tokens", &wish, &headers).expect(201, "a capability");
    let phone = node.client().with_secret(made.json()["secret"].as_str().expect("a token"));
    let alice = node.as_actor("alice");
    let (asked, problem) = until_refused(|n| passed_on(&alice, "/token", &from(n)));
    assert!(asked >= 30, "ten seconds' worth at once: {asked}");
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("alice")), "{problem}");
    until_refused(|n| passed_on(&alice, "/token", &from(n + 100)));
    let other = passed_on(&phone, "/token", "203.0.113.1");
    other.refused(429, "too-many-requests", "a capability of the same actor");
    passed_on(&node.as_actor("bob"), "/token", "203.0.113.2").expect(200, "another actor");
    passed_on(anyone, path, "203.0.113.3").expect(200, "and whoever has no token");
}

/// Reads are counted against the peer of who signed them, wherever they come from; what nobody of it
/// signed, and what it delivers, is not.
#[test]
fn peers_have_shares_of_signed_reads() {
    let node = with(&[
        ("peer-reads-per-second", "1"),
        ("requests-per-second", "0"),
        ("authorized-fetch", "true"),
    ]);
    node.create("alice");
    let (alice, path) = (node.actor("alice"), "/actors/alice/outbox");
    let (busy, calm) = (Peer::start(), Peer::start());
    let (mallory, eve, trent) = (busy.actor("mallory"), busy.actor("eve"), calm.actor("trent"));
    let read = |by: &Foreign, path: &str| by.fetch(&node, path, ACTIVITY_JSON);
    let mut eve_once = Some(read(&eve, path));
    let (asked, problem) =
        until_refused(|_| eve_once.take().unwrap_or_else(|| read(&mallory, path)));
    assert!(asked >= 10, "ten seconds' worth at once: {asked}");
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("reads")), "{problem}");
    for (by, path, case) in [
        (&eve, path, "another actor of it"),
        (&mallory, "/actors/alice", "where others are shown a part"),
        (&mallory, "/projections/objects", "a projection"),
    ] {
        // As the share grows again all the while, it is used up first.
        until_refused(|_| read(&mallory, "/actors/alice/followers"));
        read(by, path).refused(429, "too-many-requests", case);
    }
    let letter = mallory.note("still heard", &[&alice]);
    let answer = mallory.deliver(&node, "/actors/alice/inbox", &letter, Sign::Cavage);
    answer.expect(202, "deliveries have a share of their own");
    node.client().get("/actors/alice").expect(200, "and so has whoever signs nothing");

    // Who claims to be Trent uses up nothing of his.
    read(&trent, path).expect(200, "another peer");
    let thief = SecretKey::generate_ed25519(&OsRandom);
    for _ in 0..20 {
        let by = (trent.key_id.as_str(), &thief);
        let answer = fetch_signed(&node, path, ACTIVITY_JSON, Scheme::Rfc9421, by);
        answer.refused(401, "invalid-signature", "another key");
    }
    read(&trent, path).expect(200, "his share is whole");
    eventually(PATIENCE, "the share grows again", || {
        (read(&mallory, path).status == 200).then_some(())
    });
}
