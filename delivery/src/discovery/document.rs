//! From a fetched actor document to a record in the log.

use std::time::Duration;

use fedsx_kernel::address::same_origin;
use fedsx_kernel::keys::Key;
use fedsx_kernel::{Problem, Refusal, origin_of};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::fetch::{self, unfit};
use super::{Discovery, Inner, history};

/// Fetches an actor and records what is new, and remembers how that went.
pub(super) async fn bring(inner: &std::sync::Arc<Inner>, id: &str) -> Result<(), Refusal> {
    let clock = &inner.parts.runtime.clock;
    if let Some(last_ms) = inner.fetched.get(id) {
        let since_ms = clock.now_ms().saturating_sub(last_ms).max(0);
        let since = Duration::from_millis(u64::try_from(since_ms).unwrap_or(0));
        if since < inner.options.fetch_pause {
            clock.sleep(inner.options.fetch_pause.saturating_sub(since)).await;
        }
    }
    let outcome = timeout(inner.options.fetch_timeout, fetch_all(inner, id)).await;
    let outcome = outcome.unwrap_or_else(|_| {
        Err(Refusal::new(Problem::UpstreamFailed, format!("{id} did not answer in time")))
    });
    let outcome = match outcome {
        Ok(Brought { document, keys, ttl }) => {
            record(inner, id, document, keys).await.map(|()| ttl)
        }
        Err(refusal) => Err(refusal),
    };
    match &outcome {
        Ok(ttl) => inner.fetched.put_for(id, clock.now_ms(), *ttl),
        // A fault of ours, or of the request that asked, says nothing about the actor; and a block
        // ends at once.
        Err(Refusal {
            problem: Problem::Internal | Problem::TooManyRequests | Problem::Blocked,
            ..
        }) => {}
        Err(refusal) => inner.failed.put(id, refusal.clone()),
    }
    outcome.map(drop)
}

/// What a fetch brought.
struct Brought {
    document: Value,
    keys: Option<Vec<Key>>,
    /// How long the document is taken for current.
    ttl: Duration,
}

async fn fetch_all(inner: &std::sync::Arc<Inner>, id: &str) -> Result<Brought, Refusal> {
    let discovery = Discovery { inner: inner.clone() };
    let signer = discovery.instance_signer().await;
    let client = inner.parts.client.with_body_limit(inner.options.max_document_bytes);
    let fetched = fetch::document(&client, id, signer.as_ref()).await?;
    check_identity(&fetched.value, id, &fetched.final_url).map_err(|reason| unfit(id, &reason))?;
    check_actor(&fetched.value).map_err(|reason| unfit(id, &reason))?;
    let keys = fetched.value.get("keys").and_then(Value::as_str);
    let keys = match keys.filter(|url| same_origin(url, id)) {
        Some(url) => match history::fetch(&client, url, id, signer.as_ref()).await {
            Ok(keys) => Some(keys),
            // The document alone still has the current keys.
            Err(refusal) => {
                tracing::warn!(actor = %id, %refusal, "the key history was not taken");
                None
            }
        },
        None => None,
    };
    let ttl = inner.options.bounds_of_actors().lifetime(&fetched.headers);
    Ok(Brought { document: fetched.value, keys, ttl })
}

/// The id inside, the URL asked for and the one that answered must be the same: otherwise a
/// server could speak for another, or an upload on a server for an actor there.
pub(crate) fn check_identity(document: &Value, asked: &str, answered: &str) -> Result<(), String> {
    let id = document.get("id").and_then(Value::as_str).unwrap_or_default();
    if id != asked {
        return Err(format!("its id is {:?}", id.chars().take(200).collect::<String>()));
    }
    let without_fragment = |url: &str| {
        url::Url::parse(url).ok().map(|mut url| {
            url.set_fragment(None);
            url
        })
    };
    match (without_fragment(asked), without_fragment(answered)) {
        (Some(asked), Some(answered)) if asked == answered => Ok(()),
        _ => Err(format!("it was served from {answered}")),
    }
}

/// Whatever has an inbox of its own is an actor; there is no list of types.
fn check_actor(document: &Value) -> Result<(), String> {
    let members = document.as_object().ok_or("it is not an object")?;
    if fedsx_kernel::activity::kind_of(members).is_none() {
        return Err("it has no type".into());
    }
    match members.get("inbox").and_then(Value::as_str) {
        Some(inbox) if origin_of(inbox).is_some() => Ok(()),
        _ => Err("it has no inbox, so it is no actor".into()),
    }
}

async fn record(
    inner: &std::sync::Arc<Inner>,
    id: &str,
    document: Value,
    keys: Option<Vec<Key>>,
) -> Result<(), Refusal> {
    let (reader, actor, fetched) = (inner.clone(), id.to_owned(), document.clone());
    let new_keys = keys.clone().unwrap_or_default();
    let same = inner.parts.runtime.run(move || {
        let state = reader.parts.log.state();
        if fedsx_genesis::actors::document(state, &actor)?.as_ref() != Some(&fetched) {
            return Ok(false);
        }
        let known = reader.parts.rules.keys(state, &actor)?.unwrap_or_default();
        Ok(new_keys.iter().all(|key| known.find(&key.id) == Some(key)))
    });
    let same: Result<bool, fedsx_kernel::state::StateError> =
        same.await.map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
    if same? {
        return Ok(());
    }
    let mut content = Map::new();
    content.insert("type".into(), "ActorFetched".into());
    content.insert("object".into(), document);
    if let Some(keys) = keys {
        let keys = serde_json::to_value(keys)
            .map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
        content.insert("keyHistory".into(), keys);
    }
    let parts = &inner.parts;
    fedsx_kernel::kernel::record(&parts.log, &parts.kernel_options, &parts.runtime, content, None)
        .await
        .map(drop)
}
