//! The key history that our own servers publish beside the actor document.

use fedsx_kernel::Refusal;
use fedsx_kernel::address::same_origin;
use fedsx_kernel::keys::{Key, MAX_KEYS};
use serde_json::Value;

use super::KeySigner;
use super::fetch::{self, unfit};
use crate::client::Client;

/// The most pages that are read.
const MAX_PAGES: usize = 8;

/// Fetches all keys of an actor.
pub(super) async fn fetch(
    client: &Client,
    url: &str,
    actor: &str,
    signer: Option<&KeySigner>,
) -> Result<Vec<Key>, Refusal> {
    let mut keys = Vec::new();
    let mut next = Some(url.to_owned());
    for _ in 0..MAX_PAGES {
        let Some(page_url) = next.take() else { return Ok(keys) };
        let page = fetch::document(client, &page_url, signer).await?;
        if !same_origin(&page.final_url, actor) {
            return Err(unfit(&page_url, "it is served by another origin"));
        }
        let items = match &page.value {
            Value::Array(items) => Some(items),
            page => {
                page.get("orderedItems").or_else(|| page.get("items")).and_then(Value::as_array)
            }
        };
        for item in items.into_iter().flatten() {
            keys.push(read(item, actor).map_err(|reason| unfit(&page_url, &reason))?);
            if keys.len() > MAX_KEYS {
                return Err(unfit(&page_url, "it has too many keys"));
            }
        }
        let follow = if items.is_some() { "next" } else { "first" };
        next = page.value.get(follow).and_then(fedsx_kernel::activity::id_of).map(str::to_owned);
        if next.as_deref().is_some_and(|next| !same_origin(next, actor)) {
            return Err(unfit(&page_url, "its next page is of another origin"));
        }
    }
    if next.is_some() { Err(unfit(url, "it has too many pages")) } else { Ok(keys) }
}

fn read(item: &Value, actor: &str) -> Result<Key, String> {
    let key: Key = serde_json::from_value(item.clone()).map_err(|e| e.to_string())?;
    if key.controller != actor || !same_origin(&key.id, actor) {
        return Err("a key belongs to somebody else".to_owned());
    }
    key.public().map_err(|e| e.to_string())?;
    Ok(key)
}
