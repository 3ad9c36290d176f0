//! Publishes of actors of the instance itself.

use anyhow::Result;
use axum::http::HeaderMap;
use serde_json::json;

use crate::load::{Arrivals, Requests};
use crate::shared::author::PUBLIC;
use crate::shared::node::{Node, secret};
use crate::{Bench, limits, wire};

/// Clients that publish at once.
const CLIENTS: [usize; 4] = [1, 16, 64, 256];
/// Actors that they publish as: one actor has at most 64 publishes under way.
const ACTORS: usize = 16;

/// The names of the actors.
pub fn actors() -> Vec<String> {
    (0..ACTORS).map(|number| format!("author{number}")).collect()
}

/// One request for each actor.
pub fn requests(node: &Node) -> Result<Vec<Vec<u8>>> {
    let content = format!("<p>{}</p>", "as long as such remarks are, ".repeat(10));
    let note = json!({ "type": "Note", "content": content, "to": [PUBLIC] });
    let mut requests = Vec::new();
    for actor in actors() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/activity+json".parse()?);
        headers.insert("authorization", format!("Bearer {}", secret(&actor)).parse()?);
        let body = note.to_string();
        requests.push(wire::request("POST", "/activity", node.port, &headers, body.as_bytes()));
    }
    Ok(requests)
}

/// With more and more clients, then at half of the rate that the most of them had.
pub fn measure(bench: &Bench) -> Result<()> {
    let directory = bench.directory()?;
    let node = bench.node(&directory, &actors())?;
    let requests = requests(&node)?;
    let mut per_second = 0.0;
    for clients in CLIENTS {
        let limits = limits::measure(directory.path())?;
        let requests = Requests::Again(requests.clone().into(), bench.lasting);
        let measured = bench.load(&node, requests, Arrivals::Closed(clients))?;
        measured.tell(&format!("publish clients={clients}"), Some(&limits));
        per_second = measured.outcome.per_second() / 2.0;
    }
    let limits = limits::measure(directory.path())?;
    let requests = Requests::Again(requests.into(), bench.lasting);
    let measured = bench.load(&node, requests, Arrivals::Open { per_second, connections: 256 })?;
    measured.tell(&format!("publish offered_per_s={per_second:.0}"), Some(&limits));
    Ok(())
}
