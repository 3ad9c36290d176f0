//! Reading the pages of an outbox (ActivityStreams 2.0 Core, section 5).

use fedsx_kernel::activity::{id_of, kind_of};
use fedsx_kernel::address::same_origin;
use serde_json::Value;
use url::Url;

/// One page.
pub(crate) struct Page {
    /// Activities as they stand there, or their ids.
    pub items: Vec<Value>,
    /// The page after it.
    pub next: Option<String>,
}

/// Reads a page; links to other origins are not followed.
pub(crate) fn read(document: &Value, url: &str) -> Page {
    let link = |name: &str| {
        let to = document.get(name).and_then(id_of)?;
        let to = Url::parse(url).ok()?.join(to).ok()?.to_string();
        same_origin(&to, url).then_some(to)
    };
    let items = document.get("orderedItems").or_else(|| document.get("items"));
    match items {
        Some(items) => Page { items: listed(items), next: link("next") },
        // Some embed the first page.
        None => match document.get("first") {
            Some(first @ Value::Object(members)) if kind_of(members).is_some() => {
                let has_items =
                    members.contains_key("orderedItems") || members.contains_key("items");
                if has_items {
                    read(&without_first(first), url)
                } else {
                    Page { items: Vec::new(), next: link("first") }
                }
            }
            _ => Page { items: Vec::new(), next: link("first") },
        },
    }
}

fn without_first(page: &Value) -> Value {
    let mut page = page.clone();
    if let Some(members) = page.as_object_mut() {
        members.remove("first");
    }
    page
}

fn listed(items: &Value) -> Vec<Value> {
    match items {
        Value::Array(items) => items.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

/// The URL of an outbox with parameters.
pub(crate) fn with_query(outbox: &str, parameters: &[(&str, &str)]) -> Option<String> {
    let mut url = Url::parse(outbox).ok()?;
    url.query_pairs_mut().extend_pairs(parameters);
    Some(url.into())
}
