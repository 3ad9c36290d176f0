//! Asking another host about an account.

use std::net::IpAddr;

use fedsx_kernel::address::origin_of;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use thiserror::Error;

use super::JRD_TYPE;
use super::jrd::{JrdError, essence, is_actor_link, parse_jrd};
use super::resource::Account;
use crate::client::{Client, ClientError, Response};

/// The largest answer, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
const ACCEPT: &str = "application/jrd+json, application/json";

/// What stands unencoded in the query: `:` and `@` may (RFC 3986, section 3.4), and servers
/// that do not decode are met halfway.
const QUERY_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'@');

/// Why an account could not be resolved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The host could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The host knows no such account.
    #[error("there is no {0}")]
    NotFound(Account),
    /// The host answered with another status than 200, 404 or 410.
    #[error("the host answered with status {0}")]
    Status(u16),
    /// The answer is of another media type.
    #[error("the answer is {0:?}, not {JRD_TYPE} or application/json")]
    MediaType(String),
    /// The answer is not a JSON Resource Descriptor.
    #[error("the answer is no WebFinger document: {0}")]
    Malformed(#[from] JrdError),
    /// The answer links to no ActivityPub actor.
    #[error("the answer names no actor")]
    NoActor,
    /// The answer names another account as its subject, whose host does not confirm that.
    #[error("{asked} claims to be {claimed}, which is not confirmed by that account's host")]
    Unconfirmed {
        /// The account that was asked about.
        asked: Account,
        /// The account that the answer names.
        claimed: Account,
    },
}

/// Who an account is.
#[derive(Clone, Debug)]
pub struct Found {
    /// The actor's id, an http or https URL. That the actor names this account in return is still
    /// to be seen from its document.
    pub actor_url: String,
    /// The account by the name that its own host gives it.
    pub subject: Account,
    /// The JSON Resource Descriptor as it came.
    pub jrd: Value,
    /// The header fields of the answer.
    pub headers: HeaderMap,
}

/// Asks the account's host who it is.
///
/// Where the answer names another account (a handle at `example.org` for an actor at
/// `social.example.org`, or the reverse), that account's host is asked as well and must
/// name the same actor, so that nobody can claim a handle of a foreign host.
///
/// # Errors
///
/// [`LookupError::Client`] where the host cannot be reached, else what is wrong with its answer.
pub async fn lookup(client: &Client, account: &Account) -> Result<Found, LookupError> {
    let found = ask(client, account).await?;
    if found.subject.is_same(account) {
        return Ok(found);
    }
    let confirmed = ask(client, &found.subject).await?;
    if confirmed.actor_url == found.actor_url && confirmed.subject.is_same(&found.subject) {
        Ok(confirmed)
    } else {
        Err(LookupError::Unconfirmed { asked: account.clone(), claimed: found.subject })
    }
}

async fn ask(client: &Client, account: &Account) -> Result<Found, LookupError> {
    let response = fetch(client, account).await?;
    match response.status.as_u16() {
        200 => {}
        404 | 410 => return Err(LookupError::NotFound(account.clone())),
        other => return Err(LookupError::Status(other)),
    }
    let media_type = response.headers.get(CONTENT_TYPE).map(|value| value.to_str());
    let media_type = essence(media_type.and_then(Result::ok).unwrap_or_default());
    if !matches!(media_type.as_str(), JRD_TYPE | "application/json") {
        return Err(LookupError::MediaType(media_type));
    }
    let (document, jrd) = parse_jrd(&response.body)?;
    let actor_url = document
        .links
        .iter()
        .filter(|link| is_actor_link(link))
        .filter_map(|link| link.href.as_deref())
        .find(|href| origin_of(href).is_some())
        .ok_or(LookupError::NoActor)?;
    // A subject that is no account (some name the actor's URL) claims no other account.
    let subject = document.subject.parse().unwrap_or_else(|_| account.clone());
    Ok(Found { actor_url: actor_url.to_owned(), subject, jrd, headers: response.headers })
}

/// Fetches the answer over the first scheme that the host speaks.
async fn fetch(client: &Client, account: &Account) -> Result<Response, ClientError> {
    let client = client.with_body_limit(MAX_BODY_BYTES);
    let text = account.to_string();
    let resource = utf8_percent_encode(&text, QUERY_VALUE);
    let url =
        |scheme| format!("{scheme}://{}/.well-known/webfinger?resource={resource}", account.host);
    let (first, second) = schemes(&account.host, client.options().allow_http);
    let outcome = client.get(&url(first), ACCEPT, None).await;
    match (outcome, second) {
        (Err(error), Some(second)) if other_scheme_may_help(&error) => {
            client.get(&url(second), ACCEPT, None).await
        }
        (outcome, _) => outcome,
    }
}

/// The scheme to try, and the one to try after it: plain http is for development,
/// which shows by a loopback host or a port.
fn schemes(authority: &str, allow_http: bool) -> (&'static str, Option<&'static str>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = host == "localhost"
        || host.ends_with(".localhost")
        || literal.is_ok_and(|addr| addr.is_loopback());
    match (allow_http, loopback, port) {
        (false, ..) | (true, false, None) => ("https", None),
        (true, true, _) => ("http", Some("https")),
        (true, false, Some(_)) => ("https", Some("http")),
    }
}

fn other_scheme_may_help(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Connect { .. }
            | ClientError::Tls { .. }
            | ClientError::NoTrustRoots(_)
            | ClientError::Interrupted { status: None, .. }
            | ClientError::Protocol(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_order() {
        for (authority, allow_http, expected) in [
            ("example.org", false, ("https", None)),
            ("localhost:9999", false, ("https", None)),
            ("example.org", true, ("https", None)),
            ("example.org:9999", true, ("https", Some("http"))),
            ("localhost", true, ("http", Some("https"))),
            ("a.localhost:9999", true, ("http", Some("https"))),
            ("127.0.0.1:9999", true, ("http", Some("https"))),
            ("[::1]", true, ("http", Some("https"))),
            ("[::1]:9999", true, ("http", Some("https"))),
            ("[2a00::1]", true, ("https", None)),
        ] {
            assert_eq!(schemes(authority, allow_http), expected, "{authority}");
        }
    }
}
