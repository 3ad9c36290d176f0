//! The followers of an actor that are of the asking instance (FEP-8fcf).

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use fedsx_delivery::synchronization::{PARTIAL, followers_at};
use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::Graph;
use fedsx_kernel::address::origin_of;
use fedsx_kernel::refusal::{Problem, Refusal};
use serde_json::json;

use super::Answer;
use crate::app::App;
use crate::caller::{self, Caller};
use crate::negotiate;

/// Whom an instance may ask about, is told by the signature: only its own actors. The list is whole,
/// since whoever is missing in it is taken for one who does not follow.
pub(crate) async fn followers(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let name = super::actors::name(&name)?;
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    let Caller::Peer(asking) = caller else {
        let detail = "this is for requests that an actor of the instance signed whom it is about";
        return Err(Refusal::new(Problem::InvalidSignature, detail).into());
    };
    super::actors::hosted(&app, &name)?;
    let origin = origin_of(&asking).unwrap_or_default();
    let (actor, id) = (app.base().actor(&name), app.base().of_actor(&name, PARTIAL));
    let items = app
        .read(move |app| {
            let state = app.kernel().log().state();
            Ok(followers_at(&Graph::new(GRAPH), state, &actor, &origin)?)
        })
        .await?;
    let items = items.ok_or_else(|| {
        Refusal::new(Problem::NotFound, "there are too many followers to compare")
    })?;
    Ok(negotiate::activity(&json!({
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": id,
        "type": "OrderedCollection",
        "totalItems": items.len(),
        "orderedItems": items,
    })))
}
