//! Reading the JSON Resource Descriptors of other servers.

use ::webfinger::{Link, Webfinger};
use serde_json::{Map, Value};
use thiserror::Error;

use super::ACTIVITY_TYPE;

/// Why a document is not a JSON Resource Descriptor.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JrdError {
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but no object.
    #[error("it is not a JSON object")]
    NotAnObject,
}

/// Reads a JSON Resource Descriptor (RFC 7033, section 4.4): typed, and as it came.
///
/// All members are optional there, so `subject` may be empty here. Properties and titles are
/// ignored, and so are links and aliases that are malformed.
pub fn parse_jrd(bytes: &[u8]) -> Result<(Webfinger, Value), JrdError> {
    let value: Value = serde_json::from_slice(bytes)?;
    let object = value.as_object().ok_or(JrdError::NotAnObject)?;
    let list = |name: &str| object.get(name).and_then(Value::as_array).into_iter().flatten();
    let jrd = Webfinger {
        subject: text(object, "subject").unwrap_or_default(),
        aliases: list("aliases").filter_map(Value::as_str).map(str::to_owned).collect(),
        links: list("links").filter_map(link).collect(),
    };
    Ok((jrd, value))
}

fn link(value: &Value) -> Option<Link> {
    let object = value.as_object()?;
    Some(Link {
        rel: text(object, "rel")?,
        href: text(object, "href"),
        template: text(object, "template"),
        mime_type: text(object, "type"),
    })
}

fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Whether a link leads to an ActivityPub actor.
pub(super) fn is_actor_link(link: &Link) -> bool {
    let media_type = link.mime_type.as_deref().map(essence).unwrap_or_default();
    link.rel == "self" && matches!(media_type.as_str(), ACTIVITY_TYPE | "application/ld+json")
}

/// A media type without its parameters, in lower case.
pub(super) fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
