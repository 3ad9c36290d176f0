//! What an instance serves of an actor's log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fedsx_delivery::client::{Client, ClientOptions, Response, TcpDial};
use fedsx_kernel::keys::{Algorithm, KeyHistory, Purpose};
use fedsx_kernel::merkle::note::{Note, VerifierKey};
use fedsx_kernel::merkle::{TreeHash, origin_of_log};
use fedsx_kernel::origin_of;
use fedsx_kernel::runtime::Runtime;
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::Value;

use crate::progress::Progress;

/// How often a server may say that it is not ready, for example while it computes its tree.
const MOST_TRIES: u32 = 1000;
/// The longest pause between two of them, in seconds.
const LONGEST_PAUSE_S: u64 = 10;

/// The log of one actor.
pub(super) struct Remote {
    client: Client,
    runtime: Runtime,
    actor: String,
    /// What the checkpoints of this log begin with.
    pub origin: String,
}

/// A key of an actor as a verifier key of its log.
pub(super) struct LogKey {
    pub key: VerifierKey,
    /// Whether nothing superseded it.
    pub current: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    ordered_items: KeyHistory,
}

#[derive(Deserialize)]
struct Proof {
    hashes: Vec<TreeHash>,
}

impl Remote {
    pub(super) fn new(url: &str) -> Result<Self> {
        let actor = url.trim_end_matches('/').to_owned();
        if origin_of(&actor).is_none() || actor.contains(['?', '#']) {
            bail!("--url: {url:?} is not the address of an actor");
        }
        // The address comes from whoever runs the command, not from another server.
        let options = ClientOptions {
            allow_private_network: true,
            allow_http: actor.starts_with("http://"),
            max_redirects: 0,
            ..ClientOptions::default()
        };
        let runtime = Runtime::system();
        let dial = Arc::new(TcpDial { allow_private_network: true });
        let client = Client::new(options, dial, runtime.clock.clone());
        let origin = origin_of_log(&format!("{actor}/log")).to_owned();
        Ok(Self { client, runtime, actor, origin })
    }

    /// The newest checkpoint, not verified yet.
    pub(super) async fn checkpoint(&self) -> Result<Note> {
        let url = format!("{}/log/checkpoint", self.actor);
        let answer = self.get(&url, "text/plain").await?;
        if answer.status == StatusCode::GONE {
            bail!("the actor was deleted; it signs no checkpoints any more");
        }
        let body = good(&url, &answer)?;
        let text = std::str::from_utf8(body).with_context(|| url.clone())?;
        text.parse().with_context(|| url)
    }

    /// All keys that the actor ever signed activities with.
    pub(super) async fn keys(&self) -> Result<Vec<LogKey>> {
        let url = format!("{}/keys", self.actor);
        let answer = self.get(&url, "application/activity+json").await?;
        let keys: Keys =
            serde_json::from_slice(good(&url, &answer)?).with_context(|| url.clone())?;
        let mut found = Vec::new();
        for key in keys.ordered_items.all() {
            if !key.serves(Purpose::SignActivity) || key.controller != self.actor {
                continue;
            }
            let public = key.public().with_context(|| key.id.clone())?;
            if public.algorithm() == Algorithm::Ed25519 {
                let current = key.is_current();
                found.push(LogKey { key: VerifierKey::new(&self.origin, public)?, current });
            }
        }
        Ok(found)
    }

    /// The proof between two sizes; `Err` inside where the server has none.
    pub(super) async fn consistency(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Result<Vec<TreeHash>, String>> {
        let url = format!("{}/log/proof/consistency?from={from}&to={to}", self.actor);
        let answer = self.get(&url, "application/json").await?;
        if answer.status.is_client_error() {
            return Ok(Err(described(&answer)));
        }
        let proof: Proof =
            serde_json::from_slice(good(&url, &answer)?).with_context(|| url.clone())?;
        Ok(Ok(proof.hashes))
    }

    /// Asks, and asks again while the server says that it is not ready.
    async fn get(&self, url: &str, accept: &str) -> Result<Response> {
        let mut waiting = None;
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.client.get(url, accept, None).await;
            let answer = answer.with_context(|| url.to_owned())?;
            let later = matches!(
                answer.status,
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
            );
            if !later || tries >= MOST_TRIES {
                return Ok(answer);
            }
            waiting.get_or_insert_with(|| Progress::count("waiting for the server", 0)).add(1);
            let seconds = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(1);
            let pause = Duration::from_secs(seconds.clamp(1, LONGEST_PAUSE_S));
            self.runtime.clock.sleep(pause).await;
        }
    }
}

fn good<'a>(url: &str, answer: &'a Response) -> Result<&'a [u8]> {
    if answer.status == StatusCode::OK {
        return Ok(&answer.body);
    }
    bail!("{url} answered {}", described(answer))
}

/// Status and detail of an answer that is a problem document.
fn described(answer: &Response) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match problem.get("detail").and_then(Value::as_str) {
        Some(detail) => format!("{}: {}", answer.status, detail.escape_debug()),
        None => answer.status.to_string(),
    }
}
