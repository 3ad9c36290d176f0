//! Reads: an actor, an activity, an object, a page of an outbox, a projection.

use anyhow::{Context as _, Result};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::load::{Arrivals, Requests};
use crate::shared::author::PUBLIC;
use crate::{Bench, wire};

/// Whose things are read.
const ACTOR: &str = "alice";
/// What it said before.
const NOTES: usize = 200;
/// Clients that read at once.
const CLIENTS: usize = 64;

/// Each for some time, with as many clients as the processors can use.
pub fn measure(bench: &Bench) -> Result<()> {
    let directory = bench.directory()?;
    let node = bench.node(&directory, &[ACTOR.to_owned()])?;
    let (mut activities, mut objects) = (Vec::new(), Vec::new());
    for number in 0..NOTES {
        let content = format!("<p>{number} {}</p>", "as long as such remarks are, ".repeat(10));
        let note = json!({ "type": "Note", "content": content, "to": [PUBLIC] });
        let answer = node.publish(ACTOR, &note)?;
        let path = |member: &str| -> Result<String> {
            let url = answer.get(member).and_then(Value::as_str).context("no id")?;
            Ok(url.strip_prefix(&node.base).context("another base")?.to_owned())
        };
        activities.push(path("id")?);
        objects.push(path("object")?);
    }
    node.rest()?;
    let actor = format!("/actors/{ACTOR}");
    let what = [
        ("actor", vec![actor.clone()]),
        ("activity", activities),
        ("object", objects),
        ("outbox-page", vec![format!("{actor}/outbox?page=true")]),
        ("projection-row", vec![format!("/projections/actor-state?key={}{actor}", node.base)]),
        ("projection-page", vec!["/projections/objects?limit=20".to_owned()]),
    ];
    for (name, paths) in what {
        let mut headers = HeaderMap::new();
        let accept = "application/activity+json, application/json";
        headers.insert("accept", accept.parse()?);
        let requests: Vec<Vec<u8>> =
            paths.iter().map(|path| wire::request("GET", path, node.port, &headers, &[])).collect();
        let first = requests.first().context("no request")?;
        let bytes = match wire::ask(node.port, first)? {
            answer if answer.status == 200 => answer.length,
            answer => anyhow::bail!("{name} is answered with {}", answer.status),
        };
        let requests = Requests::Again(requests.into(), bench.lasting);
        let measured = bench.load(&node, requests, Arrivals::Closed(CLIENTS))?;
        measured.tell(&format!("read {name} bytes={bytes} clients={CLIENTS}"), None);
    }
    Ok(())
}
