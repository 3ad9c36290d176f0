//! Request bodies: media type, size, time, memory.

use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, header};
use fedsx_kernel::refusal::{Problem, Refusal};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::app::App;
use crate::limits::Refused;

/// Media types in which activities are taken.
const TAKEN: [&str; 3] = ["application/activity+json", "application/ld+json", "application/json"];
/// The media type of a form.
const FORM: &str = "application/x-www-form-urlencoded";
/// The largest form, in bytes.
const MAX_FORM_BYTES: usize = 8 * 1024;
/// Routes that take activities; the largest body there is that of the configuration.
const OF_ACTIVITIES: [&str; 4] =
    ["/activity", "/inbox", "/actors/{name}/inbox", "/actors/{name}/outbox"];
/// The largest body of other requests, in bytes.
const MAX_OTHER_BYTES: usize = 64 * 1024;
/// The longest body of a refused request that is read all the same, in bytes.
const MAX_DISCARDED_BYTES: usize = 64 * 1024;
/// How long that may take.
const DISCARDING: Duration = Duration::from_secs(2);
/// So many bytes of a body must arrive in each second, on average.
const MIN_BYTES_PER_SECOND: u64 = 1024;
/// After this part of the time that a body may take, it must keep that pace.
const GRACE_PART: u32 = 6;

/// Reads a body that is an activity.
pub(crate) async fn activity(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<u8>, Refusal> {
    let name = media_type(headers);
    if !TAKEN.iter().any(|taken| name.eq_ignore_ascii_case(taken)) {
        return Err(Refusal::new(
            Problem::UnsupportedMediaType,
            format!("send {}", TAKEN.join(" or ")),
        ));
    }
    collect(body, app.parts.options.max_body_bytes).await
}

/// Reads a small form: names and values, decoded, in order; at most 16.
pub(crate) async fn form(
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<(String, String)>, Refusal> {
    if !media_type(headers).eq_ignore_ascii_case(FORM) {
        return Err(Refusal::new(Problem::UnsupportedMediaType, format!("send {FORM}")));
    }
    let bytes = collect(body, MAX_FORM_BYTES).await?;
    Ok(url::form_urlencoded::parse(&bytes)
        .take(16)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect())
}

/// Reads what a request to an operating route asks for.
pub(crate) fn wish<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let value = fedsx_kernel::json::parse(bytes)
        .map_err(|e| Refusal::new(Problem::MalformedJson, e.to_string()))?;
    serde_json::from_value(value)
        .map_err(|e| Refusal::new(Problem::InvalidParameter, e.to_string()))
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

fn too_large(most: usize) -> Refusal {
    Refusal::new(Problem::TooLarge, format!("a body has at most {most} bytes"))
}

/// The bytes of a body that was gathered.
async fn collect(body: Body, most: usize) -> Result<Vec<u8>, Refusal> {
    match Limited::new(body, most).collect().await {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(_) => Err(too_large(most)),
    }
}

/// A body that was read, and the memory that it takes, given back when this is dropped.
pub(crate) type Gathered = (Bytes, Option<OwnedSemaphorePermit>);

/// Reads the whole body of a request before its handler decides anything.
///
/// A handler that refuses without reading would make the connection close while the client still
/// writes, who then never sees the answer; and a client that writes slowly takes no place from
/// others meanwhile.
pub(crate) async fn gather(
    app: &App,
    route: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Gathered, Refused> {
    if body.is_end_stream() {
        return Ok((Bytes::new(), None));
    }
    let most = if OF_ACTIVITIES.contains(&route) {
        app.parts.options.max_body_bytes
    } else {
        MAX_OTHER_BYTES
    };
    read(app, headers, body, most).await.map_err(|refusal| {
        let limit = if refusal.problem == Problem::Busy { "memory" } else { "body" };
        Refused::by(limit, refusal)
    })
}

/// Reads the body of a request that is refused and drops it, where it is short: so its connection
/// stays open for the next one. A client that waits to be asked for its body sends none.
pub(crate) async fn discard(app: &App, headers: &HeaderMap, mut body: Incoming) {
    let is_short = announced(headers).is_some_and(|length| length <= MAX_DISCARDED_BYTES);
    if body.is_end_stream() || !is_short || headers.contains_key(header::EXPECT) {
        return;
    }
    let clock = &app.kernel().runtime().clock;
    let all = async { while !body.is_end_stream() && matches!(body.frame().await, Some(Ok(_))) {} };
    tokio::pin!(all);
    // Nearly always it came with the head. A timer is made where it did not.
    if futures::poll!(all.as_mut()).is_pending() {
        tokio::select! {
            biased;
            () = all => {}
            () = clock.sleep(DISCARDING) => {}
        }
    }
}

/// How long a body says that it is.
fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body within the limits on its size, its time and the memory of all bodies. The memory is
/// taken as bytes arrive.
async fn read(
    app: &App,
    headers: &HeaderMap,
    mut body: Incoming,
    most: usize,
) -> Result<Gathered, Refusal> {
    if announced(headers).is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    let (began, longest) = (Instant::now(), app.parts.options.body_timeout);
    let mut bytes: Vec<u8> = Vec::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    loop {
        let frame = match futures::poll!(body.frame()) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let left = allowed(bytes.len(), longest).saturating_sub(began.elapsed());
                tokio::select! {
                    biased;
                    frame = body.frame() => frame,
                    () = app.kernel().runtime().clock.sleep(left) => return Err(too_slow(longest)),
                }
            }
        };
        let data = match frame {
            None => return Ok((bytes.into(), held)),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                let detail = format!("the body broke off: {error}");
                return Err(Refusal::new(Problem::MalformedJson, detail));
            }
        };
        if data.len() > most.saturating_sub(bytes.len()) {
            return Err(too_large(most));
        }
        if !data.is_empty() {
            let more = u32::try_from(data.len()).map_err(|_| too_large(most))?;
            let Ok(more) = app.body_memory.clone().try_acquire_many_owned(more) else {
                let detail = "the bodies of other requests take up what memory there is for them";
                return Err(Refusal::new(Problem::Busy, detail));
            };
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
            // Most come in one part, which needs no copy.
            if bytes.is_empty() && body.is_end_stream() {
                return Ok((data, held));
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// How long a body may have taken by the time that so many of its bytes are there.
fn allowed(bytes: usize, longest: Duration) -> Duration {
    let paced = Duration::from_millis(bytes as u64 * 1000 / MIN_BYTES_PER_SECOND);
    (longest / GRACE_PART).saturating_add(paced).min(longest)
}

fn too_slow(longest: Duration) -> Refusal {
    let detail = format!(
        "a body arrives within {} s, and not slower than {MIN_BYTES_PER_SECOND} bytes a second",
        longest.as_secs_f32()
    );
    Refusal::new(Problem::RequestTimeout, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_keeps_a_pace_and_ends_in_time() {
        let longest = Duration::from_secs(30);
        assert_eq!(allowed(0, longest), Duration::from_secs(5));
        assert_eq!(allowed(10 * 1024, longest), Duration::from_secs(15));
        assert_eq!(allowed(1024 * 1024, longest), longest);
    }
}
