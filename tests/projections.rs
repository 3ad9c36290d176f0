//! Projections: who is shown what, past state, live streams, records that were set aside, and
//! rebuilding.

mod decided;
mod events;
mod kept;
mod live;
mod moderated;
mod pages;
mod past;
mod private;

use serde_json::Value;

use self::events::Events;
use crate::actor_lifecycle::encoded;
use crate::support::node::{Node, command, run_to_end};
use crate::support::{Client, secret};

const PUBLIC_ONES: [&str; 13] = [
    "actor-state",
    "announces",
    "collections",
    "define-registry",
    "endorsements",
    "follower-graph",
    "hashtags",
    "key-history",
    "objects",
    "peer-actors",
    "reactions",
    "replies",
    "reports",
];

/// Everything that a reader gets from one projection: pages of present and past state in both
/// directions, and what live streams replay.
fn everything(client: &Client, token: Option<&str>, name: &str, head: u64) -> String {
    let mut text = String::new();
    for form in ["", "&order=desc", &format!("&at={head}"), "&limit=1"] {
        let mut after = String::new();
        loop {
            let path = format!("/projections/{name}?min_seq={head}{form}{after}");
            let page = client.get(&path).expect(200, name);
            text.push_str(&String::from_utf8_lossy(&page.body));
            match page.json()["next"].as_str() {
                Some(next) => after = format!("&after={}", encoded(next).replace('\n', "%0A")),
                None => break,
            }
        }
    }
    let authorization = token.map(|token| format!("Bearer {}", secret(token)));
    let mut headers = vec![("last-event-id", "0")];
    headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
    let stream = Events::of(client, &format!("/projections/{name}/events"), &headers);
    for change in stream.until_quiet() {
        text.push_str(&change.to_string());
    }
    text
}

/// `fedsx projection` against a running node, by its admin token.
fn projection(node: &Node, args: &[&str]) -> (Option<i32>, String) {
    let mut command = command();
    command.arg("projection").args(args);
    command.env("FEDSX_URL", &node.base).env("FEDSX_TOKEN", secret("operator"));
    let ended = run_to_end(command);
    (ended.code, format!("{}{}", ended.stdout, ended.stderr))
}

/// The digest of a projection that has come to the end of the log.
fn digest(node: &Node, name: &str) -> Value {
    let head = node.settled_head();
    let path = format!("/projections/{name}?limit=1&min_seq={head}&wait_ms=20000");
    node.admin().get(&path).expect(200, name);
    let path = format!("/admin/projections?name={name}");
    let items = node.admin().get(&path).expect(200, "digests").json()["items"].clone();
    items[0]["digest"].clone()
}
