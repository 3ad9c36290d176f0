//! The table of routes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Stage, Wrong, stage};
use crate::support::{Answer, Client};

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Tokens with the scope `admin`.
    Admin,
    /// Tokens with the scope `publish`, as the actor that the token names.
    Publisher,
    /// The token of alice, whom the path names, with this scope.
    Alice(&'static str),
    /// Tokens with the scope `read`.
    Reader,
    /// Any token that counts.
    Holder,
    /// Anyone; who shows a token must show one that counts, since it decides what is shown.
    Reads,
    /// Anyone; no token is looked at.
    Anyone,
    /// Other servers, by what they sign; no token stands for that.
    Peers,
}

use Who::{Admin, Alice, Anyone, Holder, Peers, Publisher, Reader, Reads};

/// One request.
pub(super) struct Row {
    method: &'static str,
    /// The route, as the router has it.
    route: &'static str,
    /// The path and query that are asked for.
    path: &'static str,
    who: Who,
    /// The body; empty for none.
    body: &'static str,
}

const fn row(method: &'static str, route: &'static str, path: &'static str, who: Who) -> Row {
    Row { method, route, path, who, body: "" }
}

const fn with(
    method: &'static str,
    route: &'static str,
    path: &'static str,
    who: Who,
    body: &'static str,
) -> Row {
    Row { method, route, path, who, body }
}

/// A CID that no activity has.
const NO_CID: &str = "bafyr4iafmsd4rxhdzd3yngmsaf3s26zzlfbsoznt6tzuamngzc7rhunbp4";
/// A Note, for who may publish it.
const NOTE: &str = r#"{"type":"Create","object":{"type":"Note","content":"taken"}}"#;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    with("post", "/activity", "/activity", Publisher, NOTE),
    row("get", "/actors/{name}", "/actors/alice", Anyone),
    row("get", "/actors/{name}/outbox", "/actors/alice/outbox", Reads),
    with("post", "/actors/{name}/outbox", "/actors/alice/outbox", Alice("publish"), NOTE),
    row("get", "/actors/{name}/inbox", "/actors/alice/inbox", Alice("read")),
    with("post", "/actors/{name}/inbox", "/actors/alice/inbox", Peers, NOTE),
    row("get", "/actors/{name}/followers", "/actors/alice/followers", Reads),
    row("get", "/actors/{name}/followers/synchronization", "/actors/alice/followers/synchronization", Peers),
    row("get", "/actors/{name}/following", "/actors/alice/following", Reads),
    row("get", "/actors/{name}/liked", "/actors/alice/liked", Reads),
    row("get", "/actors/{name}/featured", "/actors/alice/featured", Reads),
    row("get", "/actors/{name}/keys", "/actors/alice/keys", Anyone),
    row("get", "/actors/{name}/log/checkpoint", "/actors/alice/log/checkpoint", Anyone),
    row("get", "/actors/{name}/log/tile/{*path}", "/actors/alice/log/tile/0/000.p/1", Anyone),
    row("get", "/actors/{name}/log/proof/inclusion", "/actors/alice/log/proof/inclusion?index=0&size=1", Anyone),
    row("get", "/actors/{name}/log/proof/consistency", "/actors/alice/log/proof/consistency?from=1&to=1", Anyone),
    with("post", "/inbox", "/inbox", Peers, NOTE),
    row("get", "/activities/{cid}", "/activities/{no_cid}", Reads),
    row("get", "/objects/{id}", "/objects/nobodys", Reads),
    row("get", "/objects/{id}/{what}", "/objects/nobodys/replies", Reads),
    with("post", "/proxy", "/proxy", Reader, "id=nothing"),
    row("post", "/media", "/media", Holder),
    row("get", "/types/{cid}", "/types/{no_cid}", Reads),
    row("get", "/projections", "/projections", Anyone),
    row("get", "/projections/{name}", "/projections/objects", Reads),
    row("get", "/projections/{name}", "/projections/feed?key=alice", Alice("read")),
    row("get", "/projections/{name}", "/projections/delivery-state?key=nothing", Admin),
    row("get", "/projections/{name}", "/projections/peer-schemes?key=nothing", Admin),
    row("get", "/projections/{name}/events", "/projections/no-such/events", Reads),
    row("get", "/projections/{name}/events", "/projections/feed/events?key=alice&since=nothing", Alice("read")),
    row("get", "/.well-known/webfinger", "/.well-known/webfinger?resource=acct:nobody@{host}", Reads),
    row("get", "/.well-known/nodeinfo", "/.well-known/nodeinfo", Anyone),
    row("get", "/nodeinfo/2.1", "/nodeinfo/2.1", Anyone),
    row("get", "/.well-known/host-meta", "/.well-known/host-meta", Anyone),
    row("get", "/.well-known/host-meta.json", "/.well-known/host-meta.json", Anyone),
    row("get", "/.well-known/sx-capabilities", "/.well-known/sx-capabilities", Anyone),
    row("get", "/admin/dead-letter", "/admin/dead-letter", Admin),
    row("post", "/admin/dead-letter/replay", "/admin/dead-letter/replay", Admin),
    row("delete", "/admin/dead-letter/{id}", "/admin/dead-letter/nothing", Admin),
    row("post", "/admin/dead-letter/{id}/replay", "/admin/dead-letter/nothing/replay", Admin),
    row("get", "/admin/peers", "/admin/peers", Admin),
    row("post", "/admin/peers/probe", "/admin/peers/probe", Admin),
    row("get", "/admin/moderation", "/admin/moderation", Admin),
    with("post", "/admin/moderation", "/admin/moderation", Admin, "{}"),
    with("post", "/admin/moderation/undo", "/admin/moderation/undo", Admin, "{}"),
    row("get", "/admin/moderation/history", "/admin/moderation/history", Admin),
    row("get", "/admin/moderation/simulate", "/admin/moderation/simulate?object=nowhere.example", Admin),
    row("get", "/admin/triggers", "/admin/triggers", Admin),
    row("get", "/admin/moderation/lists", "/admin/moderation/lists", Admin),
    with("post", "/admin/moderation/lists/subscribe", "/admin/moderation/lists/subscribe", Admin, "{}"),
    with("post", "/admin/moderation/lists/unsubscribe", "/admin/moderation/lists/unsubscribe", Admin, "{}"),
    with("post", "/admin/moderation/lists/review", "/admin/moderation/lists/review", Admin, "{}"),
    with("post", "/admin/moderation/lists/adopt", "/admin/moderation/lists/adopt", Admin, "{}"),
    with("post", "/admin/moderation/lists/retract", "/admin/moderation/lists/retract", Admin, "{}"),
    with("post", "/admin/reports/{cid}/resolve", "/admin/reports/nothing/resolve", Admin, "{}"),
    with("post", "/admin/reports/{cid}/reopen", "/admin/reports/nothing/reopen", Admin, "{}"),
    with("post", "/admin/reports/{cid}/forward", "/admin/reports/nothing/forward", Admin, "{}"),
    row("get", "/admin/reports", "/admin/reports", Admin),
    row("get", "/admin/actors", "/admin/actors", Admin),
    with("post", "/admin/actors", "/admin/actors", Admin, "{}"),
    row("get", "/token", "/token", Holder),
    row("get", "/tokens", "/tokens", Holder),
    row("delete", "/tokens/{id}", "/tokens/nothing", Holder),
    row("get", "/admin/tokens", "/admin/tokens", Admin),
    with("post", "/admin/tokens", "/admin/tokens", Admin, "{}"),
    row("delete", "/admin/tokens/{id}", "/admin/tokens/nothing", Admin),
    row("get", "/admin/projections", "/admin/projections?digest=false", Admin),
    row("post", "/admin/projections/{name}/rebuild", "/admin/projections/nothing/rebuild", Admin),
    row("get", "/admin/projections/{name}/set-aside", "/admin/projections/feed/set-aside", Admin),
    with("post", "/admin/projections/{name}/set-aside/{global_seq}", "/admin/projections/feed/set-aside/1", Admin, "{}"),
    row("get", "/admin/delivery/{cid}", "/admin/delivery/{no_cid}", Admin),
    row("get", "/admin/backup", "/admin/backup", Admin),
    with("post", "/admin/backup", "/admin/backup", Admin, "{}"),
    with("post", "/admin/erase", "/admin/erase", Admin, "{}"),
    row("get", "/admin/equivocations", "/admin/equivocations", Admin),
    row("get", "/problems/{slug}", "/problems/not-found", Anyone),
    row("get", "/livez", "/livez", Anyone),
    row("get", "/readyz", "/readyz", Anyone),
    row("get", "/metrics", "/metrics", Anyone),
];

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let served: BTreeSet<_> = fedsx_http::ROUTES
        .iter()
        .flat_map(|(path, methods)| methods.iter().map(move |method| (*path, *method)))
        .collect();
    let rows: BTreeSet<_> = ROWS.iter().map(|row| (row.route, row.method)).collect();
    let missing: Vec<_> = served.difference(&rows).collect();
    assert!(missing.is_empty(), "add rows to tests/wrong_caller/routes.rs: {missing:?}");
    let gone: Vec<_> = rows.difference(&served).collect();
    assert!(gone.is_empty(), "rows of routes that are no more: {gone:?}");
    for (path, method) in served {
        let who = |row: &Row| (row.route, row.method) == (path, method) && row.who != Admin;
        let guarded = !path.starts_with("/admin/") || !ROWS.iter().any(who);
        assert!(guarded, "{method} {path} stands below /admin/ and is for operators alone");
    }
}

fn ask(client: &Client, row: &Row) -> Answer {
    let host = client.url("").trim_start_matches("http://").to_owned();
    let path = row.path.replace("{no_cid}", NO_CID).replace("{host}", &host);
    let form = row.route == "/proxy";
    let kind = if form { "application/x-www-form-urlencoded" } else { "application/activity+json" };
    let body = (!row.body.is_empty()).then(|| row.body.as_bytes().to_vec());
    let body = body.or_else(|| (row.method == "post").then(Vec::new));
    client.send(
        &row.method.to_uppercase(),
        &path,
        &[("content-type", kind), ("accept", "application/activity+json, application/json, */*")],
        body,
    )
}

#[track_caller]
fn refused(stage: &Stage, row: &Row, wrong: &Wrong) {
    let answer = ask(&stage.with(wrong.token.as_deref()), row);
    let what = format!("{} {} by {}", row.method, row.path, wrong.who);
    assert_eq!(answer.status, wrong.status, "{what}: {}", answer.text());
    assert_eq!(answer.media_type(), "application/problem+json", "{what}");
    let problem = answer.json();
    let said = problem["failed_check"].as_str();
    assert!(said.is_some_and(|said| wrong.check.holds(said)), "{what}: {problem}");
    if let Some(token) = &wrong.token {
        assert!(!answer.text_whole().contains(token), "{what}: the token is not shown");
    }
    assert_eq!(answer.status == 401, !answer.header("www-authenticate").is_empty(), "{what}");
}

#[test]
fn no_route_is_open_to_a_wrong_caller() {
    let stage = stage();
    let head = stage.node.settled_head();
    let outcome = |answer: &Answer| {
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, problem["type"].as_str().map(str::to_owned))
    };
    let publishers = stage.wrong("publish", false);
    let readers = stage.wrong("read", false);
    let admins = stage.wrong("admin", false);
    let as_alice = [("publish", stage.wrong("publish", true)), ("read", stage.wrong("read", true))];
    let nobody = stage.nobody();
    for row in ROWS {
        let bare = ask(&stage.with(None), row);
        match row.who {
            Admin => admins.iter().for_each(|wrong| refused(&stage, row, wrong)),
            Publisher => publishers.iter().for_each(|wrong| refused(&stage, row, wrong)),
            Reader => readers.iter().for_each(|wrong| refused(&stage, row, wrong)),
            Alice(scope) => {
                let (_, wrong) =
                    as_alice.iter().find(|(of, _)| *of == scope).expect("a scope of the rows");
                wrong.iter().for_each(|wrong| refused(&stage, row, wrong));
            }
            Holder | Reads => nobody.iter().for_each(|wrong| refused(&stage, row, wrong)),
            Anyone => {
                for wrong in &nobody {
                    let answer = ask(&stage.with(wrong.token.as_deref()), row);
                    let what = format!("{} {} by {}", row.method, row.path, wrong.who);
                    assert_eq!(outcome(&answer), outcome(&bare), "{what}: {}", answer.text());
                }
            }
            Peers => {
                // A token of ours is no signature of theirs, whichever it is.
                for token in nobody.iter().filter_map(|wrong| wrong.token.as_deref()) {
                    for token in [token, stage.right()] {
                        let answer = ask(&stage.with(Some(token)), row);
                        let what = format!("{} {}", row.method, row.path);
                        assert!((400..500).contains(&answer.status), "{what}: {}", answer.text());
                    }
                }
            }
        }
        let open = !matches!(bare.status, 401 | 403);
        let is_open = matches!(row.who, Reads | Anyone) || row.route == "/media";
        if row.who != Peers {
            assert_eq!(open, is_open, "{} {}: {}", row.method, row.path, bare.text());
        } else {
            assert!(
                (400..500).contains(&bare.status),
                "{} {}: {}",
                row.method,
                row.path,
                bare.text()
            );
        }
    }
    let now = stage.node.settled_head();
    assert_eq!(now, head, "whoever may not do something leaves nothing in the log");
    for row in ROWS.iter().filter(|row| row.who != Peers) {
        let answer = ask(&stage.with(Some(stage.right())), row);
        let past =
            !matches!(answer.status, 401 | 403) && answer.status < 500 || row.route == "/media";
        assert!(past, "{} {} by the right caller: {}", row.method, row.path, answer.text());
    }
}
