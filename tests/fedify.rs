//! A server of other authors at the other end: Fedify from npm, over sockets, in both directions.
//!
//! Skipped, loudly, only where the npm registry cannot be reached. plans/interop.md says what each
//! test shows.

mod documents;
mod life;
mod signatures;

use std::process::Command;

use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::npm;
use crate::support::program::Program;

/// Fedify needs node 22 (its `engines`).
const NODE_MAJOR: u32 = 22;
/// The two schemes that Fedify signs with, as it names them.
const RFC_9421: &str = "rfc9421";
const CAVAGE: &str = "draft-cavage-http-signatures-12";

/// A server on Fedify, with the actors ada and bert. `knock` is the signature scheme that it tries
/// first with a server it does not know.
fn start(knock: &str) -> Option<Program> {
    match npm::installed("fedify").and_then(|at| Ok((at, npm::node(NODE_MAJOR)?))) {
        Ok((place, node)) => {
            let mut command = Command::new(node);
            command.arg(place.join("server.mjs")).args(["--knock", knock]);
            Some(Program::start(command))
        }
        Err(reason) => {
            eprintln!("SKIPPED: nothing was tried with Fedify: {reason}");
            None
        }
    }
}

/// What a projection holds under a key.
fn row(node: &Node, projection: &str, key: &[&str]) -> Option<Value> {
    let key = json!(key);
    let rows = node.projection(projection, "?limit=1000");
    rows.into_iter().find(|row| row["key"] == key).map(|row| row["value"].clone())
}

/// The outbox of an actor as it sees it itself.
fn own_outbox(node: &Node, name: &str) -> Vec<Value> {
    let path = format!("/actors/{name}/outbox?since=&limit=100");
    let page = node.as_actor(name).get(&path).expect(200, "its outbox").json();
    crate::support::verbs::items(&page)
}

/// The id of the newest activity of a kind that an actor published.
fn newest(node: &Node, name: &str, kind: &str) -> String {
    let outbox = own_outbox(node, name);
    let found = outbox.iter().rev().find(|one| one["type"] == kind);
    let found = found.unwrap_or_else(|| panic!("a {kind} among {outbox:?}"));
    found["id"].as_str().expect("an id").to_owned()
}
