//! Tokens that the running instance issues: what they allow, until when, and who may see them.

use serde_json::json;

use crate::support::client::Client;
use crate::support::node::Node;
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
    let listed = node.admin().get("/admin/tokens").expect(200, "the list").json();
    let items = listed["items"].as_array().expect("items");
    assert!(items.iter().all(|item| item["origin"] == "configuration"), "{listed}");
    let configured = items[0]["token_id"].as_str().expect("an id");
    let refused = node.admin().send("DELETE", &format!("/admin/tokens/{configured}"), &[], None);
    refused.refused(409, "conflict", "a token of the configuration");
    node.client().with_secret(&secret("alice")).get("/token").expect(200, "it still works");
}
