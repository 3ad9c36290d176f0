//! Tokens that the running instance issues: what they allow, until when, and who may see them.

use serde_json::json;

use crate::support::client::Client;
use crate::support::node::{Node, Spec, command, narrowed, run_to_end};
use crate::support::verbs::note;
use crate::support::{PATIENCE, eventually, secret};

fn issued(node: &Node, wish: &serde_json::Value) -> (Client, String) {
    let made = node.admin().post("/admin/tokens", wish).expect(201, "a token");
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    let secret = made["secret"].as_str().expect("a secret");
    let id = made["token_id"].as_str().expect("an id").to_owned();
    (node.client().with_secret(secret), id)
}

#[test]
fn issued_tokens_work_until_they_end() {
    let mut node = Node::start();
    node.create("alice");
    let wish = json!({ "actor": "alice", "scopes": ["publish"], "label": "a bot" });
    let (bot, id) = issued(&node, &wish);
    bot.post("/activity", &note("by the bot")).expect(201, "it publishes");
    bot.get("/actors/alice/inbox").refused(403, "insufficient-scope", "it may not read");
    bot.get("/admin/tokens").refused(403, "insufficient-scope", "nor operate");
    let own = bot.get("/token").expect(200, "its own").json();
    assert_eq!((&own["actor"], &own["scopes"]), (&json!("alice"), &json!(["publish"])), "{own}");

    node.restart();
    let bot = node.client().with_secret(bot.secret());
    bot.post("/activity", &note("after a restart")).expect(201, "it was kept");
    let listed = node.admin().get("/admin/tokens").expect(200, "the list");
    assert!(!listed.text_whole().contains(bot.secret()), "no secret is ever shown again");
    let listed = listed.json();
    let ours = |token: &&serde_json::Value| token["token_id"] == json!(id);
    let item = listed["items"].as_array().expect("items").iter().find(ours).expect("listed");
    assert_eq!((&item["label"], &item["origin"]), (&json!("a bot"), &json!("issued")), "{item}");
    assert!(item["last_used"].is_string(), "{item}");

    let path = format!("/admin/tokens/{id}");
    node.client().send("DELETE", &path, &[], None).refused(401, "invalid-token", "no token");
    bot.send("DELETE", &path, &[], None).refused(403, "insufficient-scope", "the bot itself");
    node.admin().send("DELETE", &path, &[], None).expect(200, "revoked");
    let refused = bot.post("/activity", &note("too late"));
    let problem = refused.refused(401, "invalid-token", "a revoked token");
    assert_eq!(problem["failed_check"], "revocation", "{problem}");
    node.admin().send("DELETE", &path, &[], None).expect(200, "revoking twice is revoking once");
    let none = node.admin().send("DELETE", "/admin/tokens/00", &[], None);
    none.refused(404, "not-found", "a token that never was");

    let (short, _) = issued(
        &node,
        &json!({
            "actor": "alice", "scopes": ["read"], "expires_in": 1
        }),
    );
    let problem = eventually(PATIENCE, "it expires", || {
        let answer = short.get("/token");
        (answer.status != 200).then(|| answer.refused(401, "invalid-token", "an expired token"))
    });
    assert_eq!(problem["failed_check"], "expiry", "{problem}");
}

#[test]
fn tokens_are_issued_by_operators_as_they_can_be() {
    let node = Node::start();
    node.create("alice");
    let wish = json!({ "actor": "alice", "scopes": ["publish"] });
    node.client().post("/admin/tokens", &wish).refused(401, "invalid-token", "no token");
    node.as_actor("alice").post("/admin/tokens", &wish).refused(
        403,
        "insufficient-scope",
        "a token without the scope",
    );
    for (case, wish) in [
        ("no scope", json!({ "actor": "alice", "scopes": [] })),
        ("an unknown scope", json!({ "actor": "alice", "scopes": ["rule"] })),
        ("no name", json!({ "actor": "Not A Name", "scopes": ["read"] })),
        ("over at once", json!({ "actor": "alice", "scopes": ["read"], "expires_in": 0 })),
        (
            "for ever",
            json!({ "actor": "alice", "scopes": ["read"], "expires_in": 9_007_199_254_740_991i64 }),
        ),
        ("a long label", json!({ "actor": "alice", "scopes": ["read"], "label": "x".repeat(101) })),
        ("an unknown member", json!({ "actor": "alice", "scopes": ["read"], "secret": "mine" })),
        ("no object", json!([])),
    ] {
        let refused = node.admin().post("/admin/tokens", &wish);
        refused.refused(400, "invalid-parameter", case);
    }
    let long = format!("carol={}", "x".repeat(256));
    let other = Spec::default().token(&long).start();
    let carol = other.client().with_secret(&"x".repeat(256));
    assert_eq!(carol.get("/token").expect(200, "a long secret").json()["actor"], "carol");
    let listed = node.admin().get("/admin/tokens").expect(200, "the list").json();
    let items = listed["items"].as_array().expect("items");
    assert!(items.iter().all(|item| item["origin"] == "configuration"), "{listed}");
    let configured = items[0]["token_id"].as_str().expect("an id");
    let refused = node.admin().send("DELETE", &format!("/admin/tokens/{configured}"), &[], None);
    refused.refused(409, "conflict", "a token of the configuration");
    node.client().with_secret(&secret("alice")).get("/token").expect(200, "it still works");
}

#[test]
fn capabilities_are_narrowed_without_asking_anybody() {
    let mut node = Node::start();
    node.create("alice");
    node.create("bob");
    let wish = json!({ "actor": "alice", "scopes": ["publish", "read"], "capability": true });
    let made = node.admin().post("/admin/tokens", &wish).expect(201, "a capability").json();
    let whole = made["secret"].as_str().expect("a token").to_owned();
    let with = |node: &Node, token: &str| node.client().with_secret(token);
    with(&node, &whole).post("/activity", &note("by the owner")).expect(201, "the whole token");
    with(&node, &whole).get("/actors/alice/inbox").expect(200, "it reads");
    with(&node, &whole).get("/admin/peers").refused(
        403,
        "insufficient-scope",
        "it may not operate",
    );
    with(&node, &whole).get("/actors/bob/inbox").refused(403, "insufficient-scope", "nor be bob");
    let key = node.client().get("/.well-known/sx-capabilities").expect(200, "the key").json();
    assert!(key["capability_key"].as_str().is_some_and(|key| key.starts_with("ed25519/")), "{key}");

    let bot = narrowed(&whole, &["--verb", "Create", "--object-type", "Note", "--count", "2"]);
    let post = |node: &Node, token: &str, request: &serde_json::Value| {
        with(node, token).post("/activity", request)
    };
    let article = json!({ "type": "Create", "object": { "type": "Article", "content": "long" } });
    let problem = post(&node, &bot, &article).refused(403, "insufficient-scope", "another type");
    let check = problem["failed_check"].as_str().expect("a check");
    assert!(check.starts_with("block 1") && check.contains("object_type"), "{problem}");
    let follow = json!({ "type": "Follow", "object": node.actor("bob") });
    post(&node, &bot, &follow).refused(403, "insufficient-scope", "another verb");
    let wrong = json!({ "type": "Create", "object": { "type": "Note", "content": 5 } });
    assert_eq!(post(&node, &bot, &wrong).status, 422, "a refused request is not counted");
    post(&node, &bot, &note("one")).expect(201, "the first");
    node.restart();
    post(&node, &bot, &note("two")).expect(201, "the second, after a restart");
    let problem = post(&node, &bot, &note("three")).refused(403, "insufficient-scope", "a third");
    assert!(
        problem["failed_check"].as_str().is_some_and(|check| check.contains("uses")),
        "{problem}"
    );

    let reader = narrowed(&whole, &["--operation", "read"]);
    with(&node, &reader).get("/actors/alice/inbox").expect(200, "a reader reads");
    post(&node, &reader, &note("x")).refused(403, "insufficient-scope", "and does not publish");
    let private = narrowed(&whole, &["--audience", &node.actor("bob"), "--expires", "1h"]);
    let to_bob = json!({ "type": "Create", "to": [node.actor("bob")],
        "object": { "type": "Note", "content": "for bob", "to": [node.actor("bob")] } });
    post(&node, &private, &to_bob).expect(201, "to bob alone");
    post(&node, &private, &note("for all")).refused(403, "insufficient-scope", "to the usual ones");
    let short = narrowed(&whole, &["--expires", "1s"]);
    eventually(PATIENCE, "it ends", || {
        (with(&node, &short).get("/actors/alice/inbox").status != 200).then_some(())
    });
    post(&node, &short, &note("x")).refused(403, "insufficient-scope", "and publishes no more");

    let own = with(&node, &private).get("/token").expect(200, "what it is").json();
    let ids = own["revocation_ids"].as_array().expect("ids").clone();
    assert_eq!(ids.len(), 2, "{own}");
    let path = |id: &serde_json::Value| format!("/admin/tokens/{}", id.as_str().expect("an id"));
    with(&node, &whole).send("DELETE", &path(&ids[1]), &[], None).refused(
        403,
        "insufficient-scope",
        "revoking is the operator's",
    );
    node.admin().send("DELETE", &path(&ids[1]), &[], None).expect(200, "the narrowed one");
    node.restart();
    let problem = post(&node, &private, &to_bob).refused(401, "invalid-token", "it is revoked");
    assert_eq!(problem["failed_check"], "revocation", "{problem}");
    post(&node, &whole, &note("still")).expect(201, "what it came from lives on");
    node.admin().send("DELETE", &path(&ids[0]), &[], None).expect(200, "the whole family");
    for token in [&whole, &reader] {
        with(&node, token).get("/token").refused(401, "invalid-token", "all of it ended");
    }

    let other = Node::start();
    other.create("alice");
    with(&other, &bot).get("/token").refused(401, "invalid-token", "on another instance");
    let mut forged = bot.into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("text");
    with(&node, &forged).get("/token").refused(401, "invalid-token", "changed on its way");
    for odd in ["A".repeat(300), "-".repeat(9000), format!("{whole}=")] {
        with(&node, &odd).get("/token").refused(401, "invalid-token", "no token at all");
    }
}

#[test]
fn owners_end_their_own_tokens_and_nobody_elses() {
    let mut node = Node::start();
    for name in ["alice", "bob"] {
        node.create(name);
    }
    let wish = json!({ "actor": "alice", "scopes": ["publish"], "label": "a bot" });
    let (bot, bot_id) = issued(&node, &wish);
    let wish = json!({ "actor": "alice", "scopes": ["publish", "define"], "label": "strong" });
    let (strong, strong_id) = issued(&node, &wish);
    let wish = json!({ "actor": "alice", "scopes": ["publish", "read"], "capability": true,
        "label": "a phone" });
    let made = node.admin().post("/admin/tokens", &wish).expect(201, "a capability").json();
    let whole = made["secret"].as_str().expect("a token").to_owned();
    let whole_id = made["revocation_ids"][0].as_str().expect("an id").to_owned();
    let narrow = narrowed(&whole, &["--verb", "Create"]);
    let further = narrowed(&narrow, &["--object-type", "Note"]);
    let ids = |token: &str| {
        let own = node.client().with_secret(token).get("/token").expect(200, "it is used").json();
        let ids = own["revocation_ids"].as_array().expect("ids").clone();
        ids.iter().map(|id| id.as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let chain = ids(&further);
    assert_eq!((chain.len(), &chain[0]), (3, &whole_id));
    let with = |token: &str| node.client().with_secret(token);
    let path = |id: &str| format!("/tokens/{id}");
    let end = |client: &Client, id: &str| client.send("DELETE", &path(id), &[], None);

    // The wrong ones: nobody, another actor, a weaker token, a narrowed one.
    node.client().get("/tokens").refused(401, "invalid-token", "no token");
    end(node.client(), &bot_id).refused(401, "invalid-token", "no token");
    for id in [&bot_id, &whole_id, &chain[2]] {
        end(&node.as_actor("bob"), id).refused(404, "not-found", "of another actor");
    }
    let none = "ab".repeat(64);
    for id in [none.as_str(), "00", &bot_id.to_uppercase()] {
        end(&node.as_actor("alice"), id).refused(404, "not-found", "no such token");
    }
    let refused = |client: &Client, id: &str, check: &str| {
        let problem = end(client, id).refused(403, "insufficient-scope", check);
        assert_eq!(problem["failed_check"], check, "{problem}");
    };
    refused(&node.as_actor("alice"), &strong_id, "scopes");
    refused(&bot, &whole_id, "scopes");
    for id in [&whole_id, &bot_id, &chain[1]] {
        refused(&with(&further), id, "narrowed");
    }
    let listed = |client: &Client| {
        let listed = client.get("/tokens").expect(200, "its own").json();
        let items = listed["items"].as_array().expect("items").clone();
        items.iter().map(|item| item["token_id"].as_str().expect("an id").to_owned()).collect()
    };
    let seen: Vec<String> = listed(&node.as_actor("alice"));
    assert!(chain.iter().chain([&bot_id]).all(|id| seen.contains(id)), "{seen:?}");
    assert!(!seen.contains(&strong_id), "what may not be ended is not shown: {seen:?}");
    let seen: Vec<String> = listed(&with(&narrow));
    assert_eq!(seen, chain[1..], "a narrowed one sees itself and what comes from it");
    assert!(!node.as_actor("bob").get("/tokens").text_whole().contains(&chain[2]));

    // The right ones. What is known of capabilities outlives a restart.
    node.restart();
    let with = |token: &str| node.client().with_secret(token);
    let end = |client: &Client, id: &str| client.send("DELETE", &path(id), &[], None);
    let over = |token: &str| {
        let problem = with(token).get("/token").refused(401, "invalid-token", "it ended");
        assert_eq!(problem["failed_check"], "revocation", "{problem}");
    };
    let ended = end(&with(&narrow), &chain[2]).expect(200, "what came from it").json();
    assert!(ended["revoked"].is_string() && ended["parent"] == json!(chain[1]), "{ended}");
    over(&further);
    with(&narrow).get("/token").expect(200, "it lives on itself");
    end(&with(&narrow), &chain[1]).expect(200, "itself");
    over(&narrow);
    with(&whole).get("/token").expect(200, "what it came from lives on");

    let mut command = command();
    command.env("FEDSX_PROFILES", "/nonexistent/profiles.toml").env("FEDSX_URL", &node.base);
    command.env("FEDSX_TOKEN", secret("alice")).args(["token", "revoke", &bot_id]);
    let run = run_to_end(command);
    assert_eq!(run.code, Some(0), "{}", run.all());
    over(bot.secret());
    end(&node.as_actor("alice"), &bot_id).expect(200, "twice is once");
    end(&node.as_actor("alice"), &whole_id).expect(200, "the phone");
    over(&whole);
    let strong = with(strong.secret());
    end(&strong, &strong_id).expect(200, "every token may end itself");
    over(strong.secret());
    let configured = node.as_actor("alice").get("/token").expect(200, "its own").json();
    let id = configured["token_id"].as_str().expect("an id");
    end(&node.as_actor("alice"), id).refused(409, "conflict", "a token of the configuration");
}
