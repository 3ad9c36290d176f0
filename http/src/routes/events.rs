//! Live streams of projections as server-sent events (WHATWG HTML, section 9.2).
//!
//! `event: change` carries `{key, value, global_seq}`; its `id` is the position of the change. Of
//! several changes at one position only the last one has an `id`, so that who reconnects with
//! `Last-Event-ID` misses none. `event: reset` says that what changed since then is not known any
//! more, that the state was rebuilt, or that it was decided anew whom this instance hides: the client
//! reads everything anew (`min_seq` is the position), and what changes from there on follows.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::Response;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::runtime::Runtime;
use fedsx_projections::{Changes, News, Subscription};
use futures::{FutureExt as _, stream};
use serde_json::json;

use super::projections::{DELIVERY_STATE, PEER_SCHEMES, key, reader};
use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::caller::{self, Caller};
use crate::limits::ClientAddress;

/// A comment is sent after so long without an event, so that nobody takes the line for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After so long a stream ends: the client reconnects, and shows again who it is.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a client should wait before it reconnects, in milliseconds.
const RETRY_MS: u64 = 2000;
const MEDIA_TYPE: &str = "text/event-stream";

pub(crate) async fn events(
    State(app): State<App>,
    Path(name): Path<String>,
    address: Option<Extension<ClientAddress>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    acceptable(&headers)?;
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    if [DELIVERY_STATE, PEER_SCHEMES].contains(&name.as_str()) {
        return Err(Refusal::new(Problem::NotFound, "deliveries have no live stream").into());
    }
    let query = parameters(&uri);
    let key = key(&app, &name, &caller, &query)?;
    let subscription = Subscription {
        since: since(&headers, &query)?,
        key_prefix: (!key.is_empty()).then_some(key),
        reader: reader(&app, &caller),
        clients: counted(&caller, address.map(|Extension(address)| address)),
    };
    let changes = app.parts.projections.changes(&name, subscription).map_err(Refusal::from)?;
    let runtime = app.kernel().runtime().clone();
    let stream = Stream::new(changes, runtime);
    let events = stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), Some(stream)))
    });
    let mut response = Response::new(Body::from_stream(events));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect an answer before they pass it on would hold the events back.
    fields.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// By which names a client counts: everybody behind one address, and every holder of tokens of one
/// actor.
fn counted(caller: &Caller, address: Option<ClientAddress>) -> Vec<String> {
    let address = address.map(|address| address.network().to_string());
    let actor = caller.grant().map(|grant| format!("tokens of {}", grant.actor));
    address.into_iter().chain(actor).collect()
}

fn acceptable(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .peekable();
    let takes = |range: &str| ["*/*", "text/*", MEDIA_TYPE].contains(&&*range.to_ascii_lowercase());
    if ranges.peek().is_none() || ranges.any(takes) {
        return Ok(());
    }
    Err(Refusal::new(Problem::NotAcceptable, format!("this is {MEDIA_TYPE}")))
}

/// Where the client stands: as it says itself when it reconnects, else as the query says.
fn since(headers: &HeaderMap, query: &[(String, String)]) -> Result<Option<u64>, Refusal> {
    match headers.get("last-event-id") {
        Some(value) if !value.is_empty() => {
            parameter("Last-Event-ID", Some(value.to_str().unwrap_or_default()))
        }
        _ => parameter("since", first(query, "since")),
    }
}

struct Stream {
    changes: Changes,
    runtime: Runtime,
    ends: Timer,
    /// Runs from when something was sent last.
    beat: Timer,
    begun: bool,
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Stream {
    fn new(changes: Changes, runtime: Runtime) -> Self {
        let (ends, beat) = (runtime.clock.sleep(LONGEST), runtime.clock.sleep(HEARTBEAT));
        Self { changes, runtime, ends, beat, begun: false }
    }

    /// The next text to send; none at the end.
    async fn next(&mut self) -> Option<String> {
        let text = self.text().await?;
        self.beat = self.runtime.clock.sleep(HEARTBEAT);
        Some(text)
    }

    async fn text(&mut self) -> Option<String> {
        loop {
            // A stream that always has news ends, too.
            if (&mut self.ends).now_or_never().is_some() {
                return None;
            }
            match self.changes.news().await {
                Ok(Some(News::Reset(at))) => {
                    let data = json!({ "global_seq": at });
                    return Some(format!("id: {at}\nevent: reset\ndata: {data}\n\n"));
                }
                Ok(Some(News::Changes(changes))) => {
                    let text: String = changes.iter().map(event).collect();
                    if !text.is_empty() {
                        return Some(text);
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a live stream ends");
                    return None;
                }
            }
            if !self.begun {
                self.begun = true;
                let at = self.changes.position();
                return Some(format!("retry: {RETRY_MS}\nid: {at}\n\n"));
            }
            tokio::select! {
                biased;
                () = &mut self.ends => return None,
                more = self.changes.changed() => if !more {
                    return None;
                },
                () = &mut self.beat => {
                    // The position moves the client on also where nothing was for it.
                    return Some(format!(": heartbeat\nid: {}\n\n", self.changes.position()));
                }
            }
        }
    }
}

fn event(change: &fedsx_projections::Change) -> String {
    let id = if change.is_last { format!("id: {}\n", change.global_seq) } else { String::new() };
    // JSON without line breaks; `serde_json` writes them only inside of texts, as \\n.
    let data = json!({ "key": change.key, "value": change.value, "global_seq": change.global_seq });
    format!("{id}event: change\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests;
