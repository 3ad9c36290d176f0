//! Every route and every command, asked by who may not: without a token, with one that is not
//! known, with another actor's, with a narrowed one, with one that ended, with a revoked one.
//!
//! The lists of routes and commands come from the program itself (`fedsx_http::ROUTES`, clap), so
//! one without a row here fails a test. To add a row:
//!
//! - a route: a [`routes::Row`] in `routes::ROWS`, with a request that gets past the check of the
//!   token and no further (an id that nobody has, an empty body), and who may ask;
//! - a command: a [`commands::Row`] in `commands::ROWS`, with arguments that clap takes. In them
//!   `{data}` is the data directory of an instance that runs, `{fresh}` a place where nothing is,
//!   `{file}` a file with a definition, and `{capability}` a token that can be narrowed.
//!
//! What the right caller gets is for the tests of each capability; here it must only get past.

mod commands;
mod routes;

use serde_json::{Value, json};

use crate::support::node::{Node, narrowed};
use crate::support::{Client, PATIENCE, eventually, secret};

/// The scopes that there are.
const SCOPES: [&str; 4] = ["publish", "read", "define", "admin"];

/// A caller who is refused, and the check that the refusal names.
struct Wrong {
    who: &'static str,
    /// The token; none for who has none.
    token: Option<String>,
    status: u16,
    check: Check,
}

/// What a refusal says in `failed_check`.
#[derive(Clone)]
enum Check {
    /// This.
    Is(String),
    /// This somewhere in it: checks of a narrowed token name a block and what it says.
    Has(&'static str),
}

impl Check {
    fn holds(&self, said: &str) -> bool {
        match self {
            Self::Is(check) => said == check,
            Self::Has(part) => said.contains(part),
        }
    }
}

/// An instance with actors, and tokens of all kinds.
struct Stage {
    node: Node,
    /// Of alice, with every scope.
    capability: String,
    expired: String,
    revoked: String,
    revoked_capability: String,
    ended_capability: String,
}

fn stage() -> Stage {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let admin = node.admin();
    let issue = |more: &[(&str, Value)]| {
        let mut wish = json!({ "actor": "alice", "scopes": SCOPES });
        for (name, value) in more {
            wish[*name] = value.clone();
        }
        let made = admin.post("/admin/tokens", &wish).expect(201, "a token").json();
        let secret = made["secret"].as_str().expect("a secret").to_owned();
        let id = made["token_id"].as_str().or_else(|| made["revocation_ids"][0].as_str());
        (secret, id.expect("an id").to_owned())
    };
    let revoke = |id: &str| {
        let path = format!("/admin/tokens/{id}");
        admin.send("DELETE", &path, &[], None).expect(200, "revoked");
    };
    let (capability, _) = issue(&[("capability", true.into())]);
    let (expired, _) = issue(&[("expires_in", 1.into())]);
    let ended_capability = narrowed(&capability, &["--expires", "1s"]);
    let (revoked, id) = issue(&[]);
    revoke(&id);
    let (revoked_capability, id) = issue(&[("capability", true.into())]);
    revoke(&id);
    for token in [&expired, &ended_capability] {
        eventually(PATIENCE, "it ends", || {
            let read = node.client().with_secret(token).get("/actors/alice/inbox");
            (read.status != 200).then_some(())
        });
    }
    Stage { node, capability, expired, revoked, revoked_capability, ended_capability }
}

impl Stage {
    /// The token of who may do everything here that alice may.
    fn right(&self) -> &str {
        &self.capability
    }

    fn with(&self, token: Option<&str>) -> Client {
        let client = self.node.client().clone();
        token.map_or(client.clone(), |token| client.with_secret(token))
    }

    /// Who has no token that counts: refused wherever a token is looked at.
    fn nobody(&self) -> Vec<Wrong> {
        let wrong = |who, token: &str, check: Check| Wrong {
            who,
            token: Some(token.to_owned()),
            status: 401,
            check,
        };
        let is = |check: &str| Check::Is(check.to_owned());
        vec![
            wrong("an unknown token", "nobodys-token", is("known")),
            wrong("an expired token", &self.expired, is("expiry")),
            wrong("a revoked token", &self.revoked, is("revocation")),
            wrong("a revoked capability", &self.revoked_capability, is("revocation")),
            wrong("a forged capability", &"A".repeat(300), is("signature")),
        ]
    }

    /// Who may not do what wants this scope, and for `own` is not alice.
    fn wrong(&self, scope: &'static str, own: bool) -> Vec<Wrong> {
        let lacks = || Check::Is(format!("scope:{scope}"));
        let mut all = self.nobody();
        all.push(Wrong {
            who: "no token",
            token: None,
            status: 401,
            check: Check::Is("token".to_owned()),
        });
        let other = SCOPES.into_iter().find(|other| *other != scope).expect("another scope");
        let (bob, check) = match scope {
            "admin" => (secret("bob"), lacks()),
            _ if own => (secret("bob"), Check::Is("actor".to_owned())),
            _ => {
                let wish = json!({ "actor": "bob", "scopes": [other] });
                let made = self.node.admin().post("/admin/tokens", &wish);
                let made = made.expect(201, "a token").json();
                (made["secret"].as_str().expect("a secret").to_owned(), lacks())
            }
        };
        all.push(Wrong { who: "another actor's token", token: Some(bob), status: 403, check });
        // What a narrowed token may publish is decided when it is known what is said.
        let narrowed_check = |scopes: &[&str]| match scopes.contains(&scope) {
            true => Check::Has("block 1"),
            false => lacks(),
        };
        all.push(Wrong {
            who: "a narrowed token",
            token: Some(narrowed(&self.capability, &["--operation", other])),
            status: 403,
            check: narrowed_check(&["publish"]),
        });
        all.push(Wrong {
            who: "a narrowed token that ended",
            token: Some(self.ended_capability.clone()),
            status: 403,
            check: narrowed_check(&["publish", "define"]),
        });
        all
    }
}
