//! Collections (ActivityStreams 2.0, section 2.7; ActivityPub, section 5).

use serde_json::{Map, Value, json};

/// Items on a page where the client does not say how many.
pub(crate) const PAGE: usize = 20;
/// Most items on a page.
pub(crate) const MAX_PAGE: usize = 200;

/// A collection that is read by pages.
pub(crate) fn collection(id: &str, total: u64) -> Value {
    json!({
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": id,
        "type": "OrderedCollection",
        "totalItems": total,
        "first": format!("{id}?page=true"),
    })
}

/// A collection in no order that is read by pages.
pub(crate) fn unordered(id: &str, total: u64) -> Value {
    let mut collection = collection(id, total);
    if let Some(members) = collection.as_object_mut() {
        members.insert("type".into(), "Collection".into());
    }
    collection
}

/// A page of a collection in no order.
pub(crate) fn unordered_page(
    id: &str,
    query: &str,
    items: Vec<Value>,
    next: Option<&str>,
) -> Value {
    let next = next.map(|after| {
        let after: String = url::form_urlencoded::byte_serialize(after.as_bytes()).collect();
        ("next", json!(format!("{id}?page=true&after={after}")))
    });
    let mut page = page(id, query, Vec::new(), next);
    if let Some(members) = page.as_object_mut() {
        members.remove("orderedItems");
        members.insert("type".into(), "CollectionPage".into());
        members.insert("items".into(), items.into());
    }
    page
}

/// A page of a collection.
pub(crate) fn page(
    collection: &str,
    query: &str,
    items: Vec<Value>,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> Value {
    let mut page = Map::new();
    page.insert(
        "@context".into(),
        json!([
            "https://www.w3.org/ns/activitystreams",
            // Ranges that the reader may not see.
            { "withheld": { "@id": "urn:fedsx:ns:withheld", "@type": "@json" } },
        ]),
    );
    page.insert("id".into(), format!("{collection}?{query}").into());
    page.insert("type".into(), "OrderedCollectionPage".into());
    page.insert("partOf".into(), collection.into());
    page.insert("orderedItems".into(), items.into());
    for (name, value) in more {
        page.insert(name.into(), value);
    }
    Value::Object(page)
}
