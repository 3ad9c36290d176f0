//! Moderation: decisions take effect at once for inboxes, deliveries, fetches and what is shown, and
//! end as soon as they are taken back.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::operator::As;
use crate::support::node::{Node, Spec, secret};
use crate::support::{ACTIVITY_JSON, PATIENCE, PUBLIC, Peer, Sign, eventually};

fn authority(base: &str) -> &str {
    base.split_once("://").expect("a base").1
}

fn delivery(node: &Node, cid: &str, peer: &str) -> Value {
    let path = format!("/admin/delivery/{cid}");
    let all = node.admin().get(&path).expect(200, "the deliveries").json();
    let items = all["items"].as_array().expect("items").clone();
    items.into_iter().find(|item| item["peer"] == peer).unwrap_or(Value::Null)
}

/// A domain is blocked: nothing is taken from it, nothing sent, nothing fetched; all of it goes on
/// when the block is lifted.
#[test]
fn a_blocked_domain_is_out_at_once_and_in_again_when_it_is_lifted() {
    let (a, b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    a.follow("alice", &b.actor("bob"));
    b.follow("bob", &a.actor("alice"));
    let operator = As::operator(&a);
    let domain = authority(&b.base);
    let blocked = operator.json(&["moderation", "block", domain, "--reason", "a wave of spam"]);
    assert_eq!(blocked["action"], "block");
    assert_eq!(blocked["subject"], domain);
    assert_eq!(blocked["by"], a.actor("operator"), "who: {blocked}");
    assert_eq!(blocked["reason"], "a wave of spam");
    assert!(blocked["published"].is_string(), "when: {blocked}");
    assert_eq!(blocked["public"], false);
    let again = operator.json(&["peer", "block", domain]);
    assert_eq!(again["cid"], blocked["cid"], "what stands is not decided twice");

    // Inbox.
    let before = a.settled_head();
    let refused = b.note("bob", "from behind the block");
    let parked = eventually(PATIENCE, "the delivery is refused", || {
        Some(delivery(&b, &refused.cid, &a.base)).filter(|found| found["status"] == "parked")
    });
    assert_eq!(parked["timeline"][0]["status"], 403, "{parked}");
    assert!(parked["timeline"][0]["reason"].as_str().expect("why").contains("blocked"));
    assert_eq!(a.head(), before, "nothing was appended");
    // Delivery.
    let held = a.note("alice", "to everyone who follows");
    let waiting = eventually(PATIENCE, "it is queued", || {
        Some(delivery(&a, &held.cid, &b.base)).filter(|found| found["status"] == "queued")
    });
    assert_eq!(waiting["attempts"], 0, "nothing is tried: {waiting}");
    let peers = operator.json(&["peer", "show", &b.base]);
    assert_eq!(peers["blocked"], true, "{peers}");
    // Fetch, both ways.
    let account = format!("acct:bob@{domain}");
    let path = format!("/.well-known/webfinger?resource={account}");
    a.as_actor("alice").get(&path).refused(403, "blocked", "nothing is fetched");
    let probe = operator.fails_with(&["peer", "probe", &b.base]);
    assert!(probe.contains("blocked"), "{probe}");
    let follow = json!({ "type": "Follow", "object": b.actor("bob") });
    a.as_actor("alice").post("/activity", &follow).refused(403, "blocked", "nobody follows there");
    assert!(delivery(&a, &held.cid, &b.base)["timeline"].as_array().expect("none").is_empty());

    // Lifted.
    let undone = operator.json(&["moderation", "undo", domain, "--reason", "they cleaned up"]);
    assert_eq!(undone["undone"][0]["decision"], blocked["cid"]);
    operator.fails(&["moderation", "undo", domain], "not-found");
    b.receives("bob", &held.id);
    let after = b.note("bob", "here again");
    a.receives("alice", &after.id);
    As::operator(&b).works(&["dead-letter", "replay", "--peer", &a.base]);
    a.receives("alice", &refused.id);
    a.as_actor("alice").get(&path).expect(200, "it is fetched again");
    assert_eq!(operator.json(&["moderation", "list"]), json!([]));

    let history = operator.json(&["moderation", "history", domain]);
    let items = history["items"].as_array().expect("items");
    assert_eq!(items.len(), 2, "{history}");
    assert_eq!(items[0]["undoes"], blocked["id"]);
    assert_eq!(items[0]["reason"], "they cleaned up");
    assert_eq!(items[1]["cid"], blocked["cid"]);
}

/// What is signed by whom a block is about is refused, and nothing is fetched for it.
#[test]
fn requests_of_the_blocked_are_refused_without_a_look() {
    let node = Node::start();
    node.create("alice");
    let (peer, other) = (Peer::start(), Peer::start());
    let (mallory, eve, carl) = (peer.actor("mallory"), peer.actor("eve"), other.actor("carl"));
    let operator = As::operator(&node);
    // One actor of a domain.
    operator.works(&["moderation", "block", &mallory.id]);
    let alice = node.actor("alice");
    let deliver = |who: &crate::support::peer::Foreign, sign| {
        who.deliver(&node, "/actors/alice/inbox", &who.note("hi", &[&alice]), sign)
    };
    deliver(&mallory, Sign::Ed25519).refused(403, "blocked", "an actor");
    deliver(&eve, Sign::Bare).expect(202, "another one of the domain");
    mallory.fetch(&node, "/actors/alice/outbox", ACTIVITY_JSON).refused(403, "blocked", "reads");
    assert_eq!(peer.fetched("/actors/mallory"), 0, "nobody asks who that is");
    // The domain, in another case and with another scheme; then a port that is not meant.
    let port = peer.port();
    operator.works(&["moderation", "block", &format!("HTTPS://127.0.0.1:{port}/")]);
    let before = node.settled_head();
    deliver(&eve, Sign::Ed25519).refused(403, "blocked", "the domain");
    let shared = eve.note("hi", &[PUBLIC]);
    eve.deliver(&node, "/inbox", &shared, Sign::Bare).refused(403, "blocked", "the shared inbox");
    deliver(&carl, Sign::Bare).expect(202, "another port");
    assert_eq!(node.settled_head() - before, 2, "Carl's document and his Note alone were appended");
    operator.works(&["moderation", "block", "127.0.0.1"]);
    deliver(&carl, Sign::Ed25519).refused(403, "blocked", "every port");
    // The nearer allow is an exception.
    operator.works(&["moderation", "allow", &format!("127.0.0.1:{}", other.port())]);
    deliver(&carl, Sign::Ed25519).expect(202, "an exception");
    deliver(&eve, Sign::Ed25519).refused(403, "blocked", "not for the others");
    let listed = operator.json(&["moderation", "list", "--action", "block"]);
    assert_eq!(listed.as_array().expect("a list").len(), 3, "{listed}");
}

/// Only domains on the list federate, by a decision or by the configuration.
#[test]
fn an_instance_may_allow_listed_domains_only() {
    let mut spec = Spec::default();
    spec.args.push("--allow-list=true".into());
    let mut node = spec.start();
    node.create("alice");
    let peer = Peer::start();
    let bob = peer.actor("bob");
    let alice = node.actor("alice");
    let deliver =
        || bob.deliver(&node, "/actors/alice/inbox", &bob.note("hi", &[&alice]), Sign::Bare);
    deliver().refused(403, "blocked", "not listed");
    let operator = As::operator(&node);
    let allowed = operator.json(&["peer", "allow", &format!("127.0.0.1:{}", peer.port())]);
    assert_eq!(allowed["action"], "allow");
    deliver().expect(202, "listed");
    operator.works(&["moderation", "undo", allowed["cid"].as_str().expect("a CID")]);
    deliver().refused(403, "blocked", "not listed any more");
    operator.works(&["moderation", "allow-list", "off", "--reason", "we open up"]);
    deliver().expect(202, "everyone");
    // The configuration says it again at the next start, as a decision with a reason.
    node.restart();
    let operator = As::operator(&node);
    let bob = &bob;
    let again = bob.deliver(&node, "/actors/alice/inbox", &bob.note("hi", &[&alice]), Sign::Bare);
    again.refused(403, "blocked", "as configured");
    let listed = operator.json(&["moderation", "list"]);
    assert_eq!(listed[0]["action"], "allow-list");
    assert_eq!(listed[0]["reason"], "the configuration says so");
    operator.works(&["moderation", "allow-list", "off"]);
}

/// Nobody but those who operate the instance learns of a decision, its reason, or who made it.
#[test]
fn decisions_are_nobody_elses_business_unless_they_are_made_public() {
    let node =
        Spec::default().token(&format!("instance={}:publish,read", secret("instance"))).start();
    node.create("alice");
    let peer = Peer::start();
    let (mallory, friend) = (peer.actor("mallory"), peer.actor("friend"));
    friend.follows(&node, "alice");
    let operator = As::operator(&node);
    let private = operator.json(&["moderation", "block", &mallory.id, "--reason", "xyzzy-why"]);
    let about = ["moderation", "silence", "loud.example", "--public", "--reason", "xyzzy-why"];
    let public = operator.json(&about);
    let told = ["moderation", "block", "evil.example", "--public", "--public-reason", "--reason"];
    let reasoned = operator.json(&[&told[..], &["for all to read"]].concat());
    for one in [&private, &public, &reasoned] {
        assert_eq!(one["by"], node.actor("operator"), "{one}");
    }
    assert_eq!(public["reason"], "xyzzy-why", "for those who moderate");
    let path = |decision: &Value| format!("/activities/{}", decision["cid"].as_str().expect("CID"));
    for client in [node.client().clone(), node.as_actor("alice")] {
        client.get(&path(&private)).refused(404, "not-found", "a private decision");
        let shown = client.get(&path(&public)).expect(200, "a public one").json();
        assert_eq!((&shown["action"], shown.get("reason")), (&json!("silence"), None), "{shown}");
        let shown = client.get(&path(&reasoned)).expect(200, "a public one").json();
        assert_eq!(
            (&shown["type"], &shown["reason"]),
            (&json!("Block"), &json!("for all to read"))
        );
        for route in [
            "/actors/instance/outbox?since=&limit=100",
            "/projections/actor-state",
            "/projections/follower-graph",
            "/projections/objects",
            "/projections/define-registry",
            "/projections/announces",
        ] {
            let text = client.get(route).text_whole();
            for secret in ["xyzzy", "actors/operator", &mallory.id] {
                assert!(!text.contains(secret), "{secret} at {route}: {text}");
            }
        }
        for route in ["", "/history", "/simulate?object=evil.example"] {
            let answer = client.get(&format!("/admin/moderation{route}"));
            assert!(matches!(answer.status, 401 | 403), "{}", answer.text());
        }
    }
    let wish = json!({ "action": "block", "object": "evil.example" });
    node.as_actor("alice").post("/admin/moderation", &wish).refused(403, "insufficient-scope", "");
    // An actor cannot decide for the instance, and an instance cannot lock itself out.
    let moderate = json!({ "type": "Moderate", "action": "silence", "object": mallory.id });
    node.as_actor("alice").post("/activity", &moderate).refused(403, "not-authorised", "alice");
    let token = node.as_actor("instance");
    for (request, slug) in [
        (
            json!({ "type": "Moderate", "action": "silence", "object": "mailto:x" }),
            "invalid-activity",
        ),
        (
            json!({ "type": "Moderate", "action": "scold", "object": mallory.id }),
            "invalid-activity",
        ),
        (json!({ "type": "Moderate", "object": mallory.id }), "invalid-activity"),
        (
            json!({ "type": "Moderate", "action": "allow", "object": mallory.id }),
            "invalid-activity",
        ),
        (
            json!({ "type": "Moderate", "action": "suspend", "object": mallory.id }),
            "invalid-activity",
        ),
        (json!({ "type": "Block", "object": node.actor("alice") }), "invalid-activity"),
        (json!({ "type": "Block", "object": "http://localhost" }), "invalid-activity"),
    ] {
        token.post("/activity", &request).refused(422, slug, &request.to_string());
    }
    operator.fails(&["moderation", "block", "not a domain"], "invalid-parameter");
    operator.fails(&["moderation", "block", "localhost"], "this instance itself");
    assert!(peer.posted().iter().all(|post| post.body["type"] != "Block"), "nobody is told");
}

/// What a rule would have hit, before it is made.
#[test]
fn a_rule_can_be_tried_on_the_log() {
    let node = Node::start();
    for name in ["alice", "bob"] {
        node.create(name);
    }
    let (peer, other) = (Peer::start(), Peer::start());
    let (mallory, eve, carl) = (peer.actor("mallory"), peer.actor("eve"), other.actor("carl"));
    let alice = node.actor("alice");
    for (who, notes) in [(&mallory, 3), (&eve, 1), (&carl, 2)] {
        for _ in 0..notes {
            let note = who.note("hi", &[&alice, &node.actor("bob")]);
            who.deliver(&node, "/inbox", &note, Sign::Bare).expect(202, "a Note");
        }
    }
    node.publish("bob", &json!({ "type": "Follow", "object": eve.id }));
    let operator = As::operator(&node);
    let head = node.settled_head();
    let domain = format!("127.0.0.1:{}", peer.port());
    let found = operator.json(&["moderation", "simulate", &domain]);
    let hits = &found["hits"];
    assert_eq!((&hits["activities"], &hits["actors"]), (&json!(4), &json!(2)), "{found}");
    assert_eq!(hits["loudest"], json!([[mallory.id, 3], [eve.id, 1]]));
    assert_eq!(hits["delivered_to"], json!({ "alice": 4, "bob": 4 }));
    assert_eq!(hits["by_type"], json!({ "Create": 4 }));
    assert_eq!(hits["addressed"], 1, "Bob's Follow: {found}");
    assert_eq!(hits["last"][0]["actor"], eve.id);
    let of = |rule: &str| {
        operator.json(&["moderation", "simulate", rule])["hits"]["activities"].as_u64()
    };
    assert_eq!(of(&format!("silence:{}", mallory.id)), Some(3));
    assert_eq!(of("allow-list"), Some(6), "all that are elsewhere");
    assert_eq!(of("127.0.0.1"), Some(6));
    assert_eq!(of("nobody.example"), Some(0));
    assert_eq!(of(&format!("suspend:{alice}")), Some(1), "what she said herself");
    assert!(operator.works(&["moderation", "simulate", &domain]).contains(&mallory.id));
    assert_eq!(node.settled_head(), head, "a trial changes nothing");
}

/// Who decided a public decision, and why, comes before it: no crash leaves one without the other.
#[test]
fn no_crash_parts_a_public_decision_from_its_note() {
    let mut node = Node::start();
    let wish = |domain: &str| json!({ "action": "silence", "object": domain, "public": true, "reason": "because" });
    let before = node.settled_head();
    let decided = node.admin().post("/admin/moderation", &wish("loud.example")).expect(201, "one");
    assert_eq!(decided.json()["global_seq"], before + 2, "the note is in the log already");
    assert_eq!(node.settled_head(), before + 2, "nothing comes after it");
    // Several at once, each of them somewhere on its way when the instance ends.
    let (admin, answered) = (node.admin(), AtomicUsize::new(1));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (admin, answered, wish) = (&admin, &answered, &wish);
            scope.spawn(move || {
                let domains = (0..).map(|n| format!("d{n}.of{thread}.example"));
                for domain in domains {
                    match admin.try_post("/admin/moderation", &wish(&domain)) {
                        Some(answer) if answer.status == 201 => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Some(_) => {}
                        None => return,
                    }
                }
            });
        }
        eventually(PATIENCE, "some are decided", || {
            (answered.load(Ordering::Relaxed) > 12).then_some(())
        });
        node.crash();
    });
    node.restart();
    let path = "/admin/moderation/history?limit=1000";
    let history = node.admin().get(path).expect(200, "the history").json();
    let items = history["items"].as_array().expect("items");
    assert!(items.len() >= answered.load(Ordering::Relaxed), "what was acknowledged is there");
    for item in items {
        assert_eq!((&item["public"], &item["reason"]), (&json!(true), &json!("because")), "{item}");
        assert_eq!(item["by"], node.actor("operator"), "{item}");
    }
    let undo = json!({ "object": "loud.example", "reason": "quiet now" });
    node.admin().post("/admin/moderation/undo", &undo).expect(201, "an Undo");
    let history = node.admin().get(path).expect(200, "the history").json();
    let last = &history["items"][0];
    assert_eq!((&last["reason"], &last["public"]), (&json!("quiet now"), &json!(true)), "{last}");
}
