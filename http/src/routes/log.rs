//! The Merkle log of an actor: its outbox as a tiled transparency log (C2SP tlog-tiles).
//!
//! The log's prefix is `/actors/{name}/log`; its origin is that URL without scheme. Checkpoint,
//! tiles and proofs are for anyone, also where they cover activities that only some may read: a
//! leaf is a CID, the CID's block holds 128 random bits of salt, and so it tells nothing of what
//! was said. How many activities an actor published is no secret here.
//!
//! Of a deleted actor the tiles and proofs stay, so that checkpoints that others keep stay
//! provable; its keys are destroyed, so no new checkpoint is signed.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use fedsx_genesis::actors;
use fedsx_kernel::keys::{Material, Purpose};
use fedsx_kernel::log::Stream;
use fedsx_kernel::merkle::{Checkpoint, TileAddress, TreeHead, origin_of_log};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::{ActorName, Cid};
use serde::Serialize;

use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::negotiate;

/// A checkpoint is old as soon as something is published.
const MUTABLE: &str = "no-cache";
/// What a tile holds never changes.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

pub(crate) async fn checkpoint(State(app): State<App>, Path(name): Path<String>) -> Answer {
    let name = super::actors::name(&name)?;
    super::actors::hosted(&app, &name)?;
    let TreeHead { size, root } =
        app.parts.trees.head(Stream::Outbox(name.clone())).await.map_err(Refusal::from)?;
    let note = app
        .read(move |app| {
            let url = app.base().of_actor(&name, "log");
            let origin = origin_of_log(&url).to_owned();
            let checkpoint = Checkpoint { origin, size, root, extensions: Vec::new() };
            sign(app, &name, &checkpoint)
        })
        .await?;
    Ok(answer("text/plain; charset=utf-8", MUTABLE, note.into_bytes()))
}

/// Signs with the actor's newest key for activities.
fn sign(app: &App, name: &ActorName, checkpoint: &Checkpoint) -> Result<String, Refusal> {
    let internal = |e: &dyn std::fmt::Display| Refusal::new(Problem::Internal, e.to_string());
    let kernel = app.kernel();
    let keys = kernel.rules().keys(kernel.log().state(), &app.base().actor(name))?;
    let keys = keys.unwrap_or_default();
    let key = keys
        .current(Purpose::SignActivity)
        .filter(|key| matches!(key.material, Material::Multikey { .. }))
        .max_by_key(|key| key.valid_from)
        .ok_or_else(|| internal(&format!("{name} has no key that signs")))?;
    let secret = kernel.ring().secret(&key.id)?;
    let note = checkpoint.sign(&secret, kernel.runtime().random.as_ref());
    note.map(|note| note.to_string()).map_err(|e| internal(&e))
}

pub(crate) async fn tile(
    State(app): State<App>,
    Path((name, path)): Path<(String, String)>,
) -> Answer {
    let stream = outbox(&app, &name)?;
    let address: TileAddress = format!("tile/{path}")
        .parse()
        .map_err(|e| Refusal::new(Problem::NotFound, format!("no tile has this address: {e}")))?;
    let bytes = app.parts.trees.tile(stream, address).await.map_err(Refusal::from)?;
    Ok(answer("application/octet-stream", IMMUTABLE, bytes))
}

pub(crate) async fn inclusion(
    State(app): State<App>,
    Path(name): Path<String>,
    uri: Uri,
) -> Answer {
    let stream = outbox(&app, &name)?;
    let query = parameters(&uri);
    let cid: Cid = required("cid", parameter("cid", first(&query, "cid"))?)?;
    let size = parameter("size", first(&query, "size"))?;
    let proof = app.parts.trees.inclusion(stream, cid, size).await.map_err(Refusal::from)?;
    proof_document(&proof)
}

pub(crate) async fn consistency(
    State(app): State<App>,
    Path(name): Path<String>,
    uri: Uri,
) -> Answer {
    let stream = outbox(&app, &name)?;
    let query = parameters(&uri);
    let from = required("from", parameter("from", first(&query, "from"))?)?;
    let to = parameter("to", first(&query, "to"))?;
    let proof = app.parts.trees.consistency(stream, from, to).await.map_err(Refusal::from)?;
    proof_document(&proof)
}

fn required<T>(name: &'static str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| {
        Refusal::new(Problem::InvalidParameter, format!("{name} is missing"))
            .with("parameter", name)
    })
}

/// The outbox of an actor that lives here or did.
fn outbox(app: &App, name: &str) -> Result<Stream, Refusal> {
    let name = super::actors::name(name)?;
    match actors::actor(app.kernel().log().state(), &app.base().actor(&name))? {
        Some(_) => Ok(Stream::Outbox(name)),
        None => Err(Refusal::new(Problem::UnknownActor, format!("there is no {name}"))),
    }
}

fn proof_document<T: Serialize>(proof: &T) -> Answer {
    let value =
        serde_json::to_value(proof).map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
    Ok(negotiate::json(StatusCode::OK, "application/json", &value))
}

/// An answer that is the same for everybody.
fn answer(media_type: &'static str, caching: &'static str, body: Vec<u8>) -> Response {
    let mut response = (StatusCode::OK, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}
