//! Fetching one JSON document.

use fedsx_kernel::{Problem, Refusal};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use super::{KeySigner, UPSTREAM_STATUS};
use crate::client::{Client, ClientError, FailureClass, Response, SignRequest};
use crate::signature::Ask;

/// The media types of an ActivityStreams document (ActivityPub, section 3.2).
const ACCEPT: &str = "application/activity+json, \
                      application/ld+json; profile=\"https://www.w3.org/ns/activitystreams\"";

/// A fetched document.
pub(crate) struct Fetched {
    pub value: Value,
    pub bytes: Vec<u8>,
    pub final_url: String,
    pub headers: HeaderMap,
}

/// Fetches a document, signed where there is a key.
pub(crate) async fn document(
    client: &Client,
    url: &str,
    signer: Option<&KeySigner>,
) -> Result<Fetched, Refusal> {
    let sign = signer.map(|signer| signer as &dyn SignRequest);
    let mut answer =
        client.get(url, ACCEPT, sign).await.map_err(|error| refusal_of(url, &error))?;
    if matches!(answer.status.as_u16(), 401 | 403)
        && let (Some(signer), Some(ask)) = (signer, Ask::of(&answer.headers))
    {
        // It says how it wants requests signed.
        let asked = signer.asked(ask);
        answer =
            client.get(url, ACCEPT, Some(&asked)).await.map_err(|error| refusal_of(url, &error))?;
    }
    let status = answer.status.as_u16();
    if status != 200 {
        let transient = status >= 500 || matches!(status, 408 | 425 | 429);
        let problem = if transient { Problem::UpstreamFailed } else { Problem::UnknownKey };
        return Err(Refusal::new(problem, format!("{url} answered with status {status}"))
            .with(UPSTREAM_STATUS, status));
    }
    let media_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let known = ["application/activity+json", "application/ld+json", "application/json"];
    if !known.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Err(unfit(url, &format!("it is {essence:?}, not application/activity+json")));
    }
    let value = fedsx_kernel::json::parse(&answer.body).map_err(|e| unfit(url, &e.to_string()))?;
    let Response { headers, body, final_url, .. } = answer;
    Ok(Fetched { value, bytes: body.to_vec(), final_url, headers })
}

/// A document that is not what was asked for.
pub(crate) fn unfit(url: &str, reason: &str) -> Refusal {
    Refusal::new(Problem::UnknownKey, format!("{url}: {reason}"))
}

/// A request that failed.
pub(crate) fn refusal_of(what: &str, error: &ClientError) -> Refusal {
    let problem = match error.class() {
        _ if matches!(error, ClientError::BudgetSpent) => Problem::TooManyRequests,
        _ if matches!(error, ClientError::Blocked { .. }) => Problem::Blocked,
        FailureClass::RefusedHere => Problem::ForbiddenAddress,
        FailureClass::BadAnswer => Problem::UnknownKey,
        FailureClass::PeerDown | FailureClass::Certificate | FailureClass::Local => {
            Problem::UpstreamFailed
        }
    };
    Refusal::new(problem, format!("{what}: {error}"))
}
