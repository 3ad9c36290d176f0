//! What is private is shown by no route.

use serde_json::{Value, json};

use super::{PUBLIC_ONES, everything};
use crate::actor_lifecycle::encoded;
use crate::support::node::Spec;
use crate::support::secret;
use crate::support::verbs::Published;

/// Something that must be shown to some and to nobody else.
struct Secret {
    what: &'static str,
    /// Where those who may see it find it.
    projection: &'static str,
    /// Texts by which it shows.
    traces: Vec<String>,
    entitled: &'static [&'static str],
}

#[test]
fn nothing_private_is_shown_by_any_route() {
    let node = Spec::default()
        .token(&format!("definer={}:publish,read,define", secret("definer")))
        .start();
    let shy = json!({
        "type": "Create",
        "object": { "type": "Person", "name": "bob", "manuallyApprovesFollowers": true },
    });
    node.publish("bob", &shy);
    for name in ["alice", "carol", "definer"] {
        node.create(name);
    }
    let bob = node.actor("bob");
    let public = node.note("carol", "for everyone");
    let target = public.object();
    let to_bob = |kind: &str, object: Value| json!({ "type": kind, "to": [bob], "object": object, "kind": "share" });
    let traces = |published: &Published| vec![published.id.clone(), published.cid.clone()];
    let both: &[&str] = &["alice", "bob"];
    let and_admin: &[&str] = &["alice", "bob", "admin"];
    let mut secrets = Vec::new();
    for (what, projection) in [
        ("Like", "endorsements"),
        ("Endorse", "endorsements"),
        ("Announce", "announces"),
        ("Follow", "follower-graph"),
    ] {
        let object = if what == "Follow" { json!(bob) } else { json!(target) };
        let published = node.publish("alice", &to_bob(what, object));
        // The newest Like or Endorse of one kind shows.
        let traces = traces(&published);
        secrets.push(Secret { what, projection, traces, entitled: and_admin });
    }
    let note = json!({ "type": "Note", "content": "a whispered word" });
    let note = node.publish("alice", &to_bob("Create", note));
    let mut of_note = traces(&note);
    of_note.extend([note.object().to_owned(), "whispered".to_owned()]);
    secrets.push(Secret { what: "Note", projection: "objects", traces: of_note, entitled: both });
    let verb = json!({ "type": "DefineActivity", "name": "Conspire", "summary": "x" });
    let defined = node.publish("definer", &to_bob("DefineActivity", verb));
    let mut of_verb = traces(&defined);
    of_verb.push("Conspire".into());
    secrets.push(Secret {
        what: "definition",
        projection: "define-registry",
        traces: of_verb,
        entitled: &["definer", "bob", "admin"],
    });
    let head = node.settled_head();

    let readers = [
        ("anyone", None),
        ("alice", Some("alice")),
        ("bob", Some("bob")),
        ("carol", Some("carol")),
        ("definer", Some("definer")),
        ("admin", Some("operator")),
    ];
    for (who, token) in readers {
        let client = token.map_or_else(|| node.client().clone(), |token| node.as_actor(token));
        let capabilities = client.get("/.well-known/sx-capabilities").expect(200, who).text();
        let all: Vec<(&str, String)> =
            PUBLIC_ONES.map(|name| (name, everything(&client, token, name, head))).into();
        for secret in &secrets {
            let is_entitled = secret.entitled.contains(&who);
            for (name, text) in &all {
                let found = secret.traces.iter().find(|trace| text.contains(*trace));
                assert!(
                    is_entitled || found.is_none(),
                    "{name} shows alice's {} to {who}: {found:?}",
                    secret.what
                );
                if is_entitled && *name == secret.projection {
                    assert!(found.is_some(), "{name} shows the {} to {who}", secret.what);
                }
            }
            if !is_entitled {
                let found = secret.traces.iter().find(|trace| capabilities.contains(*trace));
                assert!(found.is_none(), "capabilities: {found:?}");
            }
        }
        // Nobody learns from counts that somebody said something in private.
        for (name, own) in [
            ("endorsements", json!({ "like": 1, "share": 1 })),
            ("announces", json!({ "count": 1 })),
        ] {
            let path = format!("/projections/{name}?key={}", encoded(target));
            let items = client.get(&path).expect(200, who).json()["items"].clone();
            let counts: Vec<&Value> = items
                .as_array()
                .expect("items")
                .iter()
                .filter(|item| item["key"].as_array().is_some_and(|key| key.len() == 1))
                .map(|item| &item["value"])
                .collect();
            let expected: &[&Value] = if who == "admin" { &[&own] } else { &[] };
            assert_eq!(counts, expected, "{name} as {who} sees it");
        }
        let path = format!("/projections/follower-graph?key=counts&key={}", encoded(&bob));
        let counts = client.get(&path).expect(200, who).json()["items"].clone();
        let sees = matches!(who, "bob" | "admin");
        assert_eq!(counts.as_array().is_some_and(|items| items.len() == 1), sees, "{who} {counts}");
        // The feed and its stream are their owner's.
        for path in [
            "/projections/feed?key=bob",
            "/projections/feed?key=bob&at=3",
            "/projections/feed/events?key=bob",
        ] {
            let status = if who == "bob" {
                continue;
            } else if who == "anyone" {
                401
            } else {
                403
            };
            assert_eq!(client.get(path).status, status, "{who} {path}");
        }
    }
    let feed = node.as_actor("bob").get("/projections/feed").expect(200, "bob's feed").text();
    assert!(feed.contains("whispered"), "{feed}");
}
